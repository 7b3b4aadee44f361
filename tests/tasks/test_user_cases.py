"""Cases over somebody's own tools that are settings: several calls of one tool, long lists, arguments to convert."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.core.types import Example, Split
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.repeats import several
from agentlora.tasks.tool_calling.toolspec import ToolSpec
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools, spec_of

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
NONE = {
    f"{case}_share": 0
    for case in (
        "none_fits",
        "missing",
        "two_calls",
        "steps",
        "units",
        "dates",
        "numbers",
        "synonyms",
        "yes_no",
    )
}
STAR = {"owner": TEXT, "repo": TEXT}


def function(named: str, does: str, needs: tuple[str, ...], /, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(needs)}
    return {"type": "function", "function": {"name": named, "description": does, "parameters": parameters}}


def build(
    folder: Path, tools: list[dict[str, Any]], split: Split = "train", **settings: Any
) -> list[Example]:
    (folder / "tools.json").write_text(json.dumps(tools))
    of_split = {"examples": 600, "dev_examples": 400}
    params = parse(UserToolParams, {"tools": str(folder / "tools.json"), **of_split, **settings})
    return list(UserTools().build(split, params, 0))


def asked(examples: list[Example], case: str) -> list[tuple[str, Example]]:
    return [(str(e.messages[-1]["content"]), e) for e in examples if e.tags["case"] == case]


# --- several calls of one tool --------------------------------------------------------------------


def test_one_request_calls_one_tool_for_each_of_several_values(tmp_path: Path) -> None:
    tools = [
        function("get_weather", "Returns the weather.", ("city",), city=TEXT, days=WHOLE),
        function("cancel_order", "Cancels an order.", ("order_id",), order_id=TEXT, reason=TEXT),
    ]
    found = asked(build(tmp_path, tools, **{**NONE, "same_tool_share": 1}), "same_tool")
    assert len(found) > 500
    assert {len(e.expected.calls) for _, e in found} == {2, 3}
    for text, example in found:
        calls = [(call.name, dict(call.arguments)) for call in example.expected.calls]
        assert len({name for name, _ in calls}) == 1
        differing = {k for _, arguments in calls for k, v in arguments.items() if v != calls[0][1].get(k)}
        assert differing in ({"city"}, {"order_id"})
        (name,) = differing
        values = [str(arguments[name]) for _, arguments in calls]
        assert len(set(values)) == len(values)
        assert f"{', '.join(values[:-1])} and {values[-1]}" in text


def test_a_pair_in_a_path_is_repeated_whole(tmp_path: Path) -> None:
    star = ImportedTool(
        "star", "Star it.", {"type": "object", "properties": STAR, "required": ["owner", "repo"]},
        "PUT /user/starred/{owner}/{repo}", (("owner", "repo"),),
    )  # fmt: skip
    spec = spec_of(star, "train", 0)
    assert isinstance(spec, ToolSpec)
    drawn = [several(spec, 0.0, False, random.Random(n)) for n in range(60)]
    paths = 0
    for text, calls in filter(None, drawn):
        pairs = [f"{call.arguments['owner']}/{call.arguments['repo']}" for call in calls]
        if pairs[0] in text:
            paths += 1
            assert all(pair in text for pair in pairs)
        else:
            assert {len({c.arguments[k] for c in calls}) == 1 for k in ("owner", "repo")} == {True, False}
    assert paths > 20


@pytest.mark.parametrize(
    ("properties", "required", "repeatable"),
    [
        ({"to": TEXT, "body": TEXT}, ("to", "body"), ("to",)),
        ({"order_id": TEXT}, (), ()),  # optional: what is not repeated need not be meant for all
        ({"from_city": TEXT, "to_city": TEXT}, ("from_city", "to_city"), ()),
        ({"file_id": TEXT, "file_ids": {"type": "array", "items": TEXT}}, ("file_id",), ()),
        ({"quantity": WHOLE, "title": TEXT, "gift": {"type": "boolean"}}, ("quantity", "title", "gift"), ()),
        ({"size": {"type": "string", "enum": ["s", "m"]}}, ("size",), ()),
    ],
)
def test_values_that_could_be_one_calls_are_not_repeated(
    properties: dict[str, Any], required: tuple[str, ...], repeatable: tuple[str, ...]
) -> None:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    spec = spec_of(ImportedTool("send_it", "Sends it.", parameters, "x"), "train", 0)
    assert isinstance(spec, ToolSpec)
    assert spec.repeatable == repeatable


# --- long lists -----------------------------------------------------------------------------------


def test_long_lists_have_all_that_the_budget_has_room_for(tmp_path: Path) -> None:
    tools = [
        function(f"get_{thing}", f"Returns a {thing}.", ("name",), name=TEXT)
        for thing in (
            "order",
            "parcel",
            "invoice",
            "customer",
            "coupon",
            "review",
            "store",
            "shelf",
            "cart",
            "tax",
        )
    ]
    settings = {"tools_max": 3, "long_lists_share": 0.5}
    examples = build(tmp_path, tools, **settings)
    of_slice = {
        s: {len(e.tools) for e in examples if e.tags["slice"] == s} for s in ("user-tools", "user-tools-long")
    }
    assert of_slice["user-tools"] <= {1, 2, 3}
    assert of_slice["user-tools-long"] == {10}
    groups = Counter((e.group, e.tags["slice"]) for e in examples)
    long = sum(1 for _, name in groups if name.endswith("long"))
    assert 0.2 < long / len(groups) < 0.8
    short = build(tmp_path, tools, **settings, list_tokens=176)
    lists = [e for e in short if e.tags["slice"].endswith("long")]
    assert {len(e.tools) for e in lists} == {4}
    assert all(len(json.dumps([t["function"] for t in e.tools], separators=(",", ":"))) < 640 for e in lists)


def test_shares_of_all_cases_are_parts_of_one_whole() -> None:
    with pytest.raises(ConfigError, match=re.escape("same_tool_share (0.9)")):
        parse(UserToolParams, {"same_tool_share": 0.9})
