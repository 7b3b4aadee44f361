"""Reading: the answer stands in a short text, from ``reading.txt`` or made by rule."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from agentlora.eval.probes.making import Item, first_upper, table

EACH = 15  # texts of a kind; each has two questions
PEOPLE = ("Mara", "Tom", "Lina", "Oskar", "Selma", "Viktor", "Nadia", "Paul", "Ruth", "Simon", "Tilda", "Urs")
JOBS = ("a baker", "a nurse", "a pilot", "a tailor", "a judge", "a farmer", "a singer", "a waiter", "a miner")
CITIES = ("Lyon", "Porto", "Turin", "Leeds", "Basel", "Ghent", "Split", "Graz", "Oulu", "Bergen")
ROOMS = ("kitchen", "cellar", "garage", "attic", "hall", "bedroom", "garden")
THINGS = ("the lamp", "the book", "the vase", "the clock", "the drum", "the radio", "the globe", "the kite")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "brown", "pink")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GOODS = ("apples", "plums", "lemons", "onions", "carrots", "pears", "leeks", "figs")


def items() -> Iterator[Item]:
    text = ""
    for said, question, right, *wrong in table("reading")["text"]:
        text = text if said == "=" else said
        yield _item("text", text, question, right, *wrong)
    rng = Random("reading")
    for family in (_lives, _places, _colours, _times, _prices, _winners, _letters):
        yield from family(rng)


def _lives(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        (a, b, c), jobs, cities = rng.sample(PEOPLE, 3), rng.sample(JOBS, 3), rng.sample(CITIES, 3)
        text = " ".join(
            f"{name} is {job} and lives in {city}."
            for name, job, city in zip((a, b, c), jobs, cities, strict=True)
        )
        first, second = rng.sample(range(3), 2)
        who = (a, b, c)
        yield _item("lives", text, f"What is {who[first]}'s job?", *_first(jobs, first))
        yield _item(
            "lives", text, f"Where does {who[second]} live?", *_first([f"in {x}" for x in cities], second)
        )


def _places(rng: Random) -> Iterator[Item]:
    """The last word counts: things are carried on."""
    for _ in range(EACH):
        name, thing, other = rng.choice(PEOPLE), *rng.sample(THINGS, 2)
        start, then, aside = rng.sample(ROOMS, 3)
        text = (
            f"{name} found {thing} in the {start} and {other} in the {aside}. {name} carried {thing} to the {then} and "
            f"left {other} where it was."
        )
        rooms = [f"in the {room}" for room in (then, start, aside)]
        yield _item("places", text, f"Where is {thing} now?", *rooms)
        yield _item("places", text, f"Where is {other} now?", rooms[2], rooms[0], rooms[1])


def _colours(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        things, colours = rng.sample(THINGS, 3), rng.sample(COLOURS, 3)
        shown = ", ".join(f"{thing} is {colour}" for thing, colour in zip(things, colours, strict=True))
        text = first_upper(f"{shown}.")
        one, other = rng.sample(range(3), 2)
        yield _item("colours", text, f"What colour is {things[one]}?", *_first(colours, one))
        yield _item("colours", text, f"Which of them is {colours[other]}?", *_first(things, other))


def _times(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        days, names = rng.sample(DAYS, 3), rng.sample(PEOPLE, 3)
        parts = [f"by {name} on {day}" for name, day in zip(names, days, strict=True)]
        text = f"The kitchen is cleaned {parts[0]}, {parts[1]} and {parts[2]}."
        one, other = rng.sample(range(3), 2)
        yield _item("times", text, f"Who cleans the kitchen on {days[one]}?", *_first(names, one))
        yield _item("times", text, f"On which day does {names[other]} clean?", *_first(days, other))


def _prices(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        goods, prices = rng.sample(GOODS, 3), rng.sample(range(2, 10), 3)
        lines = [f"{good}: {price} euros" for good, price in zip(goods, prices, strict=True)]
        text = "Price list\n" + "\n".join(lines)
        one = rng.randrange(3)
        cheapest = prices.index(min(prices))
        yield _item(
            "prices", text, f"What do the {goods[one]} cost?", *_first([f"{p} euros" for p in prices], one)
        )
        yield _item("prices", text, "Which of them costs least?", *_first(goods, cheapest))


def _winners(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        a, b, c = rng.sample(PEOPLE, 3)
        text = f"In the race {a} came before {b}, who had won the year before. {c} was ill and did not run."
        yield _item("winners", text, "Who had won the year before?", b, a, c)
        yield _item("winners", text, "Who did not take part in the race?", c, b, a)


def _letters(rng: Random) -> Iterator[Item]:
    for _ in range(EACH):
        sender, receiver, about = rng.sample(PEOPLE, 3)
        city, other = rng.sample(CITIES, 2)
        text = (
            f"Dear {receiver},\nI am in {city} now and shall stay until {rng.choice(DAYS)}. Then I go on to {other}, "
            f"where {about} is waiting for me.\nYours, {sender}"
        )
        yield _item("letters", text, "Who wrote the letter?", sender, receiver, about)
        third = rng.choice([place for place in CITIES if place not in (city, other)])
        yield _item(
            "letters", text, "Where was the letter written?", *(f"in {p}" for p in (city, other, third))
        )


def _first(values: list[str], right: int) -> list[str]:
    """The right one, and then the others."""
    return [values[right], *(value for i, value in enumerate(values) if i != right)]


def _item(family: str, text: str, question: str, *choices: str) -> Item:
    right, *wrong = map(first_upper, choices)
    said = f"{text}\n\nAnswer in a few words: {question}"
    return Item(family, said, right, tuple(wrong), text)
