"""Which labelled videos tell what is new to a detector."""

from dataclasses import replace

from conftest import ROOT, scored_video
from headhunt_svc.core.groups import groups
from headhunt_svc.data.datasets import data_digest
from headhunt_svc.detector.bundle import load_bundle
from headhunt_svc.params import EvaluateParams
from headhunt_svc.pipeline.evaluate import groups_of

PARAMS = EvaluateParams(bootstrap=0)


def test_what_is_new_is_told_by_the_videos_that_the_detector_was_made_from() -> None:
    """A benchmark's index may hold calibration videos of its own, which the detector has not seen."""
    shipped, _ = load_bundle(ROOT / "artifacts" / "detector")
    labelled = [replace(scored_video([0.1, 0.2], [(0, 1)], label="fall").record, split="calibration")]
    videos = [scored_video([0.1, 0.9], [(1, 2)], "a", "fire"), scored_video([0.1, 0.2], [], "b")]
    for row in groups_of(videos, labelled, shipped, PARAMS).values():
        assert row.keys() == {"undefined"}
        assert "made from other calibration and validation videos" in row["undefined"]
    own = shipped.model_copy(update={"data": {"index_sha256": data_digest(labelled)}})
    figures = groups_of(videos, labelled, own, PARAMS)
    assert figures == groups(videos, labelled, PARAMS)
    assert figures["unseen_kinds"]["kinds"] == ["fire"]
