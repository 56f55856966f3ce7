"""The `headhunt` command: a verb parses and calls, nothing more.

Exit codes: 0 fine, 2 wrong use, 3 some inputs failed or have gaps (the others are written), 4 drift.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from headhunt_svc import paths
from headhunt_svc.cli.jobs import batch, jobs_app, worker
from headhunt_svc.cli.monitor import bundles_app, monitor_app
from headhunt_svc.demo.params import DEMO_PARAMS, load_demo_params
from headhunt_svc.errors import EXIT_SOME_FAILED, EXIT_WRONG_USE, HeadHuntError, VideoError
from headhunt_svc.params import load_params
from headhunt_svc.types import Smoothing, SpanEnds, Split

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Video anomaly detection from attention heads."
)
demo_app = typer.Typer(no_args_is_help=True, help="The embedded default: scenes, videos, the small MLLM.")
bundle_app = typer.Typer(no_args_is_help=True, help="The detector bundle.")
app.add_typer(demo_app, name="demo")
app.add_typer(bundle_app, name="bundle")
app.add_typer(jobs_app, name="jobs")
app.command()(worker)
app.command()(batch)
app.add_typer(monitor_app, name="monitor")
app.add_typer(bundles_app, name="bundles")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
DemoParamsFile = Annotated[
    Path, typer.Option("--params", help="The demo's parameters.", show_default="those of the package")
]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]
PointName = Annotated[str, typer.Option(help="Name of a (sigma, tau) in the bundle.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on without missing videos, and name them.")]
AnnotationsFolder = Annotated[Path, typer.Option(help="Folder of the benchmark's official annotation files.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples of videos for the intervals.")]
Dataset = Annotated[Literal["ucf_crime", "xd_violence"], typer.Option(help="The benchmark.")]
Ends = Annotated[SpanEnds, typer.Option(help="Does the last frame of an annotated span belong to it?")]
PARAMS = Path("params.yaml")
PRETRAIN_WORK = Path(".cache/pretrain")


@app.command()
def index(params: ParamsFile = PARAMS) -> None:
    """Check footage against its annotations and write the index."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.index import index as run

    run(load_params(params).dataset, paths.INDEX, show.footage)


@app.command()
def extract(params: ParamsFile = PARAMS) -> None:
    """Read all heads on calibration and validation videos under every prompt."""
    from headhunt_svc.pipeline.extract import extract as run

    run(load_params(params), paths.INDEX, paths.FEATURES)


@app.command()
def identify(params: ParamsFile = PARAMS) -> None:
    """Choose the expert heads, and say how far the choice can be trusted."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.identify import identify as run

    chosen = run(load_params(params), paths.INDEX, paths.FEATURES, paths.HEADS)
    show.selection(chosen, paths.HEADS)


@app.command()
def fit(params: ParamsFile = PARAMS) -> None:
    """Fit the scorer on the expert heads, and report its calibration curve."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.fit import fit as run

    show.calibration(run(load_params(params), paths.INDEX, paths.FEATURES, paths.HEADS, paths.SCORER))


@app.command()
def calibrate(params: ParamsFile = PARAMS) -> None:
    """Choose operating points (smoothing and threshold) on validation videos."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.calibrate import calibrate as run

    show.operating_points(run(load_params(params), paths.INDEX, paths.FEATURES, paths.SCORER, paths.LOCATOR))


@bundle_app.command("make")
def bundle_make(params: ParamsFile = PARAMS) -> None:
    """Freeze heads, scorer and locator into a detector bundle."""
    from headhunt_svc.pipeline.bundle import bundle as run

    run(load_params(params), paths.INDEX, paths.HEADS, paths.SCORER, paths.LOCATOR, paths.BUNDLE)


@bundle_app.command("conform")
def bundle_conform(
    normal: Annotated[list[Path], typer.Argument(help="Normal videos of a camera, or folders of them.")],
    name: Annotated[str, typer.Option(help="Name of the new operating point.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    rate: Annotated[float, typer.Option(help="Share of normal videos that may raise an alarm.")] = 0.1,
    sigma: Annotated[float, typer.Option(min=0, help="Smoothing in segments, fixed beforehand.")] = 0.75,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Add an operating point from normal footage alone, with a guaranteed false-alarm rate."""
    if not 0 < rate < 1:
        raise typer.BadParameter("--rate must be between 0 and 1, both excluded")
    from headhunt_svc.cli import show
    from headhunt_svc.params import CalibrateParams
    from headhunt_svc.pipeline.conform import conform as run

    params = CalibrateParams(conformal_rate=rate, conformal_sigma=sigma)
    show.operating_points({name: run(bundle, normal, name, params, out)})


