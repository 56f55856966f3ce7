"""Figures of test videos unlike those that a detector was made from: of kinds of anomaly and of cameras that are new.

Both are told from the records alone. Where they cannot be told there is no row, but the reason: {"undefined": why}.
"""

from collections.abc import Sequence

from headhunt_svc.core.protocol import Figures, ScoredVideo, rank
from headhunt_svc.params import EvaluateParams
from headhunt_svc.types import VideoRecord

UNSEEN_KINDS = "unseen_kinds"
NEW_CAMERAS = "new_cameras"


def undefined(reason: str) -> dict[str, Figures]:
    """No row of either group, and why."""
    return {name: {"undefined": reason} for name in (UNSEEN_KINDS, NEW_CAMERAS)}


def groups(
    videos: Sequence[ScoredVideo], labelled: Sequence[VideoRecord], params: EvaluateParams
) -> dict[str, Figures]:
    """Rank metrics of unseen kinds and of new cameras; labelled: all calibration and validation videos."""
    if not labelled:
        return undefined("there are no calibration and validation videos to compare with")
    return {
        UNSEEN_KINDS: _unseen_kinds(videos, labelled, params),
        NEW_CAMERAS: _new_cameras(videos, labelled, params),
    }


def _unseen_kinds(videos: Sequence[ScoredVideo], labelled: Sequence[VideoRecord], params: EvaluateParams) -> Figures:
    """The videos of which no labelled video shows any kind, beside all normal videos."""
    seen = {kind for record in labelled for kind in record.kinds}
    unseen = [v for v in videos if v.record.is_anomalous and seen.isdisjoint(v.record.kinds)]
    if not unseen:
        return {"undefined": "calibration and validation videos show a kind of every anomalous video"}
    kinds = sorted({kind for v in unseen for kind in v.record.kinds})
    normal = [v for v in videos if not v.record.is_anomalous]
    return {"kinds": kinds, **rank([*unseen, *normal], params.bootstrap, params.seed)}


def _new_cameras(videos: Sequence[ScoredVideo], labelled: Sequence[VideoRecord], params: EvaluateParams) -> Figures:
    """All videos, normal ones too, of the cameras that no labelled video has."""
    seen = {record.camera for record in labelled}
    if None in seen:
        return {"undefined": "the annotations do not state the camera of every calibration and validation video"}
    new = [v for v in videos if v.record.camera is not None and v.record.camera not in seen]
    if not new:
        return {"undefined": "no video is stated to be of another camera than the calibration and validation videos"}
    cameras = sorted({str(v.record.camera) for v in new})
    return {"cameras": cameras, **rank(new, params.bootstrap, params.seed)}
