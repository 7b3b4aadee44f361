"""Reckoning with small numbers: sums, word problems, sequences, comparisons. The results are computed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random

from agentlora.eval.probes.making import Item, deal

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Iris", "Jonas")
THINGS = ("apples", "marbles", "books", "coins", "stamps", "pencils", "cards", "shells")
EACH = 24  # probes of a family
STEPS = (1, 2, 3, 5, 10, 20)  # by which wrong results are off


def items() -> Iterator[Item]:
    rng = Random("arithmetic")
    for family in (_sums, _differences, _products, _quotients, _stories, _sequences, _compared, _parts):
        yield from family(rng)


def _sums(rng: Random) -> Iterator[Item]:
    for a, b in rng.sample(list(product(range(2, 61), range(2, 40))), EACH):
        yield _item(rng, "sum", f"What is {a} + {b}?", a + b)


def _differences(rng: Random) -> Iterator[Item]:
    pairs = [(large, small) for large in range(20, 100) for small in range(2, large - 9)]
    for a, b in rng.sample(pairs, EACH):
        yield _item(rng, "difference", f"What is {a} - {b}?", a - b)


def _products(rng: Random) -> Iterator[Item]:
    for a, b in rng.sample(list(product(range(2, 10), range(3, 13))), EACH):
        yield _item(rng, "product", f"What is {a} times {b}?", a * b)


def _quotients(rng: Random) -> Iterator[Item]:
    for a, b in rng.sample(list(product(range(2, 11), range(2, 13))), EACH):
        yield _item(rng, "quotient", f"What is {a * b} divided by {a}?", b)


def _stories(rng: Random) -> Iterator[Item]:
    for name, things in zip(deal(rng, NAMES, EACH), deal(rng, THINGS, EACH), strict=True):
        a, b, kind = rng.randint(8, 30), rng.randint(2, 7), rng.randrange(4)
        said, result = (
            (f"{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?", a + b),
            (f"{name} has {a} {things} and gives {b} away. How many {things} does {name} have left?", a - b),
            (f"{name} has {b} boxes with {b + 2} {things} in each. How many {things} are that?", b * (b + 2)),
            (f"{name} shares {a * b} {things} equally among {b} friends. How many does each get?", a),
        )[kind]
        yield _item(rng, "story", said, result)


def _sequences(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        start, step = rng.randint(1, 30), rng.randint(2, 11)
        row = [start + step * i for i in range(5)]
        if number % 3 == 1:
            row.reverse()
        elif number % 3 == 2:
            row = [(number // 3 + 1) * 2**i for i in range(5)]
        shown = ", ".join(map(str, row[:4]))
        yield _item(rng, "sequence", f"Which number comes next: {shown}, …?", row[4])


def _compared(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        found = rng.sample(range(11, 100), 4)
        word, right = ("largest", max(found)) if number % 2 else ("smallest", min(found))
        shown = ", ".join(map(str, found))
        said = f"Which of these numbers is the {word}: {shown}? Answer with the number."
        yield Item("compare", said, str(right), tuple(str(n) for n in found if n != right))


def _parts(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        a = number // 4 + 2
        said, result = (
            (f"What is half of {20 * a}?", 10 * a),
            (f"What is twice {a + 10}?", 2 * (a + 10)),
            (f"What is 10 percent of {a * 100}?", a * 10),
            (f"How many minutes are {a} hours?", a * 60),
        )[number % 4]
        yield _item(rng, "part", said, result)


def _item(rng: Random, family: str, question: str, result: int) -> Item:
    """With three wrong results near the right one, of as many digits."""
    right = str(result)
    near = [str(n) for step in STEPS for n in (result - step, result + step) if n > 0]
    pool = [n for n in near if len(n) == len(right)]
    return Item(family, f"{question} Answer with the number.", right, tuple(rng.sample(pool[:8], 3)))
