"""measure and ablate: the method's expert heads beside everything that they must beat, under one protocol.

All arms: fit on calibration videos under the scoring prompt, sigma tuned (like every other choice) on validation
videos, frame-level figures of the smoothed scores on the splits `test` and, if there is one, `hard`. In the low-label
part an arm sees n labelled videos and nothing else; there sigma is given (`ablate.low_label_sigma`), not tuned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track
from scipy.special import expit

from headhunt_svc.core.calibration import tune_locator
from headhunt_svc.core.metrics import count_metrics
from headhunt_svc.core.protocol import ScoredVideo, counts_of
from headhunt_svc.errors import FeatureError
from headhunt_svc.io.artifacts import load_bundle, model_key
from headhunt_svc.io.datasets import load_index
from headhunt_svc.io.feature_store import HIDDEN, FeatureStore
from headhunt_svc.io.files import write_json
from headhunt_svc.mllm.extractor import load_extractor
from headhunt_svc.params import IdentifyParams, Params
from headhunt_svc.settings import Settings
from headhunt_svc.stages.evaluate import figures
from headhunt_svc.stages.extract import extract_videos
from headhunt_svc.stages.training import LabelledFeatures, fit_heads, identify_heads, labelled, raw_scores, scored
from headhunt_svc.types import HeadRef, Split, VideoRecord

UNTRAINED_SEED = 0
TESTS: tuple[Split, ...] = ("test", "hard")
LABELLED: tuple[Split, ...] = ("calibration", "validation")

Choose = Callable[[Sequence[LabelledFeatures], np.random.Generator], tuple[HeadRef, ...]]


def _by_split(index: Path) -> dict[str, list[VideoRecord]]:
    splits: tuple[Split, ...] = (*LABELLED, *TESTS)
    found = {s: load_index(index, s) for s in splits}
    return {s: records for s, records in found.items() if records}


def measure(params: Params, index: Path, out: Path) -> None:
    """The stage measure: what the arms need beyond `extract`, in `out`/trained, `out`/untrained and `out`/asked.

    trained: all heads on the test splits. untrained: all heads of random weights on every split. asked: final hidden
    states under the questions of `ablate`, from which the answers' probabilities follow.
    """
    records = _by_split(index)
    tests = [r for s in TESTS for r in records.get(s, [])]
    labelled_videos = [r for s in LABELLED for r in records[s]]
    device, cut, key = Settings().device, params.segmentation, model_key(params.mllm)
    scoring, texts = (params.prompts.scoring_text,), params.prompts.texts
    model = load_extractor(params.mllm, cut, device)
    trained, untrained, asked = (FeatureStore(out / name) for name in ("trained", "untrained", "asked"))
    extract_videos(model, key, tests, scoring, cut, trained)
    trained.finish(r.video_id for r in tests)
    spoken = records["validation"] + tests
    extract_videos(model, key, spoken, (*params.ablate.specific, *params.ablate.generic), cut, asked, heads=())
    asked.finish(r.video_id for r in spoken)
    model, key = load_extractor(params.mllm, cut, device, untrained_seed=UNTRAINED_SEED), f"untrained {key}"
    extract_videos(model, key, records["calibration"], texts, cut, untrained)
    extract_videos(model, key, records["validation"] + tests, scoring, cut, untrained)
    untrained.finish(r.video_id for r in labelled_videos + tests)


@dataclass(frozen=True, slots=True)
class Material:
    """Features of one model: labelled videos under every prompt, every split under the scoring prompt."""

    prompts: tuple[LabelledFeatures, ...]
    splits: dict[str, LabelledFeatures]

    @property
    def heads(self) -> tuple[HeadRef, ...]:
        """All heads of the model."""
        return self.splits["calibration"].features.heads


def roc_auc(videos: Sequence[ScoredVideo]) -> float:
    """ROC-AUC over all frames."""
    return count_metrics(counts_of(videos), 0, 0).roc_auc


def tuned_sigma(videos: Sequence[ScoredVideo], params: Params) -> float:
    """The smoothing of best F1 on validation videos, tuned as the detector's."""
    return tune_locator(videos, params.calibrate).locator.sigma_segments


def smoothed(videos: Sequence[ScoredVideo], sigma: float) -> list[ScoredVideo]:
    """Every video's scores smoothed."""
    return [v.smoothed(sigma) for v in videos]


def _row(splits: dict[str, LabelledFeatures], raw: dict[str, list[np.ndarray]], params: Params) -> dict[str, Any]:
    """Figures on the test splits of any raw scores given for validation and test splits."""
    videos = {s: scored(splits[s], raw[s]) for s in ("validation", *TESTS) if s in splits}
    sigma = tuned_sigma(videos["validation"], params)
    return {s: figures(smoothed(videos[s], sigma), params.evaluate) for s in TESTS if s in videos}


