"""The client of the queue on SQLite; a pretended worker writes what DBOS would, so no process is started."""

import base64
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOSClient

from conftest import ROOT
from headhunt_svc.errors import ConfigError, OutputError, UnreachableError
from headhunt_svc.jobs.client import Jobs, NoSuchJobError
from headhunt_svc.jobs.inputs import within
from headhunt_svc.jobs.models import AttemptOutcome, Job, JobOptions, JobRequest
from headhunt_svc.jobs.queue import SERIALIZER, enqueue_options
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.locks import locked
from helpers.reports import REPORT

BUNDLE = ROOT / "artifacts" / "detector"
HOOK = "https://ops.example.org/hook"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    values = {
        "folder": tmp_path / "jobs",
        "webhook_hosts": ["ops.example.org"],
        "webhook_secret": "whsec_" + base64.b64encode(bytes(32)).decode(),
    }
    with Jobs(JobSettings.model_validate(values)) as client:
        yield client


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    (tmp_path / "footage").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / "footage" / name).write_bytes(name.encode())
    return tmp_path / "footage"


class PretendedWorker:
    """Enqueues the videos of submitted jobs and writes outcomes into the database."""

    def __init__(self, settings: JobSettings) -> None:
        self.path = settings.folder / "jobs.sqlite"
        self.url = settings.database_url

    def expand(self, job_id: str, number: int, *indices: int) -> None:
        """Run the workflow JOB/NUMBER."""
        client = DBOSClient(system_database_url=self.url, serializer=SERIALIZER)
        for i in indices:
            client.enqueue(enqueue_options("videos", "video", f"{job_id}/{number}/video/{i}"))
        client.destroy()
        self.set(f"{job_id}/{number}", "SUCCESS")

    def set(self, workflow_id: str, status: str, outcome: AttemptOutcome | None = None, **columns: object) -> None:
        """Change the state of a workflow."""
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            changes = {"status": status, **columns}
            names = ", ".join(f"{name} = ?" for name in changes)
            values = (*changes.values(), workflow_id)
            assert db.execute(f"update workflow_status set {names} where workflow_uuid = ?", values).rowcount == 1
            if outcome is not None:
                db.execute("insert into workflow_output values (?, ?, null, 0)", (workflow_id, self._text(outcome)))

    def set_event(self, workflow_id: str, name: str, value: dict[str, Any]) -> None:
        """What DBOS.set_event writes."""
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            row = (workflow_id, name, self._text(value), SERIALIZER.name())
            db.execute("insert into workflow_events values (?, ?, ?, ?)", row)

    @staticmethod
    def _text(value: object) -> str:
        return str(SERIALIZER.serialize(value))


@pytest.fixture
def worker(jobs: Jobs) -> PretendedWorker:
    return PretendedWorker(jobs.settings)


def submit(jobs: Jobs, *inputs: Path, **more: object) -> str:
    return jobs.submit(JobRequest.model_validate({"inputs": [str(i) for i in inputs], **more}), BUNDLE)


def states(jobs: Jobs, job_id: str) -> list[str]:
    return [v.state for v in jobs.show(job_id).videos]


def test_the_same_request_is_the_same_job_and_another_key_another(jobs: Jobs, footage: Path) -> None:
    job_id = submit(jobs, footage)
    assert submit(jobs, footage) == job_id
    other = submit(jobs, footage, key="again")
    assert other != job_id
    assert {job.job_id for job in jobs.all()} == {job_id, other}
    assert all(job.videos == () for job in jobs.all())


def test_what_cannot_be_scored_is_refused_when_it_is_submitted(jobs: Jobs, footage: Path) -> None:
    for more, message in (
        ({"options": {"operating_point": "none"}}, "none"),
        ({"webhook": "https://elsewhere.example/"}, "may not go to"),
    ):
        with pytest.raises(ConfigError, match=message):
            submit(jobs, footage, **more)
    with pytest.raises(ConfigError, match="HEADHUNT_JOBS_ROOTS"):
        jobs.submit(JobRequest.model_validate({"inputs": [str(footage)]}), BUNDLE, within([], []))
    assert jobs.all() == []


