"""A changed label and an added video, as DVC sees them: what reruns, and which videos are decoded."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import COMMANDS, HEADHUNT, ROOT
from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DemoModelParams
from headhunt_svc.detector.report import load_report
from helpers.dvc import Dvc, dvc_in

FPS, LENGTH = 10, 16
COUNTS = {"calibration": 6, "validation": 4, "test": 4}
LEARN = ["identify", "fit", "calibrate", "bundle"]


class Project:
    """A project of short videos: those with odd numbers are bright in their second half."""

    def __init__(self, folder: Path, dvc: Dvc) -> None:
        self.folder, self.dvc = folder, dvc
        self.lines: dict[str, dict[str, object]] = {}

    def add(self, split: str, number: int) -> None:
        rng = np.random.default_rng([number, len(split)])
        pictures = rng.integers(0, 60, (4 * LENGTH, 48, 64, 3), np.uint8)
        if number % 2:
            pictures[2 * LENGTH :] += 180
        name = f"{split}_{number}.mp4"
        path = self.folder / "footage" / name
        path.parent.mkdir(exist_ok=True)
        write_mp4(path, pictures, FPS)
        self.label(name, split, bool(number % 2))

    def label(self, name: str, split: str, anomalous: bool) -> None:
        spans = [[2 * LENGTH, 4 * LENGTH]] if anomalous else []
        label = "bright" if anomalous else "normal"
        self.lines[name] = {"video": name, "split": split, "label": label, "spans": spans, "unit": "frames"}
        text = "".join(json.dumps(line) + "\n" for line in self.lines.values())
        (self.folder / "annotations.jsonl").write_text(text)

    def detectors(self) -> set[str]:
        """The detectors that the reports are of."""
        return {load_report(p).detector_id for p in (self.folder / "data" / "reports").rglob("*.json")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "src").symlink_to(ROOT / "src")
    tokenizer = build_tokenizer()
    sizes = DemoModelParams(n_layers=3, hidden_size=48, vision_width=32, vision_layers=1, n_heads=4, n_kv_heads=2)
    build_model(tokenizer, sizes, seed=3).save_pretrained(folder / "artifacts" / "demo_mllm")
    tokenizer.save_pretrained(folder / "artifacts" / "demo_mllm")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["dataset"] = {"root": "footage", "annotations": "annotations.jsonl"}
    params["segmentation"] |= {"length_s": LENGTH / FPS, "frames_per_segment": 4}
    params["prompts"]["texts"] = params["prompts"]["texts"][:2]
    params["identify"] |= {"top_k": 1, "few_videos": 0}
    params["evaluate"] |= {"bootstrap": 5}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with dvc_in(folder, COMMANDS, HEADHUNT, tmp_path_factory.mktemp("dvc")) as dvc:
        project = Project(folder, dvc)
        for split, n in COUNTS.items():
            for number in range(n):
                project.add(split, number)
        first = dvc.repro("detect")
        assert sorted(first.ran[:3]) == ["extract", "index", "model"]
        assert first.ran[3:] == [*LEARN, "detect"]
        assert "0 videos from stored features, 10 decoded" in first.said("extract")
        assert "0 videos from stored features, 4 decoded" in first.said("detect")
        yield project


def test_a_changed_label_reruns_what_learns_and_decodes_nothing(project: Project) -> None:
    before, index = project.detectors(), (project.folder / "artifacts" / "index.parquet").read_bytes()
    project.label("calibration_5.mp4", "calibration", anomalous=False)
    done = project.dvc.repro("evaluate")
    assert done.ran == ["index", *LEARN, "detect", "evaluate"]
    assert "didn't change, skipping" in done.said("extract")
    assert "4 videos from stored features, 0 decoded" in done.said("detect")
    assert (project.folder / "artifacts" / "index.parquet").read_bytes() == index
    assert len(project.detectors()) == 1
    assert project.detectors() != before


def test_only_an_added_video_is_decoded(project: Project) -> None:
    project.add("calibration", 6)
    project.add("test", 4)
    done = project.dvc.repro("detect")
    assert "10 videos from stored features, 1 decoded" in done.said("extract")
    assert "4 videos from stored features, 1 decoded" in done.said("detect")
    assert len(project.detectors()) == 1
