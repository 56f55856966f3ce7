"""Questions about a window and their answers: the text of pre-training.

No question or answer says normal, anomalous or unusual, or names an unseen kind, so the model learns no word for what
the method looks for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from headhunt_svc.demo.scenes import SceneFacts
from headhunt_svc.demo.shapes import Facts
from headhunt_svc.demo.wide.kinds import KINDS, of_group
from headhunt_svc.demo.wide.things import WHOLE
from headhunt_svc.demo.wide.weather import NIGHT, WEATHER

T = TypeVar("T")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")
ACTIONS = {  # of the corpus' people: in a caption, and as an activity
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
}
CLAUSES = {
    **{action: f"a {{colour}} person {says}" for action, (says, _) in ACTIONS.items()},
    "car": "a {colour} car passes {direction}",
    "explosion": "an explosion in the {side}",
    **{name: kind.clause for name, kind in KINDS.items()},
}
BAG_LEFT = "a bag stands alone"
DOING = {action: doing for action, (_, doing) in ACTIONS.items()} | {n: k.doing for n, k in KINDS.items()}
# as an event; the words for all others are their names
WORDS = {"lie": "lying", "drop": "bag", **{name: kind.word for name, kind in KINDS.items()}}
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
    **{name: kind.asks for name, kind in KINDS.items()},
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
    "things": (
        "which things and animals are there?",
        "what else moves or happens?",
        "name everything that is no person.",
    ),
    "weather": ("what is the weather like?", "how is the weather?"),
    "daytime": ("is it day or night?", "what time of day is it?"),
}
NO_PERSON = ("car", "explosion", *of_group("vehicle", "animal", "thing", "effect", "weather"))
# the first that is seen is the main event; weather is none
PRIORITY = (
    "explosion", "fight", "fall", "lie", "car", "run", "drop",
    *of_group("people"), *of_group("person", "vehicle", "effect", "animal", "thing"), "bike", "crouch", "turn", "talk",
)  # fmt: skip
# what a window can show, and texts that name it: questions about kinds, people's actions, changes of the whole picture
NAMES = {
    **YES_NO,
    **{
        action: (*YES_NO.get(action, ()), says.removesuffix(" {direction}"), doing)
        for action, (says, doing) in ACTIONS.items()
    },
    **{name: (*kind.asks, kind.word) for name, kind in KINDS.items()},
    **{word: (word,) for word in ("shaking", "brighter", "darker")},
}
MOST_ASKED = 4  # yes/no questions with yes, and as many with no
LEFT, RIGHT = 0.36, 0.64  # borders between left, middle and right third of the picture
UNSURE = 0.03  # closer to a border than this, nobody is asked for the location
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
        """The same question about the mirrored pictures: whole words only, since brighter holds right."""
        if self.kind not in MIRRORED:
            return self
        swapped = re.sub(r"\b(left|right)\b", lambda m: "left" if m[1] == "right" else "right", self.answer)
        return replace(self, answer=swapped)


def side(x: float) -> str:
    """Left, middle or right third of the picture."""
    return "left" if x < LEFT else "right" if x > RIGHT else "middle"


def _rank(action: str) -> int:
    return PRIORITY.index(action) if action in PRIORITY else len(PRIORITY)


def _clause(actor: Facts) -> str:
    return CLAUSES[actor.action].format(colour=actor.colour, direction=actor.direction, side=side(actor.x))


class Witness:
    """Answers every kind of question about one window."""

    def __init__(self, facts: SceneFacts) -> None:
        self.facts = facts
        self.seen = [a for a in facts.actors if a.visible]
        self.people = [a for a in self.seen if a.action not in NO_PERSON]
        self.bag_left = any(a.bag_left for a in facts.actors)
        self.events = {a.action for a in self.seen} | ({"bag"} if self.bag_left else set())

    def shown(self) -> frozenset[str]:
        """All of NAMES that is there."""
        whole = {self.facts.light, "shaking" if self.facts.shaking else ""}
        return frozenset(kind for kind in self.events | whole if kind in NAMES)

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
        words = [WORDS.get(e, e) for e in PRIORITY if e in self.events]
        if self.bag_left and "bag" not in words:
            words.append("bag")
        quiet = "walk" if self.events & {"walk", "carry"} else "stand" if "stand" in self.events else "nothing"
        return " and ".join(words[:2] or [quiet])

    def clauses(self) -> list[str]:
        """What can be said of each actor but the weather, the most important first; the same is said once."""
        actors = [a for a in self.seen if a.action not in of_group("weather")]
        said = [_clause(a) for a in sorted(actors, key=lambda a: (_rank(a.action), a.x))]
        alone = [BAG_LEFT] if self.bag_left and "drop" not in self.events else []
        return alone + list(dict.fromkeys(said))

    def description(self) -> str:
        """A caption: up to three clauses, then weather, night and the change of light."""
        parts = self.clauses()[:3] or ["an empty scene"]
        parts += [KINDS[kind].clause for kind in of_group("weather") if kind in self.events]
        return ", ".join(parts + ([f"it gets {self.facts.light}"] if self.facts.light not in ("same", "") else []))

    def count(self) -> str:
        """How many people."""
        return NUMBERS[min(len(self.people), 7)]

    def direction(self) -> str:
        """Which way people move."""
        ways = {p.direction for p in self.people if p.speed >= 0.03}
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
        return " and ".join(list(dict.fromkeys(DOING[a] for a in actions))[:2]) or "nobody"

    def things(self) -> str:
        """Up to three things, animals and effects."""
        seen = [e for e in PRIORITY if e in self.events and e in NO_PERSON]
        return " and ".join([WORDS.get(e, e) for e in seen][:3]) or "none"

    def light(self) -> str:
        """Brighter, darker or same; empty where the change is too small to name."""
        return self.facts.light

    def camera(self) -> str:
        """Shaking or steady."""
        return "shaking" if self.facts.shaking else "steady"

    def weather(self) -> str:
        """Clear, rain, snow or fog."""
        return next((kind for kind in WEATHER[1:] if kind in self.events), WEATHER[0])

    def daytime(self) -> str:
        """Day or night."""
        return NIGHT if NIGHT in self.events else "day"

    def where(self) -> str:
        """The third of the picture in which the main event happens; empty if it is everywhere."""
        main = min((a for a in self.seen if a.action in PRIORITY), key=lambda a: _rank(a.action), default=None)
        if main is None:
            return "nowhere"
        return "" if main.action in WHOLE else side(main.x)

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
            does = _clause(person).removeprefix(f"a {person.colour} person ")
            return Question(kind, text.format(colour=person.colour), does if kind == "colour" else side(person.x))
        answer: str = getattr(self, kind)()  # every other kind is answered by the method of its name
        return Question(kind, text, answer) if answer else None


def _asked(witness: Witness, rng: np.random.Generator) -> list[str]:
    """Kinds with yes/no questions that are there: at most MOST_ASKED."""
    return [str(kind) for kind in rng.permutation([k for k in YES_NO if k in witness.events])][:MOST_ASKED]


def _yes_and_no(
    witness: Witness, windows: Sequence[SceneFacts], rng: np.random.Generator, among: Sequence[int]
) -> list[str]:
    """Kinds that are there, and as many (at least one) that are not.

    Those are drawn from what is asked about other windows, so each kind is asked with no about as often as with yes.
    """
    present, absent = _asked(witness, rng), list[str]()
    n = max(len(present), 1)
    for _ in range(20):
        other = Witness(windows[among[int(rng.integers(len(among)))]])
        absent += [kind for kind in _asked(other, rng) if kind not in witness.events and kind not in absent]
        if len(absent) >= n:
            break
    return [f"yn_{kind}" for kind in present + absent[:n]]


def training_questions(
    windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int]
) -> list[Question]:
    """About ten questions on window i: event, description, some of the others, yes/no balanced for each kind.

    Frequent answers (constant light, steady camera, clear weather, day) are asked for less often.
    among: the windows that i was drawn from.
    """
    witness = Witness(windows[i])
    kinds = ["event", "description", "things", str(rng.choice(["activity", "colour"]))]
    kinds.append(str(rng.choice(["count", "motion", "where"])))
    chances = {
        "light": 0.15 if witness.facts.light == "same" else 1.0,
        "camera": 1.0 if witness.facts.shaking else 0.4,
        "location": 0.8,
        "direction": 0.5,
        "weather": 0.15 if witness.weather() == WEATHER[0] else 0.7,
        "daytime": 0.15 if witness.daytime() == "day" else 0.7,
    }
    kinds += [kind for kind, chance in chances.items() if rng.random() < chance]
    questions = [witness.ask(kind, rng) for kind in kinds + _yes_and_no(witness, windows, rng, among)]
    return [q for q in questions if q is not None]


def probes(
    windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int], n: int
) -> list[Question]:
    """At most n yes/no questions on window i that are not answered in words.

    First the kinds that are there, at most n / 2 (yes); then kinds that other windows show and this one does not (no).
    """
    witness = Witness(windows[i])
    kinds = [kind for kind in YES_NO if kind in witness.events][: n // 2]
    for _ in range(40):
        if len(kinds) >= n:
            break
        other = Witness(windows[among[int(rng.integers(len(among)))]]).events
        kinds += [k for k in YES_NO if k in other and k not in witness.events and k not in kinds]
    questions = [witness.ask(f"yn_{kind}", rng) for kind in kinds[:n]]
    return [replace(question, in_words=False) for question in questions if question is not None]


def held_out_questions(windows: Sequence[SceneFacts], i: int) -> list[Question]:
    """Every open question on window i in its first wording; yes/no on what is there and as much that is not."""
    witness = Witness(windows[i])
    kinds = [*OPEN, *_yes_and_no(witness, windows, np.random.default_rng(i), range(len(windows)))]
    return [q for q in map(witness.ask, kinds) if q is not None]
