"""Context managers that capture head outputs and the decoder's arguments with hooks, and always remove the hooks.

Not thread-safe: one worker a model.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import nn


class Stop(Exception):  # noqa: N818 (not an error: it ends a pass whose remaining layers are not needed)
    """Ends a forward pass early; callers of this package never see it."""


@contextmanager
def capture(
    projections: Mapping[int, nn.Module], positions: torch.Tensor | None = None, stop: bool = False
) -> Iterator[dict[int, torch.Tensor]]:
    """Capture the input of each layer's o_proj: float[batch, H * d_head] at the last position, by layer.

        with capture(projections) as captured:
            model(...)

    positions: capture these instead, float[batch, position, H * d_head]. stop: end the forward pass at the deepest of
    the layers.
    """
    captured: dict[int, torch.Tensor] = {}
    deepest = max(projections, default=-1)

    def hook(layer: int, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        captured[layer] = (args[0][:, -1] if positions is None else args[0][:, positions]).detach().clone()
        if stop and layer == deepest:
            raise Stop

    with ExitStack() as hooks:
        for layer, o_proj in projections.items():
            hooks.enter_context(o_proj.register_forward_pre_hook(partial(hook, layer)))
        with suppress(Stop):
            yield captured


@contextmanager
def capture_arguments(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Capture the keyword arguments that `module` is called with, and end the forward pass there."""
    captured: dict[str, Any] = {}

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.update(kwargs)
        raise Stop

    with module.register_forward_pre_hook(hook, with_kwargs=True), suppress(Stop):
        yield captured
