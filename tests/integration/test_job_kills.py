"""Workers that are killed, and a database that goes away, lose no work and do none twice."""

import os
import time
from pathlib import Path

import pytest

from conftest import COMMANDS, benchmark, until
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.settings import JobSettings
from helpers.tools import needs_postgresql

KILLS = int(os.environ.get("HEADHUNT_TEST_KILLS", "2"))
kills = benchmark("kills")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_BATCH_SEGMENTS", "8")
    monkeypatch.setenv("HEADHUNT_DECODERS", "2")
    monkeypatch.setattr(kills, "HEADHUNT", [COMMANDS.python, "headhunt"])


def videos(folder: Path, n: int) -> list[Path]:
    return [kills.make_video(folder / f"{i}.mp4", 90, seed=i) for i in range(n)]


def test_a_worker_that_is_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    settings = JobSettings(folder=tmp_path / "jobs", checkpoint_s=0.2)
    found = kills.run(settings, videos(tmp_path, 3), KILLS, workers=1)
    assert found["state"] == "succeeded"
    assert found["results"] == found["results_of_these_videos"] == 3
    assert found["different_from_undisturbed"] == found["finished_videos_scored_again"] == 0


@needs_postgresql
def test_two_workers_on_postgresql_outlive_it_and_one_finishes_alone(tmp_path: Path) -> None:
    """One of them is there before the database is, and is the one that stays."""
    with kills.postgres() as db:

        def outage() -> None:
            db.stop()
            time.sleep(5)
            db.start()

        settings = JobSettings(folder=tmp_path / "jobs", database=db.url, checkpoint_s=0.2)
        log = tmp_path / "early.log"
        db.stop()
        early = kills.start_worker(settings, log)
        try:
            until(lambda: "does not answer" in log.read_text())
            db.start()
            found = kills.run(settings, videos(tmp_path, 4), kills=1, workers=1, again=False, outage=outage)
            with Jobs(settings) as jobs:  # PostgreSQL refuses some of what SQLite groups by
                assert [job.counts["succeeded"] for job in jobs.all()] == [4]
        finally:
            early.terminate()
            early.wait(40)
    assert found["state"] == "succeeded"
    assert found["results"] == found["results_of_these_videos"] == 4
    assert found["different_from_undisturbed"] == found["finished_videos_scored_again"] == 0
