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
    Labelled,
    box,
    cvat,
    cvat_project,
    cvat_task,
    label_studio_min,
    label_studio_task,
    project,
    timeline,
    track,
    track_of,
    written,
)

FIGHT = Labelled("yard/0412.mp4", "test", 100, ((10, 20), (40, 41), (90, 100)))
CALM = Labelled("yard/0413.mp4", "calibration", 50)


def frames(path: Path, export: ExportParams | None = None) -> dict[str, tuple[str, tuple[tuple[float, float], ...]]]:
    """Label and spans of each video."""
    return {a.video: (a.label, a.spans) for a in read_annotations(path, export or ExportParams())}


def problems(path: Path, export: ExportParams | None = None) -> str:
    with pytest.raises(DatasetError) as refused:
        read_annotations(path, export or ExportParams())
    assert "\n" not in str(refused.value)
    return str(refused.value)


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


def test_cvat_tells_the_length_and_videos_of_one_name_by_their_folders(tmp_path: Path) -> None:
    other = Labelled("gate/0412.mp4", "test", 30, ((0, 30),), "fall")
    path = written(tmp_path / "a.xml", cvat_project([FIGHT, other, CALM]))
    read = {a.video: (a.split, a.label, a.spans, a.n_frames) for a in read_annotations(path)}
    assert read == {
        "0413.mp4": ("calibration", "normal", (), 50),
        "yard/0412.mp4": ("test", "fight", FIGHT.spans, 100),
        "gate/0412.mp4": ("test", "fall", ((0, 30),), 30),
    }


def test_tracks_end_where_they_are_outside_and_overlapping_ones_are_one_span(tmp_path: Path) -> None:
    tracks = [
        track("fight", [box(10), box(11, keyframe=False), box(12, outside=True), box(30), box(31, outside=True)]),
        track("fall", [box(12), box(20, outside=True)]),
        track("fall", [box(98), box(99)]),
    ]
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT), tracks))
    assert frames(path) == {"0412.mp4": ("fall+fight", ((10, 20), (30, 31), (98, 100)))}


def test_a_track_without_shapes_covers_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT), [track("fight", [])]))
    assert frames(path) == {"0412.mp4": ("normal", ())}


def test_a_skeleton_is_gone_when_all_its_points_are_outside(tmp_path: Path) -> None:
    def skeleton(frame: int, outside: int) -> str:
        points = [f'<points label="{i}" keyframe="1" outside="{outside}" points="1,1"></points>' for i in (1, 2)]
        return f'<skeleton frame="{frame}" keyframe="1" z_order="0">{"".join(points)}</skeleton>'

    path = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT), [track("fall", [skeleton(5, 0), skeleton(9, 1)])]))
    assert frames(path) == {"0412.mp4": ("fall", ((5, 9),))}


def test_frames_of_a_task_with_start_and_step_are_those_of_the_video(tmp_path: Path) -> None:
    first, second = cvat_task(1, FIGHT, 0, 48, 4), cvat_task(2, FIGHT, 52, 96, 4)
    offset = 13 * 4  # the frames of the first task, as the export of a project counts them
    tracks = [
        track("fight", [box(8), box(12, keyframe=False), box(16, outside=True)], task=1),
        track("fight", [box(52 + offset), box(56 + offset, outside=True)], task=2),
        track("fall", [box(96 + offset)], task=2),
    ]
    path = written(tmp_path / "a.xml", cvat(project([first, second]), tracks))
    assert frames(path) == {"0412.mp4": ("fall+fight", ((8, 16), (52, 56), (96, 97)))}
    assert read_annotations(path)[0].n_frames is None  # the frames behind the last one are not known


def test_tags_of_the_format_for_images_stand_for_their_frames(tmp_path: Path) -> None:
    images = [
        f'<image id="{i}" name="frame_{i:06d}" width="640" height="480">'
        + ('<tag label="fight" source="manual"></tag>' if 3 <= i < 6 else "")
        + ('<tag label="normal" source="manual"></tag>' if i == 8 else "")
        + "</image>"
        for i in range(10)
    ]
    path = written(tmp_path / "a.xml", cvat(cvat_task(1, Labelled("a.mp4", "test", 10)), images))
    assert frames(path) == {"a.mp4": ("fight", ((3, 6),))}


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


