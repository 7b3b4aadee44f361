"""The evaluator source-schema: its settings, and what it finds wrong with examples."""

from __future__ import annotations

from typing import Any

import pytest

from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.core.types import Example, Expected, Output, Score, ToolCall
from agentlora.eval.scorers.source_schema import SourceSchema, SourceTools


def tool(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WHOLE = tool("light", "room", room={"enum": ["hall", "attic"]})
OFFERED = tool("light", room={"type": "string"})


def judge(*tools: dict[str, Any]) -> SourceSchema:
    return SourceSchema().configured(parse(SourceTools, {"tools": list(tools)}, "params"))


def asked(name: str, *calls: ToolCall) -> Example:
    return Example(name, (), Expected(calls=calls, text=None if calls else "No."), tools=(OFFERED,))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({}, "params.tools"),
        ({"tools": []}, "params.tools"),
        ({"tools": "shop.yaml"}, "list"),
        ({"tools": [{"type": "function"}]}, "a tool is {name: …, parameters: {…}}"),
        ({"tools": [{"function": "light"}]}, "a tool is {name: …, parameters: {…}}"),
        ({"tools": [{"name": "light", "parameters": []}]}, "tool 'light': parameters is a JSON Schema"),
        ({"tools": [WHOLE, WHOLE]}, "2 tools are called 'light'"),
        ({"tools": [WHOLE], "tool": 1}, "unknown key. Did you mean 'tools'"),
    ],
)
def test_settings_that_are_none_are_refused(raw: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(SourceTools, raw, "params")


def test_without_tools_nothing_is_judged() -> None:
    score = SourceSchema().score(asked("a", ToolCall("light", {})), Output("a", "<tool_call>"))
    assert "give tools as its parameter" in str(score.unscored)


def test_expected_calls_that_the_source_refuses_are_told() -> None:
    right, wrong = ToolCall("light", {"room": "hall"}), ToolCall("light", {"room": "cellar"})
    found = judge(WHOLE).validate([asked("good", right), asked("bad", wrong), asked("none")])
    assert found == ['bad: the gold answer does not fit its source: light(room) is none of "hall", "attic"']
    unusable = judge(tool("light", room={"type": "strin"})).validate([asked("x", right)])
    assert len(unusable) == 1
    assert unusable[0].startswith("x: the gold answer is unscored: the schema of 'light'")


def test_an_evaluator_that_takes_everything_is_found_out() -> None:
    class Lax(SourceSchema):
        def score(self, example: Example, output: Output) -> Score:
            return Score({"valid": 1.0})

    lax = Lax().configured(SourceTools(tools=[WHOLE]))
    found = lax.validate([asked("a", ToolCall("light", {"room": "hall"}))])
    assert [problem.removeprefix("a: the gold answer with ") for problem in found] == [
        "required argument 'room' left out still fits",
        "a tool that is not offered still fits",
        "the end cut off still fits",
        "broken JSON still fits",
    ]


def test_a_call_that_is_cut_off_says_so() -> None:
    score = judge(WHOLE).score(asked("a"), Output("a", '<tool_call>{"name', finish_reason="length"))
    assert (score.metrics["valid"], score.why) == (0, "a call cannot be read (cut off at the token limit)")
