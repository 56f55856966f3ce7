"""Capture of head outputs: hooks that are always removed again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def capture_last(projections: Sequence[tuple[int, nn.Module]]) -> Iterator[dict[int, torch.Tensor]]:
    """The input of each (layer, o_proj) at the last position, float[batch, H * d_head] by layer.

    with capture_last(rows) as captured:
        model(...)
    """
    captured: dict[int, torch.Tensor] = {}

    def hook_of(layer: int) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            captured[layer] = args[0][:, -1].detach().clone()

        return dict(projections)[layer].register_forward_pre_hook(hook)

    handles = [hook_of(layer) for layer, _ in projections]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
