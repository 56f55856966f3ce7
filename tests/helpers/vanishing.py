"""A folder that another process removes at the worst time."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def removed_when_listed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Remove a folder, which holds files only, once its parent was listed: just before it is listed itself."""
    scandir = os.scandir

    def late(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def listed(path: Any) -> Any:
            if Path(path) == folder and folder.exists():
                with scandir(path) as entries:
                    for entry in list(entries):
                        Path(entry).unlink()
                folder.rmdir()
            return original(path)

        return listed

    patch.setattr(os, "scandir", late(os.scandir))
    patch.setattr(os, "listdir", late(os.listdir))
