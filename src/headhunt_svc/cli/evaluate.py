"""Commands that measure: evaluate, evaluate-scores, benchmark, measure, ablate, generalise."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import cell, note_cautions, safe, wide
from headhunt_svc.cli.options import (
    PARAMS,
    AllowMissing,
    AnnotationsPath,
    Bootstrap,
    BundleFolder,
    Dataset,
    Ends,
    Labels,
    ParamsFile,
    PointName,
    ToolFps,
    check_bundle,
    dataset_of,
)
from headhunt_svc.cli.pipeline import print_footage
from headhunt_svc.params import EvaluateParams, load_params
from headhunt_svc.storage.files import read_json
from headhunt_svc.types import Smoothing

app = typer.Typer()


@app.command()
def evaluate(
    params: ParamsFile = PARAMS,
    allow_missing: AllowMissing = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="A detector of another data set: what it is worth here, and what each step regains."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="With --bundle: write all figures into this file.")] = None,
) -> None:
    """Compare the reports of the test videos with the truth; with --bundle, a detector that was made elsewhere."""
    read = load_params(params)
    if bundle is not None:
        if allow_missing:
            raise typer.BadParameter("--bundle needs the features of all test videos: leave --allow-missing out")
        from headhunt_svc.studies.transfer import transfer

        stored = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.TEST_FEATURES)
        print_transfer(transfer(read, bundle, *stored, json))
        return
    if json is not None:
        raise typer.BadParameter(
            f"--json is for --bundle; the figures of this project's detector are in {paths.METRICS}"
        )
    from headhunt_svc.pipeline.evaluate import evaluate as run

    inputs = (paths.INDEX, paths.LABELS, paths.BUNDLE, paths.REPORTS)
    print_assessment(run(read.evaluate, read.dataset, *inputs, paths.METRICS, paths.PLOTS, allow_missing))


@app.command("evaluate-scores")
def evaluate_scores(
    dataset: Dataset,
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON, video -> scores, or a folder with a file a video; none: the baselines alone."),
    ] = None,
    annotations: AnnotationsPath = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the videos, to read their lengths and times there.")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames that a score of a list stands for.")] = 16,
    sigma: Annotated[float, typer.Option(min=0, help="Gaussian smoothing of each series, in scores.")] = 0.0,
    smoothing: Annotated[
        Smoothing, typer.Option(help="Which smoothing; mirrored is scipy's gaussian_filter1d.")
    ] = "mirrored",
    span_ends: Ends = None,
    threshold: Annotated[
        float | None, typer.Option(help="Alarm above it; default: the best F1 on these very videos.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames per second, if not the benchmark's or the videos'.")
    ] = None,
    label: Labels = None,
    tool_fps: ToolFps = None,
    bootstrap: Bootstrap = 200,
    allow_missing: AllowMissing = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures into this file.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw curves, timelines and bars into this folder.")] = None,
) -> None:
    """Evaluate anybody's scores on a benchmark or on annotations of your own (docs/evaluation.md)."""
    data = dataset_of(dataset, root or Path(), annotations, span_ends, allow_missing, fps, label, tool_fps)
    from headhunt_svc.pipeline.scores import ScoresProtocol
    from headhunt_svc.pipeline.scores import evaluate_scores as run

    how = ScoresProtocol(data, root is not None, stride, sigma, smoothing, threshold)
    print_assessment(run(file, how, EvaluateParams(bootstrap=bootstrap), json, plots))


@app.command()
def benchmark(
    root: Annotated[Path, typer.Argument(help="Folder of the videos; a benchmark's are found by name below it.")],
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Folder for index, reports, figures and pictures.")],
    annotations: AnnotationsPath = None,
    span_ends: Ends = None,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frames per second, if not the videos'.")] = None,
    label: Labels = None,
    tool_fps: ToolFps = None,
    allow_missing: AllowMissing = False,
    bootstrap: Bootstrap = 200,
    operating_point: PointName = "f1",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Index, detect and evaluate the test videos of a benchmark or of your own; goes on where it stopped."""
    data = dataset_of(dataset, root, annotations, span_ends, allow_missing, fps, label, tool_fps)
    note_cautions(check_bundle(bundle, operating_point).cautions)
    from headhunt_svc.pipeline.benchmark import benchmark as run

    print_assessment(run(data, EvaluateParams(bootstrap=bootstrap), bundle, operating_point, out, print_footage))


@app.command()
def measure(params: ParamsFile = PARAMS) -> None:
    """Extract what only the ablation needs: hard videos, the model's answers, an untrained model."""
    from headhunt_svc.studies.measure import measure as run

    run(load_params(params), paths.INDEX, paths.MEASURED)


@app.command()
def ablate(params: ParamsFile = PARAMS) -> None:
    """Compare the expert heads with other heads, scorers, prompts, and the model's answers."""
    from headhunt_svc.studies.ablate import ablate as run

    inputs = (paths.INDEX, paths.LABELS, paths.BUNDLE, paths.FEATURES, paths.TEST_FEATURES, paths.MEASURED)
    run(load_params(params), *inputs, paths.ABLATION, paths.PLOTS)
    print_ablation(paths.ABLATION)


@app.command()
def generalise(params: ParamsFile = PARAMS) -> None:
    """Leave out one kind of anomaly, and one camera, after the other, and measure what the scorer makes of them."""
    from headhunt_svc.studies.generalisation import generalise as run

    inputs = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.HEADS)
    print_generalisation(run(load_params(params), *inputs, paths.GENERALISATION))


