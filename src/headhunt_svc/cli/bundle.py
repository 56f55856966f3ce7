"""Commands on detector bundles: `headhunt bundle ...`, `headhunt bundles ...`, recalibrate, export, package."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import note, note_cautions, safe, wide
from headhunt_svc.cli.feedback import CURRENT, DAYS, MarkOptions, recalibrate_from_events
from headhunt_svc.cli.options import PARAMS, BundleFolder, ParamsFile, PointName, check_bundle
from headhunt_svc.cli.pipeline import print_calibration, print_operating_points
from headhunt_svc.core.camera_normality import NormalFootage
from headhunt_svc.core.depth import limit_words
from headhunt_svc.detector.bundle import Bundle, load_bundle, model_key
from headhunt_svc.detector.cameras import StoredCamera, load_camera
from headhunt_svc.detector.deployments import Deployed, Version
from headhunt_svc.errors import ArtifactError
from headhunt_svc.names import CameraName
from headhunt_svc.params import CalibrateParams, Method, load_params
from headhunt_svc.storage.files import read_json

app = typer.Typer()
bundle_app = typer.Typer(no_args_is_help=True, help="The detector bundle.")
bundles_app = typer.Typer(no_args_is_help=True, help="Deploy bundles: history, activate, roll back.")
app.add_typer(bundle_app, name="bundle")
app.add_typer(bundles_app, name="bundles")

METHODS: dict[Method, str] = {"default": "default", "paper": "paper (HeadHunt-VAD as published)"}
DeployedFolder = Annotated[Path, typer.Option(help="Folder of the link `current`.")]
CameraFile = Annotated[
    Path | None,
    typer.Option("--cameras", help="The file of cameras: which events are one (merge_s); default: cameras.yaml."),
]
Reason = Annotated[str, typer.Option("--why", help="For the record.")]


@bundle_app.command("make")
def bundle_make(params: ParamsFile = PARAMS) -> None:
    """Freeze heads, scorer and operating points into a detector bundle."""
    from headhunt_svc.pipeline.bundle import bundle as run

    bundle = run(load_params(params), paths.INDEX, paths.HEADS, paths.SCORER, paths.OPERATING_POINTS, paths.BUNDLE)
    note(f"detector {bundle.detector_id}: {paths.BUNDLE}")
    note_cautions(bundle.cautions)


@bundle_app.command("conform")
def bundle_conform(
    normal: Annotated[list[Path], typer.Argument(help="Normal videos of a camera, or folders of them.")],
    name: Annotated[str, typer.Option(help="Name of the camera, and of its operating point.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    rate: Annotated[float, typer.Option(help="Share of windows of normal footage that may raise an alarm.")] = 0.1,
    window_s: Annotated[
        float | None, typer.Option(min=0.1, max=86_400, help="Length of a window, s; default: of the shortest video.")
    ] = None,
    sigma: Annotated[float, typer.Option(min=0, help="Smoothing in segments, fixed beforehand.")] = 0.75,
    again: Annotated[bool, typer.Option("--again", help="Renew a camera that the bundle has.")] = False,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Add a camera from normal footage alone: its normality, and a point with a guaranteed share of false alarms."""
    if not 0 < rate < 1:
        raise typer.BadParameter("--rate must be between 0 and 1, both excluded")
    check_bundle(bundle)
    name = CameraName(name)
    from headhunt_svc.pipeline.conform import conform as run

    params = CalibrateParams(conformal_rate=rate, conformal_window_s=window_s, promise_sigma=sigma)
    print_operating_points({name: run(bundle, normal, name, params, out, paths.INDEX, paths.LABELS, again)})
    camera = (check_bundle(out).cameras or {}).get(name)
    note(
        f"videos of the camera {name} have a normality of their own, of {camera.segments} segments (--camera)"
        if camera
        else "an operating point alone: a normality takes two videos and a distance to normal (fit.scorer)"
    )


@bundle_app.command("show")
def bundle_show(bundle: BundleFolder = paths.BUNDLE) -> None:
    """Print where a bundle comes from: model, prompts, heads, data version, metrics."""
    print_bundle(bundle, paths.METRICS)


