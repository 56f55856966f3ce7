"""ablate: the method's expert heads beside everything that they must beat, under one protocol (stages/arms.py)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track
from scipy.special import expit

from headhunt_svc.data.feature_store import HIDDEN, FeatureStore
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import IdentifyParams, Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, raw_scores, scored_videos
from headhunt_svc.storage.files import write_json, write_text
from headhunt_svc.studies.alternatives import HIDDEN_UNITS, Kind, fit_alternative
from headhunt_svc.studies.arms import (
    Material,
    Row,
    Splits,
    mean_row,
    roc_auc,
    row_of,
    row_of_heads,
    scores_of,
    smoothed,
    tuned,
)
from headhunt_svc.studies.figures import draw_arms, draw_sweeps, markdown
from headhunt_svc.studies.measure import LABELLED, TESTS, UNTRAINED_SEED, by_split
from headhunt_svc.studies.sweeps import Choose, few_labels, sweeps
from headhunt_svc.types import HeadRef

FIXED_THRESHOLD = 0.5  # what a probability suggests to somebody who tunes nothing
SCORERS: dict[Kind, str] = {"svm": "a linear SVM", "mlp": f"an MLP with {HIDDEN_UNITS} hidden units"}


def draw_heads(heads: tuple[HeadRef, ...], k: int, rng: np.random.Generator) -> tuple[HeadRef, ...]:
    """k of the heads at random."""
    return tuple(heads[i] for i in rng.choice(len(heads), k, replace=False))


def _plain(params: Params) -> Params:
    """Without resamples, where the interval is over draws."""
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": 0})})


def _random_heads(material: Material, k: int, params: Params) -> Row:
    rng = np.random.default_rng(params.evaluate.seed)
    drawn = [draw_heads(material.heads, k, rng) for _ in range(params.ablate.random_draws)]
    rows = [row_of_heads(material.splits, d, _plain(params)) for d in track(drawn, description="random heads")]
    return {"how": f"mean of {len(drawn)} draws of {k} heads; intervals over draws", **mean_row(rows)}


def _best_layer(material: Material, params: Params) -> Row:
    """The layer whose heads, all together, do best on validation videos."""

    def on_validation(heads: tuple[HeadRef, ...]) -> float:
        data = material.splits["validation"]
        videos = scored_videos(
            data, raw_scores(data, fit_heads(material.splits["calibration"], heads, params.fit).scorer)
        )
        return roc_auc(smoothed(videos, tuned(videos, params).sigma_segments))

    layers = {n: tuple(h for h in material.heads if h.layer == n) for n in sorted({h.layer for h in material.heads})}
    best = max(track(layers, description="layers"), key=lambda n: on_validation(layers[n]))
    how = f"all {len(layers[best])} heads of layer {best}, the best on validation videos"
    return {"how": how, **row_of_heads(material.splits, layers[best], params)}


def _single_prompts(material: Material, params: Params) -> dict[str, Row]:
    """Heads chosen under one prompt: the mean over prompts, and the prompt that the test truth would have taken."""
    texts = params.prompts.texts
    chosen = [identify_heads([p], params.identify) for p in track(material.hunted, description="single prompts")]
    rows = [row_of_heads(material.splits, heads, params) for heads in chosen]
    best = int(np.argmax([r["test"]["roc_auc"] for r in rows]))
    return {
        "single_prompt": {
            "how": f"heads chosen under one prompt alone, mean of {len(rows)} prompts; intervals over prompts",
            **mean_row(rows),
        },
        "oracle_prompt": {
            "how": f"the single prompt that is best on the test videos ({texts[best]}): a bound, not a result",
            **rows[best],
        },
    }


def _of_detector(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> dict[str, Row]:
    """The detector's heads with another scorer, without smoothing, without a tuned threshold."""
    raw = scores_of(splits, heads, params)
    unsmoothed = params.model_copy(update={"calibrate": params.calibrate.model_copy(update={"sigma_segments": (0.0,)})})
    rows: dict[str, Row] = {}
    fitted_on = splits["calibration"]
    for kind, name in SCORERS.items():
        apply = fit_alternative(kind, fitted_on, fitted_on.features.select(heads), params.fit, params.identify.seed)
        other = {s: data.per_video(apply(data.features.select(heads))) for s, data in splits.items() if s in raw}
        rows[f"scorer_{kind}"] = {"how": f"the detector's heads, {name} as the scorer", **row_of(splits, other, params)}
    rows["no_smoothing"] = {
        "how": "the detector without smoothing, the threshold tuned for that",
        **row_of(splits, raw, unsmoothed),
    }
    rows["fixed_threshold"] = {
        "how": f"the detector at threshold {FIXED_THRESHOLD:g} instead of the tuned one (only F1 can differ)",
        **row_of(splits, raw, params, FIXED_THRESHOLD),
    }
    return rows


