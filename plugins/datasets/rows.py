"""Rows, checked one by one: our own format (``expected``), OpenAI's fine-tuning format, or one of `formats`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any

from agentlora.core.accepts import accepted
from agentlora.core.errors import DataError, nearest
from agentlora.core.examples import Examples, unnamed_records
from agentlora.core.files import canonical_json, loads_strict
from agentlora.core.marks import marks_in
from agentlora.core.schema import check_schema, errors
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Expected, ToolCall, fields_of
from agentlora.plugins.datasets.answers import modern_row, openai
from agentlora.plugins.datasets.files import RawRow
from agentlora.plugins.datasets.formats import format_of
from agentlora.plugins.datasets.trajectories import Unsuccessful

ROLES = ("system", "user", "assistant", "tool")
FIELDS = tuple(field.name for field in fields(Example))
PROMPT_FIELDS = ("prompt", "messages", "tools", "schema", "group")
OPENAI_FIELDS = ("messages", "tools", "parallel_tool_calls", "group", "weight")
MOST_TOLD = 100
"""Broken rows that are told."""


@dataclass(slots=True)
class Rows:
    """What was read: `read` counts rows, `repeated` those that repeat another, `unsuccessful` runs of agents that
    failed, `formats` examples by format, `broken` rows that are left out; `bad` says what is wrong with the first of
    these.
    """

    examples: Examples = field(default_factory=lambda: Examples(unnamed_records()))
    read: int = 0
    repeated: int = 0
    unsuccessful: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    bad: list[str] = field(default_factory=list)


def parse_rows(raw: Iterable[RawRow], *, answers: bool = True, strict: bool = True) -> Rows:
    """The examples of rows, in order; `group` is the row's own, or empty. Of rows that ask and answer the same, the
    first is kept.

    Args:
        answers: whether every row has to bring its answer, or may be a prompt alone.
        strict: whether a broken row is an error, or left out and told.

    Raises:
        DataError: a row is broken, or has the id of a different one; names file and line. Where not `strict`: none can
            be used.
    """
    found = Rows()
    kept: set[bytes] = set()
    ids: dict[bytes, int] = {}
    for number, row in enumerate(raw, 1):
        found.read = number
        try:
            name, examples = _examples(row, number, answers)
            # of all first: a row is taken as a whole or not at all
            contents = [_content(example, row.where) for example in examples]
            for example, content in zip(examples, contents, strict=True):
                _keep(example, content, row.where, found, kept, ids)
                found.formats[name] += 1
        except Unsuccessful:
            found.unsuccessful += 1
        except DataError as exc:
            if strict:
                raise
            found.broken += 1
            found.bad += [str(exc)] if len(found.bad) < MOST_TOLD else []
    if found.broken and not found.examples:
        raise DataError(f"none of {found.broken} rows can be used. {found.bad[0]}")
    if found.unsuccessful and not found.examples:
        raise DataError(f"none of {found.unsuccessful} runs succeeded: there is nothing to learn from.")
    return found


def _keep(
    example: Example, content: bytes, where: str, found: Rows, kept: set[bytes], ids: dict[bytes, int]
) -> None:
    """Args: digests of its content and of what was kept, and by that of an id the line that it is in: they are fewer
    bytes.
    """
    if content in kept:
        found.repeated += 1
        return
    name = sha256(example.id.encode()).digest()[:16]
    if name in ids:
        raise DataError(
            f"{where}: the id {example.id!r} is that of a different row, in line {ids[name]}. "
            "Give every row an id of its own."
        )
    found.examples.append(example)
    kept.add(content)
    ids[name] = int(where.rpartition(":")[2])


def _content(example: Example, where: str) -> bytes:
    """A digest: rows that are alike in this are the same row. Raises DataError where what it is of is no text."""
    said = [example.messages, example.tools, example.expected, example.rejected, example.schema]
    try:
        text = canonical_json(said, fields_of)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{where}: it holds what is not JSON: {exc}. Mend or remove the line.") from exc
    if problem := next(marks_in(example, text), None):
        raise DataError(f"{where}: {problem}. Mend or remove the line.")
    return sha256(text).digest()[:16]


def _examples(raw: RawRow, number: int, answers: bool) -> tuple[str, list[Example]]:
    """(format, examples) of a row."""
    where = raw.where
    try:
        row: Any = raw.content
        if isinstance(
            row, bytes
        ):  # without its end, so that what ends too early is not blamed on the next line
            row = loads_strict(row.decode().rstrip())
        if not isinstance(row, dict):
            raise ValueError(f"a row is an object, not a {type(row).__name__}")
        if "expected" in row:
            return "agentlora", [_check(_own(row, number), where)]
        known = format_of(row)
        if known is None or ("messages" in row and known.name not in ("preference", "trajectory")):
            if not answers and _is_prompt(row):
                return "prompts", [_check(_prompt(modern_row(row), number), where)]
            name, parts = "openai", openai(modern_row(row))
        else:
            name, parts = known.name, known.convert(row)
        converted = [_converted(part, number, turn) for turn, part in enumerate(parts, 1)]
        said = row.get("group")
        group = said if isinstance(said, str) and said else f"row {number}" if len(converted) > 1 else ""
        return name, [_check(replace(e, group=e.group or group), where) for e in converted]
    except UnicodeDecodeError as exc:
        raise DataError(f"{where}: not UTF-8 text: {exc.reason} at byte {exc.start}.") from exc
    except json.JSONDecodeError as exc:
        raise DataError(
            f"{where}: broken JSON: {exc.msg} at column {exc.colno}. Mend or remove the line."
        ) from exc
    except Unsuccessful:
        raise
    except ValueError as exc:
        raise DataError(f"{where}: {exc}. Mend or remove the line.") from exc
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
        raise DataError(
            f"{where}: not what its format asks for ({type(exc).__name__}: {exc}). Mend or remove the line."
        ) from exc


def _converted(row: JSON, number: int, turn: int) -> Example:
    """An example of a row that `formats` made; `turn` counts those of one row."""
    rejected = row.pop("rejected", None)
    example = _openai(row, number)
    if rejected is not None:
        message = _message(rejected)
        calls = tuple(_call(call) for call in message.get("tool_calls") or ())
        example = replace(example, rejected=Expected(calls, message["content"] or None))
    return example if turn == 1 else replace(example, id=f"{example.id}.{turn}")


# --- formats of our own ----------------------------------------------------------------------------


def _refuse_unknown(row: JSON, known: tuple[str, ...]) -> None:
    for key in row:
        if key not in known:
            raise ValueError(f"unknown key {key!r}.{nearest(key, known)} There is: {', '.join(known)}")


def _own(row: JSON, number: int) -> Example:
    _refuse_unknown(row, FIELDS)
    given = {key: value for key, value in row.items() if value is not None}
    if "messages" not in given:
        raise ValueError("needs 'messages': a list that ends with the turn to be answered")
    given["messages"] = tuple(_objects(given["messages"], "messages", _message))
    given["tools"] = tuple(_objects(given.get("tools", []), "tools", _tool))
    given["expected"] = _expected(row["expected"], "expected")
    if "rejected" in given:
        given["rejected"] = _expected(given["rejected"], "rejected")
    example = Example(**{"id": f"row-{number}", "source": "jsonl", **given})
    if not isinstance(example.tags, dict):
        raise ValueError(f"'tags' is an object of texts, not {_short(example.tags)}")
    case = "value" if example.expected.value is not None else _case(example.expected)
    return replace(example, tags={"case": case, "slice": "rows", **example.tags})


def _is_prompt(row: JSON) -> bool:
    messages = row.get("messages", row.get("prompt"))
    last = messages[-1] if isinstance(messages, list) and messages else {}
    return isinstance(messages, str) or (isinstance(last, dict) and last.get("role") in ("user", "tool"))


def _prompt(row: JSON, number: int) -> Example:
    _refuse_misspelt(row, PROMPT_FIELDS)
    messages = row.get("messages", row.get("prompt"))
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return Example(
        id=f"row-{number}",
        messages=tuple(_objects(messages, "messages", _message)),
        expected=Expected(),
        tools=tuple(_objects(row.get("tools") or [], "tools", _tool)),
        schema=row.get("schema"),
        source="prompts",
        group=row.get("group") or "",
        tags={"case": "prompt", "slice": "rows"},
    )


def _refuse_misspelt(row: JSON, known: tuple[str, ...]) -> None:
    """Other people's rows have columns that mean nothing here; one that is nearly called like ours is meant to."""
    for key in row:
        if key not in known and (meant := nearest(key, known)):
            raise ValueError(f"unknown key {key!r}.{meant} There is: {', '.join(known)}")


