"""Schemas whose bounds contradict each other, or go further than floats: what nothing fits is told, others go on."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core import schema as json_schema
from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.tasks.structured_output import sampling
from agentlora.tasks.structured_output.builder import SchemaTextParams, SchemaTexts
from agentlora.tasks.tool_calling import user_tools
from agentlora.tasks.tool_calling.api_values import one_of
from agentlora.tasks.tool_calling.bounds import contradiction, number_within
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.toolspec import ToolSpec
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools, spec_of
from agentlora.tasks.tool_calling.user_values import parameter, values_for

NEITHER: Any = {"type": "integer", "minimum": 10, "maximum": 1}
TEXT: Any = {"type": "string"}


def of(properties: Any, *required: str) -> Any:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (NEITHER, "no whole number is between its minimum 10 and its maximum 1"),
        (
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "no whole number is between its excl",
        ),
        (
            {"type": "integer", "minimum": 0, "exclusiveMinimum": 9, "maximum": 9},
            "exclusiveMinimum 9 and its max",
        ),
        (
            {"type": "integer", "minimum": 1, "maximum": 6, "multipleOf": 7},
            "that is a multiple of 7 is between",
        ),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "its minLength 5 is above its maxLength 3"),
        ({"type": "array", "minItems": 1, "items": NEITHER}, "[]: no whole number"),
        ({"type": "string", "enum": [1, 2]}, "no value of its enumeration fits"),
        ({"enum": []}, "its enumeration is empty"),
        (of({"a": of({"b": NEITHER}, "b")}, "a"), "a.b: no whole number"),
        ({"anyOf": [NEITHER, {"type": "string", "minLength": 2, "maxLength": 1}]}, "no whole number"),
        ({"allOf": [{"type": "integer"}, NEITHER]}, "no whole number"),
    ],
)
def test_what_nothing_fits_is_known_with_its_place(schema: Any, why: str) -> None:
    assert why in contradiction(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["integer", "null"], "minimum": 10, "maximum": 1},
        {"minimum": 10, "maximum": 1},  # a text fits it
        {"type": "number", "minimum": 0.5, "maximum": 0.5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-12},
        {"type": "integer", "minimum": 3, "maximum": 3, "multipleOf": 0.5},
        {"type": "array", "items": NEITHER},
        {"anyOf": [NEITHER, {"type": "boolean"}]},
        of({"a": NEITHER}),
        {"type": "string", "enum": [1, "a"]},
        {"not": {}},
        True,
    ],
)
def test_what_something_may_fit_is_no_contradiction(schema: Any) -> None:
    assert contradiction(schema) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": -1e308, "maximum": 1, "multipleOf": 0.01},
        {"type": "integer", "minimum": 1e308},
        {"type": "integer", "maximum": -7},
        {"type": "integer", "minimum": -3, "maximum": 0},
        {"type": "integer", "exclusiveMinimum": 2, "maximum": 3},
        {"type": "number", "maximum": 1e308, "minimum": -1e308},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-9},
        {"type": "number", "minimum": 0.25, "maximum": 0.25},
        {"type": "number", "minimum": 1, "maximum": 100, "multipleOf": 2.5},
    ],
)
def test_numbers_are_drawn_where_floats_run_over(schema: Any) -> None:
    rng = random.Random(0)
    numbers = [number_within(schema, schema["type"] == "integer", rng) for _ in range(50)]
    assert all(json_schema.is_valid(schema, number) for number in numbers)
    assert len(set(numbers)) > 1 or schema["maximum"] in numbers


def test_multiples_of_a_step_are_drawn() -> None:
    for name, kind, step in (
        ("timeout", "integer", 2),
        ("percentage", "integer", 5),
        ("width", "number", 0.5),
    ):
        schema = {"type": kind, "multipleOf": step}
        param = parameter(name, schema, True)
        assert param
        pool = values_for(param, schema, ("order",), "shop", random.Random(0))
        values = [one_of(pool, random.Random(n))[1] for n in range(40)]
        assert len(set(values)) > 10
        assert all(json_schema.is_valid(schema, value) for value in values)
    cents = {"type": "number", "multipleOf": 0.01}
    price = parameter("price", cents, True)
    assert price
    assert "numbers" in values_for(
        price, cents, ("order",), "shop", random.Random(0)
    )  # a range, as without it


# --- tools ----------------------------------------------------------------------------------------


def tools(folder: Path) -> str:
    """Three tools: of one a required parameter, of another an optional one, takes no value."""
    found = [
        ("get_page", "Get a page.", of({"count": NEITHER}, "count")),
        ("get_user", "Get a user.", of({"id": {"type": "integer"}, "count": NEITHER}, "id")),
        ("delete_report", "Delete a report.", of({"name": TEXT}, "name")),
    ]
    file = folder / "tools.json"
    file.write_text(
        json.dumps([ImportedTool(name, said, schema, "x").openai() for name, said, schema in found])
    )
    return str(file)


def test_a_contradiction_costs_its_own_tool_or_parameter_alone(tmp_path: Path) -> None:
    source = tools(tmp_path)
    shown = CliRunner().invoke(cli, ["data", "import", source, "--json"])
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.output)
    assert [tool["function"]["name"] for tool in report["tools"]] == ["get_user", "delete_report"]
    said = {row["what"]: row["why"] for row in report["left_out"]}
    assert re.search(r"'count' is required, and nothing fits it: no whole number", said["get_page"])
    assert re.search(r"'count' is never given: nothing fits it: no whole number", said["get_user"])
    params = parse(UserToolParams, {"tools": source, "examples": 60})
    called = [call for e in UserTools().build("train", params, 0) for call in e.expected.calls]
    assert {call.name for call in called} == {"get_user", "delete_report"}
    assert not any("count" in call.arguments for call in called)
    assert any("never given" in row for row in UserTools().card(params)["left_out"])


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"type": "number", "maximum": 0.5}, {"type": "integer", "exclusiveMinimum": 0.5}]},
        {"anyOf": [{"type": "number", "exclusiveMaximum": 0}, {"type": "integer"}]},
        {"type": "number", "maximum": 1e308, "multipleOf": 1e-9},
        {"type": "integer", "maximum": 1e308, "multipleOf": 1e-9},
        of({"sizes": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "integer"}]}}, "sizes"),
    ],
)  # fmt: skip
def test_bounds_that_something_fits_leave_no_tool_out(schema: Any) -> None:
    for name in ("start_date", "count"):
        tool = ImportedTool("update_order", "Update an order.", of({name: schema, "note": TEXT}, "note"), "x")
        made = spec_of(tool, "train", 0)
        assert isinstance(made, ToolSpec)
        pool = made.values.get(name, [])
        values = [one_of(pool, random.Random(n))[1] for n in range(30)] if pool else []
        assert all(json_schema.is_valid(schema, value) for value in values)
    assert values


def test_any_surprise_costs_one_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = user_tools.values_for

    def surprising(param: Any, *rest: Any) -> Any:
        return {}["numbers"] if param.name == "name" else drawn(param, *rest)

    monkeypatch.setattr(user_tools, "values_for", surprising)
    params = parse(UserToolParams, {"tools": tools(tmp_path), "examples": 30})
    called = {c.name for e in UserTools().build("train", params, 0) for c in e.expected.calls}
    assert called == {"get_user"}
    left_out = UserTools().card(params)["left_out"]
    assert any(re.match(r"delete_report: .*no request could be made .*KeyError", row) for row in left_out)


# --- schemas --------------------------------------------------------------------------------------


def schema_file(schema: Any, folder: Path) -> str:
    file = folder / f"{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(schema))
    return str(file)


def built(schema: Any, folder: Path) -> tuple[list[Any], list[str]]:
    """(values of some examples, what the card says is never filled)"""
    params = parse(SchemaTextParams, {"schema": schema_file(schema, folder), "examples": 20})
    builder = SchemaTexts()
    examples = list(builder.build("train", params, 0))
    return [e.expected.value for e in examples], builder.card(params)["never_filled"]


def test_a_schema_that_nothing_fits_is_refused_with_the_place(tmp_path: Path) -> None:
    schema = of(
        {"lines": {"type": "array", "minItems": 1, "items": of({"count": NEITHER}, "count")}}, "lines"
    )
    params = parse(SchemaTextParams, {"schema": schema_file(schema, tmp_path)})
    with pytest.raises(ConfigError, match=r"nothing fits .*lines\.\[\]\.count: no whole number is between"):
        SchemaTexts().check(params)


def test_an_optional_part_that_nothing_fits_is_never_filled_and_said(tmp_path: Path) -> None:
    short = {"type": "string", "minLength": 5, "maxLength": 3}
    values, never = built(of({"topic": TEXT, "count": NEITHER, "code": short}, "topic"), tmp_path)
    assert all(value.keys() == {"topic"} for value in values)
    assert sorted(never) == [
        "code: nothing fits it: its minLength 5 is above its maxLength 3",
        "count: nothing fits it: no whole number is between its minimum 10 and its maximum 1",
    ]


def test_one_of_several_schemas_that_nothing_fits_gives_way_to_the_others(tmp_path: Path) -> None:
    hidden = {"type": "string", "format": "password"}
    schema = of(
        {"topic": TEXT, "a": {"anyOf": [NEITHER, {"type": "boolean"}]}, "b": {"anyOf": [NEITHER, hidden]}}
    )
    values, never = built(schema, tmp_path)
    assert {type(value["a"]) for value in values if "a" in value} == {bool}
    assert [row.partition(":")[0] for row in never] == ["b"]
    assert "nothing fits it" not in never[0]


def test_a_required_number_is_filled_where_floats_run_over(tmp_path: Path) -> None:
    schema = of(
        {"topic": TEXT, "balance": {"type": "integer", "minimum": -1e308, "maximum": 1, "multipleOf": 0.01}},
        "topic",
        "balance",
    )
    values, never = built(schema, tmp_path)
    assert all(json_schema.is_valid(schema, value) for value in values)
    assert not never


def test_any_surprise_costs_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprising(*given: Any) -> Any:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(sampling, "draw_number", surprising)
    values, never = built(of({"topic": TEXT, "count": {"type": "integer"}}, "topic"), tmp_path)
    assert all(value.keys() == {"topic"} for value in values)
    assert never == [
        "count: nothing could be drawn for it (OverflowError: cannot convert float infinity to integer)"
    ]
