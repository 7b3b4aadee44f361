"""No call where no tool fits, from ``tools.txt``: several tools are offered, and every answer but a call is right.

What is asked is how likely a call begins. A refusal of our own wording beside it would measure the wording: a model
that calls one time in twenty finds the call likelier than any sentence that it would have put otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from agentlora.core.grammar import OPEN
from agentlora.core.types import JSON
from agentlora.eval.probes.making import ANYTHING_ELSE, Item, table

MOST_TOOLS = 5
TURNS = 3  # every request stands beside as many lists of tools


def items() -> Iterator[Item]:
    rng = Random("refusal")
    tables = table("tools")
    for _ in range(TURNS):
        for family in ("answer", "chat", "refuse"):
            for (said,) in tables[family]:
                tools = tuple(map(_tool, _offer(rng, tables["tool"])))
                yield Item(family, said, ANYTHING_ELSE, (OPEN,), said, tools)


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
