"""Detection is logged and probed as a user runs it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from prometheus_client import REGISTRY

from conftest import ROOT, headhunt, write_video
from headhunt_svc.core.steady import AHEAD
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report, load_report
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.schema import LogMetadata, projection
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.models import DetectOptions
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.store import Store
from helpers.detecting import batches_of, detect_logged
from helpers.log_rows import read_rows


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
    rows = read_rows(tmp_path / "log").sort_by("segment").to_pydict()
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
        np.testing.assert_allclose(
            rows["prompt_contributions"][i][: len(report.lineage.heads)], rows["contributions"][i], atol=1e-4
        )
    assert np.all(np.diff(rows["brightness"][:3]) > 0)  # frame i has brightness 5 i


@pytest.mark.parametrize("options", [Options(), Options(smoothing="causal"), Options(operating_point="recall")])
def test_smoothed_scores_are_final_when_they_are_logged(
    detector: Detector, video: Path, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "batch_segments", 4)
    log = PredictionLog(str(tmp_path))
    waiting: list[tuple[int, int]] = []  # segments scored so far, and those of them that are not written
    recorder = Recorder(log, probe_share=0.0)
    scored = 0

    def count(batch: ScoredBatch) -> None:
        nonlocal scored
        scored += len(batch.raw)
        log.flush()
        waiting.append((scored, scored - log.status.written))

    report = detect_logged(recorder, detector, video, "a.mp4", options, after_each=count)
    log.close()
    rows = read_rows(tmp_path).sort_by("segment").to_pydict()
    np.testing.assert_allclose(rows["smoothed"], [s.smoothed for s in report.scores], atol=1e-12)
    most = 0 if options.smoothing == "causal" else int(4 * report.sigma_segments + 0.5) + AHEAD
    assert waiting == [(n, min(n, most)) for n, _ in waiting]


def test_features_are_kept_as_asked_and_the_projection_is_of_each_head(
    detector: Detector, video: Path, tmp_path: Path
) -> None:
    z = np.concatenate([b.features for b in batches_of(detector, video)])
    for kept, expected in (("all", z), ("projected", z @ projection(z.shape[-1])), ("none", None)):
        with PredictionLog(str(tmp_path / kept)) as log:
            detect_logged(Recorder(log, kept, 0.0), detector, video)  # type: ignore[arg-type]
        features = read_rows(tmp_path / kept).sort_by("segment")["features"].to_pylist()
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
    rows = read_rows(tmp_path).sort_by("segment").to_pydict()
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
    rows = read_rows(tmp_path / "probe").to_pydict()
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
    rows = read_rows(tmp_path).to_pydict()
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
    rows = read_rows(tmp_path / "log").to_pydict()
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
    dropped = read_rows(tmp_path / "log").sort_by("segment")["dropped_frames"].to_pylist()
    assert report.gaps
    assert 0 < sum(dropped) <= sum(g.packets for g in report.gaps)
