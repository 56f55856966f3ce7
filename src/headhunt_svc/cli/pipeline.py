"""Commands that index footage and train a detector: index, split, extract, identify, fit, calibrate, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import cell, note, print_passes, safe, wide
from headhunt_svc.cli.options import PARAMS, ParamsFile
from headhunt_svc.core.depth import limit_words
from headhunt_svc.params import FitParams, load_params, prompt_sets
from headhunt_svc.types import CalibratedPoints, HeadSelection, Unavailable

if TYPE_CHECKING:
    from headhunt_svc.core.fitting import FittedScorer
    from headhunt_svc.core.normality import NormalityChoice
    from headhunt_svc.data.footage import Footage

app = typer.Typer()


@app.command()
def index(params: ParamsFile = PARAMS) -> None:
    """Check footage against its annotations and write the index."""
    from headhunt_svc.pipeline.index import index as run

    run(load_params(params).dataset, paths.INDEX, paths.LABELS, print_footage)


@app.command()
def split(
    annotations: Annotated[Path, typer.Argument(help="Annotations whose split of test videos stays.")],
    out: Annotated[Path, typer.Option(help="The annotations to write; the draw is recorded beside it.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Draw calibration and validation videos from all but the test videos (section split of params.yaml)."""
    from headhunt_svc.pipeline.split import split as run

    read = load_params(params)
    run(read.split, annotations, out, read.dataset.export)


@app.command()
def prompts() -> None:
    """List the prompt sets for real models, by the names that prompts.set in params.yaml takes."""
    console = Console(highlight=False, soft_wrap=True)
    for name, row in prompt_sets().items():
        for version, texts in row.versions.items():
            console.print(f"[bold]{name}@{version}[/bold]: {safe(row.about)}")
            for text in texts:
                console.print(safe(f"  - {text}"))


@app.command()
def extract(params: ParamsFile = PARAMS) -> None:
    """Extract the outputs of all heads on calibration and validation videos, for every prompt."""
    from headhunt_svc.pipeline.extract import extract as run

    print_passes(run(load_params(params), paths.INDEX, paths.FEATURES))


@app.command()
def identify(params: ParamsFile = PARAMS) -> None:
    """Choose the expert heads, and print how stable the choice is."""
    from headhunt_svc.pipeline.identify import identify as run

    print_selection(run(load_params(params), paths.INDEX, paths.LABELS, paths.FEATURES, paths.HEADS), paths.HEADS)


@app.command()
def fit(params: ParamsFile = PARAMS) -> None:
    """Fit the scorer on the expert heads, and report its calibration curve."""
    from headhunt_svc.pipeline.fit import fit as run

    inputs, values = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.HEADS), load_params(params)
    print_calibration(run(values, *inputs, paths.SCORER), values.fit)


@app.command()
def calibrate(params: ParamsFile = PARAMS) -> None:
    """Choose operating points (smoothing and threshold) on validation videos."""
    from headhunt_svc.pipeline.calibrate import calibrate as run

    inputs = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.HEADS, paths.SCORER)
    print_operating_points(run(load_params(params), *inputs, paths.OPERATING_POINTS))


@app.command("report")
def identification_report(params: ParamsFile = PARAMS) -> None:
    """Write the identification report, one HTML file: the chosen heads, the evidence, and its limits."""
    from headhunt_svc.pipeline.report import report as run

    run(load_params(params), paths.ARTIFACTS, paths.FEATURES, paths.IDENTIFICATION)
    typer.echo(str(paths.IDENTIFICATION))


def print_footage(footage: "Footage") -> None:
    """Prints the number of usable videos, and a table of those that do not match their annotation or have none."""
    records = footage.records
    n_frames, anomalous = sum(r.n_frames for r in records), sum(r.is_anomalous for r in records)
    console = wide(stderr=True)
    if footage.findings:
        table = Table("video", "is", "detail")
        for finding in footage.findings:
            table.add_row(*(safe(text) for text in finding))
        console.print(table)
    console.print(f"{len(records)} videos fit their annotations: {anomalous} anomalous, {n_frames} frames in all")


