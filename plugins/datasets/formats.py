"""Rows as others publish them, turned into OpenAI's fine-tuning format: which format a row is of shows in its keys.

Of a conversation every answer of the assistant becomes an example of its own, with all that came before it as its
prompt.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentlora.core.files import loads_strict
from agentlora.core.texts import brief
from agentlora.core.types import JSON
from agentlora.plugins.datasets.trajectories import OUTCOMES, is_trajectory, messages_of, refuse_failed

Converted = Iterator[JSON]
"""Rows of OpenAI's format: ``messages`` that end with an answer; ``tools`` and ``rejected`` where there are such."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format: whether a row is of it, and what it becomes. `convert` raises ValueError."""

    name: str
    fits: Callable[[JSON], bool]
    convert: Callable[[JSON], Converted]


def format_of(row: JSON) -> Format | None:
    """The format of a row, or None for one that is of none of these."""
    return next((known for known in FORMATS if known.fits(row)), None)


# --- conversations ------------------------------------------------------------------------------

ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bot": "assistant",
    "model": "assistant", "chatgpt": "assistant", "system": "system", "developer": "system", "tool": "tool",
    "observation": "tool", "function_response": "tool", "function": "tool", "function_call": "call",
    "tool_call": "call",
}  # fmt: skip
_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESPONSE = re.compile(r"</?tool_response>")
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


def _sharegpt(row: JSON) -> Converted:
    """ShareGPT's ``conversations`` of ``from`` and ``value``; with Hermes' marks in them, and with ``tools`` as LLaMA-
    Factory has them.
    """
    tools = _tools(row.get("tools"))
    messages: list[JSON] = []
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.append({"role": "system", "content": row["system"]})
    turns = row["conversations"] if "conversations" in row else row["conversation"]
    for turn in _list(turns, "conversations"):
        role = ROLES.get(str(turn.get("from", turn.get("role"))).lower())
        text = turn.get("value", turn.get("content"))
        if role is None or not isinstance(text, str):
            raise ValueError(
                f"a turn has 'from' (one of {', '.join(ROLES)}) and a text as 'value'; found {_short(turn)}"
            )
        if role == "system":
            blocks = [
                block for block in _TOOLS.findall(text) if block.strip()
            ]  # its instructions name the marks too
            if blocks:
                tools, text = tools or _tools(blocks[-1]), _without_tools(text)
            messages += [{"role": "system", "content": text}] if text.strip() else []
        elif role == "call":
            messages.append(
                {"role": "assistant", "content": None, "tool_calls": [_call(c) for c in _calls(text)]}
            )
        elif role == "assistant":
            messages.append(_hermes_answer(text))
        elif role == "tool":
            messages.append({"role": "tool", "content": _RESPONSE.sub("", text).strip()})
        else:
            messages.append({"role": role, "content": text})
    _refuse_failed(row, messages)
    yield from _every_answer(messages, tools)


def _refuse_failed(row: JSON, messages: list[JSON]) -> None:
    """Raises Unsuccessful for a run of an agent that says that it failed; a reward of mere talk may be its quality."""
    ran = any(m["role"] == "tool" or m.get("tool_calls") for m in messages)
    refuse_failed({key: row[key] for key in (*OUTCOMES, *(["reward"] if ran else ())) if key in row})


def _hermes_answer(text: str) -> JSON:
    calls = [_call(_json(block, "a tool call")) for block in _BLOCK.findall(text)]
    if not calls:
        return {"role": "assistant", "content": text}
    around = _BLOCK.sub("", text).strip()
    return {"role": "assistant", "content": around or None, "tool_calls": calls}


def _without_tools(system: str) -> str:
    """What is left of a Hermes system prompt without the tools and the instructions about them, which a template
    writes.
    """
    head = system.partition("<tools>")[0]
    kept = [
        s for s in re.split(r"(?<=[.!?])\s+", head) if not re.search(r"\b(tool|function)s?\b|XML|JSON", s)
    ]
    return " ".join(kept).strip()


