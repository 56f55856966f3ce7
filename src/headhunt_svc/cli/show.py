"""What the command line prints: summaries, tables, lineage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headhunt_svc.core.scoring import FittedScorer
from headhunt_svc.data.footage import Footage
from headhunt_svc.demo.published import TOLERANCE, differences
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.deployments import Version
from headhunt_svc.detector.report import Report
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.jobs.models import Delivery, Job
from headhunt_svc.monitoring.run import Verdict
from headhunt_svc.pipeline.identification_report import NOT_MEASURED
from headhunt_svc.storage.files import read_json, write_json
from headhunt_svc.studies.figures import with_interval, words
from headhunt_svc.types import CalibratedPoints, HeadSelection, Unavailable

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 80
WIDTH = 140


def sparkline(values: list[float]) -> str:
    """One bar per value in [0, 1]; of more than MOST_BARS values the largest of each stretch."""
    n = len(values)
    width = min(n, MOST_BARS)
    peaks = [max(values[i * n // width : max((i + 1) * n // width, i * n // width + 1)]) for i in range(width)]
    return "".join(BARS[min(int(p * len(BARS)), len(BARS) - 1)] for p in peaks)


def clock(seconds: float) -> str:
    """m:ss.s or h:mm:ss.s."""
    tenths = round(seconds * 10)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{tenths % 600 / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def report(report: Report, out: Path | None) -> None:
    """Events with times and peak, the series as a sparkline, gaps, and where the report is."""
    console = Console(highlight=False, soft_wrap=True)
    size = f"{report.n_frames} frames, {len(report.scores)} segments, {clock(report.duration_s)}"
    console.print(f"[bold]{report.video_id}[/bold]  {size}")
    console.print(f"  {sparkline([s.smoothed for s in report.scores])}")
    for e in report.events:
        console.print(
            f"  [red]event[/red] {clock(e.start_s)} to {clock(e.stop_s)}, peak {e.peak:.2f} at {clock(e.peak_s)}"
        )
    if not report.events:
        console.print("  no event")
    for g in report.gaps:
        where = f"at {clock(g.time_s)}" if g.time_s is not None else "somewhere"
        console.print(f"  [yellow]gap[/yellow] {where}: {g.packets} pictures could not be decoded ({g.reason})")
    if out is not None:
        path = out / f"{report.video_id}.json"
        picture = path.with_suffix(".png")
        console.print(f"  {path}" + (f"  {picture}" if picture.exists() else ""))


def report_json(report: Report) -> None:
    """The report as one line of JSON on standard output."""
    print(report.model_dump_json())


def error(exc: HeadHuntError) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(f"error: {exc}")


def note(text: str) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(text)


def footage(found: Footage) -> None:
    """What is there, and a table of every video that does not fit its annotation or has none."""
    n_frames = sum(r.n_frames for r in found.records)
    anomalous = sum(r.is_anomalous for r in found.records)
    fits = f"{len(found.records)} videos fit their annotations: {anomalous} anomalous, {n_frames} frames in all"
    console = Console(stderr=True, highlight=False, width=WIDTH)
    if found.findings:
        table = Table("video", "is", "detail")
        for finding in found.findings:
            table.add_row(*(escape(x) for x in finding))
        console.print(table)
    console.print(fits)


def selection(chosen: HeadSelection, path: Path) -> None:
    """The expert heads with RSS and selection frequency, and how far the choice holds."""
    sure = chosen.confidence
    table = Table("layer", "head", "RSS", *(["chosen by halves"] if sure else []), title=f"{path} ({chosen.criteria})")
    for i, (head, rss) in enumerate(zip(chosen.heads, chosen.rss, strict=True)):
        table.add_row(str(head.layer), str(head.head), f"{rss:.3f}", *([f"{sure.frequency[i]:.0%}"] if sure else []))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(sure.words if sure else NOT_MEASURED)


def calibration(fitted: FittedScorer) -> None:
    """The calibration curve: what the scorer says of videos held out, and how often it is so."""
    curve = fitted.curve
    title = f"held-out videos: AUC of segments {fitted.held_out_auc:.3f}, Brier score {curve.brier:.3f}, C {fitted.c:g}"
    table = Table("segments", "predicted", "anomalous", title=title)
    for n, predicted, observed in zip(curve.counts, curve.predicted, curve.observed, strict=True):
        table.add_row(str(n), f"{predicted:.2f}", f"{observed:.2f}")
    Console(width=100).print(table)


def metrics(path: Path) -> None:
    """metrics.json as a table: all test videos, then each kind beside the normal ones."""
    found = read_json(path, "headhunt evaluate")
    title = f"{found['n_videos']} held-out test videos, {found['n_frames']} frames: frame level [95 % interval]"
    table = Table("", "ROC-AUC", "AP", title=title)
    table.add_row("the detector", with_interval(found, "roc_auc"), with_interval(found, "average_precision"))
    for kind, row in found["by_kind"].items():
        table.add_row(f"  {kind}", f"{row['roc_auc']:.3f}", f"{row['average_precision']:.3f}")
    Console(width=100).print(table)


def agreement(path: Path, published: Path) -> None:
    """Do the figures of metrics.json agree with the published ones? If not: which, and by how much."""
    lines = differences(read_json(path, "headhunt evaluate"), read_json(published, "git checkout artifacts"))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not lines:
        console.print(f"These figures agree with the published ones ({published}) within {TOLERANCE:g}.")
        return
    console.print(f"These figures differ from the published ones ({published}) by more than {TOLERANCE:g}:")
    for line in lines:
        console.print(f"  {line}")


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _points(operating: dict[str, Any]) -> Table:
    """What the scores give at a threshold: frames, events, delay, false alarms."""
    table = Table(
        "", "precision", "recall", "F1", "AP", title=f"at threshold {operating['at_threshold']['threshold']:g}"
    )
    at = operating["at_threshold"]
    table.add_row("frames", *(_cell(at[k]) for k in ("precision", "recall", "f1")), "")
    for iou, row in operating["events"]["at_iou"].items():
        cells = (_cell(row[k]) for k in ("precision", "recall", "f1", "average_precision"))
        table.add_row(f"events, temporal IoU {iou}", *cells)
    return table


def assessment(found: dict[str, Any]) -> None:
    """Everything that core/protocol.assess says, with its conventions; without scores the baselines alone."""
    console = Console(highlight=False, width=WIDTH)
    about = dict(found["protocol"])
    for name in ("missing", "not_annotated"):
        if name in about:
            about[name] = f"{len(about[name])} ({', '.join(about[name])})" if about[name] else "none"
    console.print(", ".join(f"{k.replace('_', ' ')} {v}" for k, v in about.items()), markup=False, soft_wrap=True)
    table = Table("frame level", "ROC-AUC", "AP (steps)", "PR-AUC (trapezoid)", "precision", "recall", "F1")
    keys = ("roc_auc", "average_precision", "pr_auc_trapezoid")

    def add(name: str, row: dict[str, Any], digits: int = 5) -> None:
        cells = []
        for key in keys:
            interval = row.get(f"{key}_interval")
            band = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            cells.append(escape(_cell(row.get(key), digits) + band))
        at = (_cell(row[k], digits) if k in row else "" for k in ("precision", "recall", "f1"))
        table.add_row(name, *cells, *at)

    if "roc_auc" in found:
        at = {k: found["at_threshold"][k] for k in ("precision", "recall", "f1")}
        add("all frames", {**{k: found[k] for k in found if k.startswith(keys)}, **at})
        add("anomalous videos only", found["anomalous_videos_only"])
        for kind, row in found["by_kind"].items():
            add(f"  {kind}", row, 3)
    for name, row in found["baselines"].items():
        add(f"baseline: {name.replace('_', ' ')}", row)
    console.print(table)
    if "roc_auc" not in found:
        return
    console.print(_points(found))
    delay, alarms, calibrated = found["detection_delay"], found["false_alarms"], found["reliability"]
    mean_ap, of_videos = found["events"]["mean_average_precision"], found["mean_roc_auc_of_videos"]
    console.print(f"threshold chosen: {found['at_threshold']['chosen']}")
    console.print(f"mAP of events over IoU 0.1 to 0.5: {_cell(mean_ap)}; mean ROC-AUC of videos: {_cell(of_videos)}")
    console.print(
        f"true spans with an alarm: {delay['found']} of {delay['true_spans']}, "
        f"after {_cell(delay['mean_s'], 1)} s in the mean, {_cell(delay['median_s'], 1)} s in the median"
    )
    of = f"{alarms['events']} in {alarms['hours']:.3g} h of normal video"
    console.print(f"false alarms: {_cell(alarms['per_hour'], 2)} per hour ({of})")
    if calibrated is None:
        console.print("Brier score: - (the scores are not all in [0, 1])")
    else:
        error = calibrated["expected_calibration_error"]
        console.print(f"Brier score: {calibrated['brier']:.4f}; expected calibration error: {error:.4f}")
    if live := found.get("causal"):
        per_hour, delay, at = live["false_alarms"]["per_hour"], live["detection_delay"], live["at_threshold"]
        console.print(
            f"causal smoothing (live), sigma {live['sigma_segments']:g}, threshold {at['threshold']:.3f}: "
            f"ROC-AUC {live['roc_auc']:.3f}, AP {live['average_precision']:.3f}, F1 {at['f1']:.3f}, "
            f"{_cell(per_hour, 2)} false alarms per hour, delay {_cell(delay['mean_s'], 1)} s in the mean"
        )


def ablation(path: Path) -> None:
    """ablation.json as a table: test and hard, and ROC-AUC with few labelled videos."""
    arms = read_json(path, "headhunt ablate")["arms"]
    few = list(next(iter(arms.values()))["low_label"])
    hard = all("hard" in row for row in arms.values())
    columns = ["test ROC-AUC", "test AP", "test F1", *(["hard ROC-AUC"] if hard else []), *(f"{n} labels" for n in few)]
    title = f"{path}: what the expert heads must beat [95 % interval], and ROC-AUC with few labelled videos"
    table = Table("", *columns, title=title)
    for name, row in arms.items():
        cells = [with_interval(row["test"], "roc_auc"), with_interval(row["test"], "average_precision")]
        cells += [f"{row['test']['f1']:.3f}"] + ([f"{row['hard']['roc_auc']:.3f}"] if hard else [])
        cells += [f"{row['low_label'][n]['mean']:.3f}" if "low_label" in row else "-" for n in few]
        table.add_row(words(name), *cells)
    Console(width=WIDTH).print(table)


def operating_points(points: CalibratedPoints) -> None:
    """What `calibrate` chose, offline and causal, and what it gives on validation videos."""
    table = Table("operating point", "smoothing", "sigma", "threshold", "F1", "found", "false alarms/h", "rule")
    for name, point in points.items():
        if isinstance(point, Unavailable):
            table.add_row(name, *["-"] * 6, escape(f"not available: {point.reason}"))
            continue
        for calibrated in (point.offline, point.causal):
            if calibrated is not None:
                at, figures = (
                    calibrated.operating_point,
                    (calibrated.f1, calibrated.recall, calibrated.false_alarms_per_hour),
                )
                cells = (f"{at.sigma_segments:g}", f"{at.threshold:.3f}", *map(_cell, figures))
                table.add_row(name, at.smoothing, *cells, calibrated.rule)
    Console(highlight=False, width=WIDTH).print(table)


def seeds(path: Path) -> None:
    """demo_seeds.json as a table."""
    found = read_json(path, "headhunt demo seeds 1 2 3")
    table = Table("seed", "validation ROC-AUC", "test ROC-AUC", "test AP")
    for name, row in found["models"].items():
        chosen = " (chosen)" if name == found["best_on_validation"] else ""
        tests = (with_interval(row["test"], key) for key in ("roc_auc", "average_precision"))
        table.add_row(f"{name}{chosen}", f"{row['validation']['roc_auc']:.3f}", *tests)
    Console(width=100).print(table)


def bundle(folder: Path, metrics_file: Path) -> None:
    """Lineage of a bundle."""
    made, _ = load_bundle(folder)
    console = Console(highlight=False, soft_wrap=True)
    data = ", ".join(f"{n} {split}" for split, n in made.data["videos"].items())
    lines = {
        "detector": made.detector_id,
        "model": f"{made.mllm.id} ({made.mllm_revision}, {made.mllm.dtype}, {made.mllm.attention})",
        "prompt": made.prompt,
        "hunted under": "; ".join(made.calibration_prompts),
        "heads": ", ".join(
            f"({layer},{head}) rss {r:.3f}" for (layer, head), r in zip(made.heads, made.rss, strict=True)
        ),
        "segments": made.segmentation.model_dump_json(exclude_none=True),
        "data": f"index {made.data['index_sha256']}: {data} videos",
        "made with": ", ".join(f"{k} {v}" for k, v in made.fingerprint.items()),
    }
    for step in made.data.get("recalibrated", []):
        lines["recalibrated"] = f"{step['labels']} labels ({step['labels_sha256']}), from detector {step['from']}"
    for name, point in made.operating_points.items():
        for smoothing, at in (("", point), (" (live)", point.causal)):
            if at is not None:
                chosen = f", {at.rule}" if at.rule else ""
                text = f"sigma {at.sigma_segments:g} segments, threshold {at.threshold:.3f}{chosen}"
                lines[f"operating point {name}{smoothing}"] = text
    if metrics_file.exists():
        row = read_json(metrics_file, "headhunt evaluate")
        if row["detector_id"] == made.detector_id:
            lines["test"] = f"ROC-AUC {row['roc_auc']:.3f}, AP {row['average_precision']:.3f}, {row['n_videos']} videos"
    width = max(map(len, lines)) + 2
    for key, value in lines.items():
        console.print(f"[bold]{key:{width}}[/bold]{value}")


def verdict(found: Verdict) -> None:
    """One line a camera: what moved, beyond which limit, and the likely kind; what was left out; what to do."""
    table = Table("camera", "status", "segments", "in events", "signals beyond their limit", title=_span(found))
    for name, of in found.cameras.items():
        low, high = of.event_interval
        moved = ", ".join(f"{n} {of.signals[n].value:.2f} > {of.signals[n].limit:.2f}" for n in of.over)
        events = f"{of.event_rate:.1%} \\[{low:.1%}, {high:.1%}]" if of.segments else "-"
        table.add_row(escape(name), of.kind or of.status, str(of.segments), events, moved or escape(of.why))
    console = Console(highlight=False, width=WIDTH)
    console.print(table)
    for why, n in found.excluded.items():
        console.print(f"left out: {n}, {why}", markup=False)
    for camera, days in found.missing.items():
        console.print(f"no rows of {camera} on {', '.join(days)}", markup=False)
    for line in (*found.problems, *found.alarms):
        console.print(line, markup=False, soft_wrap=True)


def _span(found: Verdict) -> str:
    return f"{found.start:%Y-%m-%d %H:%M} to {found.stop:%Y-%m-%d %H:%M} UTC, detector {found.detector_id}"


def verdict_json(found: Verdict) -> None:
    """The verdict as one line of JSON."""
    print(json.dumps(found.as_json()))


def detections(found: Mapping[str, Any], path: Path | None) -> None:
    """What the monitor said of windows whose truth is known."""
    rows = {name: asdict(outcome) for name, outcome in found.items()}
    table = Table("windows of", "drawn", "with an alarm", "on the right camera", "of the right kind")
    for name, row in rows.items():
        right = [str(row[k]) if not name.startswith("undisturbed") else "-" for k in ("right_camera", "right_kind")]
        table.add_row(name, str(row["windows"]), str(row["alarms"]), *right)
    Console(highlight=False, width=WIDTH).print(table)
    if path is not None:
        write_json(path, rows)


def deployed(history: Sequence[Version]) -> None:
    """Every activation of a bundle, the current one marked."""
    table = Table("", "detector", "since", "by", "why", "bundle")
    for v in history:
        where = f"{v.folder}" + (f" ({v.problem})" if v.problem else "")
        table.add_row("*" if v.active else "", v.detector_id, v.time, *map(escape, (v.by, v.why, where)))
    Console(highlight=False, width=WIDTH).print(table if history else "no bundle was activated here")


def jobs(found: Sequence[Job]) -> None:
    """One line for each job."""
    table = Table(box=None, header_style="bold")
    for name in ("job", "state", "done", "failed", "videos", "left"):
        table.add_column(name)
    for job in found:
        n = sum(job.counts.values())
        left = clock(job.eta_s) if job.eta_s is not None else "?"
        table.add_row(job.job_id, job.state, f"{job.percent:.0f} %", str(job.counts["failed"]), str(n), left)
    Console(width=WIDTH).print(table)


def job(found: Job) -> None:
    """A job with the videos that are not simply done or waiting."""
    console = Console(highlight=False, soft_wrap=True)
    counts = ", ".join(f"{n} {state}" for state, n in found.counts.items() if n)
    left = f", {clock(found.eta_s)} left" if found.eta_s else ""
    console.print(f"[bold]{found.job_id}[/bold]  {found.state}, {found.percent:.0f} %: {counts}{left}")
    for v in found.videos:
        why = v.error or (f"attempt {v.trouble.attempt}: {v.trouble.reason}" if v.trouble else "")
        if why or v.events:
            what = f"{v.events} events" if v.events else escape(why)
            console.print(f"  {v.state:9}  {escape(v.video_id)}  {what}")


def deliveries(found: Sequence[Delivery]) -> None:
    """A job's webhooks."""
    for d in found:
        note(f"{d.delivery_id}  {d.event}  {d.state}, {d.attempts} attempts" + (f": {d.error}" if d.error else ""))
