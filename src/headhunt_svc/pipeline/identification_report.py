"""The identification report: one self-contained HTML file."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from jinja2 import Environment, PackageLoader, StrictUndefined

from headhunt_svc.core.depth import limit_words
from headhunt_svc.core.fitting import CalibrationCurve
from headhunt_svc.pipeline.plots import ALARM, INK, RAW, SMOOTH, figure_of, tidy
from headhunt_svc.storage.files import write_text
from headhunt_svc.types import HeadRef, HeadSelection

MAPS = {
    "rss": "RSS",
    "mean": "mean saliency",
    "instability": "std over prompts",
    "lda": "Fisher's criterion",
    "kl": "symmetric KL",
    "mmd": "MMD squared",
    "nmi": "NMI of 2-means",
    "frequency": "chosen by subsamples",
}
MAX_BARS = 30
NOT_MEASURED = (
    "How far the choice holds is not known: it takes at least three videos of each sort to split them in halves."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its heading and explanation; png: base64."""

    title: str
    text: str
    png: str


def _canvas(width: float, row_height: float, n: int = 1) -> tuple[Any, list[Any]]:
    """A canvas with n panels, at most four in a row."""
    columns = min(4, n)
    rows = -(-n // columns)
    canvas = figure_of(width, rows * row_height)
    axes = list(canvas.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[n:]:
        axis.remove()
    for axis in axes[:n]:
        tidy(axis)
    return canvas, axes[:n]


def _png(canvas: Any) -> str:
    buffer = io.BytesIO()
    canvas.savefig(buffer, dpi=110, format="png", bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode()


def maps(table: pd.DataFrame, heads: Sequence[HeadRef]) -> Figure:
    """Layers x heads, one map for each criterion; expert heads ringed."""
    names = [n for n in MAPS if n in table]
    shape = (int(table["layer"].max()) + 1, int(table["head"].max()) + 1)
    canvas, axes = _canvas(11, max(2.2, min(0.1 * shape[0] + 1.0, 3.8)), len(names))
    for axis, name in zip(axes, names, strict=True):
        values = np.full(shape, np.nan)
        values[table["layer"], table["head"]] = table[name]
        image = axis.imshow(values, cmap="viridis", aspect="auto", interpolation="nearest")
        axis.scatter(
            [h.head for h in heads], [h.layer for h in heads], s=70, facecolors="none", edgecolors=ALARM, lw=1.8
        )
        axis.set_title(MAPS[name], fontsize=10, color=INK)
        axis.set(xlabel="head", ylabel="layer")
        axis.locator_params(integer=True)
        canvas.colorbar(image, ax=axis, fraction=0.05, format="%.2g").ax.locator_params(nbins=5)
    text = (
        "Every head of the model, bright is high; red rings mark the expert heads. Empty: its output is constant. The "
        "four criteria of the paper are shown whether they decided or not."
    )
    return Figure("Where the heads are", text, _png(canvas))


def prompts(table: pd.DataFrame, heads: Sequence[HeadRef]) -> Figure:
    """Saliency under each prompt against the mean over prompts."""
    names = [c for c in table if str(c).startswith("prompt_")]
    canvas, axes = _canvas(10, 2.9, len(names))
    chosen = pd.MultiIndex.from_frame(table[["layer", "head"]]).isin(heads)
    for i, (axis, name) in enumerate(zip(axes, names, strict=True), start=1):
        axis.scatter(table["mean"], table[name], s=10, color=RAW, alpha=0.7)
        axis.scatter(table["mean"][chosen], table[name][chosen], s=26, color=ALARM)
        axis.axline((float(table["mean"].median()),) * 2, slope=1, color=INK, lw=0.7, ls=":")
        axis.set_title(f"prompt ({i})", fontsize=10, color=INK)
        axis.set(xlabel="mean saliency", ylabel="saliency")
    text = (
        "Each dot is a head, red ones are experts. On the dotted line a prompt sees a head as all prompts do together."
    )
    return Figure("Do the prompts agree?", text, _png(canvas))


def stability(table: pd.DataFrame, heads: Sequence[HeadRef]) -> Figure:
    """Share of the subsamples that chose each head."""
    top = table.sort_values(["frequency", "rss"], ascending=False).head(MAX_BARS)
    top = top[top["frequency"] > 0]
    names = list(zip(top["layer"], top["head"], strict=True))
    canvas, (axis,) = _canvas(10, 3.2)
    axis.bar(range(len(names)), top["frequency"], color=[ALARM if name in heads else RAW for name in names])
    axis.axhline(len(heads) / len(table), color=INK, lw=0.8, ls=":", label="chance")
    axis.set_xticks(range(len(names)), [f"{layer},{head}" for layer, head in names], rotation=60, fontsize=8)
    axis.set(xlabel="layer,head", ylabel="share of subsamples", ylim=(0, 1.02))
    axis.legend(frameon=False, fontsize=9)
    text = "How often each head is chosen when half of the videos choose; red bars are the expert heads."
    return Figure("Would other videos have chosen the same?", text, _png(canvas))


def projection(points: Float[np.ndarray, "segment 2"], labels: Bool[np.ndarray, " segment"]) -> Figure:
    """The first two principal components of the expert features."""
    canvas, (axis,) = _canvas(10, 4.2)
    for rows, colour, name in ((~labels, RAW, "normal"), (labels, ALARM, "anomalous")):
        axis.scatter(points[rows, 0], points[rows, 1], s=16, color=colour, alpha=0.75, label=f"{name} ({rows.sum()})")
    axis.set(xlabel="first principal component", ylabel="second")
    axis.legend(frameon=False, fontsize=9)
    text = "Standardised features of the expert heads, one dot a calibration segment. The projection knows no labels."
    return Figure("What the expert heads see", text, _png(canvas))


def learning(curve: Mapping[int, tuple[float, float]]) -> Figure:
    """AUC on other videos against the number of videos chosen from."""
    canvas, (axis,) = _canvas(10, 3.4)
    sizes, mean, spread = (np.array(v) for v in (list(curve), *zip(*curve.values(), strict=True)))
    axis.fill_between(sizes, mean - spread, np.minimum(mean + spread, 1), color=SMOOTH, alpha=0.15, lw=0)
    axis.plot(sizes, mean, "o-", color=SMOOTH)
    axis.axhline(0.5, color=INK, lw=0.8, ls=":", label="chance")
    axis.set(xlabel="labelled videos", ylabel="AUC of segments of other videos")
    axis.legend(frameon=False, fontsize=9)
    text = "Heads chosen and a probe fitted on so many videos, measured on the rest; mean and standard deviation."
    return Figure("Would more labels help?", text, _png(canvas))


def depth(curve: Mapping[int, float]) -> Figure:
    """AUC on other videos against the number of layers that run."""
    canvas, (axis,) = _canvas(10, 3.4)
    axis.plot(list(curve), list(curve.values()), "o-", color=SMOOTH)
    axis.axhline(0.5, color=INK, lw=0.8, ls=":", label="chance")
    axis.set(xlabel="layers of the decoder that run", ylabel="AUC of validation segments")
    axis.locator_params(axis="x", integer=True)
    axis.legend(frameon=False, fontsize=9)
    text = (
        "Heads chosen on calibration videos and a probe fitted there, measured on validation videos; each point leaves "
        "out the deepest layer of the one to its right. Fewer layers are faster: identify.deepest_layer limits them, "
        "and `headhunt depth` prints cost and quality."
    )
    return Figure("Would fewer layers do?", text, _png(canvas))


def calibration(curve: CalibrationCurve) -> Figure:
    """Predicted probability against the share of anomalous segments."""
    canvas, (axis,) = _canvas(10, 3.6)
    axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":", label="as it should be")
    axis.plot(curve.predicted, curve.observed, "o-", color=SMOOTH, label="scorer")
    axis.set(xlabel="predicted probability", ylabel="share anomalous", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.legend(frameon=False, fontsize=9)
    text = f"The scorer on videos held out, in groups of equal size; Brier score {curve.brier:.3f}."
    return Figure("Are the scores probabilities?", text, _png(canvas))


def write_report(
    path: Path, selection: HeadSelection, table: pd.DataFrame, labels: np.ndarray, n_videos: int, figures: list[Figure]
) -> None:
    """Write the HTML file."""
    loader = PackageLoader("headhunt_svc.pipeline", "templates")
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    counts = {"n_videos": n_videos, "n_segments": len(labels), "n_anomalous": labels.sum(), "n_heads": len(table)}
    limit = None if selection.deepest_layer is None else limit_words(selection.deepest_layer)
    page = templates.get_template("identification.html")
    values = {"selection": selection, "not_measured": NOT_MEASURED, "figures": figures, "limit": limit, **counts}
    write_text(path, page.render(**values))
