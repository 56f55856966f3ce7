"""Attention for a row of a Conversation, with head dropout and a measure of how alike heads are."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn


def similarity(outputs: torch.Tensor) -> torch.Tensor:
    """How alike heads are: the mean over all pairs of the linear CKA (Kornblith et al., 2019) of their outputs.

    outputs[head, token, width]; 0 to 1, where 1 is equal up to a rotation and a scale.
    """
    heads, tokens, width = outputs.shape
    centred = outputs - outputs.mean(1, keepdim=True)
    columns = centred.transpose(0, 1).reshape(tokens, heads * width)
    squares = (columns.T @ columns).square().reshape(heads, width, heads, width).sum((1, 3))
    norms = squares.diagonal().clamp_min(1e-12).sqrt()
    cka = squares / (norms[:, None] * norms)
    return (cka.sum() - cka.diagonal().sum()) / (heads * (heads - 1))


PIECE = 64  # tokens of questions that attend together: few hidden scores, few calls
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of a row, the ranges of tokens whose keys they see, and the mask float[token, key]."""

    tokens: Range
    keys: tuple[Range, ...]
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """How a row holds several clips without padding: all prefixes, then the questions of all clips.

    lengths: tokens of each clip's questions. pieces: parts of the row that attend apart.
    """

    lengths: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, blocks: torch.Tensor, prefix: int) -> "Layout":
        """From block numbers int64[clip, token], which are above 0 for the tokens of a question and rise."""
        rows = [row[row > 0] for row in blocks]
        pieces: list[Piece] = []
        half = prefix // 2
        for start in range(0, len(rows) * prefix, prefix):
            for first, last in ((0, half), (half, prefix)):
                mask = torch.full((last - first, last), -torch.inf, device=blocks.device).triu(first + 1)
                pieces.append(Piece((start + first, start + last), ((start, start + last),), mask))
        start = len(rows) * prefix
        for clip, row in enumerate(rows):
            for part in _parts(row):
                same = (part[:, None] == part).tril()
                mask = torch.zeros(len(part), prefix + len(part), device=blocks.device)
                mask[:, prefix:].masked_fill_(~same, -torch.inf)
                tokens = (start, start + len(part))
                pieces.append(Piece(tokens, ((clip * prefix, (clip + 1) * prefix), tokens), mask))
                start += len(part)
        return cls(tuple(len(row) for row in rows), tuple(pieces))


def _parts(row: torch.Tensor) -> list[torch.Tensor]:
    """Block numbers of whole questions, about PIECE tokens in each part."""
    _, lengths = row.unique_consecutive(return_counts=True)
    number = (lengths.cumsum(0) - 1) // PIECE
    return list(row.split([int(lengths[number == i].sum()) for i in number.unique()]))


class _InPieces(torch.autograd.Function):
    """softmax(q k^T + mask) v for each piece; its scores fit into the processor's cache, and are computed twice."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout) -> torch.Tensor:
        """q (scaled) float32[key head, head of it, token, width]; k and v float32[key head, token, width]."""
        outputs = torch.empty_like(q)
        for piece in layout.pieces:
            asking = _asking(q, piece)
            seen = _weights(asking, _of(k, piece), piece) @ _of(v, piece)
            outputs[:, :, slice(*piece.tokens)] = seen.view(*q.shape[:2], -1, q.shape[-1])
        ctx.save_for_backward(q, k, v, outputs)
        ctx.layout = layout
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Of q, k and v."""
        q, k, v, outputs = ctx.saved_tensors
        inner = (gradients[0] * outputs).sum(-1, keepdim=True)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for piece in ctx.layout.pieces:
            keys, asking, gradient = _of(k, piece), _asking(q, piece), _asking(gradients[0], piece)
            weights = _weights(asking, keys, piece)
            _add(dv, piece, weights.mT @ gradient)
            scores = (gradient @ _of(v, piece).mT).sub_(_asking(inner, piece)).mul_(weights)
            dq[:, :, slice(*piece.tokens)] = (scores @ keys).view(*q.shape[:2], -1, q.shape[-1])
            _add(dk, piece, scores.mT @ asking)
        return dq, dk, dv, None


def _asking(x: torch.Tensor, piece: Piece) -> torch.Tensor:
    """A piece's tokens, of the heads that share keys one after the other: [key head, head and token, width]."""
    return x[:, :, slice(*piece.tokens)].flatten(1, 2)


def _weights(asking: torch.Tensor, keys: torch.Tensor, piece: Piece) -> torch.Tensor:
    mask = piece.mask.repeat(asking.shape[1] // len(piece.mask), 1)
    return torch.baddbmm(mask, asking, keys.mT).softmax(-1)


def _of(x: torch.Tensor, piece: Piece) -> torch.Tensor:
    """The keys or values of a piece."""
    return torch.cat([x[:, slice(*keys)] for keys in piece.keys], 1)


def _add(x: torch.Tensor, piece: Piece, part: torch.Tensor) -> None:
    """Add what belongs to the keys or values of a piece."""
    for keys, own in zip(piece.keys, part.split([b - a for a, b in piece.keys], 1), strict=True):
        x[:, slice(*keys)] += own


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Attention of a row laid out so: prefixes are causal, a question's token sees its clip's prefix and its question.

    q (scaled) float32[head, token, width]; k and v float32[key head, token, width]; returns as q.
    """
    shared = q.unflatten(0, (len(k), -1))
    outputs = _InPieces.apply(shared, k, v, layout)  # type: ignore[no-untyped-call]
    return cast(torch.Tensor, outputs).flatten(0, 1)


class PackedAttention:
    """Scaled dot-product attention for a row of a Conversation.

    In float32, outside autocast: on CPUs bf16 attention with narrow heads is slower.

    prefix: tokens of each clip's prefix. layout: of the present row.
    kept: float[layer, clip, head], what each head's output is multiplied with (head dropout); None: nothing.
    compares: are heads compared at the questions' tokens? similarities: of the layers since then, each a scalar.
    """

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix
        self.layout: Layout | None = None
        self.kept: torch.Tensor | None = None
        self.compares = False
        self.similarities: list[torch.Tensor] = []

    def __call__(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        mask: torch.Tensor | None, scaling: float, dropout: float = 0.0, **_: object,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        """Outputs float[1, token, head, width], as transformers' attention functions return them."""
        assert self.layout is not None
        lengths = self.layout.lengths
        with torch.autocast(query.device.type, enabled=False):
            q, k, v = (x[0].float() for x in (query, key, value))
            outputs = attend(q * scaling, k, v, self.layout)
            if self.compares:
                self.similarities.append(similarity(outputs[:, self.prefix * len(lengths) :]))
            outputs = outputs.transpose(0, 1)
            if self.kept is not None:
                kept = self.kept[cast(int, module.layer_idx)]
                tokens = torch.tensor([self.prefix] * len(lengths) + list(lengths), device=q.device)
                outputs = outputs * torch.cat([kept, kept]).repeat_interleave(tokens, 0)[..., None]
        return outputs[None].contiguous(), None
