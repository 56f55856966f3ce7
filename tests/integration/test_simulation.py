"""The monitor's simulation: its disturbances are real, in the pictures and in the model's prompt."""

import numpy as np
import pytest

from conftest import ROOT
from headhunt_svc.demo import simulation
from headhunt_svc.demo.simulation import CAMERAS, DARK, MOVED, NORMAL, TEMPLATE, Draws, Outcome, Pool, Scenario
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict
from headhunt_svc.prediction_log.windows import sample_of


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "CHUNK", 2)
        pool = Pool(folder, ROOT / "artifacts" / "detector", 1)
        of_first = [b for c in (NORMAL, TEMPLATE, DARK, MOVED) for b in pool.batches(CAMERAS[0], c, range(1))]
        simulation._make(folder, pool.bundle, of_first)
        simulation._make(folder, pool.bundle, pool.batches(CAMERAS[0], NORMAL, range(1, 2)))
    return pool


def test_light_view_and_template_are_changed_and_nothing_else(pool: Pool) -> None:
    def clips(condition: simulation.Condition) -> list[np.ndarray]:
        batches = pool.batches(CAMERAS[0], condition, range(1))
        tables = pool.clips(batches)
        assert len(tables) == 2
        assert [t["segment"].to_pylist() for t in tables] == [list(range(len(t))) for t in tables]
        sample = sample_of(simulation._rows(pool.metadata(batches[0]), tables), 16)
        return [sample.brightness, sample.layout.mean(0), sample.heads]

    normal, other, dark, moved = clips(NORMAL), clips(TEMPLATE), clips(DARK), clips(MOVED)
    np.testing.assert_array_equal(normal[0], other[0])  # the same pictures under another template
    np.testing.assert_array_equal(normal[1], other[1])
    assert np.abs(normal[2] - other[2]).mean() > 0.05 * np.abs(normal[2]).mean()
    assert dark[0].mean() < 0.7 * normal[0].mean()
    assert np.corrcoef(dark[1], normal[1])[0, 1] > 0.97
    assert np.corrcoef(moved[1], normal[1])[0, 1] < 0.9


def test_baselines_and_windows_share_no_clip(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    dark = Scenario("dark", {CAMERAS[0]: DARK}, CAMERAS[0], "lighting")
    changed = Scenario("template", {CAMERAS[0]: TEMPLATE}, FLEET, "model")
    here = {"BASE": range(1, 2), "DAYS_OF": range(1), "CHANGED": range(1), "A_DAY": 1}
    for name, value in {**here, "CAMERAS": CAMERAS[:1], "SCENARIOS": (dark, changed)}.items():
        monkeypatch.setattr(simulation, name, value)
    draws, rng = Draws(pool), np.random.default_rng(0)
    known = set(draws.baselines[CAMERAS[0]].rows.table["video"].to_pylist())
    assert known
    for scenario in (Scenario("undisturbed", {}, "", None), dark, changed):
        shown = set(draws.window(scenario, rng).cameras[CAMERAS[0]].table["video"].to_pylist())
        assert shown
        assert not shown & known


def test_what_baselines_and_days_are_drawn_from_is_apart() -> None:
    assert not {*simulation.BASE} & {*simulation.DAYS_OF, *simulation.CHANGED}
    assert not {*simulation.FEW_BASE} & {*simulation.FEW}


def test_only_the_right_kind_on_the_right_camera_counts_as_right() -> None:
    scenario, outcome = Scenario("s", {}, "camera-2", "lighting"), Outcome()
    for camera, kind in (("camera-2", "lighting"), ("camera-2", "view"), ("camera-1", "lighting"), (FLEET, None)):
        verdicts = {c: CameraVerdict(c, "fine") for c in (*CAMERAS, FLEET)}
        verdicts[camera] = CameraVerdict(camera, "drift" if kind else "fine", kind=kind)  # type: ignore[arg-type]
        outcome.add(scenario, verdicts)
    assert (outcome.windows, outcome.alarms, outcome.right_camera, outcome.right_kind) == (4, 3, 2, 1)
