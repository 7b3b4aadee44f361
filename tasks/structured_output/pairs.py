"""Texts and values that somebody brings along: what their skill really gets to read."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.core.files import loads_strict, sha256_json
from agentlora.core.types import JSON, Split
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value, write_xml
from agentlora.eval.calls import MISSING, parse_value, unfenced

SHARES: Mapping[Split, float] = {"train": 0.6, "dev": 0.15, "test": 0.25}
KEYS = ("text", "value", "split")
SHOWN = 10
MOST_TOLD = 100
"""Broken rows that are told."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and the value that it says."""

    text: str
    value: Any


@dataclass(slots=True)
class Pairs:
    """What was read. `broken` counts rows that are left out; `bad` says what is wrong with the first of these."""

    splits: dict[Split, list[Pair]] = field(default_factory=lambda: {split: [] for split in SHARES})
    broken: int = 0
    bad: list[str] = field(default_factory=list)


def read_pairs(path: Path, schema: JSON, seed: int, *, strict: bool = False) -> Pairs:
    """The rows of a JSONL file (``text``, ``value``, and ``split`` where it matters; or OpenAI's ``messages``), shared
    out by hash: six tenths to train, a quarter to test. A text that stands there twice counts once. Where answers are
    XML, ``value`` is the text of a document.

    Args:
        strict: whether broken rows (no row, or of a value that does not fit the schema) are an error, all at once, or
            left out and told.

    Raises:
        DataError: the file cannot be read, none of its rows can be used, or one is broken where that is an error.
    """
    try:
        lines = path.expanduser().read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except (OSError, ValueError, RuntimeError) as exc:
        raise DataError(f"cannot read {str(path)!r}: {getattr(exc, 'strerror', None) or exc}") from exc
    found = Pairs()
    wrong: list[str] = []
    rows: dict[str, tuple[Split, Pair]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            split, pair = _row(line, schema, seed)
            known = rows.setdefault(pair.text, (split, pair))
            if known[1].value != pair.value or known[0] != split:
                raise ValueError("its text stands above with another value or split")
        except ValueError as exc:
            wrong.append(f"{number}: {exc}")
    if wrong and (strict or not rows):
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        lines_told = "".join(f"\n  line {problem}" for problem in wrong[:SHOWN])
        what = "needs mending" if rows else f"has no row that can be used, of {len(wrong)}"
        raise DataError(f"{path} {what}:{lines_told}{more}")
    if not rows:
        raise DataError(f"{path} holds no row. One JSON object a line, with 'text' and 'value'.")
    for split, pair in rows.values():
        found.splits[split].append(pair)
    found.broken = len(wrong)
    found.bad = [f"{path}:{problem}. Mend or remove the line." for problem in wrong[:MOST_TOLD]]
    return found


def _row(line: bytes, schema: JSON, seed: int) -> tuple[Split, Pair]:
    """Raises ValueError."""
    try:
        row = loads_strict(line.decode().rstrip())
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(f"broken JSON: {exc.msg} at column {exc.colno}") from exc
    if isinstance(row, dict) and "messages" in row and not {"text", "value"} & row.keys():
        row = _of_messages(row, in_xml(schema))
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or "value" not in row:
        raise ValueError("a row is an object with 'text' and 'value', or with OpenAI's 'messages'")
    if unknown := sorted(row.keys() - set(KEYS)):
        raise ValueError(f"unknown keys {', '.join(unknown)}. There is: {', '.join(KEYS)}")
    value = row["value"]
    if in_xml(schema):
        value, problems = _document(value, schema)
    else:
        try:
            problems = json_schema.errors(schema, value)
        except json_schema.UndecidedError as exc:
            problems = [str(exc)]
    if problems:
        raise ValueError(f"its value does not fit the schema: {problems[0]}")
    said = row.get("split")
    if said not in (None, *SHARES):
        raise ValueError(f"split is {said!r}; train, dev or test")
    chance = random.Random(f"{seed}/{sha256_json(row['text'])}").random()
    drawn: Split = "train" if chance < SHARES["train"] else "test" if chance < 1 - SHARES["dev"] else "dev"
    split = next((known for known in SHARES if known == said), drawn)
    return split, Pair(row["text"], value)


def _of_messages(row: JSON, xml: bool) -> JSON:
    """A row of OpenAI's fine-tuning format as one of ours. Its system message gives way to the skill's own.

    Raises:
        ValueError: it is more than one text and its answer, or the answer holds no value.
    """
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("'messages' is a list of objects")
    turns = [message for message in messages if message.get("role") not in ("system", "developer")]
    if [turn.get("role") for turn in turns] != ["user", "assistant"]:
        raise ValueError("'messages' are one user's text and the assistant's answer, beside a system message")
    text, answer = (_content(turn) for turn in turns)
    value = unfenced(answer, "xml") if xml else parse_value(answer)
    if value is MISSING:
        raise ValueError("the assistant's answer is not one JSON value")
    return {"text": text, "value": value} | ({"split": row["split"]} if "split" in row else {})


def _content(message: JSON) -> str:
    """Raises ValueError where it is no text."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        ]
        content = "".join(parts) if len(parts) == len(content) else None
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"the {message['role']}'s message holds no text")
    return content


def _document(text: Any, schema: JSON) -> tuple[Any, list[str]]:
    """(the value of an XML document, why it is none)"""
    if not isinstance(text, str):
        raise ValueError('its value is the text of an XML document: "<order>…</order>"')
    root = parse_xml(text.strip())
    if problems := problems_of(schema, root):
        return None, problems
    value = read_value(schema, root)
    again = parse_xml(write_xml(schema, value))  # as it is trained
    return value, problems_of(schema, again)
