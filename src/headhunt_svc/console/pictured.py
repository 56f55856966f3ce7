"""Which places of the picture spoke for an event: the picture with the places, and the same in words."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape
from PIL import Image, UnidentifiedImageError

from headhunt_svc.console.links import event_page
from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.places import Places
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore

MOST_CELLS = 32  # in a row or column
WIDTH = 960
DARKEST, LEAST = 0.65, 0.04  # opacity of the strongest place; weaker ones than LEAST of it are not drawn
MOST_NAMED, LEAST_NAMED = 3, 0.1
Cells = Float[np.ndarray, "row column"]
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


@dataclass(frozen=True, slots=True)
class Pictured:
    """The picture with its places. strongest: where most of what spoke for the event lies, and its share of that.

    problem: why there is nothing to show.
    """

    chart: Markup | None = None
    raw: float = 0.0
    strongest: tuple[tuple[str, float], ...] = ()
    problem: str = ""


def pictured(store: EventStore, event: EventRecord) -> Pictured | None:
    """The places of an event; None where they are not known."""
    try:
        places = store.places(event.id) if event.places else None
        return None if places is None else _drawn(places, event)
    except ArtifactError as exc:
        return Pictured(problem=str(exc))


def _drawn(places: Places, event: EventRecord) -> Pictured:
    try:
        with Image.open(io.BytesIO(places.picture), formats=("JPEG",)) as image:
            height = WIDTH * image.height / image.width
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as exc:
        raise ArtifactError(f"the picture of the places is damaged ({type(exc).__name__})") from exc
    cells = pooled(places.total)
    strongest = regions(cells)
    label = "; ".join(f"{name}: {share:.0%}" for name, share in strongest) or "no place spoke for an event"
    image_url = f"{event_page(event.id)}/places?{_version(event)}"
    chart = Markup(
        f'<svg class="places" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="Places that spoke for it: '
        f'{escape(label)}"><image href="{escape(image_url)}" width="{WIDTH}" height="{height:.0f}" '
        f'preserveAspectRatio="none"/>{_rectangles(cells, height)}</svg>'
    )
    return Pictured(chart, places.raw, strongest)


def _version(event: EventRecord) -> str:
    """Changes with the places."""
    return f"{event.peak.timestamp():.0f}-{0 if event.described is None else event.described.timestamp():.0f}"


def pooled(cells: Cells) -> Float[np.ndarray, "pooled_row pooled_column"]:
    """Sums of neighbours, so that there are at most MOST_CELLS in a row and in a column."""
    for axis in (0, 1):
        step = -(-cells.shape[axis] // MOST_CELLS)
        cells = np.add.reduceat(cells, np.arange(0, cells.shape[axis], step), axis=axis)
    return cells


def _rectangles(cells: Cells, height: float) -> str:
    most = float(np.abs(cells).max())
    if most == 0:
        return ""
    ys, xs = (np.linspace(0, size, n + 1) for size, n in zip((height, WIDTH), cells.shape, strict=True))
    drawn = []
    for row, column in np.argwhere(np.abs(cells) >= LEAST * most):
        value = float(cells[row, column])
        x, y = xs[column], ys[row]
        width, tall = xs[column + 1] - x, ys[row + 1] - y
        drawn.append(
            f'<rect class="{"for" if value > 0 else "against"}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{tall:.1f}" fill-opacity="{DARKEST * abs(value) / most:.2f}"/>'
        )
    return "".join(drawn)


def regions(cells: Cells) -> tuple[tuple[str, float], ...]:
    """The ninths of the picture that hold most of what spoke for the event, with their shares of it."""
    speaks = np.maximum(cells, 0.0)
    if not speaks.any():
        return ()
    rows, columns = (np.minimum((np.arange(n) + 0.5) * 3 // n, 2).astype(int) for n in cells.shape)
    sums = np.zeros((3, 3))
    np.add.at(sums, (rows[:, None], columns[None, :]), speaks / speaks.sum())
    named = [(_name(row, column), float(sums[row, column])) for row in range(3) for column in range(3)]
    named.sort(key=lambda item: -item[1])
    return tuple((name, share) for name, share in named[:MOST_NAMED] if share >= LEAST_NAMED)


def _name(row: int, column: int) -> str:
    if (row, column) == (1, 1):
        return "centre"
    return f"{_ROWS[row]} {_COLUMNS[column]}"
