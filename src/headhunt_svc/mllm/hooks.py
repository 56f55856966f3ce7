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

    def hook_at(layer: int, o_proj: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            captured[layer] = args[0][:, -1].detach().clone()

        return o_proj.register_forward_pre_hook(hook)

    handles = [hook_at(layer, o_proj) for layer, o_proj in projections]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
