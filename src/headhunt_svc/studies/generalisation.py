"""generalise: how well the scorer ranks segments of kinds of anomaly, and of cameras, that it was not fitted on.

Leave one kind out and leave one camera out, from calibration and validation videos alone. The heads are those that were
chosen with all calibration videos, the left-out ones among them; the arms `heads_chosen_again` choose them without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64
from rich.progress import track
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.depth import candidate_heads
from headhunt_svc.core.folds import videos_per_class
from headhunt_svc.core.scoring import logits
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import model_revision
from headhunt_svc.errors import ArtifactError
from headhunt_svc.params import FitParams, Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_prompts, records_of_selection
from headhunt_svc.storage.files import write_json, write_text
from headhunt_svc.studies.figures import markdown_table, words
from headhunt_svc.types import LABELLED, HeadRef, Scorer, VideoRecord

TITLES = {"kinds": "One kind of anomaly left out", "cameras": "One camera left out"}
HOW = (
    "ROC-AUC of segments, ± standard error over the rows, from calibration and validation videos alone. Heads were "
    "chosen with all calibration videos, except for `heads chosen again`: there without those that are left out."
)
ONE_KIND = "Calibration and validation videos show fewer than two kinds of anomaly: none can be left out."
NO_CAMERAS = "The annotations name fewer than two cameras of calibration and validation videos: none can be left out."
BASE = "logistic"  # the arm that the others are compared with
Fit = Callable[[Sequence[LabelledFeatures]], dict[str, Scorer]]  # every arm's, from calibration videos
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is left out, the videos that remain to fit on, and those that are measured."""

    name: str
    training: frozenset[str]
    measured: frozenset[str]


def _names(records: Sequence[VideoRecord]) -> frozenset[str]:
    return frozenset(r.video_id for r in records)


class ArmHeads(NamedTuple):
    """Heads that were chosen with all calibration videos: the detector's, and by the method of the paper."""

    detector: tuple[HeadRef, ...]
    paper: tuple[HeadRef, ...]


def leave_out_kinds(records: Sequence[VideoRecord]) -> list[LeftOut]:
    """For each kind: its calibration and validation videos are measured beside the normal validation videos."""
    calibration = [r for r in records if r.split == "calibration"]
    normal = [r for r in records if r.split == "validation" and not r.kinds]
    return [
        LeftOut(
            kind,
            _names([r for r in calibration if kind not in r.kinds]),
            _names([r for r in records if kind in r.kinds] + normal),
        )
        for kind in sorted({kind for r in records for kind in r.kinds})
    ]


def leave_out_cameras(records: Sequence[VideoRecord]) -> list[LeftOut]:
    """For each camera: all its videos are measured against each other."""
    calibration = [r for r in records if r.split == "calibration"]
    return [
        LeftOut(
            camera,
            _names([r for r in calibration if r.camera != camera]),
            _names([r for r in records if r.camera == camera]),
        )
        for camera in sorted({r.camera for r in records if r.camera is not None})
    ]


def fit_arms(prompts: Sequence[LabelledFeatures], heads: ArmHeads, params: Params) -> dict[str, Scorer]:
    """The scorer of every arm, fitted on calibration videos. prompts: these under every prompt."""
    data, published = prompts[params.prompts.scoring], params.as_published()
    everything = candidate_heads(data.features.heads, params.identify)
    again = identify_heads(prompts, params.identify)
    logistic = params.fit.model_copy(update={"scorer": BASE})
    scorers, backgrounds = (get_args(FitParams.model_fields[name].annotation) for name in ("scorer", "background"))
    arms: dict[str, tuple[tuple[HeadRef, ...], FitParams]] = {
        **{name: (heads.detector, params.fit.model_copy(update={"scorer": name, "platt": True})) for name in scorers},
        **{
            f"background_{name}": (heads.detector, params.fit.model_copy(update={"background": name}))
            for name in backgrounds
            if name != params.fit.background
        },
        "paper": (heads.paper, published.fit),
        "all_heads": (everything, params.fit),
        "heads_chosen_again": (again, params.fit),
        "heads_chosen_again,_logistic": (again, logistic),
    }
    return {name: fit_heads(data, chosen, fit).scorer for name, (chosen, fit) in arms.items()}


def _obstacle(left_out: LeftOut, data: LabelledFeatures) -> str | None:
    """Why the scorer cannot be fitted without these videos, or not be measured on them; None if it can."""
    remaining, measured = data.only(left_out.training), data.only(left_out.measured)
    if min(videos_per_class(remaining.labels, remaining.videos)) < 2:
        return "without it, fewer than two videos with normal or with anomalous segments remain"
    if len(set(measured.labels.tolist())) < 2:
        return "its videos hold segments of one class only"
    return None


