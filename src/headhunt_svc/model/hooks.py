"""Capture of head outputs and of what the decoder is called with: hooks that are always removed again.

Not thread-safe: one worker a model.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Stop(Exception):  # noqa: N818 (no error: it ends a pass that has given what is wanted)
    """Leaves a forward pass early; never leaves this package."""


@contextmanager
def capture(
    projections: Mapping[int, nn.Module], positions: torch.Tensor | None = None, stop: bool = False
) -> Iterator[dict[int, torch.Tensor]]:
    """The input of each layer's o_proj: float[batch, H * d_head] at the last position, or [batch, position, ...].

    With `stop` the forward pass ends at the deepest of the layers, and the exception with it.

    with capture(rows) as captured:
        model(...)
    """
    captured: dict[int, torch.Tensor] = {}
    deepest = max(projections, default=-1)

    def hook_at(layer: int, o_proj: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            captured[layer] = (args[0][:, -1] if positions is None else args[0][:, positions]).detach().clone()
            if stop and layer == deepest:
                raise Stop

        return o_proj.register_forward_pre_hook(hook)

    handles = [hook_at(layer, o_proj) for layer, o_proj in projections.items()]
    try:
        yield captured
    except Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture_arguments(module: nn.Module) -> Iterator[dict[str, Any]]:
    """The keyword arguments that `module` is called with; the forward pass ends there."""
    found: dict[str, Any] = {}

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.update(kwargs)
        raise Stop

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield found
    except Stop:
        pass
    finally:
        handle.remove()
