"""ablate: the method's expert heads beside simpler alternatives, all evaluated the same way (studies/arms.py)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.progress import track
from scipy.special import expit

from headhunt_svc.core.protocol import Figures
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import HIDDEN, FeatureStore, Source
from headhunt_svc.detector.bundle import load_bundle, model_key
from headhunt_svc.model.loading import load_extractor
from headhunt_svc.params import FitParams, IdentifyParams, Params
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, scored_videos, videos_scored_by
from headhunt_svc.storage.files import write_json, write_text
from headhunt_svc.studies.alternatives import HIDDEN_UNITS, Kind, fit_alternative
from headhunt_svc.studies.arms import (
    AblationData,
    Splits,
    evaluate_heads,
    evaluate_scores,
    labelled_of,
    load_stored,
    mean_figures,
    roc_auc,
    score_splits,
    smooth_all,
    tune,
    without_bootstrap,
)
from headhunt_svc.studies.figures import draw_arms, draw_sweeps, markdown
from headhunt_svc.studies.measure import TESTS, UNTRAINED_SEED, by_split
from headhunt_svc.studies.published import changed, published_rows
from headhunt_svc.studies.sweeps import HeadChooser, Learner, few_labels, sweeps
from headhunt_svc.types import HeadRef, VideoRecord

FIXED_THRESHOLD = 0.5  # the natural threshold of a probability
SCORERS: dict[Kind, str] = {"svm": "a linear SVM", "mlp": f"an MLP with {HIDDEN_UNITS} hidden units"}


def draw_heads(heads: tuple[HeadRef, ...], k: int, rng: np.random.Generator) -> tuple[HeadRef, ...]:
    """k of the heads at random."""
    return tuple(heads[i] for i in rng.choice(len(heads), k, replace=False))


def _random_heads(data: AblationData, k: int, params: Params) -> Figures:
    rng = np.random.default_rng(params.evaluate.seed)
    draws = [draw_heads(data.candidates(params.identify), k, rng) for _ in range(params.ablate.random_draws)]
    plain = without_bootstrap(params)
    figures = [evaluate_heads(data.splits, heads, plain) for heads in track(draws, description="random heads")]
    return {"how": f"mean of {len(draws)} draws of {k} heads; intervals over draws", **mean_figures(figures)}


def _best_layer(data: AblationData, params: Params) -> Figures:
    """The layer whose heads, all together, do best on validation videos."""

    def on_validation(heads: tuple[HeadRef, ...]) -> float:
        validation = data.splits["validation"]
        scorer = fit_heads(data.splits["calibration"], heads, params.fit).scorer
        videos = videos_scored_by(scorer, validation)
        return roc_auc(smooth_all(videos, tune(videos, params).sigma_segments))

    heads = data.candidates(params.identify)
    layers = {n: tuple(h for h in heads if h.layer == n) for n in sorted({h.layer for h in heads})}
    best = max(track(layers, description="layers"), key=lambda n: on_validation(layers[n]))
    how = f"all {len(layers[best])} heads of layer {best}, the best on validation videos"
    return {"how": how, **evaluate_heads(data.splits, layers[best], params)}


def _single_prompts(data: AblationData, params: Params) -> dict[str, Figures]:
    """Heads chosen under one prompt: the mean over prompts, and the prompt that is best on the test videos."""
    texts = params.prompts.texts
    choices = [identify_heads([p], params.identify) for p in track(data.calibration, description="single prompts")]
    figures = [evaluate_heads(data.splits, heads, params) for heads in choices]
    best = int(np.argmax([f["test"]["roc_auc"] for f in figures]))
    return {
        "single_prompt": {
            "how": f"heads chosen under one prompt alone, mean of {len(figures)} prompts; intervals over prompts",
            **mean_figures(figures),
        },
        "oracle_prompt": {
            "how": f"the single prompt that is best on the test videos ({texts[best]}): a bound, not a result",
            **figures[best],
        },
    }


def _detector_variants(splits: Splits, heads: tuple[HeadRef, ...], params: Params) -> dict[str, Figures]:
    """The detector's heads with another scorer, without smoothing, without a tuned threshold."""
    raw = score_splits(splits, heads, params)
    unsmoothed = changed(params, "calibrate", sigma_segments=(0.0,))
    rows: dict[str, Figures] = {}
    calibration = splits["calibration"]
    for kind, name in SCORERS.items():
        z = calibration.features.select(heads)
        apply = fit_alternative(kind, calibration, z, params.fit, params.identify.seed)
        scores = {
            s: scored_videos(splits[s], splits[s].per_video(apply(splits[s].features.select(heads)))) for s in raw
        }
        how = f"the detector's heads, {name} as the scorer"
        rows[f"scorer_{kind}"] = {"how": how, **evaluate_scores(splits, scores, params)}
    for field in ("scorer", "background"):
        for other in get_args(FitParams.model_fields[field].annotation):
            if other != getattr(params.fit, field):
                rows[f"{field}_{other.replace('+', '_')}"] = {
                    "how": f"the detector's heads, fit.{field}: {other}",
                    **evaluate_heads(splits, heads, changed(params, "fit", **{field: other})),
                }
    rows["steady_kept"] = {
        "how": "the detector, but what is strange about a video all the time counts, fit.ignore_steady: false",
        **evaluate_heads(splits, heads, changed(params, "fit", ignore_steady=False)),
    }
    rows["no_smoothing"] = {
        "how": "the detector without smoothing, the threshold tuned for that",
        **evaluate_scores(splits, raw, unsmoothed),
    }
    rows["fixed_threshold"] = {
        "how": f"the detector at threshold {FIXED_THRESHOLD:g} instead of the tuned one (only F1 can differ)",
        **evaluate_scores(splits, raw, params, FIXED_THRESHOLD),
    }
    return rows


