"""What pre-training can show: the narrow world that the shipped model knows, or the wide one of the next model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from headhunt_svc.demo import questions as narrow
from headhunt_svc.demo import targets as narrow_targets
from headhunt_svc.demo.params import WorldName
from headhunt_svc.demo.questions import Question
from headhunt_svc.demo.rendering import render
from headhunt_svc.demo.scenes import FPS, SEEN_KINDS, WINDOW_FRAMES, Scene, SceneFacts, surveillance, window
from headhunt_svc.demo.wide import questions as wide
from headhunt_svc.demo.wide import targets as wide_targets
from headhunt_svc.demo.wide.kinds import KINDS
from headhunt_svc.demo.wide.windows import decorated, wide_window

ASSETS = Path(__file__).parent / "assets"
STRIDE = 2  # the model sees every second frame of a window
WIDE_SHARE = 0.6  # of the wide world's windows; the others are the narrow world's, some of them decorated


@dataclass(frozen=True, slots=True)
class Window:
    """A rendered window: pictures, dense targets for each visual token, and facts."""

    frames: UInt8[np.ndarray, "frame size size 3"]
    targets: UInt8[np.ndarray, "frame token target"]
    facts: SceneFacts


def narrow_scenes(rng: np.random.Generator) -> list[tuple[Scene, np.ndarray]]:
    """Eight windows: short random clips, or four cut out of a long video (near its events in 60 of 100 cases)."""
    if rng.random() < 0.6:
        return [window(rng) for _ in range(8)]
    kind = str(rng.choice(SEEN_KINDS)) if rng.random() < 0.8 else None
    scene, t = surveillance(rng, kind, hard=rng.random() < 0.2)
    active = np.flatnonzero(scene.anomalous(t))
    windows = []
    for _ in range(4):
        if len(active) and rng.random() < 0.6:
            start = int(active[rng.integers(len(active))]) - int(rng.integers(0, WINDOW_FRAMES))
        else:
            start = int(rng.integers(0, len(t) - WINDOW_FRAMES))
        start = min(max(start, 0), len(t) - WINDOW_FRAMES)
        windows.append((scene, np.arange(start, start + WINDOW_FRAMES) / FPS))
    return windows


def names_of(asks: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Texts that name what can be shown: kinds by their questions, people's actions, changes of the whole picture."""
    names = dict(asks)
    for action, (does, doing) in narrow.ACTIONS.items():
        if doing:
            names[action] = (*names.get(action, ()), does.removesuffix(" {direction}"), doing)
    for name, kind in KINDS.items():
        if name in names:
            names[name] = (*names[name], kind.word)
    return names | {word: (word,) for word in ("shaking", "brighter", "darker")}


class World(ABC):
    """A generator of windows with all that is asked about them.

    tokenizer: file of its tokenizer. n_kinds, n_targets: channels of occupancy and all dense targets of a token.
    open_kinds: the kinds of question that are not yes/no, in order; yes_no: what the others ask for.
    words: what can be shown, and texts that name it.
    """

    tokenizer: Path
    n_kinds: int
    n_targets: int
    open_kinds: tuple[str, ...]
    yes_no: tuple[str, ...]
    words: dict[str, tuple[str, ...]]

    @abstractmethod
    def witness(self, facts: SceneFacts) -> narrow.Witness:
        """Who answers questions about a window."""

    def shown(self, facts: SceneFacts) -> frozenset[str]:
        """What of `words` a window shows."""
        return self.witness(facts).shown()

    def probes(
        self, windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int], n: int
    ) -> list[Question]:
        """At most n yes/no questions on window i that are not answered in words: as often yes as there, up to half.

        What is not there is drawn from other windows, so each kind is asked about as often as it is shown.
        """
        witness = self.witness(windows[i])
        kinds = [kind for kind in self.yes_no if kind in witness.events][: n // 2]
        for _ in range(40):
            if len(kinds) >= n:
                break
            other = self.witness(windows[among[int(rng.integers(len(among)))]]).events
            kinds += [k for k in self.yes_no if k in other and k not in witness.events and k not in kinds]
        questions = [witness.ask(f"yn_{kind}", rng) for kind in kinds[:n]]
        return [replace(question, in_words=False) for question in questions if question is not None]

    @abstractmethod
    def windows(self, rng: np.random.Generator, size: int) -> Iterator[Window]:
        """Some windows of size x size pixels; rng is used up before the first one is drawn."""

    @abstractmethod
    def training_questions(
        self, windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int]
    ) -> list[Question]:
        """Questions on window i of these, for one training step; among: the windows that it was drawn from."""

    @abstractmethod
    def held_out_questions(self, windows: Sequence[SceneFacts], i: int) -> list[Question]:
        """Questions on window i of these, to measure with."""

    @abstractmethod
    def mirrored(self, question: Question) -> Question:
        """The question about the mirrored pictures."""


