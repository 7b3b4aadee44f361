"""Requests in steps: what a tool said decides what is called next, and nothing but the answer is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from agentlora.core import schema
from agentlora.core.config import parse
from agentlora.core.types import Example, Split
from agentlora.eval.calls import parse_answer
from agentlora.plugins.bases.templates import chatml_tools
from agentlora.plugins.trainers.xray import look
from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests
from agentlora.tasks.tool_calling.steps import REFERENCES, told
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools

ONLY = {"none_fits_share": 0, "missing_share": 0, "two_calls_share": 0, "steps_share": 1}

SHOP = '''
def find_order(customer: str) -> dict:
    """Find an order of a customer."""


def cancel_order(order_number: int, reason: str = "") -> dict:
    """Cancel an order."""
'''


def build(split: Split = "train", **settings: Any) -> list[Example]:
    params = parse(
        ToolRequestParams, {"examples": 400, "real_tools": 0, "test_handwritten": 0, **ONLY, **settings}
    )
    return list(ToolRequests().build(split, params, 0))


def test_the_next_call_takes_from_the_result_what_the_request_does_not_say() -> None:
    examples = [e for e in build(examples=800) if e.tags["case"] == "steps"]
    assert len(examples) > 480
    calls = [e for e in examples if e.expected.calls and e.messages[-1]["role"] == "tool"]
    begun = [e for e in examples if e.expected.calls and e.messages[-1]["role"] == "user"]
    assert 0.25 < len(calls) / len(examples) < 0.6
    assert len(begun) > 20
    assert all(len(e.expected.calls) == 1 for e in begun)  # what the second needs is not known yet
    for example in calls:
        user, called, answered = example.messages[-3:]
        assert (called["role"], answered["role"]) == ("assistant", "tool")
        result = json.loads(answered["content"])
        (call,) = example.expected.calls
        tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
        assert schema.errors(tools[call.name], dict(call.arguments)) == []
        (first,) = called["tool_calls"]
        assert first["function"]["name"] == answered["name"] in tools
        passed = [name for name, value in call.arguments.items() if result.get(name) == value]
        assert any(str(call.arguments[name]) not in user["content"] for name in passed), example
        assert all(name not in first["function"]["arguments"] for name in passed if name in result)
        assert "{" not in user["content"]


def test_what_is_left_is_to_say_what_came_back() -> None:
    reports = [e for e in build() if e.tags["case"] == "steps" and not e.expected.calls]
    assert len(reports) > 100
    for example in reports:
        assert example.expected.text == told(json.loads(example.messages[-1]["content"]))
    assert told({"status": "ok", "itemCount": 3}) == "Status: ok, item count: 3."


def test_dev_refers_to_results_in_words_of_its_own() -> None:
    new = [words.split("<w>")[0] for words in REFERENCES[1]]
    trained, held_out = (
        [str(m["content"]) for e in build(split) for m in e.messages if m["role"] == "user"]
        for split in ("train", "dev")
    )
    assert not any(words in text for words in new for text in trained)
    assert any(words in text for words in new for text in held_out)


def test_only_the_answer_is_trained_on(tiny_model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    for example in build(examples=40):
        found = look(example, tokenizer, chatml_tools(), 4000, parse_answer)
        assert found.problems == (), example


@pytest.mark.parametrize("share", [0.0, 0.06])
def test_how_many_is_a_setting(share: float, tmp_path: Path) -> None:
    assert not [e for e in build(**{**ONLY, "steps_share": 0}) if e.tags["case"] == "steps"]
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    params = parse(UserToolParams, {"tools": str(file), "examples": 600, "steps_share": share})
    examples = list(UserTools().build("train", params, 0))
    found = [e for e in examples if e.tags["case"] == "steps"]
    assert (0.03 < len(found) / len(examples) < 0.08) if share else not found
