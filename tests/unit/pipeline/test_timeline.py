"""The timeline of a report, drawn without its video: what lies where."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Polygon, Rectangle, StepPatch

from headhunt_svc.detector.report import Report, ReportGap, ReportHole, SegmentScore
from headhunt_svc.params import SegmentationParams
from headhunt_svc.pipeline import plots
from headhunt_svc.types import FrameSpan
from helpers.reports import REPORT


def drawn(report: Report, monkeypatch: pytest.MonkeyPatch, truth: tuple[FrameSpan, ...] = ()) -> Any:
    figures: list[Any] = []
    monkeypatch.setattr(plots, "save_figure", lambda path, figure: figures.append(figure))
    monkeypatch.setattr(plots, "_peaks", lambda video, report, params: [])
    plots.timeline(Path("t.png"), report, Path("v.mp4"), SegmentationParams(length_s=1.6, frames_per_segment=4), truth)
    (axes,) = figures[0].axes
    figures[0].canvas.draw()
    return axes


def test_descriptions_are_below_the_pictures_whole_or_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several lines, no mathematics, and `None` for nobody who has not asked."""
    texts = ["a $1 bill burns", "word " * 100, None]
    events = tuple(
        REPORT.events[0].model_copy(update={"description": text, "peak_s": 1.0 + i}) for i, text in enumerate(texts)
    )
    figures: list[Any] = []
    picture = SimpleNamespace(pictures=np.zeros((4, 30, 40, 3), np.uint8))
    monkeypatch.setattr(plots, "save_figure", lambda path, figure: figures.append(figure))
    monkeypatch.setattr(plots, "_peaks", lambda video, report, params: [(e.peak_s, picture) for e in report.events])
    cut = SegmentationParams(length_s=1.6, frames_per_segment=4)
    plots.timeline(Path("t.png"), REPORT.model_copy(update={"events": events}), Path("v.mp4"), cut)
    figures[0].canvas.draw()
    first, second, third, _ = ([t.get_text() for t in axes.texts] for axes in figures[0].axes)
    assert (first, third) == (["a $1 bill burns"], [""])
    assert second[0].endswith(" …")
    assert max(map(len, second[0].splitlines())) <= plots.WORDS_WIDTH


def score(i: int, start_s: float, stop_s: float, value: float) -> SegmentScore:
    return SegmentScore(
        index=i, start_frame=10 * i, stop_frame=10 * i + 10, start_s=start_s, stop_s=stop_s, raw=value, smoothed=value
    )


def test_a_hole_has_no_score_and_is_shaded(monkeypatch: pytest.MonkeyPatch) -> None:
    report = REPORT.model_copy(
        update={
            "scores": (score(0, 0, 1, 0.1), score(1, 1, 2, 0.2), score(2, 602, 603, 0.3)),
            "holes": (ReportHole(start_s=2, stop_s=602),),
            "gaps": (
                ReportGap(time_s=None, packets=1, reason="r"),
                ReportGap(time_s=1, packets=1, reason="r", stop_s=1.5),
                ReportGap(time_s=1.8, packets=1, reason="r"),
            ),
            "events": (),
            "duration_s": 603.0,
        }
    )
    axes = drawn(report, monkeypatch, (FrameSpan(5, 20), FrameSpan(20, 25)))
    raw, smoothed = (p.get_data() for p in axes.patches if isinstance(p, StepPatch))
    for values, edges, _ in (raw, smoothed):
        np.testing.assert_array_equal(values, [0.1, 0.2, np.nan, 0.3])
        assert list(edges) == [0, 1, 2, 602, 603]
    spans = [p for p in axes.patches if isinstance(p, Rectangle | Polygon) and p.get_width()]
    assert [(p.get_x(), p.get_x() + p.get_width(), p.get_hatch()) for p in spans] == [
        (1, 1.5, None), (2, 602, "///"),
    ]  # fmt: skip
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "raw score",
        "smoothed score",
        "threshold 0.50",
        "truth",
        "not decoded",
        "no pictures in the file",
    ]
    # true spans lie where their frames were shown
    assert [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2][1:] == [[0.5, 2], [602, 602.5]]


def test_an_unbroken_video_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    report = REPORT.model_copy(
        update={"scores": (score(0, 0, 1, 0.1), score(1, 1, 2, 0.2)), "holes": (), "gaps": (), "events": ()}
    )
    axes = drawn(report, monkeypatch)
    values, edges, _ = next(p.get_data() for p in axes.patches if isinstance(p, StepPatch))
    assert (list(values), list(edges)) == ([0.1, 0.2], [0, 1, 2])
    assert len(axes.get_legend().get_texts()) == 3