def text_answers(
    answers: Sequence[Splits], direction: np.ndarray, labelled: Sequence[VideoRecord], params: Params
) -> dict[str, Figures]:
    """The model's own answers: the highest P(yes) / (P(yes) + P(no)) of some questions, and whether it says yes.

    answers: for each question, the final hidden states of every split but calibration; direction: "yes" minus "no" in
    that space; labelled: the calibration and validation videos.
    """
    probability = [{s: expit(d.features.values[:, 0] @ direction) for s, d in splits.items()} for splits in answers]

    def rows(questions: Sequence[int], suffix: str, words: str) -> dict[str, Figures]:
        highest = {s: np.max([probability[q][s] for q in questions], axis=0) for s in answers[0]}

        def evaluate(score: Callable[[np.ndarray], np.ndarray]) -> Figures:
            raw = {s: scored_videos(answers[0][s], answers[0][s].per_video(score(p))) for s, p in highest.items()}
            return evaluate_scores(answers[0], raw, params, labelled=labelled)

        return {
            f"text_answer{suffix}": {
                "how": f"1 where the model answers yes to {words}, else 0; nothing is fitted",
                **evaluate(lambda p: (p > 0.5).astype(np.float64)),
            },
            f"text_probability{suffix}": {"how": f"P(yes) of {words}; nothing is fitted", **evaluate(lambda p: p)},
        }

    n = len(params.ablate.specific)
    generic = rows(range(n, len(answers)), "", " / ".join(params.ablate.generic))
    return generic | (rows(range(n), "_specific", f"any of {n} questions that name the kinds") if n else {})


def _criteria(params: Params) -> list[str]:
    """Both sets of criteria, the detector's first."""
    return sorted(("paper", "robust"), key=lambda name: name != params.identify.criteria)


def _chooser(params: IdentifyParams) -> HeadChooser:
    return lambda draw, rng: identify_heads(draw, params)


