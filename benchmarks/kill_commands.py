"""Commands that are killed with SIGKILL at random moments: what is there is readable, and run again they end the same.

See kills.py, which has workers and the service, and the command line of all.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path

from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import Monitor, Paths, rebaseline
from headhunt_svc.storage.files import sha256

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers.bundles import bundle  # noqa: E402
from helpers.log_rows import START, rows, write  # noqa: E402

DAY = timedelta(days=1)
SEED_OF_ROWS = 100


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
    to_the_end(command, copied(before, folder / "first"))  # imports what it needs late
    seconds = to_the_end(command, copied(before, undisturbed))
    expected, problems = command.outcome(undisturbed), list[str]()
    killed = different = 0
    tries = 0
    while killed < kills and tries < 20 * kills:
        tries += 1
        place = copied(before, folder / str(tries))
        pid = forked(command, place)
        time.sleep(moment.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])  # the others had ended before
        problems += command.problems(place, complete=False)
        seconds = min(seconds, to_the_end(command, place))  # of a busy machine, the first run tells little
        problems += command.problems(place, complete=True)
        different += command.outcome(place) != expected
        shutil.rmtree(place)
    return {
        "seconds_undisturbed": round(seconds, 3),
        "killed": killed,
        "different_from_undisturbed": different,
        "unreadable_or_double": sorted(set(problems)),
    }


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder."""
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