def _every_answer(messages: list[JSON], tools: list[JSON]) -> Converted:
    found = False
    for end, message in enumerate(messages):
        if message["role"] == "assistant" and any(m["role"] == "user" for m in messages[:end]):
            found = True
            yield {"messages": messages[: end + 1]} | ({"tools": tools} if tools else {})
    if not found:
        raise ValueError("the conversation has no answer to a user's turn")


# --- calls in lists of their own ----------------------------------------------------------------


def _xlam(row: JSON) -> Converted:
    """xLAM's ``query``, ``answers`` and ``tools``; the latter two as JSON text."""
    calls = [_call(call) for call in _list(_json(row["answers"], "answers"), "answers")]
    answer: JSON = {"role": "assistant", "content": None, "tool_calls": calls}
    if not calls:
        answer = {"role": "assistant", "content": "None of the tools fits this request."}
    yield {"messages": [{"role": "user", "content": row["query"]}, answer], "tools": _tools(row["tools"])}


_GLAIVE_TURN = re.compile(r"(USER|ASSISTANT|FUNCTION RESPONSE):")
_GLAIVE_CALL = re.compile(r"<functioncall>\s*(\{.*\})\s*", re.DOTALL)


def _glaive(row: JSON) -> Converted:
    """Glaive's ``system`` with functions as JSON in it, and ``chat`` as one text."""
    system = row["system"].removeprefix("SYSTEM:").strip()
    tools: list[JSON] = []
    if "functions" in system and "{" in system:
        tools = [_tool(tool) for tool in _jsons(system[system.index("{") :])]
        system = re.split(r"with access to the following functions", system)[0].strip().rstrip(",.") + "."
    messages: list[JSON] = [{"role": "system", "content": system}] if system.strip(".") else []
    parts = _GLAIVE_TURN.split(row["chat"])[1:]
    for who, said in zip(parts[::2], parts[1::2], strict=True):
        text = said.replace("<|endoftext|>", "").strip()
        if who == "USER":
            messages.append({"role": "user", "content": text})
        elif who == "FUNCTION RESPONSE":
            messages.append({"role": "tool", "content": text})
        elif called := _GLAIVE_CALL.search(text):
            # its arguments are JSON in single quotes
            body = re.sub(r"(\"arguments\":\s*)'(.*)'(\s*\})$", r"\1\2\3", called[1].strip(), flags=re.DOTALL)
            call = _call(_json(body, "a function call"))
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif text:
            messages.append({"role": "assistant", "content": text})
    yield from _every_answer(messages, tools)


def _toolace(row: JSON) -> Converted:
    """ToolACE's ``system`` with a list of functions in it, and calls as ``[name(key=value)]``."""
    start = row["system"].index("[{")
    tools = [_tool(tool) for tool in next(_jsons(row["system"][start:]))]
    offered = {tool["function"]["name"] for tool in tools}
    dated = [s for s in re.split(r"(?<=[.!?])\s+|\n", row["system"][:start]) if _DATED.search(s)]
    messages: list[JSON] = [{"role": "system", "content": " ".join(dated)}] if dated else []
    for turn in _list(row["conversations"], "conversations"):
        role = ROLES.get(str(turn.get("from")).lower())
        text = turn.get("value")
        if role not in ("user", "assistant", "tool") or not isinstance(text, str):
            raise ValueError(f"a turn has 'from' and a text as 'value'; found {_short(turn)}")
        if role == "assistant" and re.match(r"\s*\[.*\]\s*$", text, re.DOTALL):
            calls = list(_python_calls(text.strip(), offered))
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        else:
            messages.append({"role": role, "content": text})
    _refuse_failed(row, messages)
    yield from _every_answer(messages, tools)


_DATED = re.compile(r"\b(current time|current date|today)\b", re.IGNORECASE)


