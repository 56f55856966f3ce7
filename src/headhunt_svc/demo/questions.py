"""Questions about a window and their answers: the text of pre-training.

No question or answer says normal, anomalous or unusual, so the model learns no word for what the method looks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from headhunt_svc.demo.scenes import SceneFacts
from headhunt_svc.demo.shapes import Facts

T = TypeVar("T")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")
# events in order of importance: the first that is seen is the main event
PRIORITY = ("explosion", "fight", "fall", "lie", "car", "run", "drop", "bike", "crouch", "turn", "talk")
EVENT_WORDS = {"lie": "lying", "drop": "bag"}  # the words for all others are their names
YES_NO = {
    "fall": ("does someone fall?", "is there a person who falls?", "did anybody fall down?"),
    "lie": ("is someone lying on the ground?", "does a person lie on the floor?"),
    "run": ("does someone run?", "is anybody running?", "do you see a runner?"),
    "fight": ("is there a fight?", "do people fight?", "are two people fighting?"),
    "explosion": ("is there an explosion?", "do you see a bright flash?", "does something explode?"),
    "bag": ("is a bag left on the ground?", "does a bag stand alone?", "is there a bag without an owner?"),
    "car": ("does a car pass?", "do you see a car?", "is there a vehicle?"),
    "bike": ("does someone ride a bike?", "is there a bike?", "do you see a cyclist?"),
    "crouch": ("does someone crouch?", "is anybody crouching?"),
    "turn": ("does someone turn around?", "is anybody turning back?"),
    "talk": ("do people talk?", "are two people talking?", "is there a conversation?"),
    "carry": ("does someone carry a bag?", "is anybody carrying something?"),
}
OPEN = {
    "event": (
        "what happens in the video?",
        "what is the main event?",
        "what happens?",
        "summarise the main event.",
        "name the event.",
        "what is going on in this clip?",
    ),
    "description": (
        "describe the video.",
        "describe the scene.",
        "what can you see?",
        "give a short caption.",
        "please describe what you see in the video.",
    ),
    "count": ("how many people are visible?", "count the people.", "how many persons are there?"),
    "direction": ("which way do people move?", "in which direction do people move?"),
    "motion": ("how much motion is there?", "how fast is the fastest motion?", "is the scene calm or busy?"),
    "activity": ("what are the people doing?", "what do the people do?", "what activity is shown?"),
    "light": ("does the light change?", "how does the brightness change?"),
    "camera": ("is the camera steady?", "does the camera move?"),
    "colour": (
        "what does the {colour} person do?",
        "what is the {colour} person doing?",
        "describe the {colour} person.",
    ),
    "location": ("where is the {colour} person?", "on which side is the {colour} person?"),
    "where": ("where does it happen?", "where is the main event?"),
}
ACTIONS = {  # in a caption, and as an activity of people
    "walk": ("walks {direction}", "walking"),
    "run": ("runs {direction}", "running"),
    "bike": ("rides {direction}", "riding"),
    "carry": ("carries a bag {direction}", "carrying"),
    "stand": ("stands", "standing"),
    "turn": ("turns around", "turning"),
    "fall": ("falls", "falling"),
    "lie": ("lies on the ground", "lying"),
    "crouch": ("crouches", "crouching"),
    "fight": ("fights", "fighting"),
    "talk": ("talks", "talking"),
    "drop": ("drops a bag", "dropping"),
    "car": ("passes {direction}", ""),
}
LEFT, RIGHT = 0.36, 0.64  # borders between left, middle and right third of the picture
UNSURE = 0.03  # closer to a border than this, no question asks for the side
MIRRORED = ("description", "direction", "colour", "location", "where")  # answers that name a side


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its answer; `kind` groups questions for the accuracies (yes/no: yn_<event>).

    in_words: the answer is given in words; otherwise only the state at the question's end is to show it.
    """

    kind: str
    text: str
    answer: str
    in_words: bool = True

    def mirrored(self) -> "Question":
        """The same question about the mirrored pictures."""
        if self.kind not in MIRRORED:
            return self
        swapped = self.answer.replace("left", "\0").replace("right", "left").replace("\0", "right")
        return replace(self, answer=swapped)


def side(x: float) -> str:
    """Left, middle or right third of the picture."""
    return "left" if x < LEFT else "right" if x > RIGHT else "middle"


def _rank(action: str) -> int:
    return PRIORITY.index(action) if action in PRIORITY else len(PRIORITY)


def _did(actor: Facts) -> str:
    return ACTIONS[actor.action][0].format(direction=actor.direction)


