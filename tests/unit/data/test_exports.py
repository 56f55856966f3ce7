"""Exports of CVAT and Label Studio: the same spans as in one's own files, and every mistake by its line."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_video
from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.datasets import Annotation, make_record, read_annotations
from headhunt_svc.data.footage import scan_footage
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import DatasetParams, ExportParams, SplitParams
from headhunt_svc.pipeline.split import split
from headhunt_svc.types import VideoRecord
from helpers.exports import (
    CALM,
    FIGHT,
    Labelled,
    box,
    cvat,
    cvat_project,
    cvat_task,
    frames,
    label_studio_min,
    label_studio_task,
    problems,
    timeline,
    track,
    track_of,
    written,
)


def write_jsonl(path: Path, videos: Sequence[Labelled]) -> Path:
    rows = [
        {
            "video": v.video,
            "split": v.split,
            "label": v.label if v.spans else "normal",
            "spans": v.spans,
            "unit": "frames",
        }
        for v in videos
    ]
    return written(path.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, videos: Sequence[Labelled]) -> Path:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video", "split", "label", "start", "stop", "unit"])
        for v in videos:
            for start, stop in v.spans or [("", "")]:
                table.writerow([v.video, v.split, v.label if v.spans else "normal", start, stop, "frames"])
    return path.with_suffix(".csv")


def write_cvat(path: Path, videos: Sequence[Labelled]) -> Path:
    return written(path.with_suffix(".xml"), cvat_project(videos))


def write_cvat_tasks(path: Path, videos: Sequence[Labelled]) -> Path:
    path.with_suffix(".tasks").mkdir(exist_ok=True)
    for i, v in enumerate(videos):
        written(path.with_suffix(".tasks") / f"{i}.xml", cvat(cvat_task(i, v), track_of(v)))
    for stale in range(len(videos), 9):
        (path.with_suffix(".tasks") / f"{stale}.xml").unlink(missing_ok=True)
    return path.with_suffix(".tasks")


def write_label_studio(path: Path, videos: Sequence[Labelled]) -> Path:
    tasks = [
        label_studio_task(i, f"/data/local-files/?d={v.video}", timeline(v.label, v.spans), split=v.split)
        for i, v in enumerate(videos)
    ]
    return written(path.with_suffix(".json"), tasks)


def write_label_studio_min(path: Path, videos: Sequence[Labelled]) -> Path:
    tasks = [
        label_studio_min(i, f"s3://bucket/{v.video}", timeline(v.label, v.spans), split=v.split)
        for i, v in enumerate(videos)
    ]
    return written(path.with_suffix(".min.json"), tasks)


WRITERS: list[Callable[[Path, Sequence[Labelled]], Path]] = [
    write_jsonl,
    write_csv,
    write_cvat,
    write_cvat_tasks,
    write_label_studio,
    write_label_studio_min,
]


@st.composite
def labelled(draw: st.DrawFn, number: int) -> Labelled:
    n_frames = draw(st.integers(2, 60))
    edges = sorted(draw(st.sets(st.integers(0, n_frames), max_size=6)))
    spans = tuple(zip(edges[::2], edges[1::2], strict=False))
    apart = tuple((a, b) for i, (a, b) in enumerate(spans) if i == 0 or a > spans[i - 1][1])
    split = draw(st.sampled_from(["calibration", "validation", "test", "hard"]))
    label = draw(st.sampled_from(["fight", "fall & <run>", "Überfall"]))
    return Labelled(f"v{number}.mp4", split, n_frames, apart, label)


def records(path: Path, videos: Sequence[Labelled]) -> list[VideoRecord]:
    lengths = {v.video: v.n_frames for v in videos}
    read = read_annotations(path)
    made = [make_record(a, Path(a.video), FrameTimes.at_rate(lengths[a.video], 25.0)) for a in read]
    return sorted(made, key=lambda record: record.video_id)


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(*(labelled(i) for i in range(n)))))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_spans_give_the_same_records_from_every_form(tmp_path: Path, videos: tuple[Labelled, ...]) -> None:
    first, *others = (records(write(tmp_path / "a", videos), videos) for write in WRITERS)
    assert [r.true_spans for r in first] == [v.spans for v in videos]
    for other in others:
        assert other == first


def test_only_the_labels_that_are_named_are_anomalies(tmp_path: Path) -> None:
    tracks = [track("person", [box(0), box(60, outside=True)]), track("fight", [box(7), box(9, outside=True)])]
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT), tracks))
    assert frames(path, ExportParams(labels=("fight", "fall"))) == {"0412.mp4": ("fight", ((7, 9),))}
    assert frames(path)["0412.mp4"][0] == "fight+person"
    assert "none of dataset.export.labels (fihgt) is in it; there are: fight, person" in problems(
        path, ExportParams(labels=("fihgt",))
    )


def test_a_video_without_a_split_is_refused_unless_one_is_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, Labelled("a.mp4", "default", 9))))
    assert "a.xml:5: a.mp4 is in no split: say one in the annotation tool, or set dataset.export.split" in problems(
        path
    )
    assert read_annotations(path, ExportParams(split="test"))[0].split == "test"
    odd = written(tmp_path / "b.xml", cvat(cvat_task(1, Labelled("a.mp4", "night", 9))))
    assert "a.mp4 is in split 'night', expected one of calibration, train" in problems(odd, ExportParams(split="test"))


def test_split_draws_from_the_videos_of_an_export_that_are_in_none(tmp_path: Path) -> None:
    spans = ((1, 3),)
    videos = [Labelled(f"{i}.mp4", "default", 9, spans if i % 2 else ()) for i in range(20)]
    tests = [Labelled(f"t{i}.mp4", "test", 9, spans) for i in range(2)]
    path = written(tmp_path / "a.xml", cvat_project([*videos, *tests]))
    split(SplitParams(calibration=6, validation=4), path, tmp_path / "out.jsonl")
    drawn = [a.split for a in read_annotations(tmp_path / "out.jsonl")]
    assert sorted(drawn) == ["calibration"] * 6 + ["test"] * 2 + ["validation"] * 4


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    tracks = [track("a", [box(100)]), track("b", [box(1), box(200)]), track("c", [box(3)])]
    text = cvat(cvat_task(1, FIGHT), tracks)
    told = problems(written(tmp_path / "a.xml", text))
    for label, frame in (("a", 100), ("b", 200)):
        line = 1 + text[: text.index(f'frame="{frame}"')].count("\n")
        assert f"a.xml:{line}: {label}: frame {frame} is not in its task" in told
    tasks = [
        label_studio_task(7, "a.mp4", timeline("x", [(5, 3)]), split="test"),
        label_studio_task(8, "a.txt", timeline("x", [(1, 3)]), split="test"),
        label_studio_task(9, "b.mp4", timeline("x", [(-1, 3)]), split="test"),
    ]
    told = problems(written(tmp_path / "a.json", "[\n" + ",\n".join(map(json.dumps, tasks)) + "\n]"))
    assert "a.json:2: ranges.0: a range from 6 to 3" in told
    assert "a.json:3: task 8: the data name 0 videos (no address ends like one)" in told
    assert "a.json:4: ranges.0.start: Input should be greater than or equal to 1" in told


def test_an_export_says_by_itself_where_spans_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT), track_of(FIGHT)))
    with pytest.raises(DatasetError, match="leave span_ends out"):
        read_annotations(path, span_ends="inclusive")


def test_videos_of_an_export_are_found_below_the_root(tmp_path: Path) -> None:
    videos = [Labelled("0412.mp4", "test", 40, ((10, 20),)), Labelled("0413.mp4", "test", 40)]
    path = written(tmp_path / "a.xml", cvat_project(videos))
    for video in videos:
        write_video(tmp_path / "root" / "yard" / video.video, 40)
    params = DatasetParams(root=tmp_path / "root", annotations=path)
    footage = scan_footage(params)
    assert [(r.video_id, r.path, r.true_spans) for r in footage.records] == [
        ("0412.mp4", tmp_path / "root" / "yard" / "0412.mp4", ((10, 20),)),
        ("0413.mp4", tmp_path / "root" / "yard" / "0413.mp4", ()),
    ]
    assert footage.findings == ()
    write_video(tmp_path / "root" / "gate" / "0412.mp4", 40)
    write_video(tmp_path / "root" / "yard" / "0413.mp4", 45)
    found = [(f.video, f.status) for f in scan_footage(params).findings]
    assert ("0412.mp4", "ambiguous") in found
    assert ("0413.mp4", "longer") in found  # five frames that nobody has seen in the annotation tool
    write_video(tmp_path / "root" / "yard" / "0413.mp4", 35)
    assert ("0413.mp4", "shorter") in [(f.video, f.status) for f in scan_footage(params).findings]


def test_the_length_of_a_video_survives_the_files_of_ones_own(tmp_path: Path) -> None:
    line = {"video": "a", "split": "test", "label": "normal", "spans": [], "unit": "frames"}
    path = written(tmp_path / "a.jsonl", json.dumps(line | {"n_frames": 7}))
    assert read_annotations(path)[0].n_frames == 7
    assert Annotation.model_validate(line).model_dump_json() == json.dumps(line, separators=(",", ":"))
    table = written(tmp_path / "a.csv", "video,split,label,start,stop,unit,n_frames\na,test,x,1,3,frames,7\n")
    assert read_annotations(table)[0].n_frames == 7


TASKS = [label_studio_task(1, "a.mp4", timeline("x", [(1, 3)]), split="test")]
ROWS = [label_studio_min(1, "a.mp4", timeline("x", [(1, 3)]), split="test")]
WHOLE_FILES = [cvat_project([FIGHT, CALM]), json.dumps(TASKS, indent=1), json.dumps(ROWS)]
PIECES = [
    "",
    "0",
    "-1",
    '"',
    "null",
    "[",
    "<",
    ">",
    "&x;",
    "é",
    "99999999999999999999",
    "NaN",
    "<x/>",
    "{}",
    "]]>",
    "\0",
]


@given(st.sampled_from(WHOLE_FILES), st.floats(0, 1), st.integers(0, 40), st.sampled_from(PIECES))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_export_is_read_or_refused_in_one_line(
    tmp_path: Path, whole: str, place: float, length: int, piece: str
) -> None:
    at = round(place * len(whole))
    path = written(tmp_path / "a", whole[:at] + piece + whole[at + length :])
    told = ""
    try:
        assert read_annotations(path, ExportParams(split="test"))
    except DatasetError as exc:
        told = str(exc)
    assert "\n" not in told