def _python_calls(text: str, offered: set[str]) -> Iterator[JSON]:
    """Calls written as Python; names may have spaces and dots."""
    marked, names = text, {}
    for i, name in enumerate(sorted(offered, key=len, reverse=True)):
        if f"{name}(" in marked:
            names[f"tool_{i}_"] = name
            marked = marked.replace(f"{name}(", f"tool_{i}_(")
    try:
        tree = ast.parse(marked, mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else []
        for call in calls:
            if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
                raise ValueError("not a call with named arguments")
            name = ast.unparse(call.func)
            arguments = {str(k.arg): _with_names(_literal(k.value), names) for k in call.keywords}
            yield _call({"name": names.get(name, name), "arguments": arguments})
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise ValueError(f"its calls cannot be read: {_short(text)}") from exc


def _literal(node: ast.expr) -> Any:
    """The value of a literal, in Python's words or in JSON's."""
    for part in ast.walk(node):
        for field, value in ast.iter_fields(part):
            if isinstance(value, ast.Name) and value.id in _CONSTANTS:
                setattr(part, field, ast.Constant(_CONSTANTS[value.id]))
            elif isinstance(value, list):
                value[:] = [
                    ast.Constant(_CONSTANTS[v.id]) if isinstance(v, ast.Name) and v.id in _CONSTANTS else v
                    for v in value
                ]
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    return ast.literal_eval(node)


_CONSTANTS = {"true": True, "false": False, "null": None}


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with the names of tools in its texts as they were."""
    if isinstance(value, str):
        for mark, name in names.items():
            value = value.replace(f"{mark}(", f"{name}(")
        return value
    if isinstance(value, list):
        return [_with_names(part, names) for part in value]
    return (
        {key: _with_names(part, names) for key, part in value.items()} if isinstance(value, dict) else value
    )


# --- prompts and answers ------------------------------------------------------------------------


def _alpaca(row: JSON) -> Converted:
    """Alpaca's ``instruction``, ``input`` and ``output``."""
    asked = "\n\n".join(part for part in (row["instruction"], row.get("input") or "") if part)
    messages: list[JSON] = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": row["output"]},
    ]
    if isinstance(row.get("system"), str) and row["system"]:
        messages.insert(0, {"role": "system", "content": row["system"]})
    yield {"messages": messages}


def _completion(row: JSON) -> Converted:
    """TRL's ``prompt`` and ``completion``, as texts or as messages."""
    if row.get("label") is False:
        raise ValueError("its answer is labelled as a bad one")
    yield _with_tools(
        {"messages": [*_turns(row["prompt"], "user"), *_turns(row["completion"], "assistant")]}, row
    )


def _preference(row: JSON) -> Converted:
    """TRL's ``chosen`` and ``rejected``, with a ``prompt`` or with all turns in both."""
    chosen, rejected = _turns(row["chosen"], "assistant"), _turns(row["rejected"], "assistant")
    prompt = _turns(row["prompt"], "user") if "prompt" in row else chosen[:-1]
    if "prompt" not in row and chosen[:-1] != rejected[:-1]:
        raise ValueError("'chosen' and 'rejected' answer different conversations")
    if chosen[-1].get("role") != "assistant" or rejected[-1].get("role") != "assistant":
        raise ValueError("'chosen' and 'rejected' end with an answer of the assistant")
    if chosen[-1] == rejected[-1]:
        raise ValueError("'chosen' and 'rejected' are the same answer")
    yield _with_tools({"messages": [*prompt, chosen[-1]], "rejected": rejected[-1]}, row)


def _log(row: JSON) -> Converted:
    """A request to a chat completion API and its response."""
    request, response = row.get("request", row.get("body")), row.get("response")
    if isinstance(response, Mapping) and "body" in response:
        response = response["body"]  # of a batch
    if not isinstance(request, Mapping) or not isinstance(response, Mapping):
        raise ValueError("a log has a 'request' and a 'response', both objects")
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ValueError("the response has no choices")
    if choices[0].get("finish_reason") == "length":
        raise ValueError("the answer was cut off at the token limit")
    answer = choices[0].get("message")
    if not isinstance(answer, Mapping):
        raise ValueError("the response has no message")
    kept = {key: answer[key] for key in ("role", "content", "tool_calls") if answer.get(key)}
    messages = [*_list(request.get("messages"), "messages"), {"role": "assistant", "content": None, **kept}]
    yield _with_tools({"messages": messages}, dict(request))


def _turns(value: Any, role: str) -> list[JSON]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    turns = _list(value, "a conversation")
    if not turns:
        raise ValueError("a conversation is empty")
    return turns


def _with_tools(converted: JSON, row: JSON) -> JSON:
    tools = _tools(row.get("tools"))
    return converted | ({"tools": tools} if tools else {})


