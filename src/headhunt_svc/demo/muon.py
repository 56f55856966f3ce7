"""Muon (Jordan et al., 2024): momentum whose matrix updates are orthogonalised by a Newton-Schulz iteration.

Matrices of one shape go through the iteration together: torch.optim.Muon took 0.44 s a step here, this less than 0.1 s.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch

from headhunt_svc.demo.precision import product_dtype

MOMENTUM, WEIGHT_DECAY = 0.95, 0.01


def orthogonalise(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest semi-orthogonal matrices to x[n, rows, columns], about (quintic Newton-Schulz)."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(product_dtype(x.device))
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Nesterov momentum, orthogonalised; for 2-D weights only."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.buffers = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """One update from the gradients; rates: the learning rate of each parameter."""
        by_shape: dict[torch.Size, list[tuple[torch.nn.Parameter, float, torch.Tensor]]] = defaultdict(list)
        for p, rate, buffer in zip(self.parameters, rates, self.buffers, strict=True):
            if p.grad is not None:
                buffer.lerp_(p.grad, 1 - MOMENTUM)
                by_shape[p.shape].append((p, rate, p.grad.lerp(buffer, MOMENTUM)))
        for shape, alike in by_shape.items():
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            updates = orthogonalise(torch.stack([update for *_, update in alike]))
            for (p, rate, _), update in zip(alike, updates, strict=True):
                p.mul_(1 - rate * WEIGHT_DECAY).add_(update, alpha=-rate * scale)
