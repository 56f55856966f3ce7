"""Every benchmark has its line in benchmarks/README.md, and run_all.py keeps only figures of runs that ended well."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, benchmark

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(p.name for p in FOLDER.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s != "run_all.py"])
def test_every_benchmark_has_its_line(script: str) -> None:
    assert f"`{script}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_what_is_run_writes_figures_and_knows_its_options() -> None:
    run_all = benchmark("run_all")
    for command in (*run_all.CPU.values(), *run_all.GPU.values()):
        script, *arguments = shlex.split(command)
        source = (FOLDER / script).read_text(encoding="utf-8")
        for option in (*(a for a in arguments if a.startswith("--")), "--json"):
            assert f'"{option}"' in source, f"{script} has no {option}"


def test_figures_are_kept_of_runs_that_ended_well_and_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all = benchmark("run_all")
    monkeypatch.setattr(run_all, "FOLDER", tmp_path)
    write = (
        "import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text('{}'); print('a table'); sys.exit(int(sys.argv[1]))"
    )
    (tmp_path / "some.py").write_text(write)
    assert not run_all.run("fails", "some.py 3", tmp_path)
    assert not (tmp_path / "fails.json").exists()
    assert run_all.run("works", "some.py 0", tmp_path)
    assert (tmp_path / "works.json").read_text() == "{}"
    assert (tmp_path / "works.txt").read_text() == "a table\n"
    assert run_all.run("works", "some.py 3", tmp_path)


def test_a_name_that_is_none_is_told() -> None:
    command = [sys.executable, str(FOLDER / "run_all.py"), "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no benchmark nosuch" in done.stderr
