"""Chooses which visual tokens of a clip go through the decoder: the first frame, and the places that changed most.

Where hardly anything moves, most visual tokens repeat those of the frame before. A fixed number of tokens is kept, so
that segments still share a forward pass; they keep the positions that they have among all tokens (docs/adr/0021).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8

LUMA = 0.299, 0.587, 0.114  # of red, green and blue (ITU-R BT.601)
SIDE = 32  # pictures are compared at this many rows and columns
Grid = tuple[int, int, int]  # frames (or pairs of them), rows and columns of a clip's visual tokens
Pictures = UInt8[torch.Tensor, "segment frame 3 height width"]
Scores = Float[torch.Tensor, "segment moment row column"]
Choice = Callable[[Pictures, Grid], Scores]  # the highest scores are kept


def change(pictures: Pictures, grid: Grid) -> Scores:
    """Mean absolute change of the luma of each place since the frame before, in levels of 255; 0 in the first frame.

    Where a token stands for several frames, the mean over these.
    """
    batch, n_frames = pictures.shape[:2]
    weights = torch.tensor(LUMA, device=pictures.device).view(3, 1, 1)
    luma = (pictures.flatten(0, 1).float() * weights).sum(1, keepdim=True)
    small = F.interpolate(luma, size=(SIDE, SIDE), mode="area").view(batch, n_frames, SIDE, SIDE)
    moved = torch.zeros_like(small)
    moved[:, 1:] = (small[:, 1:] - small[:, :-1]).abs()
    frames, rows, columns = grid
    places = F.adaptive_avg_pool2d(moved, (rows, columns))
    together = -(-n_frames // frames)
    padded = torch.cat([places, places[:, -1:].expand(-1, frames * together - n_frames, -1, -1)], 1)
    return padded.view(batch, frames, together, rows, columns).mean(2)


def n_kept(grid: Grid, share: float) -> int:
    """How many visual tokens of a clip are kept: this share of them, at least those of the first frame."""
    frames, rows, columns = grid
    return max(round(share * frames * rows * columns), rows * columns)


def keep(scores: Scores, visual: Bool[torch.Tensor, " token"], share: float) -> Int64[torch.Tensor, "segment kept"]:
    """Numbers of the tokens that each segment keeps, in order: all text, and visual ones by their scores.

    visual: which tokens of the prompt are visual. Equal scores: the earlier place first.
    """
    frames, rows, columns = scores.shape[1:]
    first = rows * columns
    flat = scores.flatten(1).clone()
    flat[:, :first] = torch.inf
    chosen = flat.sort(dim=1, descending=True, stable=True).indices[:, : n_kept((frames, rows, columns), share)]
    places = visual.nonzero()[: flat.shape[1], 0]
    kept = torch.ones(len(scores), len(visual), dtype=torch.bool, device=visual.device)
    kept[:, places] = False
    kept.scatter_(1, places[chosen], True)
    return kept.nonzero()[:, 1].view(len(scores), -1)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tokens of a batch are kept: their numbers, and how many all are."""

    kept: Int64[torch.Tensor, "segment kept"]
    n_tokens: int

    def within(self, length: int) -> "Selection":
        """Of the first tokens, which hold all visual ones."""
        return Selection(self.kept[:, : int((self.kept[0] < length).sum())], length)

    def arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a decoder for the kept tokens alone, which keep their positions.

        The mask is explicit: without one, gaps between positions are taken for the borders of packed sequences.
        """
        embeds, positions = arguments["inputs_embeds"], arguments.get("position_ids")
        if positions is None:
            positions = self.kept
        else:
            rows = positions.expand(*positions.shape[:-2], len(self.kept), -1)
            positions = rows.gather(-1, self.kept.expand(*rows.shape[:-1], -1))
        chosen: dict[str, Any] = {
            "inputs_embeds": embeds.gather(1, self.kept[..., None].expand(-1, -1, embeds.shape[-1])),
            "position_ids": positions,
            "attention_mask": torch.ones_like(self.kept),
        }
        visual = arguments.get("visual_pos_masks")
        if visual is not None:
            of_batch = visual.expand(len(self.kept), -1)
            is_kept = torch.zeros_like(of_batch).scatter_(1, self.kept, True)
            chosen["visual_pos_masks"] = of_batch.gather(1, self.kept)
            levels = arguments.get("deepstack_visual_embeds") or []
            chosen["deepstack_visual_embeds"] = [level[is_kept[of_batch]] for level in levels]
        return {**arguments, **chosen}