def print_metrics(path: Path, ablation: Path | None = None) -> None:
    """Prints metrics.json as a table: all test videos, what is new, each kind of anomaly with the normal ones.

    ablation: where the figures of hard videos are, if they are of the same detector.
    """
    from headhunt_svc.studies.figures import detector_table, why_undefined

    metrics = read_json(path, "headhunt evaluate")
    others = None if ablation is None else read_json(ablation, "headhunt ablate")
    title, header, rows = detector_table(metrics, others)
    table = Table(*header, title=title)
    for cells in rows:
        table.add_row(*map(safe, cells))
    wide().print(table)
    for line in why_undefined(metrics.get("groups", {})):
        wide().print(safe(line))


def print_assessment(figures: dict[str, Any]) -> None:
    """Prints all figures of core/protocol.assess with its conventions; without scores the baselines alone."""
    from headhunt_svc.studies.figures import why_undefined

    console = wide()
    conventions = dict(figures["protocol"])
    for name in ("missing", "not_annotated"):
        if videos := conventions.get(name):
            conventions[name] = f"{len(videos)} ({', '.join(videos)})"
        elif name in conventions:
            conventions[name] = "none"
    text = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in conventions.items())
    console.print(safe(text), soft_wrap=True)
    console.print(_frame_table(figures))
    if "roc_auc" in figures:
        for line in why_undefined(figures.get("groups", {})):
            console.print(safe(line))
        console.print(_threshold_table(figures))
        for line in _event_lines(figures):
            console.print(safe(line))


def _frame_table(figures: dict[str, Any]) -> Table:
    """Frame-level figures: all videos, each kind of anomaly, baselines."""
    table = Table("frame level", "ROC-AUC", "AP (steps)", "PR-AUC (trapezoid)", "precision", "recall", "F1")
    areas, at_threshold = ("roc_auc", "average_precision", "pr_auc_trapezoid"), ("precision", "recall", "f1")

    def add(name: str, row: dict[str, Any], digits: int = 5) -> None:
        cells = []
        for key in areas:
            interval = row.get(f"{key}_interval")
            band = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            cells.append(safe(cell(row.get(key), digits) + band))
        table.add_row(safe(name), *cells, *(cell(row[k], digits) if k in row else "" for k in at_threshold))

    if "roc_auc" in figures:
        frames = {k: v for k, v in figures.items() if k.startswith(areas)}
        add("all frames", frames | {k: figures["at_threshold"][k] for k in at_threshold})
        add("anomalous videos only", figures["anomalous_videos_only"])
        for name, row in figures.get("groups", {}).items():
            if "undefined" not in row:
                add(name.replace("_", " "), row)
        for kind, row in figures["by_kind"].items():
            add(f"  {kind}", row, 3)
    for name, row in figures["baselines"].items():
        add(f"baseline: {name.replace('_', ' ')}", row)
    return table


def _threshold_table(figures: dict[str, Any]) -> Table:
    """Frames and events at the threshold."""
    frames = figures["at_threshold"]
    table = Table("", "precision", "recall", "F1", "AP", title=f"at threshold {frames['threshold']:g}")
    table.add_row("frames", *(cell(frames[k]) for k in ("precision", "recall", "f1")), "")
    for iou, row in figures["events"]["at_iou"].items():
        cells = (cell(row[k]) for k in ("precision", "recall", "f1", "average_precision"))
        table.add_row(f"events, temporal IoU {iou}", *cells)
    return table


