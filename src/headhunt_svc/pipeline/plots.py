"""Plots: saliency of all heads, the timeline of a video, and the figures of an evaluation."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import numpy as np

from headhunt_svc.core.frame_times import span_seconds
from headhunt_svc.core.localization import contiguous
from headhunt_svc.core.metrics import curves
from headhunt_svc.core.protocol import Figures, ScoredVideo, counts_of
from headhunt_svc.detector.report import Report
from headhunt_svc.params import EvaluateParams, SegmentationParams
from headhunt_svc.storage.files import write_file
from headhunt_svc.types import FrameSpan, HeadRef, RobustSaliency, edges_of
from headhunt_svc.video.opening import open_video
from headhunt_svc.video.source import SegmentPictures

INK, RAW, SMOOTH, ALARM, TRUTH = "#24292f", "#9fb3c8", "#1f5fa8", "#d1495b", "#f2b134"
MAX_THUMBNAILS = 5
WORDS_WIDTH, WORDS_LENGTH = 34, 170  # of a description below a picture: characters in a line, and in all
MAX_MAPS = 4  # pictures of a segment in the plot of shares


def figure_of(width: float, height: float) -> Any:
    """An empty matplotlib figure of this size in inches."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axes: Any) -> None:
    """No lines above and on the right, small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def save_figure(path: Path, figure: Any) -> None:
    """Write a figure as PNG."""
    write_file(path, lambda p: figure.savefig(p, dpi=110, format="png"))


def saliency_map(path: Path, robust: RobustSaliency, heads: tuple[HeadRef, ...]) -> None:
    """RSS of every head, layers x heads, the expert heads ringed."""
    n_layers, n_heads = robust.rss.shape
    figure = figure_of(2.5 + 0.45 * n_heads, 1.6 + 0.4 * n_layers)
    axes = figure.subplots()
    image = axes.imshow(robust.rss, cmap="viridis", aspect="auto")
    for rank, (layer, head) in enumerate(heads, start=1):
        axes.plot(head, layer, "o", ms=17, mfc="none", mec=ALARM, mew=2)
        axes.annotate(str(rank), (head, layer), color="white", ha="center", va="center", fontsize=9)
    axes.set(xlabel="head", ylabel="layer", title="Robust saliency of every head; expert heads ringed, best first")
    figure.colorbar(image, label="RSS")
    save_figure(path, figure)


def _peaks(video: Path, report: Report, params: SegmentationParams) -> list[tuple[float, SegmentPictures]]:
    """The peak segment of the strongest events, each with the event's peak time, in time order."""
    strongest = sorted(report.events, key=lambda e: -e.peak)[:MAX_THUMBNAILS]
    peak_times = {s.index: e.peak_s for e in strongest for s in report.scores if s.start_s <= e.peak_s < s.stop_s}
    pieces: list[tuple[float, SegmentPictures]] = []
    number = report.stream.number if report.stream is not None else None
    with open_video(video, report.video_id, stream=number, masks=report.lineage.masks) as reader:
        for piece in reader.segments(params):
            if piece.segment.index in peak_times:
                pieces.append((peak_times[piece.segment.index], piece))
            if len(pieces) == len(peak_times):
                break
    return pieces


