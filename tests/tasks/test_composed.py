"""Tools put together from parts: sound, many, and never those that are held out."""

from __future__ import annotations

import random

import pytest

from agentlora.core import schema
from agentlora.tasks.tool_calling.composed import compose_tools
from agentlora.tasks.tool_calling.toolspec import ToolSpec, load_catalogue, problems, render


@pytest.fixture(scope="module")
def tools() -> list[ToolSpec]:
    return compose_tools(2, seed=0)


def test_every_tool_is_sound(tools: list[ToolSpec]) -> None:
    assert [(tool.name, found) for tool in tools for found in problems(tool)] == []
    assert compose_tools(2, seed=0) == tools
    assert compose_tools(2, seed=1) != tools


def test_a_meaning_comes_once_a_round_under_another_guise(tools: list[ToolSpec]) -> None:
    half = len(tools) // 2
    first, second = tools[:half], tools[half:]
    assert len({tool.meaning for tool in first}) == half >= 100
    assert [tool.meaning for tool in second] == [tool.meaning for tool in first]
    assert not {tool.domain for tool in first} & {tool.domain for tool in second}
    guises = [a.parameters != b.parameters for a, b in zip(first, second, strict=True)]
    assert sum(guises) > 0.8 * half


def test_requests_give_what_is_required_and_no_more_than_they_say(tools: list[ToolSpec]) -> None:
    rng = random.Random(0)
    left_out = 0
    for tool in tools:
        for phrasing in tool.phrasings:
            text, arguments = render(tool, phrasing, rng)
            assert schema.errors(tool.parameters, arguments) == []
            assert set(arguments) == set(phrasing.slots) | set(phrasing.set)
            assert "{" not in text
            left_out += len(arguments) < len(tool.parameters["properties"])
        for phrasing in tool.missing:
            _, arguments = render(tool, phrasing, rng)
            assert phrasing.lacks not in arguments
    assert left_out > len(tools)


def test_no_held_out_tool_is_composed(tools: list[ToolSpec]) -> None:
    held_out = {tool.name for tool in load_catalogue() if tool.split != "train"}
    assert not held_out & {tool.name for tool in tools}
