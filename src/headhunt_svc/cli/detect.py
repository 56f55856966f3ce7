"""`headhunt detect`: scores videos and prints their events."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headhunt_svc import paths
from headhunt_svc.cli.console import clock, note, note_cautions, print_passes, safe
from headhunt_svc.cli.options import (
    BundleFolder,
    Contributions,
    Describe,
    PointName,
    SmoothingMode,
    StreamNumber,
    Threshold,
    check_bundle,
)
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.detector.report import Report, ReportGap, save_report
from headhunt_svc.errors import EXIT_SOME_FAILED, VideoError, VideoOpenError
from headhunt_svc.names import CameraName
from headhunt_svc.settings import EventSettings, Settings
from headhunt_svc.storage.files import check_writable
from headhunt_svc.types import Split

if TYPE_CHECKING:
    from headhunt_svc.pipeline.files import Input, Outputs

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 80

app = typer.Typer()


@app.command()
def detect(
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos, or folders of videos.")] = None,
    split: Annotated[
        Split | None, typer.Option(help="Instead of VIDEOS: a split of the index (the DVC stage: test, without --out).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for reports (and plots).")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw a timeline per video; needs --out.")] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Also write which places and heads made the scores; needs --out or --events, or both."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print reports as JSON lines instead of summaries.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep reports in --out that this detector made of these files.")
    ] = False,
    operating_point: PointName = "f1",
    threshold: Threshold = None,
    smoothing: SmoothingMode = "offline",
    contributions: Contributions = False,
    stream: StreamNumber = None,
    describe: Describe = False,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Camera of all videos; default: the folder of each. Its normality is used where the bundle has one."
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(help="Score each video, and store its events, as this cameras.yaml says of its camera."),
    ] = None,
    bundle: BundleFolder = paths.BUNDLE,
    events: Annotated[
        bool, typer.Option("--events", help="Store the events with pictures and clips (`headhunt events`).")
    ] = False,
    server: Annotated[
        str | None, typer.Option(help="Address of a service that scores them instead; key in HEADHUNT_API_KEY.")
    ] = None,
) -> None:
    """Score videos and report events; where HEADHUNT_PREDICTION_LOG is set, log every segment."""
    if (split is None) == (not videos):
        raise typer.BadParameter("give VIDEOS, or --split test (as the DVC stage does)")
    if plot and out is None:
        raise typer.BadParameter("--plot needs --out DIR, the folder for its files")
    if explain and out is None and not events:
        raise typer.BadParameter("--explain needs --out DIR, the folder for its files, or --events")
    options = Options(operating_point, threshold, smoothing, contributions, stream, describe)
    _check_events(events, split is not None or server is not None or resume)
    _check_alone(cameras, options, split, server)
    if split is not None:
        if options != Options(operating_point):
            raise typer.BadParameter(
                "--threshold, --smoothing, --contributions, --stream and --describe are for VIDEOS, not for --split"
            )
        point = _point_for_split(bundle, split, out, operating_point)
        from headhunt_svc.pipeline.detect import detect_split, detect_stored

        files, where = (bundle, paths.INDEX, split), out or paths.REPORTS
        if split == "test" and out is None:
            print_passes(detect_stored(*files, where, paths.TEST_FEATURES, point))
        else:
            detect_split(*files, where, point)
        note(f"reports of the split {split} at operating point {point}: {where}")
        return
    if server is not None and (plot or explain or resume or bundle != paths.BUNDLE):
        raise typer.BadParameter("--server knows neither --plot, --explain, --resume nor --bundle")
    from headhunt_svc.pipeline.files import Outputs, inputs_of

    inputs = _configured(inputs_of(videos or []), cameras, options, camera)
    if out is not None:
        check_writable(out)
    cautions: tuple[str, ...] = ()
    name = CameraName(camera) if camera else None
    results: Generator[Report | VideoError]
    if not any(os.path.exists(item.path) for item in inputs):  # noqa: PTH110 - no reason to load a model
        results = (VideoOpenError(f"{item.path}: no such file") for item in inputs)
    elif server is not None:
        results = _by_service(server, inputs, options, out, name)
    else:
        detector = check_bundle(bundle, operating_point, smoothing)
        cautions = detector.cautions
        note_cautions(cautions)
        _note_unknown(name, detector.cameras or {})
        results = _by_detector(bundle, inputs, Outputs(out, plot, explain, resume), options, name, events)
    with closing(results):
        n_bad = _print_results(results, out, json, cautions)
    if n_bad:
        note(f"{n_bad} of {len(inputs)} videos failed or have gaps")
        raise typer.Exit(EXIT_SOME_FAILED)


def _check_events(events: bool, is_elsewhere: bool) -> None:
    """Refuses --events where videos are not scored in this process, or reports are kept."""
    if events and is_elsewhere:
        raise typer.BadParameter("--events goes with neither --split, --server nor --resume")


def _check_alone(cameras: Path | None, options: Options, split: Split | None, server: str | None) -> None:
    """Refuses what contradicts a file of cameras, or cannot take masks."""
    if cameras is None:
        return
    if options.threshold is not None or options.operating_point != DEFAULT_OPERATING_POINT:
        raise typer.BadParameter(
            "--cameras FILE says operating point and threshold of each camera: give one or the other"
        )
    if split is not None or server is not None:
        raise typer.BadParameter("--cameras FILE is for VIDEOS that are scored here, not for --split or --server")


def _configured(inputs: "list[Input]", path: Path | None, options: Options, camera: str | None) -> "list[Input]":
    """The inputs as a file of cameras says, if there is one; notes the cameras that it lacks."""
    if path is None:
        return inputs
    from headhunt_svc.cameras.config import load_cameras
    from headhunt_svc.cameras.recordings import with_cameras

    configured, unknown = with_cameras(inputs, load_cameras(path), options, CameraName(camera) if camera else None)
    for name in unknown:
        note(f"{path} has no camera {name!r}: its videos are scored without masks, at {options.operating_point}")
    return configured


def _note_unknown(camera: str | None, cameras: Iterable[str]) -> None:
    """Notes that the bundle has cameras, but not the one that all videos are of."""
    names = sorted(cameras)
    if camera and names and camera not in names:
        note(f"the scorer of all cameras is used: the bundle has no camera {camera!r}; there are: {', '.join(names)}")


def _point_for_split(folder: Path, split: Split, out: Path | None, point: str) -> str:
    """The operating point for a split, where the bundle has no f1 its default one; prints the bundle's cautions."""
    if split != "test" and out is None:
        raise typer.BadParameter(f"--split {split} needs --out DIR: {paths.REPORTS} is for the split test")
    bundle = check_bundle(folder)
    if point == DEFAULT_OPERATING_POINT != bundle.default_point:
        point, reason = bundle.default_point, (bundle.unavailable or {}).get(point, "it was not calibrated")
        note(f"operating point {point}, as the bundle has no {DEFAULT_OPERATING_POINT}: {reason}")
    bundle.operating_point(point)
    note_cautions(bundle.cautions)
    return point