def test_a_job_that_no_worker_has_begun_is_queued(jobs: Jobs, footage: Path) -> None:
    job = jobs.show(submit(jobs, footage, priority=7, options={"contributions": True}))
    assert (job.state, job.percent, job.eta_s) == ("queued", 0, None)
    assert [v.video_id for v in job.videos] == ["a.mp4", "b.mp4", "c.mp4"]
    assert job.counts == {"queued": 3, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert job.request.priority == 7
    assert job.request.options == JobOptions.model_validate({"contributions": True})


def test_a_job_that_was_queued_under_the_old_name_of_an_option_can_still_be_read() -> None:
    assert JobOptions.model_validate({"attribution": True}).contributions


@pytest.mark.parametrize("job_id", ["0" * 12, "nonsense", "../0", ""])
def test_an_unknown_job_is_named(jobs: Jobs, job_id: str) -> None:
    for method in (jobs.show, jobs.cancel, jobs.retry):
        with pytest.raises(NoSuchJobError, match="there is no job"):
            method(job_id)
    assert jobs.deliveries(job_id) == []


def test_states_errors_and_results_of_videos(jobs: Jobs, worker: PretendedWorker, footage: Path) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1, 2)
    now = int(1000 * time.time())
    jobs.store.save("k" * 32, REPORT)
    worker.set(f"{job_id}/0/video/0", "SUCCESS", {"result": "k" * 32, "events": 1}, started_at_epoch_ms=now - 60_000)
    worker.set(f"{job_id}/0/video/1", "PENDING", started_at_epoch_ms=now)
    worker.set_event(f"{job_id}/0/video/1", "trouble", {"reason": "the store is away", "attempt": 2})
    job = jobs.show(job_id)
    assert job.state == "running"
    assert [v.state for v in job.videos] == ["succeeded", "running", "queued"]
    assert (job.videos[0].result, job.videos[0].events) == ("k" * 32, 1)
    assert job.videos[1].trouble is not None
    assert job.videos[1].trouble.reason == "the store is away"
    assert job.eta_s == pytest.approx(120, abs=5)  # two left, a minute each
    worker.set(f"{job_id}/0/video/0", "SUCCESS", started_at_epoch_ms=now + 3_600_000)
    worker.set(f"{job_id}/0/video/1", "PENDING", started_at_epoch_ms=now + 3_600_000)
    assert jobs.show(job_id).eta_s == 0  # a clock was set back
    (row,) = jobs.rows(job_id)
    assert (row["video_id"], row["state"], row["threshold"]) == ("a.mp4", "succeeded", REPORT.threshold)
    worker.set(f"{job_id}/0/video/1", "SUCCESS", {"error": "VideoOpenError: empty"})
    worker.set(f"{job_id}/0/video/2", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    job = jobs.show(job_id)
    assert (job.state, job.percent, job.eta_s) == ("failed", 100, 0)
    assert [v.error for v in job.videos[1:]] == [
        "VideoOpenError: empty",
        "the worker failed: MAX_RECOVERY_ATTEMPTS_EXCEEDED",
    ]


def test_a_page_of_a_job_has_the_counts_of_all_its_videos(jobs: Jobs, worker: PretendedWorker, footage: Path) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1, 2)
    jobs.store.save("k" * 32, REPORT)
    worker.set(f"{job_id}/0/video/0", "SUCCESS", {"error": "broken"})
    worker.set(f"{job_id}/0/video/1", "SUCCESS", {"result": "k" * 32, "events": 0})
    worker.set(f"{job_id}/0/video/2", "SUCCESS", {"result": "k" * 32, "events": 2})
    whole = jobs.show(job_id)
    for offset, limit in ((0, 0), (0, 2), (1, 1), (2, 9), (9, 1)):
        page = jobs.show(job_id, offset, limit)
        assert page.videos == whole.videos[offset : offset + limit]
        assert page.model_copy(update={"videos": whole.videos}) == whole
    assert [v.index for v in jobs.show(job_id, notable=True).videos] == [0, 2]
    assert jobs.retry(job_id) == 1
    worker.expand(job_id, 1, 0)
    worker.set(f"{job_id}/1/video/0", "SUCCESS", {"result": "k" * 32, "events": 0})
    page = jobs.show(job_id, limit=1)  # the retry has taken the place of the failure
    assert (page.state, page.counts["succeeded"], page.counts["failed"]) == ("succeeded", 3, 0)
    assert [v.index for v in jobs.show(job_id, notable=True).videos] == [2]


