"""The ablation as tables and two pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from headhunt_svc.pipeline.plots import ALARM, INK, RAW, SMOOTH, figure_of, save_figure, tidy

Result = dict[str, Any]
FIGURES = {"roc_auc": "ROC-AUC", "average_precision": "AP", "f1": "F1"}
FEW_LABELS = {
    "roc_auc": "Test ROC-AUC",
    "average_precision": "Test AP",
    "unseen_kinds": "Test ROC-AUC of unseen kinds, the mean of each one's beside the normal videos",
}
COLUMNS = {  # of the summary, beside the detector; the text answer is the strongest of its kind
    "paper": "paper",
    "random_k": "random heads",
    "all_heads": "all heads",
    "text_probability_specific": "text answer",
}
SWEEPS = {
    "top_k": "heads (K)",
    "instability_penalty": "instability penalty (lambda)",
    "prompts": "prompts (mean over subsets)",
}


def words(name: str) -> str:
    """The name of an arm in words."""
    return name.replace("_", " ")


def with_interval(row: Result, key: str) -> str:
    """A figure with its 95 % interval, where there is one."""
    interval = row.get(f"{key}_interval")
    return f"{row[key]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


QUALITY = ("ROC-AUC [95 %]", "AP [95 %]", "unseen AUC", "val. AUC", "val. AP")


def quality_cells(figures: Result) -> list[str]:
    """Figures of test and validation videos as cells below QUALITY; `-` for what there is not."""
    test, validation = figures.get("test", {}), figures["validation"]
    unseen = test.get("groups", {}).get("unseen_kinds", {}).get("roc_auc")
    return [
        *(with_interval(test, key) if test else "-" for key in ("roc_auc", "average_precision")),
        "-" if unseen is None else f"{unseen:.4f}",
        *(f"{validation[key]:.4f}" for key in ("roc_auc", "average_precision")),
    ]


def _over_draws(values: list[float], key: str) -> Result:
    """The mean of a figure over draws, with an interval over them."""
    return {key: float(np.mean(values)), f"{key}_interval": [float(q) for q in np.quantile(values, [0.025, 0.975])]}


def _summary_rows(arm: Result, key: str) -> dict[str, str]:
    """What the summary says of one arm: all test videos, what is new, hard videos, few labelled videos."""
    rows = {"all": arm["test"]}
    rows |= {words(name): row for name, row in arm["test"].get("groups", {}).items()}
    rows["hard"] = arm.get("hard", {})
    for n, few in list(arm.get("low_label", {}).items())[:1]:
        rows[f"{n} labelled videos"] = _over_draws(few[key], key) if key in few else {}
    return {name: with_interval(row, key) for name, row in rows.items() if key in row}


def summary_columns(result: Result) -> dict[str, str]:
    """The columns of the small table, and the arm in each."""
    arms = result["arms"]
    return {"detector": next(iter(arms))} | {title: arm for arm, title in COLUMNS.items() if arm in arms}


def summary(result: Result, key: str) -> tuple[list[str], list[list[str]]]:
    """The small table of one figure: its header, and the rows for which the detector has the figure."""
    columns = summary_columns(result)
    cells = {title: _summary_rows(result["arms"][arm], key) for title, arm in columns.items()}
    rows = [[name, *(column.get(name, "-") for column in cells.values())] for name in cells["detector"]]
    return [FIGURES[key], *columns], rows


def detector_table(metrics: Result, ablation: Result | None = None) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows of metrics.json: all test videos, what is new, hard videos, each kind of anomaly.

    ablation: where the figures of hard videos are; they have a row if these are of the same detector.
    """
    rows = {"the detector": metrics}
    groups = metrics.get("groups", {})
    rows |= {f"  {words(name)}": row for name, row in groups.items() if "undefined" not in row}
    if ablation is not None and ablation["detector_id"] == metrics["detector_id"]:
        hard = next(iter(ablation["arms"].values())).get("hard")
        rows |= {"  hard": hard} if hard else {}
    rows |= {f"  {kind}": row for kind, row in metrics["by_kind"].items()}
    title = f"{metrics['n_videos']} held-out test videos, {metrics['n_frames']} frames: frame level [95 % interval]"
    keys = ("roc_auc", "average_precision")
    lines = [[name, *(with_interval(row, key) for key in keys)] for name, row in rows.items()]
    return title, ["", *(FIGURES[key] for key in keys)], lines


