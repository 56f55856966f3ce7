"""Compiles layers of the vision tower and parts of the decoder's layers (torch.compile), and runs them eager otherwise.

Layers are alike, so each kind is compiled once a shape, in seconds. Of the decoder's layers only the parts beside
attention are compiled: norms, MLP and, where weights are quantised, linear layers. So what reads or replaces something
within attention (hooks.py, prefix.py, attribution.py) sees the same module calls as without. What cannot be compiled
never ends a pass: it runs eager, and one line of the log says why.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headhunt_svc.model.quantisation import is_quantised

logger = logging.getLogger(__name__)
SHAPES = 6  # that are compiled in each half of the model
SIGHTS = 8  # after which a batch that is not the largest yet is compiled, too
_RECOMPILE_LIMIT = 64  # of torch, which has 8: linear layers of all sizes share one piece of code
Shape = tuple[int, ...]


class Half:
    """The decoder or the vision tower: which of its modules are compiled, and for which shapes.

    failures: why something was not compiled. shapes: of the inputs that are, without their last axis.
    """

    def __init__(self, name: str, choices: Sequence[tuple[str, Sequence[nn.Module]]]) -> None:
        """choices: what to compile, in words and as modules; a later one where an earlier one cannot be compiled."""
        self.name, self.failures, self.enabled = name, list[str](), True
        self.shapes: set[Shape] = set()
        self._largest: dict[Shape, int] = {}  # batch, by the rest of the shape
        self._sights: dict[Shape, int] = {}
        self._full = False
        self._choices = [choice for choice in choices if choice[1]]
        self._originals: list[tuple[nn.Module, Callable[..., Any]]] = []
        if not self._choices:
            self.failures.append("its layers are in no list of modules")
            logger.warning("%s: nothing is compiled, it runs eager (%s)", name, self.failures[0])
        self._next()

    @property
    def compiled(self) -> str | None:
        """What of it is compiled, in words; None: nothing."""
        return self._choices[0][0] if self._choices else None

    def _next(self) -> None:
        """Compile what the first of the choices names, and nothing else."""
        for module, eager in self._originals:
            module.forward = eager
        modules = self._choices[0][1] if self._choices else ()
        self._originals = [(module, module.forward) for module in modules]
        for i, (module, eager) in enumerate(self._originals):
            module.forward = self._switch(module, eager, first=i == 0)

    def _takes(self, shape: Shape, first: bool) -> bool:
        """Whether inputs of this shape run compiled: batches larger than any before, and those that come again often.

        So a last, smaller batch is not compiled for itself. first: at the module by which passes are counted.
        """
        self._sights[shape] = sights = self._sights.get(shape, 0) + first
        if shape in self.shapes:
            return True
        batch, rest = shape[0], shape[1:]
        if batch <= self._largest.get(rest, 0) and sights < SIGHTS:
            return False
        if len(self.shapes) >= SHAPES:
            if not self._full:
                what = f"the {self.name} is compiled for {SHAPES} shapes of inputs; others run eager, such as"
                logger.warning("%s %s", what, " x ".join(map(str, shape)))
            self._full = True
            return False
        self.shapes.add(shape)
        self._largest[rest] = max(batch, self._largest.get(rest, 0))
        return True

    def _switch(self, module: nn.Module, eager: Callable[..., Any], first: bool) -> Callable[..., Any]:
        """A forward that runs compiled for shapes that are, and eager for others."""
        compiled = _compile(eager)
        inner = [m for m in module.modules() if m is not module]

        def forward(*args: Any, **kwargs: Any) -> Any:
            states = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.dim() > 1), None)
            if not self.enabled or states is None or not self._takes(tuple(states.shape[:-1]), first):
                return eager(*args, **kwargs)
            try:
                with _without_hooks(inner):
                    return compiled(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                raise  # the batch is halved, see Extractor
            except Exception as exc:  # compilers raise what they like
                result = eager(*args, **kwargs)  # raises, if it is not compiling that is wrong
                self._fall_back(exc)
                return result

        return forward

    def _fall_back(self, exc: Exception) -> None:
        self.failures.append(_reason(exc))
        what = self._choices.pop(0)[0]
        self._next()
        instead = f"compiled are {self.compiled}" if self.compiled else "it runs eager"
        logger.warning("%s: %s cannot be compiled, %s (%s)", self.name, what, instead, self.failures[-1])


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled as a whole or not at all, for each shape anew, without child processes."""
    return torch.compile(function, fullgraph=True, dynamic=False, options={"compile_threads": 1})


