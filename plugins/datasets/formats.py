"""Rows as others publish them, turned into OpenAI's fine-tuning format: which format a row is of shows in its keys.

Of a conversation every answer of the assistant becomes an example of its own, with all that came before it as its
prompt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentlora.core.types import JSON
from agentlora.plugins.datasets.answers import alpaca, completion, log, openai_preference, preference
from agentlora.plugins.datasets.parts import (
    Converted,
    every_answer,
    objects,
    openai_call,
    openai_tool,
    openai_tools,
    read_calls,
    read_json,
    read_jsons,
    short,
)
from agentlora.plugins.datasets.trajectories import OUTCOMES, is_trajectory, messages_of, refuse_failed


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
_RESPONSE = re.compile(r"</?tool_response>")


def _sharegpt(row: JSON) -> Converted:
    """ShareGPT's ``conversations`` of ``from`` and ``value``; with Hermes' marks in them, and with ``tools`` as LLaMA-
    Factory has them.
    """
    tools = openai_tools(row.get("tools"))
    messages: list[JSON] = []
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.append({"role": "system", "content": row["system"]})
    turns = row["conversations"] if "conversations" in row else row["conversation"]
    for turn in objects(turns, "conversations"):
        role = ROLES.get(str(turn.get("from", turn.get("role"))).lower())
        text, before = turn.get("value", turn.get("content")), len(messages)
        if role is None or not isinstance(text, str):
            raise ValueError(
                f"a turn has 'from' (one of {', '.join(ROLES)}) and a text as 'value'; found {short(turn)}"
            )
        if role == "system":
            # its instructions name the marks too
            if blocks := [block for block in _between(text, "tools")[0] if block.strip()]:
                tools, text = tools or openai_tools(blocks[-1]), _without_tools(text)
            messages += [{"role": "system", "content": text}] if text.strip() else []
        elif role == "call":
            messages.append(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [openai_call(c) for c in read_calls(text)],
                }
            )
        elif role == "assistant":
            messages.append(_hermes_answer(text))
        elif role == "tool":
            messages.append({"role": "tool", "content": _RESPONSE.sub("", text).strip()})
        else:
            messages.append({"role": role, "content": text})
        if "weight" in turn and len(messages) > before:
            messages[-1]["weight"] = turn["weight"]
    _refuse_failed(row, messages)
    yield from every_answer(messages, tools)


def _refuse_failed(row: JSON, messages: list[JSON]) -> None:
    """Raises Unsuccessful for a run of an agent that says that it failed; a reward of mere talk may be its quality."""
    ran = any(m["role"] == "tool" or m.get("tool_calls") for m in messages)
    refuse_failed({key: row[key] for key in (*OUTCOMES, *(["reward"] if ran else ())) if key in row})


def _hermes_answer(text: str) -> JSON:
    blocks, around = _between(text, "tool_call")
    if "<tool_call>" in around or "</tool_call>" in around:
        raise ValueError(f"a tool call lacks its <tool_call> or </tool_call>: {short(text)}")
    if not blocks:
        return {"role": "assistant", "content": text}
    calls = [openai_call(read_json(block, "a tool call")) for block in blocks]
    return {"role": "assistant", "content": around.strip() or None, "tool_calls": calls}


def _between(text: str, tag: str) -> tuple[list[str], str]:
    """(what stands between every ``<tag>`` and the next ``</tag>``, the text around them), in one pass."""
    begin, end = f"<{tag}>", f"</{tag}>"
    inner, around, at = [], [], 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        around.append(text[at:start])
        inner.append(text[start + len(begin) : stop])
        at = stop + len(end)
    return inner, "".join([*around, text[at:]])


def _without_tools(system: str) -> str:
    """What is left of a Hermes system prompt without the tools and the instructions about them, which a template
    writes.
    """
    head = system.partition("<tools>")[0]
    kept = [
        s for s in re.split(r"(?<=[.!?])\s+", head) if not re.search(r"\b(tool|function)s?\b|XML|JSON", s)
    ]
    return " ".join(kept).strip()


# --- calls in lists of their own ----------------------------------------------------------------


def _xlam(row: JSON) -> Converted:
    """xLAM's ``query``, ``answers`` and ``tools``; the latter two as JSON text."""
    calls = [openai_call(call) for call in objects(read_json(row["answers"], "answers"), "answers")]
    answer: JSON = {"role": "assistant", "content": None, "tool_calls": calls}
    if not calls:
        answer = {"role": "assistant", "content": "None of the tools fits this request."}
    yield {
        "messages": [{"role": "user", "content": row["query"]}, answer],
        "tools": openai_tools(row["tools"]),
    }