def arms_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows of ablation.json: every arm on test videos and hard ones, and with few labelled videos."""
    arms = result["arms"]
    few = list(next(iter(arms.values()))["low_label"])
    hard = all("hard" in row for row in arms.values())
    header = ["", "test ROC-AUC", "test AP", "F1", *(["hard"] if hard else []), *(f"{n} videos" for n in few)]
    lines = []
    for name, row in arms.items():
        cells = [with_interval(row["test"], key) for key in ("roc_auc", "average_precision")]
        cells += [f"{row['test']['f1']:.3f}", *([f"{row['hard']['roc_auc']:.3f}"] if hard else [])]
        cells += [f"{row['low_label'][n]['mean']:.3f}" if "low_label" in row else "-" for n in few]
        lines.append([words(name), *cells])
    return header, lines


def why_undefined(groups: Result) -> list[str]:
    """Why there is no row of some groups of videos, a line each."""
    return [f"{words(name)}: no row, {row['undefined']}" for name, row in groups.items() if "undefined" in row]


def _groups(arms: Result) -> str:
    """A table of the arms on unseen kinds and new cameras, and why one of these is not there."""
    first = next(iter(arms.values()))["test"].get("groups", {})
    keys = ("roc_auc", "average_precision")
    shown = [name for name, row in first.items() if "undefined" not in row]
    header = ["", *(f"{words(name)} {FIGURES[key]}" for name in shown for key in keys)]
    rows = [
        [words(arm), *(with_interval(row["test"]["groups"][name], key) for name in shown for key in keys)]
        for arm, row in arms.items()
    ]
    return "\n".join(
        [*([markdown_table(header, rows)] if shown else []), *(f"{line}\n" for line in why_undefined(first))]
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def learning_curves(result: Result) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Header and rows for each figure of the learning curve: every arm that has one, and numbers of labelled videos."""
    few = {name: row["low_label"] for name, row in result["arms"].items() if "low_label" in row}
    first = next(iter(few.values()))
    return {
        title: (
            ["labelled videos", *first],
            [
                [words(name), *(f"{np.mean(point[key]):.3f} ± {np.std(point[key]):.3f}" for point in row.values())]
                for name, row in few.items()
            ],
        )
        for key, title in FEW_LABELS.items()
        if all(key in point for point in first.values())
    }


def markdown(result: Result) -> str:
    """Tables of the arms, the learning curve and the sweeps."""
    arms = result["arms"]
    splits = [s for s in ("test", "hard") if all(s in row for row in arms.values())]
    header = ["", *(f"{s} {name}" for s in splits for name in FIGURES.values()), "how"]
    lines = [
        [words(name), *(with_interval(row[s], key) for s in splits for key in FIGURES), row["how"]]
        for name, row in arms.items()
    ]
    groups = _groups(arms)
    parts = [
        f"# Ablation of detector {result['detector_id']}\n",
        "Frame level, [95 % interval] over resampled videos. Choices were made on calibration and validation videos; "
        "F1 at the threshold tuned there. Made by `dvc repro ablate`.\n",
        markdown_table(header, lines),
        *(
            [f"## On what is new\n\nTest videos unlike those of calibration and validation.\n\n{groups}"]
            if groups
            else []
        ),
        *_one_by_one(arms),
        "## With few labelled videos\n",
        *(
            f"{title}, mean and standard deviation over draws.\n\n{markdown_table(*table)}"
            for title, table in learning_curves(result).items()
        ),
        "## Sweeps\n\nTest ROC-AUC and AP; they show, nothing is chosen from them.\n",
    ]
    for name, label in SWEEPS.items():
        points = result["sweeps"][name]
        cells = [
            [FIGURES[key], *(f"{p[key]:.3f}" for p in points.values())] for key in ("roc_auc", "average_precision")
        ]
        parts.append(markdown_table([label, *points], cells))
    return "\n".join(parts)