def _by_detector(
    bundle: Path,
    inputs: "Sequence[Input]",
    outputs: "Outputs",
    options: Options,
    camera: str | None,
    stores_events: bool,
) -> Generator[Report | VideoError]:
    """Scores the videos with a bundle in this process."""
    from headhunt_svc.pipeline.detect import detect_videos, load_detector
    from headhunt_svc.prediction_log.recording import recorder_of

    with ExitStack() as stack:
        recorder = stack.enter_context(closing(recorder_of(Settings())))
        events = None
        if stores_events:
            from headhunt_svc.events.recording import EventRecorder

            events = stack.enter_context(closing(EventRecorder.open(EventSettings(), "detect")))
        detector = load_detector(bundle, whole=options.describe)
        results = detect_videos(detector, inputs, outputs, options, recorder=recorder, camera=camera, events=events)
        for _, result in results:
            yield result


def _by_service(
    url: str, inputs: "Sequence[Input]", options: Options, out: Path | None, camera: str | None
) -> Generator[Report | VideoError]:
    """Lets a service score the videos; writes the reports to `out`."""
    from headhunt_svc.pipeline.files import report_path
    from headhunt_svc.serve.client import Client

    with Client(url, os.environ.get("HEADHUNT_API_KEY")) as client:
        for item in inputs:
            try:
                report = client.detect(item.path, item.video_id, options, camera)
            except VideoError as exc:
                yield exc
                continue
            if out is not None:
                save_report(report_path(out, item.video_id), report)
            yield report


