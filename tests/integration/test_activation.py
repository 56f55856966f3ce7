"""Bundles that are activated and rolled back while a real service scores for many clients."""

import threading
from pathlib import Path

import httpx
import pytest

from conftest import ROOT, headhunt, until
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from helpers.bundles import bundle, rebiased
from helpers.server import serving

FLIPS, CLIENTS = 20, 4


def run(folder: Path, *arguments: str | Path) -> str:
    done = headhunt("bundles", *arguments, "--deployed", folder / "deployed")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def raw_scores(report: Report) -> list[float]:
    return [score.raw for score in report.scores]


def test_twenty_activations_under_load_fail_no_request(tmp_path: Path, clip: Path) -> None:
    """Every report is of one of the two detectors, and its scores are those of the detector that it names."""
    old, new = bundle(tmp_path, "old", 1), rebiased(tmp_path, "new", 1.5)
    old_id = run(tmp_path, "activate", old)
    expected = {d.detector_id: raw_scores(d.detect(clip)) for d in map(Detector.load, (old, new))}
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
                content = clip.read_bytes()
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
        assert "headhunt_detector_exchanges_total 20.0" in metrics
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
            httpx.post(f"{server.url}/v1/detect", content=clip.read_bytes(), timeout=60).json()["detector_id"] == old_id
        )
    assert [answer.status_code for answer in answers if answer.status_code != 200] == []
    reports = [Report.model_validate_json(answer.content) for answer in answers]
    assert {report.detector_id for report in reports} == set(expected)
    for report in reports:
        assert raw_scores(report) == pytest.approx(expected[report.detector_id], abs=1e-6)
