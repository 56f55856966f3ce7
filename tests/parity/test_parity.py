"""The engine against the textbook way, for every family: all layers and heads, one and several prompts and segments."""

from typing import Any

import numpy as np
import pytest
import torch

from conftest import benchmark
from headhunt_svc.model.attribution import attribute
from headhunt_svc.model.extractor import Extractor, VisionCache
from headhunt_svc.model.families import FAMILIES
from headhunt_svc.types import HeadRef
from helpers.models import PROMPTS, tiny

TOLERANCE = 1e-4

reference_features = benchmark("textbook").reference_features


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def extractor(request: pytest.FixtureRequest) -> Extractor:
    return tiny(request.param)


def clips(extractor: Extractor, n: int, n_frames: int = 5, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (n, n_frames, 60, 90, 3), dtype=np.uint8)
    return torch.stack([extractor.preprocess(p) for p in pictures])


@pytest.mark.parametrize("n_prompts", [1, 2, 8])
@pytest.mark.parametrize("n_segments", [1, 3])
def test_features_are_those_of_the_textbook_way(extractor: Extractor, n_prompts: int, n_segments: int) -> None:
    pixels, prompts = clips(extractor, n_segments), PROMPTS[:n_prompts]
    expected = reference_features(extractor, list(pixels), prompts)
    assert np.abs(expected).max() > 1  # a scale at which a wrong mask or position shows
    found = extractor.features(pixels, prompts)
    assert found.shape == (n_prompts, n_segments, len(extractor.heads), extractor.d_head)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(extractor.read(pixels, prompts).heads, expected, atol=TOLERANCE)


@pytest.mark.parametrize("n_prompts", [1, 8])
def test_clips_of_unequal_lengths_and_sizes(extractor: Extractor, n_prompts: int) -> None:
    pictures = np.random.default_rng(5).integers(0, 256, (5, 6, 60, 120, 3), dtype=np.uint8)
    mixed = [
        extractor.preprocess(p[:n, :, :w])
        for p, n, w in zip(pictures, (4, 6, 4, 5, 6), (90, 120, 90, 60, 90), strict=True)
    ]
    expected = reference_features(extractor, mixed, PROMPTS[:n_prompts])
    np.testing.assert_allclose(extractor.features(mixed, PROMPTS[:n_prompts]), expected, atol=TOLERANCE)


@pytest.mark.parametrize("n_prompts", [1, 4])
def test_some_heads_are_some_of_all_heads(extractor: Extractor, n_prompts: int) -> None:
    """Nothing behind the deepest head is computed; what comes out is the same."""
    pixels, prompts = clips(extractor, 2), PROMPTS[:n_prompts]
    wanted = (HeadRef(2, 1), HeadRef(0, 3), HeadRef(2, 0))
    everything = extractor.features(pixels, prompts)
    columns = [extractor.heads.index(h) for h in wanted]
    np.testing.assert_allclose(extractor.features(pixels, prompts, wanted), everything[:, :, columns], atol=1e-6)


def test_prompts_and_segments_do_not_see_each_other(extractor: Extractor) -> None:
    pixels = clips(extractor, 2)
    together = extractor.features(pixels, PROMPTS)
    order = [5, 0, 3, 7, 2, 1, 6, 4]
    np.testing.assert_allclose(
        extractor.features(pixels.flip(0), [PROMPTS[i] for i in order]), together[order][:, ::-1], atol=TOLERANCE
    )


def test_final_hidden_states_are_those_of_a_plain_pass(extractor: Extractor) -> None:
    pixels = clips(extractor, 2)
    read = extractor.read(pixels, PROMPTS[:3])
    for i, prompt in enumerate(PROMPTS[:3]):
        clip = extractor.clip(pixels)
        inputs = extractor.text_inputs(extractor.token_ids(prompt, clip), clip, len(pixels))
        inputs |= extractor.family.picture_inputs(extractor.config, pixels, clip)
        with torch.inference_mode():
            plain = extractor.model.base_model(**inputs, use_cache=False).last_hidden_state[:, -1]
        np.testing.assert_allclose(read.hidden[i], plain, atol=1e-3)


