"""Every kind of object, action and effect that the wide world adds, with its words: a table, read by all others.

The rule (docs/demo-model.md): a kind that only test videos hold (crawl, fire, vandal) is neither drawn nor named, nor
is what makes it: nobody moves along while lying, nothing glows in the colours of flames, nobody strikes at a thing,
and there is no machine of the kind that is beaten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Group = Literal["person", "people", "vehicle", "animal", "thing", "effect", "weather"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its word as an event, a clause for captions, what people are doing, yes/no questions, dense channel.

    The clause may hold {colour}, {direction} and {side}. shown: the channel of the dense targets ("" for none).
    """

    group: Group
    word: str
    clause: str
    doing: str
    asks: tuple[str, ...]
    shown: str


def _person(word: str, does: str, doing: str, question: str, shown: str) -> Kind:
    """A person: "a red person {does}", "does someone {question}?", "is anybody {doing}?"."""
    seen = does.removesuffix(" {direction}")
    asks = (f"does someone {question}?", f"is anybody {doing}?", f"do you see a person who {seen}?")
    return Kind("person", word, f"a {{colour}} person {does}", doing, asks, shown)


def _people(word: str, clause: str, doing: str, *asks: str) -> Kind:
    return Kind("people", word, clause, doing, asks, "")


def _passing(group: Group, shown: str, colour: str = "{colour} ", verb: str = "passes") -> Callable[[str], Kind]:
    def make(word: str) -> Kind:
        asks = (f"is there a {word}?", f"do you see a {word}?", f"does a {word} pass?")
        return Kind(group, word, f"a {colour}{word} {verb} {{direction}}", "", asks, shown)

    return make


def _thing(word: str, clause: str, shown: str, *asks: str, group: Group = "thing") -> Kind:
    return Kind(group, word, clause, "", asks, shown)


def _effect(word: str, clause: str, shown: str, *asks: str) -> Kind:
    return _thing(word, clause, shown, *asks, group="effect")


_vehicle = _passing("vehicle", "vehicle")
_animal = _passing("animal", "animal", colour="", verb="moves")

