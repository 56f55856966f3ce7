"""A family that is defined in a project of its own: found by its entry point, in parity, and documented as it is."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from headhunt_svc.model.families import model_types
from helpers.distributions import install_project

PROJECT = ROOT / "tests" / "plugin_family"


def test_a_family_outside_src_is_found_and_in_parity(tmp_path: Path) -> None:
    assert "idefics3" not in model_types()
    path = os.pathsep.join([str(install_project(tmp_path, PROJECT)), *sys.path])
    check = [sys.executable, str(PROJECT / "check_idefics3.py")]
    run = subprocess.run(check, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "Idefics3 is in parity\n"


def test_the_guide_shows_the_files_that_are_tested() -> None:
    guide = (ROOT / "docs" / "adding-a-family.md").read_text(encoding="utf-8")
    for name in ("pyproject.toml", "headhunt_family_idefics3.py", "check_idefics3.py"):
        assert (PROJECT / name).read_text(encoding="utf-8") in guide, name
