"""Head dropout and the measure of how alike heads are, against numpy; both are off unless asked for."""

import numpy as np
import torch

from headhunt_svc.demo.attention import PIECE, Layout, PackedAttention, attend, similarity


class Layer(torch.nn.Module):
    layer_idx = 1


def heads(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA by its definition: HSIC of the two Gram matrices, centred."""
    n = len(x)
    centre = np.eye(n) - 1 / n
    k, m = (centre @ z @ z.T @ centre for z in (x, y))
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_similarity_is_the_mean_linear_cka_of_all_pairs_of_heads() -> None:
    outputs = heads(4, 30, 5)
    outputs[1] = outputs[0] @ torch.linalg.qr(heads(5, 5))[0] * 3 + 2  # alike but for rotation, scale and place
    expected = [cka(outputs[a].numpy(), outputs[b].numpy()) for a in range(4) for b in range(4) if a != b]
    assert expected[0] > 0.999
    np.testing.assert_allclose(float(similarity(outputs)), np.mean(expected), rtol=1e-4)


def test_heads_learn_to_differ_from_each_other() -> None:
    outputs = heads(1, 40, 6).repeat(3, 1, 1) + 0.05 * heads(3, 40, 6)
    outputs.requires_grad_()
    before = float(similarity(outputs).detach())
    for _ in range(30):
        (gradient,) = torch.autograd.grad(similarity(outputs), outputs)
        outputs = (outputs - 20 * gradient).detach().requires_grad_()
    assert before > 0.9
    assert float(similarity(outputs).detach()) < 0.5 * before


def row() -> tuple[PackedAttention, tuple[torch.Tensor, ...]]:
    """The attention of two clips with 2 and 3 tokens of questions behind prefixes of 3; queries, keys and values."""
    attention = PackedAttention(prefix=3)
    attention.layout = Layout.of(torch.tensor([[1, 1, -1, -1], [1, 2, 2, -1]]), 3)
    return attention, tuple(heads(1, n, 2 * 3 + 2 + 3, 4) for n in (6, 3, 3))


def test_left_out_heads_are_zero_for_their_clip_and_layer_only() -> None:
    attention, inputs = row()
    whole, _ = attention(Layer(), *inputs, None, scaling=1.0)
    attention.kept = torch.ones(2, 2, 6)
    attention.kept[1, 0, 4] = 0.0
    attention.kept[1, 1, 2] = 2.0
    attention.kept[0] = 7.0  # of another layer
    left, _ = attention(Layer(), *inputs, None, scaling=1.0)
    expected = whole.clone()
    expected[0, [0, 1, 2, 6, 7], 4] = 0.0
    expected[0, [3, 4, 5, 8, 9, 10], 2] *= 2.0
    torch.testing.assert_close(left, expected)


def test_clips_in_one_row_attend_as_in_rows_of_their_own() -> None:
    """With its gradients, against one call of PyTorch's attention with the whole mask for each clip."""
    long = torch.arange(1, 9).repeat_interleave(PIECE // 4)  # goes into several pieces
    blocks = torch.full((2, len(long) + 3), -1)
    blocks[0, : len(long)] = long
    blocks[1, :3] = torch.tensor([1, 2, 2])
    prefix, length = 5, 2 * 5 + len(long) + 3
    layout = Layout.of(blocks, prefix)
    assert layout.lengths == (len(long), 3)
    assert len(layout.pieces) == 4 + 2 + 1
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(n, length, 6, generator=random).requires_grad_() for n in (4, 2, 2))
    ours, theirs = attend(q, k, v, layout), torch.zeros(4, length, 6)
    start = 2 * prefix
    for clip, row in enumerate(blocks):
        own = row[row > 0]
        rows = [*range(clip * prefix, (clip + 1) * prefix), *range(start, start + len(own))]
        start += len(own)
        numbers = torch.cat([torch.zeros(prefix, dtype=torch.long), own])
        visible = ((numbers == 0) | (numbers[:, None] == numbers)).tril()
        inputs = (x.repeat_interleave(4 // len(x), 0)[:, rows] for x in (q, k, v))
        theirs[:, rows] = torch.nn.functional.scaled_dot_product_attention(*inputs, attn_mask=visible, scale=1.0)
    torch.testing.assert_close(ours, theirs)
    direction = heads(4, length, 6)
    gradients = (torch.autograd.grad((x * direction).sum(), (q, k, v)) for x in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_heads_are_compared_at_the_tokens_of_questions_only() -> None:
    attention, inputs = row()
    attention(Layer(), *inputs, None, scaling=1.0)
    assert attention.similarities == []
    attention.compares = True
    outputs, _ = attention(Layer(), *inputs, None, scaling=1.0)
    torch.testing.assert_close(attention.similarities[0], similarity(outputs[0, 6:].transpose(0, 1)))
