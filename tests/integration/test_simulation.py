"""The monitor's simulation: its disturbances are real, in the pictures and in the model's prompt."""

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.demo import monitoring
from headhunt_svc.demo.monitoring import CAMERAS, DARK, MOVED, NORMAL, Draws, Outcome, Pool, Scenario
from headhunt_svc.monitor.drift import FLEET, CameraVerdict
from headhunt_svc.monitor.windows import sample_of


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitoring, "CHUNK", 2)
        for name in ("normal", "dark", "moved"):
            for template in (False, True) if name == "normal" else (False,):
                batch = monitoring.Batch(1, CAMERAS[0], name, template, 0)
                monitoring._make(folder, ROOT / "artifacts" / "detector", batch)
    return Pool(folder, ROOT / "artifacts" / "detector", 1)


def test_light_view_and_template_are_changed_and_nothing_else(pool: Pool) -> None:
    def clips(condition: monitoring.Condition, template: bool = False) -> list[np.ndarray]:
        batches = pool.batches(CAMERAS[0], condition, template, range(1))
        tables = pool.clips(batches)
        assert len(tables) == 2
        assert [t["segment"].to_pylist() for t in tables] == [list(range(len(t))) for t in tables]
        sample = sample_of(monitoring._rows(pool.about(batches[0]), tables), 16)
        return [sample.brightness, sample.layout.mean(0), sample.heads]

    normal, other, dark, moved = clips(NORMAL), clips(NORMAL, True), clips(DARK), clips(MOVED)
    np.testing.assert_array_equal(normal[0], other[0])  # the same pictures under another template
    np.testing.assert_array_equal(normal[1], other[1])
    assert np.abs(normal[2] - other[2]).mean() > 0.05 * np.abs(normal[2]).mean()
    assert dark[0].mean() < 0.7 * normal[0].mean()
    assert np.corrcoef(dark[1], normal[1])[0, 1] > 0.97
    assert np.corrcoef(moved[1], normal[1])[0, 1] < 0.9


def test_baselines_and_windows_share_no_clip(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NORMALS", 1), ("TEMPLATED", 1), ("OTHERS", 1), ("A_DAY", 1), ("CAMERAS", CAMERAS[:1])):
        monkeypatch.setattr(monitoring, name, value)
    monkeypatch.setattr(monitoring, "SCENARIOS", (Scenario("dark", {CAMERAS[0]: DARK}, False, CAMERAS[0], "lighting"),))
    draws, undisturbed = Draws(pool), Scenario("undisturbed", {}, False, "", None)
    rng = np.random.default_rng(0)
    for _ in range(5):
        baselines, left = draws.baselines(rng)
        window = draws.window(undisturbed, left, rng)
        of = [set(r.table["video"].to_pylist()) for r in (baselines[CAMERAS[0]].rows, window.cameras[CAMERAS[0]])]
        assert all(of)
        assert not of[0] & of[1]


def test_only_the_right_kind_on_the_right_camera_counts_as_right() -> None:
    scenario, outcome = Scenario("s", {}, False, "camera-2", "lighting"), Outcome()
    for camera, kind in (("camera-2", "lighting"), ("camera-2", "view"), ("camera-1", "lighting"), (FLEET, None)):
        verdicts = {c: CameraVerdict(c, "fine") for c in (*CAMERAS, FLEET)}
        verdicts[camera].kind = kind  # type: ignore[assignment]
        outcome.add(scenario, verdicts)
    assert (outcome.windows, outcome.alarms, outcome.right_camera, outcome.right_kind) == (4, 3, 2, 1)
