"""Bundles of several detectors."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from conftest import ROOT
from headhunt_svc.detector.scorer_file import load_scorer, save_scorer
from headhunt_svc.storage.files import sha256


def bundle(folder: Path, name: str, scale: float) -> Path:
    """A copy of the shipped bundle with another name and threshold, beside a copy of its model."""
    shutil.copytree(ROOT / "artifacts" / "detector", folder / name)
    if not (folder / "demo_mllm").exists():
        shutil.copytree(ROOT / "artifacts" / "demo_mllm", folder / "demo_mllm")
    contents = json.loads((folder / name / "bundle.json").read_text())
    contents["operating_points"]["f1"]["threshold"] *= scale
    (folder / name / "bundle.json").write_text(json.dumps(contents))
    return folder / name


def rebiased(folder: Path, name: str, shift: float) -> Path:
    """A copy of the shipped bundle with another bias: other scores of the same features."""
    path = bundle(folder, name, 1)
    scorer = load_scorer(path / "scorer.safetensors")
    save_scorer(path / "scorer.safetensors", replace(scorer, bias=scorer.bias + shift))
    contents = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(contents | {"scorer_sha256": sha256(path / "scorer.safetensors")}))
    return path
