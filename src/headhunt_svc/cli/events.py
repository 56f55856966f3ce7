"""Commands on stored events: `headhunt events ...`."""

import getpass
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import clock, note, note_cautions, safe, wide
from headhunt_svc.cli.options import BundleFolder, cameras_file, check_bundle
from headhunt_svc.errors import EXIT_SOME_FAILED, ArtifactError, ConfigError
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, Origin, Tool
from headhunt_svc.notify.messages import both_times
from headhunt_svc.settings import EventSettings

if TYPE_CHECKING:
    from headhunt_svc.events.store import EventStore

app = typer.Typer()
events_app = typer.Typer(no_args_is_help=True, help="Stored events: what happened where and when (docs/events.md).")
app.add_typer(events_app, name="events")

EventId = Annotated[str, typer.Argument(help="The event's id.")]
CameraFilter = Annotated[str | None, typer.Option("--camera", help="Of this camera only.")]
StateFilter = Annotated[EventState | None, typer.Option("--state", help="In this state only.")]
Since = Annotated[str | None, typer.Option("--since", help="Not earlier: 2026-03-01, 2026-03-01T12:30, with +01:00.")]
Until = Annotated[str | None, typer.Option("--until", help="Earlier than this.")]
MinScore = Annotated[float | None, typer.Option("--min-score", min=0, max=1, help="With a peak at least so high.")]
OriginFilter = Annotated[Origin | None, typer.Option("--origin", help="Stored by this part only.")]
DetectorFilter = Annotated[str | None, typer.Option("--detector", help="Found by the detector of this id only.")]


