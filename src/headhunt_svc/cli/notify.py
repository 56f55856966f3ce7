"""Commands on notifications: `headhunt notify ...`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from headhunt_svc.cli.console import note, safe, wide
from headhunt_svc.errors import EXIT_SOME_FAILED
from headhunt_svc.settings import EventSettings, NotifySettings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from headhunt_svc.notify.outbox import Outbox

app = typer.Typer()
notify_app = typer.Typer(no_args_is_help=True, help="Messages on events and alarms (docs/notifications.md).")
app.add_typer(notify_app, name="notify")

PICTURE_SIZE = (320, 180)


@contextmanager
def open_outbox(names: Sequence[str]) -> "Iterator[tuple[Engine, Outbox]]":
    """The database of events and the outbox in it; names: channels that must exist."""
    from headhunt_svc.events.database import connect
    from headhunt_svc.notify.channels import check_names, load_channels
    from headhunt_svc.notify.outbox import Outbox

    settings = NotifySettings()
    channels = load_channels(settings.file)
    check_names(channels, names, settings.file)
    engine = connect(EventSettings())
    try:
        yield engine, Outbox(engine, channels, settings)
    finally:
        engine.dispose()


@notify_app.command("test")
def notify_test(
    names: Annotated[list[str] | None, typer.Argument(help="Channels; default: all.", metavar="[CHANNEL]...")] = None,
) -> None:
    """Send a test message with a picture to each channel, at once. Exit code 3: some did not take it."""
    from headhunt_svc.notify.channels import DeliveryError, check_names, load_channels
    from headhunt_svc.notify.messages import Message, MessageKind

    settings, failed = NotifySettings(), 0
    channels = load_channels(settings.file)
    check_names(channels, names or [], settings.file)
    now = datetime.now(UTC)
    with TemporaryDirectory() as folder:
        message = Message(
            kind=MessageKind.TEST,
            phase="begin",
            id=f"test-{now:%Y%m%dT%H%M%S%f}",
            start=now,
            text="This is a test. Messages on events come in this way, with the picture of the event.",
            picture=_test_picture(Path(folder)),
        )
        for name in names or channels:
            try:
                channels[name].send(message)
                typer.echo(f"{name}: sent")
            except DeliveryError as exc:
                failed += 1
                note(f"{name}: failed: {exc}")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _test_picture(folder: Path) -> Path:
    """A JPEG of coloured bars."""
    from PIL import Image

    width, height = PICTURE_SIZE
    bars = Image.new("HSV", (8, 1))
    bars.putdata([(32 * i, 200, 220) for i in range(8)])
    path = folder / "test.jpg"
    bars.convert("RGB").resize((width, height), Image.Resampling.NEAREST).save(path)
    return path


@notify_app.command("status")
def notify_status() -> None:
    """Show what waits to be sent, and why."""
    with open_outbox([]) as (_, outbox):
        rows = outbox.status()
    table = Table("channel", "waiting", "since (UTC)", "sent", "given up", "left out", "last error")
    for row in rows:
        since = f"{row.oldest:%Y-%m-%d %H:%M:%S}" if row.oldest else "-"
        counts = [str(n) for n in (row.waiting, row.sent, row.given_up, row.held_back)]
        table.add_row(safe(row.channel), counts[0], since, *counts[1:], safe(row.error or "-"))
    wide().print(table)
