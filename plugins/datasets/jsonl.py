"""Examples from a JSONL file: our own format, or OpenAI's fine-tuning format (``messages``, ``tools``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.files import sha256_file, sha256_json
from agentlora.core.types import JSON, Example, Expected, Split, ToolCall

ROLES = ("system", "user", "assistant", "tool")


class JsonlParams(Strict):
    """Which file, and how much of it is held out."""

    path: str
    dev_share: float = Field(0.1, ge=0, le=0.5)
    test_share: float = Field(0.1, ge=0, le=0.5)
    licence: str = "not stated"


class Jsonl:
    """The dataset builder ``jsonl`` (``--data FILE``). A row without a last assistant turn is an error."""

    Params = JsonlParams

    def build(self, split: Split, params: JsonlParams, seed: int) -> Iterator[Example]:
        """Rows of one split; rows with the same group (default: the same system prompt and tools) stay together.

        Raises:
            DataError: the file cannot be read, or a row is broken; names file and line.
        """
        for example in _read(Path(params.path).expanduser()):
            if _split_of(example.group, params, seed) == split:
                yield example

    def card(self, params: JsonlParams) -> JSON:
        """The file by name and digest."""
        path = Path(params.path).expanduser()
        return {
            "sources": [
                {"name": path.name, "licence": params.licence, "version": f"sha256:{sha256_file(path)}"}
            ],
            "notes": "",
        }


def _split_of(group: str, params: JsonlParams, seed: int) -> Split:
    share = int(hashlib.sha256(f"{seed}/{group}".encode()).hexdigest(), 16) % 10_000 / 10_000
    if share < params.test_share:
        return "test"
    return "dev" if share < params.test_share + params.dev_share else "train"


def _read(path: Path) -> Iterator[Example]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _example(line, f"{path}:{number}", number)
    except OSError as exc:
        raise DataError(
            f"cannot read {str(path)!r}: {exc.strerror}. Give --data an existing JSONL file."
        ) from exc
    except UnicodeDecodeError as exc:
        raise DataError(f"{str(path)!r} is not UTF-8 text: {exc.reason} at byte {exc.start}.") from exc


def _example(line: str, where: str, number: int) -> Example:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as exc:
        raise DataError(
            f"{where}: broken JSON: {exc.msg} at column {exc.colno}. Mend or remove the line."
        ) from exc
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row is an object, not a {type(row).__name__}.")
    try:
        return Example.from_dict(row) if "expected" in row else _openai(row, number)
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise DataError(
            f"{where}: {exc if isinstance(exc, ValueError) else f'{type(exc).__name__}: {exc}'}"
        ) from exc


def _openai(row: dict[str, Any], number: int) -> Example:
    messages, tools = row.get("messages"), row.get("tools") or []
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("needs 'messages': a list with at least one user turn and the assistant's answer")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ValueError(f"every message needs a role of {', '.join(ROLES)}; found {str(message)[:80]!r}")
    *prompt, answer = messages
    if answer["role"] != "assistant":
        raise ValueError(f"the last message must be the assistant's answer, not the {answer['role']}'s")
    calls = tuple(_call(call) for call in answer.get("tool_calls") or ())
    text = answer.get("content")
    if not calls and not text:
        raise ValueError("the assistant's answer has neither content nor tool_calls")
    system = prompt[0].get("content") if prompt[0]["role"] == "system" else ""
    case = "single" if len(calls) == 1 else "two_calls" if calls else "none_fits"
    return Example(
        id=f"row-{number}",
        messages=tuple(prompt),
        expected=Expected(calls=calls, text=text or None),
        tools=tuple(tools),
        source="jsonl",
        group=row.get("group") or (sha256_json([system, tools])[:16] if tools else f"row-{number}"),
        tags={"case": case, "slice": "rows", "tools": "new"},
    )


def _call(call: dict[str, Any]) -> ToolCall:
    function = call.get("function", call)
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)  # OpenAI writes them as a string
    if not isinstance(arguments, dict):
        raise ValueError(
            f"the arguments of {function['name']!r} must be an object, not {str(arguments)[:60]!r}"
        )
    return ToolCall(function["name"], arguments)
