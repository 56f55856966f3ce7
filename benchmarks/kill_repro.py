"""`dvc repro` that is killed with SIGKILL at random moments; see kills.py, which has the command line.

Stages are forks of a process that has imported the libraries, so most moments are those of their work.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import yaml
from kill_commands import ROOT, copied
from safetensors.numpy import load_file

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DemoModelParams
from headhunt_svc.storage.tables import read_table

sys.path.insert(0, str(ROOT / "tests"))
from helpers.forked import Commands

DVC = [sys.executable, "-m", "dvc"]
VIDEOS = {"calibration": 6, "validation": 4, "test": 4}
FPS, LENGTH = 10, 16  # pictures in a second and in a segment


class Repro:
    """`dvc repro` of a project with small videos and a small model, from model and index to evaluation."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.before, self.folder, self.env = folder / "before", folder / "project", env

    def prepare(self) -> None:
        """The project before its first run."""
        (self.before / "footage").mkdir(parents=True)
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / name, self.before)
        (self.before / "src").symlink_to(ROOT / "src")
        tokenizer = build_tokenizer()
        sizes = DemoModelParams(n_layers=3, hidden_size=48, vision_width=32, vision_layers=1, n_heads=4, n_kv_heads=2)
        build_model(tokenizer, sizes, seed=3).save_pretrained(self.before / "artifacts" / "demo_mllm")
        tokenizer.save_pretrained(self.before / "artifacts" / "demo_mllm")
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["dataset"] = {"root": "footage", "annotations": "annotations.jsonl"}
        params["segmentation"] |= {"length_s": LENGTH / FPS, "frames_per_segment": 4}
        params["prompts"]["texts"] = params["prompts"]["texts"][:2]
        params["identify"] |= {"top_k": 1}
        params["evaluate"] |= {"bootstrap": 5}
        (self.before / "params.yaml").write_text(yaml.safe_dump(params))
        names = [(split, number) for split, n in VIDEOS.items() for number in range(n)]
        lines = [_write_video(self.before / "footage", split, number) for split, number in names]
        (self.before / "annotations.jsonl").write_text("".join(lines))
        subprocess.run([*DVC, "init", "--no-scm", "-q"], cwd=self.before, env=self.env, check=True)

    def again(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        copied(self.before, self.folder)

    def start(self) -> "subprocess.Popen[str]":
        """`dvc repro`, as the leader of a group of processes."""
        log = (self.folder.parent / "dvc.log").open("a")
        with log:
            return subprocess.Popen(
                [*DVC, "repro", "evaluate"], cwd=self.folder, env=self.env, stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip

    def repair(self) -> list[str]:
        """Remove the files that DVC, killed, has left empty, as docs/operations.md says; returns their names."""
        files = [self.folder / "dvc.lock", self.folder / ".dvc" / "tmp" / "rwlock"]
        empty = [path for path in files if path.exists() and not path.stat().st_size]
        for path in empty:
            path.unlink()
        return [path.name for path in empty]

    def outcome(self) -> dict[str, str]:
        """The content of all that the stages make, and dvc.lock."""
        made = [path for top in ("artifacts", "data") for path in (self.folder / top).rglob("*") if path.is_file()]
        made = [path for path in made if not path.name.endswith(".lock")] + [self.folder / "dvc.lock"]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in made}

    def problems(self) -> list[str]:
        """Files that are there and half."""
        found = []
        for path in (p for top in ("artifacts", "data") for p in _files(self.folder / top)):
            try:
                if path.suffix == ".json":
                    json.loads(path.read_text())
                elif path.suffix == ".parquet":
                    read_table(path)
                elif path.suffix == ".safetensors":
                    load_file(path)
            except Exception as exc:
                found.append(f"{path.relative_to(self.folder)}: {type(exc).__name__}")
        return found


def _files(path: Path) -> Iterator[Path]:
    yield from [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())


def _write_video(folder: Path, split: str, number: int) -> str:
    """A short video, whose second half is bright if its number is odd, and its annotation."""
    rng = np.random.default_rng([number, len(split)])
    pictures = rng.integers(0, 60, (4 * LENGTH, 48, 64, 3), np.uint8)
    name, is_bright = f"{split}_{number}.mp4", bool(number % 2)
    if is_bright:
        pictures[2 * LENGTH :] += 180
    write_mp4(folder / name, pictures, FPS)
    spans = [[2 * LENGTH, 4 * LENGTH]] if is_bright else []
    label = "bright" if is_bright else "normal"
    line = {"video": name, "split": split, "label": label, "spans": spans, "unit": "frames"}
    return json.dumps(line) + "\n"


@contextmanager
def headhunt_forks(folder: Path) -> Iterator[dict[str, str]]:
    """An environment where `headhunt` is a fork of such a process; it dies with the process that DVC has started."""
    with ExitStack() as stack:
        commands = Commands()
        stack.callback(commands.close)
        (shim := folder / "bin" / "headhunt").parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{commands.python}" headhunt "$@"\n')
        shim.chmod(0o755)
        yield {**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "true"}


def kill_repro(folder: Path, kills: int, seed: int = 0) -> dict[str, object]:
    """Kill `dvc repro`, in turns with all that it started and alone (its stage goes on), and start it again.

    When it comes to its end between two kills, it begins anew. Returns the figures.
    """
    moment = random.Random(seed)
    with headhunt_forks(folder) as env:
        repro = Repro(folder, env)
        repro.prepare()
        repro.again()
        began = time.monotonic()
        assert repro.start().wait(600) == 0, (folder / "dvc.log").read_text()[-3000:]
        seconds, expected = time.monotonic() - began, repro.outcome()
        repro.again()
        killed = runs = different = refused = 0
        repaired: list[str] = []
        problems: list[str] = []
        while True:
            process = repro.start()
            if killed < kills:
                time.sleep(moment.uniform(0, seconds))
                if process.poll() is None:
                    killed += 1
                    (os.kill if killed % 2 else os.killpg)(process.pid, signal.SIGKILL)
                    process.wait()
                    problems += repro.problems()
                    continue
            if process.wait(600) != 0:  # a stage of a killed parent goes on, or DVC has left one of its files empty
                repaired += repro.repair()
                refused += 1
                assert refused < 20 * max(kills, 1), (folder / "dvc.log").read_text()[-3000:]
                time.sleep(1)
                continue
            runs += 1
            different += repro.outcome() != expected
            if killed >= kills:
                break
            repro.again()
        twice = two_at_once(repro, expected)
    return {
        "seconds_undisturbed": round(seconds, 1),
        "killed": killed,
        "runs_to_the_end": runs,
        "refused": refused,
        "empty_files_of_dvc_removed": repaired,
        "different_from_undisturbed": different,
        "unreadable_or_double": sorted(set(problems)),
        "two_at_once": twice,
    }


def two_at_once(repro: Repro, expected: dict[str, str]) -> dict[str, object]:
    """Start `dvc repro` twice in one project; the one that is refused is run again afterwards."""
    repro.again()
    both = [repro.start(), repro.start()]
    codes = [process.wait(600) for process in both]
    again = repro.start().wait(600)
    return {"exit_codes": codes, "again": again, "same": repro.outcome() == expected}