def _of_heads(splits: dict[str, LabelledFeatures], heads: tuple[HeadRef, ...], params: Params) -> dict[str, Any]:
    scorer = fit_heads(splits["calibration"], heads, params.fit)
    raw = {s: raw_scores(data, scorer) for s, data in splits.items() if s != "calibration"}
    return _row(splits, raw, params)


def _draw(heads: tuple[HeadRef, ...], k: int, rng: np.random.Generator) -> tuple[HeadRef, ...]:
    return tuple(heads[i] for i in rng.choice(len(heads), k, replace=False))


def _mean_of_draws(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean figures of several rows; the intervals are over draws."""
    result: dict[str, Any] = {}
    for split, first in rows[0].items():
        of = [r[split] for r in rows]
        mean: dict[str, Any] = {"n_videos": first["n_videos"], "n_frames": first["n_frames"]}
        for key in ("roc_auc", "average_precision"):
            values = [r[key] for r in of]
            mean[key] = float(np.mean(values))
            mean[f"{key}_interval"] = [float(q) for q in np.quantile(values, [0.025, 0.975])]
        mean["by_kind"] = {
            kind: {
                key: float(np.mean([r["by_kind"][kind][key] for r in of])) for key in ("roc_auc", "average_precision")
            }
            for kind in first["by_kind"]
        }
        result[split] = mean
    return result


def _random_heads(material: Material, k: int, params: Params) -> dict[str, Any]:
    rng = np.random.default_rng(params.evaluate.seed)
    draws = [_draw(material.heads, k, rng) for _ in range(params.evaluate.random_draws)]
    plain = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": 0})})
    return _mean_of_draws([_of_heads(material.splits, d, plain) for d in track(draws, description="random heads")])


def _best_layer(material: Material, params: Params) -> tuple[int, tuple[HeadRef, ...]]:
    """The layer whose heads, all together, do best on validation videos."""

    def on_validation(heads: tuple[HeadRef, ...]) -> float:
        data = material.splits["validation"]
        videos = scored(data, raw_scores(data, fit_heads(material.splits["calibration"], heads, params.fit)))
        return roc_auc(smoothed(videos, tuned_sigma(videos, params)))

    layers = {n: tuple(h for h in material.heads if h.layer == n) for n in sorted({h.layer for h in material.heads})}
    best = max(track(layers, description="layers"), key=lambda n: on_validation(layers[n]))
    return best, layers[best]


def _low_label(
    draw: Sequence[LabelledFeatures], tests: LabelledFeatures, heads: tuple[HeadRef, ...], params: Params
) -> float:
    """ROC-AUC on the test split of a scorer fitted on a few labelled videos."""
    scorer = fit_heads(draw[params.prompts.scoring], heads, params.fit)
    return roc_auc(smoothed(scored(tests, raw_scores(tests, scorer)), params.ablate.low_label_sigma))


def _draws(prompts: Sequence[LabelledFeatures], n: int, params: Params) -> list[list[LabelledFeatures]]:
    """Draws of n labelled videos, each with at least two normal and two anomalous ones."""
    rng = np.random.default_rng([params.evaluate.seed, n])
    records = prompts[0].records
    draws: list[list[LabelledFeatures]] = []
    for _ in range(1000):
        chosen = {records[i].video_id for i in rng.choice(len(records), min(n, len(records)), replace=False)}
        anomalous = sum(r.is_anomalous for r in records if r.video_id in chosen)
        if 2 <= anomalous <= len(chosen) - 2:
            draws.append([data.only(chosen) for data in prompts])
        if len(draws) == params.ablate.draws:
            return draws
    raise FeatureError(f"{n} of {len(records)} labelled videos never hold two normal and two anomalous ones")


def _criteria(params: Params) -> dict[str, IdentifyParams]:
    """The arms of expert heads, the detector's own criteria first."""
    own = params.identify.criteria
    both: tuple[Literal["paper", "robust"], ...] = ("paper", "robust")
    return {
        f"expert_{c}": params.identify.model_copy(update={"criteria": c}) for c in sorted(both, key=lambda c: c != own)
    }


def _chooser(params: IdentifyParams) -> Choose:
    return lambda draw, rng: identify_heads(draw, params)[0]


def _low_labels(
    heads_material: Material, hidden_material: Material, k: int, params: Params
) -> dict[str, dict[str, Any]]:
    """Per arm and number of labelled videos: mean, standard deviation and every draw's test ROC-AUC."""
    tests = heads_material.splits["test"]
    arms: dict[str, Choose] = {
        **{name: _chooser(params_of) for name, params_of in _criteria(params).items()},
        "random_heads": lambda draw, rng: _draw(heads_material.heads, k, rng),
        "all_heads": lambda draw, rng: heads_material.heads,
    }
    result: dict[str, dict[str, Any]] = {name: {} for name in (*arms, "final_hidden_state")}
    for n in params.ablate.labelled_videos:
        of_heads, of_hidden = (_draws(m.prompts, n, params) for m in (heads_material, hidden_material))
        found: dict[str, list[float]] = {name: [] for name in result}
        pairs = list(zip(of_heads, of_hidden, strict=True))
        for i, (draw, hidden) in enumerate(track(pairs, description=f"{n} labelled videos")):
            rng = np.random.default_rng([params.evaluate.seed, n, i])
            for name, choose in arms.items():
                found[name].append(_low_label(draw, tests, choose(draw, rng), params))
            found["final_hidden_state"].append(_low_label(hidden, hidden_material.splits["test"], (HIDDEN,), params))
        for name, values in found.items():
            result[name][str(n)] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "roc_auc": values}
    return result


