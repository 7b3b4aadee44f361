"""Reading and writing calls, and the schema of the constrained baseline."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from agentlora.core import schema
from agentlora.core.types import JSON, ToolCall
from agentlora.eval.calls import (
    MISSING,
    MOST_CHARACTERS,
    MOST_DEPTH,
    calls_schema,
    canonical,
    parse_answer,
    parse_constrained,
    parse_value,
    render_calls,
)

A, B = ToolCall("a", {"x": 1, "s": "é <b>"}), ToolCall("b.c", {})


def test_what_is_rendered_is_read_back_with_the_text_around_it() -> None:
    answer = parse_answer(f"One moment.\n{render_calls([A, B])}\nDone.")
    assert (answer.calls, answer.text, answer.malformed) == ((A, B), "One moment.\nDone.", 0)


def test_text_without_calls_is_all_text() -> None:
    answer = parse_answer("No tool fits: see </tool_call>.")
    assert (answer.calls, answer.text, answer.malformed) == ((), "No tool fits: see </tool_call>.", 0)


def test_arguments_may_be_a_json_text_of_an_object() -> None:
    text = '<tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>'
    assert parse_answer(text).calls == (ToolCall("a", {"x": 1}),)


@pytest.mark.parametrize(
    "block",
    [
        '<tool_call>{"name": "a", "arguments": {}}',
        "<tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"name": "a", "arguments": {}</tool_call>',
        '<tool_call>{"name": "a"}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": 1, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": []}</tool_call>',
        '<tool_call>{"name": "a", "arguments": "x"}</tool_call>',
        '<tool_call>[{"name": "a", "arguments": {}}]</tool_call>',
        '<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": {"x": 1e999}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": {"x": "\\ud800"}}</tool_call>',
        "<tool_call>" + "[" * 100_000 + "</tool_call>",
    ],
)
def test_a_block_that_cannot_be_read_is_counted_and_spoils_no_other(block: str) -> None:
    answer = parse_answer(f"{render_calls([A])}\n{block}")
    assert (answer.calls, answer.malformed, answer.attempted) == ((A,), 1, 2)
    assert answer.text == ""


def test_an_unclosed_block_ends_where_the_next_begins() -> None:
    answer = parse_answer(f'<tool_call>\n{{"name": "a"\n{render_calls([B])}')
    assert (answer.calls, answer.malformed) == ((B,), 1)


@pytest.mark.parametrize(
    ("text", "calls", "malformed"),
    [
        ("[]", 0, 0),
        ('[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]', 2, 0),
        ('[{"name": "a", "arguments": {}}, {"name": "b"}]', 1, 1),
        ('{"name": "a", "arguments": {}}', 0, 1),
        ("", 0, 1),
        ("[", 0, 1),
    ],
)
def test_constrained_answers(text: str, calls: int, malformed: int) -> None:
    answer = parse_constrained(text)
    assert (len(answer.calls), answer.malformed) == (calls, malformed)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('<think>\n\n</think>\n\n{"a": 1}', {"a": 1}),
        ('<think>one or {"a": 2}?</think>```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": "<think>kept</think>"}', {"a": "<think>kept</think>"}),
        ('```\n\n{"a": 1}\n\n```\n', {"a": 1}),
        ('```python\n{"a": 1}\n```', MISSING),
        ('```{"a": 1}```', MISSING),
        ("`````", MISSING),
        ('It is {"a": 1}', MISSING),
        ('<think>never ended {"a": 1}', MISSING),
    ],
)
def test_a_value_is_read_alone_in_a_fence_or_after_thoughts(text: str, value: object) -> None:
    assert parse_value(text) == value


def nested(depth: int) -> str:
    return '{"a": [' * (depth // 2) + "]}" * (depth // 2)


def test_what_nobody_asks_for_so_deep_or_so_large_is_unreadable() -> None:
    assert parse_value(nested(MOST_DEPTH)) is not MISSING
    assert parse_value(nested(MOST_DEPTH + 2)) is MISSING
    assert parse_value(nested(900)) is MISSING
    assert parse_value(f'"{"x" * (MOST_CHARACTERS - 2)}"') is not MISSING
    assert parse_value(f'"{"x" * MOST_CHARACTERS}"') is MISSING
    call = f'{{"name": "a", "arguments": {nested(MOST_DEPTH)}}}'
    assert parse_answer(f"<tool_call>{call}</tool_call>").malformed == 1
    assert parse_constrained(f"[{call}]").malformed == 1


def test_of_two_members_of_one_name_the_last_counts() -> None:
    text = '{"name": "a", "arguments": {"x": 0, "x": 1, "s": "\u00e9 <b>"}}'
    assert parse_answer(f"<tool_call>{text}</tool_call>").calls == (A,)
    assert parse_value('{"x": 0, "x": 1}') == {"x": 1}


@pytest.mark.parametrize(
    "text",
    [
        '"```\\n" + " " * n',
        '"```\\n" + "\\n" * n',
        '"```\\n" * (n // 4)',
        '" " * n + "x"',
        '"<think>" * (n // 7)',
        '"<tool_call>" * (n // 11)',
        '"<tool_call>" + " " * n',
        '"{" * n',
        '"[" * n + "]" * n',
    ],
)
def test_a_megabyte_of_nothing_is_read_in_no_time(text: str) -> None:
    """A read of quadratic time would take hours; this one a moment."""
    code = (
        f"from agentlora.eval.calls import *; n = 900_000; text = {text}; parse_answer(text)\n"
        "assert parse_value(text) is MISSING"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_blocks_without_end_are_read_once() -> None:
    """A search for the closing mark from every opening one would take a day."""
    answer = parse_answer("<tool_call>" * 300_000)
    assert (answer.calls, answer.text, answer.malformed) == ((), "", 300_000)


@pytest.mark.parametrize("character", ["\\ud800", "\ud800", "é\\udfff"])
def test_half_a_character_is_no_json_however_it_is_written(character: str) -> None:
    assert parse_value(f'["{character}"]') is MISSING
    assert parse_value('["\\ud83d\\ude00 \\u00e9 é"]') == ["😀 é é"]


def test_canonical_is_equality_of_json_values() -> None:
    assert canonical({"a": 1, "b": [1.0, 2]}) == canonical({"b": [1, 2.0], "a": 1.0})
    for one, other in [(1, True), (0, False), (1, "1"), ([1, 2], [2, 1]), ("a", "A"), (None, 0), ({}, [])]:
        assert canonical(one) != canonical(other)


TOOLS: list[JSON] = [
    {
        "type": "function",
        "function": {
            "name": "tree",
            "parameters": {
                "type": "object",
                "properties": {
                    "pattern": {"type": "string", "pattern": "^a+$", "minLength": 2},
                    "uniqueItems": {"type": "number", "multipleOf": 0.5},
                    "children": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/child"}},
                    "when": {"type": "string", "format": "iri"},
                    "mode": {"enum": ["default", "title"]},
                },
                "required": ["uniqueItems"],
                "additionalProperties": False,
                "$defs": {"child": {"type": "object", "properties": {"self": {"$ref": "#"}}}},
            },
        },
    },
    {"type": "function", "function": {"name": "ping"}},
]


def test_the_schema_takes_calls_of_the_offered_tools_only() -> None:
    wanted = calls_schema(TOOLS)
    good = {"name": "tree", "arguments": {"uniqueItems": 1, "children": [{"self": {"uniqueItems": 2}}]}}
    ping: JSON = {"name": "ping", "arguments": {}}
    for value in ([], [good], [good, ping]):
        assert schema.errors(wanted, value) == []
    bad_child = {"name": "tree", "arguments": {"uniqueItems": 1, "children": [{"self": {}}]}}
    for value in (
        good,
        [ping, ping, ping],
        [{"name": "pong", "arguments": {}}],
        [{"name": "tree", "arguments": {}}],
        [bad_child],
        [{"name": "tree", "arguments": {"uniqueItems": 1, "mode": "x"}}],
        [{**ping, "id": 1}],
    ):
        assert not schema.is_valid(wanted, value)
    assert schema.is_valid(calls_schema([]), [])
    assert not schema.is_valid(calls_schema([]), [ping])


def test_the_schema_has_nothing_that_xgrammar_refuses() -> None:
    tree = calls_schema(TOOLS)["$defs"]["t0"]
    assert tree["properties"]["uniqueItems"] == {"type": "number"}  # a parameter of that name stays
    assert tree["properties"]["pattern"] == {"type": "string", "pattern": "^a+$"}
    assert "uniqueItems" not in tree["properties"]["children"]
    assert "format" not in tree["properties"]["when"]
    assert tree["properties"]["mode"] == {"enum": ["default", "title"]}
    assert '"$ref": "#"' not in json.dumps(tree)


def test_xgrammar_compiles_the_schema() -> None:
    xgrammar = pytest.importorskip("xgrammar")
    xgrammar.Grammar.from_json_schema(json.dumps(calls_schema(TOOLS)))
