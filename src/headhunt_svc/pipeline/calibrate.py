"""calibrate: operating points, from stored features of validation videos and the scorer."""

from dataclasses import replace
from pathlib import Path

from headhunt_svc.core.calibration import operating_points
from headhunt_svc.data.feature_store import FeatureStore
from headhunt_svc.detector.bundle import save_operating_points
from headhunt_svc.detector.scorer_file import load_scorer
from headhunt_svc.params import CalibrateParams, Params
from headhunt_svc.pipeline.labelled_features import (
    LabelledFeatures,
    load_prompts,
    records_of_selection,
    videos_scored_by,
)
from headhunt_svc.types import CalibratedPair, CalibratedPoints, Scorer


def without_live(points: CalibratedPair) -> CalibratedPair:
    """For scores that are known only when the whole video is: there is no live use, and no point for it."""
    return replace(points, causal=None)


def calibrate_scorer(data: LabelledFeatures, scorer: Scorer, params: CalibrateParams) -> CalibratedPoints:
    """Operating points of a scorer on some videos, and why others are unavailable."""
    points = operating_points(videos_scored_by(scorer, data), params)
    if scorer.background != "median":
        return points
    return {name: without_live(p) if isinstance(p, CalibratedPair) else p for name, p in points.items()}


def calibrate(
    params: Params, index: Path, labels: Path, features: Path, heads: Path, scorer: Path, out: Path
) -> CalibratedPoints:
    """The stage calibrate: writes locator.json with every operating point, or why it is unavailable.

    Raises:
        FeatureError: the validation videos allow none.
        ArtifactError: the heads were found with other labels.
    """
    _, records = records_of_selection(index, labels, heads)
    (data,) = load_prompts(params, FeatureStore(features), records["validation"], [params.prompts.scoring])
    points = calibrate_scorer(data, load_scorer(scorer), params.calibrate)
    save_operating_points(out, points)
    return points