class Witness:
    """Answers every kind of question about one window."""

    def __init__(self, facts: SceneFacts) -> None:
        self.facts = facts
        self.seen = [a for a in facts.actors if a.visible]
        self.people = [a for a in self.seen if a.action not in ("car", "explosion", "fire")]
        self.bag_left = any(a.bag_left for a in facts.actors)
        self.events = {a.action for a in self.seen} | ({"bag"} if self.bag_left else set())

    def shown(self) -> frozenset[str]:
        """All that is there: events, actions, a shaking camera, changing light."""
        whole = {"shaking"} if self.facts.shaking else set[str]()
        return frozenset(self.events | whole | ({self.facts.light} & {"brighter", "darker"}))

    @property
    def recognisable(self) -> list[Facts]:
        """People who are named by their shirt's colour, because it occurs once."""
        colours = [a.colour for a in self.seen]
        return [p for p in self.people if colours.count(p.colour) == 1]

    @property
    def placed(self) -> list[Facts]:
        """Recognisable people who are clearly left, in the middle or right."""
        return [p for p in self.recognisable if min(abs(p.x - LEFT), abs(p.x - RIGHT)) > UNSURE]

    def event(self) -> str:
        """The one or two main events, by priority."""
        words = [EVENT_WORDS.get(e, e) for e in PRIORITY if e in self.events]
        if self.bag_left and "bag" not in words:
            words.append("bag")
        if not words:
            quiet = "walk" if self.events & {"walk", "carry"} else "stand" if "stand" in self.events else "nothing"
            words = [quiet]
        return " and ".join(words[:2])

    def description(self) -> str:
        """A caption: up to three actors, the most important first."""
        parts = []
        for actor in sorted(self.seen, key=lambda a: (_rank(a.action), a.x))[:3]:
            if actor.action == "explosion":
                parts.append(f"an explosion in the {side(actor.x)}")
            else:
                who = "car" if actor.action == "car" else "person"
                parts.append(f"a {actor.colour} {who} {_did(actor)}")
        if self.bag_left and "drop" not in self.events:
            parts.insert(0, "a bag stands alone")
        if self.facts.light not in ("same", ""):
            parts.append(f"it gets {self.facts.light}")
        return ", ".join(parts) or "an empty scene"

    def count(self) -> str:
        """How many people."""
        return NUMBERS[min(len(self.people), 7)]

    def direction(self) -> str:
        """Which way people move."""
        ways = {p.direction for p in self.people if p.action in ("walk", "run", "bike", "carry", "drop")}
        return "both" if len(ways) == 2 else ways.pop() if ways else "none"

    def motion(self) -> str:
        """Speed of the fastest actor in words."""
        fastest = max([a.speed for a in self.seen], default=0.0)
        if self.events & {"fight", "explosion"}:
            fastest = max(fastest, 0.3)
        return "none" if fastest < 0.03 else "slow" if fastest < 0.15 else "medium" if fastest < 0.26 else "fast"

    def activity(self) -> str:
        """The one or two main activities of people."""
        actions = sorted({p.action for p in self.people}, key=lambda a: (_rank(a), a))
        return " and ".join(ACTIONS[a][1] for a in actions[:2]) or "nobody"

    def light(self) -> str:
        """Brighter, darker or same; empty where the change is too small to name."""
        return self.facts.light

    def camera(self) -> str:
        """Shaking or steady."""
        return "shaking" if self.facts.shaking else "steady"

    def where(self) -> str:
        """The third of the picture in which the main event happens."""
        main = min((a for a in self.seen if a.action in PRIORITY), key=lambda a: _rank(a.action), default=None)
        return side(main.x) if main is not None else "nowhere"

    def ask(self, kind: str, rng: np.random.Generator | None = None) -> Question | None:
        """A question of `kind` in a random wording (the first one without rng); None if it cannot be asked here."""

        def pick(items: Sequence[T]) -> T:
            return items[0 if rng is None else int(rng.integers(len(items)))]

        if kind.startswith("yn_"):
            return Question(kind, pick(YES_NO[kind[3:]]), "yes" if kind[3:] in self.events else "no")
        text = pick(OPEN[kind])
        if kind in ("colour", "location"):
            people = self.placed if kind == "location" else self.recognisable
            if not people:
                return None
            person = pick(people)
            said = _did(person) if kind == "colour" else side(person.x)
            return Question(kind, text.format(colour=person.colour), said)
        answer: str = getattr(self, kind)()  # every other kind is answered by the method of its name
        return Question(kind, text, answer) if answer else None


def training_questions(facts: SceneFacts, rng: np.random.Generator) -> list[Question]:
    """About nine questions: the event, a description, some of the others, and balanced yes/no questions.

    Frequent answers (constant light, steady camera) are asked for less often, so that the answers are balanced.
    """
    witness = Witness(facts)
    kinds = [
        "event",
        "description",
        str(rng.choice(["activity", "colour"])),
        str(rng.choice(["count", "direction", "motion", "where"])),
    ]
    chances = {
        "light": 0.25 if facts.light == "same" else 1.0,
        "camera": 1.0 if facts.shaking else 0.4,
        "location": 0.8,
        "direction": 0.25,
    }
    kinds += [kind for kind, chance in chances.items() if rng.random() < chance and kind not in kinds]
    present = list(rng.permutation([e for e in YES_NO if e in witness.events]))[:3]
    absent = [e for e in YES_NO if e not in witness.events]
    events = present + list(rng.choice(absent, min(max(len(present), 1), len(absent)), replace=False))
    questions = [witness.ask(kind, rng) for kind in kinds + [f"yn_{e}" for e in events]]
    return [q for q in questions if q is not None]


def held_out_questions(facts: SceneFacts) -> list[Question]:
    """Every kind of question once, in its first wording."""
    witness = Witness(facts)
    questions = [witness.ask(kind) for kind in [*OPEN, *(f"yn_{e}" for e in YES_NO)]]
    return [q for q in questions if q is not None]
