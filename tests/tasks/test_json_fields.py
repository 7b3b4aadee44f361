"""JSON answers are judged by their schema and field by field."""

from __future__ import annotations

from typing import Any

import pytest

from agentlora.core.types import Example, Expected, Output
from agentlora.tasks.structured_output.scoring import JsonFields

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "number"},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "steps": {"type": "array", "items": {"type": "string"}},
        "free": {
            "type": "object",
            "patternProperties": {"^on_": {"type": "string", "format": "date-time"}},
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        },
        "rows": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    },
}


def scored(wanted: Any, text: str, schema: Any = SCHEMA) -> tuple[float, float, float, float, str]:
    found = JsonFields().score(Example("x", (), Expected(value=wanted), schema=schema), Output("x", text))
    values = [found.metrics[name] or 0.0 for name in JsonFields.metrics]
    return (*values, found.why)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("wanted", "text", "accuracy", "valid", "why"),
    [
        ({"n": 1}, '{"n": 1.0}', 1, 1, ""),
        ({"n": 1}, '```json\n{"n": 1}\n```', 1, 1, ""),
        ({"n": 1}, '{"n": true}', 0, 0, "n is true; expected 1"),
        ({"n": 1, "day": "2026-03-01"}, '{"n": 1}', 0.5, 1, "day is missing"),
        ({"n": 1}, '{"n": 1, "day": "2026-03-01"}', 0.5, 1, "nothing is expected there"),
        ({"at": "2026-03-01T10:00:00Z"}, '{"at": "2026-03-01T11:00:00+01:00"}', 1, 1, ""),
        ({"day": "2026-03-01"}, '{"day": "2026-03-02"}', 0, 1, "day is"),
        ({"tags": ["a", "b"]}, '{"tags": ["b", "a"]}', 1, 1, ""),
        ({"steps": ["a", "b"]}, '{"steps": ["b", "a"]}', 0, 1, "steps is"),
        ({"rows": [{"a": 1}, {"a": 2}]}, '{"rows": [{"a": 1}]}', 0.5, 1, "rows[1].a is missing"),
        ({"rows": [{"a": 1}]}, '{"rows": [{"a": 1}, {"a": 2}]}', 0.5, 1, "rows[1].a is 2"),
        (
            {"rows": [{"a": 1}, {"a": 2}, {"a": 3}]},
            '{"rows": [{"a": 2}, {"a": 3}]}',
            2 / 3,
            1,
            "rows[0].a is missing",
        ),
        # keys of any name: letter for letter, each a field; one that is misspelt is missing and made up
        ({"free": {"Ann": ["x"], "Bo": ["y"]}}, '{"free": {"Bo": ["y"], "Ann": ["x"]}}', 1, 1, ""),
        (
            {"free": {"Ann": ["x"], "Bo": ["y"]}},
            '{"free": {"ann": ["x"], "Bo": ["y"]}}',
            1 / 3,
            1,
            "free.Ann is missing",
        ),
        ({"free": {"Ann": ["x", "y"]}}, '{"free": {"Ann": ["y", "x"]}}', 1, 1, ""),
        (
            {"free": {"on_a": "2026-03-01T10:00:00Z"}},
            '{"free": {"on_a": "2026-03-01T11:00:00+01:00"}}',
            1,
            1,
            "",
        ),
        ({"free": {"Ann": ["x"]}, "n": 1}, '{"n": 1}', 0.5, 1, "free.Ann is missing"),
        ({"free": {}}, '{"free": {}}', 1, 1, ""),
        ({"free": {}}, '{"free": {"Ann": ["x"]}}', 0, 1, "nothing is expected there"),
        ({"n": 1}, 'Here: {"n": 1}', 0, 0, "not one JSON value"),
        ({"n": 1}, '{"n": NaN}', 0, 0, "not one JSON value"),
        ({"n": 1}, "[" * 100_000, 0, 0, "not one JSON value"),
    ],
)
def test_answers_are_judged_field_by_field(
    wanted: Any, text: str, accuracy: float, valid: float, why: str
) -> None:
    parsed, schema_valid, found, exact, said = scored(wanted, text)
    assert (found, schema_valid) == (pytest.approx(accuracy), valid)
    assert exact == (accuracy == 1)
    assert parsed == ("not one JSON" not in why)
    assert why in said


def test_fields_are_compared_through_references() -> None:
    schema = {
        "type": "object",
        "properties": {"t": {"$ref": "#/$defs/t"}},
        "$defs": {"t": SCHEMA["properties"]["tags"]},
    }  # type: ignore[index]
    assert scored({"t": ["a", "b"]}, '{"t": ["b", "a"]}', schema)[2] == 1


def test_what_cannot_be_judged_is_unscored() -> None:
    nothing = JsonFields().score(Example("x", (), Expected(text="hi")), Output("x", "{}"))
    assert nothing.unscored
    unusable = JsonFields().score(
        Example("x", (), Expected(value={"a": 1}), schema={"type": "objet"}), Output("x", "{}")
    )
    assert unusable.unscored
    assert "schema" in unusable.unscored
    endless = {"type": "object", "properties": {"a": {"pattern": r"(a*)*\1b"}}}
    undecided = JsonFields().score(
        Example("x", (), Expected(value={"a": "b"}), schema=endless), Output("x", f'{{"a": "{"a" * 30}"}}')
    )
    assert "a: a pattern" in str(undecided.unscored)


def test_an_answer_without_end_in_itself_is_no_answer() -> None:
    """The validator refuses what is 255 deep, and comparing recurses."""
    for depth in (256, 990):
        assert scored({"n": 1}, '{"n": ' * depth + "1" + "}" * depth)[0] == 0