def shares(
    path: Path,
    report: Report,
    video: Path,
    params: SegmentationParams,
    heads: Sequence[HeadRef],
    of_heads: np.ndarray,
    of_pictures: np.ndarray,
) -> None:
    """For each event, the places in its peak segment and the heads that raised or lowered the score (save_shares)."""
    peaks = _peaks(video, report, params)
    rows = max(len(peaks), 1)
    figure = figure_of(11, 0.6 + 2.2 * rows)
    if not peaks:
        figure.text(
            0.5, 0.5, f"{report.video_id}: no events at threshold {report.threshold:.2f}", ha="center", parse_math=False
        )
    grid = figure.subplots(rows, MAX_MAPS + 1, squeeze=False) if peaks else []
    for (time_s, piece), row in zip(peaks, grid, strict=True):
        maps = of_pictures[piece.segment.index]
        largest = float(np.abs(maps).max()) or 1.0
        strongest = sorted(np.argsort(-np.abs(maps).sum((1, 2)))[:MAX_MAPS])
        per_map = -(-len(piece.pictures) // len(maps))  # frames that share one map
        for axes in row[:MAX_MAPS]:
            axes.set_axis_off()
        for axes, i in zip(row, strongest, strict=False):
            picture = piece.pictures[min(i * per_map, len(piece.pictures) - 1)]
            extent = (0, picture.shape[1], picture.shape[0], 0)
            axes.imshow(picture.mean(-1), cmap="gray", extent=extent)
            axes.imshow(maps[i], cmap="RdBu_r", vmin=-largest, vmax=largest, alpha=0.45, extent=extent)
        row[0].set_title(f"around {time_s:.1f} s", color=ALARM, fontsize=10, loc="left")
        values = of_heads[piece.segment.index]
        order = np.argsort(-np.abs(values))[:10][::-1]
        row[-1].barh([f"{heads[k].layer}.{heads[k].head}" for k in order], values[order],
                     color=[ALARM if values[k] > 0 else SMOOTH for k in order])  # fmt: skip
        row[-1].tick_params(labelsize=7)
        row[-1].set_title("heads (layer.head), in logit", fontsize=8)
    figure.suptitle(
        f"{report.video_id}: red speaks for an anomaly, blue against", fontsize=11, color=INK, parse_math=False
    )
    save_figure(path, figure)


def _seconds(report: Report, span: FrameSpan) -> tuple[float, float]:
    """When a span of frames begins and ends."""
    edges = edges_of([FrameSpan(s.start_frame, s.stop_frame) for s in report.scores])
    return span_seconds(span, edges, np.array([(s.start_s, s.stop_s) for s in report.scores]))


def _draw_scores(axes: Any, edges_s: np.ndarray, scores: Sequence[float] | np.ndarray, **style: Any) -> None:
    """Scores over time, with nothing where the footage breaks off; edges_s: [T, 2]."""
    breaks = np.flatnonzero(~contiguous(edges_s)) + 1
    edges = np.insert(np.append(edges_s[:, 0], edges_s[-1, 1]), breaks, edges_s[breaks - 1, 1])
    axes.stairs(np.insert(scores, breaks, np.nan), edges, baseline=None, **style)


def _draw_missing(axes: Any, report: Report) -> None:
    """Gaps and holes, each with one entry in the legend."""
    gaps = [(g.time_s, g.time_s if g.stop_s is None else g.stop_s) for g in report.gaps if g.time_s is not None]
    holes = [(hole.start_s, hole.stop_s) for hole in report.holes]
    for stretches, label, style in (
        (gaps, "not decoded", {"facecolor": INK, "edgecolor": INK, "lw": 2}),
        (holes, "no pictures in the file", {"facecolor": "none", "edgecolor": INK, "hatch": "///", "lw": 0}),
    ):
        for i, (start_s, stop_s) in enumerate(stretches):
            axes.axvspan(start_s, stop_s, alpha=0.4, label=label if i == 0 else None, **style)


def timeline(
    path: Path, report: Report, video: Path, params: SegmentationParams, truth: tuple[FrameSpan, ...] = ()
) -> None:
    """Scores over time, threshold, events, true spans if given, what is missing, and the events' peaks, described."""
    pictures = [(t, piece.pictures[len(piece.pictures) // 2]) for t, piece in _peaks(video, report, params)]
    figure = figure_of(10, 5.2 if pictures else 3.0)
    if pictures:
        descriptions = {e.peak_s: e.description for e in report.events}
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 1])
        for axes, (time_s, picture) in zip(np.ravel(top.subplots(1, len(pictures))), pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(f"{time_s:.1f} s", color=ALARM, fontsize=10)
            axes.set_axis_off()
            words = fill(shorten(descriptions[time_s] or "", WORDS_LENGTH, placeholder=" …"), WORDS_WIDTH)
            place = {"transform": axes.transAxes, "ha": "center", "va": "top"}
            axes.text(0.5, -0.04, words, fontsize=8, color=INK, parse_math=False, **place)
    else:
        bottom = figure
    axes = bottom.subplots()
    edges_s = np.array([(s.start_s, s.stop_s) for s in report.scores])
    _draw_scores(axes, edges_s, [s.raw for s in report.scores], color=RAW, lw=1.5, label="raw score")
    _draw_scores(axes, edges_s, [s.smoothed for s in report.scores], color=SMOOTH, lw=2.5, label="smoothed score")
    axes.axhline(report.threshold, color=INK, ls=":", lw=1, label=f"threshold {report.threshold:.2f}")
    for i, event in enumerate(report.events):
        axes.axvspan(event.start_s, event.stop_s, color=ALARM, alpha=0.18, label="event" if i == 0 else None)
    for i, span in enumerate(truth):
        label = "truth" if i == 0 else None
        axes.plot(_seconds(report, span), [-0.04] * 2, color=TRUTH, lw=6, label=label)
    _draw_missing(axes, report)
    axes.set(xlim=(0, report.duration_s), ylim=(-0.07, 1.05), xlabel="seconds", ylabel="anomaly score")
    axes.set_title(report.video_id, fontsize=11, color=INK, loc="left", parse_math=False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=6, fontsize=8, frameon=False)
    save_figure(path, figure)


def _curves(path: Path, videos: Sequence[ScoredVideo], figures: Figures, params: EvaluateParams) -> None:
    """ROC and precision-recall curves with their bands over resamples of videos, beside chance."""
    counts = counts_of(videos)
    roc, pr = curves(counts, params.bootstrap, params.seed)
    anomalous = counts.totals()[0].sum()
    share = float(anomalous / (anomalous + counts.totals()[1].sum()))
    figure = figure_of(10, 4.6)
    left, right = figure.subplots(1, 2)
    for axes, curve, key, name in ((left, roc, "roc_auc", "ROC-AUC"), (right, pr, "average_precision", "AP")):
        interval = figures[f"{key}_interval"]
        label = f"{name} {figures[key]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
        axes.plot(curve.x, curve.y, color=SMOOTH, lw=2, label=label)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=SMOOTH, alpha=0.18, lw=0, label="95 % over videos")
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
    left.plot([0, 1], [0, 1], color=INK, ls=":", lw=1, label="chance")
    right.axhline(share, color=INK, ls=":", lw=1, label=f"chance {share:.3f}")
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, all frames")
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall, all frames")
    left.legend(loc="lower right", frameon=False)
    right.legend(loc="upper right", frameon=False)
    save_figure(path, figure)


def _timelines(path: Path, videos: Sequence[ScoredVideo], figures: Figures) -> None:
    """Scores over time with truth bands: the videos of best, median and worst ROC-AUC of their own."""
    auc = {name: row["roc_auc"] for name, row in figures["per_video"].items() if row["roc_auc"] is not None}
    by_auc = sorted((v for v in videos if v.record.video_id in auc), key=lambda v: -auc[v.record.video_id])
    figure = figure_of(10, 6.6)
    if not by_auc:
        figure.suptitle("No video holds both normal and anomalous frames: none is best or worst.")
        save_figure(path, figure)
        return
    chosen = {"best": by_auc[0], "median": by_auc[len(by_auc) // 2], "worst": by_auc[-1]}
    for axes, (name, v) in zip(figure.subplots(3, 1), chosen.items(), strict=True):
        _draw_scores(axes, v.seconds, v.scores, color=SMOOTH, lw=2)
        axes.axhline(figures["at_threshold"]["threshold"], color=INK, ls=":", lw=1)
        for start_s, stop_s in v.true_seconds():
            axes.axvspan(start_s, stop_s, color=TRUTH, alpha=0.35, lw=0)
        title = f"{name}: {v.record.video_id}, ROC-AUC {auc[v.record.video_id]:.3f}"
        axes.set(xlim=(v.seconds[0, 0], v.seconds[-1, 1]), ylabel="score")
        axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel("seconds (yellow: truth; dotted: threshold)")
    save_figure(path, figure)


def _kinds(path: Path, figures: Figures) -> None:
    """ROC-AUC and average precision of each kind beside the normal videos."""
    rows = {k: r for k, r in figures["by_kind"].items() if "undefined" not in r}
    figure = figure_of(8, 1.4 + 0.36 * len(rows))
    shown = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}
    for axes, (key, title) in zip(figure.subplots(1, 2, sharey=True), shown.items(), strict=True):
        axes.barh([k.replace("$", r"\$") for k in rows], [r[key] for r in rows.values()], color=SMOOTH)
        axes.axvline(figures[key], color=ALARM, lw=1.5, label=f"all {figures[key]:.3f}")
        axes.set(xlim=(0, 1), title=title)
        axes.legend(loc="lower right", fontsize=8)
    axes.invert_yaxis()
    save_figure(path, figure)


def picture_all(folder: Path, videos: Sequence[ScoredVideo], figures: Figures, params: EvaluateParams) -> None:
    """curves.png, timelines.png and kinds.png of an evaluation (core/protocol.assess)."""
    _curves(folder / "curves.png", videos, figures, params)
    _timelines(folder / "timelines.png", videos, figures)
    _kinds(folder / "kinds.png", figures)