def _check_folder(folder: Path) -> None:
    """Raise PermissionError for a folder of compiled code that somebody else may have filled: it is run from there."""
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is another user's: set TORCHINDUCTOR_CACHE_DIR to a folder of your own")


def _reason(exc: Exception) -> str:
    """The first two lines of what a compiler says, without its advice."""
    lines = [line.strip() for line in f"{type(exc).__name__}: {exc}".splitlines() if line.strip()]
    return " ".join(lines[:2]).partition("Set TORCHDYNAMO_VERBOSE")[0].strip()[:300]


class CompiledLayers:
    """The compiled parts of a model. Not thread-safe: one worker a model."""

    def __init__(self, model: Any) -> None:
        """model: on its device; its modules' `forward` are replaced."""
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILE_LIMIT)
        decoder = model.get_decoder()
        self.halves: tuple[Half, ...] = ()
        self._failure: str | None = None
        try:  # is there a compiler, and a folder for what it writes?
            from torch._inductor.runtime.cache_dir_utils import cache_dir  # two seconds, which others need not wait

            _check_folder(Path(cache_dir()))
            _compile(lambda x: x + 1)(torch.zeros(8, device=model.device))
        except Exception as exc:  # compilers raise what they like
            self._failure = _reason(exc)
            logger.warning("nothing can be compiled, so the model runs eager (%s)", self._failure)
            return
        layers, parts = "whole layers", "the parts of layers beside attention"
        vision = _vision_layers(model, decoder)
        self.halves = (
            Half("vision tower", [(layers, vision), (parts, _parts(vision))]),
            Half("decoder", [(parts, _parts(decoder.layers))]),
        )

    @property
    def reasons(self) -> list[str]:
        """Why the whole model, or half of it, runs eager; none: it does not."""
        if self._failure is not None:
            return [self._failure]
        return [f"{half.name}: {half.failures[-1]}" for half in self.halves if half.compiled is None]

    @contextmanager
    def off(self) -> Iterator[None]:
        """Everything runs eager for a while, to compare."""
        for half in self.halves:
            half.enabled = False
        try:
            yield
        finally:
            for half in self.halves:
                half.enabled = True


@contextmanager
def _without_hooks(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Takes hooks off for a while: transformers' collect what nobody asks for, and torch cannot trace them."""
    hooked = [(module, module._forward_hooks) for module in modules if module._forward_hooks]
    for module, _ in hooked:
        module._forward_hooks = OrderedDict()
    try:
        yield
    finally:
        for module, hooks in hooked:
            module._forward_hooks = hooks


def _vision_layers(model: Any, decoder: nn.Module) -> list[nn.Module]:
    """The layers of the vision tower: of the lists of modules outside of the decoder, the longest."""
    own = set(decoder.modules())
    lists = [m for m in model.base_model.modules() if isinstance(m, nn.ModuleList) and m not in own]
    return list(max(lists, key=len, default=()))


def _parts(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Of layers: what is not attention, and within attention linear layers with quantised weights."""
    parts: list[nn.Module] = []
    for layer in layers:
        for name, child in layer.named_children():
            if "att" not in name.removeprefix("post_attention_"):  # self_attn, attn, attention; not a norm behind it
                parts.append(child)
            else:
                parts += [m for m in child.modules() if isinstance(m, nn.Linear) and is_quantised(m.weight)]
    return parts