def _openai(row: JSON, number: int) -> Example:
    _refuse_misspelt(row, OPENAI_FIELDS)
    messages = row.get("messages")
    if "messages" not in row and row:
        raise ValueError(
            f"needs 'messages', or the keys of another format (docs/your-data.md); it has {_short([*row])}"
        )
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("needs 'messages': a list with at least one user turn and the assistant's answer")
    *prompt, answer = _objects(messages, "messages", _message)
    if answer["role"] != "assistant":
        raise ValueError(f"the last message must be the assistant's answer, not the {answer['role']}'s")
    calls = tuple(_call(call) for call in answer.get("tool_calls") or ())
    if not calls and not answer["content"]:
        raise ValueError("the assistant's answer has neither content nor tool_calls")
    expected = Expected(calls=calls, text=answer["content"] or None)
    return Example(
        id=f"row-{number}",
        messages=tuple(prompt),
        expected=expected,
        tools=tuple(_objects(row.get("tools") or [], "tools", _tool)),
        source="jsonl",
        group=row.get("group") or "",
        weight=answer.get("weight", 1.0) if row.get("weight") is None else row["weight"],
        tags={"case": _case(expected), "slice": "rows"},
    )


def _case(expected: Expected) -> str:
    return {0: "none_fits", 1: "single"}.get(len(expected.calls), "two_calls")


