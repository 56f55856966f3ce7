"""`headhunt batch`: the same rows from both engines."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from conftest import COMMANDS, ROOT, benchmark, until
from headhunt_svc.jobs.batch import BatchCounts, run
from headhunt_svc.jobs.inputs import expand
from headhunt_svc.jobs.models import JobOptions
from headhunt_svc.settings import JobSettings
from headhunt_svc.storage.tables import read_table

BUNDLE = ROOT / "artifacts" / "detector"
OPTIONS = JobOptions.model_validate({})
kills = benchmark("kills")


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that scores is a fork of one that has imported torch; Ray's actors start it as they do elsewhere."""
    monkeypatch.setattr(sys, "executable", COMMANDS.python)


def rows(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "rows").to_pylist()


def scorings(out: Path) -> list[dict[str, object]]:
    """What went through the model so far, of a run at work."""
    return kills.scorings(JobSettings(folder=out / "work"))


@contextmanager
def beside(what: Callable[[], None]) -> Iterator[None]:
    """Do something while a run is at work; it must have been done when the run is over."""
    with ThreadPoolExecutor(1) as executor:
        doing = executor.submit(what)
        yield
        doing.result(timeout=1)


@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_ray_gives_the_rows_of_one_process_also_when_an_actor_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default: beside other tests they would hardly ever run
    for i in range(3):
        kills.make_video(tmp_path / "footage" / f"{i}.mp4", 40, seed=i)
    (tmp_path / "footage" / "bad.mp4").write_bytes(b"no video")
    videos = expand([str(tmp_path / "footage")])

    def kill() -> None:
        until(lambda: len(scorings(tmp_path / "ray")) > 1, 300)  # Ray itself takes a minute where other tests run
        actor = psutil.Process(int(str(scorings(tmp_path / "ray")[-1]["pid"]))).parent()
        assert actor is not None
        assert "BatchScorer" in " ".join(actor.cmdline())
        actor.kill()

    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", COMMANDS.python)
        assert run(videos, str(tmp_path / "local"), BUNDLE, OPTIONS) == BatchCounts(4, 1, 0)
    with beside(kill):
        assert run(videos, str(tmp_path / "ray"), BUNDLE, OPTIONS, "ray") == BatchCounts(4, 1, 0)
    import ray

    ray.shutdown()
    assert json.dumps(rows(tmp_path / "ray")) == json.dumps(rows(tmp_path / "local"))
    assert [r["state"] for r in rows(tmp_path / "ray")] == ["succeeded"] * 3 + ["failed"]
    monkeypatch.setattr(sys, "executable", COMMANDS.python)
    assert run(videos, str(tmp_path / "ray"), BUNDLE, OPTIONS) == BatchCounts(4, 1, 3)
    assert not (tmp_path / "ray" / "work").exists()


@pytest.mark.usefixtures("forked")
def test_what_kills_the_process_that_scores_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_JOBS_ATTEMPTS", "2")
    monkeypatch.setenv("HEADHUNT_JOBS_BACKOFF_S", "0.1")
    poison = kills.make_video(tmp_path / "a.mp4", 600, seed=1)
    fine = kills.make_video(tmp_path / "b.mp4", 4, seed=2)

    def kill() -> None:
        for n in (1, 2):
            until(lambda n=n: len(scorings(tmp_path / "out")) >= n)
            os.kill(int(str(scorings(tmp_path / "out")[n - 1]["pid"])), signal.SIGSEGV)

    errors: list[str] = []
    with beside(kill):
        done = run(expand([str(poison), str(fine)]), str(tmp_path / "out"), BUNDLE, OPTIONS, note=errors.append)
    assert done == BatchCounts(2, 1, 0)
    assert "SIGSEGV, 2 times" in errors[0]
    (failed, error), fine_row = [(r["state"], r["error"]) for r in rows(tmp_path / "out")]
    assert (failed, fine_row) == ("failed", ("succeeded", None))
    assert errors == [f"{poison}: {error}"]


@pytest.mark.usefixtures("forked")
def test_results_may_go_to_an_object_store(tmp_path: Path) -> None:
    import fsspec

    kills.make_video(tmp_path / "a.mp4", 4, seed=1)
    videos = expand([str(tmp_path / "a.mp4")])
    assert run(videos, "memory://batch-test", BUNDLE, OPTIONS).n_failed == 0
    assert run(videos, "memory://batch-test", BUNDLE, OPTIONS).n_kept == 1
    with fsspec.open("memory://batch-test/rows/part-00000.parquet") as f:
        assert read_table(f).to_pylist()[0]["video_id"] == "a.mp4"


@pytest.mark.usefixtures("forked")
def test_a_video_whose_store_is_unknown_is_a_row_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_JOBS_BACKOFF_S", "0.1")
    fine = kills.make_video(tmp_path / "a.mp4", 4, seed=1)
    videos = expand([str(fine), "nowhere://archive/b.mp4"])
    for kept in (0, 1):
        assert run(videos, str(tmp_path / "out"), BUNDLE, OPTIONS) == BatchCounts(2, 1, kept)
    found = rows(tmp_path / "out")
    assert [r["state"] for r in found] == ["succeeded", "failed"]
    assert "nowhere" in str(found[1]["error"])
