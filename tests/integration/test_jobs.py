"""The durable queue with a real worker and the embedded detector; test_job_kills.py kills workers."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import COMMANDS, ROOT, benchmark, headhunt, until
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import ConfigError
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.jobs.models import Job, JobRequest
from headhunt_svc.jobs.queue import DONE
from headhunt_svc.jobs.worker import PREFETCH
from headhunt_svc.settings import JobSettings, Settings
from helpers.consoles import free_port
from helpers.scrapes import missing, scrape

BUNDLE = ROOT / "artifacts" / "detector"
kills = benchmark("kills")


@pytest.fixture(scope="module")
def hooks() -> Iterator[tuple[str, list[dict[str, object]], list[int]]]:
    """A receiver of webhooks: its URL, what came, and the answers that it will give first."""
    got: list[dict[str, object]] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if answers else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got, answers
    server.shutdown()
    thread.join()
    server.server_close()


class Store(HTTPServer):
    """An object store, as far as HTTP is one; `fault` is what is wrong with it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault: str | None = None
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = store.objects.get(self.path)
                fault = store.fault
                self.send_response(503 if fault == "unavailable" else 200 if body else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if body and fault != "unavailable":
                    self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def environment(hooks: object) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kills, "HEADHUNT", [COMMANDS.python, "headhunt"])
        patch.setenv("HEADHUNT_JOBS_WEBHOOK_HOSTS", "127.0.0.1")
        patch.setenv("HEADHUNT_JOBS_WEBHOOK_PRIVATE", "true")
        patch.setenv("HEADHUNT_JOBS_WEBHOOK_SECRET", "whsec_" + base64.b64encode(bytes(32)).decode())
        patch.setenv("HEADHUNT_BATCH_SEGMENTS", "8")
        patch.setenv("HEADHUNT_DECODERS", "2")  # of several videos in the scorer, none may harm another
        yield patch


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def jobs(
    environment: pytest.MonkeyPatch, metrics_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jobs]:
    """A queue on SQLite with one worker."""
    settings = JobSettings(folder=tmp_path_factory.mktemp("jobs"), checkpoint_s=0.2, backoff_s=0.1)
    worker = kills.start_worker(settings, settings.folder / "log", metrics_port=metrics_port)
    with Jobs(settings) as found:
        yield found
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=40) == 0, (settings.folder / "log").read_text()


def videos(folder: Path, n: int, seconds: int = 4) -> list[Path]:
    return [kills.make_video(folder / f"{i}.mp4", seconds, seed=hash((folder.name, i)) % 2**31) for i in range(n)]


def ended(jobs: Jobs, job_id: str) -> Job:
    until(lambda: jobs.show(job_id).state in DONE)
    return jobs.show(job_id)


def submit(jobs: Jobs, paths: list[Path], **more: object) -> str:
    return jobs.submit(JobRequest.model_validate({"inputs": [str(p) for p in paths], **more}), BUNDLE)


def scored(jobs: Jobs, key: str | None) -> int:
    return sum(s["key"] == key for s in kills.scorings(jobs.settings))


def test_rules_and_dashboards_use_what_a_worker_exports(jobs: Jobs, metrics_port: int, tmp_path: Path) -> None:
    assert ended(jobs, submit(jobs, videos(tmp_path, 1))).state == "succeeded"
    assert list(missing(scrape(f"http://127.0.0.1:{metrics_port}/metrics"), "worker")) == []


def test_a_worker_takes_one_video_more_than_it_scores_at_once(jobs: Jobs, tmp_path: Path) -> None:
    job_id = submit(jobs, videos(tmp_path, 1))
    assert ended(jobs, job_id).state == "succeeded"
    queue = jobs.queue_of(f"{job_id}/0/video/0")
    until(lambda: jobs._db._client.retrieve_queue(queue).worker_concurrency == 2 + PREFETCH)


