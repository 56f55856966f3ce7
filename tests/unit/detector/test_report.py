"""The wire format: what was written can be read again, and joining scores respects holes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.detector.report import Report, SegmentScore, coarser, load_report, save_report
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import write_text
from helpers.reports import REPORT


def scores(edges: list[tuple[float, float]]) -> tuple[SegmentScore, ...]:
    return tuple(
        SegmentScore(
            index=i, start_frame=i, stop_frame=i + 1, start_s=start, stop_s=stop, raw=0.5, smoothed=i / 100, novelty=i
        )
        for i, (start, stop) in enumerate(edges)
    )


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_report(tmp_path / "r.json", REPORT)
    assert load_report(tmp_path / "r.json") == REPORT


def test_a_report_of_before_is_read(tmp_path: Path) -> None:
    """Holes and the like are new in schema 2: a report without them has none."""
    new = {"stated_fps", "holes", "discontinuities", "unfinished", "stream", "cautions"}
    exclude = dict.fromkeys(new, True) | {"gaps": {"__all__": {"stop_s"}}}
    write_text(tmp_path / "r.json", REPORT.model_dump_json(exclude=exclude))
    report = load_report(tmp_path / "r.json")
    assert (report.stated_fps, report.holes, report.discontinuities, report.unfinished, report.stream) == (
        None, (), (), None, None,
    )  # fmt: skip
    assert report.cautions == ()
    assert [gap.stop_s for gap in report.gaps] == [None, None]
    assert report.model_dump(exclude=exclude) == REPORT.model_dump(exclude=exclude)
    write_text(tmp_path / "r.json", REPORT.model_copy(update={"fps": "fast"}).model_dump_json(warnings=False))
    with pytest.raises(ArtifactError, match="not a report of schema 2"):
        load_report(tmp_path / "r.json")


@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 5.0, 600.0]), min_size=1, max_size=30), st.floats(0.1, 30))
def test_no_joined_score_reaches_across_a_hole(holes: list[float], resolution_s: float) -> None:
    starts = np.arange(len(holes)) * 1.0 + np.cumsum(holes)
    report = REPORT.model_copy(update={"scores": scores([(float(s), float(s) + 1) for s in starts])})
    joined = coarser(report, resolution_s).scores
    covered = [s for j in joined for s in report.scores if j.start_s <= s.start_s < j.stop_s]
    assert covered == list(report.scores)
    for j in joined:
        inside = [s for s in report.scores if j.start_s <= s.start_s < j.stop_s]
        assert j.stop_s - j.start_s == pytest.approx(len(inside))  # all of it is footage
        assert j.smoothed == inside[-1].smoothed
        assert j.stop_s - j.start_s < resolution_s + 1 or len(inside) == 1
        assert j.novelty == (inside[0].novelty if len(inside) == 1 else None)  # of one segment, like raw and smoothed


def test_a_report_without_scores_stays_as_it_is() -> None:
    report: Report = REPORT.model_copy(update={"scores": ()})
    assert coarser(report, 5.0) == report
