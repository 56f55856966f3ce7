"""From the signals beyond their limits to the likely kind of change (docs/operations.md)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from headhunt_svc.monitoring.config import Kind, Signal
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict

# the first of these signals that is beyond its limit decides
PICTURE_KINDS: dict[Signal, Kind] = {
    "dropped_frames": "pipeline", "view": "view", "brightness": "lighting", "sharpness": "pipeline",
}  # fmt: skip


def diagnose(verdicts: Mapping[str, CameraVerdict]) -> dict[str, CameraVerdict]:
    """The same verdicts with their kinds.

    The pictures come first, because they explain the scores. If the heads of all cameras moved the same way, it is the
    model. What is left is a change in what happens.
    """
    fleet = verdicts.get(FLEET)
    model_changed = fleet is not None and "heads" in fleet.over
    kinds: dict[str, Kind | None] = {
        name: _kind(verdict, model_changed) for name, verdict in verdicts.items() if name != FLEET
    }
    if fleet is not None and fleet.over:
        most_common = Counter(kind for kind in kinds.values() if kind).most_common(1)
        kinds[FLEET] = "model" if model_changed else most_common[0][0] if most_common else "activity"
    return {name: replace(verdict, kind=kinds.get(name)) for name, verdict in verdicts.items()}


def deciding(verdict: CameraVerdict) -> str | None:
    """The signal that decided the kind, or else the furthest beyond its limit; None where none is beyond."""
    of_pictures = (signal for signal in PICTURE_KINDS if signal in verdict.over)
    return next(of_pictures, max(verdict.over, key=lambda signal: verdict.signals[signal].of_limit, default=None))


def _kind(verdict: CameraVerdict, model_changed: bool) -> Kind | None:
    if not verdict.over:
        return None
    of_pictures = (kind for signal, kind in PICTURE_KINDS.items() if signal in verdict.over)
    return next(of_pictures, "model" if model_changed else "activity")
