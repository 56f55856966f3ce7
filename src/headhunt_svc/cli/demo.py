"""Commands on the embedded default: `headhunt demo ...`."""

from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import cell, note, safe, wide
from headhunt_svc.cli.detect import print_report
from headhunt_svc.cli.evaluate import print_ablation, print_metrics
from headhunt_svc.cli.options import PARAMS, BundleFolder, ParamsFile, check_bundle
from headhunt_svc.demo.params import DEMO_PARAMS, load_demo_params
from headhunt_svc.demo.published import TOLERANCE, differences
from headhunt_svc.demo.shipped import shipped
from headhunt_svc.params import load_params
from headhunt_svc.storage.files import read_json
from headhunt_svc.types import Split

if TYPE_CHECKING:
    from headhunt_svc.demo.naming import Naming
    from headhunt_svc.events.records import EventRecord

DemoParamsFile = Annotated[
    Path, typer.Option("--params", help="The demo's parameters.", show_default="those of the package")
]
PRETRAIN_WORK = Path(".cache/pretrain")
LIVE_COMMANDS = {
    "headhunt cameras status": "last picture, lag, coverage, last event",
    "headhunt events list": "what happened where and when",
    "headhunt events show ID": "score, picture, clip; `events mark ID false_alarm` says what it was",
    "headhunt events clip ID a.mp4": "the footage of it",
}

app = typer.Typer()
demo_app = typer.Typer(no_args_is_help=True, help="The embedded default: scenes, videos, the small MLLM.")
app.add_typer(demo_app, name="demo")


@demo_app.command("corpus")
def demo_corpus(params: DemoParamsFile = DEMO_PARAMS) -> None:
    """Write the embedded default's videos with their truth."""
    from headhunt_svc.demo.corpus import make_corpus

    corpus = load_demo_params(params).corpus
    make_corpus(corpus.root, corpus.annotations, corpus)


@demo_app.command("cameras")
def demo_cameras(
    clips: Annotated[int, typer.Option(min=1, help="Clips of each camera.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder for CAMERA/NUMBER.mp4.")] = Path("data/demo_cameras"),
    params: DemoParamsFile = DEMO_PARAMS,
) -> None:
    """Write normal clips of each camera that only test videos show, as `headhunt bundle conform` needs them."""
    from headhunt_svc.demo.footage import make_camera_clips, unlabelled_cameras

    make_camera_clips(out, load_demo_params(params).corpus, unlabelled_cameras(), clips)


@demo_app.command("hunt-again")
def demo_hunt_again(
    kind: Annotated[str, typer.Option(help="A kind of anomaly that no calibration video shows.")] = "vandal",
    marks: Annotated[str, typer.Option(help="Numbers of marked clips.")] = "10,20",
    draws: Annotated[int, typer.Option(min=1, help="Draws of the marked clips, where there are more.")] = 3,
    work: Annotated[Path, typer.Option(help="For new videos and their features.")] = Path(".cache/hunt_again"),
    params: ParamsFile = PARAMS,
) -> None:
    """Measure what choosing heads again gains from marks of a new kind, beside the same heads; after `dvc repro`."""
    from headhunt_svc.demo.hunt_again import hunt_again
    from headhunt_svc.detector.heads_file import load_selection

    inputs = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.TEST_FEATURES)
    numbers, heads = [int(n) for n in marks.split(",")], load_selection(paths.HEADS).heads
    rows = hunt_again(load_params(params), load_demo_params().corpus, inputs, heads, kind, numbers, draws, work)
    table = Table("arm", "marks", f"recall of {kind}", "AUC", "recall of others", "AUC", "above in normal")
    for arm, n, figures in rows:
        table.add_row(arm, str(n), *(f"{value:.3f}" for value in figures.values()))
    wide().print(table)


@demo_app.command("rates")
def demo_rates(
    hours: Annotated[float, typer.Option(min=0.01, help="Footage to render and score.")] = 2.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of a video; each is of another camera.")] = 10.0,
    out: Annotated[Path, typer.Option(help="Folder for videos, reports and rates.json.")] = Path("out/rates"),
    bundle: BundleFolder = paths.BUNDLE,
    params: DemoParamsFile = DEMO_PARAMS,
) -> None:
    """Count false alarms per hour in long normal videos of unseen cameras; can be stopped and resumed."""
    from headhunt_svc.demo.rates import rates

    print_rates(rates(bundle, out, load_demo_params(params).corpus, hours, minutes))


