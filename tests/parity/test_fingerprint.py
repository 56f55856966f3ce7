"""A detector that would compute other features than those it was fitted on refuses to score, and says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from headhunt_svc.detector.fingerprint import check, fingerprint, golden_features
from headhunt_svc.errors import ArtifactError
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.types import HeadRef
from helpers.models import PROMPTS, TINY, tiny

HEADS = (HeadRef(2, 1), HeadRef(1, 0))
PROMPT = PROMPTS[0]
FOLDER = Path("artifacts/detector")


@pytest.mark.parametrize("family", TINY)
def test_the_same_model_passes(family: str) -> None:
    made, golden = fingerprint(tiny(family), PROMPT, 4), golden_features(tiny(family), PROMPT, HEADS, 4)
    assert golden.shape == (2, 2 * tiny(family).d_head)
    assert np.abs(golden[0] - golden[1]).max() > 0.01  # two clips, two features
    check(made, golden, tiny(family), PROMPT, HEADS, 4, FOLDER)


def _other_template(extractor: Extractor) -> None:
    extractor.tokenizer.chat_template = "be careful. " + extractor.tokenizer.chat_template


def _other_norm(extractor: Extractor) -> None:
    extractor.mean = extractor.mean + 0.01


def _other_weights(extractor: Extractor) -> None:
    with torch.no_grad():
        extractor.model.get_decoder().layers[0].self_attn.v_proj.weight.mul_(1.05)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_template, "made with prompt .* put it back, or run `dvc repro`"),
        (_other_norm, "made with preprocessing .* or run `dvc repro`"),
        (_other_weights, "golden clips are off by .* run `dvc repro` to calibrate here"),
        (lambda e: e.model.bfloat16(), "made with dtype float32, here it is bfloat16: set mllm.dtype back"),
    ],
)
def test_a_change_is_named_with_the_way_out(change: Callable[[Extractor], object], says: str) -> None:
    extractor = tiny("internvl")
    made, golden = fingerprint(extractor, PROMPT, 4), golden_features(extractor, PROMPT, HEADS, 4)
    change(extractor)
    with pytest.raises(ArtifactError, match=says):
        check(made, golden, extractor, PROMPT, HEADS, 4, FOLDER)


def test_other_attention_or_libraries_are_refused() -> None:
    extractor = tiny("internvl")
    made, golden = fingerprint(extractor, PROMPT, 4), golden_features(extractor, PROMPT, HEADS, 4)
    with pytest.raises(ArtifactError, match="made with attention sdpa, here it is eager"):
        check(made, golden, tiny("internvl", attention="eager"), PROMPT, HEADS, 4, FOLDER)
    older = {**made, "transformers": "5.1.0"}
    with pytest.raises(ArtifactError, match=r"made with transformers 5\.1\.0, .*pip install transformers==5\.1\.0"):
        check(older, golden, extractor, PROMPT, HEADS, 4, FOLDER)
