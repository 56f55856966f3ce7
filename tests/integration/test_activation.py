"""Bundles that are activated while a real service scores for many clients, or a worker takes videos of jobs."""

import json
import re
import signal
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from conftest import COMMANDS, ROOT, until
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.jobs.client import Jobs
from headhunt_svc.jobs.models import JobRequest
from headhunt_svc.settings import JobSettings
from helpers.bundles import bundle, rebiased
from helpers.commands import command
from helpers.server import serving

FLIPS, CLIENTS = 20, 4


def run(folder: Path, *arguments: str | Path) -> str:
    done = command("bundles", *arguments, "--deployed", folder / "deployed", cwd=ROOT)
    assert done.code == 0, done.err
    return done.out.strip()


def raw_scores(report: Report) -> list[float]:
    return [score.raw for score in report.scores]


def test_twenty_activations_under_load_fail_no_request(tmp_path: Path, scene: Path) -> None:
    """Every report is of one of the two detectors, and its scores are those of the detector that it names."""
    old, new = bundle(tmp_path, "old", 1), rebiased(tmp_path, "new", 1.5)
    old_id = run(tmp_path, "activate", old)
    expected = {d.detector_id: raw_scores(d.detect(scene)) for d in map(Detector.load, (old, new))}
    assert len(expected) == 2
    answers: list[httpx.Response] = []
    done = threading.Event()
    with serving(
        ".", ROOT, tmp_path / "bentoml", HEADHUNT_BUNDLE=str(tmp_path / "deployed" / "current"), TMPDIR=str(tmp_path)
    ) as server:
        card = f"{server.url}/v1/detector"
        assert httpx.get(card).json()["detector_id"] == old_id

        def ask() -> None:
            while not done.is_set():
                content = scene.read_bytes()
                answers.append(httpx.post(f"{server.url}/v1/detect", content=content, timeout=60))

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for flip in range(FLIPS):
                active = run(tmp_path, "rollback") if flip % 2 else run(tmp_path, "activate", new)
                until(lambda active=active: httpx.get(card).json()["detector_id"] == active, 30)
        finally:
            done.set()
            for client in clients:
                client.join(60)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert re.findall(r"(?m)^headhunt_detector_exchanges_total (.*)", metrics) == [f"{FLIPS}.0"]
        assert f'headhunt_detector_info{{detector_id="{old_id}",role="active"}} 1.0' in metrics

        # a link to a bundle that is broken is refused by name, and the detector stays in use
        broken = rebiased(tmp_path, "broken", -1)
        (broken / "scorer.safetensors").write_bytes(b"")
        (tmp_path / "link").symlink_to(broken)
        (tmp_path / "link").rename(tmp_path / "deployed" / "current")
        until(lambda: httpx.get(card).json()["refused"] != {}, 30)
        assert "broken/scorer.safetensors cannot be read" in httpx.get(card).json()["refused"]["active"]
        assert httpx.get(card).json()["detector_id"] == old_id
        assert 'headhunt_detector_refused{role="active"} 1.0' in httpx.get(f"{server.url}/metrics").text
        assert (
            httpx.post(f"{server.url}/v1/detect", content=scene.read_bytes(), timeout=60).json()["detector_id"]
            == old_id
        )
    assert [answer.status_code for answer in answers if answer.status_code != 200] == []
    reports = [Report.model_validate_json(answer.content) for answer in answers]
    assert {report.detector_id for report in reports} == set(expected)
    for report in reports:
        assert raw_scores(report) == pytest.approx(expected[report.detector_id], abs=1e-6)


def test_a_worker_scores_each_job_with_the_detector_that_it_was_submitted_for(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos that wait when another bundle is activated are scored by the one before; the model is loaded once."""
    settings = JobSettings(folder=tmp_path / "jobs", backoff_s=0.1)
    monkeypatch.setenv("HEADHUNT_JOBS_FOLDER", str(settings.folder))
    monkeypatch.setenv("HEADHUNT_PREDICTION_LOG", str(tmp_path / "log"))
    old, new = bundle(tmp_path, "old", 1), rebiased(tmp_path, "new", 1.5)
    candidate = rebiased(tmp_path, "candidate", -1.5)
    ids = [run(tmp_path, "activate", old)]
    current = tmp_path / "deployed" / "current"
    footage = tmp_path / "footage"
    footage.mkdir()
    for i in range(4):  # of different content: one that was scored is not scored again
        (footage / f"{i}.mp4").write_bytes(clip.read_bytes() + bytes(i))
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(COMMANDS.headhunt("worker", "--bundle", current), stdout=file, stderr=file)
    try:
        with Jobs(settings) as jobs:
            first = jobs.submit(JobRequest(inputs=(str(footage),)), current)
            until(lambda: jobs.show(first, limit=0).counts["succeeded"] > 0)
            ids.append(run(tmp_path, "activate", new))
            run(tmp_path, "shadow", candidate)
            second = jobs.submit(JobRequest(inputs=(str(footage),)), current)
            until(lambda: all(jobs.show(job, limit=0).state == "succeeded" for job in (first, second)))
            for job, detector_id in zip((first, second), ids, strict=True):
                assert jobs.show(job, limit=0).detector_id == detector_id
                assert {row["detector_id"] for row in jobs.rows(job)} == {detector_id}
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()
    assert "takes over from" in log.read_text()
    (line,) = map(json.loads, run(tmp_path, "compare", "--json", "--log", tmp_path / "log").splitlines())
    assert line["segments"] > 0
    assert line["candidate_only"] == 0
