"""Checks every call of the package in tests against its signature, array shapes included (jaxtyping and beartype).

    import helpers.typechecking  # before anything of headhunt_svc

Commands and services that tests start as processes of their own are not checked.
"""

import ast
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from importlib.machinery import SourceFileLoader
from inspect import isclass, isfunction
from io import IOBase
from types import CodeType
from typing import Any, BinaryIO
from unittest.mock import patch

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import _import_hook, install_import_hook, jaxtyped
from jaxtyping._decorator import _destring_annotation

# as type checkers do: an int is a float; what has no `mode` or `name`, as io.BytesIO, is a BinaryIO
_typed = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({BinaryIO: IOBase})))


def signatures(decorated: Any) -> Any:
    """A function with its calls checked; of a class, a dataclass's __init__ (its methods are decorated themselves).

    `jaxtyped(typechecker=...)` checks the same, but binds every call's arguments and checks them twice, which cost a
    fifth of the unit tests' time.
    """
    if isclass(decorated):
        if is_dataclass(decorated) and "__init__" in vars(decorated):
            decorated.__init__ = _with_shapes(decorated.__init__)
        return decorated
    return _with_shapes(decorated) if isfunction(decorated) else decorated  # what a decorator made of a class


def _with_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Axes of one name have one size within a call: a context of its own, where a hint is of an array."""
    written = function.__annotations__
    hints = {name: _destring_annotation(hint, function.__globals__) for name, hint in written.items()}
    function.__annotations__ = hints  # a name that cannot be resolved yet is Any, as it is to jaxtyped
    checked = _typed(function)
    function.__annotations__ = checked.__annotations__ = written
    if not any("jaxtyping" in repr(hint) for hint in hints.values()):
        return checked

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):
            return checked(*args, **kwargs)

    return call


def _get_ast(self: _import_hook.Typechecker) -> ast.expr:
    """The decorator that the hook writes above every function and class."""
    return ast.parse(f"jaxtyping._import_hook.Typechecker.lookup['{self.get_hash()}']", mode="eval").body


def _get_code(self: _import_hook._JaxtypingLoader, name: str) -> CodeType | None:
    """The module's code, from a cache file of its own name."""
    cached = partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
    with patch("importlib._bootstrap_external.cache_from_source", cached):
        return SourceFileLoader.get_code(self, name)


# jaxtyping renames the cache files of everything that a module imports, too: torch and transformers would be compiled
_import_hook._JaxtypingLoader.get_code = _get_code
_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
_import_hook.Typechecker.get_ast = _get_ast

install_import_hook("headhunt_svc", "helpers.typechecking.signatures")
