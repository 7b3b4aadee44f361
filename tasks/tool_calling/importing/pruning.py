"""Schemas cut down to a budget of tokens: what says least about how to call goes first, what is required stays.

Rules take options, choices and texts away, and no limit of a value, so that a call of what a pruned schema names nearly
always fits the original too. It need not: an object that is folded says nothing of its inside, and what is cut inside
of ``oneOf`` or ``not`` lets through what the original refuses. Whoever makes calls looks at both (`user_tools`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import (
    LONGEST_TEXT,
    first_sentence,
    singular,
    speakable,
    split_words,
)
from agentlora.tasks.tool_calling.importing.schemas import walk
from agentlora.tasks.tool_calling.importing.types import ImportedTool

CHARS_A_TOKEN = 3.4  # of compact JSON, by the starter's tokenizer
TOOL_TEXT, PARAMETER_TEXT, SHORT_TEXT = 200, 90, 45  # characters that a description keeps
CHOICES = 20  # of an enumeration that are kept
NAMING = 4  # what an optional parameter is worth that names or dates things; see `_worth`
OUTERMOST = 2  # levels of objects that are never folded
# What a request is likely to say, the likeliest first, as the last of one or two words; `_SMALL` ones and those that
# the tool's description has are not counted.
_NAMING = ("title", "name", "summary", "subject", "q", "query", "text", "message", "start", "date", "end", "time",
           "day", "due", "when", "results", "limit", "count", "status", "state", "note",
           "notes", "content", "body", "description")  # fmt: skip
_SMALL = {"min", "max", "from", "to", "at", "on", "in", "of", "before", "after"}
_OF_THE_RESPONSE = {"show", "include", "includes", "expand", "return", "returns", "response", "supports", "accepts",
                    "verbose", "pretty", "quiet", "always"}  # fmt: skip
_IN_THE_RESPONSE = re.compile(r"\bin the (?:response|results?|output)\b|\bto return\b|\breturned\b", re.I)
MARKED = re.compile(
    r"(?:^|[.(;\[])\W{0,3}(?:(?:output|read)[- ]only|deprecated|ignored)\s*(?:$|[.,):;\]])|"
    r"\b(?:this|the) (?:field|property|value|attribute|parameter|option|element) (?:is|will be|has been) "
    r"(?:(?:output|read)[- ]only|deprecated|(?:always )?ignored)\b(?! (?:if|when|unless|for|in)\b)|\bis deprecated\b",
    re.I,
)
"""What a description says of a parameter that is not to be given, or no longer."""
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


def without_words(schema: JSON) -> JSON:
    """A copy of a schema that takes the same values, and says nothing of them in words."""
    bare: JSON = json.loads(json.dumps(schema))
    for part in walk(bare):
        for key in ("description", *_IDLE):
            part.pop(key, None)
    return bare


def prune(tool: ImportedTool, budget: int) -> Pruned:
    """`tool` with as little cut as its `budget` of tokens asks for; rules apply one after the other.

    1. annotations that say nothing about a value (titles, examples, comments)
    2. descriptions to their first sentence, at most 200 characters of the tool's and 90 of a parameter's
    3. enumerations to their first 20 values
    4. objects below the second level that may be left out and whose members are all optional, folded to "an object"
    5. optional members of nested objects, the deepest first
    6. descriptions of parameters to 45 characters
    7. optional parameters of the tool
    8. members that rule 5 leaves: of objects that every call has, and those that name things
    9. descriptions of parameters, the last first

    Options go in the order of `_worth`, of those that are alike the last first. What can be said of an object is never
    cut to nothing.
    """
    before = tokens_of(tool)
    alone = json.loads(json.dumps(tool.parameters))  # what stands in two places is cut in each by itself
    pruned = replace(tool, parameters=alone)
    cuts: list[Cut] = []
    for name, rule in _rules(tool):
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
    for found in sorted(_objects(tool.parameters), key=lambda o: -o.depth):
        part = found.schema
        foldable = not found.required and not part.get("required") and part.get("properties")
        if found.depth >= OUTERMOST and foldable:
            kept = {key: part[key] for key in ("description",) if key in part}
            saved = _size(part["properties"])
            part.clear()
            part |= {"type": "object", **kept}
            yield found.path, tool, saved


def _without_members(tool: ImportedTool, whole: ImportedTool, needed: bool) -> Steps:
    """Optional members of nested objects, either those that are `needed` (every call has the object, or object and
    member name things) or the others.
    """

    def is_needed(option: _Option) -> bool:
        owner = option.owner
        names = (owner.parameter, option.name)
        return owner.required or all(_worth(name, None, whole)[0] >= NAMING for name in names)

    options = [o for o in _options(tool.parameters) if o.owner.path and is_needed(o) == needed]
    for option in sorted(options, key=lambda o: (-o.owner.depth, _worth(o.name, o.schema, whole))):
        owner, members = option.owner, option.owner.schema["properties"]
        if _sayable(option.name) and not any(_sayable(name) for name in members if name != option.name):
            continue
        yield f"{owner.path}.{option.name}", tool, _size(members.pop(option.name)) + len(option.name)


def _without_options(tool: ImportedTool, whole: ImportedTool) -> Steps:
    options = [option for option in _options(tool.parameters) if not option.owner.path]
    said = whole.parameters.get("properties", {})  # the descriptions of `tool` are cut by now
    for option in sorted(options, key=lambda o: _worth(o.name, said.get(o.name), whole)):
        members = option.owner.schema["properties"]
        yield option.name, tool, _size(members.pop(option.name)) + len(option.name)


def _worth(name: str, schema: Any, tool: ImportedTool) -> tuple[int, bool]:
    """How likely a request for `tool` says an optional parameter: what nobody says (0), what is about the response or
    not to be given (1), what the tool's name and description do not speak of (2), what they do (3), what names or
    dates things (4 and more). Of those that are alike, the described are worth more.
    """
    words = split_words(name)
    described = isinstance(schema, dict) and isinstance(schema.get("description"), str)
    text = schema["description"][:LONGEST_TEXT] if described else ""
    if not _sayable(name):
        return 0, described
    if MARKED.search(text) or (isinstance(schema, dict) and schema.get("type") == "boolean" and (
            words[0] in _OF_THE_RESPONSE or _IN_THE_RESPONSE.search(text))):  # fmt: skip
        return 1, described
    spoken = _spoken(f"{tool.name} {tool.description[:LONGEST_TEXT]}")
    own = [
        word for word in words if word in _NAMING or (singular((word,)) not in spoken and word not in _SMALL)
    ]
    if own and len(own) <= 2 and own[-1] in _NAMING:
        return NAMING + len(_NAMING) - _NAMING.index(own[-1]), described
    return (3 if any(singular((word,)) in spoken for word in words) and own in ([], ["id"]) else 2), described


@lru_cache(maxsize=8)
def _spoken(text: str) -> frozenset[tuple[str, ...]]:
    """The words of a text, in the singular."""
    return frozenset(singular((word,)) for word in split_words(text)) - {("id",)}


def _sayable(name: str) -> bool:
    return speakable(name, split_words(name), {"type": "integer"})


def _without_texts(tool: ImportedTool) -> Steps:
    described = [part for part in walk(tool.parameters) if "description" in part]
    for part in reversed(described):
        text = str(part.pop("description"))
        yield repr(text), tool, len(text)


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _rules(whole: ImportedTool) -> tuple[tuple[str, Callable[[ImportedTool], Steps]], ...]:
    """What is done to a tool, in order. `whole`: the tool as its source has it."""
    return (
        ("annotations dropped", _without_annotations),
        ("descriptions shortened", _shorter_texts),
        ("choices cut", _fewer_choices),
        ("nesting folded", _folded),
        ("nested options dropped", partial(_without_members, whole=whole, needed=False)),
        ("descriptions cut", partial(_shorter_texts, most=SHORT_TEXT)),
        ("options dropped", partial(_without_options, whole=whole)),
        ("options of needed objects dropped", partial(_without_members, whole=whole, needed=True)),
        ("descriptions dropped", _without_texts),
    )


@dataclass(frozen=True, slots=True)
class _Object:
    """An object in a schema, inside `parameter` (of the tool's own it is empty). `required`: every call has it. Items
    of a list are at the depth of the list.
    """

    depth: int
    path: str
    parameter: str
    schema: JSON
    required: bool


@dataclass(frozen=True, slots=True)
class _Option:
    """An optional member of an object."""

    owner: _Object
    name: str

    @property
    def schema(self) -> Any:
        return self.owner.schema["properties"][self.name]


def _options(schema: Any) -> list[_Option]:
    """Every optional member of a schema's objects, the last of each object first."""
    return [
        _Option(owner, name)
        for owner in _objects(schema)
        for name in reversed(owner.schema["properties"])
        if name not in owner.schema.get("required", ())
    ]


def _objects(
    schema: Any, depth: int = 0, path: str = "", parameter: str = "", required: bool = True
) -> Iterator[_Object]:
    """Every object in a schema that has properties."""
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        yield _Object(depth, path, parameter, schema, required)
        for name, part in schema["properties"].items():
            always = required and name in schema.get("required", ())
            yield from _objects(
                part, depth + 1, f"{path}.{name}" if path else name, parameter or name, always
            )
    for key in ("items", "additionalProperties"):
        yield from _objects(schema.get(key), depth, f"{path}[]", parameter, required)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(key) or ():
            yield from _objects(part, depth, path, parameter, required)