def _learners(heads: tuple[HeadRef, ...], k: int, params: Params) -> dict[str, Learner]:
    """The arms of the learning curve: how each chooses heads, and the parameters of its scorer."""
    published = params.as_published()

    def as_many_at_random(draw: Sequence[LabelledFeatures], rng: np.random.Generator) -> tuple[HeadRef, ...]:
        kept = params.identify.n_heads(len(draw[0].records))
        return draw_heads(heads, k if kept == "auto" else min(kept, len(heads)), rng)

    experts = {f"expert_{c}": changed(params, "identify", criteria=c) for c in _criteria(params)}
    return {
        **{name: Learner(_chooser(p.identify), p) for name, p in experts.items()},
        **({"paper": Learner(_chooser(published.identify), published)} if params.method != "paper" else {}),
        "random_k": Learner(as_many_at_random, params),
        "all_heads": Learner(lambda draw, rng: heads, params),
    }


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Everything that the arms read. answers: final hidden states of every split, for each question."""

    heads: AblationData
    hidden: AblationData
    untrained: AblationData
    answers: list[Splits]


def _load_inputs(
    params: Params, records: Mapping[str, list[VideoRecord]], features: Path, tests: Path, measured: Path
) -> _Inputs:
    share, scoring, n_prompts = params.label.min_anomalous_share, params.prompts.scoring, len(params.prompts.texts)
    stored = FeatureStore(features)
    untrained, states = (FeatureStore(measured / name, "headhunt measure") for name in ("untrained", "asked"))
    trained = {
        "test": FeatureStore(tests, "headhunt detect --split test"),
        "hard": FeatureStore(measured / "trained", "headhunt measure"),
    }
    source = Source(model_key(params.mllm), (params.prompts.scoring_text,), params.segmentation.model_dump_json())
    for split in (s for s in TESTS if s in records):
        trained[split].check([r.video_id for r in records[split]], source)

    def load_untrained() -> AblationData:
        prompts = tuple(load_labelled(untrained, records["calibration"], i, share) for i in range(n_prompts))
        splits = {s: load_labelled(untrained, r, 0, share) for s, r in records.items() if s != "calibration"}
        return AblationData(prompts, {**splits, "calibration": prompts[scoring]})

    answers: list[Splits] = [
        {s: load_labelled(states, r, question, share, hidden=True) for s, r in records.items() if s != "calibration"}
        for question in range(len(params.ablate.specific) + len(params.ablate.generic))
    ]
    heads, states_at_end = (load_stored(params, records, stored, trained, hidden) for hidden in (False, True))
    return _Inputs(heads, states_at_end, load_untrained(), answers)


def _evaluate_arms(inputs: _Inputs, params: Params) -> dict[str, Figures]:
    """The figures of every arm."""
    data, candidates = inputs.heads, inputs.heads.candidates(params.identify)
    identify = {name: changed(params, "identify", criteria=name).identify for name in _criteria(params)}
    experts = {criteria: identify_heads(data.calibration, p) for criteria, p in identify.items()}
    detector_heads = experts[params.identify.criteria]
    untrained_heads = identify_heads(inputs.untrained.calibration, params.identify)
    direction = load_extractor(params.mllm, params.segmentation, "cpu").answer_direction("yes", "no")
    arms: dict[str, Figures] = {}
    for criteria, heads in experts.items():
        how = f"{len(heads)} heads by RSS, criteria {criteria}"
        how += " (the detector)" if criteria == params.identify.criteria else ""
        arms[f"expert_{criteria}"] = {"how": how, **evaluate_heads(data.splits, heads, params)}
    arms |= {
        **published_rows(data, detector_heads, params),
        "random_k": _random_heads(data, len(detector_heads), params),
        "whole_layer": _best_layer(data, params),
        "all_heads": {"how": f"all {len(candidates)} heads", **evaluate_heads(data.splits, candidates, params)},
        "final_hidden": {
            "how": "the last layer's output at the last token, after the norm",
            **evaluate_heads(inputs.hidden.splits, (HIDDEN,), params),
        },
        **_single_prompts(data, params),
        **_detector_variants(data.splits, detector_heads, params),
        **text_answers(inputs.answers, direction, labelled_of(data.splits), params),
        "untrained": {
            "how": f"random weights (seed {UNTRAINED_SEED}), heads hunted, fitted and tuned as the method does",
            **evaluate_heads(inputs.untrained.splits, untrained_heads, params),
        },
    }
    learners = _learners(candidates, len(detector_heads), params)
    for name, curve in few_labels(data, inputs.hidden, learners, params).items():
        arms[name]["low_label"] = curve
    return arms


def ablate(
    params: Params,
    index: Path,
    labels: Path,
    bundle: Path,
    features: Path,
    tests: Path,
    measured: Path,
    out: Path,
    plots: Path,
) -> None:
    """The stage ablate: figures on test and hard for each arm, learning curve and sweeps.

    features, tests: all heads on labelled and on test videos, as the stages extract and detect store them.

    Writes `out` (JSON), the same as Markdown beside it, and ablation.png and sweeps.png into `plots`.
    """
    inputs = _load_inputs(params, by_split(load_records(index, labels)), features, tests, measured)
    result: dict[str, Any] = {
        "detector_id": load_bundle(bundle)[0].detector_id,
        "arms": _evaluate_arms(inputs, params),
        "sweeps": sweeps(inputs.heads, params),
    }
    write_json(out, result)
    write_text(out.with_suffix(".md"), markdown(result))
    draw_arms(plots / "ablation.png", result)
    draw_sweeps(plots / "sweeps.png", result)
