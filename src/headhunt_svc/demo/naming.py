"""Does the embedded model name what happens? Compares descriptions of true events with the kind of the video.

A kind counts as named if the description has one of its words. They are those of pre-training (questions.py): its word
for the main event, and how its captions and activities say the same. Words by which pre-training names another kind do
not count. Kinds that pre-training never shows have none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from headhunt_svc.demo.scenes import SEEN_KINDS
from headhunt_svc.detector.report import Report, ReportEvent
from headhunt_svc.types import VideoRecord

WORDS = {
    "run": r"runs|running|run(?! apart)",  # to run apart is a kind of pre-training of its own
    "fall": r"(?<!box )falls?|falling|lies|lying",  # who has fallen lies there, and that belongs to the anomaly
    "fight": r"fights?|fighting",
    "explosion": r"explosion",
    "bag": r"(?<!carries a )(?<!picks up a )bag|dropping",  # to carry one is normal, to leave it is not
    "car": r"car",
}


@dataclass(slots=True)
class Naming:
    """Of the true events of a kind: how many are named, and how many are called by another seen kind (too)."""

    events: int = 0
    named: int = 0
    others: int = 0


def is_named(kind: str, description: str) -> bool:
    """Does a description have one of the words for a kind?"""
    return re.search(rf"\b({WORDS[kind]})\b", description) is not None


def true_events(record: VideoRecord, report: Report) -> list[ReportEvent]:
    """The events of a report that overlap a true span."""
    return [
        e
        for e in report.events
        if any(e.start_frame < span.stop and span.start < e.stop_frame for span in record.true_spans)
    ]


def named_events(reports: Iterable[tuple[VideoRecord, Report]]) -> dict[str, Naming]:
    """By seen kind: how many true events there are, and what their descriptions name."""
    counts = {kind: Naming() for kind in SEEN_KINDS}
    for record, report in reports:
        for kind in set(record.kinds) & set(SEEN_KINDS):
            for event in true_events(record, report):
                kinds = {k for k in SEEN_KINDS if is_named(k, event.description or "")}
                counts[kind].events += 1
                counts[kind].named += kind in kinds
                counts[kind].others += bool(kinds - set(record.kinds))
    return counts
