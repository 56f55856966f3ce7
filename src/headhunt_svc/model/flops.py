"""What a segment costs: multiplications and additions of the matrices and of attention, part by part, without a pass.

Counted from the shapes of a model's weights, which its configuration gives (`load_layout` fetches none): a matrix of
n numbers costs 2 n a row. Norms, activations, softmax, rotations and the embedding are left out. Layers in which heads
cannot be read (hybrid decoders) count their matrices only.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import Clip
from headhunt_svc.model.token_choice import n_kept

PICTURE = (720, 1280)  # height and width of the footage; some families see as many tokens as a picture has pixels
HEAD_OUTPUT = "self_attn.o_proj"  # what a head is read at the input of
_MATRICES = nn.Linear, nn.Conv2d, nn.Conv3d


@dataclass(frozen=True, slots=True)
class SegmentFlops:
    """Of one segment under one prompt. vision, projector: None where the family does not say it.

    linear: of every decoder layer that runs. attention: the same, of causal attention, half of the square of tokens.
    The deepest layer ends where its heads are read, before their outputs are mixed.
    """

    vision: float | None
    projector: float | None
    linear: tuple[float, ...]
    attention: tuple[float, ...]

    @property
    def decoder(self) -> float:
        """Of the decoder's layers that run."""
        return sum(self.linear) + sum(self.attention)

    @property
    def total(self) -> float | None:
        """With the vision tower and the projector, if these are known."""
        return None if self.vision is None or self.projector is None else self.vision + self.projector + self.decoder


def segment_flops(layout: Extractor, clip: Clip, prompt: str, deepest: int, keep_tokens: float = 1.0) -> SegmentFlops:
    """What a segment costs whose deepest head is in layer `deepest`; keep_tokens: the share of visual tokens."""
    grid = layout.family.token_grid(layout.config, clip)
    left_out = prod(grid) - n_kept(grid, keep_tokens) if keep_tokens < 1 else 0
    tokens = len(layout.token_ids(prompt, clip)) - left_out
    layers = layout.model.get_decoder().layers[: deepest + 1]
    active = _active_experts(layout.config.get_text_config())
    linear = [2.0 * tokens * _layer_weights(layer, active, i == deepest) for i, layer in enumerate(layers)]
    width = layout.n_heads * layout.d_head
    attention = [2.0 * tokens**2 * width if i in layout.projections else 0.0 for i in range(len(layers))]
    vision, projector = _vision(layout, clip)
    return SegmentFlops(vision, projector, tuple(linear), tuple(attention))


def _active_experts(text: Any) -> float:
    """The share of a mixture's experts that a token goes through; 1 where there are none."""
    used = getattr(text, "num_experts_per_tok", None)
    every = getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None)
    return used / every if used and every else 1.0


def _layer_weights(layer: nn.Module, active: float, ends_at_heads: bool) -> float:
    """How many numbers the matrices of a decoder layer hold that a token meets; experts are stacked in one tensor."""
    total = 0.0
    for name, weight in layer.named_parameters():
        if ends_at_heads and (not name.startswith("self_attn.") or name.startswith(HEAD_OUTPUT)):
            continue
        if weight.ndim == 2 or weight.ndim == 3:
            total += weight.numel() * (active if weight.ndim == 3 else 1.0)
    return total


def _vision(layout: Extractor, clip: Clip) -> tuple[float, float] | tuple[None, None]:
    """The vision tower's part and the projector's."""
    work = layout.family.vision_work(layout.config, clip)
    if work is None:
        return None, None
    base = layout.model.base_model
    tower, projectors = base.get_submodule(work.tower), [base.get_submodule(name) for name in work.projectors]
    outside = {module for projector in projectors for module in projector.modules()}
    projector = sum(2.0 * work.projected * module.weight.numel() for module in outside if isinstance(module, nn.Linear))
    vision = 4.0 * work.pairs * int(layout.config.vision_config.hidden_size)
    for module in tower.modules():
        if isinstance(module, _MATRICES) and module not in outside:
            rows = work.rows if isinstance(module, nn.Linear) else work.patches
            vision += 2.0 * rows * module.weight.numel()
    return vision, projector
