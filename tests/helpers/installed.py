"""The package as a user installs it: a wheel of these sources, in a virtual environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "params.yaml", "src", "artifacts")


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel; everything else comes from the environment of the tests."""

    folder: Path
    wheel: Path

    def run(self, *command: str | Path, cwd: Path) -> str:
        """What a command prints in this environment; it must succeed."""
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        folders = (self.folder / "bin", Path(sys.executable).parent)
        env["PATH"] = os.pathsep.join([*map(str, folders), env["PATH"]])
        return run(*command, cwd=cwd, env=env)


def build_and_install(folder: Path) -> Installed:
    """Build the wheel from a copy of the sources, and install it; asks no network."""
    source, venv = folder / "source", folder / "venv"
    source.mkdir(parents=True)
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(path, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source)
    run(*pip, *build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=folder)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # no .pth file in there is read
    run(*pip, "--python", venv / "bin" / "python", "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    return Installed(venv, wheel)
