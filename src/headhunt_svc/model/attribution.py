"""Attributes a score to tokens and picture regions: exact and signed, from one forward pass.

z_head = sum_t a_t v_t (attention of the last token times values), so the scorer's logit is
b + sum_heads sum_t a_t (w_head . v_t): each token has an exact share, and the shares add up to the logit minus b.
With the distance to normal, w and b are those near the segment's features (core/scoring.linearise): still exact.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from headhunt_svc.core.scoring import contributions, linearise
from headhunt_svc.model.extractor import Extractor, Frames, VisionCache
from headhunt_svc.model.token_choice import Pictures
from headhunt_svc.types import HeadRef, Scorer

_NAME = "headhunt_attribution"
_recorders: dict[int, list["_LastToken"]] = {}  # by id of an attention module, while a pass is recorded


@dataclass(frozen=True, slots=True)
class _LastToken:
    """Query, keys, values and mask of the last token's attention in one layer."""

    query: torch.Tensor  # [B, H, d]
    key: torch.Tensor  # [B, KV, tokens, d]
    value: torch.Tensor
    mask: torch.Tensor | None  # [B or 1, 1, tokens], bool or additive
    scaling: float


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA attention that also records the last token's query, keys and values of recorded modules."""
    if id(module) in _recorders:
        scaling = float(kwargs.get("scaling") or query.shape[-1] ** -0.5)
        mask = None if attention_mask is None else attention_mask[:, :, -1, : key.shape[2]]
        _recorders[id(module)].append(_LastToken(query[:, :, -1].clone(), key.clone(), value.clone(), mask, scaling))
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return result


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)


@contextmanager
def _record_attention(decoder: Any, layers: Sequence[int]) -> Iterator[dict[int, list[_LastToken]]]:
    """Record the last token's attention in some layers: by layer, one record a forward pass."""
    implementation = decoder.config._attn_implementation
    modules = {layer: decoder.layers[layer].self_attn for layer in layers}
    records: dict[int, list[_LastToken]] = {layer: [] for layer in layers}
    _recorders.update({id(module): records[layer] for layer, module in modules.items()})
    decoder.config._attn_implementation = _NAME
    try:
        yield records
    finally:
        decoder.config._attn_implementation = implementation
        for module in modules.values():
            _recorders.pop(id(module))


@dataclass(frozen=True, slots=True)
class Attribution:
    """Shares of the logit, per segment.

    heads: float64[segment, head], the scorer's contributions: with its bias they sum to the logit.
    tokens: float64[segment, token] over all tokens of the prompt: with `constant` they sum to the logit.
    pictures: float64[segment, frame, row, column] of the visual tokens (frame pairs for the Qwen families).
    constant: what no token has a share in: the bias, and the mean of normal features in the distance.
    """

    heads: Float64[np.ndarray, "segment head"]
    tokens: Float64[np.ndarray, "segment token"]
    pictures: Float64[np.ndarray, "segment frame row column"]
    constant: Float64[np.ndarray, " segment"]


def _shares(
    last: _LastToken, head: int, weight: Float64[torch.Tensor, "segment d_head"]
) -> Float64[torch.Tensor, "segment token"]:
    """a_t (w . v_t) of one head; w of each segment."""
    group = head // (last.query.shape[1] // last.key.shape[1])
    logits = torch.einsum("bd,btd->bt", last.query[:, head].double(), last.key[:, group].double()) * last.scaling
    if last.mask is not None:
        mask = last.mask[:, 0]
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask.double()
    return logits.softmax(-1) * torch.einsum("btd,bd->bt", last.value[:, group].double(), weight)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Features of clips, and what it takes to split their logits among tokens once they are scored.

    passes: the last token's attention by layer, in each forward pass. visual: which tokens are. grid: of the clips.
    kept: numbers of the tokens that the decoder read; None for all. Others have no share.
    """

    features: Float32[np.ndarray, "segment head d_head"]
    passes: tuple[dict[int, _LastToken], ...]
    visual: np.ndarray
    grid: tuple[int, ...]
    kept: Int64[np.ndarray, "segment kept"] | None = None

    @torch.inference_mode()
    def attribution(self, scorer: Scorer, x: Float[np.ndarray, "segment row d_head"]) -> Attribution:
        """Shares in the logits of a scorer of the same heads; x: what it sees of the clips."""
        local = linearise(scorer, x.reshape(len(x), -1))
        weights = local.weight.reshape(self.features.shape)
        tokens_of: list[np.ndarray] = []
        for last in self.passes:
            start, query = sum(map(len, tokens_of)), next(iter(last.values())).query
            part = torch.tensor(weights[start : start + len(query)], device=query.device)
            by_head = [_shares(last[h.layer], h.head, part[:, i]) for i, h in enumerate(scorer.heads)]
            tokens_of.append(torch.stack(by_head, 1).sum(1).cpu().numpy())
        tokens = np.concatenate(tokens_of)
        if self.kept is not None:
            shares, tokens = tokens, np.zeros((len(tokens), len(self.visual)))
            np.put_along_axis(tokens, self.kept, shares, 1)
        pictures = tokens[:, self.visual][:, : math.prod(self.grid)].reshape(len(tokens), *self.grid)
        return Attribution(contributions(scorer, x), tokens, pictures, local.bias)


@torch.inference_mode()
def record(
    extractor: Extractor,
    pictures: Pictures,
    prompt: str,
    heads: tuple[HeadRef, ...],
    cache: VisionCache | None = None,
    frames: Frames | None = None,
) -> Recorded:
    """Features of clips at some heads, with what attribution needs, from the same forward pass.

    cache, frames: as for Extractor.features.
    """
    clip = extractor.clip(pictures, cache)
    ids = extractor.token_ids(prompt, clip)
    visual = (ids == extractor.family.visual_token_id(extractor.config)).numpy()
    grid = extractor.family.token_grid(extractor.config, clip)
    features: list[np.ndarray] = []
    kept: list[dict[int, _LastToken]] = []
    while (start := sum(map(len, features))) < len(pictures):
        part = slice(start, start + (extractor.batch_limit or len(pictures)))
        with _record_attention(extractor.model.get_decoder(), sorted({h.layer for h in heads})) as records:
            z = extractor.features(pictures[part], [prompt], heads, cache, None if frames is None else frames[part])[0]
        if any(len(passes) > 1 for passes in records.values()):
            continue  # memory ran out: again with the smaller batch that fits
        features.append(z)
        kept.append({layer: passes[0] for layer, passes in records.items()})
    selection = extractor.selection(pictures.to(extractor.device), ids.to(extractor.device), clip)
    numbers = None if selection is None else selection.kept.cpu().numpy()
    return Recorded(np.concatenate(features), tuple(kept), visual, tuple(grid), numbers)


def attribute(
    extractor: Extractor, pictures: Pictures, prompt: str, scorer: Scorer
) -> tuple[Float32[np.ndarray, "segment head d_head"], Attribution]:
    """Features of clips at the scorer's heads, and the shares in their logits, for a scorer of the features alone."""
    recorded = record(extractor, pictures, prompt, scorer.heads)
    return recorded.features, recorded.attribution(scorer, recorded.features)
