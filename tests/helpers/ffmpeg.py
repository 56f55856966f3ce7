"""Debian's ffmpeg: it makes small test videos, and says what a player shows of a file."""

import functools
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg")


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run it; what it writes to its standard output."""
    assert FFMPEG is not None
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=60).stdout


def pictures(path: Path, stream: int = 0) -> tuple[list[float], list[str]]:
    """Times from the first picture, and MD5 sums of the upright RGB pictures.

    stream: among the file's video streams, without cover pictures. Jumps of the clock stay as they are.
    """
    only = ("-map", f"0:V:{stream}", "-fps_mode", "passthrough", "-enc_time_base", "-1", "-pix_fmt", "rgb24")
    text = ffmpeg("-dts_delta_threshold", "1e6", "-i", path, *only, "-f", "framemd5", "-").decode()
    base = next(Fraction(line.split()[-1]) for line in text.splitlines() if line.startswith("#tb"))
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    ticks = [int(row[2]) for row in rows]
    return [float((t - ticks[0]) * base) for t in ticks], [row[5].strip() for row in rows]


class Folder:
    """Makes files by name, each once."""

    def __init__(self, path: Path, recipes: dict[str, Callable[["Folder", Path], object]]) -> None:
        self.path, self.recipes = path, recipes
        self.file = functools.cache(self._file)

    def _file(self, name: str) -> Path:
        path = self.path / name
        self.recipes[name](self, path)
        return path
