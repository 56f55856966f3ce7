"""`headhunt monitor run --every` as a process: an alarm is one message and one "resolved", also over a restart."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from standardwebhooks import Webhook

from conftest import COMMANDS, ROOT
from headhunt_svc.monitoring.baselines import Baselines
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import rebaseline
from headhunt_svc.notify.outbox import LEASE_S
from helpers.consoles import free_port
from helpers.log_rows import rows, write
from helpers.receiver import Receiver, http_receiver
from helpers.scrapes import missing, scrape

SECRET = "whsec_" + "A" * 43 + "="
PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml")
HOUR, EVERY_S = timedelta(hours=1), 1.2
DARK = {"brightness": np.full(16, 0.2)}


def log_hours(log: Path, cameras: tuple[str, ...], start: datetime, dark: tuple[str, ...] = ()) -> None:
    """A block of rows in each of 20 hours."""
    tables = []
    for camera in cameras:
        for hour in range(20):
            columns = DARK if camera in dark else {}
            tables.append(rows(16, camera, f"{start}-{hour}.mp4", start + hour * HOUR, hour, **columns))
    write(str(log), *tables)


@contextmanager
def monitoring(folder: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """The monitor, run again and again, until it is killed."""
    places = [x for n in ("log", "baselines", "out", "workspace") for x in (f"--{n}", str(folder / n))]
    command = COMMANDS.headhunt(
        "monitor", "run", *places, "--cameras", folder / "cameras.yaml", "--notify", "ops",
        "--every", str(EVERY_S / 60), "--port", str(port), "--reference", folder / "none",
    )  # fmt: skip
    env = os.environ | {
        "HEADHUNT_EVENTS_FOLDER": str(folder / "events"),
        "HEADHUNT_NOTIFY_FILE": str(folder / "notify.yaml"),
        "HEADHUNT_NOTIFY_BACKOFF_S": "0.01",
    }
    with (folder / "printed.txt").open("a") as printed:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=printed, stderr=printed, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_for(what: Callable[[], object], process: "subprocess.Popen[str]", folder: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        printed = (folder / "printed.txt").read_text()
        assert process.poll() is None, printed
        assert time.monotonic() < deadline, printed
        time.sleep(0.1)


def texts(receiver: Receiver) -> list[tuple[str, str, str]]:
    messages = [Webhook(SECRET).verify(body, headers) for headers, body in receiver.posts]
    return [(m["kind"], m["phase"], m["camera"]) for m in messages]


def runs_after(folder: Path) -> Callable[[int], bool]:
    """Has the monitor judged so many windows more?"""
    verdicts = folder / "out"
    before = len(list(verdicts.glob("*/verdict.json")))
    return lambda n: len(list(verdicts.glob("*/verdict.json"))) >= before + n


def test_an_alarm_is_one_message_and_one_resolved_over_rounds_failed_posts_and_a_kill(tmp_path: Path) -> None:
    now, port = datetime.now(UTC), free_port()
    earlier = now - timedelta(days=4)
    log_hours(tmp_path / "log", ("yard", "dock"), earlier)
    for camera in ("yard", "dock"):
        query = PARAMS.query(earlier - HOUR, earlier + 21 * HOUR)
        rebaseline(str(tmp_path / "log"), Baselines(tmp_path / "baselines"), camera, query, PARAMS.min_segments, "")
    log_hours(tmp_path / "log", ("yard",), now - 22 * HOUR, dark=("yard",))
    lines = "".join(
        f"  {n}: {{source: 'rtsp://10.0.0.1/{n}', expect_every_s: {s}}}\n" for n, s in (("yard", 86400), ("dock", 60))
    )
    (tmp_path / "cameras.yaml").write_text(f"cameras:\n{lines}")
    with http_receiver() as receiver:
        hook = f"{{webhook: '{receiver.url}', secret: {SECRET}}}"
        (tmp_path / "notify.yaml").write_text(f"channels: {{ops: {hook}}}")
        receiver.answers += [503] * 1000  # the receiver is away when the alarms begin
        with monitoring(tmp_path, port) as process:
            wait_for(lambda: len(set(texts(receiver))) == 2, process, tmp_path)
            assert set(texts(receiver)) == {("drift", "begin", "yard"), ("silence", "begin", "dock")}
            text = scrape(f"http://127.0.0.1:{port}/metrics")
            assert list(missing(text, "monitor")) == []
            assert 'headhunt_monitor_alarm{camera="dock",kind="pipeline"} 1.0' in text
            assert 'headhunt_notify_failures_total{channel="ops"}' in text
        receiver.answers.clear()
        receiver.posts.clear()
        with monitoring(tmp_path, port) as process:  # after kill -9
            more = runs_after(tmp_path)
            # if it was killed while it sent, the message is left alone for LEASE_S
            wait_for(lambda: len(receiver.posts) >= 2 and more(2), process, tmp_path, LEASE_S + 60)
            assert sorted(texts(receiver)) == [("drift", "begin", "yard"), ("silence", "begin", "dock")]
            log_hours(tmp_path / "log", ("dock",), datetime.now(UTC) - 19 * HOUR - timedelta(minutes=1))
            wait_for(lambda: len(receiver.posts) > 2, process, tmp_path)
            more = runs_after(tmp_path)
            wait_for(lambda: more(2), process, tmp_path)
    assert texts(receiver)[2:] == [("silence", "end", "dock")]