def test_a_page_of_a_big_job_loads_this_page_only(
    jobs: Jobs, worker: PretendedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured in workflows loaded, not in seconds: a job of 100,000 videos took 7 s to show."""
    job_id = submit(jobs, *(Path(f"/nowhere/{i}.mp4") for i in range(60)))
    worker.expand(job_id, 0, *range(60))
    loaded = 0
    real = DBOSClient.list_workflows

    def counting(*args: Any, **filters: Any) -> list[Any]:
        nonlocal loaded
        workflows = real(*args, **filters)
        loaded += len(workflows)
        return workflows

    monkeypatch.setattr(DBOSClient, "list_workflows", counting)
    assert len(jobs.show(job_id, limit=10).videos) == 10
    assert loaded <= 11
    loaded = 0
    assert (len(jobs.all()), jobs.by_state()[1]) == (1, {"queued": 60})
    assert loaded <= 2


def test_a_database_that_breaks_is_named_by_every_method(jobs: Jobs, footage: Path) -> None:
    job_id = submit(jobs, footage)
    with closing(sqlite3.connect(jobs.settings.folder / "jobs.sqlite")) as db:
        db.execute("drop table workflow_status")
    for call in (
        jobs.all,
        jobs.by_state,
        jobs.purge,
        lambda: jobs.adopt("w"),
        lambda: jobs.announce(set()),
        lambda: jobs.is_cancelled(f"{job_id}/0/video/0"),
        *(lambda method=method: method(job_id) for method in (jobs.show, jobs.cancel, jobs.retry, jobs.deliveries)),
        lambda: [*jobs.rows(job_id)],
        lambda: submit(jobs, footage),
    ):
        with pytest.raises(UnreachableError, match="database of the jobs"):
            call()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UnreachableError, match="file is not a database"):
        Jobs(JobSettings(folder=tmp_path))


def test_retry_runs_failed_and_cancelled_videos_only(jobs: Jobs, worker: PretendedWorker, footage: Path) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1, 2)
    jobs.store.save("k" * 32, REPORT)
    worker.set(f"{job_id}/0/video/0", "SUCCESS", {"result": "k" * 32, "events": 0})
    worker.set(f"{job_id}/0/video/1", "SUCCESS", {"error": "broken"})
    jobs.cancel(job_id)
    assert states(jobs, job_id) == ["succeeded", "failed", "cancelled"]
    assert jobs.show(job_id).state == "cancelled"
    assert [jobs.is_cancelled(f"{job_id}/0/video/{i}") for i in range(3)] == [False, False, True]
    assert jobs.retry(job_id) == 2
    assert states(jobs, job_id) == ["succeeded", "queued", "queued"]
    worker.expand(job_id, 1, 1, 2)
    for i in (1, 2):
        worker.set(f"{job_id}/1/video/{i}", "SUCCESS", {"result": "k" * 32, "events": 0})
    assert states(jobs, job_id) == ["succeeded"] * 3
    assert jobs.retry(job_id) == 0


@pytest.mark.parametrize("damage", [b"", b'{"schema_version": 2', None])
def test_a_damaged_result_is_named_and_can_be_made_again(
    jobs: Jobs, worker: PretendedWorker, footage: Path, damage: bytes | None
) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1)
    for i, key in enumerate(("a" * 32, "b" * 32)):
        jobs.store.save(key, REPORT)
        worker.set(f"{job_id}/0/video/{i}", "SUCCESS", {"result": key, "events": 1})
    path = jobs.store.result_path("a" * 32)
    path.unlink() if damage is None else path.write_bytes(damage)
    rows = [*jobs.rows(job_id)]
    assert [row["state"] for row in rows] == ["failed", "succeeded"]
    assert "headhunt jobs retry" in rows[0]["error"]
    assert rows[1]["threshold"] == REPORT.threshold
    assert jobs.retry(job_id) == 1
    assert states(jobs, job_id)[:2] == ["queued", "succeeded"]


def test_a_job_that_is_cancelled_before_it_begins_has_cancelled_videos(jobs: Jobs, footage: Path) -> None:
    job_id = submit(jobs, footage)
    jobs.cancel(job_id)
    assert states(jobs, job_id) == ["cancelled"] * 3


def test_the_end_of_a_job_is_announced_once(jobs: Jobs, worker: PretendedWorker, footage: Path) -> None:
    job_id = submit(jobs, footage, webhook=HOOK)
    submit(jobs, footage, key="without a webhook")
    announced: set[str] = set()
    jobs.announce(announced)
    assert announced == set()  # nothing has ended
    jobs.cancel(job_id)
    for _ in range(2):
        jobs.announce(announced)
        jobs.announce(set())  # by another worker
    assert announced == {f"{job_id}/0"}
    (delivery,) = jobs.deliveries(job_id)
    assert (delivery.event, delivery.state, delivery.attempts, delivery.error) == ("finished", "queued", 0, None)
    worker.set(delivery.delivery_id, "PENDING")
    worker.set_event(delivery.delivery_id, "tried", {"attempts": 3, "error": "answered 500"})
    (delivery,) = jobs.deliveries(job_id)
    assert (delivery.state, delivery.attempts, delivery.error) == ("running", 3, "answered 500")


def test_videos_of_dead_workers_are_put_back_and_those_of_living_ones_stay(
    jobs: Jobs, worker: PretendedWorker, footage: Path
) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1, 2)
    for i, name in enumerate(("dead", "alive", "myself")):
        worker.set(f"{job_id}/0/video/{i}", "PENDING", executor_id=name)
    with locked(jobs.store.workers / "alive") as held:
        assert held
        jobs.adopt("myself")
    assert states(jobs, job_id) == ["queued", "running", "running"]


def test_figures_by_state(jobs: Jobs, worker: PretendedWorker, footage: Path) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1, 2)
    worker.set(f"{job_id}/0/video/0", "SUCCESS", {"error": "broken"})
    worker.set(f"{job_id}/0/video/1", "ENQUEUED", created_at=int(1000 * time.time()) - 30_000)
    by_job, videos, age_s = jobs.by_state()
    assert by_job == {"running": 1}
    assert videos == {"failed": 1, "queued": 2}
    assert age_s == pytest.approx(30, abs=5)


def test_purge_keeps_what_is_new_and_what_another_job_needs(jobs: Jobs, footage: Path) -> None:
    upload = jobs.store.uploads / ("0" * 64)
    upload.parent.mkdir()
    for path in (upload, upload.with_name("1" * 64), jobs.store.result_path("k" * 32)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    waiting = submit(jobs, Path(f"upload:{upload.name}"))
    ended = submit(jobs, footage)
    jobs.cancel(ended)
    assert jobs.purge() == 0  # newer than HEADHUNT_JOBS_KEEP_DAYS, but no job names these files
    assert [p.name for p in jobs.store.uploads.iterdir()] == [upload.name]
    assert not jobs.store.has("k" * 32)
    assert jobs.purge(-1) == 1
    assert [job.job_id for job in jobs.all()] == [waiting]
    assert upload.exists()


@pytest.mark.parametrize("what", ["all", "announce", "purge"])
def test_a_job_that_another_process_purges_after_it_was_listed_is_passed_over(
    jobs: Jobs, footage: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = submit(jobs, footage), submit(jobs, footage, key="again")
    for job_id in (stays, goes):
        jobs.cancel(job_id)
    show = jobs.show

    def show_late(job_id: str, *args: Any, **options: Any) -> Job:
        if job_id == goes:
            jobs._db.delete(jobs._ids(workflow_id_prefix=f"{goes}/"))
        return show(job_id, *args, **options)

    monkeypatch.setattr(jobs, "show", show_late)
    announced: set[str] = set()
    if what == "all":
        assert [job.job_id for job in jobs.all()] == [stays]
    elif what == "announce":
        jobs.announce(announced)
        assert announced == {f"{stays}/0"}
    else:
        assert jobs.purge(-1) == 1


def test_a_workflow_whose_job_is_purged_while_a_dead_worker_is_looked_for_is_passed_over(
    jobs: Jobs, worker: PretendedWorker, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(jobs, footage)
    worker.expand(job_id, 0, 0, 1)
    for i in range(2):
        worker.set(f"{job_id}/0/video/{i}", "PENDING", executor_id="dead")
    resume = jobs._db.resume

    def resume_late(workflow_id: str, queue: str | None) -> None:
        if workflow_id.endswith("/0"):
            jobs._db.delete([workflow_id])
        resume(workflow_id, queue)

    monkeypatch.setattr(jobs._db, "resume", resume_late)
    jobs.adopt("myself")
    assert jobs._status(f"{job_id}/0/video/1") == "ENQUEUED"


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for values, error, message in (
        ({"database": "no url"}, ConfigError, "is no database URL"),
        ({"database": "mysql://a@b/c"}, ConfigError, "neither sqlite nor postgresql"),
        ({"database": "postgresql://a@127.0.0.1:1/b"}, UnreachableError, "does not answer"),
        ({"folder": tmp_path / "file" / "jobs"}, OutputError, "set HEADHUNT_JOBS_FOLDER"),
    ):
        with pytest.raises(error, match=message):
            Jobs(JobSettings.model_validate({"folder": tmp_path / "jobs", **values}))
