"""Detection is logged and probed as a user runs it; the dashboard opens in a real browser."""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from conftest import HEADHUNT, ROOT, headhunt, write_video
from headhunt_svc.demo.simulation import restamped
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata, projection
from headhunt_svc.prediction_log.writer import PredictionLog, unmerged_files
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.store import Store
from helpers.detecting import batches_of, detect_logged
from helpers.receiver import http_receiver

START = datetime(2026, 3, 1, tzinfo=UTC)
WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def read(log: Path) -> pa.Table:
    store = Store(str(log))
    names = unmerged_files(store.glob("day=*/camera=*/*.parquet"))
    return pa.concat_tables([pq.read_table(log / n).cast(COLUMNS) for n in names]).unify_dictionaries()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("footage") / "gate" / "a.mp4", 16 * 20 + 5)


def test_detecting_with_a_log_writes_what_the_report_says(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = headhunt("detect", video, "--json")
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("HEADHUNT_PROBE_SHARE", "0.5")
    done = headhunt("detect", video.parent.parent, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    report = load_report(tmp_path / "out" / "gate" / "a.mp4.json")
    rows = read(tmp_path / "log").sort_by("segment").to_pydict()
    assert set(rows["camera"]) == {"gate"}
    assert set(rows["video"]) == {"gate/a.mp4"}
    assert set(rows["detector_id"]) == {report.detector_id}
    assert len(set(rows["pass_id"])) == 1
    assert rows["segment"] == [s.index for s in report.scores]
    for name in ("raw", "start_s", "stop_s"):
        assert rows[name] == [getattr(s, name) for s in report.scores]
    np.testing.assert_allclose(rows["smoothed"], [s.smoothed for s in report.scores], atol=1e-12)
    assert rows["in_event"] == [s.smoothed > report.threshold for s in report.scores]
    # the log and the probe change no score
    assert [s["raw"] for s in json.loads(plain.stdout)["scores"]] == rows["raw"]
    probed = [i for i, p in enumerate(rows["prompt_scores"]) if p is not None]
    assert 0 < len(probed) < len(rows["raw"])
    logit = np.array(rows["contributions"]).sum(1) + report.lineage.bias
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), rows["raw"], atol=1e-5)
    for i in probed:  # the first calibration prompt is the one that scores
        assert rows["prompt_scores"][i][0] == pytest.approx(rows["raw"][i], abs=1e-5)
        np.testing.assert_allclose(rows["prompt_contributions"][i][:10], rows["contributions"][i], atol=1e-4)
    assert np.all(np.diff(rows["brightness"][:3]) > 0)  # frame i has brightness 5 i


@pytest.mark.parametrize("options", [Options(), Options(smoothing="causal"), Options(operating_point="recall")])
def test_smoothed_scores_are_final_when_they_are_logged(
    detector: Detector, video: Path, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "batch_segments", 4)
    log = PredictionLog(str(tmp_path))
    waiting: list[int] = []
    recorder = Recorder(log, probe_share=0.0)
    scored = 0

    def count(batch: ScoredBatch) -> None:
        nonlocal scored
        scored += len(batch.raw)
        log.flush()
        waiting.append(scored - log.status.written)

    report = detect_logged(recorder, detector, video, "a.mp4", options, after_each=count)
    log.close()
    rows = read(tmp_path).sort_by("segment").to_pydict()
    np.testing.assert_allclose(rows["smoothed"], [s.smoothed for s in report.scores], atol=1e-12)
    most = 0 if options.smoothing == "causal" else int(4 * report.sigma_segments + 0.5)
    assert waiting == [most] * len(waiting)


def test_features_are_kept_as_asked_and_the_projection_is_of_each_head(
    detector: Detector, video: Path, tmp_path: Path
) -> None:
    z = np.concatenate([b.features for b in batches_of(detector, video)])
    for kept, expected in (("all", z), ("projected", z @ projection(16)), ("none", None)):
        with PredictionLog(str(tmp_path / kept)) as log:
            detect_logged(Recorder(log, kept, 0.0), detector, video)  # type: ignore[arg-type]
        features = read(tmp_path / kept).sort_by("segment")["features"].to_pylist()
        if expected is None:
            assert set(features) == {None}
        else:
            np.testing.assert_allclose(features, expected.reshape(len(z), -1), atol=1e-4)
    name = Store(str(tmp_path / "all")).glob("day=*/camera=*/*.parquet")[0]
    metadata = LogMetadata.from_parquet(pq.read_schema(tmp_path / "all" / name).metadata, name)
    assert metadata.heads == detector.scorer.heads


