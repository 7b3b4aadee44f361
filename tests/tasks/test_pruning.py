"""Schemas cut down to a budget of tokens: in the order of the rules, no more than they must, what is required never."""

from __future__ import annotations

from typing import Any

import pytest

from agentlora.core import schema
from agentlora.tasks.tool_calling.importing.pruning import prune, tokens_of
from agentlora.tasks.tool_calling.importing.schemas import walk
from agentlora.tasks.tool_calling.importing.types import ImportedTool


def large() -> ImportedTool:
    inner = {
        "type": "object",
        "title": "Inner",
        "properties": {
            "must": {"type": "string"},
            "may": {"type": "string", "description": "Long. " * 30},
            "deeper": {"type": "object", "properties": {f"d{i}": {"type": "string"} for i in range(20)}},
        },
        "required": ["must"],
    }
    properties: dict[str, Any] = {
        "id": {"type": "string", "description": "A first sentence. And one that says more.", "examples": ["x"]},
        "kind": {"type": "string", "enum": [f"value_{i}" for i in range(60)]},
        "inner": inner,
        **{f"option_{i}": {"type": "string", "description": f"Option number {i}."} for i in range(10)},
        "bare": {"type": "integer"},
    }  # fmt: skip
    return ImportedTool("large", "Does much. " * 40, {"type": "object", "properties": properties, "required": ["id", "inner"]}, "x")  # fmt: skip # noqa: E501


def test_a_tool_within_its_budget_is_left_alone() -> None:
    tool = large()
    pruned = prune(tool, 10_000)
    assert pruned.tool == tool
    assert pruned.cuts == ()


@pytest.mark.parametrize("budget", [700, 500, 250, 120, 60])
def test_rules_cut_in_their_order_and_no_more_than_they_must(budget: int) -> None:
    tool = large()
    pruned = prune(tool, budget)
    assert tool == large()  # the original is as it was
    assert pruned.tokens == tokens_of(pruned.tool) < pruned.before == tokens_of(tool)
    rules = list(dict.fromkeys(cut.rule for cut in pruned.cuts))
    order = ["annotations dropped", "descriptions shortened", "choices cut", "nesting folded", "nested options dropped",
             "descriptions cut", "options dropped", "descriptions dropped"]  # fmt: skip
    assert rules == [rule for rule in order if rule in rules]
    parameters = pruned.tool.parameters
    assert parameters["required"] == ["id", "inner"]
    assert {"id", "inner"} <= set(parameters["properties"])
    assert parameters["properties"]["inner"]["required"] == ["must"]
    assert not [part for part in walk(parameters) if "title" in part]
    if budget >= 120:
        assert pruned.tokens <= budget
    else:
        assert rules == [rule for rule in order if rule != "descriptions cut"]  # they are short already
    call = {"id": "a", "kind": "value_3", "inner": {"must": "b"}} if "kind" in parameters["properties"] else {
        "id": "a", "inner": {"must": "b"}}  # fmt: skip
    assert schema.is_valid(parameters, call)
    assert schema.is_valid(tool.parameters, call)


def test_less_is_cut_where_the_budget_is_larger() -> None:
    sizes = [len(prune(large(), budget).cuts) for budget in (60, 120, 250, 500, 1000, 2000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2] > sizes[-2]


def test_what_nobody_says_goes_before_what_people_ask_for() -> None:
    names = ("title", "page_token", "notes", "cursor", "due")
    rules = {name: {"type": "string", "description": f"The {name}."} for name in names}
    tool = ImportedTool("update_task", "Updates a task.", {"type": "object", "properties": rules}, "x")
    pruned = prune(tool, tokens_of(tool) - 20)
    assert list(pruned.tool.parameters["properties"]) == ["title", "notes", "due"]
