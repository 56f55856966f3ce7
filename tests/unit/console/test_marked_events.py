"""Missed events that somebody marks: features, picture, clip and times as far as they are known."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from headhunt_svc.console.desk import Desk
from headhunt_svc.console.marked import path_of, store_missed
from headhunt_svc.console.media import picture_at
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.clips import cut
from headhunt_svc.events.records import EventRecord, EventState, TimeBasis
from headhunt_svc.names import uri_of
from helpers.consoles import clip
from helpers.events import make_part, new
from helpers.log_rows import METADATA, START, K, P, rows, write

WHOLE = replace(METADATA, features="all")


def mark(desk: Desk, start_s: float, stop_s: float) -> EventRecord:
    times = START + timedelta(seconds=start_s), START + timedelta(seconds=stop_s)
    return store_missed(desk, "yard", times, "anna", "a fall", "UTC")


def test_features_are_those_of_the_log(desk: Desk, tmp_path: Path) -> None:
    raw = np.where(np.arange(60) < 30, 0.9, 0.1)
    table = rows(60, raw=raw, smoothed=raw, in_event=raw > 0.5)
    other = rows(60, "yard", "b.mp4", START + timedelta(seconds=0.5), 1, raw=raw / 2, smoothed=raw / 2)
    write(str(tmp_path / "log"), table, other, metadata=WHOLE)
    event = mark(desk, 64, 80)  # 40 to 50 of the first video, whose scores are no lower
    features = desk.events.features(event.id)
    assert features is not None
    assert (features.detector_id, features.heads) == (METADATA.detector_id, METADATA.heads)
    marked = range(40, 50)
    np.testing.assert_allclose(features.start_s, [1.6 * i for i in marked])
    expected = np.array(table["features"].to_pylist(), np.float32).reshape(60, K, P)
    np.testing.assert_array_equal(features.values, expected[40:50])
    assert set(np.round(features.normal_start_s / 1.6).astype(int)) == {*range(30, 40), *range(50, 60)}
    assert set(features.normal_raw) == {0.1}
    assert (event.time_basis, event.start_s) == (TimeBasis.LOG, pytest.approx(64))


def test_projected_features_are_not_taken_for_whole_ones(desk: Desk, tmp_path: Path) -> None:
    write(str(tmp_path / "log"), rows(20))
    event = mark(desk, 3, 6)
    assert (event.features, event.picture, event.clip) == (False, False, False)


def test_files_without_rows_of_that_time_do_not_matter(desk: Desk, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    write(log, rows(20))
    write(log, rows(20, "yard", "late.mp4", START + timedelta(hours=9)))
    assert mark(desk, 3, 6).video_id == "a.mp4"
    with pytest.raises(ConfigError, match="nothing of yard was scored"):
        mark(desk, 3600, 3610)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """A file that was written before its rows."""
    path = clip(tmp_path / "footage.mp4", "libx264")
    os.utime(path, (START.timestamp() - 100,) * 2)
    return path


def test_picture_clip_and_time_come_from_another_event_of_the_file(desk: Desk, tmp_path: Path, footage: Path) -> None:
    write(str(tmp_path / "log"), rows(20, step_s=0.2, start_s=0.2 * np.arange(20), stop_s=0.2 * np.arange(1, 21)))
    recorded = datetime(2025, 5, 5, 12, tzinfo=UTC)
    desk.events.add(
        new(
            video_id="a.mp4", start_s=1.0, source=uri_of(footage),
            start=0, stop=None, time_basis=TimeBasis.FILE_NAME,
        ).model_copy(update={"start": recorded + timedelta(seconds=1)}),
        merge_s=None,
    )  # fmt: skip
    event = mark(desk, 2, 3)
    assert (event.time_basis, event.start) == (TimeBasis.FILE_NAME, recorded + timedelta(seconds=2))
    assert event.stop == recorded + timedelta(seconds=3)
    assert event.start <= event.peak <= event.stop
    assert (event.picture, event.clip, event.source) == (True, True, str(footage))
    path = desk.events.clip(event.id)
    assert path is not None
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_a_file_that_was_written_since_is_not_shown(desk: Desk, tmp_path: Path, footage: Path) -> None:
    write(str(tmp_path / "log"), rows(20))
    os.utime(footage)
    desk.events.add(new(video_id="a.mp4", start_s=0.0, source=str(footage)), merge_s=None)
    event = mark(desk, 2, 3)
    assert (event.picture, event.clip) == (False, False)


def test_a_file_that_a_client_named_is_not_opened(desk: Desk, tmp_path: Path, footage: Path) -> None:
    write(str(tmp_path / "log"), rows(20))
    desk.events.add(new(video_id="a.mp4", start_s=0.0, source=str(footage), origin="service"), merge_s=None)
    assert not mark(desk, 2, 3).clip


@pytest.mark.parametrize(("video", "has_clip"), [("yard/a.mp4", True), ("yard/../a.mp4", False), ("a.mp4", False)])
def test_files_of_a_cameras_folder_are_found_there(
    desk: Desk, tmp_path: Path, footage: Path, video: str, has_clip: bool
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for place in (folder, tmp_path):
        shutil.copy2(footage, place / "a.mp4")
    (tmp_path / "cameras.yaml").write_text(
        f"cameras:\n  yard:\n    source: {{kind: folder, path: {folder}}}\n"
        "    masks: [[[0, 0], [1, 0], [1, 1], [0, 1]]]\n"
    )
    write(str(tmp_path / "log"), rows(20, video=video))
    event = mark(desk, 0, 2)
    assert (event.clip, event.picture) == (has_clip, has_clip)
    if has_clip:
        from PIL import Image

        path = desk.events.picture(event.id)
        assert path is not None
        with Image.open(path) as image:
            assert np.asarray(image).max() < 10  # the mask is black


def test_clip_and_mark_go_to_the_event_that_this_one_has_become_a_part_of(
    desk: Desk, tmp_path: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(str(tmp_path / "log"), rows(20))
    beside = new(900, 908, video_id="a.mp4", start_s=0.0, source=str(footage), time_basis=TimeBasis.MODIFIED)
    desk.events.add(beside, merge_s=None)
    joined: list[EventRecord] = []

    def cut_late(*args: Any) -> Any:
        (event,) = (one for one in desk.events.list() if one.origin == "manual")
        joined.append(make_part(desk.events, event))
        return cut(*args)

    monkeypatch.setattr("headhunt_svc.console.marked.cut", cut_late)
    event = mark(desk, 0, 2)
    assert (event.id, event.state, event.clip) == (joined[0].id, EventState.CONFIRMED, True)
    assert [mark.by for mark in desk.events.marks(event.id)] == ["anna"]


@pytest.mark.parametrize("speed", [1, 20])
def test_an_event_of_footage_that_was_scored_faster_than_it_plays_lasts_as_in_the_footage(
    desk: Desk, tmp_path: Path, footage: Path, speed: int
) -> None:
    """Its recording time is unknown, so the log has those of scoring; clip and event count the footage's seconds."""
    folder = tmp_path / "recordings" / "yard"
    folder.mkdir(parents=True)
    shutil.copy2(footage, folder / "a.mp4")
    (tmp_path / "cameras.yaml").write_text(f"cameras: {{yard: {{source: {{kind: folder, path: {folder}}}}}}}")
    raw = np.where(np.arange(20) == 12, 0.9, 0.1)
    columns = {"start_s": 0.2 * np.arange(20), "stop_s": 0.2 * np.arange(1, 21), "raw": raw, "smoothed": raw}
    write(str(tmp_path / "log"), rows(20, video="yard/a.mp4", step_s=0.2 / speed, **columns))
    event = mark(desk, 2 / speed, 3 / speed)
    assert event.clip_start is not None
    assert event.stop is not None
    seconds = [(time - event.clip_start).total_seconds() for time in (event.start, event.peak, event.stop)]
    begins_s = 2 - seconds[0]  # where the clip begins in the footage
    assert event.start == START + timedelta(seconds=2 / speed)
    assert np.add(seconds, begins_s) == pytest.approx([2, 2.5, 3], abs=0.01)
    assert event.start_s == pytest.approx(2, abs=0.01)
    path = desk.events.clip(event.id)
    assert path is not None
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="gray").astype(float)
    left = int(np.flatnonzero(first[45] > 130)[0])  # of the square, which moves 3 pixels a picture, ten a second
    assert abs(left - 30 * begins_s) <= 3


def test_the_picture_is_that_of_its_time(footage: Path) -> None:
    import io

    from PIL import Image

    for seconds in (0.0, 1.05, 2.55, 9.0):
        pixels = np.asarray(Image.open(io.BytesIO(picture_at(footage, seconds))).convert("L"), float)
        left = int(np.flatnonzero(pixels[45] > 130)[0])  # of the square, which moves 3 pixels a picture
        assert abs(left - 3 * min(int(seconds * 10), 39)) <= 3, seconds


def test_sources_that_are_files() -> None:
    assert path_of(uri_of(Path("/a/b\x01.mp4"))) == Path("/a/b\x01.mp4")
    assert path_of("/a/b.mp4") == Path("/a/b.mp4")
    assert path_of("https://a/b.mp4") is None
    assert path_of("s3://a/b.mp4") is None
