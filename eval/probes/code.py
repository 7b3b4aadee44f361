"""Reading code: small programs, whose output is known by how they are made, and plain facts about programming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from agentlora.eval.probes.making import Item, apart, table

EACH = 12  # programs of a kind
WORDS = (
    "stone",
    "pilot",
    "amber",
    "tiger",
    "cloud",
    "lemon",
    "piano",
    "robin",
    "sugar",
    "train",
    "wheel",
    "zebra",
)
ASKED = "What does this Python program print?"
Program = tuple[str, str, list[str]]  # the program, what it prints, and what else one may think


def items() -> Iterator[Item]:
    rng = Random("code")
    for kind in (_assign, _branch, _loop, _list, _text, _slice, _dict, _function, _while, _truth, _sorted):
        yield from _programs(rng, kind)
    for question, right, *wrong in table("code")["fact"]:
        yield Item("fact", f"{question} Answer briefly.", right, tuple(wrong))


def _programs(rng: Random, kind: Callable[[Random], Program]) -> Iterator[Item]:
    """`EACH` different ones with two or three wrong outputs."""
    seen: set[str] = set()
    while len(seen) < EACH:
        program, right, others = kind(rng)
        wrong = list(dict.fromkeys(other for other in others if other != right))[:3]
        if program in seen or len(wrong) < 1 or not apart([right, *wrong]):
            continue
        seen.add(program)
        said = f"{ASKED} Answer with the output alone.\n\n```python\n{program}\n```"
        yield Item(kind.__name__.strip("_"), said, right, tuple(wrong))


def _assign(rng: Random) -> Program:
    a, b = rng.randint(2, 9), rng.randint(11, 40)
    program = f"a = {a}\nb = {b}\na = a + b\nprint(a)"
    return program, str(a + b), [str(b - a), str(a + b + 10), str(b + a + 1)]


def _branch(rng: Random) -> Program:
    a, b = rng.sample(range(1, 30), 2)
    x, y = rng.sample(WORDS, 2)
    program = f'n = {a}\nif n > {b}:\n    print("{x}")\nelse:\n    print("{y}")'
    return program, x if a > b else y, [y if a > b else x, "error"]


def _loop(rng: Random) -> Program:
    start, count, step = rng.randint(0, 5), rng.randint(3, 5), rng.randint(4, 6)
    program = f"total = {start}\nfor i in range({count}):\n    total += {step}\nprint(total)"
    result = start + count * step
    return program, str(result), [str(result + step), str(result - 1), str(result + 2)]


def _list(rng: Random) -> Program:
    numbers = rng.sample(range(10, 100), 4)
    index = rng.randrange(4)
    program = f"numbers = {numbers}\nprint(numbers[{index}])"
    return program, str(numbers[index]), [str(n) for n in numbers]


def _text(rng: Random) -> Program:
    word = rng.choice(WORDS)
    name, right = rng.choice(
        [
            ("upper()", word.upper()),
            ("capitalize()", word.capitalize()),
            (f'replace("{word[0]}", "#")', word.replace(word[0], "#")),
        ]
    )
    return f'word = "{word}"\nprint(word.{name})', right, [word.upper(), word.capitalize(), word]


def _slice(rng: Random) -> Program:
    word = rng.choice(WORDS)
    forms = {"[:3]": word[:3], "[1:4]": word[1:4], "[-3:]": word[-3:], "[::-1][:3]": word[::-1][:3]}
    cut = rng.choice([*forms])
    return f'word = "{word}"\nprint(word{cut})', forms[cut], [*forms.values()]


def _dict(rng: Random) -> Program:
    names, ages = rng.sample(WORDS, 3), rng.sample(range(10, 100), 3)
    asked = rng.randrange(3)
    body = ", ".join(f'"{name}": {age}' for name, age in zip(names, ages, strict=True))
    return f'ages = {{{body}}}\nprint(ages["{names[asked]}"])', str(ages[asked]), [str(age) for age in ages]


def _function(rng: Random) -> Program:
    factor, more, given = rng.randint(2, 4), rng.randint(1, 9), rng.randint(5, 9)
    program = f"def f(x):\n    return {factor} * x + {more}\n\nprint(f({given}))"
    result = factor * given + more
    return program, str(result), [str(result - more), str(result + 1), str(result + factor)]


def _while(rng: Random) -> Program:
    start, step, end = rng.randint(1, 3), rng.randint(2, 4), rng.randint(12, 25)
    program = f"n = {start}\nwhile n < {end}:\n    n += {step}\nprint(n)"
    n = start
    while n < end:
        n += step
    return program, str(n), [str(n - step), str(n + 1), str(n - 1)]


def _truth(rng: Random) -> Program:
    a, b, c = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)
    word = rng.choice(["and", "or"])
    found = a < b and b < c if word == "and" else a < b or b < c
    return f"a, b, c = {a}, {b}, {c}\nprint(a < b {word} b < c)", str(found), [str(not found)]


def _sorted(rng: Random) -> Program:
    numbers = rng.sample(range(10, 100), 4)
    how, right = rng.choice(
        [
            ("min(numbers)", min(numbers)),
            ("max(numbers)", max(numbers)),
            ("sorted(numbers)[1]", sorted(numbers)[1]),
            ("numbers[-1]", numbers[-1]),
        ]
    )
    return f"numbers = {numbers}\nprint({how})", str(right), [str(n) for n in numbers]