def _event_lines(figures: dict[str, Any]) -> Iterator[str]:
    """Threshold, events, delay, false alarms, reliability and causal smoothing, one line each."""
    delay, alarms, reliability = figures["detection_delay"], figures["false_alarms"], figures["reliability"]
    mean_ap, mean_auc = figures["events"]["mean_average_precision"], figures["mean_roc_auc_of_videos"]
    yield f"threshold chosen: {figures['at_threshold']['chosen']}"
    yield f"class-agnostic mAP of events over IoU 0.1 to 0.5: {cell(mean_ap)}; mean ROC-AUC of videos: {cell(mean_auc)}"
    yield (
        f"true spans with an alarm: {delay['found']} of {delay['true_spans']}, "
        f"after {cell(delay['mean_s'], 1)} s in the mean, {cell(delay['median_s'], 1)} s in the median"
    )
    yield _in_time(delay)
    counted = f"{alarms['events']} in {alarms['hours']:.3g} h of normal video"
    yield f"false alarms: {cell(alarms['per_hour'], 2)} per hour ({counted})"
    if reliability is None:
        yield "Brier score: - (the scores are not all in [0, 1])"
    else:
        error = reliability["expected_calibration_error"]
        yield f"Brier score: {reliability['brier']:.4f}; expected calibration error: {error:.4f}"
    if causal := figures.get("causal"):
        alarms, delay, frames = causal["false_alarms"], causal["detection_delay"], causal["at_threshold"]
        yield (
            f"causal smoothing (live), sigma {causal['sigma_segments']:g}, threshold {frames['threshold']:.3f}: "
            f"ROC-AUC {causal['roc_auc']:.3f}, AP {causal['average_precision']:.3f}, F1 {frames['f1']:.3f}, "
            f"{cell(alarms['per_hour'], 2)} false alarms per hour, delay {cell(delay['mean_s'], 1)} s in the mean"
        )


def _in_time(delay: dict[str, Any]) -> str:
    """What is found within each allowed delay."""
    within = delay["within_s"]
    shown = {
        words: f"{' / '.join(cell(row[key]) for row in within.values())}, mean {cell(delay[f'mean_{key}'])}"
        for words, key in (("of the true spans", "recall"), ("class-agnostic AP", "average_precision"))
    }
    figures = "; ".join(f"{words} {text}" for words, text in shown.items())
    return f"alarm within {' / '.join(within)} s: {figures}; time-to-alarm score: {cell(delay['time_to_alarm'])}"


def print_ablation(path: Path) -> None:
    """Prints ablation.json as tables: every arm on test and hard videos, and the summary of docs/results.md."""
    from headhunt_svc.studies.figures import arms_table, learning_curves

    result = read_json(path, "headhunt ablate")
    header, rows = arms_table(result)
    title = f"{safe(path)}: what the expert heads must beat [95 % interval]; hard and few labelled videos: ROC-AUC"
    table = Table(*header, title=title)
    for cells in rows:
        table.add_row(*map(safe, cells))
    wide().print(table)
    for title, curve in learning_curves(result).items():
        _print_table(title, *curve)
    print_summary(result)


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=safe(title), box=None)
    for name in header:
        table.add_column(safe(name), overflow="fold")
    for cells in rows:
        table.add_row(*map(safe, cells))
    wide().print(table)


def print_summary(result: dict[str, Any]) -> None:
    """Prints the small tables of the README: the detector beside the main arms, on all videos and on what is new."""
    from headhunt_svc.studies.figures import summary, summary_columns

    for key in ("roc_auc", "average_precision"):
        _print_table("[95 % interval]", *summary(result, key))
    for title, arm in summary_columns(result).items():
        wide().print(safe(f"{title}: {result['arms'][arm]['how']}"))


def print_generalisation(result: dict[str, Any]) -> None:
    """Prints the tables of what was left out: a row each for kinds and cameras, their means, gains over the base."""
    from headhunt_svc.studies.generalisation import HOW, TITLES, notes, table

    for name, title in TITLES.items():
        if "unavailable" not in result[name]:
            _print_table(title, *table(result[name]))
        for line in notes(result[name]):
            wide().print(safe(line))
    wide().print(safe(HOW))


def print_transfer(result: dict[str, Any]) -> None:
    """Prints what a bundle of another data set is worth, and what each step of making it anew regains."""
    from headhunt_svc.studies.figures import with_interval, words

    steps, videos = result["steps"], result["videos"]
    base = steps["as_it_is"]
    columns = ("ROC-AUC", "change", "AP", "change", "F1", "false alarms/h", "what is made anew")
    rows = []
    for name, row in steps.items():
        if "unavailable" in row:
            rows.append([words(name), *["-"] * 6, f"not available: {row['unavailable']}"])
            continue
        cells = [words(name)]
        for key in ("roc_auc", "average_precision"):
            cells += [with_interval(row, key), "" if row is base else f"{row[key] - base[key]:+.3f}"]
        rows.append([*cells, f"{row['f1']:.3f}", cell(row["false_alarms_per_hour"], 1), row["how"]])
    counts = f"{videos['calibration']} calibration, {videos['validation']} validation, {videos['test']} test videos"
    title = f"detector {result['detector_id']} on another data set ({counts}): frame level [95 % interval]"
    _print_table(title, ["", *columns], rows)
