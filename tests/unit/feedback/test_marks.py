"""Which marks count, and what each teaches."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.features import load_features, save_features
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import (
    MARKS_FILE,
    MarkQuery,
    as_arrays,
    known_detectors,
    load_marks,
    local_day,
    normals_of,
    read_marks,
    save_marks,
)
from headhunt_svc.settings import EventSettings
from helpers.feedback import DAYS, bundle, mark

SEGMENTS = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events", database=None)) as opened:
        yield opened


def test_marks_by_camera_the_oldest_first(marked_site: ModuleType, store: EventStore) -> None:
    yard = mark(marked_site, store, DAYS[:2])
    seen = mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True, camera="door")
    mark(marked_site, store, DAYS[:1], state=None, hour=13)
    marks = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset())
    assert {name: [m.event.event_id for m in of] for name, of in marks.cameras.items()} == {
        "door": [seen[0].id],
        "yard": [event.id for event in yard],
    }
    assert marks.count == 5
    arrays = as_arrays(marks.cameras["yard"])
    assert (len(arrays), arrays.anomalous.any()) == (4 * SEGMENTS, False)
    assert arrays.event.tolist() == np.repeat(np.arange(4), SEGMENTS).tolist()
    assert len(set(arrays.groups)) == 4  # a group is a video and a day
    assert as_arrays(marks.cameras["door"]).anomalous.all()
    stored = store.features(yard[0].id)
    assert stored is not None
    np.testing.assert_array_equal(arrays.z[:SEGMENTS], stored.values.reshape(SEGMENTS, -1))


def test_a_withdrawn_mark_is_none(marked_site: ModuleType, store: EventStore) -> None:
    first, second = mark(marked_site, store, DAYS[:1])
    before = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset())
    store.mark(first.id, EventState.NEW, "anna")
    marks = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset())
    assert [m.event.event_id for m in marks.cameras["yard"]] == [second.id]
    assert marks.file().digest != before.file().digest
    store.mark(first.id, EventState.ACKNOWLEDGED, "anna")
    assert read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset()).count == 1


def test_a_query_chooses_marks(marked_site: ModuleType, store: EventStore) -> None:
    yard, door = mark(marked_site, store), mark(marked_site, store, camera="door")
    made = marked_site.SITE.bundle
    assert set(read_marks(store, made, MarkQuery(cameras=("door",)), frozenset()).cameras) == {"door"}
    since = read_marks(store, made, MarkQuery(since=yard[4].start), frozenset())
    assert {name: len(of) for name, of in since.cameras.items()} == {"yard": 4, "door": 4}
    without = read_marks(store, made, MarkQuery(without=(door[0].id,)), frozenset())
    assert (without.count, door[0].id in {m.event.event_id for m in without.cameras["door"]}) == (15, False)
    with pytest.raises(ConfigError, match="--without nosuch: no such marked event"):
        read_marks(store, made, MarkQuery(without=("nosuch",)), frozenset())


def test_events_without_usable_features_are_left_out_with_the_reason(
    marked_site: ModuleType, store: EventStore
) -> None:
    events, made = mark(marked_site, store), marked_site.SITE.bundle
    paths = [store.media.path(event.id, ".safetensors") for event in events]
    features = load_features(paths[0])
    save_features(paths[0], replace(features, detector_id="e" * 12, features_id="f" * 12))
    save_features(paths[1], replace(features, detector_id="e" * 12, features_id=None))  # of an earlier version
    save_features(paths[2], replace(features, detector_id="e" * 12))  # only scorer or cameras differ
    save_features(paths[3], replace(features, heads=features.heads[::-1]))
    paths[4].write_bytes(b"no tensors")
    empty = np.zeros((0, *features.values.shape[1:]), np.float32)
    save_features(paths[5], replace(features, values=empty, start_s=np.zeros(0), raw=np.zeros(0)))
    marks = read_marks(store, made, MarkQuery(), frozenset())
    assert [m.event.event_id for m in marks.cameras["yard"]] == [events[i].id for i in (2, 6, 7)]
    other = "its features are of detector eeeeeeeeeeee, with another model, other heads, prompt or segments"
    assert marks.left_out == {
        "its file of features is damaged": (events[4].id,),
        other: tuple(sorted(events[i].id for i in (0, 1))),
        other.replace("e" * 12, made.detector_id): (events[3].id,),
        "no features are stored with it": (events[5].id,),
    }
    assert {group.reason: group.events for group in marks.file().left_out} == marks.left_out
    assert read_marks(store, made, MarkQuery(), frozenset({"e" * 12})).count == 4


def test_a_corrected_time_says_which_segments_carry_the_mark(marked_site: ModuleType, store: EventStore) -> None:
    """The event has segments at 0, 1.6, 3.2 and 4.8 s from its start."""
    (event,) = mark(marked_site, store, DAYS[:1], 1, EventState.CONFIRMED, anomalous=True)

    def seconds(*spans: tuple[float, float]) -> tuple[tuple[datetime, datetime], ...]:
        return tuple((event.start + timedelta(seconds=a), event.start + timedelta(seconds=b)) for a, b in spans)

    for spans, starts in ((seconds((2, 3)), [1.6]), (seconds((0, 1), (4, 9)), [0, 3.2, 4.8])):
        store.mark(event.id, EventState.CONFIRMED, "anna", spans=spans)
        (marked,) = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset()).cameras["yard"]
        assert (marked.start_s - 100).tolist() == pytest.approx(starts)
        assert len(marked.z) == marked.event.segments == len(starts)
    store.mark(event.id, EventState.CONFIRMED, "anna", spans=seconds((60, 70)))
    marks = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset())
    assert (marks.count, [events for events in marks.left_out.values()]) == (0, [(event.id,)])
    store.mark(event.id, EventState.FALSE_ALARM, "anna")
    assert read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset()).count == 1


def test_detectors_with_the_same_features_are_known(marked_site: ModuleType, tmp_path: Path) -> None:
    made = marked_site.SITE.bundle
    lineage = made.model_copy(update={"data": {**made.data, "recalibrated": [{"from": "a" * 12}]}})
    assert known_detectors(lineage) == {lineage.detector_id, "a" * 12}
    assert known_detectors(lineage, [bundle(marked_site), tmp_path]) == {
        lineage.detector_id,
        made.detector_id,
        "a" * 12,
    }
    other = made.model_copy(update={"prompt": "another one"})
    assert known_detectors(other, [bundle(marked_site)]) == {other.detector_id}


def test_normal_segments_count_once_and_not_within_a_marked_anomaly(marked_site: ModuleType, store: EventStore) -> None:
    mark(marked_site, store, DAYS[:1], 1)
    (first,) = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset()).cameras["yard"]
    n, width = first.normal.shape
    assert normals_of([first, first], width).shape == (n, width)
    event = first.event.model_copy(update={"state": EventState.CONFIRMED})
    anomaly = replace(first, event=event, start_s=first.normal_start_s[:4])
    np.testing.assert_array_equal(normals_of([first, anomaly], width), first.normal[4:])
    assert normals_of([replace(first, normal=first.normal[:0], normal_start_s=np.zeros(0))], width).shape == (0, width)


def test_the_day_of_a_mark_is_that_of_the_cameras_clock(marked_site: ModuleType, store: EventStore) -> None:
    (event,) = mark(marked_site, store, DAYS[:1], 1, hour=23)
    (found,) = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset()).cameras["yard"]
    assert found.event.day == DAYS[0]
    assert local_day(event.model_copy(update={"time_zone": "Europe/Berlin"})) == DAYS[1]


def test_marks_are_read_as_they_were_written(marked_site: ModuleType, store: EventStore, tmp_path: Path) -> None:
    events = mark(marked_site, store, DAYS[:1])
    marks = read_marks(store, marked_site.SITE.bundle, MarkQuery(), frozenset())
    file = marks.file([events[0].id])
    assert [m.outvoted for m in file.marks] == [True, False]
    assert file.digest == marks.file().digest
    assert load_marks(tmp_path) is None
    save_marks(tmp_path, file)
    assert load_marks(tmp_path) == file
    (tmp_path / MARKS_FILE).write_text('{"marks": 3}')
    with pytest.raises(ArtifactError, match=r"marks\.json.*recalibrate --from-events"):
        load_marks(tmp_path)
