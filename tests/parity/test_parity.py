"""The engine against the textbook way, for every family: the kit that ships (`headhunt_svc.model.parity`), and what it
must notice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from headhunt_svc.model.attribution import attribute
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import BUILT_IN, Clip, Family
from headhunt_svc.model.families.internvl import InternVL
from headhunt_svc.model.parity import CHECKS, ParityError, Processor, check_family, random_clips
from headhunt_svc.types import HeadRef, Normality, Scorer
from helpers.models import PROMPTS, TINY, model_type_of, tiny


@pytest.fixture(scope="module", params=TINY)
def extractor(request: pytest.FixtureRequest) -> Extractor:
    return tiny(request.param)


def test_every_family_has_a_tiny_model() -> None:
    assert {model_type_of(name) for name in TINY} == set(BUILT_IN)


@pytest.mark.parametrize("check", CHECKS)
def test_check(extractor: Extractor, check: str) -> None:
    CHECKS[check](extractor)


def test_shares_when_memory_runs_out(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, rng = random_clips(extractor, 4), np.random.default_rng(0)
    heads = (HeadRef(2, 1), HeadRef(0, 3))
    weight, mean = rng.standard_normal((2, len(heads) * extractor.d_head))
    scorer = Scorer(heads, weight, 0.0, Normality(mean, np.eye(len(mean)), 1.0))
    z, expected = attribute(extractor, pixels, PROMPTS[0], scorer)
    read = Extractor._heads

    def small_memory(self: Extractor, captured: dict[int, torch.Tensor], *rest: Any) -> np.ndarray:
        if len(captured[2]) > 2:
            raise torch.cuda.OutOfMemoryError
        return read(self, captured, *rest)

    monkeypatch.setattr(Extractor, "_heads", small_memory)
    monkeypatch.setattr(extractor, "batch_limit", None)
    again, found = attribute(extractor, pixels, PROMPTS[0], scorer)
    np.testing.assert_allclose(again, z, atol=1e-5)
    np.testing.assert_allclose(found.pictures, expected.pictures, atol=1e-5)


class OtherOrder(InternVL):
    def with_encoded_frames(self, model: Any, clips: list[Any]) -> Any:
        return super().with_encoded_frames(model, [clip[::-1] for clip in clips])


class NotReused(InternVL):
    def picture_inputs(self, config: Any, pixels: Any, clip: Clip) -> Any:
        self.last = super().picture_inputs(config, pixels, clip)
        return self.last

    def with_encoded_frames(self, model: Any, clips: list[Any]) -> Any:
        encoded = super().with_encoded_frames(model, clips)
        model.vision_tower(self.last["pixel_values"])
        return encoded


class OtherText(InternVL):
    def clip_text(self, config: Any, clip: Clip) -> str:
        return super().clip_text(config, clip).replace("Frame2", "Frame 2")


class OtherToken(InternVL):
    def visual_token_id(self, config: Any) -> int:
        return 7


class OneTokenMore(InternVL):
    def clip_text(self, config: Any, clip: Clip) -> str:
        return super().clip_text(config, clip) + "<IMG_CONTEXT>"


def _text(clip: Clip, pixels: torch.Tensor) -> str:
    config = tiny("internvl").config
    return InternVL().clip_text(config, clip)


@pytest.mark.parametrize(
    ("family", "processor", "says"),
    [
        (OtherOrder, None, "OtherOrder, features of 1 segments, 1 prompts: .* off by up to .* at index"),
        (NotReused, None, "NotReused, vision cache: two batches need two passes of the vision tower, there are"),
        (OtherText, Processor(text=_text), r"OtherText, text: text of 2 frames, .*Frame 2: .*, not .*Frame2: "),
        (OtherToken, None, "OtherToken, attribution: .*cannot reshape"),
        (OneTokenMore, None, "OneTokenMore, features of .*: ValueError: .*tokens"),
    ],
)
def test_a_wrong_family_is_noticed(family: Callable[[], Family], processor: Processor | None, says: str) -> None:
    extractor = tiny("internvl")
    with pytest.raises(ParityError, match=says):
        check_family(family(), extractor.model, extractor.tokenizer, processor)


def test_a_model_whose_faults_would_not_show_is_refused() -> None:
    extractor = tiny("internvl")
    with torch.no_grad():
        for layer in extractor.model.get_decoder().layers:
            layer.self_attn.v_proj.weight.mul_(0.01)
            layer.self_attn.v_proj.bias.mul_(0.01)
    with pytest.raises(ParityError, match=r"features are at most .*: call sharpen\(model\)"):
        check_family(InternVL(), extractor.model, extractor.tokenizer)
