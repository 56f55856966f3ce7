"""Exports of CVAT: tracks, skeletons and tags become spans, and every mistake is named."""

from pathlib import Path

import pytest

from headhunt_svc.data.datasets import read_annotations
from helpers.exports import (
    CALM,
    FIGHT,
    Labelled,
    box,
    cvat,
    cvat_project,
    cvat_task,
    frames,
    problems,
    project,
    track,
    written,
)


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
        (cvat(f"<other>{cvat_task(1, FIGHT)}</other>"), "of the format with 0 tasks"),
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
