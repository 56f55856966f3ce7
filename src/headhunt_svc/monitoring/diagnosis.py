"""From the signals beyond their limits to the likely kind of change (docs/operations.md)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from headhunt_svc.monitoring.config import Kind
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict


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


def _kind(verdict: CameraVerdict, model_changed: bool) -> Kind | None:
    if verdict.status == "no data":
        return "pipeline"
    if not verdict.over:
        return None
    return _picture_kind(verdict.over) or ("model" if model_changed else "activity")


def _picture_kind(over: tuple[str, ...]) -> Kind | None:
    if "dropped_frames" in over:
        return "pipeline"
    if "view" in over:
        return "view"
    if "brightness" in over:
        return "lighting"
    return "pipeline" if "sharpness" in over else None
