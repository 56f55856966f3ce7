"""What the process that scores says about files that are no longer what was written; no model is loaded."""

import hashlib
from pathlib import Path

import pytest

from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.jobs.inputs import UPLOAD
from headhunt_svc.jobs.isolated import outcome_of
from headhunt_svc.jobs.models import JobOptions, JobVideo
from headhunt_svc.jobs.scoring import VideoScorer
from headhunt_svc.jobs.store import ResultStore
from helpers.reports import REPORT

OPTIONS = JobOptions.model_validate({})


@pytest.fixture
def scorer(tmp_path: Path) -> VideoScorer:
    return VideoScorer(object.__new__(Detector), ResultStore(tmp_path), 60.0, lambda: None)


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
