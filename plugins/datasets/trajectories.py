"""What agents did, as examples: ReAct's text, steps of tools, and conversations with an outcome. Only what succeeded.

Every call and every answer of a run becomes an example with all that came before it as its prompt. Thoughts are left
out: what is learnt is what was done.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from agentlora.core.types import JSON
from agentlora.plugins.datasets.parts import modern

OUTCOMES = ("success", "successful", "succeeded", "is_correct", "passed", "solved", "resolved")
"""True or false."""
SCORES = ("reward", "score")
"""Numbers up to 1: a run that did all that it should has 1."""
STATUS = "status"
GOOD = ("true", "yes", "1", "1.0", "success", "succeeded", "successful", "passed", "solved", "resolved")
BAD = ("fail", "failed", "failure", "error", "errored", "timeout", "timed_out", "cancelled", "canceled", "aborted",
       "incomplete", "unsuccessful", "unresolved", "false")  # fmt: skip
NOTHING = ("none", "null", "n/a", "na", "nothing", "-")  # an agent's way of doing nothing
ASKED = ("question", "query", "instruction", "prompt", "goal", "input", "task")
ANSWERED = ("answer", "final_answer", "output", "result", "response")
STEPS = ("intermediate_steps", "steps", "trajectory", "trace", "actions")
FINISH = ("finish", "final_answer", "final answer", "submit")
NAMING = ("tool", "action", "tool_name")
GIVEN = ("tool_input", "action_input", "arguments", "args", "parameters", "input", "kwargs")
OBSERVED = ("observation", "output", "result", "response")
BESIDE = frozenset([*NAMING, *GIVEN, *OBSERVED, "name", "thought", "thoughts", "reasoning", "log", "type", "id", "step",
                    "status", "error", "timestamp", "time", "duration", "latency", "tokens", "success"])  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][\w.:/-]{0,63}")
# white space is of one line each: what may go on over lines is looked through anew from every one of them
_MARK = re.compile(
    r"^[^\S\n]*(Question|Thought|Action Input|Action|Observation|Final Answer)(?:\s+\d+)?\s*:[ \t]*",
    re.M | re.I,
)
_BRACKETS = re.compile(r"(?P<name>[A-Za-z_][\w.-]{0,63})\s*\[(?P<argument>.*)\]\s*", re.DOTALL)
_TELLS = re.compile(r"^[^\S\n]*(Action|Final Answer)(\s+\d+)?\s*:", re.M)


class Unsuccessful(ValueError):
    """A run that did not do what it should: nothing to imitate."""


def is_trajectory(row: JSON) -> bool:
    """Whether a row is what an agent did."""
    messages = row.get("messages")
    if messages is None:
        return _told_in(row) is not None
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], Mapping):
        return False
    used_tools = any(
        isinstance(m, Mapping)
        and (m.get("tool_calls") or m.get("function_call") or m.get("role") in ("tool", "function"))
        for m in messages
    )
    outcome = any(key in row for key in (*OUTCOMES, "reward", STATUS))
    return outcome and used_tools and messages[-1].get("role") == "assistant"


def refuse_failed(row: JSON) -> None:
    """Raises Unsuccessful where a row says that it failed; one that says nothing counts as good."""
    for key in (*OUTCOMES, STATUS):
        said = "" if row.get(key) is None else str(row[key]).strip().lower()
        if said in BAD or (said and key != STATUS and said not in GOOD):
            raise Unsuccessful(f"{key} is {row[key]!r}")
    for key in (
        SCORES if "messages" not in row else ("reward",)
    ):  # a score of a conversation may be its quality
        try:
            value = float(row[key])
        except (KeyError, TypeError, ValueError):
            continue
        if value < 1:
            raise Unsuccessful(f"{key} is {value:g}")


def messages_of(row: JSON, tools: Sequence[JSON]) -> tuple[list[JSON], list[JSON]]:
    """(all turns of a run in OpenAI's format, the tools that it was seen to call).

    Args:
        tools: what it was offered, in OpenAI's format, where that is known.

    Raises:
        Unsuccessful: the run failed.
        ValueError: it cannot be read.
    """
    refuse_failed(row)
    if isinstance(row.get("messages"), list):
        messages = [dict(modern(message)) for message in row["messages"]]
        calls = [
            c.get("function", c)
            for m in messages
            for c in m.get("tool_calls") or ()
            if isinstance(c, Mapping)
        ]
        return messages, _seen((str(c.get("name")), _read(c.get("arguments"))) for c in calls)
    name = _told_in(row) or STEPS[0]
    if isinstance(row[name], str):
        asked, steps, answer = _react(row[name])
    else:
        asked, steps, answer = "", *_traced(row[name])
    asked = asked or _asked(row)
    given = (row[key] for key in ANSWERED if isinstance(row.get(key), str))
    answer = answer or next((text for text in given if text.strip().lower() not in (*GOOD, *BAD)), "")
    if not asked:
        raise ValueError(
            f"what the agent was asked is missing ({', '.join(ASKED)}, or 'Question:' in its text)"
        )
    if not steps and not answer:
        raise ValueError(f"{name!r} holds no step and no answer")
    messages = [{"role": "user", "content": asked}]
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.insert(0, {"role": "system", "content": row["system"]})
    named, called = _parameters_of(tools), []
    for tool, given, observed in steps:
        arguments = given if isinstance(given, dict) else _argument(given, named.get(tool, {}))
        called.append((tool, arguments))
        call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "name": tool, "content": observed or ""})
    if answer:
        messages.append({"role": "assistant", "content": answer})
    return messages, _seen(called)


def _told_in(row: JSON) -> str | None:
    """The key under which a row holds ReAct's text, or steps that name tools."""
    for key in STEPS:
        value = row.get(key)
        if isinstance(value, str) and _TELLS.search(value):
            return key
        if isinstance(value, list) and any(map(_names_a_tool, value)):
            return key
    return None


def _names_a_tool(step: Any) -> bool:
    """``{"tool": "search", …}``; an ``action`` alone may be anything that somebody does, and has to have arguments."""
    if isinstance(step, list) and len(step) == 2:
        step = step[0]
    if not isinstance(step, Mapping):
        return False
    inner = step["action"] if isinstance(step.get("action"), Mapping) else step
    name = _first(inner, (*NAMING, "name"))
    if not isinstance(name, str):
        return False
    if isinstance(_first(inner, ("tool", "tool_name")), str):
        return True
    return any(key in inner for key in GIVEN) and _NAME.fullmatch(name) is not None


def _asked(row: JSON) -> str:
    found = [key for key in ASKED if isinstance(row.get(key), str) and row[key].strip()]
    if found[:1] == ["instruction"] and "input" in found:
        return f"{row['instruction']}\n\n{row['input']}"
    return str(row[found[0]]) if found else ""


# --- ReAct --------------------------------------------------------------------------------------

Step: TypeAlias = tuple[str, Any, str | None]  # tool, what it was given, what it said


def _react(text: str) -> tuple[str, list[Step], str]:
    """(question, steps, answer) of Yao et al.'s format (2022): ``Thought:``, ``Action: name[argument]`` or ``Action:``
    and ``Action Input:``, ``Observation:``, ``Final Answer:``.
    """
    found = list(_MARK.finditer(text))
    marks = [
        mark for n, mark in enumerate(found) if n == 0 or mark[1].lower() != "question"
    ]  # else it is observed
    question = answer = ""
    steps: list[Step] = []
    finishing = idle = False
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        said = text[mark.end() : following.start() if following else len(text)].strip()
        kind = mark[1].lower()
        if kind == "question":
            question = said
        elif kind == "action":
            idle = said.lower().strip(".") in NOTHING
            name, given = ("", {}) if idle else _action(said)
            finishing = name.lower() in FINISH
            if idle:
                continue
            if finishing:
                answer = given if isinstance(given, str) else answer
            else:
                steps.append((name, given, None))
        elif kind == "action input":
            if idle:
                continue
            if finishing:
                answer = said
            elif not steps:
                raise ValueError("'Action Input:' has no 'Action:' before it")
            else:
                steps[-1] = (steps[-1][0], _read(said), steps[-1][2])
        elif kind == "observation" and steps and not (finishing or idle):
            steps[-1] = (*steps[-1][:2], said)
        elif kind == "final answer":
            answer = said
    return question, steps, answer


def _action(said: str) -> tuple[str, Any]:
    """(tool, what it is given) of ``search``, ``search[x]``, ``search(words="x")`` or an object in JSON."""
    if said.lower() in FINISH:
        return said, {}
    if bracketed := _BRACKETS.fullmatch(said):
        return bracketed["name"], bracketed["argument"]
    raw = _read(said)
    if isinstance(raw, dict) and isinstance(name := _first(raw, (*NAMING, "name")), str):
        given = _first(raw, GIVEN)
        return name, _read(given) if isinstance(given, str) else given or {}
    if _NAME.fullmatch(said):
        return said, {}
    try:
        call = ast.parse(said, mode="eval").body
        if isinstance(call, ast.Call) and len(call.args) <= 1 and not (call.args and call.keywords):
            name = ast.unparse(call.func)
            if call.args:
                return name, ast.literal_eval(call.args[0])
            return name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise ValueError(f"an action names a tool; found {said[:60]!r}")


# --- steps --------------------------------------------------------------------------------------


def _traced(raw: Sequence[Any]) -> tuple[list[Step], str]:
    """(steps, the answer where the last of them gives it)."""
    steps = [_step(step) for step in raw]
    answer = ""
    while steps and steps[-1][0].lower() in FINISH:
        given = steps.pop()[1]
        values = list(given.values()) if isinstance(given, dict) else [given]
        answer = str(values[0]) if len(values) == 1 and values[0] not in (None, "") else answer
    return steps, answer


def _step(raw: Any) -> Step:
    """A step as it is kept by agents: an object, or LangChain's pair of an action and what was observed."""
    observed = None
    if isinstance(raw, Sequence) and not isinstance(raw, str) and len(raw) == 2:
        raw, observed = raw
    if not isinstance(raw, Mapping):
        raise ValueError(f"a step is an object with a tool and what it was given, not {type(raw).__name__}")
    inner = raw["action"] if isinstance(raw.get("action"), Mapping) else raw
    name = _first(inner, (*NAMING, "name"))
    if not isinstance(name, str):
        raise ValueError(f"a step names its tool ('tool' or 'action'); it has {', '.join(raw) or 'nothing'}")
    given = _first(inner, GIVEN)
    if given is None:  # they stand beside the tool's name
        given = {key: value for key, value in inner.items() if key not in BESIDE}
    observed = _first(raw, OBSERVED) if observed is None else observed
    if observed is None and raw.get("error"):
        observed = raw["error"]
    if observed is not None and not isinstance(observed, str):
        observed = json.dumps(observed, ensure_ascii=False)
    return name, _read(given), observed


def _first(raw: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((raw[key] for key in keys if raw.get(key) is not None), None)


def _read(text: Any) -> Any:
    """Arguments that are JSON, or were written by Python; else the text."""
    if not isinstance(text, str):
        return text
    body = text.strip()
    if len(body) >= 6 and body.startswith("```") and body.endswith("```"):
        body = body[3:-3].removeprefix("json").removeprefix("python")
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(body.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    return text


def _argument(given: Any, parameters: JSON) -> JSON:
    """A bare argument under the name of the parameter that it is for, in that parameter's type."""
    if given in (None, "", {}):
        return {}
    if isinstance(given, str) and len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
        given = given[1:-1]
    properties, required = parameters.get("properties") or {}, list(parameters.get("required") or ())
    names = required if len(required) == 1 else list(properties)
    if len(names) != 1:
        return {"input": given}
    kind = (properties.get(names[0]) or {}).get("type")
    if isinstance(given, str) and kind in ("integer", "number", "boolean", "array"):
        try:
            given = json.loads(given)
        except ValueError:
            return {names[0]: given}
    return {names[0]: given}


# --- tools --------------------------------------------------------------------------------------


def _parameters_of(tools: Sequence[JSON]) -> dict[str, JSON]:
    return {str(t["function"]["name"]): t["function"].get("parameters") or {} for t in tools}


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"),
)  # fmt: skip


def _seen(calls: Any) -> list[JSON]:
    """Tools as they were seen to be called, for runs that do not say what they were offered."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, arguments in calls:
        kinds = found.setdefault(name, {})
        for key, value in (arguments if isinstance(arguments, dict) else {}).items():
            kind = next((kind for of, kind in _TYPES if isinstance(value, of)), "null")
            if kind not in kinds.setdefault(key, []):
                kinds[key].append(kind)
    return [_tool(name, kinds) for name, kinds in found.items()]


def _tool(name: str, kinds: Mapping[str, list[str]]) -> JSON:
    properties = {}
    for key, types in kinds.items():
        types = [t for t in types if not (t == "integer" and "number" in types)]
        properties[key] = {"type": types[0] if len(types) == 1 else types}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}
