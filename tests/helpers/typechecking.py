"""Checks every call of the package in tests against its signature, array shapes included (jaxtyping and beartype).

    import helpers.typechecking  # before anything of headhunt_svc

Commands and services that tests start as processes of their own are not checked.
"""

from functools import partial
from importlib.machinery import SourceFileLoader
from io import IOBase
from types import CodeType
from typing import BinaryIO
from unittest.mock import patch

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import _import_hook, install_import_hook

# as type checkers do: an int is a float; what has no `mode` or `name`, as io.BytesIO, is a BinaryIO
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({BinaryIO: IOBase})))


def _get_code(self: _import_hook._JaxtypingLoader, name: str) -> CodeType | None:
    """The module's code, from a cache file of its own name."""
    cached = partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
    with patch("importlib._bootstrap_external.cache_from_source", cached):
        return SourceFileLoader.get_code(self, name)


# jaxtyping renames the cache files of everything that a module imports, too: torch and transformers would be compiled
_import_hook._JaxtypingLoader.get_code = _get_code
_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module

install_import_hook("headhunt_svc", "helpers.typechecking.check")
