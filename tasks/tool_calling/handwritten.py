"""Requests written one by one, and everyday chat that needs no tool."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.files import shipped_yaml
from agentlora.core.types import Example, Expected, Split, ToolCall
from agentlora.tasks.tool_calling.toolspec import load_catalogue

# chat_prompts.yaml, from row to row
CHAT = {"train": slice(0, 150), "dev": slice(150, 180), "test": slice(180, None)}


def examples(split: Split, limit: int) -> list[Example]:
    """The handwritten requests of a split, at most `limit` of them, taken evenly so that the mix of cases stays."""
    tools = {tool.name: tool.openai() for tool in load_catalogue() if tool.split == split}
    rows = [row for row in _yaml("handwritten.yaml") if row["split"] == split]
    wanted = min(limit, len(rows))
    return [_example(rows[i * len(rows) // wanted], tools) for i in range(wanted)]


def chat_prompt(split: Split, rng: random.Random) -> str:
    """A prompt of general chat; those of dev and test are never trained on."""
    return rng.choice(chat_prompts(split))


def chat_prompts(split: Split) -> list[str]:
    """The general chat of a split; training's are also a router's negatives."""
    return [str(prompt) for prompt in _yaml("chat_prompts.yaml")[CHAT[split]]]


def _example(row: dict[str, Any], tools: dict[str, Any]) -> Example:
    try:
        offered = tuple(tools[name] for name in row["tools"])
    except KeyError as exc:
        raise DataError(
            f"handwritten.yaml: {row['id']}: tool {exc} is not in the {row['split']} domains."
        ) from exc
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in row.get("calls") or ())
    return Example(
        id=row["id"],
        messages=({"role": "user", "content": row["request"]},),
        expected=Expected(calls=calls, text=None if calls else row["answer"]),
        tools=offered,
        source="handwritten",
        group=row["id"],
        tags={"case": row["case"], "slice": "handwritten", "tools": "new"},
    )


@cache
def _yaml(name: str) -> list[Any]:
    rows = shipped_yaml("agentlora.tasks.tool_calling", name)
    assert isinstance(rows, list)
    return rows
