"""Bundles of several detectors."""

import json
import shutil
from pathlib import Path

from conftest import ROOT


def bundle(folder: Path, name: str, scale: float) -> Path:
    """A copy of the shipped bundle with another name and threshold, beside a copy of its model."""
    shutil.copytree(ROOT / "artifacts" / "detector", folder / name)
    if not (folder / "demo_mllm").exists():
        shutil.copytree(ROOT / "artifacts" / "demo_mllm", folder / "demo_mllm")
    contents = json.loads((folder / name / "bundle.json").read_text())
    contents["operating_points"]["f1"]["threshold"] *= scale
    (folder / name / "bundle.json").write_text(json.dumps(contents))
    return folder / name
