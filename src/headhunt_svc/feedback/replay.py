"""Replays the prediction log of a camera under another scorer: the events that its last days would have had.

Needs whole features in the log (HEADHUNT_LOG_FEATURES=all). Scores are smoothed, compared with the threshold and made
into events as the detector does (core/localization.py, events/rules.py). The smoothing that the log was written with is
the one that gives the smoothed scores that were logged; where none does, nothing is replayed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Float64, Int

from headhunt_svc.core.localization import TRUNCATE, contiguous, events, smooth
from headhunt_svc.core.scoring import apply_scorer, novelty
from headhunt_svc.core.steady import BEHIND, without_steady
from headhunt_svc.events.rules import merged
from headhunt_svc.feedback.proof import DayEvents
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.stretches import read_stretch
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.storage.store import Store
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Scorer, Smoothing

COLUMNS = ("pass_id", "segment", "start_s", "stop_s", "raw", "smoothed", "novelty", "features")
SMOOTHINGS: tuple[Smoothing, ...] = ("causal", "offline")
SAME = 1e-6  # scores that differ by less are the same: the last bits depend on the batch
ENOUGH = 0.99  # of the logged smoothed scores; where rows are lost, neighbours are missing
LEAD = timedelta(hours=1)  # before a day: what stood there then is there all the time, and no event of the day


@dataclass(frozen=True, slots=True)
class LoggedFeatures:
    """Which features a log may hold to be replayed: of these detectors, at these heads, so many numbers a segment."""

    detectors: frozenset[str]
    heads: tuple[HeadRef, ...]
    width: int


@dataclass(frozen=True, slots=True)
class _Logged:
    """Rows of one camera in the order of pass and segment, each once. order: their numbers in the table.

    goes_on: does the footage go on from one row to the next? z: features. novelty: None where none was logged.
    """

    order: Int[np.ndarray, " row"]
    passes: Int[np.ndarray, " row"]
    segment: Int[np.ndarray, " row"]
    edges: Float64[np.ndarray, "row 2"]
    goes_on: Bool[np.ndarray, " boundary"]
    raw: Float64[np.ndarray, " row"]
    smoothed: Float64[np.ndarray, " row"]
    novelty: Float64[np.ndarray, " row"] | None
    z: Float[np.ndarray, "row features"]


@dataclass(frozen=True, slots=True)
class _Scores:
    """Rows of one camera, in the order of pass and segment; smoothed scores before and after.

    counts: does the row count? Others are here because the scores of those that follow depend on them.
    """

    point: OperatingPoint
    counts: Bool[np.ndarray, " row"]
    segment: Int[np.ndarray, " row"]
    edges: Float64[np.ndarray, "row 2"]
    goes_on: Bool[np.ndarray, " boundary"]
    times: Float64[np.ndarray, " row"]
    before: Float64[np.ndarray, " row"]
    after: Float64[np.ndarray, " row"]


class NoReplayError(Exception):
    """Why days cannot be replayed; the message is a sentence."""


def replay_days(
    log: Store,
    camera: str,
    days: Sequence[date],
    which: LoggedFeatures,
    scorers: tuple[Scorer, Scorer],
    merge_s: float,
) -> list[DayEvents]:
    """Events of each day (UTC) with logged segments, by the scorer before and the one after.

    Raises:
        NoReplayError: the log does not hold what that takes.
        UnreachableError: the log does not answer.
    """
    parts = list(_days(log, camera, days, which, scorers))
    if not parts:
        raise NoReplayError(f"the prediction log has no rows of {camera} in these days")
    counted: dict[date, list[float]] = {}
    for part in parts:
        for begin, (start, stop) in zip(
            part.times[part.counts].tolist(), part.edges[part.counts].tolist(), strict=True
        ):
            counted.setdefault(_day(begin), [0.0, 0, 0])[0] += stop - start
    before = [run for part in parts for run in _runs(part, part.before)]
    after = [run for part in parts for run in _runs(part, part.after)]
    for i, runs in ((1, before), (2, after)):
        for start, _ in merged(runs, merge_s):
            counted.setdefault(_day(start), [0.0, 0, 0])[i] += 1
    return [
        DayEvents(camera=camera, day=day, hours=seconds / 3600, before=int(n_before), after=int(n_after))
        for day, (seconds, n_before, n_after) in sorted(counted.items())
    ]


def _day(begin: float) -> date:
    return datetime.fromtimestamp(begin, UTC).date()


def _days(
    log: Store, camera: str, days: Sequence[date], which: LoggedFeatures, scorers: tuple[Scorer, Scorer]
) -> Iterator[_Scores]:
    """The scores of each day with rows; its features are forgotten once it is scored."""
    for day in sorted(set(days)):
        start = datetime.combine(day, time(), UTC)
        span = start - LEAD, start + timedelta(days=1)
        stretch = read_stretch(log, camera, [day - timedelta(days=1), day], COLUMNS, span)
        counts = np.asarray(pc.cast(stretch.table["time"], pa.int64()).to_numpy()) >= start.timestamp() * 1e6
        if stretch.metadata is None or not counts.any():
            continue
        _check(stretch.metadata, which)
        yield _scores(stretch.metadata, stretch.table, counts, which, scorers)


def _check(metadata: LogMetadata, which: LoggedFeatures) -> None:
    if metadata.features != "all":
        raise NoReplayError(
            f"the prediction log keeps {metadata.features} features, and a replay takes whole ones: set "
            "HEADHUNT_LOG_FEATURES=all where videos are scored, and repeat this after some days"
        )
    if metadata.detector_id not in which.detectors or metadata.heads != which.heads:
        raise NoReplayError(
            f"the prediction log is of detector {metadata.detector_id}, whose features this bundle cannot use"
        )


def _logged(table: pa.Table, which: LoggedFeatures) -> _Logged:
    widths = np.asarray(pc.fill_null(pc.list_value_length(table["features"]), 0).to_numpy())
    if bad := int((widths != which.width).sum()):
        raise NoReplayError(f"{bad} of {len(table)} rows of the prediction log have no whole features")
    passes = pa.chunked_array([chunk for chunk in table["pass_id"].chunks], table["pass_id"].type).unify_dictionaries()
    numbers = np.concatenate([chunk.indices.to_numpy() for chunk in passes.chunks]).astype(np.int64)
    segment = np.asarray(table["segment"].to_numpy(), np.int64)
    order = np.lexsort((segment, numbers))
    numbers, segment = numbers[order], segment[order]
    single = np.append(True, (np.diff(numbers) != 0) | (np.diff(segment) != 0))
    order, numbers, segment = order[single], numbers[single], segment[single]
    z = np.concatenate([chunk.flatten().to_numpy() for chunk in table["features"].chunks]).reshape(-1, which.width)[
        order
    ]
    columns = {name: np.asarray(table[name].to_numpy(), np.float64)[order] for name in COLUMNS[2:6]}
    edges = np.stack([columns["start_s"], columns["stop_s"]], 1)
    goes_on = np.asarray((np.diff(numbers) == 0) & (np.diff(segment) == 1) & contiguous(edges))
    filled = pc.fill_null(pc.cast(table["novelty"], pa.float64()), np.nan)
    novelty = np.asarray(filled.to_numpy(), np.float64)[order]
    scores = columns["raw"], columns["smoothed"], None if np.isnan(novelty).any() else novelty
    return _Logged(order, numbers, segment, edges, goes_on, *scores, z)


def _without_steady(
    logged: _Logged,
    scores: Float64[np.ndarray, " row"],
    novelty: Float64[np.ndarray, " row"] | None,
    smoothing: Smoothing,
) -> Float64[np.ndarray, " row"]:
    """Each pass is a video of its own; what is there all the time is told from the rows that are here."""
    stops = [*(np.flatnonzero(np.diff(logged.passes)) + 1).tolist(), len(scores)]
    parts = [
        without_steady(
            scores[first:stop],
            None if novelty is None else novelty[first:stop],
            smoothing,
            logged.goes_on[first : stop - 1],
        )
        for first, stop in zip([0, *stops], stops, strict=False)
    ]
    return np.concatenate(parts)


def _scored_again(scorer: Scorer, logged: _Logged, smoothing: Smoothing) -> Float64[np.ndarray, " row"]:
    """Scores of the rows, to be smoothed."""
    return _without_steady(logged, apply_scorer(scorer, logged.z), novelty(scorer, logged.z), smoothing)


def _scores(
    metadata: LogMetadata,
    table: pa.Table,
    counts: Bool[np.ndarray, " row"],
    which: LoggedFeatures,
    scorers: tuple[Scorer, Scorer],
) -> _Scores:
    logged = _logged(table, which)
    seconds = np.asarray(pc.cast(table["time"], pa.int64()).to_numpy())[logged.order] / 1e6
    times = _times(seconds, logged.passes, logged.edges)
    point, _ = _point(metadata, logged)
    before, after = (
        smooth(_scored_again(scorer, logged, point.smoothing), point.sigma_segments, point.smoothing, logged.goes_on)
        for scorer in scorers
    )
    counted = counts[logged.order]
    return _Scores(point, counted, logged.segment, logged.edges, logged.goes_on, times, before, after)


def replay_rows(rows: Rows, which: LoggedFeatures, scorer: Scorer, block_segments: int) -> tuple[Rows, Rows]:
    """Rows of a window or a baseline as they were logged, and the same ones as another scorer scores them.

    Where only some blocks of the rows are here, those at the ends of a block are left out: smoothing them takes rows
    that are not here. The scores under other prompts are none after: their features are not logged.

    Raises:
        NoReplayError: the rows do not hold what that takes.
    """
    _check(rows.metadata, which)
    logged = _logged(rows.table, which)
    is_drawn = len(rows.table) < rows.total
    point, whole = _point(rows.metadata, logged, block_segments if is_drawn else None)
    raw = apply_scorer(scorer, logged.z)
    again = _scored_again(scorer, logged, point.smoothing)
    smoothed = smooth(again, point.sigma_segments, point.smoothing, logged.goes_on)
    table = rows.table.take(pa.array(logged.order[whole]))
    after = table
    nothing = [None] * len(table)
    for name, values in (
        ("raw", raw[whole]),
        ("smoothed", smoothed[whole]),
        ("in_event", smoothed[whole] > point.threshold),
        ("prompt_scores", nothing),
        ("prompt_contributions", nothing),
    ):
        place = after.schema.get_field_index(name)
        after = after.set_column(place, after.schema.field(name), pa.array(values, after.schema.field(name).type))
    return _counted(rows, table), _counted(rows, after)


def _counted(rows: Rows, table: pa.Table) -> Rows:
    return replace(rows, table=table, total=len(table), events=int(pc.sum(table["in_event"]).as_py() or 0))


def _times(
    logged: Float64[np.ndarray, " row"], passes: Int[np.ndarray, " row"], edges: Float64[np.ndarray, "row 2"]
) -> Float64[np.ndarray, " row"]:
    """When each segment begins: that of a pass's first row is logged, the others follow as in the footage.

    A file whose recording time is not known is logged with the time of scoring, which is faster.
    """
    _, first, number = np.unique(passes, return_index=True, return_inverse=True)
    return np.asarray((logged - edges[:, 0])[first][number] + edges[:, 0])


def _point(
    metadata: LogMetadata, logged: _Logged, block_segments: int | None = None
) -> tuple[OperatingPoint, Bool[np.ndarray, " row"]]:
    """Smoothing and threshold that the log was written with, and the rows whose neighbours are all here.

    block_segments: only some blocks of so many segments are here; None: all rows are.
    """
    share = 0.0
    for smoothing in SMOOTHINGS:
        scores = _without_steady(logged, logged.raw, logged.novelty, smoothing)
        again = smooth(scores, metadata.sigma_segments, smoothing, logged.goes_on)
        whole = _whole(logged, metadata.sigma_segments, smoothing, block_segments)
        compared = whole
        if block_segments is None and _has_past(logged).any():
            compared = _has_past(logged)
        same = float((np.abs(again - logged.smoothed) < SAME)[compared].mean()) if compared.any() else 0.0
        if same > ENOUGH:
            return OperatingPoint(metadata.sigma_segments, metadata.threshold, smoothing), whole
        share = max(share, same)
    reason = "segments are missing in it, or it was written in part by an earlier version"
    if block_segments is not None:
        reason = (
            "only some blocks of them were read, and what is there all the time takes the minutes before each: "
            "read all, with a larger sample_rows in the file that --config names"
        )
    raise NoReplayError(
        f"the smoothed scores of the prediction log cannot be computed again ({share:.0%} are the same): {reason}"
    )


def _has_past(logged: _Logged) -> Bool[np.ndarray, " row"]:
    """Which rows do not come soon after the first row here of a pass that had begun before?"""
    _, first, number = np.unique(logged.passes, return_index=True, return_inverse=True)
    begin = logged.segment[first][number]
    return np.asarray((begin == 0) | (logged.segment >= begin + 2 * BEHIND))


def _whole(
    logged: _Logged, sigma_segments: float, smoothing: Smoothing, block_segments: int | None
) -> Bool[np.ndarray, " row"]:
    """Which rows have all neighbours that smoothing takes: where a run ends with a block, the next one is not here."""
    whole = np.ones(len(logged.segment), bool)
    if block_segments is None:
        return whole
    radius = int(TRUNCATE * sigma_segments + 0.5)
    breaks = np.flatnonzero(~logged.goes_on) + 1
    for first, stop in zip([0, *breaks.tolist()], [*breaks.tolist(), len(whole)], strict=True):
        if logged.segment[first] % block_segments == 0 and logged.segment[first] > 0:
            whole[first : min(first + radius, stop)] = False
        if smoothing != "causal" and (logged.segment[stop - 1] + 1) % block_segments == 0:
            whole[max(stop - radius, first) : stop] = False
    return whole


def _runs(part: _Scores, smoothed: Float[np.ndarray, " row"]) -> Iterator[tuple[float, float]]:
    """Runs above the threshold, begin and end in UTC seconds; the time of a row is that of its segment's start."""
    is_break = ~(part.goes_on & part.counts[:-1])
    first = 0
    for stop in [*(np.flatnonzero(is_break) + 1).tolist(), len(smoothed)]:
        if part.counts[first]:
            rows = slice(first, stop)
            spans = [FrameSpan(i, i + 1) for i in part.segment[rows].tolist()]
            for event in events(smoothed[rows], spans, part.edges[rows, 0], part.edges[rows, 1], part.point):
                begin = float(part.times[first + event.span.start - spans[0].start])
                yield begin, begin + event.stop_s - event.start_s
        first = stop


def last_days(now: datetime, n: int) -> list[date]:
    """The last n days up to now, in UTC."""
    return [(now - timedelta(days=i)).date() for i in range(n)]
