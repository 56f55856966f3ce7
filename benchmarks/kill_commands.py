"""Commands that are killed with SIGKILL at random moments: what is there is readable, and run again they end the same.

See kills.py, which has workers and the service, and the command line of all.
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
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from headhunt_svc.demo.corpus import write_mp4
from headhunt_svc.demo.model import build_model, build_tokenizer
from headhunt_svc.demo.params import DemoModelParams
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.storage.files import sha256
from headhunt_svc.storage.tables import read_table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers.bundles import bundle  # noqa: E402
from helpers.forked import Commands  # noqa: E402
from helpers.log_rows import START, rows, write  # noqa: E402

DAY = timedelta(days=1)
SEED_OF_ROWS = 100
DVC = [sys.executable, "-m", "dvc"]
VIDEOS = {"calibration": 6, "validation": 4, "test": 4}
FPS, LENGTH = 10, 16  # pictures in a second and in a segment


class Command(ABC):
    """A command that is killed. Each try begins with a copy of the folder that `prepare` has filled."""

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """What is there before."""

    @abstractmethod
    def run(self, folder: Path) -> None:
        """What is killed."""

    @abstractmethod
    def problems(self, folder: Path, *, complete: bool) -> list[str]:
        """What cannot be read, or is there twice; complete: the command ran to its end."""

    @abstractmethod
    def outcome(self, folder: Path) -> object:
        """What must be the same as after an undisturbed run."""


def forked(command: Command, folder: Path) -> int:
    """Run a command in a fork, which has the imports of this process; returns its id."""
    if (pid := os.fork()) == 0:
        try:
            command.run(folder)
        except BaseException as exc:
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def to_the_end(command: Command, folder: Path) -> float:
    """Run a command undisturbed; returns the seconds that it took."""
    began = time.monotonic()
    status = os.waitpid(forked(command, folder), 0)[1]
    assert status == 0, f"{type(command).__name__} ended with {os.waitstatus_to_exitcode(status)}"
    return time.monotonic() - began


def kill_command(command: Command, folder: Path, kills: int, seed: int = 0) -> dict[str, object]:
    """Kill a command at random moments of its run, look at what is there, and run it again; returns the figures."""
    moment = random.Random(seed)
    before, undisturbed = folder / "before", folder / "undisturbed"
    command.prepare(before)
    to_the_end(command, _copied(before, folder / "first"))  # imports what it needs late
    seconds = to_the_end(command, _copied(before, undisturbed))
    expected, problems = command.outcome(undisturbed), list[str]()
    killed = different = 0
    tries = 0
    while killed < kills and tries < 20 * kills:
        tries += 1
        place = _copied(before, folder / str(tries))
        pid = forked(command, place)
        time.sleep(moment.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])  # the others had ended before
        problems += command.problems(place, complete=False)
        to_the_end(command, place)
        problems += command.problems(place, complete=True)
        different += command.outcome(place) != expected
        shutil.rmtree(place)
    return {
        "seconds_undisturbed": round(seconds, 3),
        "killed": killed,
        "different_from_undisturbed": different,
        "unreadable_or_double": sorted(set(problems)),
    }


def _copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


class Activate(Command):
    """`headhunt bundles activate`, of a second bundle."""

    def prepare(self, folder: Path) -> None:
        """A bundle in use, and another one."""
        folder.mkdir()
        old, _ = bundle(folder.parent / "bundles", "old", 1.0), bundle(folder.parent / "bundles", "new", 0.9)
        Deployed(folder / "deployed").activate(old, "first")

    def run(self, folder: Path) -> None:
        """Use the other one."""
        Deployed(folder / "deployed").activate(folder.parent / "bundles" / "new", "better")

    def problems(self, folder: Path, *, complete: bool) -> list[str]:
        """The link must lead to one of them, whole, and all lines of the log must be read."""
        deployed = Deployed(folder / "deployed")
        found = [] if deployed.current.resolve().name in ("old", "new") else ["the link leads nowhere"]
        load_bundle(deployed.current)
        active = [version for version in deployed.history() if version.active]
        if [version.folder.name for version in active] != [deployed.current.resolve().name]:
            found.append(f"{len(active)} versions are active")
        return found + (_damaged_lines(deployed.log) if complete else [])

    def outcome(self, folder: Path) -> object:
        """The bundle in use."""
        return str((folder / "deployed" / "current").readlink())


def _damaged_lines(log: Path) -> list[str]:
    """What half lines a log has; a killed writer's half line is closed by the next writer and left out by readers."""
    lines = [line for line in log.read_text().splitlines() if line]
    return [f"{log.name} ends in half a line"] if lines and not lines[-1].endswith("}") else []