def measure(
    prompts: Sequence[LabelledFeatures], scored: LabelledFeatures, left_out: Sequence[LeftOut], fit: Fit
) -> Result:
    """Segment AUC of every arm on what is left out, one after the other; and what cannot be left out, and why.

    prompts: calibration and validation videos under every prompt; scored: under the prompt that is scored with.
    """
    obstacles = {group.name: _obstacle(group, scored) for group in left_out}
    rows: dict[str, Result] = {}
    for group in track([g for g in left_out if obstacles[g.name] is None], description="left out"):
        scorers, tests = fit([data.only(group.training) for data in prompts]), scored.only(group.measured)
        seen = {name: tests.inputs(scorer.heads, scorer.background) for name, scorer in scorers.items()}
        margins = {name: logits(scorer, seen[name]) for name, scorer in scorers.items()}
        rows[group.name] = {
            "videos": len(tests.records),
            "segments": len(tests.labels),
            "anomalous_segments": int(tests.labels.sum()),
            "roc_auc": {name: float(roc_auc_score(tests.labels, margin)) for name, margin in margins.items()},
        }
    return {
        "left_out": rows,
        "not_left_out": {name: reason for name, reason in obstacles.items() if reason is not None},
        "mean": _means([row["roc_auc"] for row in rows.values()]),
    }


def _means(rows: Sequence[Mapping[str, float]]) -> Result:
    """Of each arm the mean AUC, how much that is above logistic regression, and how often it is better.

    Standard errors are over what was left out; None with one row.
    """
    if not rows:
        return {}
    auc = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        name: {
            "roc_auc": float(values.mean()),
            "error": _error(values),
            "gain": float((values - auc[BASE]).mean()),
            "gain_error": _error(values - auc[BASE]),
            "better": int((values > auc[BASE]).sum()),
        }
        for name, values in auc.items()
    }


def _error(values: Float64[np.ndarray, " row"]) -> float | None:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def generalise(params: Params, index: Path, labels: Path, features: Path, heads: Path, out: Path) -> Result:
    """The stage generalise: writes both tables to `out` (JSON), and as Markdown beside it.

    Raises:
        ArtifactError: the heads were found in another model, or with other labels.
    """
    selection, by_split = records_of_selection(index, labels, heads)
    if selection.revision != model_revision(params.mllm):
        raise ArtifactError(f"{heads} was found in model {selection.revision}: run `headhunt identify` again")
    records = [r for split in LABELLED for r in by_split[split]]
    prompts = load_prompts(params, FeatureStore(features), records)
    calibration = [data.only(_names(by_split["calibration"])) for data in prompts]
    chosen = ArmHeads(selection.heads, identify_heads(calibration, params.as_published().identify))

    def fit(training: Sequence[LabelledFeatures]) -> dict[str, Scorer]:
        return fit_arms(training, chosen, params)

    scored, kinds, cameras = prompts[params.prompts.scoring], leave_out_kinds(records), leave_out_cameras(records)
    result = {
        "kinds": measure(prompts, scored, kinds, fit) if len(kinds) > 1 else {"unavailable": ONE_KIND},
        "cameras": measure(prompts, scored, cameras, fit) if len(cameras) > 1 else {"unavailable": NO_CAMERAS},
    }
    write_json(out, result)
    write_text(out.with_suffix(".md"), markdown(result))
    return result


def table(section: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the AUC of every arm on what was left out, their means and gains."""
    rows, mean = section["left_out"], section["mean"]
    lines = [[name, *(f"{auc:.3f}" for auc in row["roc_auc"].values())] for name, row in rows.items()]
    if mean:
        others = [m for name, m in mean.items() if name != BASE]  # BASE is the first
        lines += [
            ["mean", *(f"{m['roc_auc']:.3f}" for m in mean.values())],
            ["standard error", *(_error_cell(m["error"]) for m in mean.values())],
            [f"above {BASE}", "", *(f"{m['gain']:+.3f}" for m in others)],
            ["standard error", "", *(_error_cell(m["gain_error"]) for m in others)],
            [f"better than {BASE}", "", *(f"{m['better']} of {len(rows)}" for m in others)],
        ]
    return ["left out", *map(words, mean)], lines


def _error_cell(error: float | None) -> str:
    """A standard error in a table; `-` where there is one row."""
    return "-" if error is None else f"± {error:.3f}"


def notes(section: Result) -> list[str]:
    """What could not be left out, and why."""
    if "unavailable" in section:
        return [section["unavailable"]]
    return [f"{name} is not left out: {reason}." for name, reason in section["not_left_out"].items()]


def markdown(result: Result) -> str:
    """Both tables."""
    parts = ["# What the scorer was not fitted on\n", f"{HOW} Made by `dvc repro generalise`.\n"]
    for name, title in TITLES.items():
        parts.append(f"## {title}\n")
        if "unavailable" not in result[name]:
            parts.append(markdown_table(*table(result[name])))
        parts += [f"{note}\n" for note in notes(result[name])]
    return "\n".join(parts)
