"""The wide world of pre-training: it shows and names at least forty kinds more, and none that only test videos hold."""

import re
from collections import Counter

import numpy as np
import pytest

from headhunt_svc.demo import questions, targets
from headhunt_svc.demo.corpus import plan
from headhunt_svc.demo.model import build_tokenizer
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.people import Person
from headhunt_svc.demo.questions import Question, Witness
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import UNSEEN_KINDS, Scene, SceneFacts
from headhunt_svc.demo.shapes import CLOTHES, Actor, Facts
from headhunt_svc.demo.targets import FACING, LOOKS, N_CELL
from headhunt_svc.demo.things import Blast
from headhunt_svc.demo.wide.effects import EFFECTS
from headhunt_svc.demo.wide.kinds import KINDS, of_group
from headhunt_svc.demo.wide.people import Performer
from headhunt_svc.demo.wide.things import DRAWN, Thing
from headhunt_svc.demo.wide.weather import WEATHER, Weather, compress
from headhunt_svc.demo.wide.windows import (
    PERFORMED,
    Shot,
    actors_of,
    corpus_scenes,
    decorated,
    wide_view,
    wide_window,
    windows,
)

# what only test videos hold, in all words that could name it
UNSEEN_WORDS = re.compile(
    r"\b(normal|anomal|unusual|danger|crawl|creep|fire|flame|burn|blaze|smoke|vandal|damage|destroy|smash|break|broke"
    r"|beat|hit|punch|machine|graffiti)"
)
PICTURES = np.arange(16) / 10


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    """Windows as the pool gets them, not rendered."""
    drawn = [wide_window(rng(i)) for i in range(150)]
    return drawn + [decorated(rng(i), scene, t) for i in range(20) for scene, t in corpus_scenes(rng(i))]


@pytest.fixture(scope="module")
def facts(shots: list[Shot]) -> list[SceneFacts]:
    return [shot.facts() for shot in shots]


def alone(kind: str, seed: int) -> list[Actor]:
    return [Weather.draw(rng(seed), kind)] if kind in of_group("weather") else actors_of(rng(seed), kind, 0.8, 1.0)


def test_forty_kinds_more_are_drawn_and_none_of_the_unseen(shots: list[Shot]) -> None:
    assert len(KINDS) >= 40
    assert {*PERFORMED, *DRAWN, *of_group("weather")} == set(KINDS)
    only_tested = {t.label for t in plan(CorpusParams()) if t.split in ("test", "hard")} - {
        t.label for t in plan(CorpusParams()) if t.split in ("calibration", "validation")
    }
    assert only_tested == set(UNSEEN_KINDS)
    drawn = [actor for shot in shots for actor in shot.scene.actors]
    assert not {getattr(a, "kind", "car") for a in drawn} & only_tested
    assert not any(isinstance(a, Blast) and a.kind != "explosion" for a in drawn)


def test_no_text_names_what_only_test_videos_hold(facts: list[SceneFacts]) -> None:
    everything = [*questions.CLAUSES.values(), *questions.DOING.values(), *questions.WORDS.values()]
    everything += [text for texts in [*questions.YES_NO.values(), *questions.OPEN.values()] for text in texts]
    asked = [q for i in range(len(facts)) for q in questions.training_questions(facts, i, rng(i), range(len(facts)))]
    asked += [q for i in range(50) for q in questions.held_out_questions(facts, i)]
    said = [text for q in asked for text in (q.text, q.answer)] + everything
    assert [text for text in said if UNSEEN_WORDS.search(text)] == []
    assert UNSEEN_WORDS.search("does a person crawl past a fire?")


def test_nobody_moves_along_while_lying(shots: list[Shot]) -> None:
    """What makes a crawl: lying and moving on; who falls slides for less than half a second."""
    for shot in shots:
        t = shot.t
        for person in (a for a in shot.scene.actors if isinstance(a, Person)):
            pose = person.pose(t)
            moving = np.abs(np.gradient(pose.x, t)) > 0.05
            assert (moving & (pose.lying > 0.9)).sum() <= 2


@pytest.mark.parametrize("kind", sorted(EFFECTS))
def test_no_effect_glows_in_the_colours_of_flames(kind: str) -> None:
    for seed in range(3):
        for shape in Thing.draw(rng(seed), kind, 0.8, 0.2, 1.0).boxes(PICTURES):
            red, green, blue = shape.colour
            assert not (red > 150 and red > green + 30 and green > blue + 20)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_shows_and_is_said(kind: str) -> None:
    """The pictures with it differ from those without; its clause, word and yes/no question say it."""
    for seed in range(8):  # some happen outside of some windows
        scene = Scene(wide_view(rng(7)), noise=0.0, shake=0.0, seed=1)
        empty = render(scene, PICTURES[::4], 48).astype(int)
        scene.actors = alone(kind, seed)
        seen = scene.facts(PICTURES)
        witness = Witness(seen)
        if kind not in witness.events:
            continue
        assert np.abs(render(scene, PICTURES[::4], 48) - empty).max() > 20
        assert witness.ask(f"yn_{kind}").answer == "yes"
        assert KINDS[kind].clause.split("{")[0] in witness.description()
        if KINDS[kind].group not in ("weather", "person", "people"):
            assert KINDS[kind].word in witness.things()
        return
    raise AssertionError(f"{kind} was never there")