BOMB = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};">' for i in range(1, 9)) + "]>\n"


@pytest.mark.parametrize(
    "beginning",
    [
        BOMB.replace("&a0;", "&a;"),
        '<!DOCTYPE annotations [<!ENTITY secret SYSTEM "file:///etc/hostname">]>\n',
        '<!DOCTYPE annotations SYSTEM "http://127.0.0.1:9/annotations.dtd">\n',
        '<!DOCTYPE annotations [<!ENTITY % all SYSTEM "http://127.0.0.1:9/all.dtd"> %all;]>\n',
    ],
)
def test_entities_are_refused_before_they_are_read(tmp_path: Path, beginning: str) -> None:
    name = Labelled("a.mp4", "test", 9)
    text = cvat(cvat_task(1, name), beginning=beginning).replace("<name>a.mp4", "<name>&a8;&secret;")
    told = problems(written(tmp_path / "a.xml", text))
    assert told.endswith("a.xml:2: a document type is declared, which could hold entities; CVAT writes none")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotations>", "a.xml:1: this is no XML (no element found)"),
        (cvat("<task>") + "\n", "this is no XML (mismatched tag)"),
        ("<annotation><folder>x</folder></annotation>", "this is no export of CVAT (it begins with <annotation>)"),
        ("<annotations><version>1.0</version></annotations>", "version '1.0' of the format with 0 tasks; expected 1.1"),
        (cvat(cvat_task(1, FIGHT), ["<track id='0'></track>"]), "<track> has no attribute 'label'"),
        (cvat(cvat_task(1, FIGHT), ['<tag label="a" frame="3"></tag>']), "<tag> is not known in an export of CVAT"),
        (cvat(cvat_task(1, FIGHT), [track("a", [box(100)])]), "a: frame 100 is not in its task, frames 0 to 99"),
        (
            cvat(cvat_task(1, FIGHT), [track("a", [box(3).replace('frame="3"', 'frame="x"')])]),
            "a: a frame is no number",
        ),
        (
            cvat(cvat_task(1, FIGHT), [track("a", [box(3).replace('outside="0"', 'outside="True"')])]),
            "outside is 'True', expected 0 or 1",
        ),
        (cvat(cvat_task(1, FIGHT).replace("task>", "job>").replace("<source>0412.mp4</source>", "")), "not a job"),
        (
            cvat(cvat_task(1, FIGHT).replace("<stop_frame>99", "<stop_frame>z")),
            "task 'yard/0412.mp4': start_frame, stop",
        ),
        (cvat(cvat_task(1, FIGHT, 10, 99)), "of 0412.mp4 only frames 10 to 99 are annotated"),
        (
            cvat(project([cvat_task(1, FIGHT, 0, 30), cvat_task(2, FIGHT, 40, 99)])),
            "of yard/0412.mp4 only frames 0 to 30, 40 to 99 are annotated",
        ),
        (
            cvat(project([cvat_task(1, FIGHT), cvat_task(2, CALM)]), [track("a", [box(3)], task=7)]),
            "a is of task 7, which is not in the file",
        ),
    ],
)
def test_what_is_wrong_in_an_export_of_cvat_is_named(tmp_path: Path, text: str, says: str) -> None:
    text = text.replace("<name>yard/0412.mp4", "<name>work") if "of 0412.mp4" in says else text
    assert says in problems(written(tmp_path / "a.xml", text))


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


@pytest.mark.parametrize(
    ("address", "video"),
    [
        ("/data/upload/3/1a2b3c4d-0412.mp4", "0412.mp4"),
        ("/data/local-files/?d=footage/yard/0412.mp4", "0412.mp4"),
        ("s3://bucket/yard/0412.mp4", "0412.mp4"),
        ("https://example.org/yard/04%2012.mp4?sig=a/b", "04 12.mp4"),
        ("yard/night?#1.mp4", "night?#1.mp4"),
    ],
)
def test_the_name_of_a_video_in_label_studio(tmp_path: Path, address: str, video: str) -> None:
    path = written(tmp_path / "a.json", [label_studio_task(1, address, [], split="test", note="x")])
    assert frames(path) == {video: ("normal", ())}


