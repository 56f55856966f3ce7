"""Loads a checkpoint, from a hub or a folder, as an Extractor."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils.hub import cached_file

from headhunt_svc.errors import ModelError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import family_of
from headhunt_svc.params import MllmParams, SegmentationParams

NOMINAL_FPS = 25.0  # for clips that belong to no video


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first CUDA device if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def load_extractor(
    params: MllmParams,
    cut: SegmentationParams,
    device: str = "auto",
    untrained_seed: int | None = None,
    deepest: int | None = None,
) -> Extractor:
    """Load a model from a hub id or a local folder; with untrained_seed the same architecture with random weights.

    cut: how segments are cut, for families whose prompts hold the time of every frame.
    deepest: decoder layers behind this one are not loaded (there are no final hidden states then).

    Raises:
        ModelError: not found, unsupported family, or a checkpoint with missing weights.
    """
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # else layers that are left out on purpose are listed
    options = {"revision": params.revision} if params.revision and not Path(params.id).exists() else {}
    try:
        config = transformers.AutoConfig.from_pretrained(params.id, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(params.id, **options)
    except (OSError, ValueError) as exc:
        reason = str(exc).splitlines()[0]
        raise ModelError(
            f"mllm.id {params.id!r} is neither a local model folder nor to be had from the hub: {reason}"
        ) from exc
    family = family_of(config.model_type, params.id, config.get_text_config().model_type)
    if deepest is not None:
        _truncate(config.get_text_config(), deepest + 1)
    cls = getattr(transformers, family.model_class)
    int8 = params.dtype == "int8"
    # the parts that are not quantised have the device's own format
    dtype = getattr(torch, ("bfloat16" if pick_device(device).type == "cuda" else "float32") if int8 else params.dtype)
    if untrained_seed is not None:
        torch.manual_seed(untrained_seed)
        model = cls._from_config(config, dtype=dtype, attn_implementation=params.attention)
    else:
        model, info = cls.from_pretrained(
            params.id,
            config=config,
            dtype=dtype,
            attn_implementation=params.attention,
            output_loading_info=True,
            **options,
        )
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelError(f"{params.id}: the checkpoint lacks {len(missing)} weights, e.g. {missing[0]}")
    if int8:
        _quantise(model)
    preprocessing = _preprocessing(params.id, options)
    return Extractor(model, tokenizer, family, pick_device(device), preprocessing, cut.frame_s(NOMINAL_FPS), int8)


def _quantise(model: Any) -> None:
    """Quantise the decoder's linear layers: weights to 8-bit integers per channel, activations per token at run time.

    The vision tower keeps its format: it is small, and no later layer could make up for its errors.
    """
    try:
        quantisation = importlib.import_module("torchao.quantization")
    except ImportError as exc:
        raise ModelError("mllm.dtype int8 needs torchao: pip install 'headhunt-svc[int8]'") from exc
    quantisation.quantize_(model.get_decoder().layers, quantisation.Int8DynamicActivationInt8WeightConfig())


def _truncate(text: Any, n_layers: int) -> None:
    """Cut a text configuration down to its first layers."""
    text.num_hidden_layers = min(n_layers, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]


def _preprocessing(mllm_id: str, options: dict[str, str]) -> dict[str, Any]:
    """The checkpoint's own preprocessing: that of videos if there is one, else that of images, else {}."""
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        path = cached_file(mllm_id, name, _raise_exceptions_for_missing_entries=False, **options)
        if path:
            return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    return {}
