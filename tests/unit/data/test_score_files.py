"""Score files of other people: every way in which one may not fit is named, all at once."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


FRAMES = {"0": 0.1, "16": 0.2, "32": 1}


def folder_of(path: Path, **files: object) -> Path:
    """A folder of score files: lists and objects as JSON, arrays as .npy, text as .csv."""
    path.mkdir()
    for name, value in files.items():
        if isinstance(value, np.ndarray):
            np.save(path / f"{name}.npy", value)
        elif isinstance(value, str):
            (path / f"{name}.csv").write_text(value)
        else:
            written(path / f"{name}.json", value)
    return path


def test_every_form_gives_the_same_scores(tmp_path: Path) -> None:
    """A score at a frame holds until the next one, so that one each 16 frames is a list of stride 16."""
    records = [VideoRecord(f"yard/{n}.mp4", Path(n), 40, 30.0, "test", "normal", ()) for n in "abcde"]
    forms: dict[str, object] = {
        "a": GOOD,
        "b": FRAMES,
        "c": np.array(GOOD, np.float32),
        "d": "frame,score\n32,1\n0,0.1\n16,0.2\n",
        "e.mp4": dict(reversed(FRAMES.items())),
    }
    (tmp_path / "scores").mkdir()
    folder_of(tmp_path / "scores" / "yard", **forms)
    one_file = {f"yard/{n}.mp4": GOOD if n in "ac" else FRAMES for n in "abcde"}
    for path in (tmp_path / "scores", written(tmp_path / "s.json", one_file)):
        scores = read_scores(path, records, 16)
        assert (scores.missing, scores.extra) == ((), ())
        for video in scores.videos:
            assert video.spans == (FrameSpan(0, 16), FrameSpan(16, 32), FrameSpan(32, 40))
            np.testing.assert_allclose(video.scores, GOOD, rtol=1e-6)


@given(st.sets(st.integers(1, 39)), st.integers(1, 50))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_score_holds_until_the_next_frame_that_is_given(tmp_path: Path, later: set[int], stride: int) -> None:
    given_frames = sorted({0, *later})
    path = written(tmp_path / "s.json", {"a": {str(f): f / 100 for f in given_frames}})
    (video,) = read_scores(path, RECORDS[:1], stride).videos
    steps = np.repeat(video.scores, [len(span) for span in video.spans])
    assert steps.tolist() == [max(f for f in given_frames if f <= frame) / 100 for frame in range(40)]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"1": 0.5}, "a has no score of frame 0, the first is at 1"),
        ({}, "a has no score of frame 0, the first is at none"),
        ({"0": 0.5, "40": 0.5}, "a has 1 scores outside its 40 frames"),
        ({"0": 0.5, "x": 1}, "a has scores that are not at the number of a frame"),
        ({"0": 0.5, "01": 1}, "a has scores that are not at the number of a frame"),
        ({"0": 0.5, "-1": 1}, "a has scores that are not at the number of a frame"),
        ({"0": 0.5, "9" * 5000: 1}, "a has scores that are not at the number of a frame"),
        ({"0": None}, "a is not a list of numbers"),
        ({"0": float("nan")}, "a has 1 scores that are NaN or infinite, the first is number 0"),
        ([10**400], "a has a score that is too large"),
        (np.zeros((3, 1)), r"a is an array of float64 of shape \(3, 1\), expected numbers in one dimension"),
        (np.array(["0.1"] * 3), "a is an array of <U3 of shape"),
        (np.zeros(2), "a has 2 scores, expected 3 for 40 frames"),
        ("frame,score\n1,0.5\n", "a has no score of frame 0"),
        ("frame,score\n0,nan\n", "a has 1 scores that are NaN or infinite"),
    ],
)
def test_scores_of_a_file_that_do_not_fit_are_named(tmp_path: Path, value: object, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        read_scores(folder_of(tmp_path / "s", a=value), RECORDS, 16)


def test_files_that_hold_no_scores_are_named_all_at_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", a="frame,score\n0,x\n0,1\n0,2\n-1,1\n", b="frame;scores\n", e=GOOD)
    with (folder / "c.npy").open("wb") as file:
        pickle.dump({"a": 1}, file)
    (folder / "d.json").write_text("{")
    (folder / "d.npy").write_bytes(b"")
    with pytest.raises(DatasetError) as refused:
        read_scores(folder, RECORDS, 16)
    for part in (
        "5 score files cannot be read",
        "a.csv:2: score: Input should be a valid number",
        "a.csv:4: frame 0 is there twice",
        "a.csv:5: frame: Input should be greater than or equal to 0",
        "b.csv:1: the header must be frame,score",
        "c.npy: ",
        "d.json: ",
        "d.npy: ",
    ):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_video_with_two_files_or_a_name_of_two_videos_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", a=GOOD)
    np.save(folder / "a.mp4.npy", np.array(GOOD))
    with pytest.raises(DatasetError, match="a is there twice"):
        read_scores(folder, RECORDS, 16)
    two = [VideoRecord(n, Path(n), 40, 30.0, "test", "normal", ()) for n in ("a.mp4", "a.mkv")]
    with pytest.raises(DatasetError, match="two annotated videos have one name without its ending"):
        read_scores(written(tmp_path / "s.json", {"a": GOOD}), two, 16)
    with pytest.raises(DatasetError, match="scores of none of the 3 annotated videos"):
        read_scores(folder_of(tmp_path / "empty"), RECORDS, 16)


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