# --- their parts --------------------------------------------------------------------------------


def _objects(value: Any, name: str, read: Callable[[JSON], JSON]) -> list[JSON]:
    if not isinstance(value, list):
        raise ValueError(f"{name!r} is a list of objects, not {_short(value)}")
    for item in value:
        if not isinstance(item, dict):
            raise ValueError(f"{name!r} is a list of objects; found {_short(item)}")
    return [read(item) for item in value]


def _message(message: JSON) -> JSON:
    """With its content as one text and the arguments of its calls as objects, as a server hands them on."""
    role = message.get("role")
    if role == "developer":  # OpenAI's later word for it
        role, message = "system", {**message, "role": "system"}
    if role not in ROLES:
        raise ValueError(f"every message needs a role of {', '.join(ROLES)}; found {_short(message)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(_part(part, role) for part in content)  # as vLLM joins them
    if content is None and role == "assistant":
        content = ""  # it only calls
    if not isinstance(content, str):
        raise ValueError(f"the content of a {role} message is a text, not {_short(content)}")
    if role == "user" and not content.strip():
        raise ValueError("a user message has no content")
    read = {**message, "content": content}
    if message.get("tool_calls") is not None:
        read["tool_calls"] = _objects(message["tool_calls"], "tool_calls", _earlier_call)
    return read


def _part(part: Any, role: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise ValueError(
            f'a {role} message has the content part {_short(part)}; only {{"type": "text", "text": …}} can be used'
        )
    return text


def _earlier_call(call: JSON) -> JSON:
    read = _call(call)
    return {**call, "function": {"name": read.name, "arguments": dict(read.arguments)}}


def _tool(tool: JSON) -> JSON:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        shape = '{"type": "function", "function": {"name": …, "parameters": …}}'
        raise ValueError(f"a tool has no function name: {_short(tool)}. Write {shape}")
    if not isinstance(function.get("parameters") or {}, dict):
        raise ValueError(
            f"the parameters of tool {name!r} are a JSON Schema, not {_short(function['parameters'])}"
        )
    return tool


def _expected(raw: Any, name: str) -> Expected:
    if not isinstance(raw, dict):
        raise ValueError(f"{name!r} is an object with 'calls', 'text' or 'value', not {_short(raw)}")
    for key in raw:
        if key not in ("calls", "text", "value"):
            raise ValueError(f"unknown key {key!r} in {name!r}. There is: calls, text, value")
    calls, text = raw.get("calls") or [], raw.get("text")
    if not isinstance(calls, list):
        raise ValueError(f"'calls' is a list of objects, not {_short(calls)}")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the text of {name!r} is a text, not {_short(text)}")
    if not calls and not text and raw.get("value") is None:
        raise ValueError(f"{name!r} is empty: give 'calls', a 'text' or a 'value'")
    return Expected(tuple(_call(call) for call in calls), text, raw.get("value"))


def _call(call: Any) -> ToolCall:
    """A call in OpenAI's form or ours; the arguments may be the JSON text of an object, as OpenAI writes them."""
    function = call.get("function", call) if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise ValueError(f"a call has no function name: {_short(call)}")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = loads_strict(arguments)
        except ValueError as exc:
            raise ValueError(f"the arguments of {name!r} are not JSON: {exc}: {_short(arguments)}") from exc
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {name!r} must be an object, not {_short(arguments)}")
    return ToolCall(name, arguments)


# --- the whole ----------------------------------------------------------------------------------


def _check(example: Example, where: str) -> Example:
    """What must hold of an example of either format. Raises DataError, naming `where`."""
    problem = next(_problems(example), None)
    if problem:
        raise DataError(f"{where}: {problem}. Mend or remove the line.")
    return example


def _problems(example: Example) -> Iterator[str]:
    for name in ("id", "source", "group"):
        if not isinstance(getattr(example, name), str):
            yield f"{name!r} is a text, not {_short(getattr(example, name))}"
    if not example.id:
        yield "'id' is empty"
    weight = example.weight
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        yield f"'weight' is a number from 0, not {_short(weight)}"
    if not all(isinstance(value, str) for value in example.tags.values()):
        yield f"'tags' is an object of texts, not {_short(example.tags)}"
    offered = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in example.tools}
    for name, parameters in offered.items():
        for problem in check_schema(parameters):
            yield f"the parameters of tool {name!r} are no JSON Schema: {problem.splitlines()[0]}"
    for call in example.expected.calls:
        if call.name not in offered:
            yield f"the answer calls {call.name!r}, which is not among its tools: {', '.join(offered) or 'none'}"
        elif wrong := errors(offered[call.name], dict(call.arguments)):
            yield f"the answer's call of {call.name!r} does not fit that tool's parameters: {wrong[0]}"
    schema: Any = example.schema
    if schema is not None and not isinstance(schema, dict):
        yield f"'schema' is a JSON Schema, not {_short(schema)}"
    try:
        accepted(example.accepts)
    except DataError as exc:
        yield str(exc).rstrip(".")
    if not any(message["role"] == "user" for message in example.messages):
        yield "there is no user message to answer"
    elif example.messages[-1]["role"] == "assistant":
        yield "the prompt ends with an assistant message; it must end with the turn to be answered"


def _short(value: Any) -> str:
    """`value` quoted in a message, as plain ASCII: it may hold what a terminal cannot print."""
    return brief(json.dumps(value, default=str), 80)
