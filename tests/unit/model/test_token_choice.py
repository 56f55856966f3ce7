"""Which visual tokens the decoder reads: the first frame's, and those of the places that changed most."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headhunt_svc.detector.bundle import model_key
from headhunt_svc.model.token_choice import Selection, change, keep, n_kept
from headhunt_svc.params import MllmParams


def still(n_frames: int) -> torch.Tensor:
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 96), dtype=np.uint8)
    return torch.from_numpy(np.stack([picture] * n_frames))[None]


def test_a_place_that_changes_is_the_only_one_that_does() -> None:
    pictures = still(4)
    pictures[0, 2, :, 48:64, 24:48] = 255 - pictures[0, 2, :, 48:64, 24:48]  # row 3 of 4, column 1 of 4
    scores = change(pictures, (4, 4, 4))[0]
    assert sorted({tuple(place) for place in scores.nonzero().tolist()}) == [(2, 3, 1), (3, 3, 1)]


def test_change_is_in_levels_of_luma() -> None:
    pictures = torch.full((1, 2, 3, 64, 64), 100, dtype=torch.uint8)
    pictures[0, 1] = torch.tensor([110, 120, 90], dtype=torch.uint8).view(3, 1, 1)
    assert change(pictures, (2, 2, 2))[0, 1].numpy() == pytest.approx(0.299 * 10 + 0.587 * 20 - 0.114 * 10, abs=1e-4)


def test_a_token_of_two_frames_has_the_mean_of_their_changes() -> None:
    pictures = torch.zeros((1, 5, 3, 64, 64), dtype=torch.uint8)
    for i, level in enumerate((0, 10, 30, 60, 100)):
        pictures[0, i] = level
    assert change(pictures, (3, 1, 1)).flatten().tolist() == pytest.approx([5.0, 25.0, 40.0], abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    grid=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    share=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**16),
    further=st.integers(0, 2),
)
def test_all_text_the_first_frame_and_the_most_changed_places_stay(
    grid: tuple[int, int, int], share: float, seed: int, further: int
) -> None:
    rng = np.random.default_rng(seed)
    n = int(np.prod(grid))
    scores = torch.from_numpy(rng.integers(0, 5, (2, *grid))).float()
    visual = np.zeros(n + further + 9, bool)
    places = np.sort(rng.permutation(len(visual))[: n + further])  # a family may have more than the grid's
    visual[places] = True
    kept = keep(scores, torch.from_numpy(visual), share).numpy()
    count = n_kept(grid, share)
    assert kept.shape == (2, len(visual) - n + count)
    for row, score in zip(kept, scores.flatten(1).numpy(), strict=True):
        assert (np.diff(row) > 0).all()
        others = set(range(len(visual))) - set(places[:n].tolist())
        assert others <= set(row.tolist())
        chosen = np.isin(places[:n], row)
        first = grid[1] * grid[2]
        assert chosen[:first].all()
        assert chosen.sum() == count
        rest = score[first:]
        # the oracle: a stable order by score, the earlier place first
        best = sorted(range(len(rest)), key=lambda i: (-rest[i], i))[: count - first]
        assert sorted(best) == np.flatnonzero(chosen[first:]).tolist()


def test_kept_tokens_keep_their_positions_and_their_deeper_levels() -> None:
    kept = torch.tensor([[0, 2, 3, 5], [0, 1, 4, 5]])
    embeds = torch.arange(12.0).view(2, 6, 1)
    positions = torch.stack([torch.arange(6), torch.arange(6) * 10]).view(2, 1, 6)
    visual = torch.tensor([[False, True, True, True, True, False]] * 2)
    level = torch.arange(8.0).view(8, 1)
    chosen = Selection(kept, 6).arguments(
        {
            "inputs_embeds": embeds,
            "position_ids": positions,
            "visual_pos_masks": visual,
            "deepstack_visual_embeds": [level],
            "use_cache": False,
        }
    )
    assert chosen["inputs_embeds"][..., 0].tolist() == [[0, 2, 3, 5], [6, 7, 10, 11]]
    assert chosen["position_ids"].tolist() == [kept.tolist(), (kept * 10).tolist()]
    assert chosen["visual_pos_masks"].tolist() == [[False, True, True, False]] * 2
    assert chosen["deepstack_visual_embeds"][0][:, 0].tolist() == [1, 2, 4, 7]
    assert chosen["attention_mask"].tolist() == [[1] * 4] * 2
    assert chosen["use_cache"] is False
    assert Selection(kept, 6).within(5).kept.tolist() == [[0, 2, 3], [0, 1, 4]]


def test_the_share_is_part_of_what_features_come_from() -> None:
    whole, half = MllmParams(id="m"), MllmParams(id="m", keep_tokens=0.5)
    assert model_key(whole, "r") == "r float32 sdpa"
    assert model_key(half, "r") == "r float32 sdpa 0.5 of tokens"
    assert "keep_tokens" not in whole.model_dump()
    assert half.model_dump()["keep_tokens"] == 0.5
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValidationError):
            MllmParams(id="m", keep_tokens=share)
