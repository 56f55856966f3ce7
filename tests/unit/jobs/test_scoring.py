"""What the process that scores says about files that are no longer what was written; no model is loaded."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from headhunt_svc.detector.decoders import Decoders
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import VideoOpenError
from headhunt_svc.jobs import scoring
from headhunt_svc.jobs.inputs import UPLOAD
from headhunt_svc.jobs.isolated import outcome_of
from headhunt_svc.jobs.models import JobOptions, JobVideo
from headhunt_svc.jobs.scoring import VideoScorer
from headhunt_svc.jobs.store import ResultStore
from headhunt_svc.settings import Settings
from helpers.reports import REPORT

OPTIONS = JobOptions.model_validate({})


@pytest.fixture
def scorer(tmp_path: Path) -> VideoScorer:
    return VideoScorer(object.__new__(Detector), ResultStore(tmp_path), 60.0, lambda: None, Decoders(Settings()))


def test_a_result_that_is_damaged_after_it_was_stored_is_an_error_of_its_video(
    scorer: VideoScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer.store.save("k" * 32, REPORT)
    scorer.store.result_path("k" * 32).write_bytes(b"")
    monkeypatch.setattr(VideoScorer, "score", lambda *_: "k" * 32)
    outcome = outcome_of(scorer, JobVideo(uri="a.mp4", video_id="a"), OPTIONS)
    assert outcome["error"].startswith("ArtifactError: ")
    assert "run `headhunt jobs retry JOB`" in outcome["error"]


def test_an_upload_that_is_no_longer_what_was_sent_is_not_scored(
    scorer: VideoScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "at", lambda detector, camera: detector)
    name = hashlib.sha256(b"video").hexdigest()
    scorer.store.uploads.mkdir()
    (scorer.store.uploads / name).write_bytes(b"vide")
    outcome = outcome_of(scorer, JobVideo(uri=f"{UPLOAD}{name}", video_id="a"), OPTIONS)
    assert outcome == {
        "error": f"VideoOpenError: {UPLOAD}{name} is no longer what was sent: send it again, then retry the job"
    }


@pytest.mark.parametrize(("is_bounded", "is_sandboxed"), [(True, True), (False, False)])
def test_a_video_that_a_job_over_http_names_is_decoded_within_limits(
    scorer: VideoScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_bounded: bool, is_sandboxed: bool
) -> None:
    sandboxes: list[Settings | None] = []

    def open_video(path: Path, video_id: str, sandbox: Settings | None, stream: int | None) -> Any:
        sandboxes.append(sandbox)
        raise VideoOpenError(f"{path}: not a video")

    monkeypatch.setattr(Detector, "at", lambda detector, camera: detector)
    monkeypatch.setattr(scoring, "result_key", lambda *_: "k" * 32)
    monkeypatch.setattr(scoring, "open_video", open_video)
    (tmp_path / "a.mp4").write_bytes(b"x")
    uri = str(tmp_path / "a.mp4")
    video = JobVideo(uri=uri, video_id="a", below=str(tmp_path) if is_bounded else None)
    assert outcome_of(scorer, video, OPTIONS) == {"error": f"VideoOpenError: {uri}: not a video"}
    assert [sandbox is not None for sandbox in sandboxes] == [is_sandboxed]