@app.command()
def recalibrate(
    out: Annotated[Path, typer.Option(help="Folder for the new bundle.")],
    labels: Annotated[Path | None, typer.Argument(help="CSV or JSON lines of segment (VIDEO:NUMBER), label.")] = None,
    from_events: Annotated[
        bool, typer.Option("--from-events", help="Learn from marks of stored events: corrections of their cameras.")
    ] = False,
    camera: Annotated[list[str] | None, typer.Option(help="Marks of this camera only; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Marks of events from then on: 2026-03-01.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Id of a marked event that shall not count.")] = None,
    log: Annotated[
        str | None, typer.Option(help="Prediction log of the proof; default: HEADHUNT_PREDICTION_LOG.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help=f"Last days of the log that the proof replays; default: {DAYS}.")
    ] = None,
    monitor: Annotated[
        Path | None,
        typer.Option(
            help=f"The monitor's folder: an alarm of activity or view is judged again; default: {paths.MONITOR}."
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Its window, as its folder is named: 20260302T000000; default: the latest.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help=f"Its limits, as `headhunt monitor run` takes them; default: {paths.DRIFT}.")
    ] = None,
    camera_file: CameraFile = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", help=f"The bundle; default: {paths.BUNDLE}, with --from-events {CURRENT} where that is."
        ),
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Refit to new labels, or correct cameras by marks of their events, as a new bundle; runs no model.

    Exit code with --from-events: 5 where the proof says `worse`, 6 for `too few marks`; the bundle is there.
    """
    if from_events:
        query = MarkOptions(
            tuple(camera or ()), since, tuple(without or ()), log, days, monitor, window, config, camera_file
        )
        recalibrate_from_events(params, bundle, out, labels, query)
        return
    if labels is None:
        raise typer.BadParameter("give a file of labels, or --from-events")
    of_events = {
        "--camera": camera,
        "--since": since,
        "--without": without,
        "--log": log,
        "--days": days,
        "--monitor": monitor,
        "--window": window,
        "--config": config,
        "--cameras": camera_file,
    }
    if given := [option for option, value in of_events.items() if value not in (None, [])]:
        raise typer.BadParameter(f"not with a file of labels: {', '.join(given)}; they go with --from-events")
    _refit(labels, out, bundle or paths.BUNDLE, params)


def _refit(labels: Path, out: Path, bundle: Path, params: Path) -> None:
    from headhunt_svc.pipeline.recalibrate import recalibrate as run

    values, cameras = load_params(params), check_bundle(bundle).cameras
    print_calibration(run(values, labels, paths.INDEX, paths.LABELS, paths.FEATURES, bundle, out), values.fit)
    print_bundle(out, paths.METRICS)
    if marked := sorted(name for name, camera in (cameras or {}).items() if camera.marks):
        note(
            f"the weights of {', '.join(marked)} from marks are left out, as they are relative to the scorer before: "
            "run `headhunt recalibrate --from-events` on the new bundle"
        )
    if any(camera.segments for camera in (cameras or {}).values()) and not check_bundle(out).cameras:
        note(
            f"the cameras {', '.join(sorted(cameras or {}))} are left out: the new scorer has no distance to normal "
            f"(fit.scorer: {values.fit.scorer}{'' if values.fit.scorer == 'logistic' else ', weight 0 was chosen'})"
        )


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    operating_point: PointName = "f1",
    camera: Annotated[str | None, typer.Option(help="A camera of the bundle, whose normality is used.")] = None,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Write scorer and smoothing as one ONNX graph: features [T, K*d_head] -> raw, smoothed.

    Give it whole videos. A piece of one has the same raw scores, but smoothed ones only 200 segments away from its
    ends, as what is there all the time is told from the segments around each.
    """
    check_bundle(bundle, operating_point)
    from headhunt_svc.pipeline.export import export as run

    run(bundle, out, operating_point, CameraName(camera) if camera else None)


@app.command()
def package(bundle: BundleFolder = paths.BUNDLE) -> None:
    """Put a bundle into BentoML's model store and build the service around it, without a network."""
    check_bundle(bundle)
    from headhunt_svc.serve.packaging import package as run

    model, bento = run(bundle)
    note(f"model {model.tag}, Bento {bento.tag}: `bentoml serve {bento.tag}`")


@bundles_app.command("list")
def bundles_list(deployed: DeployedFolder = paths.DEPLOYED) -> None:
    """Print which bundles were activated, and which one is in use."""
    print_history(Deployed(deployed).history())


@bundles_app.command("activate")
def bundles_activate(
    bundle: Annotated[Path | None, typer.Argument(help="The bundle.")] = None,
    candidate: Annotated[bool, typer.Option("--candidate", help="The one that is scored in shadow.")] = False,
    why: Reason = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Also if its proof says that it is worse.")] = False,
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Check a bundle and point deployed/current to it; what was started with that link takes it over."""
    if candidate == (bundle is not None):
        raise typer.BadParameter("give a bundle, or --candidate")
    from headhunt_svc.feedback.proof import check_proof

    place = Deployed(deployed)
    check_proof(place.candidate if bundle is None else bundle, anyway)
    typer.echo(place.activate_candidate(why) if bundle is None else place.activate(bundle, why))


@bundles_app.command("rollback")
def bundles_rollback(
    to: Annotated[str | None, typer.Option(help="The detector_id; default: the one before the current one.")] = None,
    why: Reason = "",
    deployed: DeployedFolder = paths.DEPLOYED,
) -> None:
    """Point deployed/current to an earlier bundle again."""
    typer.echo(Deployed(deployed).rollback(to, why).detector_id)


def print_bundle(folder: Path, metrics_file: Path) -> None:
    """Prints the lineage and operating points of a bundle, and its figures where `metrics_file` is of this detector."""
    bundle, _ = load_bundle(folder)
    videos = ", ".join(f"{n} {split}" for split, n in bundle.data.get("videos", {}).items())
    heads = zip(bundle.heads, bundle.rss, strict=True)
    lines = [
        ("detector", bundle.detector_id),
        *([("method", METHODS[bundle.method])] if bundle.method else []),
        ("model", f"{bundle.mllm.id} ({model_key(bundle.mllm, bundle.mllm_revision)})"),
        *([("commit", f"{bundle.mllm_commit} of {bundle.mllm.revision or 'main'}")] if bundle.mllm_commit else []),
        ("prompt", bundle.prompt),
        *([("prompt set", bundle.prompt_set)] if bundle.prompt_set else []),
        ("hunted under", "; ".join(bundle.calibration_prompts)),
        ("heads", ", ".join(f"({layer},{head}) rss {rss:.3f}" for (layer, head), rss in heads)),
        *([("chosen among", limit_words(bundle.deepest_layer))] if bundle.deepest_layer is not None else []),
        ("segments", bundle.segmentation.model_dump_json(exclude_none=True)),
        ("data", f"index {bundle.data['index_sha256']}: {videos} videos"),
        ("made with", ", ".join(f"{k} {v}" for k, v in bundle.fingerprint.items())),
    ]
    if bundle.confidence is not None:
        lines.append(("choice of heads", bundle.confidence.words))
    if marks := bundle.data.get("marks"):
        lines.append(("marks", f"version {marks['version']}: {marks['clips']} clips of marked events"))
    for step in bundle.data.get("recalibrated", []):
        what = "labels" if "labels" in step else "marks"
        text = f"{step[what]} {what} ({step[f'{what}_sha256']}), from detector {step['from']}"
        lines.append(("recalibrated", text))
    for name, camera in (bundle.cameras or {}).items():
        lines += [(f"{what} {name}", text) for what, text in _camera_lines(folder, name, camera)]
    lines += [*_point_lines(bundle), *_test_lines(bundle, metrics_file)]
    lines += [("caution", caution) for caution in bundle.cautions]
    console, width = Console(highlight=False, soft_wrap=True), max(len(key) for key, _ in lines) + 2
    for key, value in lines:
        console.print(f"[bold]{safe(key):{width}}[/bold]{safe(value)}")


def _camera_lines(folder: Path, name: str, camera: StoredCamera) -> Iterator[tuple[str, str]]:
    """What a camera has of its own, or why its file cannot be used."""
    try:
        parts = load_camera(folder, name, camera)
    except ArtifactError as exc:
        yield "normality" if camera.marks is None else "correction", f"cannot be used: {exc}"
        return
    if parts.footage is not None:
        yield "normality", f"of {_footage_of(parts.footage)} of this camera"
    if parts.margin is not None:
        yield "correction", f"weights of its own, from marks of {parts.margin.marks} of its events"


def _footage_of(footage: NormalFootage) -> str:
    counts = ((footage.segments, "normal"), (footage.harmless, "harmless"))
    return " and ".join(f"{n} {word} segments" for n, word in counts if n)


def _point_lines(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for name, offline in bundle.operating_points.items():
        for smoothing, point in (("", offline), (" (live)", offline.causal)):
            if point is not None:
                rule = f", {point.rule}" if point.rule else ""
                text = f"sigma {point.sigma_segments:g} segments, threshold {point.threshold:.3f}{rule}"
                yield f"operating point {name}{smoothing}", text
    for name, reason in (bundle.unavailable or {}).items():
        yield f"operating point {name}", f"not available: {reason}"


def _test_lines(bundle: Bundle, metrics_file: Path) -> Iterator[tuple[str, str]]:
    if metrics_file.exists():
        row = read_json(metrics_file, "headhunt evaluate")
        try:
            text = f"ROC-AUC {row['roc_auc']:.3f}, AP {row['average_precision']:.3f}, {row['n_videos']} videos"
            is_of_bundle = row["detector_id"] == bundle.detector_id
        except (KeyError, TypeError, ValueError) as exc:
            raise ArtifactError(f"{metrics_file} holds no figures ({exc!r}): run `headhunt evaluate` again") from exc
        if is_of_bundle:
            yield "test", text


def print_history(history: Sequence[Version]) -> None:
    """Prints every activation of a bundle, the current one marked."""
    table = Table("", "detector", "since", "by", "why", "bundle")
    for v in history:
        where = f"{v.folder}" + (f" ({v.problem})" if v.problem else "")
        table.add_row("*" if v.active else "", v.detector_id, v.time, *map(safe, (v.by, v.why, where)))
    wide().print(table if history else "no bundle was activated here")
