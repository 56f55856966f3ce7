"""Does the embedded model name what happens? Compares descriptions of true events with the kind of the video.

A kind counts as named if the description has one of its words. They are those of pre-training (questions.py): its word
for the main event, and how its captions and activities say the same. Kinds that pre-training never shows have none.
"""

import re
from collections import Counter
from collections.abc import Iterable

from headhunt_svc.demo.scenes import SEEN_KINDS
from headhunt_svc.detector.report import Report, ReportEvent
from headhunt_svc.types import VideoRecord

WORDS = {
    "run": r"runs?|running",
    "fall": r"falls?|falling|lies|lying",  # who has fallen lies there, and that belongs to the anomaly
    "fight": r"fights?|fighting",
    "explosion": r"explosion",
    "bag": r"(?<!carries a )bag|dropping",  # to carry one is normal, to leave it is not
    "car": r"car",
}


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


def named_events(reports: Iterable[tuple[VideoRecord, Report]]) -> dict[str, tuple[int, int]]:
    """By seen kind: how many true events have a description that names it, and how many there are."""
    named: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for record, report in reports:
        for kind in set(record.kinds) & set(SEEN_KINDS):
            descriptions = [e.description for e in true_events(record, report)]
            events[kind] += len(descriptions)
            named[kind] += sum(text is not None and is_named(kind, text) for text in descriptions)
    return {kind: (named[kind], events[kind]) for kind in SEEN_KINDS}