def print_selection(selection: HeadSelection, path: Path) -> None:
    """Prints the expert heads with RSS and selection frequency, and how far the choice can be trusted."""
    from headhunt_svc.pipeline.identification_report import NOT_MEASURED

    confidence = selection.confidence
    columns = ["layer", "head", "RSS", *(["chosen by halves"] if confidence else [])]
    limit = "" if selection.deepest_layer is None else f", among {limit_words(selection.deepest_layer)}"
    table = Table(*columns, title=f"{safe(path)} ({selection.criteria}{limit})")
    for i, (head, rss) in enumerate(zip(selection.heads, selection.rss, strict=True)):
        frequency = [f"{confidence.frequency[i]:.0%}"] if confidence else []
        table.add_row(str(head.layer), str(head.head), f"{rss:.3f}", *frequency)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(confidence.words if confidence else NOT_MEASURED)


def grid_notes(fitted: "FittedScorer", params: FitParams) -> list[str]:
    """What was chosen at an edge of its grid, where a wider one may hold a better choice; 0 is no such edge."""
    choices = [("C", "fit.grid", fitted.c, params.grid)]
    if fitted.normality is not None and fitted.normality.basis != "default":
        weights = params.normality_weights
        choices.append(
            ("the weight of the distance to normal", "fit.normality_weights", fitted.normality.gamma, weights)
        )
    notes = []
    for name, grid, value, values in choices:
        for edge, word, more in ((max(values), "largest", "larger"), (min(values), "smallest", "smaller")):
            if len(set(values)) > 1 and value == edge > 0:
                notes.append(f"{name}, {value:g}, is the {word} of {grid}: try {more} ones")
    return notes


def print_calibration(fitted: "FittedScorer", params: FitParams) -> None:
    """Prints the calibration curve: predicted probabilities beside the observed share of anomalous segments."""
    curve = fitted.curve
    title = f"held-out videos: AUC of segments {fitted.held_out_auc:.3f}, Brier score {curve.brier:.3f}, C {fitted.c:g}"
    table = Table("segments", "predicted", "anomalous", title=title)
    for n, predicted, observed in zip(curve.counts, curve.predicted, curve.observed, strict=True):
        table.add_row(str(n), f"{predicted:.2f}", f"{observed:.2f}")
    wide().print(table)
    if fitted.normality is not None:
        print_normality(fitted.normality)
    for text in grid_notes(fitted, params):
        note(text)


def print_normality(choice: "NormalityChoice") -> None:
    """Prints the weight of the distance to normal, and how well each weight finds what was left out."""
    words = {"kinds": "kind of anomaly", "clusters": "cluster of anomalous videos"}
    if choice.basis == "default":
        wide().print(
            f"weight of the distance to normal: {choice.gamma:g}, the default: there are too few kinds of anomaly and "
            "too few anomalous videos to choose it"
        )
        return
    title = f"weight of the distance to normal: {choice.gamma:g}, chosen by leaving out one {words[choice.basis]}"
    table = Table("weight", f"mean AUC of the {len(choice.groups)} left out", title=title)
    for gamma, auc in choice.auc.items():
        table.add_row(f"{gamma:g}", f"{auc:.3f}")
    wide().print(table)


def print_operating_points(points: CalibratedPoints) -> None:
    """Prints the operating points, offline and causal, with their figures on validation videos, and their rules."""
    table = Table("operating point", "smoothing", "sigma", "threshold", "F1", "found", "false alarms/h")
    rules: list[tuple[str, str]] = []
    for name, pair in points.items():
        if isinstance(pair, Unavailable):
            rules.append((name, f"not available: {pair.reason}"))
            continue
        for calibrated in (pair.offline, pair.causal):
            if calibrated is not None:
                point = calibrated.operating_point
                bound = calibrated.false_alarms_per_hour_bound
                rate = cell(calibrated.false_alarms_per_hour) if bound is None else f"at most {bound:g}"
                figures = (cell(calibrated.f1), cell(calibrated.recall), rate)
                row = (point.smoothing, f"{point.sigma_segments:g}", f"{point.threshold:.3f}", *figures)
                table.add_row(safe(name), *row)
                rules.append((f"{name}, {point.smoothing}", calibrated.rule))
    console = wide()
    console.print(table)
    for name, rule in rules:
        console.print(safe(f"{name}: {rule}"), soft_wrap=True)
