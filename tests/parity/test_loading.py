"""A checkpoint of every family, saved and loaded from its folder, gives the features that it gave in memory."""

import json
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.errors import ModelError
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.model.parity import random_clips
from headhunt_svc.params import MllmParams, SegmentationParams
from headhunt_svc.types import HeadRef
from helpers.models import PROMPTS, TINY, tiny

CUT = SegmentationParams(length_s=1.0, frames_per_segment=5)  # a frame every 0.2 s, as `tiny` has


def save(name: str, folder: Path) -> Path:
    extractor = tiny(name)
    extractor.model.save_pretrained(folder)
    extractor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor.preprocessing))
    return folder


@pytest.mark.parametrize("name", TINY)
def test_a_saved_checkpoint_gives_the_same_features(name: str, tmp_path: Path) -> None:
    params = MllmParams(id=str(save(name, tmp_path)))
    pixels, heads = random_clips(tiny(name), 2), (HeadRef(2, 1), HeadRef(0, 3))
    expected = tiny(name).features(pixels, PROMPTS[:2], heads)
    assert np.abs(expected).max() > 0.5
    for deepest in (None, 2):
        loaded = load_extractor(params, CUT, "cpu", deepest=deepest)
        assert loaded.n_layers == (4 if deepest is None else 3)
        np.testing.assert_allclose(loaded.features(pixels, PROMPTS[:2], heads), expected, atol=1e-5)


def test_a_decoder_that_nobody_has_checked_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    """InternVL3.5's variants with GPT-OSS: other attention, other layout of the chat."""
    folder = save("internvl-qwen3", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] = {"model_type": "gpt_oss", "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="has a decoder of type 'gpt_oss', which is not supported in InternVL3 and"):
        load_extractor(MllmParams(id=str(folder)), CUT, "cpu")
