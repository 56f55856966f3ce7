"""What a segment costs, beside what torch counts while a tiny model of every family runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.flops import segment_flops
from headhunt_svc.model.hidden_tokens import keeping
from headhunt_svc.types import HeadRef
from helpers.models import PROMPTS, TINY, tiny

FRAMES, HEIGHT, WIDTH = 5, 90, 120  # odd, so that a pair is filled up; not square, so that some windows are smaller


def counted(extractor: Extractor, deepest: int) -> tuple[int, int]:
    """FLOPs of all modules, and of the text decoder alone; torch counts the whole square of attention."""
    pixels = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    decoder = {type(extractor.model.get_decoder()).__name__, "language_model", "text_model"}
    with FlopCounterMode(display=False) as counter:
        extractor.features(extractor.preprocess(pixels)[None], PROMPTS[:1], [HeadRef(deepest, 0)])
    modules = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    of_decoder = max(flops for name, flops in modules.items() if name.split(".")[-1] in decoder)
    return modules["Global"], of_decoder


@pytest.mark.parametrize("name", TINY)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    extractor = tiny(name, attention="eager")  # torch counts no fused attention on a CPU
    if "moe" in name:
        extractor.model.set_experts_implementation("eager")  # nor grouped products of experts
    clip = extractor.clip_of(FRAMES, HEIGHT, WIDTH)
    last = extractor.n_layers - 1
    for deepest in (1, last):
        flops = segment_flops(extractor, clip, PROMPTS[0], deepest)
        total, decoder = counted(extractor, deepest)
        assert sum(flops.linear) + 2 * sum(flops.attention) == decoder
        assert flops.vision is not None
        assert flops.projector is not None
        assert flops.vision + flops.projector == total - decoder
        assert flops.total == flops.vision + flops.projector + flops.decoder
        assert len(flops.linear) == deepest + 1
        assert flops.linear[-1] < flops.linear[0] / 2  # it ends where heads are read


def test_tokens_that_are_not_kept_cost_the_decoder_nothing() -> None:
    extractor = tiny("internvl", attention="eager")
    clip = extractor.clip_of(FRAMES, HEIGHT, WIDTH)
    whole, half = (segment_flops(extractor, clip, PROMPTS[0], 2, share) for share in (1.0, 0.5))
    with keeping(extractor, 0.5):
        _, decoder = counted(extractor, 2)
    assert sum(half.linear) + 2 * sum(half.attention) == decoder
    assert half.decoder < whole.decoder
    assert (half.vision, half.projector) == (whole.vision, whole.projector)


def test_a_family_that_does_not_say_what_its_tower_does_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = tiny("internvl")
    clip = extractor.clip_of(FRAMES, HEIGHT, WIDTH)
    known = segment_flops(extractor, clip, PROMPTS[0], 1)
    monkeypatch.setattr(type(extractor.family), "vision_work", lambda *_: None)
    unknown = segment_flops(extractor, clip, PROMPTS[0], 1)
    assert unknown == replace(known, vision=None, projector=None)
    assert unknown.total is None


def test_nothing_is_computed_on_weights_that_are_not_there() -> None:
    extractor = tiny("internvl")
    clip = extractor.clip_of(FRAMES, HEIGHT, WIDTH)
    flops = segment_flops(extractor, clip, PROMPTS[0], 2)
    extractor.model.to(torch.device("meta"))
    assert segment_flops(extractor, clip, PROMPTS[0], 2) == flops