def test_overlapping_windows_of_one_video_are_looked_at_once(extractor: Extractor) -> None:
    """Windows of 6 frames, 2 apart, in two batches: the same features, and no frame (or pair) goes in twice."""
    pictures = np.random.default_rng(3).integers(0, 256, (12, 60, 90, 3), dtype=np.uint8)
    pixels = extractor.preprocess(pictures)
    frames = [tuple(range(i, i + 6)) for i in range(0, 7, 2)]
    windows = torch.stack([pixels[list(f)] for f in frames])
    expected = reference_features(extractor, list(windows), PROMPTS[:2])
    base, looked = extractor.model.base_model, []
    tower = getattr(base, "visual", None) or base.vision_tower
    handle = tower.register_forward_hook(lambda module, args, out: looked.append(len(out.last_hidden_state)))
    view = VisionCache(extractor.frame_s)
    found = [
        extractor.features(windows[part], PROMPTS[:2], None, view, frames[part]) for part in (slice(0, 2), slice(2, 4))
    ]
    together = sum(looked)
    looked.clear()
    extractor.features(windows[:1], PROMPTS[:2])
    handle.remove()
    np.testing.assert_allclose(np.concatenate(found, 1), expected, atol=TOLERANCE)
    assert together == 2 * sum(looked)  # 12 frames instead of 4 x 6


def test_shares_add_up_to_the_logit(extractor: Extractor) -> None:
    pixels, rng = clips(extractor, 3), np.random.default_rng(0)
    heads = (HeadRef(2, 1), HeadRef(0, 3), HeadRef(1, 0))
    weight = rng.standard_normal(len(heads) * extractor.d_head)
    z, made = attribute(extractor, pixels, PROMPTS[0], heads, weight)
    np.testing.assert_allclose(z, extractor.features(pixels, PROMPTS[:1], heads)[0], atol=1e-5)
    of_heads = (z * weight.reshape(len(heads), -1)).sum(-1)
    np.testing.assert_allclose(made.heads, of_heads, atol=TOLERANCE)
    np.testing.assert_allclose(made.tokens.sum(1), of_heads.sum(1), atol=TOLERANCE)
    frames, rows, columns = extractor.family.token_grid(extractor.config, extractor.clip(pixels))
    assert made.pictures.shape == (3, frames, rows, columns)
    assert np.abs(made.pictures).sum() > 0


def test_shares_when_memory_runs_out(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, rng = clips(extractor, 4), np.random.default_rng(0)
    heads = (HeadRef(2, 1), HeadRef(0, 3))
    weight = rng.standard_normal(len(heads) * extractor.d_head)
    z, expected = attribute(extractor, pixels, PROMPTS[0], heads, weight)
    read = Extractor._heads

    def small_memory(self: Extractor, captured: dict[int, torch.Tensor], *rest: Any) -> np.ndarray:
        if len(captured[2]) > 2:
            raise torch.cuda.OutOfMemoryError
        return read(self, captured, *rest)

    monkeypatch.setattr(Extractor, "_heads", small_memory)
    monkeypatch.setattr(extractor, "batch_limit", None)
    again, found = attribute(extractor, pixels, PROMPTS[0], heads, weight)
    np.testing.assert_allclose(again, z, atol=1e-5)
    np.testing.assert_allclose(found.pictures, expected.pictures, atol=1e-5)


def test_a_picture_that_changes_changes_its_own_share(extractor: Extractor) -> None:
    """Layer 0, where a token knows nothing but itself: another last frame leaves the earlier frames' raw shares alone.

    Attention weights are relative, so shares are compared up to the factor that normalisation takes.
    """
    pixels = clips(extractor, 1, n_frames=6)
    other = pixels.clone()
    other[:, -2:] = clips(extractor, 1, n_frames=2, seed=9)
    weight = np.random.default_rng(1).standard_normal(extractor.d_head)
    one, two = (attribute(extractor, p, PROMPTS[0], (HeadRef(0, 2),), weight)[1].pictures[0] for p in (pixels, other))
    group = len(one) * 4 // 6  # frames, or pairs of them, before the change
    ratio = (two[:group] / one[:group]).ravel()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    assert not np.allclose(two[group:] / one[group:], ratio[0], rtol=1e-3)