def _trajectory(row: JSON) -> Converted:
    """What an agent did: see `trajectories`. Tools that are not said are those that it called."""
    offered = _tools(row.get("tools"))
    messages, called = messages_of(row, offered)
    weight = {"weight": row["weight"]} if "weight" in row else {}
    for example in _every_answer(messages, offered or called):
        yield example | weight


# --- their parts --------------------------------------------------------------------------------


def _tools(raw: Any) -> list[JSON]:
    if raw is None or raw in ("", "[]"):
        return []
    found = _json(raw, "tools") if isinstance(raw, str) else raw
    return [_tool(tool) for tool in (found if isinstance(found, list) else [found])]


def _tool(raw: Any) -> JSON:
    """A tool in OpenAI's format, from that or from what others write: parameters without a schema around them, Python's
    names of types.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"a tool is an object, not {_short(raw)}")
    function = raw.get("function", raw)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"a tool has no name: {_short(raw)}")
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"the parameters of {function['name']!r} are an object, not {_short(parameters)}")
    if parameters and "properties" not in parameters and parameters.get("type") not in ("object", "dict"):
        parameters = _bare(parameters)
    about = {"name": function["name"], "description": str(function.get("description") or "")}
    return {"type": "function", "function": {**about, "parameters": _levelled(parameters)}}


_TYPES = {
    "str": "string", "string": "string", "text": "string", "int": "integer", "integer": "integer", "float": "number",
    "number": "number", "double": "number", "bool": "boolean", "boolean": "boolean", "list": "array", "array": "array",
    "tuple": "array", "set": "array", "dict": "object", "object": "object", "any": "",
}  # fmt: skip


def _bare(parameters: JSON) -> JSON:
    """xLAM's ``{"city": {"type": "str, optional", "default": …}}`` as a schema."""
    properties: JSON = {}
    required = []
    for name, rule in parameters.items():
        if not isinstance(rule, dict):
            raise ValueError(f"the parameter {name!r} is an object, not {_short(rule)}")
        kind = str(rule.get("type", ""))
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


def _calls(text: str) -> list[Any]:
    found = _json(text, "a call")
    return found if isinstance(found, list) else [found]


def _call(raw: Any) -> JSON:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise ValueError(f"a call has no name: {_short(raw)}")
    arguments = raw.get("arguments", raw.get("parameters"))
    return {
        "type": "function",
        "function": {"name": raw["name"], "arguments": {} if arguments is None else arguments},
    }


def _json(raw: Any, what: str) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return loads_strict(raw)
    except ValueError:
        try:
            return ast.literal_eval(raw.strip())  # written by Python: single quotes, True, None
        except (ValueError, SyntaxError, MemoryError, RecursionError) as exc:
            raise ValueError(f"{what}: not JSON: {_short(raw)}") from exc


def _jsons(text: str) -> Iterator[Any]:
    """JSON values that follow each other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as exc:
            if at:
                return
            raise ValueError(f"its functions are not JSON: {_short(text)}") from exc
        yield value
        while at < len(text) and text[at] in " \r\n\t,":
            at += 1


def _list(value: Any, what: str) -> list[JSON]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise ValueError(f"{what!r} is a list of objects, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(brief(text, 80))


def _has(*keys: str) -> Callable[[JSON], bool]:
    return lambda row: all(key in row for key in keys)


def _is_toolace(row: JSON) -> bool:
    system = row.get("system")
    return "conversations" in row and isinstance(system, str) and "[{" in system and '"name"' in system


FORMATS = (
    Format("toolace", _is_toolace, _toolace),
    Format("sharegpt", lambda row: "conversations" in row or "conversation" in row, _sharegpt),
    Format("xlam", _has("query", "answers", "tools"), _xlam),
    Format("glaive", _has("system", "chat"), _glaive),
    Format("preference", _has("chosen", "rejected"), _preference),
    Format("trajectory", is_trajectory, _trajectory),
    Format("completion", _has("prompt", "completion"), _completion),
    Format("alpaca", _has("instruction", "output"), _alpaca),
    Format("log", lambda row: "response" in row and ("request" in row or "body" in row), _log),
)
