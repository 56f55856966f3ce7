"""Automatic promotion and rollback, whole: marks, a candidate in shadow, its rows in a real log, links that change.

Features are drawn and no model is run: what scores has an extractor that extracts nothing.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest

from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch, TimedSegment
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.detector.in_use import InUse
from headhunt_svc.detector.links import BundleLinks
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.scores import VideoScores
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.proof import Verdict, load_proof
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import FrameSpan, Segment
from helpers.commands import command
from helpers.events import new
from helpers.feedback import lay_out, mark

N, EVERY, LENGTH_S = 200, 50, 1.6  # segments of a video; every so many of them, the harmless activity goes on


def in_use(link: Path, d_head: int) -> InUse:
    """As a process that was started with the link, without loading the model."""
    links, extractor = BundleLinks(link), mock.create_autospec(Extractor, instance=True, d_head=d_head)
    parts = links.active
    return InUse(Detector(parts.bundle, parts.scorer, extractor, 8, cameras=parts.cameras), links)


def score(process: InUse, site: ModuleType, log: Path, seed: int) -> int:
    """One video of the camera, logged and scored in shadow; returns the number of segments above the threshold."""
    made, rng = site.SITE, np.random.default_rng(seed)
    z = site.draw(N, len(made.harmless), rng)
    z = z + (np.arange(N) % EVERY >= EVERY - site.EVENT_SEGMENTS)[:, None] * made.harmless
    values = z.reshape(N, len(made.heads), -1).astype(np.float32)
    video = f"yard/{seed}"
    segments = [
        TimedSegment(Segment(video, i, FrameSpan(i, i + 1), (i,)), LENGTH_S * i, LENGTH_S * (i + 1)) for i in range(N)
    ]
    process.look()
    now = process.now
    detector = now.detector.at("yard")
    scores = VideoScores(detector.scorer)

    def batches() -> Iterator[ScoredBatch]:
        for i in range(0, N, 8):
            yield scores.add(FeatureBatch(tuple(segments[i : i + 8]), values[i : i + 8]))

    recorder = Recorder(PredictionLog(str(log)), "none")
    raw = [batch.raw for batch in recorder.record(detector, video, batches(), candidate=lambda: now.candidate)]  # type: ignore[arg-type]
    recorder.close()
    return int((np.concatenate(raw) > detector.operating_point().threshold).sum())


def backdate(deployed: Deployed, days: float) -> None:
    """The first activation was so many days ago."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in deployed.log.read_text().splitlines()]
    lines[0]["time"] = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    deployed.log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_candidate_is_promoted_and_rolled_back_by_itself(
    marked_site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(marked_site, tmp_path)
    (tmp_path / "data" / "test_features").unlink()  # the test videos are not what this is about
    monkeypatch.delenv("HEADHUNT_EVENTS_FOLDER", raising=False)
    settings, log = EventSettings(folder=tmp_path / "data" / "events", database=None), tmp_path / "log"

    def run(*arguments: str) -> tuple[str, str]:
        done = command(*arguments, cwd=tmp_path)
        assert done.code == 0, done.err
        return done.out.strip(), done.err

    def check() -> tuple[str, str]:
        return run("bundles", "check", "--log", "log")

    with EventStore.open(settings) as store:
        mark(marked_site, store)
        run("recalibrate", "--from-events", "--out", "new")
        proof = load_proof(tmp_path / "new")
        assert proof is not None
        assert proof.verdict is Verdict.BETTER
        old_id, new_id = proof.from_detector_id, proof.detector_id

        # off by default; then it waits until both have scored enough
        assert run("bundles", "activate", "artifacts/detector") == (old_id, "")
        assert run("bundles", "shadow", "new", "--why", "learnt from marks")[0] == new_id
        deployed = Deployed(tmp_path / "deployed")
        process = in_use(deployed.current, marked_site.D_HEAD)
        assert "nothing happens by itself" in check()[1]
        (tmp_path / "deployed" / "rules.yaml").write_text("promotion: {days: 1, events: 4}\nrollback: {min_marks: 5}\n")
        assert "promotion: not yet, 0 of 1 days and 0 of 4 events compared" in check()[1]
        assert score(process, marked_site, log, 0) > 0
        assert (process.now.detector.detector_id, process.now.candidate is not None) == (old_id, True)
        out, why = check()
        assert out == new_id
        assert "automatic: `better` by its proof, 1 of 1 days and 4 of 4 events compared" in why
        assert not deployed.candidate.is_symlink()

        # the process takes it over, without a restart, and the same activity does not alarm any more
        assert score(process, marked_site, log, 1) == 0
        assert (process.now.detector.detector_id, process.now.candidate) == (new_id, None)

        # it has false alarms of its own, more than the old one's bound lets expect
        backdate(deployed, 30)
        for i in range(5):
            assert check()[0] == "", i
            event = store.add(new(100.0 * i, 100.0 * i + 8, detector_id=new_id, key=str(i)), merge_s=None)
            store.mark(event.id, EventState.FALSE_ALARM, "anna")
        out, why = check()
        assert out == old_id
        assert f"automatic: detector {new_id} has 5 false-alarm marks" in why
        assert f"{old_id} had 8 in 30.00 days" in why
        assert score(process, marked_site, log, 2) > 0
        assert process.now.detector.detector_id == old_id

        # and what was rolled back is not promoted again
        run("bundles", "shadow", "new")
        assert check()[0] == ""
        assert f"promotion: no, detector {new_id} was in use before and is not any more" in check()[1]
    versions = [(version.detector_id, version.active) for version in deployed.history()]
    assert versions == [(old_id, False), (new_id, False), (old_id, True)]
    assert [version.why.partition(":")[0] for version in deployed.history()] == ["", "automatic", "automatic"]
