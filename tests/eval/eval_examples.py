"""Examples to evaluate: two near tools, requests in groups of four, every case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentlora.core.types import JSON, Example, Expected, GenerateRequest, ToolCall

SET_LIGHT: JSON = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "Switch a lamp or dim it.",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string"},
                "brightness": {"type": "integer", "minimum": 0, "maximum": 100},
            },
            "required": ["room"],
            "additionalProperties": False,
        },
    },
}
PLAY: JSON = {
    "type": "function",
    "function": {
        "name": "play",
        "description": "Play some music.",
        "parameters": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["title"],
        },
    },
}
TOOLS = (SET_LIGHT, PLAY)


def light(room: str, **more: object) -> ToolCall:
    return ToolCall("set_light", {"room": room, **more})


def example(
    name: str, said: str, *calls: ToolCall, case: str = "call", group: str = "", **more: str
) -> Example:
    """One request with both tools on offer; without calls the answer is a text."""
    return Example(
        id=name,
        messages=({"role": "user", "content": said},),
        tools=TOOLS,
        expected=Expected(calls=calls, text=None if calls else "None of the tools fits."),
        group=group,
        tags={"case": case, "slice": "new tools", **more},
    )


def make_examples(groups: int) -> list[Example]:
    """Four requests a group: one call, two calls, none fits, a missing argument."""
    found = []
    for g in range(groups):
        name = f"g{g}"
        found += [
            example(f"{name}-one", f"Dim room {g}", light(f"room {g}", brightness=20), group=name),
            example(
                f"{name}-two",
                f"Light in room {g}, and some jazz",
                light(f"room {g}"),
                ToolCall("play", {"title": "jazz"}),
                case="two_calls",
                group=name,
            ),
            example(f"{name}-none", f"What is {g} squared?", case="none_fits", group=name),
            example(f"{name}-ask", "Dim the light", case="missing", group=name),
        ]
    return found


def deciding() -> list[Example]:
    """Of tools that were not trained on, which are those that decide."""
    return [replace(e, tags={**e.tags, "tools": "new"}) for e in make_examples(3)]


def say(name: str, text: str, **more: Any) -> GenerateRequest:
    """A request of one turn."""
    return GenerateRequest(name, ({"role": "user", "content": text},), **({"max_tokens": 8} | more))
