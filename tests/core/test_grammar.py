"""The structural tag that holds tool calls to their schemas, judged by the grammar engine that servers use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentlora.core.grammar import calls_tag

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "parameters": {
                "type": "object",
                "properties": {
                    "seats": {"type": "integer", "multipleOf": 1},
                    "class": {"enum": ["first", "second"]},
                    "next": {"$ref": "#/$defs/leg"},
                },
                "required": ["seats"],
                "$defs": {"leg": {"type": "object", "properties": {"to": {"type": "string"}}}},
            },
        },
    },
    {"type": "function", "function": {"name": "ping"}},
]


def call(arguments: str, name: str = "book") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.fixture(scope="module")
def accepts() -> Any:
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string

    grammar = xgrammar.Grammar.from_structural_tag(json.dumps(calls_tag(TOOLS)))
    return lambda text: _is_grammar_accept_string(grammar, text)


@pytest.mark.parametrize(
    "text",
    [
        "I have no tool for that.",
        call('{"seats": 2}'),
        call('{"seats": 2, "class": "first"}'),
        call('{"seats": 2, "next": {"to": "Oslo"}}'),
        call('{"seats": 2}') + "\n" + call("{}", "ping"),
        "Yes, " + call("{}", "ping"),
    ],
)
def test_text_and_calls_that_fit_are_taken(accepts: Any, text: str) -> None:
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        call('{"seats": "2"}'),
        call('{"class": "first"}'),
        call('{"seats": 2, "class": "third"}'),
        call('{"seats": 2, "colour": "red"}'),
        call('{"class": "first", "seats": 2}'),
        call('{"seats":  2}'),
        call('{"seats": 2}', "cook"),
        call('{"seats": 2}').removesuffix("</tool_call>"),
    ],
)
def test_a_call_that_does_not_fit_cannot_be_written(accepts: Any, text: str) -> None:
    assert not accepts(text)
