"""The judge and the diagnosis on made-up cameras whose truth is known."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from headhunt_svc.errors import ConfigError
from headhunt_svc.monitoring.baselines import Baseline
from headhunt_svc.monitoring.config import DriftParams, load_drift
from headhunt_svc.monitoring.drift import Judge
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict
from headhunt_svc.prediction_log.windows import Rows, Window
from helpers.log_rows import METADATA, START, K, P, rows

PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml")
CAMERAS = ("dock", "gate", "yard")


def camera_rows(camera: str, videos: int, seed: int, **columns: Any) -> Rows:
    tables = [rows(16, camera, f"{i}.mp4", seed=1000 * seed + i, **columns) for i in range(videos)]
    table = pa.concat_tables(tables).unify_dictionaries()
    return Rows(METADATA, table, len(table), sum(table["in_event"].to_pylist()))


BASELINES = {c: Baseline("v1", camera_rows(c, 40, i)) for i, c in enumerate(CAMERAS)}


def window(**changed: dict[str, Any]) -> Window:
    day = Window(START, START + timedelta(days=1))
    for i, camera in enumerate(CAMERAS):
        day.cameras[camera] = camera_rows(camera, 20, 10 + i, **changed.get(camera, changed.get("all", {})))
    return day


def judge(shown: Window, baselines: dict[str, Baseline], fallback: Baseline | None = None) -> dict[str, CameraVerdict]:
    return Judge(PARAMS).judge(shown, baselines, fallback).cameras


MOVED_HEADS = {"features": list(np.random.default_rng(3).normal(2, 1, (16, K * P)))}
DARK = {"brightness": np.full(16, 0.2)}


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ({}, {}),
        ({"dock": DARK}, {"dock": "lighting"}),
        ({"gate": {"layout": list(np.ones((16, 36)) + np.cos(np.arange(36)))}}, {"gate": "view"}),
        ({"gate": {"dropped_frames": np.arange(16) % 4}}, {"gate": "pipeline"}),
        ({"yard": {"sharpness": np.full(16, 0.03)}}, {"yard": "pipeline"}),
        ({"yard": {"raw": np.linspace(0.5, 1, 16)}}, {"yard": "activity"}),
        ({"all": MOVED_HEADS}, {"dock": "model", "gate": "model", "yard": "model", FLEET: "model"}),
        (
            {"dock": MOVED_HEADS | DARK, "gate": MOVED_HEADS, "yard": MOVED_HEADS},
            {"dock": "lighting", "gate": "model", "yard": "model", FLEET: "model"},
        ),
    ],
)
def test_changes_are_found_on_their_camera_and_named(changed: dict[str, Any], kinds: dict[str, str]) -> None:
    verdicts = judge(window(**changed), BASELINES)
    assert {c: v.kind for c, v in verdicts.items() if v.kind and c != FLEET} == {
        c: k for c, k in kinds.items() if c != FLEET
    }
    assert FLEET not in kinds or verdicts[FLEET].kind == kinds[FLEET]


def test_heads_that_moved_are_named() -> None:
    features = np.random.default_rng(0).normal(0, 1, (16, K, P))
    features[:, 1] += 2
    verdict = judge(window(yard={"features": list(features.reshape(16, -1))}), BASELINES)["yard"]
    assert verdict.heads["2.0"] > 0.8
    assert verdict.heads["2.0"] > 2 * verdict.heads["0.1"]


def test_small_windows_and_cameras_without_rows_or_baseline_are_no_drift() -> None:
    few = window(yard=DARK)
    few.cameras["yard"] = camera_rows("yard", 4, 30, **DARK)  # dark, but four clips
    few.cameras["new"] = camera_rows("new", 20, 31)
    del few.cameras["gate"]
    verdicts = judge(few, BASELINES)
    assert (verdicts["yard"].status, verdicts["yard"].kind) == ("not enough data", None)
    assert "64 segments in 4 blocks, 100 in 8 are needed" in verdicts["yard"].why
    assert (verdicts["new"].status, verdicts["new"].kind) == ("not enough data", None)
    assert "rebaseline --camera" in verdicts["new"].why
    assert (verdicts["gate"].status, verdicts["gate"].baseline) == ("no data", "v1")  # silence.py says if that is bad


def test_a_camera_without_a_baseline_is_compared_with_the_reference_where_that_can_be() -> None:
    reference = Baseline("reference", camera_rows("reference", 40, 50, brightness=np.full(16, 0.9)))
    verdict = judge(window(), {}, reference)["yard"]
    assert verdict.status == "fine"
    assert {"score_psi", "event_rate"} <= verdict.signals.keys()
    assert not {"brightness", "view", "heads"} & verdict.signals.keys()
    loud = judge(window(yard={"raw": np.linspace(0.5, 1, 16)}), {}, reference)["yard"]
    assert loud.kind == "activity"


def test_a_baseline_of_other_heads_is_named_and_not_used() -> None:
    other = replace(METADATA, heads=tuple(reversed(METADATA.heads)))
    odd = Baseline("v0", replace(BASELINES["yard"].rows, metadata=other))
    verdict = judge(window(yard=DARK), {**BASELINES, "yard": odd})["yard"]
    assert (verdict.status, verdict.signals) == ("not enough data", {})
    assert "other heads" in verdict.why


def test_drift_yaml_is_strict(tmp_path: Path) -> None:
    good = (ROOT / "monitoring" / "drift.yaml").read_text()
    assert isinstance(PARAMS, DriftParams)
    for text, says in (
        (good.replace("heads:", "haeds:"), "haeds"),
        (good.replace("  view: 0.1", "# "), "limits lacks view"),
        (good.replace("window_h: 24", "window_h: 0"), "window_h"),
        ("a: [", "cannot be read as YAML"),
    ):
        (tmp_path / "drift.yaml").write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_drift(tmp_path / "drift.yaml")
    with pytest.raises(ConfigError, match="not found"):
        load_drift(tmp_path / "none.yaml")
