"""kill -9 at a chosen call of those that change the disk, in this process.

From that call on no call changes the disk any more, so no clean-up of Python helps. What is being written then is half
written. Locks are released, as the system does when a process dies.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALLS: tuple[tuple[Any, str], ...] = (
    (os, "write"), (os, "fsync"), (os, "ftruncate"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"),
    (Path, "symlink_to"), (Path, "write_bytes"), (Path, "write_text"),
)  # fmt: skip


class Killed(BaseException):
    """The process is dead."""


def runs_killed_at(step: int, action: Callable[[], object]) -> bool:
    """Do something, killed at the call with this number; returns whether it came so far."""
    count = 0

    def killing(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(first: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step + 1 and name.startswith("write"):
                real(first, args[0][: len(args[0]) // 2], *args[1:], **kwargs)
            if count > step:
                raise Killed(name)
            return real(first, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in CALLS:
            patched.setattr(owner, name, killing(getattr(owner, name), name))
        try:
            action()
        except Killed:
            return True
    return False
