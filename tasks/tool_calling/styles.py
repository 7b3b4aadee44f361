"""Other people's habits: the same tool under another naming style, with fewer descriptions, in another order.

Training sees each tool in several guises, so that it learns to read a schema and not to remember one.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

from agentlora.tasks.tool_calling.toolspec import ToolSpec

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+|[0-9]+")


def restyle(tool: ToolSpec, rng: random.Random) -> ToolSpec:
    """A variant of `tool` that means the same: property names, and so all arguments, stay."""
    name = _rename(tool.name, rng) if rng.random() < 0.5 else tool.name
    parameters = _lean(tool.parameters, rng) if rng.random() < 0.3 else tool.parameters
    if rng.random() < 0.3:
        parameters = _reordered(parameters, rng)
    description = tool.description.rstrip(".") if rng.random() < 0.3 else tool.description
    return replace(tool, name=name, parameters=parameters, description=description)


def words_of(name: str) -> list[str]:
    """``pickupBranch``, ``pickup_branch`` and ``PickupBranch`` as [pickup, branch]."""
    return [word.lower() for word in _WORDS.findall(name)]


def _rename(name: str, rng: random.Random) -> str:
    words = words_of(name)
    if not words:
        return name
    style = rng.choice(("snake", "camel", "pascal", "dotted", "kebab"))
    if style == "camel":
        return words[0] + "".join(word.capitalize() for word in words[1:])
    if style == "pascal":
        return "".join(word.capitalize() for word in words)
    if style == "dotted" and len(words) > 1:
        return f"{words[-1]}.{'_'.join(words[:-1])}"
    return ("-" if style == "kebab" else "_").join(words)


def _lean(schema: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Without most descriptions of properties; an enum's or a format's stays, since it says how to write."""
    properties = {
        key: {
            k: v for k, v in value.items() if k != "description" or "format" in value or rng.random() < 0.25
        }
        for key, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def _reordered(schema: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    keys = list(schema.get("properties", {}))
    rng.shuffle(keys)
    return {**schema, "properties": {key: schema["properties"][key] for key in keys}}
