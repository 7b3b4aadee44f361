"""What the areas share: tables of facts, and wrong answers that are as long as the right one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from random import Random

from agentlora.core.types import JSON

TRIES = 50
ANYTHING_ELSE = ""
"""A choice that is every answer but those that begin with another of the probe's choices."""


@dataclass(frozen=True, slots=True)
class Item:
    """A probe before its choices have places. `group`: what it shares with others (a fact, a text)."""

    family: str
    said: str
    right: str
    wrong: tuple[str, ...]
    group: str = ""
    tools: tuple[JSON, ...] = ()


def table(name: str) -> dict[str, list[list[str]]]:
    """The sections of ``<name>.txt``: by name, the fields of each line. ``#`` begins a comment line."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    text = files("agentlora.eval.probes").joinpath(f"{name}.txt").read_text(encoding="utf-8")
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("["):
            rows = found[line.strip("[]")] = []
        elif not line.startswith("#"):
            rows.append([field.strip() for field in line.split("|")])
    return found


def like(right: str, pool: Iterable[str], rng: Random, count: int = 3) -> tuple[str, ...]:
    """`count` wrong answers from `pool`, neighbours of the right one by length, which is as often the longest of all as
    the shortest. None begins with another.

    Raises ValueError when the pool has too few.
    """
    others = sorted({text for text in pool if text != right})
    before = sum(len(text) < len(right) for text in others)
    equal = sum(len(text) == len(right) for text in others)
    for _ in range(TRIES):
        rng.shuffle(others)
        ordered = sorted(others, key=len)  # by length, and those of one length shuffled
        at = before + rng.randint(0, equal)
        start = min(max(at - rng.randrange(count + 1), 0), max(len(ordered) - count, 0))
        found = ordered[start : start + count]
        if len(found) == count and apart([right, *found]):
            return tuple(found)
    raise ValueError(f"no {count} wrong answers for {right!r}")


def apart(choices: Sequence[str]) -> bool:
    """Whether they differ, and none begins with another: a longer one would be at most as likely."""
    said = [choice for choice in choices if choice != ANYTHING_ELSE]
    return len(set(choices)) == len(choices) and not any(
        a.startswith(b) or b.startswith(a) for a, b in combinations(said, 2)
    )


def first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def deal(rng: Random, values: Iterable[str], count: int) -> Iterator[str]:
    """`count` of them: each once before one comes again."""
    every = list(values)
    drawn: list[str] = []
    for _ in range(count):
        if not drawn:
            drawn = rng.sample(every, len(every))
        yield drawn.pop()
