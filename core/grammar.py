"""Decoding under a grammar: what a server needs to hold a model's tool calls to the tools' schemas.

The evaluation and the runtime build their requests from here, so that what is judged is what is served.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentlora.core.types import JSON

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def calls_tag(tools: Sequence[JSON]) -> JSON:
    """A structural tag (xgrammar's format, which vLLM takes) of Hermes calls to `tools`.

    Text stays free. A call, once begun, names an offered tool, and its arguments fit the tool's schema, keys in
    the schema's order. Whitespace is at most one character long, as our templates write it.
    """
    tags = []
    for tool in tools:
        function = function_of(tool)
        head = f'{OPEN}\n{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "arguments": '
        content = {
            "type": "json_schema",
            "json_schema": supported(parameters_of(function)),
            "max_whitespace_cnt": 1,
        }
        tags.append({"type": "tag", "begin": head, "content": content, "end": f"}}\n{CLOSE}"})
    return {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": [OPEN], "tags": tags}}


def function_of(tool: JSON) -> JSON:
    """The function part of a tool, which may also stand alone."""
    function: JSON = tool.get("function", tool)
    return function


def parameters_of(function: JSON) -> JSON:
    """The schema of a function's arguments; a function without one takes no argument."""
    return function.get("parameters") or {"type": "object", "properties": {}}


_TIME_FORMATS = ("date", "time", "date-time", "duration")
_NET_FORMATS = ("email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uri-template")
_FORMATS = frozenset((*_TIME_FORMATS, *_NET_FORMATS, "uuid", "json-pointer", "relative-json-pointer"))
_REFUSED = ("multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "propertyNames")
_NOTES = ("default", "examples", "title", "description", "$schema", "$id")  # these constrain nothing
_DROPPED = frozenset((*_REFUSED, *_NOTES))
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})  # name → schema
_VALUES = frozenset({"enum", "const", "required"})  # JSON values, not schemas


def supported(schema: Any, key: str | None = None) -> Any:
    """`schema` without what xgrammar refuses (vLLM 0.32, ``has_xgrammar_unsupported_json_features``).

    References count from the root: with `key`, from ``#/$defs/<key>``, where the caller puts the schema.
    """
    if isinstance(schema, list):
        return [supported(part, key) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: JSON = {}
    for name, value in schema.items():
        if name in _DROPPED or (name == "format" and value not in _FORMATS):
            continue
        if name == "$ref" and key is not None:
            kept[name] = f"#/$defs/{key}" + str(value).removeprefix("#")
        elif name in _NAMED and isinstance(value, dict):
            kept[name] = {n: supported(part, key) for n, part in value.items()}
        else:
            kept[name] = value if name in _VALUES else supported(value, key)
    if "pattern" in kept or "format" in kept:
        kept.pop("minLength", None)
        kept.pop("maxLength", None)
    if "properties" in kept or len(kept.get("patternProperties", ())) > 1:
        kept.pop("patternProperties", None)
    if len(kept.get("allOf", ())) > 1:
        kept.pop("allOf")
    return kept
