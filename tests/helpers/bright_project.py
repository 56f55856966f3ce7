"""A project of short videos of noise, some of them bright: with a tiny model, all its stages run in seconds."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
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


def write_noise(path: Path, seed: list[int], bright: bool) -> Path:
    """A video of four segments, the last two bright or all dark."""
    pictures = np.random.default_rng(seed).integers(0, 60, (4 * LENGTH, 48, 64, 3), np.uint8)
    if bright:
        pictures[2 * LENGTH :] += 180
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, pictures, FPS)
    return path


class Project:
    """A project of short videos: those with odd numbers are bright in their second half."""

    def __init__(self, folder: Path, dvc: Dvc) -> None:
        self.folder, self.dvc = folder, dvc
        self.lines: dict[str, dict[str, object]] = {}

    def add(self, split: str, number: int) -> None:
        name = f"{split}_{number}.mp4"
        write_noise(self.folder / "footage" / name, [number, len(split)], bright=bool(number % 2))
        self.label(name, split, bool(number % 2))

    def label(self, name: str, split: str, anomalous: bool) -> None:
        spans = [[2 * LENGTH, 4 * LENGTH]] if anomalous else []
        label = "bright" if anomalous else "normal"
        self.lines[name] = {"video": name, "split": split, "label": label, "spans": spans, "unit": "frames"}
        text = "".join(json.dumps(line) + "\n" for line in self.lines.values())
        (self.folder / "annotations.jsonl").write_text(text)

    def set_dataset(self, **values: str) -> None:
        """Add to the section `dataset` of params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["dataset"] |= values
        path.write_text(yaml.safe_dump(params))

    def detectors(self) -> set[str]:
        """The detectors that the reports are of."""
        return {load_report(p).detector_id for p in (self.folder / "data" / "reports").rglob("*.json")}


@contextmanager
def bright_project(folder: Path, beside: Path) -> Iterator[Project]:
    """The project in a folder, no stage of which has run; beside: for what is needed beside it."""
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
    with dvc_in(folder, COMMANDS, HEADHUNT, beside) as dvc:
        project = Project(folder, dvc)
        for split, n in COUNTS.items():
            for number in range(n):
                project.add(split, number)
        yield project
