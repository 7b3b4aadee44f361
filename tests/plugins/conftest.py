"""Small tool-calling examples for a tiny model."""

from __future__ import annotations

import pytest

from agentlora.core.types import Example, Expected, ToolCall

ROOMS = ("kitchen", "hall", "attic", "cellar", "study", "porch", "garage", "nursery")


def tool(name: str) -> dict[str, object]:
    properties = {"room": {"type": "string"}, "level": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties, "required": ["room"]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Light a room", "parameters": parameters},
    }


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Three groups of four requests; each group has a tool list of its own."""
    made = []
    for g, name in enumerate(("set_light", "dim", "lamp.on")):
        for i in range(4):
            room = ROOMS[(g + i) % len(ROOMS)]
            made.append(
                Example(
                    id=f"{g}-{i}",
                    messages=({"role": "user", "content": f"light in the {room}" + " please" * i},),
                    expected=Expected(calls=(ToolCall(name, {"room": room}),)),
                    tools=(tool(name),),
                    group=f"g{g}",
                    tags={"case": "single", "slice": "trained"},
                )
            )
    return made
