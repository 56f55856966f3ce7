"""Compares the figures of a demo run with those that are published in the repository."""

from typing import Any

TOLERANCE = 0.01  # absolute; another processor changes features in their last bits only


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """ROC-AUC and AP of a metrics.json, over all videos, for what is new, and for each kind of anomaly."""
    groups = {name.replace("_", " "): row for name, row in metrics.get("groups", {}).items() if "undefined" not in row}
    rows = {"all videos": metrics, **groups, **metrics["by_kind"]}
    keys = {"ROC-AUC": "roc_auc", "AP": "average_precision"}
    return {f"{figure}, {name}": row[key] for name, row in rows.items() for figure, key in keys.items()}


def differences(metrics: dict[str, Any], published: dict[str, Any], tolerance: float = TOLERANCE) -> list[str]:
    """A line for each figure that is further than `tolerance` from the published one, or stands on one side only."""
    here, reference = _figures(metrics), _figures(published)
    lines: list[str] = []
    for name in dict.fromkeys([*reference, *here]):
        if name not in here or name not in reference:
            lines.append(f"{name}: {'published only' if name in reference else 'not published'}")
        elif abs(here[name] - reference[name]) > tolerance:
            difference = here[name] - reference[name]
            lines.append(f"{name}: {here[name]:.3f}, published {reference[name]:.3f} ({difference:+.3f})")
    return lines
