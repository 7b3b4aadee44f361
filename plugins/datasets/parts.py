"""The parts that rows of every format are made of: tools, calls, JSON, and the answers of a conversation."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

from agentlora.core.files import loads_strict
from agentlora.core.texts import brief
from agentlora.core.types import JSON

Converted: TypeAlias = Iterator[JSON]
"""Rows of OpenAI's format: ``messages`` that end with an answer; ``tools`` and ``rejected`` where there are such."""


MOST_RENDERED = 1 << 28
"""Characters of the prompts of one conversation's answers together: each holds all that came before it."""
OF_A_MESSAGE = 200  # characters that it counts beside its text


def every_answer(messages: list[JSON], tools: list[JSON], begin: int = 0) -> Converted:
    """A row for every answer to a user from message `begin` on, with all that came before it as its prompt. One whose
    ``weight`` is 0 is of no row of its own (OpenAI's way to say that it is not to be learnt).

    Raises:
        ValueError: there is no such answer, or the conversation is too long to be taken apart.
    """
    plain = [{key: part for key, part in message.items() if key != "weight"} for message in messages]
    ends, asked, size, rendered = [], False, 0, 0
    for end, message in enumerate(messages):
        if message.get("role") == "assistant" and asked and end >= begin and message.get("weight") != 0:
            ends.append(end)
            rendered += size
        asked = asked or message.get("role") == "user"
        size += OF_A_MESSAGE + len(str(message.get("content") or ""))
    if not ends:
        raise ValueError(_unanswered(messages, begin))
    if rendered > MOST_RENDERED:
        raise ValueError(
            f"a conversation of {len(messages):,} turns and {size:,} characters is too long to train {len(ends):,} "
            "answers of it. Divide it into several rows"
        )
    for end in ends:
        yield {"messages": [*plain[:end], messages[end]]} | ({"tools": tools} if tools else {})


def _unanswered(messages: list[JSON], begin: int) -> str:
    if any(m.get("role") == "assistant" and m.get("weight") == 0 for m in messages[begin:]):
        return "every answer of the conversation has the weight 0: there is nothing to learn from it"
    return "the conversation has no answer to a user's turn"


def modern(message: Any) -> Any:
    """A message of OpenAI's older format, which had ``function_call`` and results of the role ``function``, in that of
    today; any other as it is.
    """
    if not isinstance(message, dict):
        return message
    if message.get("role") == "function":
        message = {**message, "role": "tool"}
    called = message.get("function_call")
    message = {key: part for key, part in message.items() if key != "function_call"}
    if isinstance(called, dict) and not message.get("tool_calls"):
        message["tool_calls"] = [{"type": "function", "function": called}]
    return message


def openai_tools(raw: Any) -> list[JSON]:
    if raw is None or raw in ("", "[]"):
        return []
    found = read_json(raw, "tools") if isinstance(raw, str) else raw
    return [openai_tool(tool) for tool in (found if isinstance(found, list) else [found])]


def openai_tool(raw: Any) -> JSON:
    """A tool in OpenAI's format, from that or from what others write: parameters without a schema around them, Python's
    names of types.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"a tool is an object, not {short(raw)}")
    function = raw.get("function", raw)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"a tool has no name: {short(raw)}")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"the parameters of {function['name']!r} are an object, not {short(parameters)}")
    if parameters and "properties" not in parameters and parameters.get("type") not in ("object", "dict"):
        parameters = _bare(parameters)
    about = {"name": function["name"], "description": str(function.get("description") or "")}
    return {"type": "function", "function": {**about, "parameters": _levelled(parameters)}}


_TYPES = {
    "str": "string", "string": "string", "text": "string", "int": "integer", "integer": "integer", "float": "number",
    "number": "number", "double": "number", "bool": "boolean", "boolean": "boolean", "list": "array", "array": "array",
    "tuple": "array", "set": "array", "dict": "object", "object": "object", "any": "",
}  # fmt: skip


MOST_OF_A_TYPE = 500  # characters; longer ones name no type


def _bare(parameters: JSON) -> JSON:
    """xLAM's ``{"city": {"type": "str, optional", "default": …}}`` as a schema."""
    properties: JSON = {}
    required = []
    for name, rule in parameters.items():
        if not isinstance(rule, dict):
            raise ValueError(f"the parameter {name!r} is an object, not {short(rule)}")
        kind = str(rule.get("type", ""))[:MOST_OF_A_TYPE]
        properties[name] = {**rule, "type": re.sub(r",\s*(optional|default)\b.*$", "", kind).strip()}
        if (
            not re.search(r"\b(optional|default)\b", kind.lower())
            and "default" not in rule
            and rule.get("required") is not False
        ):
            required.append(name)
        properties[name].pop("required", None)
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _levelled(schema: Any) -> Any:
    """With JSON Schema's names of types."""
    if isinstance(schema, list):
        return [_levelled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: JSON = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            of_type = _of_type(value)
            found |= {name: part for name, part in of_type.items() if name == "type" or name not in schema}
        elif (key == "required" and not isinstance(value, list)) or (
            key == "default" and value in ("", None)
        ):
            continue
        else:
            found[key] = (
                {k: _levelled(v) for k, v in value.items()} if key == "properties" else _levelled(value)
            )
    return found


def _of_type(text: str) -> JSON:
    """The schema of a type by a name of JSON Schema's or Python's; empty where it is none of them."""
    name, bracket, inner = text.strip().partition("[")
    name, inner = name.strip().lower(), inner.removesuffix("]").strip()
    if name == "optional" and bracket:
        return _of_type(inner)
    if name in ("list", "tuple", "set", "sequence", "iterable") and bracket:
        items = _of_type(inner) if "," not in inner or "[" in inner else {}
        return {"type": "array"} | ({"items": items} if items else {})
    kind = "object" if name in ("dict", "mapping") else _TYPES.get(name, name if name == "null" else "")
    return {"type": kind} if kind else {}


def read_calls(text: str) -> list[Any]:
    found = read_json(text, "a call")
    return found if isinstance(found, list) else [found]


def openai_call(raw: Any) -> JSON:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise ValueError(f"a call has no name: {short(raw)}")
    arguments = raw.get("arguments", raw.get("parameters"))
    return {
        "type": "function",
        "function": {"name": raw["name"], "arguments": {} if arguments is None else arguments},
    }


def read_json(raw: Any, what: str) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return loads_strict(raw)
    except ValueError:
        try:
            return ast.literal_eval(raw.strip())  # written by Python: single quotes, True, None
        except (ValueError, SyntaxError, MemoryError, RecursionError) as exc:
            raise ValueError(f"{what}: not JSON: {short(raw)}") from exc


def read_jsons(text: str) -> Iterator[Any]:
    """JSON values that follow each other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as exc:
            if at:
                return
            raise ValueError(f"its functions are not JSON: {short(text)}") from exc
        yield value
        while at < len(text) and text[at] in " \r\n\t,":
            at += 1


def objects(value: Any, what: str) -> list[JSON]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise ValueError(f"{what!r} is a list of objects, not {short(value)}")
    return value


def short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(brief(text, 80))