def test_a_corrupt_video_costs_itself_only_and_retry_runs_only_what_failed(jobs: Jobs, tmp_path: Path) -> None:
    paths = videos(tmp_path, 4)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[: len(whole) // 50])
    request = JobRequest(inputs=(str(tmp_path),))
    job_id = jobs.submit(request, BUNDLE)
    assert jobs.submit(request, BUNDLE) == job_id
    assert jobs.submit(request.model_copy(update={"key": "again"}), BUNDLE) != job_id
    job = ended(jobs, job_id)
    assert job.state == "failed"
    assert [v.state for v in job.videos] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert "VideoOpenError" in str(job.videos[2].error)
    rows = [json.loads(line) for line in jobs.json_lines(job_id)]
    assert [r["scores"] is None for r in rows] == [False, False, True, False]
    paths[2].write_bytes(whole)
    assert jobs.retry(job_id) == 1
    job = ended(jobs, job_id)
    assert job.state == "succeeded"
    assert [scored(jobs, v.result) for v in job.videos] == [1, 1, 1, 1]


def test_the_same_video_is_not_scored_again_for_another_job(jobs: Jobs, tmp_path: Path) -> None:
    (path,) = videos(tmp_path, 1)
    first = ended(jobs, submit(jobs, [path]))
    path.rename(tmp_path / "other name.mp4")
    second = ended(jobs, submit(jobs, [tmp_path / "other name.mp4"]))
    assert first.videos[0].result == second.videos[0].result
    assert scored(jobs, first.videos[0].result) == 1
    assert next(jobs.rows(second.job_id))["video_id"] == "other name.mp4"


def test_events_are_described_where_a_job_asks_for_it(jobs: Jobs, clip: Path) -> None:
    """By the same worker, which loads the layers that it lacks."""
    plain, described = (ended(jobs, submit(jobs, [clip], options={"describe": describe})) for describe in (False, True))
    assert (plain.state, described.state) == ("succeeded", "succeeded")
    (without,), (row,) = (list(jobs.rows(job.job_id)) for job in (plain, described))
    assert row["scores"] == without["scores"]
    assert {event["description"] for event in without["events"]} == {None}
    local = Detector.load(BUNDLE, Settings(batch_segments=8), whole=True).detect(clip, options=Options(describe=True))
    assert [event["description"] for event in row["events"]] == [event.description for event in local.events]
    assert row["description_prompt"] == local.description_prompt
    assert row["events"]


def test_cancel_stops_within_a_batch_and_retry_goes_on_from_there(jobs: Jobs, tmp_path: Path) -> None:
    paths = videos(tmp_path, 2, seconds=240)
    earlier = set(jobs.settings.folder.glob("checkpoints/*/*"))
    job_id = submit(jobs, paths)
    until(lambda: bool(set(jobs.settings.folder.glob("checkpoints/*/*")) - earlier))
    jobs.cancel(job_id)
    job = jobs.show(job_id)
    assert job.state == "cancelled"
    (path,) = videos(tmp_path / "next", 1)
    assert ended(jobs, submit(jobs, [path])).state == "succeeded"  # the worker is free again
    assert {v.result for v in jobs.show(job_id).videos} == {None}
    before = len(kills.scorings(jobs.settings))
    assert jobs.retry(job_id) == 2
    assert ended(jobs, job_id).state == "succeeded"
    # one of the two had a checkpoint; which one goes on first is the queue's affair
    assert max(s["resumed"] for s in kills.scorings(jobs.settings)[before:]) > 0


def test_what_kills_the_scorer_is_tried_three_times_and_the_others_go_on(jobs: Jobs, tmp_path: Path) -> None:
    poison = videos(tmp_path, 1, seconds=600)[0]
    others = videos(tmp_path / "others", 2)
    before = len(kills.scorings(jobs.settings))
    job_id = submit(jobs, [poison], priority=1)

    def begun() -> list[int]:
        """Processes that scored the poison: nothing else was in the queue when it came."""
        lines = kills.scorings(jobs.settings)[before:]
        return [int(s["pid"]) for s in lines if s["key"] == lines[0]["key"]]

    until(lambda: bool(begun()))
    beside = submit(jobs, others, priority=2)
    n_kills = 0
    while jobs.show(job_id).state not in DONE:
        if len(begun()) > n_kills:
            os.kill(begun()[-1], signal.SIGSEGV)
            n_kills += 1
        time.sleep(0.05)
    (video,) = ended(jobs, job_id).videos
    assert n_kills in {3, 4}  # a death beside another video is nobody's: each is scored again alone
    assert video.state == "failed"
    assert "SIGSEGV, 3 times" in str(video.error)
    assert [v.state for v in ended(jobs, beside).videos] == ["succeeded"] * 2


def test_a_disk_that_is_full_is_waited_for_and_seen(jobs: Jobs, tmp_path: Path) -> None:
    (path,) = videos(tmp_path, 1)
    results = jobs.settings.folder / "results"
    results.rename(tmp_path / "away")
    results.touch()  # nothing can be written below a file
    job_id = submit(jobs, [path])
    until(lambda: any(v.trouble and v.trouble.attempt > 1 for v in jobs.show(job_id).videos))
    assert "cannot write" in jobs.show(job_id).videos[0].trouble.reason
    results.unlink()
    (tmp_path / "away").rename(results)
    assert ended(jobs, job_id).state == "succeeded"


def test_a_store_that_is_away_is_waited_for_and_seen(jobs: Jobs, store: Store, tmp_path: Path) -> None:
    (path,) = videos(tmp_path, 1)
    store.objects["/day/a.mp4"] = path.read_bytes()
    for fault, said in (("unavailable", "503"), ("cut", "")):
        store.fault = fault
        job_id = jobs.submit(JobRequest(inputs=(f"{store.url}/day/a.mp4",), key=fault), BUNDLE)
        until(lambda job_id=job_id: any(v.trouble and v.trouble.attempt > 1 for v in jobs.show(job_id).videos))
        (video,) = jobs.show(job_id).videos
        assert video.trouble is not None
        assert f"{store.url}/day/a.mp4 cannot be fetched now (" in video.trouble.reason
        assert said in video.trouble.reason
        store.fault = None
        assert ended(jobs, job_id).state == "succeeded"
    gone = ended(jobs, jobs.submit(JobRequest(inputs=(f"{store.url}/day/b.mp4",)), BUNDLE))
    assert "there is no such video" in str(gone.videos[0].error)


def test_webhooks_come_until_they_are_taken(
    jobs: Jobs, hooks: tuple[str, list[dict[str, object]], list[int]], tmp_path: Path
) -> None:
    url, got, answers = hooks
    answers += [500, 500]
    job_id = submit(jobs, videos(tmp_path, 1), options={"threshold": 0}, webhook=url)
    until(lambda: [d.state for d in jobs.deliveries(job_id)] == ["succeeded", "succeeded"])
    assert sum(d.attempts for d in jobs.deliveries(job_id)) == 4
    assert {g["event"] for g in got} == {"events", "finished"}
    (events,) = (g["events"] for g in got[-2:] if g["event"] == "events")
    assert events
    with pytest.raises(ConfigError, match="may not go to"):
        submit(jobs, [tmp_path], webhook="http://elsewhere.example/")


def test_the_command_line(jobs: Jobs, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HEADHUNT_JOBS_FOLDER", str(jobs.settings.folder))
    videos(tmp_path, 2)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    job_id = headhunt("jobs", "submit", tmp_path).stdout.strip()
    assert headhunt("jobs", "watch", job_id).returncode == 3
    lines = [json.loads(line) for line in headhunt("jobs", "results", job_id).stdout.splitlines()]
    assert [r["state"] for r in lines] == ["succeeded", "succeeded", "failed"]
    assert headhunt("jobs", "results", job_id, "--out", tmp_path / "r.parquet").returncode == 0
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == lines
    assert job_id in headhunt("jobs", "list").stdout
    assert "bad.mp4" in headhunt("jobs", "show", job_id).stdout
    assert headhunt("jobs", "show", "nonsense").returncode == 2


def test_purge_keeps_what_another_job_needs(jobs: Jobs, tmp_path: Path) -> None:
    old = ended(jobs, submit(jobs, videos(tmp_path, 2)))
    result = jobs.store.result_path(str(old.videos[0].result))
    assert jobs.purge(1) == 0
    assert result.exists()
    assert jobs.purge(0) >= 1
    assert not result.exists()
    with pytest.raises(ConfigError, match="there is no job"):
        jobs.show(old.job_id)


def test_file_names_of_any_bytes_go_through_the_queue(
    jobs: Jobs, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("HEADHUNT_JOBS_FOLDER", str(jobs.settings.folder))
    names = [b"k\xfcche.mp4", b"\x1b[31m\n.mp4", b"[red]q[bold].mp4", b"a/x.mp4", b"b/x.mp4"]
    for i, name in enumerate(names):
        kills.make_video(tmp_path / os.fsdecode(name), 2, seed=i)
    bad = tmp_path / os.fsdecode(b"bad\xff\x1b[2J.mp4")
    bad.write_bytes(b"no video")
    paths = [tmp_path / os.fsdecode(name) for name in names]
    job_id = headhunt("jobs", "submit", *paths, bad).stdout.strip()
    assert headhunt("jobs", "watch", job_id).returncode == 3
    rows = [json.loads(line) for line in headhunt("jobs", "results", job_id).stdout.splitlines()]
    ids = ["k%FCche.mp4", "%1B[31m%0A.mp4", "[red]q[bold].mp4", "a/x.mp4", "b/x.mp4"]
    assert [(r["video_id"], r["state"]) for r in rows] == [
        *((video_id, "succeeded") for video_id in ids),
        ("bad%FF%1B[2J.mp4", "failed"),
    ]
    shown = headhunt("jobs", "show", job_id)
    assert f"{tmp_path}/bad%FF%1B[2J.mp4: not a video" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr
    assert headhunt("jobs", "results", job_id, "--out", tmp_path / "r.parquet").returncode == 0
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == rows