def test_yes_and_no_are_asked_equally_often(facts: list[SceneFacts]) -> None:
    count: Counter[tuple[str, str]] = Counter()
    for i in range(3 * len(facts)):
        for q in questions.training_questions(facts, i % len(facts), rng(i), range(len(facts))):
            if q.kind.startswith("yn_"):
                right = q.kind[3:] in Witness(facts[i % len(facts)]).events
                assert q.answer == ("yes" if right else "no")
                count["old" if q.kind[3:] not in KINDS else KINDS[q.kind[3:]].group, q.answer] += 1
    for group in ("old", "person", "people", "vehicle", "thing", "effect", "weather"):
        assert 0.6 < count[group, "yes"] / count[group, "no"] < 1.6


def test_captions_say_what_happens() -> None:
    runs = Facts("run", True, 0.2, "red", "left", 0.4)
    hugs = [Facts("hug", True, 0.6, colour, "left", 0.0) for colour in ("blue", "white")]
    truck, rain = Facts("truck", True, 0.5, "yellow", "right", 0.3), Facts("rain", True, 0.5)
    witness = Witness(SceneFacts((truck, *hugs, rain, runs), "brighter", False))
    assert witness.description() == (
        "a red person runs left, two people hug, a yellow truck passes right, it rains, it gets brighter"
    )
    assert (witness.event(), witness.things()) == ("run and hug", "truck")
    assert (witness.count(), witness.weather(), witness.daytime()) == ("three", "rain", "day")
    said = Question("description", "describe the scene.", witness.description())
    assert said.mirrored().answer == (
        "a red person runs right, two people hug, a yellow truck passes left, it rains, it gets brighter"
    )
    assert said.mirrored().mirrored() == said


def test_dense_targets_say_where_the_truck_is_and_that_it_rains() -> None:
    scene = Scene(wide_view(rng(3)), noise=0.0, shake=0.0, seed=1)
    truck = Thing.draw(rng(0), "truck", 0.8, 0.0, 1.0)
    scene.actors = [truck, Weather.draw(rng(0), "rain")]
    dense = targets.dense_targets(scene, PICTURES)
    assert dense.shape == (16, 16, targets.N_TARGETS)
    assert dense[..., LOOKS.index("vehicle") : N_CELL : len(LOOKS)].max() > 200
    assert dense[..., LOOKS.index("animal") : N_CELL : len(LOOKS)].max() == 0
    weather = dense[0, 0, N_CELL + len(CLOTHES) + len(FACING) + len(targets.HORIZONS) :]
    assert weather.tolist() == [255 * (kind == "rain") for kind in targets.SKIES]


def test_windows_are_a_function_of_the_seed_and_come_in_all_weathers(facts: list[SceneFacts]) -> None:
    first, second = ([*windows(rng(seed), 32)] for seed in (5, 5))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.targets, b.targets)
        assert a.facts == b.facts
    assert first[0].frames.shape == (8, 32, 32, 3)
    witnesses = [Witness(f) for f in facts]
    assert {w.weather() for w in witnesses} == set(WEATHER)
    assert {w.daytime() for w in witnesses} == {"day", "night"}


def test_compression_keeps_the_pictures_order_and_loses_detail() -> None:
    noise = rng(0).integers(0, 255, (8, 12, 12, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    errors = [np.abs(compress(noise, crf)[..., 1].astype(int) - noise[..., 1]).mean() for crf in (20, 40)]
    assert errors[0] < errors[1]
    brightness = np.arange(8, dtype=np.uint8)[:, None, None, None] * 25 + np.zeros((8, 96, 96, 3), np.uint8)
    np.testing.assert_allclose(compress(brightness, 20).mean((1, 2, 3)), np.arange(8) * 25, atol=4)


def test_the_tokenizer_has_a_token_for_most_words(facts: list[SceneFacts]) -> None:
    tokenizer = build_tokenizer()
    answers = [q.answer for i in range(100) for q in questions.training_questions(facts, i, rng(i), range(len(facts)))]
    words = sum(len(answer.replace(",", " ,").split()) for answer in answers)
    tokens = sum(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers)
    assert words <= tokens < 1.25 * words
    assert tokenizer.decode(tokenizer(answers[0], add_special_tokens=False)["input_ids"]) == answers[0]


def test_who_has_not_begun_walks_or_stands() -> None:
    waves = Performer.draw(rng(0), "wave", at_s=0.8, x=0.5, depth=0.8, height=0.35, speed=1e-6, event_s=5.0)
    assert waves.facts(PICTURES).action == "stand"
    assert waves.facts(PICTURES + 5.0).action == "wave"
