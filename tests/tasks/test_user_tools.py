"""Somebody's own tools: every request has the call that its words ask for, and dev and test are asked otherwise."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core import schema
from agentlora.core.cli import cli, main
from agentlora.core.config import parse
from agentlora.core.data import refuse_leaks
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.types import Example, Split
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.patterns import matching
from agentlora.tasks.tool_calling.toolspec import ToolSpec, problems, render
from agentlora.tasks.tool_calling.user_phrasing import asked_for, operation_of
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools, spec_of
from agentlora.tasks.tool_calling.user_values import parameter, spoken_schema, values_for

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
CODE = '''
import datetime
import enum
from typing import Literal

class Size(enum.Enum):
    SMALL = "small"
    EXTRA_LARGE = "extra_large"

def create_order(customer_email: str, size: Size, quantity: int = 1, gift: bool = False) -> str:
    """Creates an order for a customer."""

def list_orders(status: Literal["open", "shipped", "cancelled"] | None = None, since: datetime.date | None = None):
    """Lists the orders of the shop, newest first."""

def cancel_order(order_id: str, reason: str | None = None):
    """Cancels an order."""

def track(parcel_code: str):
    """Tells where a parcel is."""

def getCustomerByEmail(email: str):
    """Returns a customer."""

def upload(payload: bytes):
    """Uploads something that nobody can say."""
'''


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "shop.py").write_text(CODE)
    return str(tmp_path / "shop.py")


def build(source: str, split: Split, seed: int = 0, **settings: Any) -> list[Example]:
    params = parse(UserToolParams, {"tools": source, "examples": 400, **settings})
    return list(UserTools().build(split, params, seed))


def tool(name: str, description: str = "", required: tuple[str, ...] = (), **properties: Any) -> ImportedTool:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    return ImportedTool(
        name, description, parameters | ({"required": list(required)} if required else {}), "x"
    )


def test_every_call_fits_its_tool_and_says_its_values(source: str) -> None:
    for split in SPLITS:
        examples = build(source, split)
        cases = Counter(example.tags["case"] for example in examples)
        assert {"choice", "none_fits", "missing", "two_calls"} <= set(cases)
        for example in examples:
            schemas = {t["function"]["name"]: t["function"]["parameters"] for t in example.tools}
            text = "\n".join(str(m["content"]) for m in example.messages)
            for call in example.expected.calls:
                assert schema.errors(schemas[call.name], dict(call.arguments)) == []
                for value in call.arguments.values():
                    if (
                        isinstance(value, str)
                        and re.fullmatch(r"[\w.@-]*\d[\w.@-]*", value)
                        and "-0" not in value
                    ):
                        assert value in text or "202" in value, (text, value)


def test_splits_share_no_request_and_dev_and_test_are_worded_otherwise(source: str) -> None:
    splits = {split: build(source, split) for split in SPLITS}
    refuse_leaks(splits)
    assert {e.tags["tools"] for e in splits["train"]} == {"trained"}
    assert {e.tags["tools"] for e in splits["test"]} == {"new"}
    for seed in range(3):
        worded = {
            split: {
                phrasing.text
                for name in ("create_order", "cancel_order")
                for phrasing in _spec(source, name, split, seed).phrasings
            }
            for split in SPLITS
        }
        assert len(worded["train"]) > 50
        assert len(worded["train"] & worded["test"]) <= 2


def test_everyday_tools_may_be_trained_on_beside_ones_own(source: str) -> None:
    found = build(source, "train", examples=480, everyday_share=0.25)
    everyday = [e for e in found if e.tags["slice"].startswith("catalogue")]
    assert len(found) == 480
    assert len(everyday) == 120
    own = {name for e in found if e not in everyday for t in e.tools for name in [t["function"]["name"]]}
    assert not own & {t["function"]["name"] for e in everyday for t in e.tools}
    for split in ("dev", "test"):
        assert build(source, split, everyday_share=0.25) == build(source, split)
        refuse_leaks({"train": found, "dev": [], "test": [], split: build(source, split)})


def _spec(source: str, name: str, split: Split, seed: int) -> ToolSpec:
    from agentlora.tasks.tool_calling.user_tools import read_tools

    (found,) = (p.tool for p in read_tools(source, 250).pruned if p.tool.name == name)
    spec = spec_of(found, split, seed)
    assert isinstance(spec, ToolSpec)
    assert problems(spec) == []
    return spec


def test_the_same_seed_gives_the_same_examples(source: str) -> None:
    assert build(source, "train") == build(source, "train")
    assert build(source, "train") != build(source, "train", seed=1)


def test_groups_share_one_list_of_tools_and_all_tools_are_asked_for(source: str) -> None:
    examples = build(source, "train")
    for group in {e.group for e in examples}:
        assert len({json.dumps(e.tools) for e in examples if e.group == group}) == 1
    called = Counter(call.name for e in examples for call in e.expected.calls)
    assert set(called) == {"create_order", "list_orders", "cancel_order", "track", "getCustomerByEmail"}


def test_refusals_are_for_what_no_offered_tool_could_mean(tmp_path: Path) -> None:
    """A catalogue tool that does what one of these does is no stranger."""
    (tmp_path / "w.py").write_text('def get_weather(city: str):\n    "Returns the weather."\n')
    refused = [
        e for e in build(str(tmp_path / "w.py"), "train", examples=800) if e.tags["case"] == "none_fits"
    ]
    assert len(refused) > 100
    for_tools = [e.messages[-1]["content"].lower() for e in refused if e.tags["wants"] == "tool"]
    assert not [text for text in for_tools if "weather" in text.replace("the weather has been lovely", "")]


def test_requests_of_ones_own_go_into_dev_and_test(source: str, tmp_path: Path) -> None:
    rows = [
        {"request": "Drop order 7", "calls": [{"name": "cancel_order", "arguments": {"order_id": "7"}}]},
        {"request": "Sing", "none": True, "split": "dev"},
        {"request": "Cancel it", "missing": {"tool": "cancel_order", "parameter": "order_id"}},
    ]
    file = tmp_path / "requests.yaml"
    file.write_text(json.dumps(rows))
    written = {
        split: [e for e in build(source, split, requests=str(file)) if e.tags["slice"] == "handwritten"]
        for split in SPLITS
    }
    assert {split: len(found) for split, found in written.items()} == {"train": 0, "dev": 1, "test": 2}
    called, missing = written["test"]
    assert "cancel_order" in {t["function"]["name"] for t in called.tools}
    assert missing.expected.text == "I need to know one more thing: the order id."
    wrong = [
        {"request": "a", "calls": [{"name": "cancel_ordr", "arguments": {}}]},
        {"request": "b", "calls": [{"name": "cancel_order", "arguments": {}}]},
        {
            "request": "c",
            "calls": [{"name": "cancel_order", "arguments": {"order_id": "1", "colour": "red"}}],
        },
        {"request": "d", "none": True, "calls": []},
        {"request": "e", "none": True, "without": "cancel_order"},
        {"calls": ["x"], "extra": 1, "split": "train"},
    ]
    file.write_text(json.dumps(wrong))
    with pytest.raises(DataError) as told:
        build(source, "test", requests=str(file))
    for problem in ("Did you mean 'cancel_order'", "order_id", "no parameter 'colour'", "one of calls",
                    "a list of tools", "unknown keys", "dev or test", "'request' is its text"):  # fmt: skip
        assert problem in str(told.value), problem


def test_settings_of_the_builder_hold_where_nobody_says_otherwise(source: str) -> None:
    from agentlora.core.manager import default_plugins
    from agentlora.core.resolving import resolve_config

    own = {"data": {"builder": "user-tools", "params": {"tools": source}}}
    found = resolve_config(default_plugins(), "tool-calling", {"preset": "demo"}, own)
    assert (found.training.max_len, found.eval.max_new_tokens) == (2048, 192)
    said = resolve_config(default_plugins(), "tool-calling", own, {"training": {"max_len": 300}})
    assert said.training.max_len == 300


def test_the_card_says_no_path_and_no_key() -> None:
    from agentlora.tasks.tool_calling.user_tools import _published

    assert _published("/home/me/secret/shop.yaml") == "shop.yaml"
    assert _published("mcp:/usr/bin/server --api-key abc") == "mcp:server …"
    assert _published("mcp:https://host/mcp?key=abc") == "mcp:https://host/mcp"
    assert _published("botocore:s3") == "botocore:s3"


def test_what_nobody_can_say_is_told(source: str) -> None:
    card = UserTools().card(parse(UserToolParams, {"tools": source}))
    assert any("upload" in row for row in card["left_out"])
    with pytest.raises(ConfigError, match="Give --tools"):
        build("", "train")


def test_a_source_that_nobody_can_ask_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text('def put(payload: dict):\n    "Puts it."\n')
    with pytest.raises(DataError, match="no tool that requests can be written for"):
        build(str(tmp_path / "raw.py"), "train")


@pytest.mark.parametrize(
    ("description", "asked"),
    [
        ("Lists the orders of the shop, newest first.", "list the orders of the shop"),
        ("Creates an order for a customer.", "create an order for a customer"),
        ("Returns a customer.", "show me a customer"),
        ("Search issues (paged).", "search issues"),
        ("The weather of today.", ""),
        ("Create a key for the authenticated user", "create a key for me"),
        ("Creates", ""),
        ("", ""),
    ],
)
def test_descriptions_are_turned_into_what_somebody_would_ask(description: str, asked: str) -> None:
    assert asked_for(tool("do_it", description)) == asked


@pytest.mark.parametrize(
    ("name", "description", "verb", "noun"),
    [
        ("create_order", "", "create", ("order",)),
        ("getPetById", "", "get", ("pet",)),
        ("pets.findByStatus", "", "find", ("pets",)),
        ("github_create_issue", "", "create", ("issue",)),
        ("order_cancel", "", "cancel", ("order",)),
        ("weather", "Returns the weather.", "get", ("weather",)),
        ("order_status", "Order status of a customer", "order", ("status",)),
        ("forecast", "Forecasts rain.", "forecast", ("request",)),
        ("users_follow", "Follow a user.", "follow", ("user",)),
        ("repos_create-for-authenticated-user", "Create a repository", "create", ("repository",)),
        ("pulls_merge", "Merge a pull request", "merge", ("pull", "request")),
        ("issues_create-comment", "Create an issue comment.", "create", ("issue", "comment")),
        ("delete_calendar_list", "Removes a calendar from the user's list.", "delete", ("calendar", "list")),
        ("volumes_ls", "List volumes mounted in a Space.", "list", ("volumes", "ls")),
        ("issues_list-for-repo", "List issues", "list", ("issues",)),
    ],
)
def test_a_name_says_what_is_done_to_what(
    name: str, description: str, verb: str, noun: tuple[str, ...]
) -> None:
    found = operation_of(tool(name, description))
    assert (found.verb, found.noun) == (verb, noun)


def test_neighbours_in_a_path_are_said_as_one() -> None:
    rules = {"owner": {"type": "string"}, "repo": {"type": "string"}, "issue_number": {"type": "integer"}}
    lock = ImportedTool(
        "issues_lock",
        "Lock an issue.",
        {"type": "object", "properties": rules, "required": ["owner", "repo", "issue_number"]},
        "PUT /repos/{owner}/{repo}/issues/{issue_number}/lock",
        (("owner", "repo"),),
    )
    spec = spec_of(lock, "test", 0)
    assert isinstance(spec, ToolSpec)
    joined = [phrasing for phrasing in spec.phrasings if "{owner}/{repo}" in phrasing.text]
    assert len(spec.phrasings) / 2 < len(joined) < len(spec.phrasings)
    assert all({"owner", "repo", "issue_number"} <= set(phrasing.slots) for phrasing in spec.phrasings)
    assert any("issue {issue_number}" in phrasing.text for phrasing in spec.phrasings)


def test_a_number_names_what_the_description_says() -> None:
    rules: dict[str, Any] = {"pull_number": {"type": "integer"}, "method": {"type": "string"}}
    merge = spec_of(tool("pulls_merge", "Merge a pull request.", ("pull_number",), **rules), "train", 0)
    comment = {"issue_number": {"type": "integer"}, "body": {"type": "string"}}
    other = spec_of(
        tool("issues_create-comment", "Create an issue comment.", tuple(comment), **comment), "train", 0
    )
    assert isinstance(merge, ToolSpec)
    assert isinstance(other, ToolSpec)
    assert any("pull request {pull_number}" in phrasing.text for phrasing in merge.phrasings)
    assert not any("comment {issue_number}" in phrasing.text for phrasing in other.phrasings)
    assert any("issue {issue_number}" in phrasing.text for phrasing in other.phrasings)


def test_a_number_that_is_called_an_id_names_something_too() -> None:
    rules: dict[str, Any] = {"order_id": {"type": "integer"}, "note": {"type": "string"}}
    spec = spec_of(tool("add_note", "Add a note.", tuple(rules), **rules), "train", 0)
    assert isinstance(spec, ToolSpec)
    assert any("order {order_id}" in phrasing.text for phrasing in spec.phrasings)


@pytest.mark.parametrize(
    ("name", "description", "param", "said"),
    [
        ("activity_star-repo", "Star a repository.", "repo", "repo {repo}"),
        ("users_follow", "Follow a user.", "username", "user {username}"),
        ("repos_create-fork", "Create a fork.", "repo", "repo {repo}"),
    ],
)
def test_a_parameter_names_what_the_tool_is_about(name: str, description: str, param: str, said: str) -> None:
    spec = spec_of(tool(name, description, (param,), **{param: {"type": "string"}}), "train", 0)
    assert isinstance(spec, ToolSpec)
    assert any(said in phrasing.text.replace("repository", "repo") for phrasing in spec.phrasings)


def test_parameters_are_called_what_their_descriptions_call_them() -> None:
    described = {
        "head": {"type": "string", "description": "The branch with your changes."},
        "repo": {"type": "string", "description": "The name of the repository without the `.git` extension."},
        "who": {"type": "string", "description": "Can be the name of a user."},
    }
    spec = spec_of(tool("pulls_create", "Create a pull request.", tuple(described), **described), "train", 0)
    assert isinstance(spec, ToolSpec)
    text = "\n".join(phrasing.text for phrasing in spec.phrasings)
    assert "The branch with your changes: {head}" in text
    assert "without" not in text
    assert "Can be" not in text


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "string"},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "time"},
        {"type": "string", "minLength": 3, "maxLength": 9},
        {"type": "string", "enum": ["in_progress", "DONE", "3x"]},
        {"type": ["string", "null"]},
        {"type": "integer", "minimum": 5, "maximum": 7},
        {"type": "integer", "enum": [1, 2, 4]},
        {"type": "integer", "minimum": 100000},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "boolean"},
        {"const": "x"},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        {"type": "array", "items": {"type": "integer", "minimum": 1}},
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["zip"],
        },
    ],
)
def test_values_are_valid_and_can_be_said(rule: dict[str, Any]) -> None:
    param = parameter("place", rule, True)
    assert param is not None
    pool = values_for(param, rule, ("order",), "user", random.Random(3))
    assert pool
    spec = spec_of(tool("create_order", "Creates an order.", ("place",), place=rule), "train", 0)
    assert isinstance(spec, ToolSpec)
    assert problems(spec) == []
    for phrasing in spec.phrasings[:20]:
        _, arguments = render(spec, phrasing, random.Random(phrasing.text))
        assert schema.is_valid(spec.parameters, arguments)


def test_examples_and_defaults_of_a_schema_are_among_its_values() -> None:
    rule = {"type": "string", "examples": ["Kreuzberg", 7], "default": "Mitte", "maxLength": 12}
    param = parameter("district", rule, True)
    assert param is not None
    pool = values_for(param, rule, ("order",), "user", random.Random(1))
    assert {"Kreuzberg", "Mitte"} <= {value for value in pool if isinstance(value, str)}
    assert 7 not in pool


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"]},
        {"type": "array", "items": {"type": "object"}},
        {"type": "array"},
        {"type": "null"},
        {"type": "string", "format": "relative-json-pointer"},
        {"enum": ["a", 1]},
        {"$ref": "#/x"},
        True,
    ],
)
def test_what_has_no_values_to_say_has_none(rule: Any) -> None:
    assert spoken_schema(rule) is None


@pytest.mark.parametrize(
    "pattern",
    ["^[A-Z]{3}$", r"^\d{4}-\w+$", "(red|green)!", "^a?b+c*$", "^[^abc]{2}$", "^.{5}$", r"^\+?[0-9 ]{6,9}$"],
)
def test_texts_are_made_that_a_pattern_matches(pattern: str) -> None:
    for seed in range(30):
        made = matching(pattern, random.Random(seed))
        assert made is not None
        assert re.search(pattern, made), made


@pytest.mark.parametrize(
    "pattern",
    [r"^\p{Lu}{3}-\p{Nd}+$", r"^[\p{L} '-]{2,9}$", r"^\P{L}+$", r"^\pL\p{Decimal_Number}{2}$", r"^\\p{2}$",
     r"^[\p{Script=Latin}\p{N}_]+\p{P}\p{Zs}[^\p{Ll}]$", r"^\p{gc=Pd}\p{Sc}$"],
)  # fmt: skip
def test_texts_are_made_of_letters_and_digits_by_their_category(pattern: str) -> None:
    for seed in range(30):
        made = matching(pattern, random.Random(seed))
        assert made is not None
        assert schema.is_valid({"type": "string", "pattern": pattern}, made), made


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)b", r"(a)\1", "[", "^(a+){999}$", "a{500}", "(?<!x)y", "(" * 12 + "a" + "+)" * 12 + "a" * 99, "a" * 300,
     "(((((a{40}){40}){40}){40}){40})", r"^\p{Greek}+$", r"^[\P{L}]$"],
)  # fmt: skip
def test_patterns_that_cannot_be_made_give_nothing_and_take_no_time(pattern: str) -> None:
    assert matching(pattern, random.Random(0)) is None


# --- command line -------------------------------------------------------------------------------


def test_the_tools_of_a_source_are_shown_with_what_is_left_out(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = CliRunner().invoke(cli, ["data", "import", source, "--output", str(tmp_path / "tools.json")])
    assert shown.exit_code == 0, shown.output
    assert "6 tools (python: shop)" in " ".join(shown.output.split())
    assert "upload: not trained on: its parameter 'payload' is required" in " ".join(shown.output.split())
    written = json.loads((tmp_path / "tools.json").read_text())
    assert [t["function"]["name"] for t in written][:2] == ["create_order", "list_orders"]
    again = CliRunner().invoke(cli, ["data", "import", str(tmp_path / "tools.json"), "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.output)["kind"] == "functions"
    with pytest.raises(SystemExit, match="2"):
        main(["data", "import", "nowhere.yaml"])
    assert "no such file or module" in capsys.readouterr().err


def test_training_takes_tools_or_data_and_not_both(source: str) -> None:
    both = CliRunner().invoke(cli, ["train", "tool-calling", "--tools", source, "--data", "x.jsonl"])
    assert both.exit_code == 2
    assert "give --data or --tools" in both.output
