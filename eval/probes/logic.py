"""Negation and plain inference, made by rule."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from agentlora.eval.probes.making import Item, deal, first_upper

EACH = 22
PEOPLE = ("Anna", "Boris", "Carla", "Denis", "Elena", "Frank", "Gerda", "Henry", "Ilona", "Jakob")
STATES = (
    ("door", "open", "closed"),
    ("lamp", "on", "off"),
    ("glass", "full", "empty"),
    ("street", "wet", "dry"),
    ("soup", "hot", "cold"),
    ("box", "heavy", "light"),
    ("knife", "sharp", "blunt"),
    ("rope", "long", "short"),
    ("river", "deep", "shallow"),
    ("room", "dark", "bright"),
    ("shirt", "clean", "dirty"),
)
KINDS = (
    ("daisies", "flowers", "plants"),
    ("sparrows", "birds", "animals"),
    ("salmon", "fish", "animals"),
    ("hammers", "tools", "things"),
    ("violins", "instruments", "things"),
    ("poodles", "dogs", "animals"),
    ("oaks", "trees", "plants"),
    ("blorps", "fimbles", "quells"),
    ("dax", "toves", "wugs"),
    ("zibs", "morks", "glims"),
    ("lorries", "vehicles", "machines"),
)
MORE = (
    ("taller", "tallest", "shortest"),
    ("older", "oldest", "youngest"),
    ("faster", "fastest", "slowest"),
    ("richer", "richest", "poorest"),
)
PLACES = ("box", "drawer", "basket", "bag", "cupboard", "pocket", "suitcase", "jar")
THINGS = ("key", "ring", "letter", "coin", "spoon", "ticket", "pen", "map")
IFS = (
    ("it rains", "the street is wet", "the street is dry"),
    ("the bell rings", "the lesson is over", "the lesson goes on"),
    ("the alarm is on", "the red lamp shines", "the red lamp is dark"),
    ("Tom is at home", "his car is outside", "his car is away"),
    ("the shop is open", "the sign is green", "the sign is red"),
    ("the oven is hot", "the dial is red", "the dial is blue"),
    ("the cat is hungry", "it miaows", "it is quiet"),
    ("it is Sunday", "the bank is closed", "the bank is open"),
)


def items() -> Iterator[Item]:
    rng = Random("logic")
    for family in (_negation, _double, _kinds, _order, _either, _if, _exception, _quantity):
        yield from family(rng)


def _negation(_: Random) -> Iterator[Item]:
    for number in range(EACH):
        thing, one, other = STATES[number % len(STATES)]
        said, right = (one, other) if number < len(STATES) else (other, one)
        text = f"The {thing} is either {one} or {other}. It is not {said}. What is it?"
        yield Item("negation", text, f"It is {right}.", (f"It is {said}.",), f"state/{thing}")


def _double(rng: Random) -> Iterator[Item]:
    for number, name in enumerate(deal(rng, PEOPLE, EACH)):
        thing, one, other = rng.choice(STATES)
        nots = number % 3 + 1
        claim = "it is not true that " * (nots - 1) + f"the {thing} is not {one}"
        right, wrong = (one, other) if nots % 2 == 0 else (other, one)
        text = f"The {thing} is either {one} or {other}. {name} rightly says: {claim}. Which of the two is the {thing}?"
        yield Item("double", text, first_upper(right), (first_upper(wrong),))


def _kinds(_: Random) -> Iterator[Item]:
    for number in range(EACH):
        small, middle, large = KINDS[number % len(KINDS)]
        premises = f"All {small} are {middle}. All {middle} are {large}."
        if number < len(KINDS):
            wrong = "No, not all." if number % 2 else "No, they are not."
            yield Item("kinds", f"{premises} Are all {small} {large}?", "Yes, they are.", (wrong,), small)
        else:
            text = f"{premises} Does it follow that all {large} are {small}?"
            yield Item("kinds", text, "No, it does not.", ("Yes, it follows.",), small)


def _order(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        first, second, third = rng.sample(PEOPLE, 3)
        more, most, least = MORE[number % len(MORE)]
        facts = [f"{first} is {more} than {second}.", f"{second} is {more} than {third}."]
        rng.shuffle(facts)
        asked, right = (most, first) if number % 2 else (least, third)
        others = tuple(name for name in (first, second, third) if name != right)
        yield Item("order", f"{' '.join(facts)} Who is the {asked} of the three?", right, others)


def _either(rng: Random) -> Iterator[Item]:
    for thing in deal(rng, THINGS, EACH):
        places = sorted(rng.sample(PLACES, 3))
        right = rng.choice(places)
        no, nor = (place for place in places if place != right)
        text = (
            f"The {thing} is in the {places[0]}, the {places[1]} or the {places[2]}. It is not in the {no}, and not in "
            f"the {nor}. Where is it?"
        )
        yield Item("either", text, f"In the {right}.", (f"In the {no}.", f"In the {nor}."))


def _if(_: Random) -> Iterator[Item]:
    for number in range(EACH):
        cause, effect, opposite = IFS[number % len(IFS)]
        turn = number // len(IFS)
        asked, right, wrong = (
            (f"Now {cause}. What follows?", f"{effect}.", f"{opposite}."),
            (f"Now {opposite}. Can it be that {cause}?", "No, it cannot.", "Yes, it can."),
            (f"Now {cause}. Is it true that {effect}?", "Yes, it is.", "No, it is not."),
        )[turn]
        rule = f"Whenever {cause}, {effect}."
        yield Item("if", f"{rule} {asked}", first_upper(right), (first_upper(wrong),), rule)


def _exception(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        names = rng.sample(PEOPLE, 4)
        right, *others = names
        verb = ("came to the party", "ate soup", "passed the test", "went swimming")[number % 4]
        shown = ", ".join(sorted(names)[:3]) + f" and {sorted(names)[3]}"
        text = (
            f"Of {shown}, all but {right} {verb}. Who did not?"
            if number % 2
            else (f"Of {shown}, nobody but {right} {verb}. Who did?")
        )
        yield Item("exception", text, right, tuple(others))


def _quantity(_: Random) -> Iterator[Item]:
    for number in range(EACH):
        thing = THINGS[number % len(THINGS)]
        text, right, wrong = (
            (f"No {thing} here is red. Is there a red {thing} here?", "No, there is none.", "Yes, there is."),
            (
                f"Every {thing} here is red. Eva saw a {thing} here. Was it red?",
                "Yes, it was.",
                "No, it was blue.",
            ),
            (
                f"At least one {thing} here is red. Can all of them be blue?",
                "No, not all of them.",
                "Yes, all can.",
            ),
            (
                f"Not every {thing} here is red. Is there one that is not red?",
                "Yes, there is one.",
                "No, all are red.",
            ),
            (
                f"Some {thing}s here are red. Is there a red {thing} here?",
                "Yes, there is.",
                "No, there is none.",
            ),
            (
                f"Exactly one {thing} here is red. Are there two red ones here?",
                "No, only one.",
                "Yes, there are two.",
            ),
        )[number % 6]
        yield Item("quantity", text, right, (wrong,))
