"""What a part imports when it starts, its extra installs: the environment of the tests holds everything anyway."""

import ast
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def installed_by(requirements: list[str]) -> set[str]:
    """Names of the distributions that these requirements bring, in the environment at hand."""
    found: set[str] = set()
    waiting = [Requirement(r) for r in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        try:
            needs = [Requirement(r) for r in distribution(name).requires or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [r for r in needs if r.marker is None or r.marker.evaluate({"extra": extra})]
    return found


def imported(file: Path) -> set[str]:
    """Modules that a module needs to be imported at all, by their full names; what is imported from them may be one."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{a.name}" for a in node.names)}
    return names


def file_of(module: str) -> Path | None:
    """Where a module of ours is."""
    path = (ROOT / "src").joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def files_behind(module: str) -> set[Path]:
    """The modules of ours that are imported with one, its packages among them."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if (file := file_of(name)) is not None and file not in found:
            found.add(file)
            waiting += [*imported(file), name.rpartition(".")[0]]
    return found


@pytest.mark.parametrize(
    ("part", "extra"),
    [
        ("cli.main", None),
        ("pipeline.detect", None),
        ("pipeline.evaluate", None),
        ("pipeline.extract", None),
        ("serve.service", "service"),
        ("jobs.worker", "jobs"),
        ("jobs.batch", "jobs"),
        ("jobs.isolated", "ray"),
        ("monitoring.run", "monitoring"),
        ("cameras.watch", "watch"),
        ("console.server", "console"),
    ],
)
def test_a_part_imports_what_its_extra_installs(part: str, extra: str | None) -> None:
    files = files_behind(f"headhunt_svc.{part}")
    assert len(files) > 5
    there = installed_by(PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else []))
    owners = packages_distributions()
    for file in files:
        for name in {n.split(".")[0] for n in imported(file)} - {"headhunt_svc"} - sys.stdlib_module_names:
            assert {canonicalize_name(d) for d in owners[name]} & there, f"{file} imports {name}: not in [{extra}]"
