"""Pictures for people: where the saliency is, and what happened when in a video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.io.files import write_file
from headhunt_svc.io.reports import Report
from headhunt_svc.io.video import SegmentPictures, VideoReader
from headhunt_svc.params import SegmentationParams
from headhunt_svc.types import FrameSpan, HeadRef, RobustSaliency

INK, RAW, SMOOTH, ALARM, TRUTH = "#24292f", "#9fb3c8", "#1f5fa8", "#d1495b", "#f2b134"
MOST_THUMBNAILS = 5
SHOWN = 4  # pictures of a segment in the plot of shares


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _save(path: Path, figure: Any) -> None:
    write_file(path, lambda p: figure.savefig(p, dpi=110, format="png"))


def saliency_map(path: Path, robust: RobustSaliency, heads: tuple[HeadRef, ...]) -> None:
    """RSS of every head, layers x heads, the expert heads ringed."""
    n_layers, n_heads = robust.rss.shape
    figure = _figure(2.5 + 0.45 * n_heads, 1.6 + 0.4 * n_layers)
    axes = figure.subplots()
    image = axes.imshow(robust.rss, cmap="viridis", aspect="auto")
    for rank, (layer, head) in enumerate(heads, start=1):
        axes.plot(head, layer, "o", ms=17, mfc="none", mec=ALARM, mew=2)
        axes.annotate(str(rank), (head, layer), color="white", ha="center", va="center", fontsize=9)
    axes.set(xlabel="head", ylabel="layer", title="Robust saliency of every head; expert heads ringed, best first")
    figure.colorbar(image, label="RSS")
    _save(path, figure)


def _peaks(video: Path, report: Report, params: SegmentationParams) -> list[tuple[float, SegmentPictures]]:
    """The peak segment of the strongest events, each with the event's peak time, in time order."""
    strongest = sorted(report.events, key=lambda e: -e.peak)[:MOST_THUMBNAILS]
    wanted = {s.index: e.peak_s for e in strongest for s in report.scores if s.start_s <= e.peak_s < s.stop_s}
    found = []
    with VideoReader(video) as reader:
        for piece in reader.segments(report.video_id, params):
            if piece.segment.index in wanted:
                found.append((wanted[piece.segment.index], piece))
            if len(found) == len(wanted):
                break
    return found


def shares(
    path: Path,
    report: Report,
    video: Path,
    params: SegmentationParams,
    heads: Sequence[HeadRef],
    of_heads: np.ndarray,
    of_pictures: np.ndarray,
) -> None:
    """What spoke for and against each event: pictures of its peak segment, and its heads; see reports.save_shares."""
    peaks = _peaks(video, report, params)
    rows = max(len(peaks), 1)
    figure = _figure(11, 0.6 + 2.2 * rows)
    if not peaks:
        figure.text(0.5, 0.5, f"{report.video_id}: no events at threshold {report.threshold:.2f}", ha="center")
    grid = figure.subplots(rows, SHOWN + 1, squeeze=False) if peaks else []
    for (time_s, piece), row in zip(peaks, grid, strict=True):
        maps = of_pictures[piece.segment.index]
        most = float(np.abs(maps).max()) or 1.0
        shown = sorted(np.argsort(-np.abs(maps).sum((1, 2)))[:SHOWN])
        per_map = -(-len(piece.pictures) // len(maps))  # frames that one map is of
        for axes in row[:SHOWN]:
            axes.set_axis_off()
        for axes, i in zip(row, shown, strict=False):
            picture = piece.pictures[min(i * per_map, len(piece.pictures) - 1)]
            extent = (0, picture.shape[1], picture.shape[0], 0)
            axes.imshow(picture.mean(-1), cmap="gray", extent=extent)
            axes.imshow(maps[i], cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.45, extent=extent)
        row[0].set_title(f"around {time_s:.1f} s", color=ALARM, fontsize=10, loc="left")
        values = of_heads[piece.segment.index]
        order = np.argsort(-np.abs(values))[:10][::-1]
        row[-1].barh([f"{heads[k].layer}.{heads[k].head}" for k in order], values[order],
                     color=[ALARM if values[k] > 0 else SMOOTH for k in order])  # fmt: skip
        row[-1].tick_params(labelsize=7)
        row[-1].set_title("heads (layer.head), in logit", fontsize=8)
    figure.suptitle(f"{report.video_id}: red speaks for an anomaly, blue against", fontsize=11, color=INK)
    _save(path, figure)


def timeline(
    path: Path, report: Report, video: Path, params: SegmentationParams, truth: tuple[FrameSpan, ...] = ()
) -> None:
    """Scores over time, threshold, events, (truth), and a thumbnail of each event's peak."""
    pictures = [(t, piece.pictures[len(piece.pictures) // 2]) for t, piece in _peaks(video, report, params)]
    figure = _figure(10, 5.2 if pictures else 3.0)
    if pictures:
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 1])
        for axes, (time_s, picture) in zip(np.ravel(top.subplots(1, len(pictures))), pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(f"{time_s:.1f} s", color=ALARM, fontsize=10)
            axes.set_axis_off()
    else:
        bottom = figure
    axes = bottom.subplots()
    edges = [s.start_s for s in report.scores] + [report.scores[-1].stop_s]
    axes.stairs([s.raw for s in report.scores], edges, color=RAW, lw=1.5, label="raw score", baseline=None)
    axes.stairs([s.smoothed for s in report.scores], edges, color=SMOOTH, lw=2.5, label="smoothed score", baseline=None)
    axes.axhline(report.threshold, color=INK, ls=":", lw=1, label=f"threshold {report.threshold:.2f}")
    for i, event in enumerate(report.events):
        axes.axvspan(event.start_s, event.stop_s, color=ALARM, alpha=0.18, label="event" if i == 0 else None)
    for i, span in enumerate(truth):
        label = "truth" if i == 0 else None
        axes.plot([span.start / report.fps, span.stop / report.fps], [-0.04] * 2, color=TRUTH, lw=6, label=label)
    for gap in report.gaps:
        if gap.time_s is not None:
            axes.axvline(gap.time_s, color=INK, lw=4, alpha=0.4, label="not decoded")
    axes.set(xlim=(0, report.duration_s), ylim=(-0.07, 1.05), xlabel="seconds", ylabel="anomaly score")
    axes.set_title(report.video_id, fontsize=11, color=INK, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=6, fontsize=8, frameon=False)
    _save(path, figure)
