"""Validation agrees with the reference implementation, `jsonschema`, and never fetches."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

from agentlora.core import schema
from agentlora.core.errors import DataError
from agentlora.core.schema_errors import findings
from agentlora.tasks.tool_calling.toolspec import load_catalogue, render

ODD: list[Any] = [None, True, 0, -1, 2.5, 10**20, "", "monday", "2026-13-45", [], ["x"], {}, {"x": 1}]


def reference(of: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(of, registry=Registry())  # it has no way to retrieve anything


def damaged(arguments: dict[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Arguments with one left out, one too many, and one of another value; also inside what is nested."""
    for name in arguments:
        yield {k: v for k, v in arguments.items() if k != name}
        yield arguments | {name: rng.choice(ODD)}
        if isinstance(arguments[name], dict):
            yield arguments | {name: arguments[name] | {"unknown": 1}}
        if isinstance(arguments[name], list):
            yield arguments | {name: [*copy.deepcopy(arguments[name]), rng.choice(ODD)]}
    yield arguments | {"unknown_argument": 1}


def test_calls_of_every_tool_are_judged_as_the_reference_judges_them() -> None:
    rng = random.Random(0)
    verdicts = {True: 0, False: 0}
    for tool in load_catalogue():
        checker = reference(tool.parameters)
        _, arguments = render(tool, rng.choice(tool.phrasings), rng)
        for instance in (arguments, *damaged(arguments, rng)):
            expected = checker.is_valid(instance)
            assert schema.is_valid(tool.parameters, instance) is expected, (tool.name, instance)
            assert bool(schema.errors(tool.parameters, instance)) is not expected
            verdicts[expected] += 1
    assert min(verdicts.values()) > 300  # neither side is empty


@pytest.mark.parametrize(
    "parameters",
    [
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"minimum": 0}, {"type": "integer"}]},
        {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"},
        {"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        {"type": "object", "dependentRequired": {"x": ["y"]}},
        {"not": {"type": "string"}},
        {"const": 1},
        {"multipleOf": 0.5},
        True,
        False,
    ],
)
def test_keywords_are_judged_as_the_reference_judges_them(parameters: Any) -> None:
    checker = reference(parameters)
    for instance in [*ODD, 1, 1.0, 0.3, [[]], ["x", 1], {"y": 1, "x": "z"}]:
        assert schema.is_valid(parameters, instance) is checker.is_valid(instance), instance


def test_what_is_not_json_is_never_valid() -> None:
    for instance in (float("nan"), {"x": float("inf")}, {1, 2}, object(), "\ud800", {"\udfff": 1}):
        assert not schema.is_valid(True, instance)  # type: ignore[arg-type]
        assert "not a JSON value" in schema.errors({}, instance)[0]


def test_a_reference_outside_is_an_error_and_never_fetched() -> None:
    outside = {"$ref": "http://localhost:9/never.json"}
    with pytest.raises(DataError, match="outside the schema"):
        schema.is_valid(outside, 1)
    assert "outside the schema" in schema.check_schema(outside)[0]


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "strin"},
        {"required": "x"},
        {"pattern": "("},
        7,
        {"x": {1}},
        {"const": "\ud800"},
        {"maximum": float("nan")},
        {"pattern": "^((a{1,100}){1,100}){1,100}$"},
        {"pattern": "(?!b)((a{0,100}){0,100}){0,100}"},
        {"pattern": "(" * 20_000 + "a" + ")" * 20_000},
    ],
    ids=lambda broken: str(broken)[:40] if len(str(broken)) < 200 else "large",
)
def test_a_schema_that_is_none_is_refused(broken: Any) -> None:
    assert schema.check_schema(broken)
    with pytest.raises((DataError, TypeError)):
        schema.is_valid(broken, 1)


@pytest.mark.parametrize("levels", [300, 3000])
def test_a_schema_without_end_is_refused(levels: int) -> None:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"not": made}
    assert "ecursion" in schema.check_schema(made)[0]


def test_a_schema_is_compiled_once_whoever_says_it_and_anew_when_it_changes() -> None:
    said: dict[str, Any] = {"type": "integer", "minimum": 3}
    assert schema.validator(said) is schema.validator({"minimum": 3, "type": "integer"})
    assert not schema.is_valid(said, 2)
    said["minimum"] = 1
    assert schema.is_valid(said, 2)
    assert [schema.is_valid({"const": const}, True) for const in (True, 1, 1.0)] == [True, False, False]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+$", "a" * 50_000 + "b"),
        ("^(a|aa)+$", "a" * 50_000 + "b"),
        ("^(?=(a+)+$)", "a" * 50_000 + "b"),
        ("^(?!x)(.*,)*(.*,)*(.*,)*z", "," * 3000),
        (r"^(a*)*\1$", "a" * 5000 + "b"),
        (r"^(\w+\s?)*$", "word " * 5000 + "!"),
    ],
)
def test_a_hostile_pattern_is_decided_or_given_up_on(pattern: str, text: str) -> None:
    """A backtracking matcher would be at most of them until the end of time."""
    for said, value in (({"pattern": pattern}, text), ({"patternProperties": {pattern: False}}, {text: 1})):
        try:
            found = schema.errors(said, value)
        except schema.UndecidedError:
            assert not schema.is_valid(said, value)
        else:
            assert schema.is_valid(said, value) is (found == [])
            assert bool(found) is ("pattern" in said)  # none of the texts matches


def test_a_pattern_that_is_given_up_on_decides_nothing() -> None:
    endless, text = {"pattern": r"(a*)*\1b"}, "a" * 30
    for undecided in (endless, {"anyOf": [endless, {"type": "integer"}]}, {"not": endless}):
        with pytest.raises(schema.UndecidedError, match="too many steps"):
            schema.errors(undecided, text)
        assert not schema.is_valid(undecided, text)
    assert schema.errors(endless | {"maxLength": 3}, text)  # whatever the pattern says, it does not fit
    assert schema.errors({"anyOf": [endless, {"type": "string"}]}, text) == []


def test_what_is_too_deep_for_the_validator_is_told() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(schema.UndecidedError, match="Recursion limit"):
        schema.errors({"type": "object"}, deep)
    assert not schema.is_valid({"type": "object"}, deep)


def test_of_a_value_with_very_many_parts_the_first_fault_is_told() -> None:
    """All of them are made before one is told, which takes seconds: an answer of a megabyte has 300,000."""
    held: Any = {
        "properties": {
            "tags": {"items": {"type": "string"}},
            "of": {"additionalProperties": {"type": "null"}},
        }
    }
    fits = schema.validator(held)
    for tags, told in (([1] * 10, 11), ([1] * schema.MOST_PARTS, 1), (["x"] * schema.MOST_PARTS, 1)):
        value = {"of": {"a": 1}, "tags": tags}
        assert len(findings(held, value)) == told
        assert fits.problem(value) in ('tags/0: 1 is not of type "string"', 'of/a: 1 is not of type "null"')
    assert len(findings(held, {"of": dict.fromkeys(map(str, range(schema.MOST_PARTS + 1)), 1)})) == 1
    assert findings(held, {"tags": ["x"] * 30_000}) == []
