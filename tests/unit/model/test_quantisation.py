"""8-bit decoders: which configuration, on which device, and how far features move."""

import importlib
import logging
import sys

import numpy as np
import pytest
import torch

from headhunt_svc.errors import ModelError
from headhunt_svc.model.parity import random_clips
from headhunt_svc.model.quantisation import base_dtype, check_device, configuration, is_quantised, quantise
from headhunt_svc.params import MllmParams
from helpers.models import PROMPTS, tiny

torchao = importlib.import_module("torchao.quantization")
CUDA = torch.device("cuda")


def test_float8_needs_a_device_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"needs a GPU of compute capability 8\.9 .* the device is cpu: take bfloat16"):
        check_device("float8", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ModelError, match=r"NVIDIA A100 has 8\.0: take bfloat16 or int8"):
        check_device("float8", CUDA)
    check_device("int8", CUDA)
    for capability in ((8, 9), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, own=capability: own)
        check_device("float8", CUDA)


def test_only_torchaos_kernels_that_this_machine_cannot_load_go_unsaid(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("torchao").error("Failed to load /site-packages/torchao/_C.so: no such symbol")
    logging.getLogger("torchao").error("something else")
    assert caplog.messages == ["something else"]


def test_configurations() -> None:
    float8 = configuration("float8")
    assert isinstance(float8, torchao.Float8DynamicActivationFloat8WeightConfig)
    assert [type(g) for g in float8.granularity] == [torchao.PerRow, torchao.PerRow]  # a scale a token, and a channel
    assert float8.set_inductor_config is False  # settings of the whole process
    assert isinstance(configuration("int8"), torchao.Int8DynamicActivationInt8WeightConfig)
    assert [base_dtype(name, CUDA) for name in ("int8", "float8", "float32")] == [torch.bfloat16] * 2 + [torch.float32]
    assert base_dtype("int8", torch.device("cpu")) == torch.float32
    assert MllmParams(id="m", dtype="float8").dtype == "float8"


def test_float8_weights_give_nearly_the_same_features() -> None:
    """Of the two halves of float8 the one that runs without a GPU: weights; activations keep their format."""
    extractor = tiny("internvl")
    pixels = random_clips(extractor, 2)
    plain = extractor.features(pixels, PROMPTS[:2])
    quantise(extractor.model, torchao.Float8WeightOnlyConfig(), extractor.device)
    layer = extractor.model.get_decoder().layers[0]
    assert is_quantised(layer.self_attn.o_proj.weight)
    assert is_quantised(layer.mlp.up_proj.weight)
    assert not is_quantised(layer.input_layernorm.weight)
    off = np.linalg.norm(extractor.features(pixels, PROMPTS[:2]) - plain) / np.linalg.norm(plain)
    assert 1e-3 < off < 0.1


def test_a_decoder_that_would_mostly_keep_its_format_is_refused() -> None:
    with pytest.raises(ModelError, match=r"only \d+% of the decoder's weights can be quantised .*: take mllm.dtype"):
        quantise(tiny("internvl-qwen3_moe").model, configuration("int8"), torch.device("cpu"))


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ModelError, match=r"float8 needs torchao: pip install 'headhunt-svc\[int8\]'"):
        configuration("float8")