@events_app.command("list")
def list_events(
    camera: CameraFilter = None,
    state: StateFilter = None,
    since: Since = None,
    until: Until = None,
    min_score: MinScore = None,
    origin: OriginFilter = None,
    detector: DetectorFilter = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the latest first.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind a page: the `next` that it ended with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """Events, the latest first; times without a zone are UTC."""
    which = _filter(camera, state, since, until, min_score, origin, detector)
    with open_store() as store:
        events = store.list(which.model_copy(update={"questions": False}), after, limit + 1)
    page, is_more = events[:limit], len(events) > limit
    if json:
        for event in page:
            typer.echo(event.model_dump_json())
    elif page:
        print_events(page)
    else:
        note("no events")
    if is_more:
        note(f"there are more: --after {page[-1].cursor}")


@events_app.command()
def show(event_id: EventId, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """All that is known about an event."""
    with open_store() as store:
        event = store.get(event_id)
        if json:
            typer.echo(event.model_dump_json())
            return
        print_event(event, store.picture(event_id), store.clip(event_id))
        for mark in store.marks(event_id):
            line = f"  {both_times(mark.time, event.time_zone)}  {mark.state}  {mark.by}  {mark.note}"
            Console(highlight=False, soft_wrap=True).print(safe(line))


@events_app.command()
def mark(
    event_id: EventId,
    state: Annotated[EventState, typer.Argument(help="What the event was.")],
    note_text: Annotated[str | None, typer.Option("--note", help="Why; replaces the note.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: the user of this machine.")] = None,
) -> None:
    """Say what an event was."""
    with open_store() as store:
        event = store.mark(event_id, state, by or getpass.getuser(), note_text)
    note(f"{event.id}: {event.state}")


@events_app.command()
def clip(
    event_id: EventId,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    picture: Annotated[bool, typer.Option("--picture", help="The picture of the peak instead.")] = False,
) -> None:
    """Copy the clip of an event, as it was recorded, or its picture."""
    with open_store() as store:
        path = store.picture(event_id) if picture else store.clip(event_id)
    if path is None:
        raise ArtifactError(f"the event {event_id} has no {'picture' if picture else 'clip'}")
    if not path.is_file():
        raise ArtifactError(f"{path} is gone: somebody has deleted it, or HEADHUNT_EVENTS_FOLDER names another folder")
    if out.suffix != path.suffix:
        raise typer.BadParameter(f"the file is {path.suffix}: give it this ending")
    from headhunt_svc.storage.files import write_file

    write_file(out, lambda partial: shutil.copyfile(path, partial))


@events_app.command()
def add(
    video: Annotated[Path, typer.Argument(help="The video in which an event was missed.")],
    start_s: Annotated[float, typer.Option("--start", min=0, help="Seconds from the first picture.")],
    stop_s: Annotated[float, typer.Option("--stop", min=0, help="Seconds from the first picture.")],
    camera: Annotated[str | None, typer.Option(help="Its camera; default: the folder.")] = None,
    note_text: Annotated[str, typer.Option("--note", help="What it was.")] = "",
    by: Annotated[str | None, typer.Option(help="Who says so; default: the user of this machine.")] = None,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Store an event that the detector has missed, as confirmed; its scores and features are computed now."""
    if stop_s <= start_s:
        raise typer.BadParameter("--stop must be behind --start")
    note_cautions(check_bundle(bundle).cautions)
    from headhunt_svc.events.missed import add_missed
    from headhunt_svc.pipeline.detect import load_detector

    with open_store() as store:
        detector = load_detector(bundle)
        event = add_missed(store, detector, video, (start_s, stop_s), camera, by or getpass.getuser(), note_text)
    typer.echo(event.id)


@events_app.command()
def describe(
    event_ids: Annotated[list[str], typer.Argument(help="The events' ids.")],
    by: Annotated[str | None, typer.Option(help="Who asks; default: the user of this machine.")] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="File with the masks of the events' cameras; default: cameras.yaml.")
    ] = None,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Ask the model what it sees in events' clips, and store its words and which places spoke for the events."""
    note_cautions(check_bundle(bundle).cautions)
    from headhunt_svc.cameras.config import load_cameras
    from headhunt_svc.events.explaining import explain
    from headhunt_svc.pipeline.detect import load_detector

    file = cameras_file(cameras)
    masks = {} if file is None else {c.name: c.masks for c in load_cameras(file).cameras}
    with open_store() as store:
        events = [store.get(event_id) for event_id in event_ids]  # wrong ones are named before a model is loaded
        detector = load_detector(bundle, whole=True)
        for event in events:
            record, is_same = explain(store, detector, event.id, by or getpass.getuser(), masks.get(event.camera, ()))
            typer.echo(f"{record.id}: {record.description}" if len(events) > 1 else record.description or "")
            if not is_same:
                note(f"no places: {event.id} was found by another detector ({event.detector_id}) than {bundle}")


@events_app.command()
def export(
    out: Annotated[
        Path, typer.Argument(help="A .csv, .jsonl or .parquet file, or a folder for pictures and clips too.")
    ],
    tool: Annotated[
        Tool | None, typer.Option("--format", help="As tasks of this annotation tool (docs/events.md).")
    ] = None,
    clips: Annotated[
        str | None, typer.Option("--clips", help="Where Label Studio finds the clips: the address of a folder.")
    ] = None,
    camera: CameraFilter = None,
    state: StateFilter = None,
    since: Since = None,
    until: Until = None,
    min_score: MinScore = None,
    origin: OriginFilter = None,
    detector: DetectorFilter = None,
) -> None:
    """Write events into a file or, with their pictures, clips and features, into a folder."""
    from headhunt_svc.events.export import all_events, export_events

    which = _filter(camera, state, since, until, min_score, origin, detector)
    if clips is not None and tool != Tool.LABEL_STUDIO:
        raise typer.BadParameter("--clips is for --format label-studio")
    with open_store() as store:
        if tool is None:
            n = export_events(store, which, out)
        else:
            n = _export_tasks(store, list(all_events(store, which)), tool, out, clips)
    note(f"{n} events: {out}")


def _export_tasks(store: "EventStore", events: Sequence[EventRecord], tool: Tool, out: Path, clips: str | None) -> int:
    """Write tasks of an annotation tool; returns how many."""
    from headhunt_svc.events.annotation_tasks import write_tasks
    from headhunt_svc.events.shown import shown_events

    left_out: list[str] = []
    shown = list(shown_events(store, events, left_out))
    shown = write_tasks(tool, shown, out, clips)
    note_left_out(left_out)
    for one in shown:
        if one.event.clip_start is None:
            note(f"without a span, as it is not known when its clip begins: {one.event.id}")
    return len(shown)


@events_app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="What Label Studio (.json) or CVAT (.xml, or a folder of them) has exported.")
    ],
    by: Annotated[
        str | None, typer.Option(help="Who has answered, where the file does not say it; default: this machine's user.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Change nothing unless every answer is clear.")] = False,
) -> None:
    """Mark events as people have answered in Label Studio or CVAT; answers that are not clear are named."""
    from headhunt_svc.events.answers import import_answers

    with open_store() as store:
        done = import_answers(store, file, by, strict)
    note_left_out(done.left_out)
    note(f"{len(done.marked)} events marked, {done.unchanged} as they were, {len(done.left_out)} left out")
    if done.left_out:
        raise typer.Exit(EXIT_SOME_FAILED)


