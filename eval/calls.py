"""Tool calls as text: the Hermes format, and the JSON array that constrained decoding gives.

A Hermes answer is plain text with one block for each call::

    <tool_call>
    {"name": "set_light", "arguments": {"room": "kitchen"}}
    </tool_call>
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentlora.core.files import loads_strict
from agentlora.core.grammar import CLOSE, OPEN, function_of, parameters_of, supported
from agentlora.core.types import JSON, ToolCall

MISSING: Any = object()
"""What is no JSON value."""
MOST_CHARACTERS = 2_000_000  # of one JSON value in an answer
MOST_DEPTH = 200  # of values in values; jsonschema_rs goes to 254, and comparing recurses
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
# made once: making one takes as long as writing a tool call
_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer: its calls in order, the text around them, and how many blocks could not be read."""

    calls: tuple[ToolCall, ...]
    text: str
    malformed: int

    @property
    def attempted(self) -> int:
        """How many calls were begun, readable or not."""
        return len(self.calls) + self.malformed


def parse_answer(text: str) -> Answer:
    """Read a Hermes answer. Never raises: a block that is unreadable or not closed counts as malformed."""
    blocks, around = split(text)
    calls = []
    for body, closed in blocks:
        call = call_of(read_json(body)) if closed else None
        if call is not None:
            calls.append(call)
    return Answer(tuple(calls), around, len(blocks) - len(calls))


def split(text: str) -> tuple[list[tuple[str, bool]], str]:
    """(what stands between the marks of each call that a Hermes answer begins and whether its closing mark is there,
    the text around them). A call that is never closed ends at the next opening mark or with the text.
    """
    before, *begun = text.split(OPEN)
    blocks, around = [], [before.strip()]
    for piece in begun:
        body, mark, after = piece.partition(CLOSE)
        blocks.append((body, mark != ""))
        around.append(after.strip())
    return blocks, "\n".join(filter(None, around))


def parse_constrained(text: str) -> Answer:
    """Read the JSON array that `calls_schema` asks for; anything but an array is one malformed call."""
    raw = read_json(text)
    if not isinstance(raw, list):
        return Answer((), "", 1)
    calls = [call_of(item) for item in raw]
    return Answer(tuple(c for c in calls if c), "", calls.count(None))


def parse_value(text: str) -> Any:
    """The JSON value that an answer is, alone or in a Markdown fence, after thoughts perhaps; `MISSING` where it is
    none.
    """
    return read_json(unfenced(text, "json"))


def read_json(text: str) -> Any:
    """The JSON value that a model wrote; `MISSING` where it is none, or larger or deeper than anybody wants it.

    NaN, infinity and lone surrogates are not JSON. Of two members of one name the last counts, as for Python's `json`
    and so for vLLM's parser of Hermes calls: what is judged is what a server would call.
    """
    if len(text) > MOST_CHARACTERS:
        return MISSING
    try:
        value = loads_strict(text)
    except ValueError:
        return MISSING
    if text.count("{") + text.count("[") <= MOST_DEPTH:  # too few to be deeper
        return value
    return MISSING if _deeper(value, MOST_DEPTH) else value


def unfenced(text: str, language: str) -> str:
    """What an answer holds without the thoughts before it and the Markdown fence (of no or this language) around it."""
    text = without_thoughts(text)
    inner = text.strip()
    if len(inner) < 6 or not (inner.startswith("```") and inner.endswith("```")):
        return text
    kind, newline, body = inner[3:-3].partition("\n")
    return body.strip() if newline and kind.rstrip().lower() in ("", language) else text


def without_thoughts(text: str) -> str:
    """An answer without the thoughts (``<think>``) that it begins with."""
    return _THOUGHT.sub("", text)


def render_calls(calls: Iterable[ToolCall]) -> str:
    """The Hermes text of some calls, as our chat template writes it; empty for no call."""
    return "\n".join(render_block(c.name, c.arguments) for c in calls)


def render_block(name: str, arguments: Mapping[str, Any] | str) -> str:
    """One Hermes block; arguments that are a text already are put in as they are."""
    body = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'{OPEN}\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {body}}}\n{CLOSE}'


def canonical(value: Any) -> str:
    """A text that is equal for equal JSON values: key order is irrelevant, 1 equals 1.0 but not true.

    List order matters and strings are compared exactly.
    """
    try:
        text = _PLAIN(value)
    except TypeError:  # a mapping that is no dict
        return _PLAIN(_plain_numbers(value))
    # a whole number that is written as a float has one of these in its text
    return _PLAIN(_plain_numbers(value)) if ".0" in text or "e+" in text else text


# --- the schema of the constrained baseline -----------------------------------------------------


def calls_schema(tools: Sequence[JSON], max_calls: int = 2) -> JSON:
    """The JSON Schema of an array with up to `max_calls` calls of the offered tools.

    The tools' schemas are cleaned by `core.grammar.supported`: the baseline then decodes under a slightly wider
    grammar instead of failing. The scorer still judges the call by the full schema.
    """
    if not tools:
        return {"type": "array", "maxItems": 0}
    defs: JSON = {}
    items = [_call_schema(function_of(tool), f"t{i}", defs) for i, tool in enumerate(tools)]
    schema: JSON = {"type": "array", "items": {"anyOf": items}, "maxItems": max_calls}
    return schema | ({"$defs": defs} if defs else {})


def _call_schema(function: JSON, key: str, defs: JSON) -> JSON:
    parameters = supported(parameters_of(function), key)
    if '"$ref"' in json.dumps(parameters):
        # References count from the root: the tool's schema moves to $defs, where they can point to.
        defs[key] = parameters
        parameters = {"$ref": f"#/$defs/{key}"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


# --- reading ------------------------------------------------------------------------------------


def _deeper(value: Any, most: int) -> bool:
    """Whether objects and arrays stand in each other more than `most` deep; without recursion."""
    level = [value]
    for _ in range(most):
        level = [part for held in level for part in _parts(held) if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def call_of(raw: Any) -> ToolCall | None:
    """A call from its JSON object, whose arguments may be a JSON text of an object; None where it is no call."""
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        return None
    arguments = raw.get("arguments")
    if isinstance(arguments, str):
        arguments = read_json(arguments)
    return ToolCall(raw["name"], arguments) if isinstance(arguments, dict) else None


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain_numbers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(part) for part in value]
    return value
