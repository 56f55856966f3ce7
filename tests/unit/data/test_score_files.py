"""Score files of other people: every way in which one may not fit is named, all at once."""

import json
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.data.score_files import read_scores, strides
from headhunt_svc.errors import DatasetError
from headhunt_svc.types import FrameSpan, VideoRecord

RECORDS = [VideoRecord(n, Path(n), 40, 30.0, "test", "normal", ()) for n in ("a", "b=1", "c#__2")]
GOOD = [0.1, 0.2, 1]


def written(path: Path, scores: object) -> Path:
    path.write_text(json.dumps(scores))
    return path


def test_scores_of_strides_the_tail_included(tmp_path: Path) -> None:
    path = written(tmp_path / "s.json", {"a.mp4": GOOD, "c#__2": GOOD, "zz": [1]})
    found = read_scores(path, RECORDS, 16)
    assert [v.record.video_id for v in found.videos] == ["a", "c#__2"]
    assert (found.missing, found.extra) == (("b=1",), ("zz",))
    assert found.videos[0].spans == (FrameSpan(0, 16), FrameSpan(16, 32), FrameSpan(32, 40))
    np.testing.assert_array_equal(found.videos[0].scores, GOOD)
    path.write_text("\ufeff" + path.read_text())
    assert read_scores(path, RECORDS, 16).missing == found.missing


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ([0.1, float("nan"), 0.3], "has 1 scores that are NaN or infinite, the first is number 1"),
        ([0.1, 0.2, float("-inf")], "has 1 scores that are NaN or infinite, the first is number 2"),
        ([0.1, 0.2, 0.3, 0.4], r"has 1 scores outside its 40 frames \(3 of 16 frames each\)"),
        ([0.1, 0.2], "has 2 scores, expected 3 for 40 frames"),
        ([0.1, "0.2", 0.3], "is not a list of numbers"),
        ([0.1, None, 0.3], "is not a list of numbers"),
        ([0.1, True, 0.3], "is not a list of numbers"),
        (0.3, "is not a list of numbers"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, scores: object, says: str) -> None:
    path = written(tmp_path / "s.json", {"a": GOOD, "b=1": scores, "c#__2": [0.5]})
    with pytest.raises(DatasetError, match=f"2 videos cannot be evaluated: b=1 {says}; c#__2 has 1 scores"):
        read_scores(path, RECORDS, 16)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as a score file"),
        ("[1, 2]", "not an object of video -> scores"),
        ('{"a": [1], "a.mp4": [1]}', "a is there twice"),
        ('{"x": [1]}', "scores of none of the 3 annotated videos"),
    ],
)
def test_what_is_no_score_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_scores(tmp_path / "s.json", RECORDS, 16)
    with pytest.raises(DatasetError, match="cannot be read as a score file"):
        read_scores(tmp_path / "none.json", RECORDS, 16)


@pytest.mark.parametrize(("n", "stride", "pieces"), [(1, 16, 1), (16, 16, 1), (17, 16, 2), (5, 1, 5)])
def test_strides_cover_every_frame_once(n: int, stride: int, pieces: int) -> None:
    spans = strides(n, stride)
    assert len(spans) == pieces
    assert [i for s in spans for i in range(*s)] == list(range(n))