def note_left_out(reasons: Sequence[str]) -> None:
    """Prints why something was left out."""
    for reason in reasons:
        note(f"left out: {reason}")


@events_app.command()
def purge(
    trust_clock: Annotated[
        bool, typer.Option("--trust-clock", help="Also if all events are too old by this machine's clock.")
    ] = False,
) -> None:
    """Delete what is older or larger than HEADHUNT_EVENTS_KEEP_DAYS and its like say (docs/events.md)."""
    with open_store() as store:
        done = store.purge(trust_clock=trust_clock)
    if done.waits:
        note("nothing is deleted for its age: all events are too old by the clock; if it is right: --trust-clock")
    note(
        f"deleted: {done.events} events ({done.marked} of them confirmed or false alarms), {done.clips} clips, "
        f"{done.pictures} pictures, {done.orphans} files of no event"
    )


def open_store() -> "EventStore":
    """The store, imported late because its libraries are slow to import."""
    from headhunt_svc.events.store import EventStore

    return EventStore.open(EventSettings())


def _filter(
    camera: str | None,
    state: EventState | None,
    since: str | None,
    until: str | None,
    min_score: float | None,
    origin: Origin | None,
    detector: str | None,
) -> EventFilter:
    return EventFilter(
        camera=camera,
        state=state,
        since=time_of("--since", since),
        until=time_of("--until", until),
        min_score=min_score,
        origin=origin,
        detector_id=detector,
    )


def time_of(option: str, text: str | None) -> datetime | None:
    """A time that an option states; UTC where it has no zone."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as exc:  # beyond the years that there are
        raise ConfigError(f"{option} {text}: not a time such as 2026-03-01T12:30 or 2026-03-01T12:30+01:00") from exc


def _length(event: EventRecord) -> str:
    return "goes on" if event.stop is None else clock((event.stop - event.start).total_seconds())


def print_events(events: Sequence[EventRecord]) -> None:
    """Prints one line for each event."""
    table = Table("id", "start", "length", "camera", "score", "state", "note", box=None, header_style="bold")
    for e in events:
        cells = (e.id, both_times(e.start, e.time_zone), _length(e), e.camera, f"{e.score:.2f}", e.state, e.note)
        table.add_row(*map(safe, cells))
    wide().print(table)


def _lines(event: EventRecord, picture: Path | None, clip: Path | None) -> Iterator[tuple[str, str]]:
    yield "camera", event.camera
    yield "video", event.video_id + (f", at {clock(event.start_s)}" if event.start_s is not None else "")
    yield "start", both_times(event.start, event.time_zone)
    yield "length", _length(event) + (", interrupted" if event.interrupted else "")
    yield "peak", f"{event.score:.3f} at {both_times(event.peak, event.time_zone)}; threshold {event.threshold:.3f}"
    yield "times from", event.time_basis.replace("_", " ")
    yield "detector", f"{event.detector_id}, stored by {event.origin} at {both_times(event.created, event.time_zone)}"
    yield "heads add", ", ".join(f"{value:+.2f}" for value in event.contributions)
    if event.description:
        yield "description", event.description
    if event.described is not None:
        yield "asked by", f"{event.described_by}, {both_times(event.described, event.time_zone)}"
    for name, path in (("picture", picture), ("clip", clip)):
        yield name, "none" if path is None else str(path)
    yield "state", event.state + (f", by {event.marked_by}" if event.marked_by else "")
    if event.note:
        yield "note", event.note


def print_event(event: EventRecord, picture: Path | None, clip: Path | None) -> None:
    """Prints everything about an event."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{safe(event.id)}[/bold]")
    for name, text in _lines(event, picture, clip):
        console.print(f"  {name:12}{safe(text)}")
