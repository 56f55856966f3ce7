"""Charts as SVG, drawn here: attributes and classes only, as the pages' policy allows no style in the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

RATIO_WIDTH, RATIO_HEIGHT, MOST_RATIO = 92, 30, 2.0
WIDTH, HEIGHT, BASE = 960, 180, 156  # of a chart of scores; BASE: where its axis of time is


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of the axis, as shares of its length, and the value there."""

    start: float
    stop: float
    value: float


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def ratios(columns: Sequence[tuple[float, float]], values: Sequence[float], label: str) -> Markup:
    """Values over limits, with a line at 1: a bar for each column that has a value (NaN: none), nothing between them.

    columns: from where to where each reaches, as shares of the chart's width.
    """
    paths: dict[str, list[str]] = {"under": [], "over": []}
    kind, end = "", -1.0
    for (start, stop), value in zip(columns, values, strict=True):
        if isnan(value):
            continue
        now = "over" if value > 1 else "under"
        path = paths[now]
        if now != kind or start - end > 1e-6:  # not beside a bar of its kind
            if kind:
                paths[kind].append(_CLOSED)
            path.append(f"M{start * RATIO_WIDTH:.1f} {RATIO_HEIGHT}")
        top = RATIO_HEIGHT * (1 - min(value, MOST_RATIO) / MOST_RATIO)
        path.append(f"V{top:.1f}H{stop * RATIO_WIDTH:.1f}")
        kind, end = now, stop
    if kind:
        paths[kind].append(_CLOSED)
    drawn = "".join(f'<path class="{name}" d="{"".join(path)}"/>' for name, path in paths.items() if path)
    return Markup(
        f'<svg class="ratios" viewBox="0 0 {RATIO_WIDTH} {RATIO_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{drawn}<path class="limit" d="M0 {RATIO_HEIGHT // 2}h{RATIO_WIDTH}"/></svg>'
    )


_CLOSED = f"V{RATIO_HEIGHT}z"


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of the axis that is shown behind the scores. name: of its class. link: where a click leads."""

    start: float
    stop: float
    name: str
    label: str = ""
    link: str | None = None


def scores(
    bars: Sequence[Bar],
    threshold: float | None,
    marks: Sequence[Mark],
    ticks: Sequence[tuple[float, str]],
    label: str,
) -> Markup:
    """Scores of 0 to 1 over time: a step for every segment that was scored, nothing where none was."""

    def y(value: float) -> str:
        return _number(BASE - min(max(value, 0.0), 1.0) * (BASE - 8))

    parts: list[Markup] = []
    for mark in marks:
        shape = Markup('<rect class="{}" x="{}" y="8" width="{}" height="{}"><title>{}</title></rect>').format(
            mark.name,
            _number(mark.start * WIDTH),
            _number(max((mark.stop - mark.start) * WIDTH, 2.0)),
            BASE - 8,
            mark.label,
        )
        parts.append(shape if mark.link is None else Markup('<a href="{}">{}</a>').format(mark.link, shape))
    steps = (
        f"M{_number(b.start * WIDTH)} {y(b.value)}H{_number(max(b.stop, b.start + 2 / WIDTH) * WIDTH)}" for b in bars
    )
    parts.append(Markup('<path class="score" d="{}"/>').format("".join(steps)))
    if threshold is not None:
        parts.append(Markup('<path class="limit" d="M0 {}H{}"/>').format(y(threshold), WIDTH))
        parts.append(Markup('<text x="4" y="{}">threshold {:.2f}</text>').format(float(y(threshold)) - 4, threshold))
    for place, text in ticks:
        parts.append(Markup('<path class="tick" d="M{} {}v5"/>').format(_number(place * WIDTH), BASE))
        anchor = "start" if place < 0.05 else "end" if place > 0.95 else "middle"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
                _number(place * WIDTH), HEIGHT - 6, anchor, text
            )
        )
    return Markup(
        '<svg class="scores" viewBox="0 0 {} {}" role="group" aria-label="{}"><path class="axis" d="M0 {}H{}"/>{}</svg>'
    ).format(WIDTH, HEIGHT, label, BASE, WIDTH, Markup("").join(parts))


def thinned(
    starts: Float[np.ndarray, " bar"], stops: Float[np.ndarray, " bar"], values: Float[np.ndarray, " bar"], most: int
) -> list[Bar]:
    """At most so many bars: of those that lie in one step of the axis, the highest value. Gaps stay gaps."""
    if len(values) == 0:
        return []
    if len(values) <= most:
        return [Bar(float(a), float(b), float(v)) for a, b, v in zip(starts, stops, values, strict=True)]
    steps = np.clip((starts * most).astype(int), 0, most - 1)
    bars = []
    for step in np.unique(steps):
        inside = steps == step
        bars.append(Bar(float(starts[inside].min()), float(stops[inside].max()), float(values[inside].max())))
    return bars


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of the rows by value: of a window and of its baseline."""

    edges: tuple[float, ...]
    window: tuple[float, ...]
    baseline: tuple[float, ...]


def histogram_of(window: Float[np.ndarray, " row"], baseline: Float[np.ndarray, " base"]) -> Histogram | None:
    """Both samples over the same bins; None where one of them is empty."""
    window, baseline = window[np.isfinite(window)], baseline[np.isfinite(baseline)]
    if not len(window) or not len(baseline):
        return None
    edges = np.histogram_bin_edges(np.concatenate([window, baseline]), 24)
    shares = [np.histogram(sample, edges)[0] / len(sample) for sample in (window, baseline)]
    return Histogram(tuple(map(float, edges)), tuple(map(float, shares[0])), tuple(map(float, shares[1])))


def histogram(data: Histogram, label: str) -> Markup:
    """Two histograms over each other: the window filled, the baseline as a line."""
    width, height, base = 380, 150, 126
    top = max(*data.window, *data.baseline)
    step = width / len(data.window)

    def y(share: float) -> str:
        return _number(base - share / top * (base - 6))

    filled = "".join(
        f"M{_number(i * step + 1)} {base}V{y(share)}h{_number(step - 2)}V{base}z"
        for i, share in enumerate(data.window)
        if share
    )
    line = f"M0 {base}" + "".join(f"V{y(share)}h{_number(step)}" for share in data.baseline) + f"V{base}"
    return Markup(
        '<svg class="histogram" viewBox="0 0 {0} {1}" role="img" aria-label="{2}"><path class="window" d="{3}"/>'
        '<path class="baseline" d="{4}"/><path class="axis" d="M0 {5}H{0}"/>'
        '<text x="0" y="{6}">{7:.3g}</text><text x="{0}" y="{6}" text-anchor="end">{8:.3g}</text></svg>'
    ).format(width, height, label, filled, line, base, height - 6, data.edges[0], data.edges[-1])
