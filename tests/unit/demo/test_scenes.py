from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt_svc.data.datasets import make_record, read_annotations
from headhunt_svc.demo import corpus
from headhunt_svc.demo.corpus import Take, make_corpus, make_video, plan
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.people import Person
from headhunt_svc.demo.pool import Pool, make_chunk
from headhunt_svc.demo.questions import (
    MOST_ASKED,
    OPEN,
    YES_NO,
    Question,
    Witness,
    held_out_questions,
    training_questions,
)
from headhunt_svc.demo.rendering import render, shake
from headhunt_svc.demo.scenes import (
    KINDS,
    N_CAMERAS,
    N_LABELLED_CAMERAS,
    SEEN_KINDS,
    UNSEEN_KINDS,
    LightChange,
    Scene,
    camera,
    camera_name,
    surveillance,
    window,
)
from headhunt_svc.demo.targets import FINE_HORIZONS, LOOKS, N_CELL, N_LEARNT, N_TARGETS, dense_targets, mirror, placed
from headhunt_svc.video.files import read_times

seeds = st.integers(0, 2**32 - 1)


def rng(seed: int | list[int]) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_truth_is_where_the_event_is(kind: str | None) -> None:
    for seed in range(10):
        scene, t = surveillance(rng(seed), kind, camera(seed % 3))
        share = scene.anomalous(t).mean()
        assert (0 < share < 0.7) if kind else share == 0


def test_an_anomaly_shows_in_the_pictures() -> None:
    """The same scene with and without its explosion differs while it is true, and only then."""
    scene, t = surveillance(rng(4), "explosion")
    truth = scene.anomalous(t)
    with_it = render(scene, t, 48).astype(int)
    scene.actors = [a for a in scene.actors if not a.anomalous(t).any()]
    difference = np.abs(with_it - render(scene, t, 48)).max((1, 2, 3))
    assert difference[truth].max() > 40
    assert difference[~truth].max() == 0


@given(seeds)
@settings(max_examples=30)
def test_everything_is_a_function_of_the_seed(seed: int) -> None:
    (a, t), (b, _) = window(rng(seed)), window(rng(seed))
    np.testing.assert_array_equal(render(a, t, 32), render(b, t, 32))
    assert a.facts(t) == b.facts(t)
    first, second = (training_questions([scene.facts(t)], 0, rng(seed), [0]) for scene in (a, b))
    assert first == second


@given(seeds)
@settings(max_examples=50)
def test_questions_have_answers_and_yes_and_no_are_balanced(seed: int) -> None:
    facts = [scene.facts(t) for scene, t in (window(rng([seed, i])) for i in range(30))]
    there = set(YES_NO) & Witness(facts[0]).events
    for questions in (held_out_questions(facts, 0), training_questions(facts, 0, rng(seed), range(len(facts)))):
        assert all(q.text and q.answer for q in questions)
        assert {q.kind for q in questions} <= set(OPEN) | {f"yn_{e}" for e in YES_NO}
        asked = [(q.kind[3:], q.answer) for q in questions if q.kind.startswith("yn_")]
        yes, no = ({kind for kind, answer in asked if answer == word} for word in ("yes", "no"))
        assert yes <= there
        assert len(yes) == min(len(there), MOST_ASKED)
        assert not no & there
        assert len(no) == max(len(yes), 1)


def test_mirroring_swaps_sides_twice_to_the_same() -> None:
    q = Question("description", "describe the scene.", "a red person runs left, a car passes right, it gets brighter")
    assert q.mirrored().answer == "a red person runs right, a car passes left, it gets brighter"
    assert q.mirrored().mirrored() == q
    assert Question("count", "count.", "two").mirrored().answer == "two"


def test_dense_targets_say_where_the_car_is() -> None:
    scene, t = surveillance(rng(1), "car")
    car = next(a for a in scene.actors if type(a).__name__ == "Car")
    targets = dense_targets(scene, t)
    assert targets.shape == (len(t), 16, N_TARGETS)
    cells = targets[..., LOOKS.index("car") : N_CELL : len(LOOKS)]
    inside = (car.x + car.speed * (t - car.at_s) > 0.1) & (car.x + car.speed * (t - car.at_s) < 0.9)
    assert (cells[inside].max((1, 2)) > 200).all()
    assert cells[~scene.anomalous(t)].max() < 64  # no more than the edge of a shadow


