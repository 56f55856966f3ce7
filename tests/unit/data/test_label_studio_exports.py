"""Exports of Label Studio: names, ranges and rectangles become spans, and every mistake is named."""

import json
from pathlib import Path

import pytest

from headhunt_svc.core.frame_times import FrameTimes
from headhunt_svc.data.datasets import make_record, read_annotations
from headhunt_svc.params import ExportParams
from helpers.exports import FIGHT, cvat, cvat_task, frames, label_studio_task, problems, timeline, written


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
