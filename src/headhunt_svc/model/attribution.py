"""Which tokens made the score: exact, signed, from one forward pass.

z_head = sum_t a_t v_t (attention of the last token times values), so that the scorer's logit is
b + sum_heads sum_t a_t (w_head . v_t): every token's share is known, and the shares add up to the logit minus b.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from headhunt_svc.model.extractor import Extractor, Frames, VisionCache
from headhunt_svc.types import HeadRef

_NAME = "headhunt_attribution"
_wanted: dict[int, list["_Seen"]] = {}  # by id of an attention module, while a pass is being watched


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the last token's attention in one layer is made of."""

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
    if id(module) in _wanted:
        scaling = float(kwargs.get("scaling") or query.shape[-1] ** -0.5)
        mask = None if attention_mask is None else attention_mask[:, :, -1, : key.shape[2]]
        _wanted[id(module)].append(_Seen(query[:, :, -1].clone(), key.clone(), value.clone(), mask, scaling))
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return result


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)


@contextmanager
def _watched(decoder: Any, layers: Sequence[int]) -> Iterator[dict[int, list[_Seen]]]:
    """What the last token attends to in some layers, by layer."""
    before = decoder.config._attn_implementation
    modules = {layer: decoder.layers[layer].self_attn for layer in layers}
    found: dict[int, list[_Seen]] = {layer: [] for layer in layers}
    _wanted.update({id(m): found[layer] for layer, m in modules.items()})
    decoder.config._attn_implementation = _NAME
    try:
        yield found
    finally:
        decoder.config._attn_implementation = before
        for m in modules.values():
            _wanted.pop(id(m))


@dataclass(frozen=True, slots=True)
class Attribution:
    """Shares of the logit minus the bias, per segment.

    heads: float64[segment, head]; tokens: float64[segment, token] over all tokens of the prompt;
    pictures: float64[segment, frame, row, column] of the visual tokens (frame pairs for the Qwen families).
    Summed over heads or over tokens, each gives the same logit minus the bias.
    """

    heads: Float64[np.ndarray, "segment head"]
    tokens: Float64[np.ndarray, "segment token"]
    pictures: Float64[np.ndarray, "segment frame row column"]


def _shares(seen: _Seen, head: int, weight: torch.Tensor) -> torch.Tensor:
    """a_t (w . v_t) of one head, float64[B, tokens]."""
    group = head // (seen.query.shape[1] // seen.key.shape[1])
    logits = torch.einsum("bd,btd->bt", seen.query[:, head].double(), seen.key[:, group].double()) * seen.scaling
    if seen.mask is not None:
        mask = seen.mask[:, 0]
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask.double()
    return logits.softmax(-1) * torch.einsum("btd,d->bt", seen.value[:, group].double(), weight)


@torch.inference_mode()
def attribute(
    extractor: Extractor,
    pixels: torch.Tensor,
    prompt: str,
    heads: Sequence[HeadRef],
    weight: Float64[np.ndarray, " features"],
    view: VisionCache | None = None,
    frames: Frames | None = None,
) -> tuple[Float32[np.ndarray, "segment head d_head"], Attribution]:
    """Features of pixels float[B, F, 3, h, w] at `heads`, and the shares in their logit, from one pass.

    weight: as the scorer's, head by head. view, frames: as for Extractor.features.
    """
    clip = extractor.clip(pixels, view)
    ids = extractor.token_ids(prompt, clip)
    visual = (ids == extractor.family.visual_token(extractor.config)).numpy()
    grid = extractor.family.grid(extractor.config, clip)
    parts = torch.tensor(weight, device=extractor.device, dtype=torch.float64).view(len(heads), extractor.d_head)
    features: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    while (at := sum(map(len, features))) < len(pixels):
        part = slice(at, at + (extractor.batch_limit or len(pixels)))
        with _watched(extractor.model.get_decoder(), sorted({h.layer for h in heads})) as found:
            z = extractor.features(pixels[part], [prompt], heads, view, None if frames is None else frames[part])[0]
        if any(len(seen) > 1 for seen in found.values()):
            continue  # memory ran out: again with the smaller batch that fits
        each = [_shares(found[h.layer][0], h.head, w) for h, w in zip(heads, parts, strict=True)]
        features.append(z)
        shares.append(torch.stack(each, 1).cpu().numpy())
    of_heads = np.concatenate(shares)
    tokens = of_heads.sum(1)
    pictures = tokens[:, visual][:, : math.prod(grid)].reshape(len(tokens), *grid)
    return np.concatenate(features), Attribution(of_heads.sum(2), tokens, pictures)