@bundle_app.command("show")
def bundle_show(bundle: BundleFolder = paths.BUNDLE) -> None:
    """Print where a bundle comes from: model, prompts, heads, data version, metrics."""
    from headhunt_svc.cli import show

    show.bundle(bundle, paths.METRICS)


@app.command("report")
def identification_report(params: ParamsFile = PARAMS) -> None:
    """Write the identification report: which heads, why these, and how far that holds. One HTML file."""
    from headhunt_svc.pipeline.report import report as run

    run(load_params(params), paths.ARTIFACTS, paths.FEATURES, paths.IDENTIFICATION)
    typer.echo(str(paths.IDENTIFICATION))


@app.command()
def recalibrate(
    labels: Annotated[Path, typer.Argument(help="CSV or JSON lines of segment (VIDEO:NUMBER), label.")],
    out: Annotated[Path, typer.Option(help="Folder for the new bundle.")],
    bundle: BundleFolder = paths.BUNDLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Refit scorer and locator to new labels from stored features, as a new bundle; the model is not run."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.recalibrate import recalibrate as run

    show.calibration(run(load_params(params), labels, paths.INDEX, paths.FEATURES, bundle, out))
    show.bundle(out, paths.METRICS)


@app.command()
def split(
    annotations: Annotated[Path, typer.Argument(help="Annotations whose split of test videos stays.")],
    out: Annotated[Path, typer.Option(help="The annotations to write; the draw is recorded beside it.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Draw calibration and validation videos from all that are not test videos (section split of params.yaml)."""
    from headhunt_svc.pipeline.split import split as run

    run(load_params(params).split, annotations, out)


@app.command()
def detect(
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos, or folders of videos.")] = None,
    split: Annotated[
        Split | None, typer.Option(help="Instead of VIDEOS: a split of the index (the DVC stage).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for reports (and plots).")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw a timeline per video; needs --out.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also write which places and heads made the scores; needs --out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print reports as JSON lines instead of summaries.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep reports in --out that this detector made.")] = False,
    operating_point: PointName = "f1",
    threshold: Annotated[float | None, typer.Option(help="Instead of the operating point's: 0 to 1.")] = None,
    smoothing: Annotated[
        Literal["offline", "causal"], typer.Option(help="With both sides, or with the past only.")
    ] = "offline",
    camera: Annotated[
        str | None, typer.Option(help="Name in the prediction log; default: the folder of the video.")
    ] = None,
    bundle: BundleFolder = paths.BUNDLE,
    server: Annotated[
        str | None, typer.Option(help="Address of a service that scores them instead; key in HEADHUNT_API_KEY.")
    ] = None,
) -> None:
    """Score videos and report events; where HEADHUNT_PREDICTION_LOG is set, log every segment."""
    if (split is None) == (not videos):
        raise typer.BadParameter("give VIDEOS, or --split test (as the DVC stage does)")
    if plot and out is None:
        raise typer.BadParameter("--plot needs --out DIR, where the pictures go")
    if explain and out is None:
        raise typer.BadParameter("--explain needs --out DIR, where the shares go")
    if split is not None and (threshold is not None or smoothing != "offline"):
        raise typer.BadParameter("--threshold and --smoothing are for VIDEOS; the stage is measured at its own")
    if split is not None:
        from headhunt_svc.pipeline.detect import detect_split

        detect_split(bundle, paths.INDEX, split, out or paths.REPORTS, operating_point)
        return
    if server is not None and (plot or explain or resume or bundle != paths.BUNDLE):
        raise typer.BadParameter("--server knows neither --plot, --explain, --resume nor --bundle")
    from headhunt_svc.cli import show
    from headhunt_svc.detector.options import Options
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.pipeline.detect import Outputs, detect_remotely, detect_videos, inputs_of, problem_of
    from headhunt_svc.prediction_log.recording import recording
    from headhunt_svc.settings import Settings

    inputs, options = inputs_of(videos or []), Options(operating_point, threshold, smoothing)
    n_bad = 0
    with ExitStack() as stack:
        if server is not None:
            from headhunt_svc.serve.client import Client

            client = stack.enter_context(Client(server, os.environ.get("HEADHUNT_API_KEY")))
            results = detect_remotely(client, inputs, options, out)
        else:
            recorder, outputs = stack.enter_context(recording(Settings())), Outputs(out, plot, explain, resume)
            detector = Detector.load(bundle)
            results = detect_videos(detector, inputs, outputs, options, recorder=recorder, camera=camera)
        for item, result in results:
            n_bad += problem_of(item, result) is not None
            if isinstance(result, VideoError):
                show.error(result)
            elif json:
                show.report_json(result)
            else:
                show.report(result, out)
    if n_bad:
        show.note(f"{n_bad} of {len(inputs)} videos failed or have gaps")
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def package(bundle: BundleFolder = paths.BUNDLE) -> None:
    """Put a bundle into BentoML's model store and build the service around it, without a network."""
    from headhunt_svc.cli import show
    from headhunt_svc.serve.packaging import package as run

    model, bento = run(bundle)
    show.note(f"model {model.tag}, Bento {bento.tag}: `bentoml serve {bento.tag}`")


@app.command()
def evaluate(params: ParamsFile = PARAMS, allow_missing: AllowMissing = False) -> None:
    """Compare the reports of the test videos with the truth."""
    from headhunt_svc.cli import show
    from headhunt_svc.pipeline.evaluate import evaluate as run

    read, files = load_params(params), (paths.INDEX, paths.BUNDLE, paths.REPORTS, paths.METRICS, paths.PLOTS)
    show.assessment(run(read.evaluate, read.dataset, *files, allow_missing))


@app.command("evaluate-scores")
def evaluate_scores(
    annotations: AnnotationsFolder,
    dataset: Dataset,
    file: Annotated[
        Path | None, typer.Argument(help="JSON, video -> scores; without it the trivial baselines alone.")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames that a score stands for.")] = 16,
    sigma: Annotated[float, typer.Option(min=0, help="Gaussian smoothing of each series, in scores.")] = 0.0,
    smoothing: Annotated[
        Smoothing, typer.Option(help="Which smoothing; mirrored is scipy's gaussian_filter1d.")
    ] = "mirrored",
    span_ends: Ends = "inclusive",
    threshold: Annotated[
        float | None, typer.Option(help="Alarm above it; default: the best F1 on these very videos.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frames per second, if not the benchmark's.")] = None,
    bootstrap: Bootstrap = 200,
    allow_missing: AllowMissing = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures into this file.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw curves, timelines and bars into this folder.")] = None,
) -> None:
    """Evaluate anybody's score file on UCF-Crime or XD-Violence (docs/evaluation.md)."""
    from headhunt_svc.cli import show
    from headhunt_svc.params import EvaluateParams
    from headhunt_svc.pipeline.scores import ScoresProtocol
    from headhunt_svc.pipeline.scores import evaluate_scores as run

    how = ScoresProtocol(
        dataset, annotations, stride, sigma, smoothing, span_ends, threshold, fps, allow_missing=allow_missing
    )
    show.assessment(run(file, how, EvaluateParams(bootstrap=bootstrap), json, plots))


@app.command()
def benchmark(
    root: Annotated[Path, typer.Argument(help="Folder of the benchmark's videos, found by name below it.")],
    annotations: AnnotationsFolder,
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Folder for index, reports, figures and pictures.")],
    span_ends: Ends = "inclusive",
    allow_missing: AllowMissing = False,
    bootstrap: Bootstrap = 200,
    operating_point: PointName = "f1",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Index, detect and evaluate a benchmark's videos; goes on where it stopped."""
    from headhunt_svc.cli import show
    from headhunt_svc.params import DatasetParams, EvaluateParams
    from headhunt_svc.pipeline.benchmark import benchmark as run

    data = DatasetParams(
        root=root, annotations=annotations, layout=dataset, span_ends=span_ends, allow_missing=allow_missing
    )
    show.assessment(run(data, EvaluateParams(bootstrap=bootstrap), bundle, operating_point, out, show.footage))


@app.command()
def measure(params: ParamsFile = PARAMS) -> None:
    """Read what the ablation's arms need: test videos, questions, an untrained model."""
    from headhunt_svc.studies.measure import measure as run

    run(load_params(params), paths.INDEX, paths.MEASURED)


@app.command()
def ablate(params: ParamsFile = PARAMS) -> None:
    """Set the expert heads beside everything that they must beat."""
    from headhunt_svc.cli import show
    from headhunt_svc.studies.ablate import ablate as run

    run(
        load_params(params),
        paths.INDEX,
        paths.BUNDLE,
        paths.FEATURES,
        paths.MEASURED,
        paths.ABLATION,
        paths.PLOTS,
    )
    show.ablation(paths.ABLATION)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    operating_point: PointName = "f1",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Write scorer and locator as one ONNX graph: features [T, K*d_head] -> raw, smoothed."""
    from headhunt_svc.pipeline.export import export as run

    run(bundle, out, operating_point)


@demo_app.command("corpus")
def demo_corpus(params: DemoParamsFile = DEMO_PARAMS) -> None:
    """Write the embedded default's videos with their truth."""
    from headhunt_svc.demo.corpus import make_corpus

    corpus = load_demo_params(params).corpus
    make_corpus(corpus.root, corpus)


@demo_app.command("pretrain")
def demo_pretrain(params: DemoParamsFile = DEMO_PARAMS) -> None:
    """Pre-train the embedded MLLM from scratch; can be stopped and resumed."""
    from headhunt_svc.demo.pretraining import pretrain

    pretrain(load_demo_params(params).pretrain, PRETRAIN_WORK, paths.DEMO_MLLM)


@demo_app.command("seeds")
def demo_seeds(
    seeds: Annotated[list[int], typer.Argument(help="Pre-training seeds.")],
    params: ParamsFile = PARAMS,
    demo_params: Annotated[
        Path, typer.Option(help="The demo's parameters.", show_default="those of the package")
    ] = DEMO_PARAMS,
) -> None:
    """Pre-train with several seeds (those that are not there yet) and choose on validation videos."""
    from headhunt_svc.cli import show
    from headhunt_svc.demo.pretraining import pretrain
    from headhunt_svc.studies.compare import compare

    recipe = load_demo_params(demo_params).pretrain
    folders = {str(seed): paths.DEMO_SEEDS / str(seed) for seed in seeds}
    for seed in seeds:
        if not (folders[str(seed)] / "pretraining.json").exists():
            pretrain(recipe.model_copy(update={"seed": seed}), PRETRAIN_WORK, folders[str(seed)])
    compare(load_params(params), folders, paths.INDEX, paths.DEMO_SEEDS / "features", paths.SEEDS)
    show.seeds(paths.SEEDS)


@demo_app.command("show")
def demo_show(
    out: Annotated[Path, typer.Option(help="Folder for reports and plots.")] = Path("out/shown"),
    published: Annotated[
        Path | None, typer.Option(help="Folder of published artifacts: compare the figures with theirs.")
    ] = None,
) -> None:
    """Detect events in one test video of each kind, and print the figures."""
    from headhunt_svc.cli import show
    from headhunt_svc.data.datasets import load_index
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.pipeline.detect import Input, Outputs, detect_videos, whole_reports

    records = {r.label: Input(r.path, r.video_id, r.true_spans) for r in reversed(load_index(paths.INDEX, "test"))}
    inputs = [item for _, item in sorted(records.items())]
    results = detect_videos(Detector.load(paths.BUNDLE), inputs, Outputs(out, plot=True, resume=True))
    for _, report in whole_reports(results):
        show.report(report, out)
    show.metrics(paths.METRICS)
    if published is not None:
        show.agreement(paths.METRICS, published / paths.METRICS.name)
    show.ablation(paths.ABLATION if published is None else published / paths.ABLATION.name)


def main() -> None:
    """Run, and turn errors into one line and an exit code."""
    try:
        app()
    except HeadHuntError as exc:
        typer.echo(f"error: {exc}", err=True)
        sys.exit(EXIT_SOME_FAILED if isinstance(exc, VideoError) else EXIT_WRONG_USE)