def test_videos_of_one_name_in_label_studio_get_their_folders(tmp_path: Path) -> None:
    tasks = [label_studio_task(i, f"s3://bucket/all/{c}/1.mp4", [], split="test") for i, c in enumerate("ab")]
    assert list(frames(written(tmp_path / "a.json", tasks))) == ["a/1.mp4", "b/1.mp4"]


def test_rectangles_last_to_the_next_keyframe(tmp_path: Path) -> None:
    def keyframe(frame: int, enabled: bool) -> dict:
        return {"frame": frame, "enabled": enabled, "rotation": 0, "x": 1, "y": 1, "width": 9, "height": 9, "time": 0.1}

    def rectangle(*sequence: dict) -> dict:
        value = {"framesCount": 40, "duration": 4.0, "sequence": list(sequence), "labels": ["fall"]}
        return {"value": value, "id": "b", "from_name": "box", "to_name": "video", "type": "videorectangle"}

    results = [rectangle(keyframe(5, True), keyframe(9, False)), rectangle(keyframe(31, True))]
    others = [
        {"value": {"choices": ["night"]}, "id": "c", "from_name": "when", "to_name": "video", "type": "choices"},
        {"from_id": "b", "to_id": "c", "type": "relation", "direction": "right"},
    ]
    path = written(tmp_path / "a.json", [label_studio_task(1, "a.mp4", results + others, split="val")])
    assert frames(path) == {"a.mp4": ("fall", ((4, 9), (30, 40)))}


def test_the_frame_rate_of_the_label_studio_project_gives_seconds(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [label_studio_task(1, "a.mp4", timeline("x", [(24, 36)]), split="test")])
    (annotation,) = read_annotations(path, ExportParams(fps=24))
    assert (annotation.unit, annotation.spans) == ("seconds", ((1.0, 1.5),))
    record = make_record(annotation, Path("a.mp4"), FrameTimes.at_rate(100, 30.0))
    assert record.true_spans == ((30, 45),)
    cvat_file = written(tmp_path / "a.xml", cvat(cvat_task(1, FIGHT)))
    assert "dataset.export.fps is for Label Studio" in problems(cvat_file, ExportParams(fps=24))


def test_which_annotation_of_a_task_counts(tmp_path: Path) -> None:
    skipped, twice, true = (label_studio_task(i, f"{i}.mp4", timeline("x", [(1, 3)]), split="test") for i in range(3))
    skipped["annotations"][0]["was_cancelled"] = True
    other = label_studio_task(9, "", timeline("x", [(5, 8)]))["annotations"][0]
    for task in (twice, true):
        task["annotations"].append(dict(other))
    assert "task 1: it has 2 annotations: mark one of them as the ground truth" in problems(
        written(tmp_path / "a.json", [skipped, twice, true])
    )
    true["annotations"][1]["ground_truth"] = True
    assert frames(written(tmp_path / "a.json", [skipped, true])) == {"2.mp4": ("x", ((5, 8),))}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "a.json:1: this is no JSON"),
        ('[{"a": 1}', "a.json:1: the list does not go on with a comma or end"),
        ("[1]", "this is no task of an export of Label Studio"),
        ('[{"video": "a.mp4", "split": "test"}]', "this is no task of an export of Label Studio"),
        ("[]", "names no video"),
        ("[] []", "there is more behind the list"),
        ("[" * 100_000, "this is no JSON (maximum recursion depth exceeded"),
        (json.dumps([label_studio_task(1, "a.mp4", [], split=3)]), "task 1: the split in its data is no text"),
        (json.dumps([label_studio_task(1, "a.mp4", [], other="b.mp4", split="t")]), "in split 't'"),
    ],
)
def test_what_is_wrong_in_an_export_of_label_studio_is_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in problems(written(tmp_path / "a.json", text))


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