class Narrow(World):
    """The world of the shipped model."""

    tokenizer = ASSETS / "tokenizer.json"
    n_kinds, n_targets = len(narrow_targets.OCCUPANCY), narrow_targets.N_TARGETS
    open_kinds = tuple(narrow.OPEN)
    yes_no = tuple(narrow.YES_NO)
    words = names_of(narrow.YES_NO)

    def witness(self, facts: SceneFacts) -> narrow.Witness:
        """Of the narrow world."""
        return narrow.Witness(facts)

    def windows(self, rng: np.random.Generator, size: int) -> Iterator[Window]:
        """Short clips, and windows of long videos."""
        for scene, t in narrow_scenes(rng):
            shown = t[::STRIDE]
            yield Window(render(scene, shown, size), narrow_targets.dense_targets(scene, shown), scene.facts(t))

    def training_questions(
        self, windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int]
    ) -> list[Question]:
        """About nine questions."""
        return narrow.training_questions(windows[i], rng)

    def held_out_questions(self, windows: Sequence[SceneFacts], i: int) -> list[Question]:
        """Every kind of question once."""
        return narrow.held_out_questions(windows[i])

    def mirrored(self, question: Question) -> Question:
        """With a known fault, which the shipped weights have learnt: brighter becomes bleftter."""
        return question.mirrored()


class Wide(World):
    """The world of the next model (docs/demo-model.md)."""

    tokenizer = ASSETS / "tokenizer-wide.json"
    n_kinds, n_targets = len(wide_targets.LOOKS), wide_targets.N_TARGETS
    open_kinds = tuple(wide.OPEN)
    yes_no = tuple(wide.YES_NO)
    words = names_of(wide.YES_NO)

    def witness(self, facts: SceneFacts) -> narrow.Witness:
        """Of the wide world."""
        return wide.WideWitness(facts)

    def windows(self, rng: np.random.Generator, size: int) -> Iterator[Window]:
        """Windows with the wide world's kinds, or the narrow world's with weather, night and compression."""
        if rng.random() < WIDE_SHARE:
            shots = [wide_window(rng) for _ in range(8)]
        else:
            shots = [decorated(rng, scene, t) for scene, t in narrow_scenes(rng)]
        for shot in shots:
            shown = shot.t[::STRIDE]
            pictures, targets = shot.pictures(shown, size), wide_targets.dense_targets(shot.scene, shown)
            yield Window(pictures, targets, shot.facts())

    def training_questions(
        self, windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int]
    ) -> list[Question]:
        """About a dozen questions."""
        return wide.training_questions(windows, i, rng, among)

    def held_out_questions(self, windows: Sequence[SceneFacts], i: int) -> list[Question]:
        """Every open question, and yes/no on what is there and as much that is not."""
        return wide.held_out_questions(windows, i)

    def mirrored(self, question: Question) -> Question:
        """Whole words are swapped."""
        return wide.mirrored(question)


WORLDS: dict[WorldName, World] = {"narrow": Narrow(), "wide": Wide()}