def _text(asked: Sequence[Splits], direction: np.ndarray, params: Params) -> dict[str, Row]:
    """The model's own answers: the highest P(yes) / (P(yes) + P(no)) of some questions, and whether it says yes."""
    ask = params.ablate
    probability = [{s: expit(d.features.values[:, 0] @ direction) for s, d in answers.items()} for answers in asked]

    def rows(questions: Sequence[int], suffix: str, words: str) -> dict[str, Row]:
        highest = {s: np.max([probability[q][s] for q in questions], axis=0) for s in asked[0]}

        def row(of: Callable[[np.ndarray], np.ndarray]) -> Row:
            return row_of(asked[0], {s: asked[0][s].per_video(of(p)) for s, p in highest.items()}, params)

        return {
            f"text_answer{suffix}": {
                "how": f"1 where the model answers yes to {words}, else 0; nothing is fitted",
                **row(lambda p: (p > 0.5).astype(np.float64)),
            },
            f"text_probability{suffix}": {"how": f"P(yes) of {words}; nothing is fitted", **row(lambda p: p)},
        }

    n = len(ask.specific)
    return {
        **rows(range(n, len(asked)), "", " / ".join(ask.generic)),
        **(rows(range(n), "_specific", f"any of {n} questions that name the kinds") if n else {}),
    }


def _experts(material: Material, params: Params) -> dict[str, tuple[IdentifyParams, tuple[HeadRef, ...]]]:
    """The expert heads by both sets of criteria, the detector's own first."""
    both: tuple[Literal["paper", "robust"], ...] = ("paper", "robust")
    found: dict[str, tuple[IdentifyParams, tuple[HeadRef, ...]]] = {}
    for criteria in sorted(both, key=lambda c: c != params.identify.criteria):
        identify = params.identify.model_copy(update={"criteria": criteria})
        found[criteria] = (identify, identify_heads(material.hunted, identify))
    return found


def _chooser(params: IdentifyParams) -> Choose:
    return lambda draw, rng: identify_heads(draw, params)


def ablate(params: Params, index: Path, bundle: Path, features: Path, measured: Path, out: Path, plots: Path) -> None:
    """The stage ablate: a row for each arm with figures on test and hard, learning curve and sweeps.

    Writes `out` (JSON), the same as Markdown beside it, and ablation.png and sweeps.png into `plots`.
    """
    records = by_split(index)
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    stored, n_prompts = FeatureStore(features), len(params.prompts.texts)
    trained, untrained, asked = (FeatureStore(measured / name) for name in ("trained", "untrained", "asked"))

    def material(hidden: bool) -> Material:
        few = [r for s in LABELLED for r in records[s]]
        prompts = tuple(load_labelled(stored, few, i, share, hidden) for i in range(n_prompts))
        splits: Splits = {s: prompts[scoring].only({r.video_id for r in records[s]}) for s in LABELLED}
        splits |= {s: load_labelled(trained, records[s], 0, share, hidden) for s in TESTS if s in records}
        return Material(prompts, splits)

    heads, hidden = material(False), material(True)
    experts = _experts(heads, params)
    _, chosen = experts[params.identify.criteria]

    raw_prompts = tuple(load_labelled(untrained, records["calibration"], i, share) for i in range(n_prompts))
    raw_splits = {s: load_labelled(untrained, r, 0, share) for s, r in records.items() if s != "calibration"}
    raw_splits["calibration"] = raw_prompts[scoring]

    def answers(question: int) -> dict[str, LabelledFeatures]:
        spoken = {s: r for s, r in records.items() if s != "calibration"}
        return {s: load_labelled(asked, r, question, share, hidden=True) for s, r in spoken.items()}

    n_questions = len(params.ablate.specific) + len(params.ablate.generic)
    direction = load_extractor(params.mllm, params.segmentation, "cpu").answer_direction("yes", "no")

    rows: dict[str, Row] = {
        **{
            f"expert_{criteria}": {
                "how": f"{len(of)} heads by RSS, criteria {criteria}" + (" (the detector)" if of is chosen else ""),
                **row_of_heads(heads.splits, of, params),
            }
            for criteria, (_, of) in experts.items()
        },
        "random_k": _random_heads(heads, len(chosen), params),
        "whole_layer": _best_layer(heads, params),
        "all_heads": {"how": f"all {len(heads.heads)} heads", **row_of_heads(heads.splits, heads.heads, params)},
        "final_hidden": {
            "how": "the last layer's output at the last token, after the norm",
            **row_of_heads(hidden.splits, (HIDDEN,), params),
        },
        **_single_prompts(heads, params),
        **_of_detector(heads.splits, chosen, params),
        **_text([answers(q) for q in range(n_questions)], direction, params),
        "untrained": {
            "how": f"random weights (seed {UNTRAINED_SEED}), heads hunted, fitted and tuned as the method does",
            **row_of_heads(raw_splits, identify_heads(raw_prompts, params.identify), params),
        },
    }
    curve = few_labels(
        heads,
        hidden,
        {
            **{f"expert_{criteria}": _chooser(of) for criteria, (of, _) in experts.items()},
            "random_k": lambda draw, rng: draw_heads(heads.heads, len(chosen), rng),
            "all_heads": lambda draw, rng: heads.heads,
        },
        params,
    )
    for name, few in curve.items():
        rows[name]["low_label"] = few
    detector = load_bundle(bundle)[0].detector_id
    result: dict[str, Any] = {"detector_id": detector, "arms": rows, "sweeps": sweeps(heads, params)}
    write_json(out, result)
    write_text(out.with_suffix(".md"), markdown(result))
    draw_arms(plots / "ablation.png", result)
    draw_sweeps(plots / "sweeps.png", result)
