"""A scorer with a background: fitted and calibrated on whole videos, the same scores batch by batch."""

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.scores import scored
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import CalibrateParams, FitParams
from headhunt_svc.pipeline.calibrate import calibrate_scorer
from headhunt_svc.pipeline.fit import fit_heads
from headhunt_svc.pipeline.labelled_features import videos_scored_by
from headhunt_svc.types import Background, CalibratedPair, Scorer
from helpers.telling import HEADS, labelled_videos


@pytest.mark.parametrize("background", ["median", "ema"])
def test_stages_score_as_the_detector_does(background: Background) -> None:
    data = labelled_videos(12, 5)
    scorer = fit_heads(data, HEADS[1:], FitParams(background=background)).scorer
    assert scorer.background == background
    assert scorer.n_features * 2 == len(scorer.weight)
    z = data.features.select(HEADS[1:]).reshape(len(data.labels), 2, -1)
    segments = [TimedSegment(s, *t) for s, t in zip(data.features.segments, data.times.tolist(), strict=True)]
    rows = data.per_video(np.arange(len(z)))
    for video, stages in zip(rows, videos_scored_by(scorer, data), strict=True):
        parts = np.array_split(video, 3)
        batches = [FeatureBatch(tuple(segments[i] for i in part), z[part]) for part in parts if len(part)]
        np.testing.assert_allclose(np.concatenate([b.raw for b in scored(scorer, batches)]), stages.scores, atol=1e-12)
    pairs = [p for p in calibrate_scorer(data, scorer, CalibrateParams()).values() if isinstance(p, CalibratedPair)]
    assert pairs
    assert [p.causal is None for p in pairs] == [background == "median"] * len(pairs)


def test_causal_smoothing_of_a_median_is_refused_with_the_way_out() -> None:
    bundle, old = load_bundle(ROOT / "artifacts" / "detector")
    weight = np.zeros(2 * old.n_features)
    live = Options(bundle.default_point, smoothing="causal")
    assert Reporter(bundle, Scorer(old.heads, weight, 0.0, background="ema")).operating_point(live)
    with pytest.raises(ConfigError, match=r"causal smoothing: .*fit\.background: ema"):
        Reporter(bundle, Scorer(old.heads, weight, 0.0, background="median")).operating_point(live)
