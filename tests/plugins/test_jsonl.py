"""``--data FILE``: OpenAI fine-tuning rows, and what is wrong with bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentlora.core.errors import DataError
from agentlora.core.types import Example, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def row(i: int, arguments: object = '{"a": 1}') -> dict[str, object]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {
        "messages": [
            {"role": "system", "content": f"group {i // 2}"},
            {"role": "user", "content": f"call {i}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": [TOOL],
    }


def build(path: Path) -> dict[str, list[Example]]:
    params = JsonlParams(path=str(path), dev_share=0.2, test_share=0.2)
    return {split: list(Jsonl().build(split, params, 0)) for split in ("train", "dev", "test")}  # type: ignore[arg-type]


def test_openai_rows_become_examples_divided_by_group(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row(i)) for i in range(60)) + "\n\n")
    splits = build(file)
    assert sum(len(rows) for rows in splits.values()) == 60
    assert all(rows for rows in splits.values())
    first = splits["train"][0]
    assert first.expected.calls == (ToolCall("f", {"a": 1}),)
    assert first.messages[-1]["role"] == "user"
    groups = [{e.group for e in rows} for rows in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"messages": [', "broken JSON"),
        ("[]", "a row is an object"),
        ('{"messages": []}', "needs 'messages'"),
        (json.dumps({"messages": [{"role": "user", "content": "x"}] * 2}), "must be the assistant's answer"),
        (json.dumps({"messages": [{"role": "robot"}] * 2}), "needs a role of"),
        (json.dumps(row(1, "[1]")), "arguments of 'f' must be an object"),
        (json.dumps(row(1, "{")), "Expecting property name"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row(0)) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2") as caught:
        build(file)
    assert message in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Give --data an existing JSONL file"):
        build(tmp_path / "none.jsonl")
