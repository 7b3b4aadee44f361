"""Texts and values of somebody's own beside a schema: they go where they say, and broken ones are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import DataError
from agentlora.core.types import Split
from agentlora.tasks.structured_output.builder import SchemaTextParams, SchemaTexts
from agentlora.tasks.structured_output.pairs import read_pairs
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.structured_output.scoring import JsonFields

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
ORDER = Path(__file__).parents[2] / "benchmarks" / "own_schema" / "delivery_order.json"


def test_pairs_of_ones_own_go_where_they_say(tmp_path: Path) -> None:
    pairs = read_pairs(ORDER.with_name("texts.jsonl"), json.loads(ORDER.read_text()), 0).splits
    assert [len(pairs[split]) for split in SPLITS] == [0, 8, 30]
    asked = {"schema": str(ORDER), "pairs": str(ORDER.with_name("texts.jsonl")), "test_examples": 0}
    built = list(SchemaTexts().build("test", parse(SchemaTextParams, asked), 0))
    assert len(built) == 30
    assert {e.tags["slice"] for e in built} == {"pairs"}
    assert not JsonFields().validate(built)
    own = tmp_path / "own.jsonl"
    rows = [{"text": f"Room {n}", "value": {"topic": f"{n}"}} for n in range(60)]
    own.write_text("\n".join(map(json.dumps, rows)))
    shared = read_pairs(own, {"type": "object"}, 0).splits
    assert all(len(shared[split]) > 3 for split in SPLITS)
    assert sum(map(len, shared.values())) == 60


def test_broken_pairs_are_told_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"text": "a", "value": {"n": 1}}\n{"text": "b", "value": {"n": "x"}}\n{"text": 1}\nno json\n'
        '{"text": "a", "value": {"n": 2}}\n{"text": "c", "value": {"n": 1}, "split": "val"}\n'
        '{"text": "d", "vale": 1, "value": {}}'
    )
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with pytest.raises(DataError) as raised:
        read_pairs(path, schema, 0, strict=True)
    said = str(raised.value)
    for part in (
        "line 2: its value",
        "line 3: a row",
        "line 4: ",
        "line 5: its text",
        "line 6: split",
        "line 7: unknown",
    ):
        assert part in said
    with pytest.raises(DataError, match="cannot read"):
        read_pairs(tmp_path / "none.jsonl", schema, 0)
    read = read_pairs(path, schema, 0)
    assert [(pair.text, pair.value) for pairs in read.splits.values() for pair in pairs] == [("a", {"n": 1})]
    assert read.broken == 6
    assert read.bad[0].startswith(f"{path}:2: its value does not fit the schema: n: ")
    path.write_text('{"text": "b", "value": {"n": "x"}}\nno json\n')
    with pytest.raises(DataError, match=r"has no row that can be used, of 2:\n  line 1: its value"):
        read_pairs(path, schema, 0)


def test_broken_pairs_are_left_out_of_the_data_and_told(tmp_path: Path) -> None:
    schema, pairs = tmp_path / "note.json", tmp_path / "pairs.jsonl"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    rows = [json.dumps({"text": f"it is {n}", "value": {"n": n}}).encode() for n in range(20)]
    pairs.write_bytes(b"\n".join([*rows[:3], b'{"text": "\xff", "value": {"n": 1}}', *rows[3:]]))
    given = ["data", "build", "structured-output", "--schema", str(schema), "--data", str(pairs)]
    given += ["--set", "data.params.examples=20", "--set", "data.params.test_examples=5", "--output"]
    made = CliRunner().invoke(cli, [*given, str(tmp_path / "built")])
    assert made.exit_code == 0, made.output
    card = json.loads((tmp_path / "built" / "card.json").read_text())
    assert "1 broken rows of the pairs are left out" in card["notes"]
    assert card["quarantined"] == [
        f"{pairs}:4: not UTF-8 text: invalid start byte at byte 10. Mend or remove the line."
    ]
    refused = CliRunner().invoke(cli, [*given, str(tmp_path / "refused"), "--strict"])
    assert refused.exit_code != 0
    assert "line 4: not UTF-8 text" in str(refused.exception)


def test_rows_of_openais_format_are_pairs_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    user = {
        "role": "user",
        "content": [{"type": "text", "text": "two of "}, {"type": "text", "text": "them"}],
    }

    def row(*turns: Any, **more: Any) -> str:
        return json.dumps({"messages": [{"role": "system", "content": "x"}, *turns], **more})

    def answer(text: Any) -> Any:
        return {"role": "assistant", "content": text}

    path.write_text(
        "\n".join(
            [
                row(user, answer('```json\n{"n": 2}\n```'), split="test", weight=1),
                row({"role": "user", "content": "a"}, answer("two")),
                row({"role": "user", "content": "b"}, answer('{"n": "two"}')),
                row(user, answer('{"n": 2}'), user, answer('{"n": 2}')),
                row({"role": "user", "content": "c"}, answer(None)),
            ]
        )
    )
    read = read_pairs(path, {"type": "object", "properties": {"n": {"type": "integer"}}}, 0)
    assert [(pair.text, pair.value) for pair in read.splits["test"]] == [("two of them", {"n": 2})]
    for number, why in (
        (2, "not one JSON value"),
        (3, "does not fit"),
        (4, "one user's text"),
        (5, "holds no text"),
    ):
        assert any(bad.startswith(f"{path}:{number}: ") and why in bad for bad in read.bad)
    order = read_schema(str(Path(__file__).with_name("order.xsd"))).schema
    path.write_text(row({"role": "user", "content": "two"}, answer("<order/>")))
    with pytest.raises(DataError, match="its value does not fit the schema: "):
        read_pairs(path, order, 0)
