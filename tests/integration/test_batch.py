"""`headhunt batch`: the same rows from both engines."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import ROOT, benchmark
from headhunt_svc.jobs.batch import Engine, run
from headhunt_svc.jobs.inputs import expand
from headhunt_svc.jobs.models import JobOptions

BUNDLE = ROOT / "artifacts" / "detector"
OPTIONS = JobOptions.model_validate({})
kills = benchmark("kills")


def rows(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "rows").to_pylist()


@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_ray_gives_the_rows_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for i in range(3):
        kills.make_video(tmp_path / "footage" / f"{i}.mp4", 10, seed=i)
    (tmp_path / "footage" / "bad.mp4").write_bytes(b"no video")
    videos = expand([str(tmp_path / "footage")])
    found = {}
    engines: tuple[Engine, ...] = ("local", "ray")
    for engine in engines:
        done = run(videos, str(tmp_path / engine), BUNDLE, OPTIONS, engine)
        assert (done.n_videos, done.n_failed, done.n_kept) == (4, 1, 0)
        found[engine] = rows(tmp_path / engine)
    import ray

    ray.shutdown()
    assert json.dumps(found["ray"]) == json.dumps(found["local"])
    assert [r["state"] for r in found["ray"]] == ["succeeded"] * 3 + ["failed"]
    again = run(videos, str(tmp_path / "ray"), BUNDLE, OPTIONS)
    assert (again.n_failed, again.n_kept) == (1, 3)


def test_results_may_go_to_an_object_store(tmp_path: Path) -> None:
    import fsspec

    kills.make_video(tmp_path / "a.mp4", 4, seed=1)
    videos = expand([str(tmp_path / "a.mp4")])
    assert run(videos, "memory://batch-test", BUNDLE, OPTIONS).n_failed == 0
    assert run(videos, "memory://batch-test", BUNDLE, OPTIONS).n_kept == 1
    with fsspec.open("memory://batch-test/rows/part-00000.parquet") as f:
        assert pq.read_table(f).to_pylist()[0]["video_id"] == "a.mp4"
