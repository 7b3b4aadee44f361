"""Schemas cut down to a budget of tokens: what says least about how to call goes first, what is required stays.

A call made of what a pruned schema names fits the original too: rules take options, choices and texts away, and no
limit of a value. The one exception is said in the report: an object that is folded says nothing of its inside.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import first_sentence, speakable, split_words
from agentlora.tasks.tool_calling.importing.schemas import walk
from agentlora.tasks.tool_calling.importing.types import ImportedTool

CHARS_A_TOKEN = 3.4  # of compact JSON, by the starter's tokenizer
TOOL_TEXT, PARAMETER_TEXT, SHORT_TEXT = 200, 90, 45  # characters that a description keeps
CHOICES = 20  # of an enumeration that are kept
OUTERMOST = 2  # levels of objects that are never folded
_IDLE = ("title", "examples", "$comment", "contentMediaType")


@dataclass(frozen=True, slots=True)
class Cut:
    """One thing that a rule took from a tool: `tool`, `rule`, and `what`."""

    tool: str
    rule: str
    what: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """A tool within its budget, or as near as its required part allows (`tokens` says where it is)."""

    tool: ImportedTool
    tokens: int
    before: int
    cuts: tuple[Cut, ...]


def tokens_of(tool: ImportedTool) -> int:
    """About how many tokens a tool takes in a prompt: characters of its compact JSON, divided by 3.4."""
    text = json.dumps(tool.openai()["function"], ensure_ascii=False, separators=(",", ":"))
    return round(len(text) / CHARS_A_TOKEN)


def prune(tool: ImportedTool, budget: int) -> Pruned:
    """`tool` with as little cut as its `budget` of tokens asks for; rules apply one after the other.

    1. annotations that say nothing about a value (titles, examples, comments)
    2. descriptions to their first sentence, at most 200 characters of the tool's and 90 of a parameter's
    3. enumerations to their first 20 values
    4. objects below the second level whose members are all optional, folded to "an object"
    5. optional parameters inside nested objects, the deepest and last first
    6. descriptions of parameters to 45 characters
    7. optional parameters of the tool: what nobody says (tokens, pages, masks), then the undescribed, then the last
    8. descriptions of parameters, the last first
    """
    before = tokens_of(tool)
    pruned = replace(tool, parameters=copy.deepcopy(tool.parameters))
    cuts: list[Cut] = []
    for name, rule in RULES:
        spare = (tokens_of(pruned) - budget) * CHARS_A_TOKEN  # characters that are too many
        if spare <= 0:
            break
        for what, smaller, saved in rule(pruned):
            pruned, spare = smaller, spare - saved
            cuts.append(Cut(tool.name, name, what))
            if spare <= 0:
                break
    return Pruned(pruned, tokens_of(pruned), before, tuple(cuts))


Steps = Iterator[
    tuple[str, ImportedTool, int]
]  # what was cut, the tool without it, and characters that were saved


def _without_annotations(tool: ImportedTool) -> Steps:
    gone = {key for part in walk(tool.parameters) for key in _IDLE if key in part}
    if gone:
        saved = sum(_size(part.pop(key)) for part in walk(tool.parameters) for key in gone if key in part)
        yield ", ".join(sorted(gone)), tool, saved


def _shorter_texts(tool: ImportedTool, most: int = PARAMETER_TEXT) -> Steps:
    shortened, saved = 0, 0
    for part in walk(tool.parameters):
        if isinstance(text := part.get("description"), str):
            part["description"] = first_sentence(text, most)
            shortened += part["description"] != text
            saved += len(text) - len(part["description"])
            if not part["description"]:
                del part["description"]
    shorter = replace(tool, description=first_sentence(tool.description, TOOL_TEXT))
    shortened += shorter.description != tool.description
    if shortened:
        yield f"{shortened} descriptions", shorter, saved + len(tool.description) - len(shorter.description)


def _fewer_choices(tool: ImportedTool) -> Steps:
    for part in walk(tool.parameters):
        if isinstance(part.get("enum"), list) and len(part["enum"]) > CHOICES:
            gone = part["enum"][CHOICES:]
            part["enum"] = part["enum"][:CHOICES]
            yield f"{len(gone)} of {len(gone) + CHOICES} values, from {gone[0]!r} on", tool, _size(gone)


def _folded(tool: ImportedTool) -> Steps:
    for depth, path, part in sorted(_objects(tool.parameters, 0, ""), key=lambda o: -o[0]):
        if depth >= OUTERMOST and not part.get("required") and part.get("properties"):
            kept = {key: part[key] for key in ("description",) if key in part}
            saved = _size(part["properties"])
            part.clear()
            part |= {"type": "object", **kept}
            yield path, tool, saved


def _without_inner_options(tool: ImportedTool) -> Steps:
    for _, path, owner, name in sorted(_options(tool.parameters, 0, ""), key=lambda o: -o[0]):
        if path:
            yield f"{path}.{name}", tool, _size(owner["properties"].pop(name)) + len(name)


def _without_options(tool: ImportedTool) -> Steps:
    properties = tool.parameters.get("properties", {})
    optional = [name for name in reversed(properties) if name not in tool.parameters.get("required", ())]

    def worth(name: str) -> tuple[bool, bool]:
        described = isinstance(properties[name], dict) and "description" in properties[name]
        return speakable(name, split_words(name), {"type": "integer"}), described

    optional.sort(key=worth)
    for name in optional:
        yield name, tool, _size(properties.pop(name)) + len(name)


def _without_texts(tool: ImportedTool) -> Steps:
    described = [part for part in walk(tool.parameters) if "description" in part]
    for part in reversed(described):
        text = str(part.pop("description"))
        yield repr(text), tool, len(text)


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


RULES: tuple[tuple[str, Callable[[ImportedTool], Steps]], ...] = (
    ("annotations dropped", _without_annotations),
    ("descriptions shortened", _shorter_texts),
    ("choices cut", _fewer_choices),
    ("nesting folded", _folded),
    ("nested options dropped", _without_inner_options),
    ("descriptions cut", partial(_shorter_texts, most=SHORT_TEXT)),
    ("options dropped", _without_options),
    ("descriptions dropped", _without_texts),
)


def _options(schema: Any, depth: int, path: str) -> Iterator[tuple[int, str, JSON, str]]:
    """(depth, path, the object, the name) of every optional member, the last of each object first."""
    for level, where, part in _objects(schema, depth, path):
        for name in reversed(list(part.get("properties", {}))):
            if name not in part.get("required", ()):
                yield level, where, part, name


def _objects(schema: Any, depth: int, path: str) -> Iterator[tuple[int, str, JSON]]:
    """(depth, path, schema) of every object in a schema; items of a list are at the depth of the list."""
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        yield depth, path, schema
        for name, part in schema["properties"].items():
            yield from _objects(part, depth + 1, f"{path}.{name}" if path else name)
    for key in ("items", "additionalProperties"):
        yield from _objects(schema.get(key), depth, f"{path}[]")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(key) or ():
            yield from _objects(part, depth, path)
