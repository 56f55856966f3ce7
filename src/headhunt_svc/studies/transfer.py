"""transfer: what a detector of another data set is worth on this one, and what each step of making it anew regains.

As it is; with its operating point calibrated on this set's validation videos; with its scorer fitted on this set's
calibration videos; with heads that are hunted there too. All from stored features, so the model is not run.
"""

from collections.abc import Sequence
from pathlib import Path

from headhunt_svc.core.protocol import Figures, assess
from headhunt_svc.data.datasets import load_records
from headhunt_svc.data.feature_store import FeatureStore, Source
from headhunt_svc.detector.bundle import Bundle, load_bundle, model_key
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT
from headhunt_svc.errors import ArtifactError, FeatureError
from headhunt_svc.params import Params
from headhunt_svc.pipeline.calibrate import calibrate_scorer
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.identify import identify_heads
from headhunt_svc.pipeline.labelled_features import LabelledFeatures, load_labelled, load_prompts, videos_scored_by
from headhunt_svc.storage.files import write_json
from headhunt_svc.types import HeadRef, OperatingPoint, Scorer, Unavailable

HOW = {  # in order: every step makes more anew than the one before
    "as_it_is": "heads, scorer and operating point of the bundle",
    "calibrated": "sigma and threshold from this data set's validation videos",
    "fitted": "the scorer from its calibration videos as well",
    "hunted": "and the heads: all of it from this data set",
}


def check_same_features(folder: Path, bundle: Bundle, params: Params) -> None:
    """Raise ArtifactError unless the features that params.yaml asks for are those that the bundle's scorer reads."""
    pairs = {
        "model": (model_key(bundle.mllm_at(folder), bundle.mllm_revision), model_key(params.mllm)),
        "prompt": (bundle.prompt, params.prompts.scoring_text),
        "segmentation": (bundle.segmentation.model_dump_json(), params.segmentation.model_dump_json()),
    }
    for name, (own, stored) in pairs.items():
        if own != stored:
            raise ArtifactError(
                f"{folder} reads features of {name} {own!r}, params.yaml asks for {stored!r}: write the bundle's into "
                "params.yaml and run `dvc repro detect`, which stores the features that both can read"
            )


def _row(tests: LabelledFeatures, scorer: Scorer, point: OperatingPoint, params: Params) -> Figures:
    """The main figures of a scorer at an operating point."""
    videos = [v.smoothed(point.sigma_segments) for v in videos_scored_by(scorer, tests)]
    figures = assess(videos, point, params.evaluate)
    areas = ("roc_auc", "roc_auc_interval", "average_precision", "average_precision_interval")
    return {
        "heads": [list(head) for head in scorer.heads],
        "sigma_segments": point.sigma_segments,
        "threshold": point.threshold,
        **{key: figures[key] for key in areas},
        "f1": figures["at_threshold"]["f1"],
        "false_alarms_per_hour": figures["false_alarms"]["per_hour"],
    }


def _calibrated(validation: LabelledFeatures, tests: LabelledFeatures, scorer: Scorer, params: Params) -> Figures:
    """The same at the point of best F1 on validation videos; {"unavailable": why} where they allow none."""
    point = calibrate_scorer(validation, scorer, params.calibrate)[DEFAULT_OPERATING_POINT]
    if isinstance(point, Unavailable):
        return {"unavailable": point.reason}
    return _row(tests, scorer, point.offline.operating_point, params)


def steps(
    scorer: Scorer,
    point: OperatingPoint,
    calibration: Sequence[LabelledFeatures],
    validation: LabelledFeatures,
    tests: LabelledFeatures,
    params: Params,
) -> dict[str, Figures]:
    """Figures on the test videos after each step. calibration: under every prompt; the others under the scoring one.

    Raises:
        FeatureError: the videos allow no operating point, even for a scorer that is fitted on them.
    """
    scored = calibration[params.prompts.scoring]

    def fitted(heads: tuple[HeadRef, ...]) -> Scorer:
        return fit_heads(scored, heads, params.fit).scorer

    try:
        calibrated = _calibrated(validation, tests, scorer, params)
    except FeatureError as exc:  # it may call everything here anomalous; if the videos are at fault, fitting says so
        calibrated = {"unavailable": str(exc)}
    rows = {
        "as_it_is": _row(tests, scorer, point, params),
        "calibrated": calibrated,
        "fitted": _calibrated(validation, tests, fitted(scorer.heads), params),
        "hunted": _calibrated(validation, tests, fitted(identify_heads(calibration, params.identify)), params),
    }
    return {name: {"how": HOW[name], **row} for name, row in rows.items()}


def transfer(
    params: Params, bundle: Path, index: Path, labels: Path, features: Path, tests: Path, out: Path | None = None
) -> Figures:
    """Measure a bundle of another data set on this one's test videos, step by step; writes the figures to `out`.

    features, tests: all heads on labelled and on test videos, as the stages extract and detect store them.

    Raises:
        ArtifactError: the bundle reads features of another model, prompt or segmentation, or features are missing.
        FeatureError: the validation videos allow no operating point.
    """
    detector, scorer = load_bundle(bundle)
    check_same_features(bundle, detector, params)
    records = {split: load_records(index, labels, split) for split in ("calibration", "validation", "test")}
    stored = FeatureStore(tests, "headhunt detect --split test")
    source = Source(model_key(params.mllm), (params.prompts.scoring_text,), params.segmentation.model_dump_json())
    stored.check([r.video_id for r in records["test"]], source)
    labelled = FeatureStore(features)
    (validation,) = load_prompts(params, labelled, records["validation"], [params.prompts.scoring])
    name = detector.default_point
    result = {
        "detector_id": detector.detector_id,
        "operating_point": name,
        "videos": {split: len(videos) for split, videos in records.items()},
        "steps": steps(
            scorer,
            detector.operating_point(name),
            load_prompts(params, labelled, records["calibration"]),
            validation,
            load_labelled(stored, records["test"], 0, params.label.min_anomalous_share),
            params,
        ),
    }
    if out is not None:
        write_json(out, result)
    return result
