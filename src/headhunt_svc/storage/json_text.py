"""JSON from outside, read within a limit of nesting, so that what walks through the value later ends as well."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from headhunt_svc.sections import MOST_NESTED

PairsHook = Callable[[Sequence[tuple[str, Any]]], Any]


def parse_json(text: str | bytes, pairs: PairsHook | None = None) -> Any:
    """The value of a JSON text.

    pairs: makes the value of an object of its names and values, by default a dict.

    Raises:
        ValueError: no JSON, or nested deeper than MOST_NESTED.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as exc:
        raise ValueError(_TOO_DEEP) from exc
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > MOST_NESTED:  # type: ignore[arg-type]  # brackets are of the kind of the text
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raise ValueError if a value is nested deeper than MOST_NESTED."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_NESTED + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"it is nested more than {MOST_NESTED} deep"
