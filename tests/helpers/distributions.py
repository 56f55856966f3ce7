"""Writes distributions into a folder as pip would have installed them, without pip and a network."""

import shutil
import tomllib
from pathlib import Path


def install(
    folder: Path, name: str, version: str = "1.0", families: dict[str, str] | None = None, **modules: str
) -> Path:
    """A distribution with family entry points and modules (name: source) in `folder`, which belongs on sys.path."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{model_type} = {value}" for model_type, value in (families or {}).items()]
    (info / "entry_points.txt").write_text("\n".join(["[headhunt_svc.families]", *lines, ""]))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    return folder


def install_project(folder: Path, project: Path) -> Path:
    """A project with a pyproject.toml and top-level modules."""
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    families = table["project"]["entry-points"]["headhunt_svc.families"]
    install(folder, table["project"]["name"], table["project"]["version"], families)
    for module in table["tool"]["setuptools"]["py-modules"]:
        shutil.copy(project / f"{module}.py", folder)
    return folder
