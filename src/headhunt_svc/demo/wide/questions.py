"""Questions about a window of the wide world and their answers; none speaks of labels or unseen kinds."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headhunt_svc.demo import questions as narrow
from headhunt_svc.demo.questions import MIRRORED, Question, Witness, side
from headhunt_svc.demo.scenes import SceneFacts
from headhunt_svc.demo.shapes import Facts
from headhunt_svc.demo.wide.kinds import KINDS, of_group
from headhunt_svc.demo.wide.things import WHOLE
from headhunt_svc.demo.wide.weather import NIGHT, WEATHER

CLAUSES = {
    **{action: f"a {{colour}} person {says}" for action, (says, _) in narrow.ACTIONS.items()},
    "car": "a {colour} car passes {direction}",
    "explosion": "an explosion in the {side}",
    **{name: kind.clause for name, kind in KINDS.items()},
}
DOING = {action: doing for action, (_, doing) in narrow.ACTIONS.items()} | {n: k.doing for n, k in KINDS.items()}
WORDS = {**narrow.EVENT_WORDS, **{name: kind.word for name, kind in KINDS.items()}}
YES_NO = {**narrow.YES_NO, **{name: kind.asks for name, kind in KINDS.items()}}
OPEN = {
    **narrow.OPEN,
    "things": (
        "which things and animals are there?",
        "what else moves or happens?",
        "name everything that is no person.",
    ),
    "weather": ("what is the weather like?", "how is the weather?"),
    "daytime": ("is it day or night?", "what time of day is it?"),
}
SOCIAL = of_group("people")
NO_PERSON = ("car", "explosion", *of_group("vehicle", "animal", "thing", "effect", "weather"))
# the first that is seen is the main event; weather is none
PRIORITY = (
    "explosion", "fight", "fall", "lie", "car", "run", "drop",
    *SOCIAL, *of_group("person", "vehicle", "effect", "animal", "thing"), "bike", "crouch", "turn", "talk",
)  # fmt: skip
MOST_ASKED = 4  # yes/no questions with yes, and as many with no


def _rank(action: str) -> int:
    return PRIORITY.index(action) if action in PRIORITY else len(PRIORITY)


class WideWitness(Witness):
    """Answers every kind of question about one window of the wide world."""

    def __init__(self, facts: SceneFacts) -> None:
        super().__init__(facts)
        self.people = [a for a in self.seen if a.action not in NO_PERSON]

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
        said = [
            CLAUSES[a.action].format(colour=a.colour, direction=a.direction, side=side(a.x))
            for a in sorted(actors, key=lambda a: (_rank(a.action), a.x))
        ]
        alone = ["a bag stands alone"] if self.bag_left and "drop" not in self.events else []
        return alone + list(dict.fromkeys(said))

    def description(self) -> str:
        """A caption: up to three clauses, then weather, night and the change of light."""
        parts = self.clauses()[:3] or ["an empty scene"]
        parts += [KINDS[kind].clause for kind in of_group("weather") if kind in self.events]
        return ", ".join(parts + ([f"it gets {self.facts.light}"] if self.facts.light not in ("same", "") else []))

    def activity(self) -> str:
        """The one or two main activities of people."""
        actions = sorted({p.action for p in self.people}, key=lambda a: (_rank(a), a))
        return " and ".join(list(dict.fromkeys(DOING[a] for a in actions))[:2]) or "nobody"

    def things(self) -> str:
        """Up to three things, animals and effects."""
        seen = [e for e in PRIORITY if e in self.events and e in NO_PERSON]
        return " and ".join([WORDS.get(e, e) for e in seen][:3]) or "none"

    def weather(self) -> str:
        """Clear, rain, snow or fog."""
        return next((kind for kind in WEATHER[1:] if kind in self.events), WEATHER[0])

    def daytime(self) -> str:
        """Day or night."""
        return NIGHT if NIGHT in self.events else "day"

    def direction(self) -> str:
        """Which way people move."""
        ways = {p.direction for p in self.people if p.speed >= 0.03}
        return "both" if len(ways) == 2 else ways.pop() if ways else "none"

    def where(self) -> str:
        """The third of the picture in which the main event happens; empty if it is everywhere."""
        main = min((a for a in self.seen if a.action in PRIORITY), key=lambda a: _rank(a.action), default=None)
        if main is None:
            return "nowhere"
        return "" if main.action in WHOLE else side(main.x)

    def said_of(self, person: Facts) -> str:
        """What a recognisable person does: the caption's clause without its subject, where it has one."""
        clause = CLAUSES[person.action].format(colour=person.colour, direction=person.direction, side=side(person.x))
        return clause.removeprefix(f"a {person.colour} person ")

    def yes_no(self, kind: str, rng: np.random.Generator | None = None) -> Question:
        """Is this kind there?"""
        texts = YES_NO[kind]
        text = texts[0 if rng is None else int(rng.integers(len(texts)))]
        return Question(f"yn_{kind}", text, "yes" if kind in self.events else "no")

    def ask(self, kind: str, rng: np.random.Generator | None = None) -> Question | None:
        """A question of `kind` in a random wording (the first one without rng); None if it cannot be asked here."""
        if kind.startswith("yn_"):
            return self.yes_no(kind[3:], rng)
        texts = OPEN[kind]
        text = texts[0 if rng is None else int(rng.integers(len(texts)))]
        if kind in ("colour", "location"):
            people = self.placed if kind == "location" else self.recognisable
            if not people:
                return None
            person = people[0 if rng is None else int(rng.integers(len(people)))]
            said = self.said_of(person) if kind == "colour" else side(person.x)
            return Question(kind, text.format(colour=person.colour), said)
        answer: str = getattr(self, kind)()  # every other kind is answered by the method of its name
        return Question(kind, text, answer) if answer else None