def test_a_resumed_video_is_logged_once(
    detector: Detector, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "batch_segments", 8)
    whole, batches = detector.detect(video), batches_of(detector, video)
    with PredictionLog(str(tmp_path)) as log:
        again = detect_logged(Recorder(log, probe_share=0.0), detector, video, resume=batches[:1])
    rows = read(tmp_path).sort_by("segment").to_pydict()
    assert rows["segment"] == list(range(8, len(whole.scores)))
    np.testing.assert_allclose(rows["smoothed"], [s.smoothed for s in again.scores[8:]], atol=1e-12)


def test_a_failing_probe_or_log_fails_no_score(
    detector: Detector, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = detector.detect(video)
    monkeypatch.setattr("headhunt_svc.prediction_log.guard._logged", set())
    features = detector.extractor.features

    def only_one_prompt(pixels: torch.Tensor, prompts: list[str], *more: object) -> np.ndarray:
        if len(prompts) > 1:
            raise RuntimeError("no memory for the probe")
        return features(pixels, prompts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(detector.extractor, "features", only_one_prompt)
    with PredictionLog(str(tmp_path / "probe")) as log:
        report = detect_logged(Recorder(log, probe_share=1.0), detector, video)
    assert report == plain
    rows = read(tmp_path / "probe").to_pydict()
    assert len(rows["raw"]) == len(plain.scores)
    assert set(rows["prompt_scores"]) == {None}
    assert None not in rows["brightness"]
    assert caplog.text.count("prediction log failed, scoring goes on: no memory for the probe") == 1

    lost = REGISTRY.get_sample_value("headhunt_prediction_log_lost_rows_total", {"reason": "observer failed"}) or 0
    monkeypatch.setattr("headhunt_svc.prediction_log.rows.kept_features", lambda features, kept: 1 / 0)
    with PredictionLog(str(tmp_path / "rows")) as log:
        assert detect_logged(Recorder(log, probe_share=0.0), detector, video) == plain
    assert caplog.text.count("prediction log failed, scoring goes on: division by zero") == 1
    after = REGISTRY.get_sample_value("headhunt_prediction_log_lost_rows_total", {"reason": "observer failed"})
    assert after is not None
    assert after > lost


def test_the_service_logs_what_it_scores_beside_other_videos(video: Path, tmp_path: Path) -> None:
    settings = Settings(prediction_log=str(tmp_path), probe_share=1.0)
    failed: list[Exception] = []

    async def report_of(engine: Engine, work: Work, name: str, camera: str) -> Report:
        request = Video(video, name, DetectOptions(camera=camera))
        items = [item async for item in engine.detect(work, request)]
        report = items[-1]
        assert isinstance(report, Report)
        assert sum(len(b.raw) for b in items[:-1] if isinstance(b, ScoredBatch)) == len(report.scores)
        return report

    async def both() -> tuple[Engine, list[Report]]:
        engine = Engine(settings, ROOT / "artifacts" / "detector")
        engine.load(failed.append)
        while not engine.ready:
            assert not failed
            await asyncio.sleep(0.05)
        async with engine.admitted() as one, engine.admitted() as other:
            works = [report_of(engine, w, f"{c}.mp4", c) for w, c in ((one, "gate"), (other, ""))]
            return engine, list(await asyncio.gather(*works))

    engine, reports = asyncio.run(both())
    assert engine.recorder.log is not None
    engine.recorder.log.close()
    rows = read(tmp_path).to_pydict()
    for report, camera in zip(reports, ("gate", "unnamed"), strict=True):
        mine = [i for i, c in enumerate(rows["camera"]) if c == camera]
        by_segment = sorted(mine, key=lambda i: rows["segment"][i])
        assert [rows["raw"][i] for i in by_segment] == [s.raw for s in report.scores]
        assert all(len(rows["prompt_scores"][i]) == 4 for i in mine)
        assert all(rows["brightness"][i] is not None for i in mine)


def test_an_archive_is_logged_too_and_its_events_are_stored(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    monkeypatch.setenv("HEADHUNT_EVENTS_RECORD", "archives")
    done = headhunt("batch", video.parent.parent, "--out", tmp_path / "out", "--threshold", "0")
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "log").to_pydict()
    assert sorted(rows["segment"]) == list(range(21))
    assert (set(rows["camera"]), set(rows["video"])) == ({"gate"}, {"gate/a.mp4"})
    with EventStore.open(EventSettings()) as store:
        assert [(event.camera, event.origin, event.clip) for event in store.list()] == [("gate", "archive", True)]


FILLED = """
import resource, sys
from pathlib import Path
from prometheus_client import REGISTRY
from standardwebhooks import Webhook
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.video.opening import open_video

bundle, video, disk, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
ballast = disk / "ballast"

def fill():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        return
    with ballast.open("wb", buffering=0) as f:
        try:
            while f.write(bytes(512)):
                pass
        except OSError as exc:
            print("filled:", exc.strerror)

def free():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ballast.unlink(missing_ok=True)

detector = Detector.load(bundle)
plain = detector.detect(video)
with PredictionLog(str(disk / "log")) as log:
    fill()
    recorder = Recorder(log)
    with open_video(video) as opened:
        batches = detector.score(opened, recorder.probing(detector))
        batches = recorder.record(detector, opened.video_id, batches)
        assert detector.report(opened, batches) == plain
    log.flush()
    assert "cannot write" in log.status.stopped, log.status
    assert REGISTRY.get_sample_value("headhunt_prediction_log_stopped") == 1
    free()
    log.flush()
    assert REGISTRY.get_sample_value("headhunt_prediction_log_stopped") == 0
    assert log.status.written == len(plain.scores), log.status
    assert log.status.lost == 0
"""


def test_a_full_disk_stops_the_log_and_not_the_scoring(video: Path, tmp_path: Path) -> None:
    """On a file system of its own that is full; where none may be mounted, at a limit of the system."""
    disk, apart = tmp_path / "disk", ["unshare", "--mount", "--map-root-user", "sh", "-ec"]
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$0"'
    may = subprocess.run([*apart, mount, disk], capture_output=True).returncode == 0
    command = [sys.executable, "-c", FILLED, ROOT / "artifacts" / "detector", video, disk, "disk" if may else "limit"]
    if may:
        command = [*apart, f'{mount}; exec "$@"', disk, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not may or "filled: No space left on device" in done.stdout


def test_lost_pictures_are_logged_where_they_were_lost(detector: Detector, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", 400, size=(320, 240))
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "broken.mp4").write_bytes(data)
    with PredictionLog(str(tmp_path / "log")) as log:
        report = detect_logged(Recorder(log, probe_share=0.0), detector, tmp_path / "broken.mp4")
    dropped = read(tmp_path / "log").sort_by("segment")["dropped_frames"].to_pylist()
    assert report.gaps
    assert 0 < sum(dropped) <= sum(g.packets for g in report.gaps)


# -- the dashboard ----------------------------------------------------------------------------------------------------
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Path:
    """Three days of two cameras: one video, as the real detector logs it, again and again."""
    folder = tmp_path_factory.mktemp("monitored")
    with PredictionLog(str(folder / "once"), retention_days=36_500) as log:
        recorder = Recorder(log, probe_share=0.3)
        detect_logged(recorder, detector, write_video(folder / "a.mp4", 320), recorded=START)
    once = read(folder / "once").sort_by("segment")
    (name,) = Store(str(folder / "once")).glob("day=*/camera=*/*.parquet")
    metadata = LogMetadata.from_parquet(pq.read_schema(folder / "once" / name).metadata, name)
    with PredictionLog(str(folder / "log"), retention_days=36_500) as log:
        for hours in range(72):
            for camera in ("dock", "gate"):
                time_of_pass = START + timedelta(hours=hours)
                log.put(metadata, restamped(once, time_of_pass, f"{camera}-{hours}", camera))
    return folder


def run_monitor(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    places = [x for n in ("log", "baselines", "out", "workspace") for x in (f"--{n}", str(folder / n))]
    return headhunt("monitor", "run", *places, *args)


def test_a_log_that_is_not_there_is_wrong_use_and_not_fine(tmp_path: Path) -> None:
    done = headhunt("monitor", "run", "--log", tmp_path / "lgo", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "name the log with --log or HEADHUNT_PREDICTION_LOG" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_the_monitor_as_a_command(monitored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for camera in ("dock", "gate"):
        done = headhunt(
            "monitor", "rebaseline", "--camera", camera, "--from", "2026-03-01", "--to", "2026-03-02", "--log",
            monitored / "log", "--baselines", monitored / "baselines", "--why", "good",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for day in ("2026-03-03", "2026-03-04"):
        done = run_monitor(monitored, "--at", day, "--json")
        assert done.returncode == 0, done.stderr
        verdict = json.loads(done.stdout)
        assert {n: c["status"] for n, c in verdict["cameras"].items()} == {
            "dock": "fine", "gate": "fine", "all cameras": "fine"
        }  # fmt: skip
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(tmp_path / "events"))
    monkeypatch.setenv("HEADHUNT_NOTIFY_FILE", str(tmp_path / "notify.yaml"))
    monkeypatch.setenv("HEADHUNT_NOTIFY_BACKOFF_S", "0.01")
    with http_receiver() as receiver:
        channel = f"{{webhook: '{receiver.url}', secret: {WEBHOOK_SECRET}}}"
        (tmp_path / "notify.yaml").write_text(f"channels: {{ops: {channel}}}")
        receiver.answers += [503] * 9  # the receiver is away while the alarm begins
        late = run_monitor(monitored, "--at", "2026-03-10", "--notify", "ops")
        receiver.answers.clear()
        tried = len(receiver.posts)
        again = run_monitor(monitored, "--at", "2026-03-10T01:00:00", "--notify", "ops")  # it is sent by the next run
        once = run_monitor(monitored, "--at", "2026-03-10T02:00:00", "--notify", "ops")
    assert 1 <= tried <= 9
    assert "channel ops: 1 messages wait: answered 503" in late.stderr
    assert "wait" not in again.stderr
    assert once.returncode == 4
    (headers, body) = receiver.posts[-1]
    message = Webhook(WEBHOOK_SECRET).verify(body, headers)
    assert len(receiver.posts) == tried + 1
    assert {h["webhook-id"] for h, _ in receiver.posts} == {message["delivery_id"]}
    assert (message["kind"], message["phase"]) == ("log", "begin")  # neither camera has rows: one alarm
    assert "no rows of any of 2 cameras" in message["text"]
    assert late.returncode == 4
    assert "no rows of dock on 2026-03-09" in late.stdout
    assert "dock: silent since 2026-03-03 23:00" in late.stdout


@pytest.fixture
def dashboard(monitored: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workspace = str(monitored / "workspace")
    command = [str(HEADHUNT), "monitor", "ui", "--evidently", "--workspace", workspace, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/projects", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)


def answers(address: str) -> bytes | None:
    """What is answered there; None: nobody does."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return None


def test_the_ui_is_the_consoles_drift_page_with_a_link_to_evidently(monitored: Path, tmp_path: Path) -> None:
    (tmp_path / "verdicts").symlink_to(monitored / "out")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(HEADHUNT), "monitor", "ui", "--monitor", str(tmp_path), "--workspace", str(monitored / "workspace"),
        "--log", str(monitored / "log"), "--port", address.rpartition(":")[2],
    ]  # fmt: skip
    environment = os.environ | {"HEADHUNT_EVENTS_FOLDER": str(tmp_path / "events")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while (page := answers(f"{address}/drift")) is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert b"dock" in page
        (evidently,) = re.findall(r'<a href="(http://127\.0\.0\.1:\d+)">Evidently', page.decode())
        while answers(f"{evidently}/api/projects") is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read().strip() == f"drift: {address}/drift"
        assert process.wait(30) == 130
    assert answers(f"{evidently}/api/projects") is None


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_dashboard_shows_data_and_asks_nobody_else(monitored: Path, dashboard: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    project = json.loads(urllib.request.urlopen(f"{dashboard}/api/projects", timeout=30).read())[0]["id"]
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1200",
            f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={tmp_path / 'net.json'}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-background-networking",
            "--disable-component-update", "--no-first-run",
            "--virtual-time-budget=20000", "--dump-dom", f"{dashboard}/projects/{project}",
        ],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    page = done.stdout
    assert "Score drift" in page, done.stderr[-2000:]
    assert page.count("MuiMarkElement") >= 8 * 2 * 2  # panels, cameras, days
    for camera in ("dock", "gate"):
        assert camera in page
    log = json.loads((tmp_path / "net.json").read_text())
    kind = log["constants"]["logSourceType"]["URL_REQUEST"]
    of_requests = [e.get("params", {}) for e in log["events"] if e.get("source", {}).get("type") == kind]
    # the browser's own requests have no initiator; those of the page have the page's origin
    asked = {p["url"] for p in of_requests if str(p.get("initiator", "")).startswith("http") and "url" in p}
    assert any("/api/" in url for url in asked)
    assert [url for url in asked if not url.startswith(dashboard)] == []