@demo_app.command("feedback")
def demo_feedback(
    draws: Annotated[int, typer.Option(min=1, help="Random orders of the days, of which means are printed.")] = 6,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("out/feedback.json"),
    params: ParamsFile = PARAMS,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Simulate operators' marks on stored features: what a camera gains, and what other kinds and cameras lose."""
    check_bundle(bundle)
    from headhunt_svc.cli.feedback_figures import print_feedback
    from headhunt_svc.studies.feedback import feedback

    stored = (paths.INDEX, paths.LABELS, paths.FEATURES, paths.TEST_FEATURES)
    print_feedback(feedback(load_params(params), *stored, bundle, out, draws))


@demo_app.command("live")
def demo_live(
    out: Annotated[Path, typer.Option(help="Folder for films, cameras.yaml and what `watch` writes.")] = Path(
        "out/live"
    ),
    events: Annotated[
        int | None, typer.Option(min=1, help="End after so many events.", show_default="with Ctrl-C")
    ] = None,
    bundle: BundleFolder = paths.BUNDLE,
    params: DemoParamsFile = DEMO_PARAMS,
) -> None:
    """Watch three rendered cameras in real time, and print their events as they begin and end."""
    check_bundle(bundle)
    from headhunt_svc.demo.live import follow, prepare, watching

    folder = prepare(out, load_demo_params(params).corpus)
    print_live_help(out)
    begun: set[str] = set()
    with suppress(KeyboardInterrupt), watching(folder, bundle) as process:
        for event, picture in follow(folder, process):
            begun.add(event.id)
            print_live_event(event, picture)
            if events is not None and len(begun) >= events:
                break
    note(f"ended; its events stay in {out / 'data' / 'events'}")


def print_live_help(folder: Path) -> None:
    """Prints what there is to see while the demo runs."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Three films as cameras, in {safe(folder)}. The first event comes within a minute; Ctrl-C ends it.")
    console.print(f"In another terminal: [bold]cd {safe(folder)}[/bold], then")
    for command, what in LIVE_COMMANDS.items():
        console.print(f"  {command:32}{what}")


def print_live_event(event: "EventRecord", picture: Path | None) -> None:
    """Prints a line when an event begins, and one when it ends."""
    says = "has begun" if event.stop is None else f"has ended after {(event.stop - event.start).total_seconds():.1f} s"
    where = f"  {safe(picture)}" if picture is not None else ""
    start = f"{event.start:%Y-%m-%d %H:%M:%S} UTC"
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{start}  [bold]{safe(event.camera):6}[/bold] event {says}, score {event.score:.2f}{where}")


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
    from headhunt_svc.data.datasets import load_records
    from headhunt_svc.demo.pretraining import is_trained, pretrain
    from headhunt_svc.studies.compare import compare

    recipe, method = load_demo_params(demo_params).pretrain, load_params(params)
    load_records(paths.INDEX, paths.LABELS)  # refused here: training takes hours
    folders = {str(seed): paths.DEMO_SEEDS / str(seed) for seed in seeds}
    recipes = {seed: recipe.model_copy(update={"seed": seed}) for seed in seeds}
    missing = [seed for seed in seeds if not is_trained(folders[str(seed)], recipes[seed])]
    for seed in missing:
        pretrain(recipes[seed], PRETRAIN_WORK, folders[str(seed)])
    compare(method, folders, paths.INDEX, paths.LABELS, paths.DEMO_SEEDS / "features", paths.SEEDS)
    print_seeds(paths.SEEDS)


@demo_app.command("words")
def demo_words(
    prompts: Annotated[list[str] | None, typer.Argument(help="What to ask; default: the bundle's prompt.")] = None,
    split: Annotated[Split, typer.Option(help="A split of the index.")] = "test",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Count the true events whose kind the model's description names."""
    from headhunt_svc.data.datasets import load_records
    from headhunt_svc.demo.naming import named_events
    from headhunt_svc.detector.options import Options
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.pipeline.detect import detect_videos, whole_reports
    from headhunt_svc.pipeline.files import Input

    records = load_records(paths.INDEX, paths.LABELS, split)
    inputs = [Input(r.path, r.video_id) for r in records]
    detector = Detector.load(bundle, whole=True)
    rows = {}
    for prompt in prompts or [detector.description_prompt]:
        detector.bundle = detector.bundle.model_copy(update={"description_prompt": prompt})
        reports = whole_reports(detect_videos(detector, inputs, options=Options(describe=True)))
        rows[prompt] = named_events(zip(records, (report for _, report in reports), strict=True))
    print_named(rows)


def print_named(rows: "dict[str, dict[str, Naming]]") -> None:
    """Prints for each prompt how many true events of each kind are named, and are called by another kind."""
    table = Table("prompt", "events", "named", "another kind", *next(iter(rows.values())), box=None)
    for prompt, by_kind in rows.items():
        events, named, others = (
            sum(getattr(n, name) for n in by_kind.values()) for name in ("events", "named", "others")
        )
        shares = [f"{n} ({n / events:.0%})" if events else "-" for n in (named, others)]
        table.add_row(safe(prompt), str(events), *shares, *(f"{n.named} of {n.events}" for n in by_kind.values()))
    wide().print(table)


@demo_app.command("show")
def demo_show(
    out: Annotated[Path, typer.Option(help="Folder for reports and plots.")] = Path("out/shown"),
    published: Annotated[
        bool, typer.Option("--published", help="Compare the figures with the published ones, which the package holds.")
    ] = False,
) -> None:
    """Detect events in one test video of each kind, and print the figures."""
    from headhunt_svc.data.datasets import load_records
    from headhunt_svc.detector.pipeline import Detector
    from headhunt_svc.pipeline.detect import detect_videos, whole_reports
    from headhunt_svc.pipeline.files import Input, Outputs

    tests = load_records(paths.INDEX, paths.LABELS, "test")
    records = {r.label: Input(r.path, r.video_id, r.true_spans) for r in reversed(tests)}
    inputs = [item for _, item in sorted(records.items())]
    results = detect_videos(Detector.load(paths.BUNDLE), inputs, Outputs(out, plot=True, resume=True))
    for _, report in whole_reports(results):
        print_report(report, out)
    ablation = shipped() / paths.ABLATION if published else paths.ABLATION
    print_metrics(paths.METRICS, ablation)
    if published:
        print_agreement(paths.METRICS, shipped() / paths.METRICS)
    print_ablation(ablation)


def print_rates(result: dict[str, Any]) -> None:
    """Prints the false alarms of every operating point and what it promises, and how they spread over the cameras."""
    title = f"false alarms in {result['hours']:.1f} hours of normal footage of {result['videos']} unseen cameras"
    columns = ("alarms", "per hour [95 %]", "cameras: least, median, most", "dispersion")
    windows = f"share of {result['window_s']:g} s with one"
    table = Table("operating point", "smoothing", *columns, windows, title=title)
    rules: dict[str, list[str]] = {}
    for name, by_smoothing in result["operating_points"].items():
        for smoothing, row in by_smoothing.items():
            low, high = row["interval"]
            cameras = [camera["per_hour"] for camera in row["per_camera"].values()]
            spread = f"{min(cameras):.1f}, {median(cameras):.1f}, {max(cameras):.1f}"
            figures = f"{row['per_hour']:.1f} [{low:.1f}, {high:.1f}]", spread, cell(row["dispersion"], 1)
            share = cell(row["windows_with_alarm"], 2)
            table.add_row(safe(name), smoothing, str(row["events"]), *figures, share)
            rules.setdefault(f"{name}: {row['rule'] or 'no rule is known'}", []).append(smoothing)
    wide().print(table)
    for rule, smoothings in rules.items():
        wide().print(f"{safe(rule)} ({', '.join(smoothings)})")
    for name, reason in result["unavailable"].items():
        wide().print(f"{safe(name)}: not available: {safe(reason)}")


def print_agreement(path: Path, published: Path) -> None:
    """Prints whether the figures of metrics.json agree with the published ones; if not, which and by how much."""
    lines = differences(read_json(path, "headhunt evaluate"), read_json(published, "git checkout artifacts"))
    console = Console(highlight=False, soft_wrap=True)
    if not lines:
        console.print(f"These figures agree with the published ones ({safe(published)}) within {TOLERANCE:g}.")
        return
    console.print(f"These figures differ from the published ones ({safe(published)}) by more than {TOLERANCE:g}:")
    for line in lines:
        console.print(f"  {safe(line)}")


def print_seeds(path: Path) -> None:
    """Prints demo_seeds.json as a table."""
    from headhunt_svc.studies.figures import with_interval

    comparison = read_json(path, "headhunt demo seeds 1 2 3")
    table = Table("seed", "validation ROC-AUC", "test ROC-AUC", "test AP")
    for name, row in comparison["models"].items():
        chosen = " (chosen)" if name == comparison["best_on_validation"] else ""
        tests = (with_interval(row["test"], key) for key in ("roc_auc", "average_precision"))
        table.add_row(f"{name}{chosen}", f"{row['validation']['roc_auc']:.3f}", *tests)
    wide().print(table)