def _print_results(
    results: Iterable[Report | VideoError], out: Path | None, json: bool, cautions: Iterable[str]
) -> int:
    """Prints every report or error as soon as it is there; returns how many videos failed or have gaps.

    cautions: those that are printed already; others (of a service's detector) are printed once.
    """
    n_bad, printed = 0, set(cautions)
    for result in results:
        if isinstance(result, VideoError):
            note(f"error: {result}")
        else:
            note_cautions(caution for caution in result.cautions if caution not in printed)
            printed.update(result.cautions)
            if json:
                print(result.model_dump_json())
            else:
                print_report(result, out)
        n_bad += isinstance(result, VideoError) or bool(result.gaps)
    return n_bad


def sparkline(values: list[float]) -> str:
    """One bar per value in [0, 1]; of more than MOST_BARS values the largest of each stretch."""
    n = len(values)
    width = min(n, MOST_BARS)
    peaks = [max(values[i * n // width : max((i + 1) * n // width, i * n // width + 1)]) for i in range(width)]
    return "".join(BARS[min(int(p * len(BARS)), len(BARS) - 1)] for p in peaks)


def notices(report: Report) -> Iterator[tuple[str, str]]:
    """What is to be known about the video's file, each as a word and a sentence."""
    for g in report.gaps:
        yield "gap", f"{_where(g)}: {g.packets} pictures could not be decoded ({g.reason})"
    for hole in report.holes:
        yield "hole", f"{clock(hole.start_s)} to {clock(hole.stop_s)}: the file has no pictures, nothing was scored"
    for d in report.discontinuities:
        jump = f"{clock(abs(d.jump_s))} {'back' if d.jump_s < 0 else 'ahead'}"
        yield "clock", f"at {clock(d.time_s)}: the file's clock jumps {jump}; times here go on without the jump"
    if report.unfinished is not None:
        yield "unfinished", report.unfinished
    if report.stated_fps is not None:
        yield "rate", f"{report.fps:.4g} pictures per second; the file states {report.stated_fps:.4g}"
    if report.stream is not None:
        numbers = ", ".join(map(str, report.stream.of))
        yield "stream", f"{report.stream.number} was scored; the file has the video streams {numbers} (--stream)"


def _where(gap: ReportGap) -> str:
    if gap.time_s is None:
        if gap.stop_s is None:
            return "somewhere"
        return f"before {clock(gap.stop_s)}" if gap.stop_s else "before the first picture"
    return f"{clock(gap.time_s)} to {'the end' if gap.stop_s is None else clock(gap.stop_s)}"


def print_report(report: Report, out: Path | None) -> None:
    """Prints events with times and peak, the scores as a sparkline, notices, and the path of the report."""
    from headhunt_svc.pipeline.files import report_path

    console = Console(highlight=False, soft_wrap=True)
    size = f"{report.n_frames} frames, {len(report.scores)} segments, {clock(report.duration_s)}"
    own = "" if report.normality is None else f", normality {safe(report.normality)}"
    own += "" if report.correction is None else f", corrected by marks of {safe(report.correction)}"
    console.print(f"[bold]{safe(report.video_id)}[/bold]  {size}{own}")
    console.print(f"  {sparkline([s.smoothed for s in report.scores])}")
    for e in report.events:
        console.print(
            f"  [red]event[/red] {clock(e.start_s)} to {clock(e.stop_s)}, peak {e.peak:.2f} at {clock(e.peak_s)}"
        )
        if e.description is not None:
            console.print(f"        {safe(e.description)}")
    if not report.events:
        console.print("  no event")
    for word, text in notices(report):
        console.print(f"  [yellow]{word}[/yellow] {safe(text)}")
    if out is not None:
        path = report_path(out, report.video_id)
        picture = path.with_suffix(".png")
        console.print(f"  {safe(path)}" + (f"  {safe(picture)}" if picture.exists() else ""))
