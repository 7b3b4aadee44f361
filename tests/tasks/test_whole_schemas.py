"""Calls fit the schema that a tool has in its source, not only what is left of it; budgets that cannot be held."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core import schema
from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import DataError
from agentlora.core.types import Example, Split
from agentlora.tasks.tool_calling.user_tools import (
    UserToolParams,
    UserTools,
    over_budget,
    read_tools,
    unspoken,
)

TEXT = {"type": "string"}
BUDGET = 80  # tokens: the first of these tools is pruned, the others are whole
KINDS = ["red", "green", "blue", "brown", "black", "white"]


def function(
    name: str, about: str, properties: dict[str, Any], required: list[str], **more: Any
) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, **more}
    return {"name": name, "description": about, "parameters": parameters}


PAINT = function(
    "paint_wall",
    "Paint a wall in a colour.",
    # pruning cuts the enumeration inside of `not` too, and with it the two colours that must not be
    {
        "colour": {
            "type": "string",
            "enum": KINDS,
            "not": {"enum": [f"shade_{n}" for n in range(20)] + KINDS[:2]},
        }
    },
    ["colour"],
)
SHIP = function(
    "ship_parcel",
    "Ship a parcel to somebody.",
    {"parcel_id": TEXT, "street": TEXT, "city": TEXT},
    ["parcel_id"],
    dependentRequired={"street": ["city"]},
)
# numbers are drawn from 1 to 3,000: of these, pruning forgets which must not be
ORDER = function(
    "cancel_order",
    "Cancel an order.",
    {"order_number": {"type": "integer", "not": {"enum": [f"no_{n}" for n in range(20)] + [*range(5, 900)]}}},
    ["order_number"],
)
BOOK = function(
    "book_table", "Book a table for dinner.", {"day": TEXT, "details": {"type": "object"}}, ["day"],
    anyOf=[{"required": ["details"]}],
)  # fmt: skip


def source(folder: Path, *functions: dict[str, Any]) -> str:
    file = folder / f"{functions[0]['name']}.json"  # what a path holds is read once in a process
    file.write_text(json.dumps(functions))
    return str(file)


def built(tools: str, split: Split = "train", **settings: Any) -> list[Example]:
    settings = {"tools": tools, "examples": 300, "tool_tokens": BUDGET, **settings}
    return list(UserTools().build(split, parse(UserToolParams, settings), 0))


def calls(examples: list[Example]) -> list[tuple[str, dict[str, Any]]]:
    """Those that are expected, and those that were made already."""
    expected = [(call.name, dict(call.arguments)) for e in examples for call in e.expected.calls]
    made = [c["function"] for e in examples for m in e.messages for c in m.get("tool_calls", ())]
    return [*expected, *((call["name"], call["arguments"]) for call in made)]


def test_calls_fit_the_schema_that_was_pruned(tmp_path: Path) -> None:
    tools = source(tmp_path, PAINT, SHIP)
    pruned = {p.tool.name: p.tool.parameters for p in read_tools(tools, BUDGET).pruned}
    assert schema.is_valid(pruned["paint_wall"], {"colour": "red"})  # which the whole refuses
    assert pruned["ship_parcel"] == SHIP["parameters"]
    for split, shares in (
        ("train", {"steps_share": 0.2, "same_tool_share": 0.2}),
        ("test", {"test_examples": 80}),
    ):
        found = calls(built(tools, split, **shares))
        for name, arguments in found:
            whole = {"paint_wall": PAINT, "ship_parcel": SHIP}[name]["parameters"]
            assert schema.errors(whole, arguments) == [], (split, name)
        colours = Counter(arguments["colour"] for name, arguments in found if name == "paint_wall")
        assert set(colours) == set(KINDS[2:])
        assert any("city" in arguments and "street" in arguments for _, arguments in found)
        assert not any("street" in arguments and "city" not in arguments for _, arguments in found)


def test_numbers_are_drawn_again_where_the_whole_schema_refuses_them(tmp_path: Path) -> None:
    examples = built(source(tmp_path, ORDER), steps_share=0.2, same_tool_share=0.2)
    assert len(examples) == 300
    numbers = {arguments["order_number"] for _, arguments in calls(examples)}
    assert len(numbers) > 100
    assert not numbers & set(range(5, 900))


def test_a_tool_that_no_call_fits_is_left_out_and_said(tmp_path: Path) -> None:
    tools = source(tmp_path, BOOK, PAINT)
    (row,) = unspoken(read_tools(tools, BUDGET), 0)
    assert row.what == "book_table"
    assert row.why.startswith("not trained on: no call fits its schema in the source: (root): ")
    found = built(tools)
    assert {name for name, _ in calls(found)} == {"paint_wall"}
    with pytest.raises(DataError, match="no call fits its schema in the source"):
        built(source(tmp_path, BOOK | {"name": "book_seat"}))


def test_written_requests_fit_it_too(tmp_path: Path) -> None:
    rows = [{"request": "Paint it red", "calls": [{"name": "paint_wall", "arguments": {"colour": "red"}}]}]
    (tmp_path / "requests.yaml").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="paint_wall, as its source has it: colour: "):
        built(source(tmp_path, PAINT), "test", requests=str(tmp_path / "requests.yaml"))
    rows[0]["calls"][0]["arguments"]["colour"] = "blue"
    (tmp_path / "requests.yaml").write_text(json.dumps(rows))
    assert built(source(tmp_path, PAINT), "test", requests=str(tmp_path / "requests.yaml"))


def test_a_tool_that_stays_over_its_budget_is_said_to(tmp_path: Path) -> None:
    names = [f"measured_value_{n}" for n in range(60)]
    large = function("store_values", "Store all values.", {n: {"type": "number"} for n in names}, names)
    tools = source(tmp_path, large, SHIP)
    (row,) = over_budget(read_tools(tools, 250))
    tokens = next(p.tokens for p in read_tools(tools, 250).pruned if p.tool.name == "store_values")
    said = f"it cannot be brought under its budget of 250 tokens: {tokens:,} are left, and no rule cuts more"
    assert (row.what, row.why) == ("store_values", said)
    assert UserTools().card(parse(UserToolParams, {"tools": tools}))["over_budget"] == [
        f"store_values: {said}"
    ]
    shown = CliRunner().invoke(cli, ["data", "import", tools]).output
    assert f"Over budget store_values: {said}" in " ".join(shown.split())
    report = json.loads(CliRunner().invoke(cli, ["data", "import", tools, "--json"]).output)
    assert report["over_budget"] == [{"what": "store_values", "why": said}]
    assert over_budget(read_tools(tools, 5_000)) == []