class Rebaseline(Command):
    """`headhunt monitor rebaseline` of a camera that has a baseline."""

    def prepare(self, folder: Path) -> None:
        """Three days of two cameras, and baselines of the first."""
        folder.mkdir()
        write(str(folder / "log"), *(t for n in range(3) for c in ("yard", "dock") for t in day_of(n, c)))
        for camera in ("yard", "dock"):
            freeze(folder, camera, 0)

    def run(self, folder: Path) -> None:
        """The second day is the new baseline."""
        freeze(folder, "yard", 1)

    def problems(self, folder: Path, *, complete: bool) -> list[str]:
        """The active versions must be whole, and no version there twice."""
        store = Baselines(folder / "baselines")
        active = store.active()
        found = [] if sorted(active) == ["dock", "yard"] else [f"active: {sorted(active)}"]
        for camera, version in active.items():
            store.load(camera, version)
        contents = [version.rpartition("-")[2] for version in store.versions("yard")]
        if len(contents) != len(set(contents)):
            found.append("the same rows are two versions")
        return found + (_damaged_lines(store.log) if complete else [])

    def outcome(self, folder: Path) -> object:
        """The rows of the active and of all versions: versions are named after the time, too."""
        store = Baselines(folder / "baselines")
        versions = [version.rpartition("-")[2] for version in store.versions("yard")]
        return {camera: sha256(store.path(camera, v)) for camera, v in store.active().items()}, sorted(versions)


def day_of(number: int, camera: str) -> list[object]:
    """A day of a camera in the prediction log."""
    starts = [START + number * DAY + timedelta(hours=i) for i in range(20)]
    return [rows(16, camera, f"{number}-{i}.mp4", start, SEED_OF_ROWS * number + i) for i, start in enumerate(starts)]


def freeze(folder: Path, camera: str, number: int) -> None:
    """Make a day a camera's baseline."""
    params, start = load_drift(ROOT / "monitoring" / "drift.yaml"), START + number * DAY
    query = params.query(start, start + DAY)
    rebaseline(str(folder / "log"), Baselines(folder / "baselines"), camera, query, params.min_segments, "good")


class MonitorRun(Rebaseline):
    """`headhunt monitor run`, with page and workspace."""

    def run(self, folder: Path) -> None:
        """Judge the last day."""
        params = load_drift(ROOT / "monitoring" / "drift.yaml")
        Monitor(self._paths(folder), params.model_copy(update={"draws": 12})).run(START + 3 * DAY)

    def _paths(self, folder: Path) -> Paths:
        baselines, out, workspace = folder / "baselines", folder / "out", folder / "workspace"
        return Paths(str(folder / "log"), baselines, folder / "none", out, workspace)

    def problems(self, folder: Path, *, complete: bool) -> list[str]:
        """Every file must be whole, and the dashboard must have one point of the window."""
        from headhunt_svc.monitoring.snapshot import open_workspace

        found = [f"{path.name} is half" for path in folder.rglob("*.json") if not _is_json(path)]
        space, project = open_workspace(self._paths(folder).workspace)
        runs = [space.get_run(project.id, run_id) for run_id in space.list_runs(project.id)]
        projects = len([p for p in space.list_projects() if p is not None])
        if projects != 1 or len(runs) > 1 or (complete and len(runs) != 1):
            found.append(f"{len(runs)} points of one window in {projects} projects")
        return found

    def outcome(self, folder: Path) -> object:
        """The verdict; a page has random names of its parts."""
        out = self._paths(folder).out
        return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.json")} | {
            "pages": len([*out.rglob("*.html")])
        }


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


COMMANDS: dict[str, Command] = {"activate": Activate(), "rebaseline": Rebaseline(), "monitor": MonitorRun()}


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
        _copied(self.before, self.folder)

    def start(self) -> "subprocess.Popen[str]":
        """`dvc repro`, as the leader of a group of processes."""
        log = (self.folder.parent / "dvc.log").open("a")
        with log:
            return subprocess.Popen(
                [*DVC, "repro", "evaluate"], cwd=self.folder, env=self.env, stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip

    def outcome(self) -> dict[str, str]:
        """The content of all that the stages make, and dvc.lock."""
        made = [path for top in ("artifacts", "data") for path in (self.folder / top).rglob("*") if path.is_file()]
        made = [path for path in made if not path.name.endswith(".lock")] + [self.folder / "dvc.lock"]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in made}

    def problems(self) -> list[str]:
        """Files that are there and half."""
        found = []
        for path in (p for top in ("artifacts", "data", "dvc.lock") for p in _files(self.folder / top)):
            try:
                if path.suffix == ".json":
                    json.loads(path.read_text())
                elif path.suffix == ".parquet":
                    read_table(path)
                elif path.suffix == ".safetensors":
                    load_file(path)
                elif path.suffix == ".lock":
                    yaml.safe_load(path.read_text())
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
    """An environment where `headhunt` is a fork of a process that has imported the libraries, and dies with its parent.

    So most moments of a run are those of the stages, and not of their imports.
    """
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
            refused += process.wait(600) != 0  # a stage of a killed parent goes on: DVC or headhunt says so
            if process.returncode != 0:
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
        "refused_beside_a_stage_that_went_on": refused,
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
