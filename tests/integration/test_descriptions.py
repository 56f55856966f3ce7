"""What the embedded model says about events of the kinds that it was taught to see, in videos that nobody has seen."""

from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.cli.demo import print_named
from headhunt_svc.demo.corpus import Take, make_video
from headhunt_svc.demo.naming import Naming, named_events
from headhunt_svc.demo.params import load_demo_params
from headhunt_svc.demo.scenes import SEEN_KINDS
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.report import Report
from headhunt_svc.params import load_params
from headhunt_svc.types import FrameSpan, VideoRecord


def test_most_true_events_are_named(tmp_path: Path) -> None:
    detector = Detector.load(ROOT / "artifacts" / "detector", whole=True)
    prompt = load_params(ROOT / "params.yaml").prompts.describe
    detector.bundle = detector.bundle.model_copy(update={"description_prompt": prompt})
    corpus = load_demo_params().corpus.model_copy(update={"seed": 4711})
    described: list[tuple[VideoRecord, Report]] = []
    for kind in SEEN_KINDS:
        annotation = make_video(tmp_path, Take("test", kind, 0), corpus)
        path = tmp_path / annotation.video
        report = detector.detect(path, annotation.video, Options(describe=True))
        spans = tuple(FrameSpan(int(start), int(stop)) for start, stop in annotation.spans)
        described.append(
            (VideoRecord(annotation.video, path, report.n_frames, report.fps, "test", kind, spans), report)
        )
        assert {event.description is None for event in report.events} <= {False}
    counts = named_events(described)
    events, named, others = (sum(getattr(n, name) for n in counts.values()) for name in ("events", "named", "others"))
    assert events >= 4
    assert named >= 0.6 * events
    assert others <= 0.4 * events


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {kind: Naming() for kind in SEEN_KINDS}
    print_named({"what [b]?": nothing | {"run": Naming(events=4, named=3, others=1)}, "hm": nothing})
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["what", "[b]?", "4", "3", "(75%)", "1", "(25%)", "3", "of", "4", *["0", "of", "0"] * 5]
    assert second.split() == ["hm", "0", "-", "-", *["0", "of", "0"] * 6]