def asked(witness: WideWitness, rng: np.random.Generator) -> list[str]:
    """Kinds with yes/no questions that are there: at most MOST_ASKED."""
    return [str(kind) for kind in rng.permutation([k for k in YES_NO if k in witness.events])][:MOST_ASKED]


def _yes_and_no(
    witness: WideWitness, windows: Sequence[SceneFacts], rng: np.random.Generator, among: Sequence[int]
) -> list[str]:
    """Kinds that are there, and as many (at least one) that are not.

    Those are drawn from what is asked about other windows, so each kind is asked with no about as often as with yes.
    """
    present, absent = asked(witness, rng), list[str]()
    n = max(len(present), 1)
    for _ in range(20):
        other = WideWitness(windows[among[int(rng.integers(len(among)))]])
        absent += [kind for kind in asked(other, rng) if kind not in witness.events and kind not in absent]
        if len(absent) >= n:
            break
    return [f"yn_{kind}" for kind in present + absent[:n]]


def training_questions(
    windows: Sequence[SceneFacts], i: int, rng: np.random.Generator, among: Sequence[int]
) -> list[Question]:
    """About a dozen questions on window i: event, description, some of the others, yes/no balanced for each kind.

    Frequent answers (constant light, steady camera, clear weather, day) are asked for less often.
    """
    witness = WideWitness(windows[i])
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


def held_out_questions(windows: Sequence[SceneFacts], i: int) -> list[Question]:
    """Every open question on window i in its first wording; yes/no on what is there and as much that is not."""
    witness = WideWitness(windows[i])
    kinds = [*OPEN, *_yes_and_no(witness, windows, np.random.default_rng(i), range(len(windows)))]
    return [q for q in map(witness.ask, kinds) if q is not None]


def mirrored(question: Question) -> Question:
    """The same question about the mirrored pictures: whole words only, since brighter holds right."""
    if question.kind not in MIRRORED:
        return question
    swapped = re.sub(r"\b(left|right)\b", lambda m: "left" if m[1] == "right" else "right", question.answer)
    return replace(question, answer=swapped)