KINDS: dict[str, Kind] = {
    # one person
    "wave": _person("waving", "waves", "waving", "wave", "arm"),
    "jump": _person("jumping", "jumps", "jumping", "jump", "arm"),
    "sit": _person("sitting", "sits on a bench", "sitting", "sit on a bench", "furniture"),
    "dance": _person("dancing", "dances", "dancing", "dance", "arm"),
    "stagger": _person("staggering", "staggers", "staggering", "stagger", ""),
    "squat": _person("exercise", "does squats", "exercising", "do squats", "arm"),
    "point": _person("pointing", "points at something", "pointing", "point at something", "arm"),
    "phone": _person("phone", "holds a phone", "phoning", "hold a phone", "tool"),
    "sweep": _person("sweeping", "sweeps the ground", "sweeping", "sweep the ground", "tool"),
    "wipe": _person("wiping", "wipes a window", "wiping", "wipe a window", "tool"),
    "paint": _person("painting", "paints a wall", "painting", "paint a wall", "tool"),
    "throw": _person("throwing", "throws a ball", "throwing", "throw a ball", "ball"),
    "kick": _person("kicking", "kicks a ball", "kicking", "kick a ball", "ball"),
    "lift": _person("lifting", "lifts a box", "lifting", "lift a box", "tool"),
    "climb": _person("climbing", "climbs a ladder", "climbing", "climb a ladder", "tool"),
    "pick": _person("picking", "picks up a bag", "picking", "pick up a bag", "bag"),
    "photo": _person("photo", "takes a photo", "photographing", "take a photo", "tool"),
    "cart": _person("cart", "pushes a cart {direction}", "pushing", "push a cart", "rolling"),
    "pram": _person("pram", "walks with a pram {direction}", "strolling", "walk with a pram", "rolling"),
    "suitcase": _person("suitcase", "pulls a suitcase {direction}", "pulling", "pull a suitcase", "rolling"),
    "umbrella": _person("umbrella", "holds an umbrella", "sheltering", "hold an umbrella", "tool"),
    "scooter": _person("scooter", "rides a scooter {direction}", "scooting", "ride a scooter", "rolling"),
    "skateboard": _person("skateboard", "stands on a skateboard", "skating", "stand on a skateboard", "rolling"),
    "wheelchair": _person("wheelchair", "sits in a wheelchair", "wheeling", "sit in a wheelchair", "rolling"),
    "leash": _person("dog walk", "walks a dog {direction}", "dog walking", "walk a dog", "animal"),
    # several people
    "hug": _people("hug", "two people hug", "hugging", "do two people hug?", "is there a hug?"),
    "handshake": _people("handshake", "two people shake hands", "greeting", "do people shake hands?",
                         "is there a handshake?"),
    "follow": _people("following", "one person follows another", "following", "does a person follow another?",
                      "is somebody followed?"),
    "chase": _people("chase", "one person chases another", "chasing", "does a person chase another?",
                     "is there a chase?"),
    "queue": _people("queue", "people wait in a line", "waiting", "do people wait in a line?", "is there a queue?"),
    "group": _people("group", "a group walks {direction}", "walking together", "does a group walk?",
                     "do people walk together?"),
    "scatter": _people("scattering", "people run apart", "scattering", "do people run apart?", "do people scatter?"),
    # vehicles and animals
    **{word: _vehicle(word) for word in ("truck", "bus", "motorbike", "tram", "forklift", "tractor")},
    **{word: _animal(word) for word in ("dog", "cat", "horse")},
    "bird": Kind("animal", "bird", "a bird flies {direction}", "", ("does a bird fly?", "is there a bird?"), "flying"),
    # things
    "ball": _thing("ball", "a ball rolls {direction}", "ball", "does a ball roll?", "is there a rolling ball?"),
    "balloon": _thing("balloon", "a {colour} balloon rises", "flying", "does a balloon rise?", "is there a balloon?"),
    "drone": _thing("drone", "a drone flies {direction}", "flying", "does a drone fly?", "is there a drone?"),
    "flag": _thing("flag", "a {colour} flag moves", "fixture", "does a flag move?", "is there a flag?"),
    "gate": _thing("gate", "a gate opens", "fixture", "does a gate open?", "is there a gate that opens?"),
    "barrier": _thing("barrier", "a barrier goes up", "fixture", "does a barrier go up?", "is there a barrier?"),
    "signal": _thing("signal", "a signal changes", "fixture", "does a signal change?", "is there a signal?"),
    "paper": _thing("paper", "paper blows {direction}", "flying", "does paper blow?", "is there paper in the wind?"),
    "box": _thing("box", "a box falls down", "tool", "does a box fall down?", "is there a falling box?"),
    "sign": _thing("sign", "a sign tips over", "fixture", "does a sign tip over?", "is there a tipping sign?"),
    "fountain": _thing("fountain", "a fountain sprays", "water", "does a fountain spray?", "is there a fountain?"),
    "puddle": _thing("puddle", "a puddle grows", "water", "does a puddle grow?", "is there a puddle?"),
    # effects
    "steam": _effect("steam", "steam rises in the {side}", "cloud", "does steam rise?", "is there steam?"),
    "dust": _effect("dust", "dust drifts {direction}", "cloud", "does dust drift?", "is there dust?"),
    "lamp": _effect("lamp", "a lamp flickers", "lamp", "does a lamp flicker?", "is there a flickering lamp?"),
    "beam": _effect("beam", "a beam of light sweeps {direction}", "lamp", "does a beam of light sweep?",
                    "is there a beam?"),
    "screen": _effect("screen", "a screen changes", "lamp", "does a screen change?", "is there a screen?"),
    "beacon": _effect("beacon", "a blue light blinks", "lamp", "does a blue light blink?", "is there a beacon?"),
    "lightning": _effect("lightning", "the sky flashes", "", "does the sky flash?", "is there lightning?"),
    "shadow": _effect("shadow", "a shadow moves {direction}", "", "does a shadow move over the ground?",
                      "is there a large shadow?"),
    "insect": _effect("insect", "an insect is on the lens", "lens", "is an insect on the lens?",
                      "does an insect move on the lens?"),
    "blackout": _effect("blackout", "the picture goes black", "", "does the picture go black?", "is there a blackout?"),
    "cover": _effect("cover", "the view is covered", "lens", "is the view covered?", "does something cover the lens?"),
    # weather
    "rain": _thing("rain", "it rains", "", "does it rain?", "is it raining?", group="weather"),
    "snow": _thing("snow", "it snows", "", "does it snow?", "is it snowing?", group="weather"),
    "fog": _thing("fog", "it is foggy", "", "is there fog?", "is it foggy?", group="weather"),
    "night": _thing("night", "it is night", "", "is it night?", "is it dark outside?", group="weather"),
}  # fmt: skip


def of_group(*groups: Group) -> tuple[str, ...]:
    """The names of all kinds of these groups."""
    return tuple(name for name, kind in KINDS.items() if kind.group in groups)


SHOWN = tuple(sorted({kind.shown for kind in KINDS.values()} - {"", "bag"}))  # channels of the dense targets