_GLAIVE_TURN = re.compile(r"(USER|ASSISTANT|FUNCTION RESPONSE):")
_GLAIVE_CALL = "<functioncall>"
_GLAIVE_ARGUMENTS = re.compile(r"\"arguments\":\s*'")


def _glaive(row: JSON) -> Converted:
    """Glaive's ``system`` with functions as JSON in it, and ``chat`` as one text."""
    system = row["system"].removeprefix("SYSTEM:").strip()
    tools: list[JSON] = []
    if "functions" in system and "{" in system:
        tools = [openai_tool(tool) for tool in read_jsons(system[system.index("{") :])]
        system = re.split(r"with access to the following functions", system)[0].strip().rstrip(",.") + "."
    messages: list[JSON] = [{"role": "system", "content": system}] if system.strip(".") else []
    parts = _GLAIVE_TURN.split(row["chat"])[1:]
    for who, said in zip(parts[::2], parts[1::2], strict=True):
        text = said.replace("<|endoftext|>", "").strip()
        if who == "USER":
            messages.append({"role": "user", "content": text})
        elif who == "FUNCTION RESPONSE":
            messages.append({"role": "tool", "content": text})
        elif _GLAIVE_CALL in text:
            call = openai_call(read_json(_unquoted(text.partition(_GLAIVE_CALL)[2]), "a function call"))
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif text:
            messages.append({"role": "assistant", "content": text})
    yield from every_answer(messages, tools)


def _unquoted(call: str) -> str:
    """The JSON of Glaive's call, up to its last brace, whose arguments are JSON in single quotes."""
    call = (call[: call.rfind("}") + 1] or call).strip()
    quoted = _GLAIVE_ARGUMENTS.search(call)
    end = call[:-1].rstrip()
    if quoted is None or not end.endswith("'") or len(end) <= quoted.end():
        return call
    return call[: quoted.end() - 1] + end[quoted.end() : -1] + "}"


def _toolace(row: JSON) -> Converted:
    """ToolACE's ``system`` with a list of functions in it, and calls as ``[name(key=value)]``."""
    start = row["system"].index("[{")
    tools = [openai_tool(tool) for tool in next(read_jsons(row["system"][start:]))]
    offered = {tool["function"]["name"] for tool in tools}
    dated = [s for s in re.split(r"(?<=[.!?])\s+|\n", row["system"][:start]) if _DATED.search(s)]
    messages: list[JSON] = [{"role": "system", "content": " ".join(dated)}] if dated else []
    for turn in objects(row["conversations"], "conversations"):
        role = ROLES.get(str(turn.get("from")).lower())
        text = turn.get("value")
        if role not in ("user", "assistant", "tool") or not isinstance(text, str):
            raise ValueError(f"a turn has 'from' and a text as 'value'; found {short(turn)}")
        if role == "assistant" and re.match(r"\s*\[.*\]\s*$", text, re.DOTALL):
            calls = list(_python_calls(text.strip(), offered))
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        else:
            messages.append({"role": role, "content": text})
    _refuse_failed(row, messages)
    yield from every_answer(messages, tools)


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
            yield openai_call({"name": names.get(name, name), "arguments": arguments})
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise ValueError(f"its calls cannot be read: {short(text)}") from exc


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


def _trajectory(row: JSON) -> Converted:
    """What an agent did: see `trajectories`. Tools that are not said are those that it called."""
    offered = openai_tools(row.get("tools") or row.get("functions"))
    messages, called = messages_of(row, offered)
    weight = {"weight": row["weight"]} if "weight" in row else {}
    for example in every_answer(messages, offered or called):
        yield example | weight


# --- which is which ----------------------------------------------------------------------------


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
    Format("preference", _has("chosen", "rejected"), preference),
    Format("openai-preference", _has("input", "preferred_output", "non_preferred_output"), openai_preference),
    Format("trajectory", is_trajectory, _trajectory),
    Format("completion", _has("prompt", "completion"), completion),
    Format("alpaca", _has("instruction", "output"), alpaca),
    Format("log", lambda row: "response" in row and ("request" in row or "body" in row), log),
)
