"""From the signals that moved to the likely kind of change, and what to do about it (docs/operations.md)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headhunt_svc.monitoring.config import Kind

if TYPE_CHECKING:
    from headhunt_svc.monitoring.drift import CameraVerdict

REMEDY: dict[Kind, str] = {
    "lighting": "look at the camera (lamp, aperture, season); if it stays so, `headhunt monitor rebaseline --camera`",
    "view": "was the camera moved? turn it back, or recalibrate on its new view and `headhunt monitor rebaseline`",
    "pipeline": "check stream, encoder and lens: pictures are lost, blurred or missing",
    "model": "a library, template or model changed for all cameras: `headhunt bundles rollback`, or hunt heads again",
    "activity": "more or other things happen there: look at the events, then label and `headhunt recalibrate`",
}


def diagnose(verdicts: dict[str, CameraVerdict], together: str) -> None:
    """Fill in the kinds.

    What the pictures themselves show comes first: it explains the scores. What moved the heads of all cameras the same
    way is the model. What is left is a change in what happens.
    """
    whole = verdicts.get(together)
    model = whole is not None and "heads" in whole.over
    for name, verdict in verdicts.items():
        if verdict.status == "no data":
            verdict.kind = "pipeline"
        elif verdict.over and name != together:
            verdict.kind = _from_pictures(verdict.over) or ("model" if model else "activity")
    if whole is not None and whole.over:
        kinds: list[Kind] = [v.kind for v in verdicts.values() if v.kind]
        whole.kind = "model" if model else Counter[Kind](kinds or ["activity"]).most_common(1)[0][0]


def _from_pictures(over: tuple[str, ...]) -> Kind | None:
    if "dropped_frames" in over:
        return "pipeline"
    if "view" in over:
        return "view"
    if "brightness" in over:
        return "lighting"
    return "pipeline" if "sharpness" in over else None
