"""Schemas cut down to a budget of tokens: in the order of the rules, no more than they must, what is required never."""

from __future__ import annotations

from typing import Any

import pytest
from imported import by_name

from agentlora.core import schema
from agentlora.tasks.tool_calling.importing.pruning import prune, tokens_of
from agentlora.tasks.tool_calling.importing.schemas import walk
from agentlora.tasks.tool_calling.importing.source import import_tools
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
        "outer": {"type": "object", "properties": {"one": {"type": "string"}, "two": {"type": "string"}}},
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
    order = ["annotations dropped", "descriptions shortened", "choices cut", "nesting folded",
             "nested options dropped", "descriptions cut", "options dropped", "options of needed objects dropped",
             "descriptions dropped"]  # fmt: skip
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


def _tool(name: str, about: str, properties: dict[str, Any], *required: str) -> ImportedTool:
    return ImportedTool(
        name, about, {"type": "object", "properties": properties, "required": list(required)}, "x"
    )


def _text(description: str = "") -> dict[str, Any]:
    return {"type": "string"} | ({"description": description} if description else {})


def _order_of_going(tool: ImportedTool) -> list[str]:
    """What `options dropped` takes, from the first to the last."""
    return [cut.what for cut in prune(tool, 1).cuts if cut.rule == "options dropped"]


def test_options_go_from_what_is_least_likely_to_be_said_to_what_names_things() -> None:
    options = {
        "branch": _text("The branch."),
        "due_date": _text("When it has to be ready. Milliseconds are ignored."),
        "issue_title": _text("What it is about."),
        "labels": _text("Its labels."),
        "old_milestone": _text("A number. Read-only."),
        "page_token": _text("Where to go on."),
        "priority": _text("How urgent it is."),
        "repository": _text("Where the issue is. This field is ignored."),
        "showHidden": {"type": "boolean", "description": "Hidden ones too."},
        "comments": {"type": "boolean", "description": "Whether comments are to be in the response."},
        "undescribed": _text(),
    }
    expected = ["page_token", "comments", "showHidden", "repository", "old_milestone", "undescribed", "priority",
                "branch", "labels", "due_date", "issue_title"]  # fmt: skip
    tool = _tool("create_issue", "Opens an issue with labels.", options)
    assert _order_of_going(tool) == expected
    backwards = _order_of_going(
        _tool("create_issue", "Opens an issue with labels.", dict(reversed(options.items())))
    )
    assert backwards[-3:] == expected[-3:]  # the order of the source decides between what is alike only
    assert set(backwards[1:5]) == set(expected[1:5])


def test_members_of_a_required_object_go_after_options_and_never_all() -> None:
    versioning = {"type": "object", "properties": {"mfa_delete": _text("With a code."), "status": _text("On or off."),
                  "etag": _text("A tag.")}}  # fmt: skip
    options = {f"option_{i}": _text(f"Option number {i}.") for i in range(6)}
    tool = _tool("put_versioning", "Sets versioning.", {"versioning": versioning, **options}, "versioning")
    roomy = prune(tool, 110).tool.parameters["properties"]
    assert len(roomy) < 7
    assert list(roomy["versioning"]["properties"]) == ["mfa_delete", "status", "etag"]
    pruned = prune(tool, 1)
    assert list(pruned.tool.parameters["properties"]) == ["versioning"]
    assert list(pruned.tool.parameters["properties"]["versioning"]["properties"]) == ["status"]
    assert [cut.what for cut in pruned.cuts if cut.rule == "options of needed objects dropped"] == [
        "versioning.etag", "versioning.mfa_delete"]  # fmt: skip


def test_an_object_that_is_kept_keeps_something_to_say() -> None:
    when = {"type": "object", "properties": {"date": _text(), "date_time": _text(), "zone": _text()}}
    colours = {
        "type": "object",
        "properties": {"border": _text("Its border."), "inside": _text("Its inside.")},
    }
    tool = _tool(
        "create_event", "Creates an event.", {"start": when, "colours": colours, "title": _text("Its title.")}
    )
    for budget in range(1, tokens_of(tool)):
        kept = prune(tool, budget).tool.parameters["properties"]
        assert all(part["properties"] for part in kept.values() if part["type"] == "object")
    assert list(prune(tool, 80).tool.parameters["properties"]["start"]["properties"]) == ["date", "date_time"]


@pytest.mark.parametrize(
    ("source", "name", "kept"),
    [
        ("google:tasks", "insert_task", {"tasklist", "title", "due", "notes"}),
        ("google:calendar", "insert_event", {"calendarId", "summary", "start", "end"}),
        ("google:calendar", "list_events", {"calendarId", "q", "timeMin", "timeMax", "maxResults"}),
        ("botocore:s3", "put_bucket_versioning", {"Bucket", "VersioningConfiguration"}),
    ],
)
def test_real_operations_keep_what_people_ask_for(source: str, name: str, kept: set[str]) -> None:
    pytest.importorskip({"google": "googleapiclient"}.get(source.partition(":")[0], "botocore"))
    pruned = prune(by_name(import_tools(source))[name], 250)
    properties = pruned.tool.parameters["properties"]
    assert pruned.cuts
    assert kept <= properties.keys()
    if name == "insert_event":
        assert "dateTime" in properties["start"]["properties"]
    if name == "put_bucket_versioning":
        assert "Status" in properties["VersioningConfiguration"]["properties"]


def test_a_deep_object_that_every_call_has_is_not_folded() -> None:
    rule = {"type": "object", "properties": {"days": {"type": "integer"}, "prefix": _text()}}
    outer = {"type": "object", "properties": {"rule": rule, "other": rule}, "required": ["rule"]}
    tool = _tool("put_rule", "Sets a rule.", {"outer": outer}, "outer")
    for budget in range(1, tokens_of(tool)):
        kept = prune(tool, budget).tool.parameters["properties"]["outer"]["properties"]
        assert kept["rule"]["properties"]
    assert list(kept["rule"]["properties"]) == ["days", "prefix"]
    assert "other" in kept
    assert "properties" not in kept["other"]


def test_long_texts_and_many_options_are_pruned_in_time() -> None:
    options = {f"option_{i}": _text("." * 20_000) for i in range(100)}
    pruned = prune(_tool("large", "word " * 200_000, options), 100)
    assert pruned.tokens <= 100
