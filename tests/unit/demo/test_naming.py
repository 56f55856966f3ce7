"""When a description names the kind of an event, and which events count."""

from pathlib import Path

import pytest

from headhunt_svc.demo.naming import WORDS, Naming, is_named, named_events
from headhunt_svc.demo.questions import BAG_LEFT, CLAUSES, DOING
from headhunt_svc.demo.questions import WORDS as EVENT_WORDS
from headhunt_svc.demo.scenes import SEEN_KINDS
from headhunt_svc.types import FrameSpan, VideoRecord
from helpers.reports import REPORT

ACTIONS = {**{kind: kind for kind in SEEN_KINDS}, "lie": "fall", "drop": "bag"}  # of pre-training, and their kinds


def test_all_texts_of_pre_training_name_their_own_kind_and_no_other() -> None:
    assert set(WORDS) == set(SEEN_KINDS)
    named = {text: {kind for kind in SEEN_KINDS if is_named(kind, text)} for text in (BAG_LEFT, "bag")}
    assert named == {BAG_LEFT: {"bag"}, "bag": {"bag"}}
    for action, clause in CLAUSES.items():
        said = clause.format(colour="red", direction="left", side="middle")
        for text in (said, EVENT_WORDS.get(action, action), *([DOING[action]] if DOING.get(action) else [])):
            named = {kind for kind in SEEN_KINDS if is_named(kind, text)}
            assert named == ({ACTIONS[action]} if action in ACTIONS else set()), text


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("bag", "a green person carries a bag left", False),
        ("bag", "a bag stands alone, a green person carries a bag left", True),
        ("bag", "a red person drops a bag", True),
        ("car", "a red person carries a bag", False),
        ("car", "run and car", True),
        ("fall", "lying", True),
        ("fall", "a person falls, a person walks left", True),
        ("run", "a person turns around", False),
        ("run", "trunk", False),
        ("fight", "", False),
        ("fight", "talk", False),
        ("explosion", "an explosion in the left", True),
    ],
)
def test_what_names_a_kind(kind: str, text: str, named: bool) -> None:
    assert is_named(kind, text) is named


def test_only_events_in_true_spans_of_seen_kinds_count() -> None:
    def record(label: str, *spans: tuple[int, int]) -> VideoRecord:
        return VideoRecord("v", Path("v"), 100, 10.0, "test", label, tuple(FrameSpan(*s) for s in spans))

    def report(*events: tuple[int, int, str]) -> object:
        (event,) = REPORT.events
        fields = ("start_frame", "stop_frame", "description")
        made = tuple(event.model_copy(update=dict(zip(fields, e, strict=True))) for e in events)
        return REPORT.model_copy(update={"events": made})

    counts = named_events(
        [
            (record("run", (20, 40)), report((0, 20, "run"), (10, 21, "a car"), (39, 50, "run"), (40, 50, "run"))),
            (record("fire", (0, 100)), report((0, 100, "explosion"))),
            (record("normal"), report((0, 100, "run"))),
            (record("run", (0, 10)), report()),
        ]  # type: ignore[list-item]
    )
    assert counts == {**{kind: Naming() for kind in SEEN_KINDS}, "run": Naming(events=2, named=1, others=1)}
