"""Unseen kinds and new cameras: which videos are in the rows, and why there may be none."""

from dataclasses import replace

import pytest

from conftest import scored_video
from headhunt_svc.core.groups import groups
from headhunt_svc.core.protocol import ScoredVideo, rank
from headhunt_svc.params import EvaluateParams
from headhunt_svc.types import VideoRecord

PARAMS = EvaluateParams(bootstrap=20)


def of_camera(video: ScoredVideo, camera: str | None) -> ScoredVideo:
    return replace(video, record=replace(video.record, camera=camera))


def record(label: str, camera: str | None) -> VideoRecord:
    return of_camera(scored_video([0.0, 0.0], [] if label == "normal" else [(0, 1)], label=label), camera).record


VIDEOS = {
    name: of_camera(scored_video(scores, truth, name, label), camera)
    for name, scores, truth, label, camera in (
        ("fire, new camera", [0.1, 0.9, 0.4], [(1, 2)], "fire", "c"),
        ("fire, old camera", [0.3, 0.2, 0.4], [(1, 2)], "fire", "a"),
        ("fall, new camera", [0.3, 0.7, 0.4], [(1, 2)], "fall", "d"),
        ("both, old camera", [0.1, 0.8, 0.4], [(1, 2)], "fall+fire", "b"),
        ("calm, new camera", [0.1, 0.6, 0.4], [], None, "c"),
        ("calm, old camera", [0.1, 0.2, 0.4], [], None, "a"),
        ("calm, no camera", [0.1, 0.2, 0.95], [], None, None),
    )
}
LABELLED = [record("fall", "a"), record("fight", "b"), record("normal", "b")]


def test_rows_are_the_rank_metrics_of_their_videos() -> None:
    """A video that also shows a seen kind is not in the kinds' row; new cameras have their own normal videos."""
    rows = groups([*VIDEOS.values()], LABELLED, PARAMS)
    kinds = [v for name, v in VIDEOS.items() if name.startswith(("fire", "calm"))]
    cameras = [v for name, v in VIDEOS.items() if name.endswith("new camera")]
    assert rows == {
        "unseen_kinds": {"kinds": ["fire"], **rank(kinds, 20, PARAMS.seed)},
        "new_cameras": {"cameras": ["c", "d"], **rank(cameras, 20, PARAMS.seed)},
    }
    assert rows["new_cameras"]["n_videos"] == 3
    assert rows["new_cameras"]["roc_auc"] == 1.0 > rows["unseen_kinds"]["roc_auc"]
    assert rows["new_cameras"]["roc_auc_interval"]


@pytest.mark.parametrize(
    ("labelled", "videos", "name", "reason"),
    [
        ([], [*VIDEOS], "unseen_kinds", "no calibration and validation videos"),
        ([], [*VIDEOS], "new_cameras", "no calibration and validation videos"),
        (LABELLED, ["fall, new camera", "both, old camera"], "unseen_kinds", "show a kind of every anomalous video"),
        ([*LABELLED, record("fall", None)], [*VIDEOS], "new_cameras", "do not state the camera of every calibration"),
        (LABELLED, ["fire, old camera", "calm, no camera"], "new_cameras", "no video is stated to be of another"),
        (LABELLED, ["calm, new camera"], "new_cameras", "one class only"),
    ],
)
def test_without_videos_or_knowledge_there_is_a_reason_and_no_figure(
    labelled: list[VideoRecord], videos: list[str], name: str, reason: str
) -> None:
    row = groups([VIDEOS[v] for v in videos], labelled, PARAMS)[name]
    assert reason in row["undefined"]
    assert "roc_auc" not in row


def test_without_a_labelled_anomaly_every_kind_is_unseen() -> None:
    assert groups([*VIDEOS.values()], [record("normal", "a")], PARAMS)["unseen_kinds"]["kinds"] == ["fall", "fire"]