def ablate(params: Params, index: Path, bundle: Path, features: Path, measured: Path, out: Path) -> None:
    """The stage ablate: ablation.json, a row for each arm with figures on test, hard and with few labels."""
    records = _by_split(index)
    share, scoring = params.label.min_anomalous_share, params.prompts.scoring
    stored, n_prompts = FeatureStore(features), len(params.prompts.texts)
    trained, untrained, asked = (FeatureStore(measured / name) for name in ("trained", "untrained", "asked"))

    def material(hidden: bool) -> Material:
        few = [r for s in LABELLED for r in records[s]]
        prompts = tuple(labelled(stored, few, i, share, hidden) for i in range(n_prompts))
        splits: dict[str, LabelledFeatures] = {
            s: prompts[scoring].only({r.video_id for r in records[s]}) for s in LABELLED
        }
        splits |= {s: labelled(trained, records[s], 0, share, hidden) for s in TESTS if s in records}
        return Material(prompts, splits)

    def on_calibration(data: LabelledFeatures) -> LabelledFeatures:
        return data.only({r.video_id for r in records["calibration"]})

    heads, hidden = material(False), material(True)
    labelled_prompts = [on_calibration(p) for p in heads.prompts]
    experts = {name: identify_heads(labelled_prompts, params_of)[0] for name, params_of in _criteria(params).items()}
    chosen = experts[f"expert_{params.identify.criteria}"]
    layer, of_layer = _best_layer(heads, params)
    raw_prompts = [labelled(untrained, records["calibration"], i, share) for i in range(n_prompts)]
    raw_splits = {s: labelled(untrained, r, 0, share) for s, r in records.items() if s != "calibration"}
    raw_splits["calibration"] = raw_prompts[scoring]
    raw_chosen, _ = identify_heads(raw_prompts, params.identify)

    ask = params.ablate
    direction = load_extractor(params.mllm, params.segmentation, "cpu").answer_direction("yes", "no")
    spoken = {s: r for s, r in records.items() if s != "calibration"}
    answers = [
        {s: labelled(asked, r, i, share, hidden=True) for s, r in spoken.items()}
        for i in range(len(ask.specific) + len(ask.generic))
    ]

    def answered(questions: Sequence[int]) -> dict[str, Any]:
        """The highest P(yes) / (P(yes) + P(no)) of some questions as the raw score."""
        raw = {}
        for s in spoken:
            p = [expit(answers[q][s].features.values[:, 0] @ direction) for q in questions]
            raw[s] = answers[0][s].per_video(np.max(p, axis=0))
        return _row(answers[0], raw, params)

    n_specific, k = len(ask.specific), len(chosen)
    rows: dict[str, dict[str, Any]] = {
        **{
            name: {
                "how": f"{len(of)} heads by RSS, criteria {name.removeprefix('expert_')}"
                + (" (the detector)" if of is chosen else ""),
                **_of_heads(heads.splits, of, params),
            }
            for name, of in experts.items()
        },
        "random_heads": {
            "how": f"mean of {params.evaluate.random_draws} draws of {k} heads; intervals over draws",
            **_random_heads(heads, len(chosen), params),
        },
        "best_layer": {
            "how": f"all {len(of_layer)} heads of layer {layer}, the best on validation videos",
            **_of_heads(heads.splits, of_layer, params),
        },
        "all_heads": {"how": f"all {len(heads.heads)} heads", **_of_heads(heads.splits, heads.heads, params)},
        "final_hidden_state": {
            "how": "the last layer's output at the last token, after the norm",
            **_of_heads(hidden.splits, (HIDDEN,), params),
        },
        "text_specific": {
            "how": f"the highest P(yes) of {n_specific} questions that name the kinds; nothing is fitted",
            **answered(range(n_specific)),
        },
        "text_generic": {
            "how": f"P(yes) of: {' '.join(ask.generic)} Nothing is fitted",
            **answered(range(n_specific, len(answers))),
        },
        "untrained": {
            "how": f"random weights (seed {UNTRAINED_SEED}), heads hunted, fitted and tuned as the method does",
            **_of_heads(raw_splits, raw_chosen, params),
        },
    }
    for name, few in _low_labels(heads, hidden, len(chosen), params).items():
        rows[name]["low_label"] = few
    write_json(out, {"detector_id": load_bundle(bundle)[0].detector_id, "arms": rows})
