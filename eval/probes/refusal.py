"""No call where no tool fits, from ``tools.txt``: several tools are offered, and an answer in words is right.

The choices are how an answer begins: some words, or a call, up to its tool's name or with it, whatever makes the call
as often shorter as longer. What follows in a call is settled by its tool, so that a whole call would look likely by its
length alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from agentlora.core.grammar import OPEN
from agentlora.core.types import JSON
from agentlora.eval.probes.making import Item, table

MOST_TOOLS = 5
TURNS = 3  # every request stands beside as many lists of tools
CALL = OPEN + '\n{"name": "'


def items() -> Iterator[Item]:
    rng = Random("refusal")
    tables = table("tools")
    requests = [(family, *row) for family in ("answer", "chat", "refuse") for row in tables[family]]
    for turn in range(TURNS):
        for number, (family, said, begins) in enumerate(requests):
            offered = _offer(rng, tables["tool"])
            call = _call(offered, len(begins), longer=(turn + number) % 2 == 0)
            yield Item(family, said, begins, (call,), said, tuple(map(_tool, offered)))


def _call(offered: Sequence[Sequence[str]], length: int, *, longer: bool) -> str:
    """The beginning of a call that is nearest to so many characters, of the longer or the shorter ones where it can."""
    calls = [CALL, *(f'{CALL}{row[1]}"' for row in offered)]
    wanted = [call for call in calls if (len(call) > length) == longer]
    return min(wanted or calls, key=lambda call: (abs(len(call) - length), call))


def _offer(rng: Random, rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """One to five tools, each about something else."""
    subjects = rng.sample(sorted({row[0] for row in rows}), rng.randint(1, MOST_TOOLS))
    return [rng.choice([row for row in rows if row[0] == subject]) for subject in subjects]


def _tool(row: Sequence[str]) -> JSON:
    _, name, description, parameter, about = row
    schema = {
        "type": "object",
        "properties": {parameter: {"type": "string", "description": about}},
        "required": [parameter],
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }
