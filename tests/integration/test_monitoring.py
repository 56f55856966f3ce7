"""`headhunt monitor` as a user runs it; the dashboard opens in a real browser."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from standardwebhooks import Webhook

from conftest import HEADHUNT, ROOT, headhunt, write_video
from headhunt_svc.demo.simulation import restamped
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.store import Store
from helpers.detecting import detect_logged
from helpers.log_rows import START, read_rows
from helpers.receiver import http_receiver

WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two cameras: one video, as the real detector logs it, again and again."""
    folder, detector = tmp_path_factory.mktemp("monitored"), Detector.load(ROOT / "artifacts" / "detector")
    with PredictionLog(str(folder / "once"), retention_days=36_500) as log:
        recorder = Recorder(log, probe_share=0.3)
        detect_logged(recorder, detector, write_video(folder / "a.mp4", 320), recorded=START)
    once = read_rows(folder / "once").sort_by("segment")
    name, *_ = Store(str(folder / "once")).glob("day=*/camera=*/*.parquet")  # a slow machine writes several
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
