"""The simulation of marks, on features that are made so that the right answer is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headhunt_svc.cli.feedback_figures import print_feedback
from headhunt_svc.errors import DatasetError
from headhunt_svc.params import Params
from headhunt_svc.storage.files import read_json
from headhunt_svc.studies import feedback as study
from headhunt_svc.studies.feedback import Segments, World, learn_kind, make_world, mark, tell_apart
from headhunt_svc.types import HeadRef

FEATURES = 12
STEP = np.eye(FEATURES)
KINDS = {
    "car": 8 * STEP[0] + 2 * STEP[1],
    "fight": 5 * STEP[2],
    "explosion": 4 * STEP[3] + 4 * STEP[2],
    "fire": 9 * STEP[4],
}
HEADS = (HeadRef(0, 0),)
PARAMS = Params.model_validate(
    {
        "mllm": {"id": "model"},
        "dataset": {"root": "data", "annotations": "data.jsonl"},
        "prompts": {"texts": ["what happens?"]},
        "segmentation": {"length_s": 1.6, "frames_per_segment": 4},
        "fit": {"grid": [0.01, 0.1]},
    }
)


def split(name: str, videos: int, seed: int) -> Segments:
    """Videos of every kind, three of ten segments anomalous, and twice as many normal ones; two cameras."""
    rng = np.random.default_rng(seed)
    z, labels, names, kinds, cameras = [], [], [], {}, {}
    for kind in ("normal", "normal", *KINDS):
        for i in range(videos):
            video = f"{name} {kind} {i} {len(names)}"
            anomalous = (np.arange(10) >= 7) & (kind != "normal")
            z.append(rng.normal(size=(10, FEATURES)) + np.outer(anomalous, KINDS.get(kind, STEP[0])))
            labels.append(anomalous)
            names += [video] * 10
            kinds[video] = () if kind == "normal" else (kind,)
            cameras[video] = f"camera {i % 2}"
    return Segments(np.concatenate(z), np.concatenate(labels), np.array(names), kinds, cameras)


@pytest.fixture(scope="module")
def parts() -> tuple[Segments, Segments, Segments]:
    return split("c", 6, 0), split("v", 4, 1), split("t", 8, 2)


@pytest.fixture(scope="module")
def world(parts: tuple[Segments, Segments, Segments]) -> World:
    return make_world("car", parts, HEADS, PARAMS)


def test_a_world_knows_nothing_of_the_kind_that_is_left_out(world: World) -> None:
    for known in (world.calibration, world.validation, world.others):
        assert not known.shows("car")[np.isin(known.videos, known.videos)].any()
        assert known.labels.any()
    assert len(world.shown.labels) == 3 * (6 + 4 + 8)
    assert world.shown.labels.all()


def test_marks_come_two_a_video_from_what_may_be_marked_and_leave_videos_to_measure(world: World) -> None:
    may = np.arange(len(world.shown.labels)) % 3 == 0
    marked = mark(world.shown, may, 5, np.random.default_rng(0))
    assert may[marked.rows].all()
    assert len(marked.past) == 5
    assert marked.event.tolist() == [0, 1, 2, 3, 4]
    every = mark(world.shown, ~may, 1000, np.random.default_rng(0))
    assert len(every.past) == 12
    assert np.bincount(every.event).tolist() == [2] * 12
    assert set(world.shown.videos[every.rows].tolist()) == set(every.past)


def test_a_kind_is_told_apart_from_another_one_and_not_from_itself(world: World) -> None:
    row = tell_apart(world, "fire", 10, draws=2)
    assert row is not None
    assert min(row.values()) > 0.99
    same = replace(world, others=replace(world.shown, kinds=dict.fromkeys(world.shown.kinds, ("twin",))))
    twin = tell_apart(same, "twin", 10, draws=4)
    assert twin is not None
    assert twin["told"] < 0.8
    assert tell_apart(world, "nothing", 10, draws=2) is None


def test_marks_quieten_a_harmless_kind_and_cost_the_others_little(world: World) -> None:
    row = learn_kind(world, 10, anomalous=False, draws=2)
    assert row is not None
    assert row["before"]["shown"] > 0.7
    assert row["after"]["shown"] < 0.2 * row["before"]["shown"]
    assert row["after"]["auc"] > row["before"]["auc"] - 0.01
    assert row["marks"] == 10


def test_a_kind_that_raises_no_alarm_has_nothing_to_mark(world: World) -> None:
    deaf = World(world.fleet, np.inf, world.calibration, world.validation, world.shown, world.others)
    assert learn_kind(deaf, 10, anomalous=False, draws=1) is None


@dataclass(frozen=True)
class Stored:
    detector_id: str = "abc"
    heads: tuple[tuple[int, int], ...] = ((0, 0),)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[tuple[Segments, Segments, Segments]], Any]:
    """The study on given segments, in place of a bundle and stored features."""

    def study_of(parts: tuple[Segments, Segments, Segments]) -> Any:
        monkeypatch.setattr(study, "load_bundle", lambda _: (Stored(), None))
        monkeypatch.setattr(study, "load_segments", lambda *_: parts)
        nowhere = [tmp_path / name for name in ("index", "labels", "features", "tests", "bundle")]
        return study.feedback(PARAMS, *nowhere, tmp_path / "feedback.json", draws=1)

    return study_of


def test_the_study_of_all_kinds_is_written_and_printed(
    run: Callable[[Any], Any],
    parts: tuple[Segments, Segments, Segments],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run(parts)
    assert read_json(tmp_path / "feedback.json", "headhunt demo feedback") == result
    assert set(result["harmless"]) == {"5", "10", "20"}
    assert set(result["harmless"]["10"]) == {"car"}
    assert set(result["overlooked"]["10"]) == {"fire"}
    assert result["others_equal"]
    assert result["mean"]["10"]["fall"] > 0.6
    wrong = result["wrong"]["alone"]["car"]
    assert wrong["named"] == wrong["wrong"] == 1
    assert wrong["shown_wrong"] < wrong["shown_before"]
    assert result["fleet"]["car"]["draws"] == 1
    print_feedback(result)
    printed = capsys.readouterr().out
    assert "car" in printed
    assert "fire" in printed
    assert "other cameras are to the bit the same" in printed


def test_footage_of_other_kinds_has_nothing_to_simulate(run: Callable[[Any], Any]) -> None:
    calm = split("c", 2, 0)
    calm = Segments(calm.z, calm.labels, calm.videos, dict.fromkeys(calm.kinds, ("parade",)), calm.cameras)
    with pytest.raises(DatasetError, match="no video shows one of car, fall"):
        run((calm, calm, calm))
