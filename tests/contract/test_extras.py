"""What a part imports when it starts, its extra installs: the environment of the tests holds everything anyway."""

import ast
import subprocess
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
    """Packages that a module needs to be imported at all."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return names - {"headhunt_svc"} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("part", "extra"),
    [
        ("cli", None),
        ("stages.evaluate", None),
        ("serve.service", "service"),
        ("jobs.worker", "jobs"),
        ("jobs.batch", "jobs"),
        ("jobs.isolated", "ray"),
        ("monitor.run", "monitoring"),
    ],
)
def test_a_part_imports_what_its_extra_installs(part: str, extra: str | None) -> None:
    code = (
        f"import sys, headhunt_svc.{part}; "
        "print(*[m.__file__ for n, m in list(sys.modules.items()) if n.startswith('headhunt_svc')])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = installed_by(PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else []))
    owners = packages_distributions()
    for file in done.stdout.split():
        for name in imported(Path(file)):
            assert {canonicalize_name(d) for d in owners[name]} & there, f"{file} imports {name}: not in [{extra}]"