def _one_by_one(arms: dict[str, Result]) -> list[str]:
    """The detector beside the paper's method, whole and one thing at a time, on validation videos."""
    shown = (next(iter(arms)), "expert_paper", "paper", "scorer_logistic")
    rows = [name for name in arms if name in shown or name.startswith("published_")]
    if any("validation" not in arms[name] for name in rows):
        return []
    lines = [[words(name), *(f"{arms[name]['validation'][key]:.3f}" for key in FIGURES)] for name in rows]
    text = "On validation videos, where smoothing and threshold were tuned; the decisions (docs/adr) rest on these.\n"
    return [f"## As published, one thing at a time\n\n{text}", markdown_table(["", *FIGURES.values()], lines)]


def draw_arms(path: Path, result: Result) -> None:
    """ROC-AUC on the test videos and F1 at the threshold, a line for each arm with its interval."""
    arms = result["arms"]
    figure = figure_of(11, 1.4 + 0.3 * len(arms))
    panels = figure.subplots(1, 3, sharey=True)
    y = np.arange(len(arms))[::-1]
    for axes, (key, title) in zip(panels, FIGURES.items(), strict=True):
        for height, row in zip(y, arms.values(), strict=True):
            value, interval = row["test"][key], row["test"].get(f"{key}_interval")
            colour = ALARM if "(the detector)" in row["how"] else SMOOTH
            if interval:
                axes.plot(interval, [height, height], color=colour, lw=2, alpha=0.45, solid_capstyle="round")
            axes.plot(value, height, "o", ms=6, color=colour)
        axes.axvline(next(iter(arms.values()))["test"][key], color=ALARM, lw=0.8, ls=":")
        axes.set_title(f"test {title}", fontsize=11, color=INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, colors=INK)
        axes.grid(axis="x", color=RAW, alpha=0.3)
    panels[0].set_yticks(y, [words(name) for name in arms])
    save_figure(path, figure)


def draw_sweeps(path: Path, result: Result) -> None:
    """The learning curve, and test ROC-AUC over K, lambda and the number of prompts."""
    figure = figure_of(11, 6.4)
    curve, *others = figure.subplots(2, 2).ravel()
    colours = iter((ALARM, "#7a4fa3", RAW, SMOOTH, "#f2b134", "#3a8f6b"))
    for name, row in result["arms"].items():
        if few := row.get("low_label"):
            sizes = [int(n) for n in few]
            mean, spread = (np.array([p[key] for p in few.values()]) for key in ("mean", "std"))
            colour = next(colours)
            curve.plot(sizes, mean, "o-", color=colour, label=words(name), ms=4)
            curve.fill_between(sizes, mean - spread, mean + spread, color=colour, alpha=0.08, lw=0)
    curve.set(xlabel="labelled videos", ylabel="test ROC-AUC")
    curve.legend(frameon=False, fontsize=8)
    for axes in others[1:]:
        axes.sharey(others[0])  # one scale: what makes no difference looks like it
    for axes, (name, label) in zip(others, SWEEPS.items(), strict=True):
        points = result["sweeps"][name]
        x = range(len(points))
        axes.plot(x, [p["roc_auc"] for p in points.values()], "o-", color=SMOOTH, label="mean")
        for place, point in zip(x, points.values(), strict=True):
            each = point.get("each", [])
            axes.plot([place] * len(each), each, ".", color=RAW, ms=5)
        axes.set_xticks(list(x), list(points))
        axes.set(xlabel=label, ylabel="test ROC-AUC")
    for axes in (curve, *others):
        tidy(axes)
    save_figure(path, figure)
