"""What tests share: small real videos, the repository's root, the real clips where they are."""

import importlib
import importlib.util
import os
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import av
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import helpers.typechecking  # noqa: F401  (before headhunt_svc, which it checks)
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.params import load_params
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.sql import open_engine
from headhunt_svc.types import FrameSpan, VideoRecord
from helpers.forked import Commands
from helpers.server import Server, serving
from helpers.tools import needs_postgresql

if TYPE_CHECKING:
    from headhunt_svc.console.desk import Desk
    from helpers.consoles import Client

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.register_profile("fuzz", deadline=None, max_examples=20_000)
settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
HEADHUNT = Path(sys.executable).with_name("headhunt")
EXTERNAL = ROOT.parent / "shared" / "data"
CLIPS = EXTERNAL / "clips"
BENCHMARKS = ROOT / "benchmarks"
COMMANDS = Commands()

# the DVC stages after pretrain, as verbs
STAGES = [
    "demo corpus",
    "models lock --keep",
    "index",
    "extract",
    "identify",
    "fit",
    "calibrate",
    "bundle make",
    "detect --split test",
    "evaluate",
    "measure",
    "ablate",
    "generalise",
    "report",
    "monitor reference",
]


# Modules that take minutes in one process, the longest first. Each is run whole by one process (--dist loadscope), so
# they start first: a process that begins one when the others are done keeps everybody waiting.
LONG_MODULES = [
    ROOT / "tests" / "integration" / f"test_{name}.py"
    for name in (
        "jobs",
        "kills",
        "pipeline",
        "service",
        "batch",
        "bento",
        "detect",
        "detect_files",
        "models",
        "monitoring",
        "logged_detection",
        "hub_project",
        "service_jobs",
        "activation",
        "model_lock",
        "relabel",
        "installed",
        "hunt_again_repro",
        "console",
        "feedback_loop",
        "watch",
        "monitor_every",
    )
]


# Modules that only ask the shared server: one process runs them all, so that one server is started.
ASKING = ("contract/test_readme.py", "integration/test_service.py", "integration/test_service_contract.py")


class Scopes(LoadScopeScheduling):
    """Whole modules, and those that share the server together."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "server" if scope.endswith(ASKING) else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scopes | None:
    return Scopes(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {module: rank for rank, module in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
    for item in items:
        if item.get_closest_marker("external_data") and not CLIPS.is_dir():
            item.add_marker(
                pytest.mark.skip(reason="the real clips are not beside this checkout (../shared/data/clips)")
            )


@pytest.fixture(scope="session")
def evidently() -> ModuleType:
    """Evidently, imported: on the way it calls what its own libraries have deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("evidently")


@pytest.fixture
def clips() -> Path:
    return CLIPS


