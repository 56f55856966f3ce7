"""Events to Label Studio and CVAT and back: what people answer there marks the events here."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_video
from headhunt_svc.errors import ConfigError, DatasetError
from headhunt_svc.events import answers
from headhunt_svc.events.annotation_tasks import CONFIG, LABELS, TASKS, cvat_xml, label_studio_tasks, write_tasks
from headhunt_svc.events.answers import import_answers
from headhunt_svc.events.export import export_events
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, Spans, Tool
from headhunt_svc.events.shown import ShownEvent, shown_events
from headhunt_svc.events.store import AUDIT, EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.audit import audited
from helpers.annotators import answered, choice, minimal, span, submitted, text
from helpers.commands import command, refusal
from helpers.events import NOON, new
from helpers.exports import label_studio_task, written

NAMES = (TASKS, CONFIG, LABELS)
FPS, N = 10, 60  # of the clips: six seconds that begin a second before noon
BEGINS = NOON - timedelta(seconds=1)
ENDS = BEGINS + timedelta(seconds=N / FPS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        yield store


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("clip") / "a.mp4", N, FPS).read_bytes()


@pytest.fixture
def add(store: EventStore, clip_bytes: bytes, tmp_path: Path) -> Callable[..., EventRecord]:
    """Stores an event with a clip, seconds after noon."""
    count = iter(range(10_000))

    def added(start: float = 0, stop: float | None = 2, known: bool = True, **fields: Any) -> EventRecord:
        i = next(count)
        event = store.add(new(start, stop, **{"video_id": f"{i}.mp4", "key": str(i), **fields}), merge_s=None)
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(clip_bytes)
        return store.attach_clip(event.id, clip, BEGINS if known else None)

    return added


def shown(store: EventStore, *events: EventRecord) -> list[ShownEvent]:
    left_out: list[str] = []
    result = list(shown_events(store, [store.get(e.id) for e in events], left_out))
    assert not left_out
    return result


def tasks_of(store: EventStore, *events: EventRecord) -> list[dict[str, Any]]:
    return label_studio_tasks(shown(store, *events), lambda one: f"https://tool.example/clips/{one.name}?key=1")


def seconds(spans: Spans | None) -> list[tuple[float, float]] | None:
    return spans and [tuple((time - NOON).total_seconds() for time in one) for one in spans]  # type: ignore[misc]


def test_a_task_of_label_studio_says_what_is_known(store: EventStore, add: Callable[..., EventRecord]) -> None:
    event = add()
    store.mark(event.id, EventState.CONFIRMED, "bo", "a <fall>")
    (task,) = tasks_of(store, event)
    data, (prediction,) = task["data"], task["predictions"]
    assert (data["video"], data["id"], data["fps"]) == (
        f"https://tool.example/clips/{event.id}.mp4?key=1", event.id, FPS,
    )  # fmt: skip
    assert (data["score"], data["state"], data["note"], data["camera"]) == (0.9, "confirmed", "a <fall>", "yard")
    assert (prediction["score"], prediction["model_version"]) == (0.9, "d" * 12)
    spans, state, note = prediction["result"]
    assert spans["value"] == {"ranges": [{"start": 11, "end": 30}], "timelinelabels": ["event"]}  # frames from 1
    assert state["value"] == {"choices": ["confirmed"]}
    assert note["value"] == {"text": ["a <fall>"]}


def test_a_file_of_cvat_says_what_is_known(store: EventStore, add: Callable[..., EventRecord]) -> None:
    event = add(stop=99)
    root = ET.fromstring(cvat_xml(*shown(store, event)))
    assert root.findtext("version") == "1.1"
    assert [root.findtext(f"meta/task/{n}") for n in ("source", "size", "start_frame", "stop_frame")] == [
        f"{event.id}.mp4", "60", "0", "59",
    ]  # fmt: skip
    boxes = [(b.get("frame"), b.get("outside"), b.get("xbr"), b.get("ybr")) for b in root.iter("box")]
    assert boxes == [("10", "0", "64", "48"), ("59", "0", "64", "48")]  # to the end of the clip
    values = {a.get("name"): a.text for a in root.iter("attribute")}
    assert values == {"state": "unanswered", "note": None, "camera": "yard", "score": "0.900"}


@pytest.mark.parametrize("as_min", [False, True])
def test_answers_of_label_studio(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path, as_min: bool
) -> None:
    true, false, moved = add(), add(), add()
    tasks = tasks_of(store, true, false, moved)
    people = ["anna@example.org", {"id": 3, "email": "bo@example.org"}, 4]
    added = [
        [choice("confirmed"), text(" two men\n")],
        [choice("false_alarm")],
        [choice("confirmed"), span(16, 20), span(41, 60)],
    ]
    rows = [submitted(task, *a, by=by) for task, a, by in zip(tasks, added, people, strict=True)]
    if as_min:
        rows = [minimal(row) for row in rows]
    done = import_answers(store, written(tmp_path / "answers.json", rows), "root")
    assert (done.left_out, done.unchanged, len(done.marked)) == ((), 0, 3)
    states = [store.get(e.id) for e in (true, false, moved)]
    assert [s.state for s in states] == ["confirmed", "false_alarm", "confirmed"]
    assert [s.note for s in states] == ["two men", "", ""]
    assert [s.marked_by for s in states] == [
        "anna@example.org, imported by root", "bo@example.org, imported by root",
        "Label Studio user 4, imported by root",
    ]  # fmt: skip
    spans = [seconds(store.marks(e.id)[-1].spans) for e in (true, false, moved)]
    assert spans == [None, None, [(0.5, 1.0), (3.0, 5.0)]]
    again = import_answers(store, tmp_path / "answers.json", "root")
    assert (again.marked, again.unchanged, again.left_out) == ((), 3, ())
    (line,) = audited(store.settings.folder / AUDIT, "what", "file", "sha256")
    assert (line["what"], line["file"], line["marks"], line["left_out"]) == ("import", "answers.json", "3", "0")


def test_answers_of_cvat(store: EventStore, add: Callable[..., EventRecord], tmp_path: Path) -> None:
    true, false, moved = add(), add(), add()
    folder = tmp_path / "answers"
    folder.mkdir()
    xmls = [cvat_xml(one) for one in shown(store, true, false, moved)]
    changed = re.sub('frame="10"', 'frame="15"', xmls[2])
    for i, xml in enumerate(
        [answered(xmls[0], "confirmed", "a fall"), answered(xmls[1], "false_alarm"), answered(changed, "confirmed")]
    ):
        written(folder / f"{i}.xml", xml)
    done = import_answers(store, folder, "root", strict=True)
    assert (set(done.marked), done.left_out) == ({true.id, false.id, moved.id}, ())
    assert [store.get(e.id).state for e in (true, false, moved)] == ["confirmed", "false_alarm", "confirmed"]
    assert store.get(true.id).note == "a fall"
    assert store.get(true.id).marked_by == "anna, imported by root"
    assert [seconds(store.marks(e.id)[-1].spans) for e in (true, false, moved)] == [None, None, [(0.5, 2.0)]]


def test_tags_of_cvat_are_answers(store: EventStore, add: Callable[..., EventRecord], tmp_path: Path) -> None:
    event = add()
    xml = cvat_xml(*shown(store, event))
    head = xml[: xml.index("<track")]
    tag = f'{head}<image id="3" name="frame_3"><tag label="false_alarm" source="manual"/></image></annotations>'
    assert import_answers(store, written(tmp_path / "a.xml", tag)).marked == (event.id,)
    assert store.get(event.id).state == "false_alarm"


def test_what_is_not_clear_is_named_and_the_rest_is_taken_over(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path
) -> None:
    clear, both, open_, twice, gone, emptied, behind, rateless, wordy = events = [add() for _ in range(9)]
    tasks = dict(zip([e.id for e in events], tasks_of(store, *events), strict=True))
    rows = {e.id: submitted(tasks[e.id], choice("confirmed")) for e in events}
    rows[both.id] = submitted(tasks[both.id], choice("confirmed"), span(11, 30, "false_alarm"))
    rows[open_.id]["annotations"][0]["was_cancelled"] = True
    rows[twice.id]["annotations"] *= 2
    rows[gone.id]["data"]["video"] = "https://tool.example/0190a0b0-0000-7000-8000-000000000000.mp4"
    rows[emptied.id]["annotations"][0]["result"] = [choice("confirmed")]
    rows[behind.id] = submitted(tasks[behind.id], choice("confirmed"), span(400, 500))
    rows[rateless.id]["data"].pop("fps")
    rows[wordy.id] = submitted(tasks[wordy.id], choice("confirmed"), text("x" * 4001))
    foreign = label_studio_task(9, "holiday.mp4", [choice("confirmed")])
    unanswered = submitted(tasks_of(store, late := add())[0])
    path = written(tmp_path / "a.json", [*rows.values(), foreign, unanswered])
    with pytest.raises(DatasetError, match="nothing is changed: "):
        import_answers(store, path, strict=True)
    assert {e.state for e in store.list()} == {"new"}
    done = import_answers(store, path)
    assert done.marked == (clear.id,)
    reasons = "\n".join(done.left_out)
    assert len(done.left_out) == 10
    for event, reason in (
        (both, "confirmed and as false alarm"), (open_, "nobody has submitted"), (emptied, "no span is left"),
        (behind, "frame 399 is behind the end of the clip, which has 60"), (rateless, "have no fps"),
        (wordy, "at most 4000 characters"), (late, "it is not answered"),
    ):  # fmt: skip
        assert re.search(f"{event.id}.mp4: .*{re.escape(reason)}", reasons), (reason, reasons)
    for reason in ("2 annotations: mark one of them", "no event '0190a0b0-", "holiday.mp4: this is no clip"):
        assert reason in reasons


def test_two_tasks_of_one_event_must_agree(store: EventStore, add: Callable[..., EventRecord], tmp_path: Path) -> None:
    agreed, not_agreed = add(), add()
    one, two = tasks_of(store, agreed, not_agreed)
    rows = [submitted(task, choice("confirmed")) for task in (one, one, two)] + [submitted(two, choice("false_alarm"))]
    done = import_answers(store, written(tmp_path / "a.json", rows))
    assert done.marked == (agreed.id,)
    assert done.left_out == (f"{not_agreed.id}: answered twice, and not the same",)


def test_a_clip_of_which_nobody_knows_when_it_begins(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path
) -> None:
    event = add(known=False)
    (task,) = tasks_of(store, event)
    assert task["predictions"][0]["result"] == []
    drawn = written(tmp_path / "a.json", [submitted(task, choice("confirmed"), span(3, 9))])
    assert "its spans have no times" in import_answers(store, drawn).left_out[0]
    plain = written(tmp_path / "b.json", [submitted(task, choice("confirmed"))])
    assert import_answers(store, plain).marked == (event.id,)
    assert store.marks(event.id)[-1].spans is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "document type"),
        ("<annotations><version>1.1</version>", "no XML"),
        ("[{]", "no JSON"),
        ("[]", "no task of a video"),
        ("id,state", "neither JSON of Label Studio nor XML of CVAT"),
        ("[" * 5000, "JSON"),
    ],
)
def test_what_is_no_export_is_refused(store: EventStore, tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        import_answers(store, written(tmp_path / "a", content))


def test_a_file_that_is_too_large_is_not_read(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_BYTES", 10)
    with pytest.raises(DatasetError, match="11 bytes, more than 10"):
        import_answers(store, written(tmp_path / "a.json", "[" + " " * 10))
    with pytest.raises(DatasetError, match="cannot be read"):
        import_answers(store, tmp_path / "none.json")


def test_files_and_folders(store: EventStore, add: Callable[..., EventRecord], tmp_path: Path) -> None:
    event, path = add(), tmp_path / "out"
    clips = shown(store, event)
    write_tasks(Tool.LABEL_STUDIO, clips, path / "a.json", None)
    (task,) = json.loads((path / "a.json").read_text())
    clip = store.clip(event.id)
    assert task["data"]["video"] == f"/data/local-files/?d={str(clip)[1:]}"
    assert sorted(p.name for p in path.iterdir()) == ["a.json", CONFIG]
    names = {element.get("name"): element.tag for element in ET.parse(path / CONFIG).iter() if element.get("name")}
    assert names == {"video": "Video", "spans": "TimelineLabels", "state": "Choices", "note": "TextArea"}
    write_tasks(Tool.LABEL_STUDIO, clips, path / "folder", "https://clips.example/a/")
    assert sorted(p.name for p in (path / "folder").iterdir()) == sorted([f"{event.id}.mp4", CONFIG, TASKS])
    (task,) = json.loads((path / "folder" / TASKS).read_text())
    assert task["data"]["video"] == f"https://clips.example/a/{event.id}.mp4"
    write_tasks(Tool.CVAT, clips, path / "cvat", None)
    assert sorted(p.name for p in (path / "cvat").iterdir()) == sorted([f"{event.id}.mp4", f"{event.id}.xml", LABELS])
    (label,) = json.loads((path / "cvat" / LABELS).read_text())
    in_xml = {a.get("name") for a in ET.parse(path / "cvat" / f"{event.id}.xml").iter("attribute")}
    assert in_xml == {a["name"] for a in label["attributes"]}
    for tool, out in ((Tool.CVAT, "a.xml"), (Tool.LABEL_STUDIO, "a.csv")):
        with pytest.raises(ConfigError, match="a folder"):
            write_tasks(tool, clips, path / out, None)


def test_events_that_no_tool_can_show_are_named(store: EventStore, add: Callable[..., EventRecord]) -> None:
    going_on, none, gone, broken = add(stop=None), store.add(new(500, 501), merge_s=None), add(), add()
    for event, content in ((gone, None), (broken, b"no video")):
        path = store.clip(event.id)
        assert path is not None
        path.unlink()
        if content:
            path.write_bytes(content)
    left_out: list[str] = []
    events = [store.get(e.id) for e in (going_on, none, gone, broken)]
    assert list(shown_events(store, events, left_out)) == []
    assert [reason.split(": ")[1] for reason in left_out[:3]] == ["it goes on", "it has no clip", "it has no clip"]
    assert left_out[3].startswith(broken.id)


def test_events_that_are_deleted_meanwhile_are_left_out(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, gone, deleted = add(), add(100, 102), add(200, 202)
    clips = shown(store, kept, gone)
    clips[1].path.unlink()  # by a purge, before it is copied
    for tool in Tool:
        assert [one.event.id for one in write_tasks(tool, clips, tmp_path / tool, None)] == [kept.id]
        assert {path.stem for path in (tmp_path / tool).iterdir()} <= {kept.id, *(Path(n).stem for n in NAMES)}
        assert f"{gone.id} has no task: somebody has deleted its clip" in caplog.text
    assert len(json.loads((tmp_path / Tool.LABEL_STUDIO / TASKS).read_text())) == 1
    store.purge(datetime.now(UTC) + timedelta(days=400), trust_clock=True)
    left_out: list[str] = []
    assert list(shown_events(store, [deleted], left_out)) == []
    assert left_out == [f"{deleted.id}: it was deleted, or made a part of another event, meanwhile"]


HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from("<>&'\"]\0\n\r\t\u2028\ufffe\uffff\u202e;{$%")), max_size=30
)


@given(
    tool=st.sampled_from(Tool),
    state=st.sampled_from(["confirmed", "false_alarm"]),
    note=HOSTILE,
    camera=HOSTILE.filter(bool),
    start=st.floats(-0.9, 4.8),
    length=st.floats(0, 9),
    moved=st.none() | st.tuples(st.integers(0, 58), st.integers(1, 59)),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_answered_comes_back(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path, tool: Tool, state: str, note: str, camera: str,
    start: float, length: float, moved: tuple[int, int] | None,
) -> None:  # fmt: skip
    """Whatever stands in names and notes: state, note and spans, to a frame."""
    event = add(start, start + length, camera=camera)
    store.mark(event.id, EventState.ACKNOWLEDGED, "bo", note)
    first, last = moved if moved and moved[0] < moved[1] else (None, None)
    if tool == Tool.LABEL_STUDIO:
        (task,) = tasks_of(store, event)
        corrected = [] if first is None or last is None else [span(first + 1, last)]
        content: Any = [submitted(task, choice(state), *corrected)]
    else:
        xml = cvat_xml(*shown(store, event))
        boxes = iter((first, last))
        if first is not None:
            xml = re.sub(
                r'<box frame="\d+" outside="."',
                lambda m: f'<box frame="{(f := next(boxes))}" outside="{int(f == last)}"',
                xml,
            )
        content = answered(xml, state)
    before = store.get(event.id)
    done = import_answers(store, written(tmp_path / "a", content), strict=True)
    after, mark = store.get(event.id), store.marks(event.id)[-1]
    assert done.marked == (event.id,)
    assert (after.state, after.camera) == (state, before.camera)
    as_text = before.note.strip()
    if tool == Tool.CVAT:
        as_text = as_text.replace("\ufffe", "%EF%BF%BE").replace("\uffff", "%EF%BF%BF")
    assert after.note == as_text
    if state == "false_alarm" or first is None or last is None:
        assert mark.spans is None
    else:
        assert before.stop is not None
        ((begin, end),) = mark.spans or ((before.start, min(before.stop, ENDS)),)  # None: it is where it was
        for time, frame in ((begin, first), (end, last)):
            assert abs((time - BEGINS).total_seconds() * FPS - frame) < 1


def test_commands_name_what_is_left_out_and_say_so_by_their_exit_code(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADHUNT_EVENTS_FOLDER", str(store.settings.folder))
    event, other = add(), add(stop=None)
    done = command("events", "export", "--format", "label-studio", "tasks.json", cwd=tmp_path)
    assert (done.code, f"left out: {other.id}: it goes on" in done.err) == (0, True)
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    written(tmp_path / "a.json", [submitted(task, choice("confirmed")), submitted(task | {"data": {"video": "x.mp4"}})])
    assert "nothing is changed" in refusal("events", "import", "a.json", "--strict", cwd=tmp_path)
    done = command("events", "import", "a.json", "--by", "bo", cwd=tmp_path)
    assert done.code == 3
    assert "left out: x.mp4: this is no clip of an event" in done.err
    assert "1 events marked, 0 as they were, 1 left out" in done.err
    assert store.get(event.id).marked_by == "Label Studio user 1, imported by bo"
    written(tmp_path / "a.json", [submitted(task, choice("confirmed"))])
    assert command("events", "import", "a.json", "--strict", cwd=tmp_path).code == 0
    refused = refusal("events", "export", "--format", "cvat", "a.xml", cwd=tmp_path)
    assert "into a folder" in refused


def test_events_with_clips_are_written_as_tables(
    store: EventStore, add: Callable[..., EventRecord], tmp_path: Path
) -> None:
    event = add()
    assert export_events(store, EventFilter(), tmp_path / "events.parquet") == 1
    (row,) = pq.read_table(tmp_path / "events.parquet").to_pylist()
    assert (row["id"], row["clip_start"], row["clip"]) == (event.id, BEGINS, True)