def test_learnt_targets_say_where_each_token_is_and_how_the_camera_shakes() -> None:
    scene, t = surveillance(rng(1), None)
    scene.shake = 1.5 / 64
    targets = dense_targets(scene, t)
    learnt = placed(targets)
    assert learnt.shape == (len(t), 16, N_LEARNT)
    np.testing.assert_allclose(learnt[..., :N_TARGETS], targets / 255, atol=1e-6)
    near, place = np.split(learnt[..., N_TARGETS:], [len(FINE_HORIZONS)], axis=-1)
    horizon = scene.view.horizon - shake(scene, t)[1]
    np.testing.assert_allclose((near[:, 0] * FINE_HORIZONS).sum(-1), horizon, atol=1e-3)
    assert [tuple(np.flatnonzero(token)) for token in place[0]] == [(x, 4 + y) for y in range(4) for x in range(4)]


def test_pool_chunks_are_made_once_and_read_back(tmp_path: Path) -> None:
    for _ in range(2):
        make_chunk(tmp_path, 0, 12, 32, seed=3)
    pool = Pool(tmp_path)
    assert len(pool) == 12
    assert pool.frames(11).shape == (8, 32, 32, 3)
    assert pool.targets(11).shape == (8, 16, N_TARGETS)


def test_unseen_kinds_are_in_the_test_splits_only() -> None:
    takes = plan(CorpusParams())
    assert {t.label for t in takes if t.split in ("calibration", "validation")} == {*SEEN_KINDS, "normal"}
    for split in ("test", "hard"):
        assert {t.label for t in takes if t.split == split} == {*KINDS, "normal"}
    assert len(UNSEEN_KINDS) >= 3


def test_hard_videos_are_crowded_distant_and_noisy() -> None:
    def mean(of: Callable[[Scene], float], hard: bool) -> float:
        return float(np.mean([of(surveillance(rng(i), None, hard=hard)[0]) for i in range(30)]))

    assert mean(lambda s: len(s.actors), True) > 1.8 * mean(lambda s: len(s.actors), False)
    assert mean(lambda s: s.noise, True) > 1.5 * mean(lambda s: s.noise, False)
    assert mean(lambda s: s.shake > 0, True) > 1.5 * mean(lambda s: s.shake > 0, False)
    assert mean(lambda s: max(a.height for a in s.actors), True) < 0.75 * mean(
        lambda s: max(a.height for a in s.actors), False
    )


def test_mirrored_pictures_have_mirrored_targets() -> None:
    """A lone walker who looks right: after mirroring the cells are swapped and the face looks left."""
    scene, t = window(rng(0))
    walker = dict(at_s=0.8, depth=0.8, height=0.35)
    scene.actors = [Person.draw(rng(1), "walk", x=0.3, speed=0.1, **walker)]
    there = dense_targets(scene, t)
    scene.actors = [Person.draw(rng(1), "walk", x=0.7, speed=-0.1, **walker)]
    np.testing.assert_allclose(mirror(there).astype(int), dense_targets(scene, t).astype(int), atol=1)


def test_a_change_of_light_is_named_or_not_asked_about() -> None:
    scene, t = window(rng(0))
    for amount, word in ((0.3, "brighter"), (-0.3, "darker"), (0.01, "same"), (0.08, "")):
        scene.light = LightChange(0.2, amount, 0.5)
        witness = Witness(scene.facts(t))
        assert witness.light() == word
        assert (witness.ask("light") is None) == (word == "")


def test_corpus_is_the_same_bytes_and_fits_its_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hard video of every kind, and two that are not hard."""
    one = dict.fromkeys(("calibration", "validation", "test", "hard"), 1)
    small = CorpusParams(**{f"{s}_{k}": n for s, n in one.items() for k in ("per_kind", "normal")})
    takes = plan(small)
    assert len(takes) == 7 + 7 + 10 + 10
    some = [
        t for t in takes if t.split == "hard" or (t.split, t.label) in {("calibration", "fall"), ("test", "normal")}
    ]
    monkeypatch.setattr(corpus, "plan", lambda params: some)
    assert make_corpus(tmp_path / "a", tmp_path / "a.jsonl", small) == len(some) == 12
    assert len([p for p in (tmp_path / "a").rglob("*") if p.is_file()]) == 12
    for take in (Take("calibration", "fall", 0), Take("hard", "fire", 0), Take("hard", "normal", 0)):
        make_video(tmp_path / "b", take, small)
        assert (tmp_path / "a" / take.name).read_bytes() == (tmp_path / "b" / take.name).read_bytes()
    for annotation in read_annotations(tmp_path / "a.jsonl"):
        path = tmp_path / "a" / annotation.video
        record = make_record(annotation, path, read_times(path)[0])
        assert record.n_frames >= 160
        assert record.is_anomalous == (annotation.label != "normal")
        last = N_LABELLED_CAMERAS if annotation.split == "calibration" else N_CAMERAS
        assert annotation.camera in [camera_name(i) for i in range(last)]
    assert (camera_name(0), camera_name(N_CAMERAS - 1)) == ("camera-01", "camera-24")