@pytest.fixture
def external() -> Path:
    """Real annotations, published scores and clips."""
    return EXTERNAL


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's root as working directory."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the shared server may read."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, footage: Path) -> Iterator[Server]:
    """The service from the source tree with the bundle that ships: one process for all tests that only ask it."""
    home = tmp_path_factory.mktemp("bentoml")
    jobs = {"HEADHUNT_JOBS_FOLDER": str(home / "jobs"), "HEADHUNT_JOBS_ROOTS": str(footage)}
    jobs |= {"HEADHUNT_EVENTS_FOLDER": str(home / "events"), "HEADHUNT_EVENTS_RECORD": "service,jobs"}
    with serving(
        ".", ROOT, home, HEADHUNT_URI_ROOTS=str(footage), HEADHUNT_DESCRIBE="true", TMPDIR=str(home), **jobs
    ) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL on loopback, without the name of a database."""
    with benchmark("kills").postgres() as database:
        yield database.url.rpartition("/")[0]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def event_settings(request: pytest.FixtureRequest, tmp_path: Path) -> EventSettings:
    """Where a test stores events: a folder with SQLite, or a new database of a real PostgreSQL."""
    folder = tmp_path / "events"
    if request.param == "sqlite":
        return EventSettings(folder=folder)
    server, name = request.getfixturevalue("postgres"), f"t{secrets.token_hex(8)}"
    engine = open_engine(f"{server}/postgres", "the test's URL").execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return EventSettings.model_validate({"folder": folder, "database": f"{server}/{name}"})


EXPLOSION_SEED = 81


def write_explosion(path: Path, start_s: int = 0, stop_s: int | None = None) -> Path:
    """A part of a scene with an explosion from 8.1 to 12.1 s."""
    from headhunt_svc.demo.corpus import write_mp4
    from headhunt_svc.demo.rendering import render
    from headhunt_svc.demo.scenes import FPS, camera, surveillance

    scene, t = surveillance(np.random.default_rng(EXPLOSION_SEED), "explosion", camera(0))
    write_mp4(path, render(scene, t[start_s * FPS : None if stop_s is None else stop_s * FPS], 128), FPS)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with an explosion."""
    return write_explosion(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds before and after an explosion, for a camera that shows it again and again."""
    return write_explosion(tmp_path_factory.mktemp("scene") / "scene.mp4", 5, 13)


def write_video(
    path: Path,
    n: int,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    times: list[int] | None = None,
) -> Path:
    """A real video whose frame i has brightness 5 * i; `times` are timestamps in ms (variable frame rate)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if times is not None:
            from fractions import Fraction

            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 5 * i % 256, np.uint8), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def benchmark(name: str) -> ModuleType:
    """A module of benchmarks/, for what it defines."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))  # they import each other
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def headhunt(*args: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command, env = [str(HEADHUNT), *map(str, args)], {**os.environ, "COLUMNS": "200"}
    return subprocess.CompletedProcess(command, *COMMANDS.run(command, cwd, env, 300))


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for what must happen."""
    for _ in range(int(seconds / 0.1)):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("did not happen")


def scored_video(
    scores: list[float] | np.ndarray,
    truth: list[tuple[int, int]] | None = None,
    name: str = "v",
    label: str | None = None,
    length: int = 1,
    fps: float = 10.0,
) -> ScoredVideo:
    """A video with a score for every `length` frames and true spans in frames."""
    spans = tuple(FrameSpan(*s) for s in truth or [])
    n = len(scores) * length
    record = VideoRecord(name, Path(name), n, fps, "test", label or ("fall" if spans else "normal"), spans)
    pieces = tuple(FrameSpan(i * length, (i + 1) * length) for i in range(len(scores)))
    return ScoredVideo(record, pieces, np.array(scores, np.float64))


@pytest.fixture
def desk(tmp_path: Path) -> "Iterator[Desk]":
    """What a console reads from, in the test's folder."""
    from headhunt_svc.console.desk import Desk
    from headhunt_svc.console.places import Places
    from headhunt_svc.events.store import EventStore
    from headhunt_svc.settings import EventSettings

    folder = tmp_path
    places = Places(
        folder / "cameras.yaml",
        folder / "states",
        folder / "monitor",
        str(folder / "log"),
        folder / "none",
        folder / "detector",
        folder / "candidate",
        folder / "deployed",
    )
    with EventStore.open(EventSettings(folder=tmp_path / "events", time_zone="Europe/Berlin")) as store:
        yield Desk(places, store)


@pytest.fixture
def desk_client(desk: "Desk") -> "Iterator[Client]":
    """Makes clients of a console without a server; keys: by name, none where nobody needs one."""
    from fastapi.testclient import TestClient

    from headhunt_svc.console.app import create_app
    from headhunt_svc.web.keys import Keys
    from helpers.consoles import BASE

    with ExitStack() as stack:

        def make(keys: dict[str, str] | None = None) -> TestClient:
            known = None if keys is None else Keys(keys.items())
            app = create_app(desk, lambda: known)
            browser = TestClient(app, base_url=BASE, follow_redirects=False, headers={"accept": "text/html"})
            return stack.enter_context(browser)

        yield make


@pytest.fixture(scope="session")
def marked_site(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """benchmarks/feedback_site.py, with `SITE`: a project of drawn features and its bundle; tests write elsewhere."""
    module, folder = benchmark("feedback_site"), tmp_path_factory.mktemp("site")
    module.SITE = module.make_site(folder, load_params(ROOT / "params.yaml"), ROOT / "artifacts" / "detector")  # type: ignore[attr-defined]
    return module
