"""Quantises the decoder's linear layers to 8 bits by torchao: weights once, activations at run time.

The vision tower keeps its format: it is small, and no later layer could make up for its errors.
"""

import importlib
from typing import Any

import torch

from headhunt_svc.errors import ModelError

QUANTISED = ("int8", "float8")
FLOAT8_CAPABILITY = (8, 9)  # the first with matrix products of float8: Ada; Hopper has 9.0
LEAST_SHARE = 0.9  # of the decoder's weights


def base_dtype(name: str, device: torch.device) -> torch.dtype:
    """The format of what is not quantised: the device's own."""
    if name in QUANTISED:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def check_device(name: str, device: torch.device) -> None:
    """Raise ModelError for float8 on a device that cannot multiply matrices of it."""
    if name != "float8":
        return
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= FLOAT8_CAPABILITY:
            return
        here = f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}"
    else:
        here = f"the device is {device.type}"
    raise ModelError(
        f"mllm.dtype float8 needs a GPU of compute capability 8.9 or higher (Ada, Hopper or later), {here}: take "
        "bfloat16 or int8, each with heads and a scorer of its own"
    )


def configuration(name: str) -> Any:
    """torchao's configuration of a number format: a scale for each channel of weights, and for each token.

    Raises:
        ModelError: torchao is not installed.
    """
    try:
        torchao = importlib.import_module("torchao.quantization")
    except ImportError as exc:
        raise ModelError(f"mllm.dtype {name} needs torchao: pip install 'headhunt-svc[int8]'") from exc
    if name == "int8":
        return torchao.Int8DynamicActivationInt8WeightConfig()
    return torchao.Float8DynamicActivationFloat8WeightConfig(
        granularity=torchao.PerRow(),
        set_inductor_config=False,  # those are settings of the whole process
    )


def is_quantised(weight: torch.Tensor) -> bool:
    """Whether torchao has replaced a weight."""
    return type(weight) not in (torch.nn.Parameter, torch.Tensor)


def quantise(model: Any, config: Any, device: torch.device) -> None:
    """Quantise the decoder's linear layers, one after the other on the device.

    config: of torchao, see `configuration`.

    Raises:
        ModelError: most of the decoder's weights would keep their format: torchao passes over what it does not know.
    """
    layers = model.get_decoder().layers
    importlib.import_module("torchao.quantization").quantize_(layers, config, device=device)
    matrices = [weight for weight in layers.parameters() if weight.dim() > 1]
    share = sum(w.numel() for w in matrices if is_quantised(w)) / sum(w.numel() for w in matrices)
    if share < LEAST_SHARE:
        raise ModelError(
            f"only {share:.0%} of the decoder's weights can be quantised (those of experts, or of sizes that are no "
            "multiple of 16, cannot): take mllm.dtype bfloat16"
        )
