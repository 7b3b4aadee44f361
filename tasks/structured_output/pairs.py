"""Texts and values that somebody brings along: what their skill really gets to read."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.core.files import loads_strict, sha256_json
from agentlora.core.types import JSON, Split
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value, write_xml

SHARES: Mapping[Split, float] = {"train": 0.6, "dev": 0.15, "test": 0.25}
KEYS = ("text", "value", "split")
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and the value that it says."""

    text: str
    value: Any


def read_pairs(path: Path, schema: JSON, seed: int) -> dict[Split, list[Pair]]:
    """The rows of a JSONL file (``text``, ``value``, and ``split`` where it matters), shared out by hash: six tenths
    to train, a quarter to test. A text that stands there twice counts once. Where answers are XML, ``value`` is the
    text of a document.

    Raises:
        DataError: the file cannot be read, or a row is broken or its value does not fit the schema; all at once.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError, RuntimeError) as exc:
        raise DataError(f"cannot read {str(path)!r}: {getattr(exc, 'strerror', None) or exc}") from exc
    wrong: list[str] = []
    rows: dict[str, tuple[Split, Pair]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            split, pair = _row(line, schema, seed)
        except ValueError as exc:
            wrong.append(f"line {number}: {exc}")
            continue
        known = rows.setdefault(pair.text, (split, pair))
        if known[1].value != pair.value or known[0] != split:
            wrong.append(f"line {number}: its text stands above with another value or split")
    if wrong:
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DataError(f"{path} needs mending:\n  " + "\n  ".join(wrong[:SHOWN]) + more)
    if not rows:
        raise DataError(f"{path} holds no row. One JSON object a line, with 'text' and 'value'.")
    found: dict[Split, list[Pair]] = {"train": [], "dev": [], "test": []}
    for split, pair in rows.values():
        found[split].append(pair)
    return found


def _row(line: str, schema: JSON, seed: int) -> tuple[Split, Pair]:
    """Raises ValueError."""
    row = loads_strict(line)
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or "value" not in row:
        raise ValueError("a row is an object with 'text' and 'value'")
    if unknown := sorted(row.keys() - set(KEYS)):
        raise ValueError(f"unknown keys {', '.join(unknown)}. There is: {', '.join(KEYS)}")
    value = row["value"]
    if in_xml(schema):
        value, problems = _document(value, schema)
    else:
        problems = json_schema.errors(schema, value)
    if problems:
        raise ValueError(f"its value does not fit the schema: {problems[0]}")
    said = row.get("split")
    if said not in (None, *SHARES):
        raise ValueError(f"split is {said!r}; train, dev or test")
    chance = random.Random(f"{seed}/{sha256_json(row['text'])}").random()
    drawn: Split = "train" if chance < SHARES["train"] else "test" if chance < 1 - SHARES["dev"] else "dev"
    split = next((known for known in SHARES if known == said), drawn)
    return split, Pair(row["text"], value)


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
