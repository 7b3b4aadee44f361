"""The handwritten requests and the chat prompts agree with the held-out catalogue and with themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentlora.core import schema

FOLDER = Path(__file__).parents[2] / "tasks" / "tool_calling"
HELD_OUT = {
    "dev": ("car", "library_books", "messages"),
    "test": ("cinema", "clinic", "gardening", "hotels", "parcels", "pets"),
}
CONVERTED = ("YYYY-MM-DD", "HH:MM")  # a description with one of these says how the user's words are rewritten


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def held_out_tools() -> dict[str, dict[str, Any]]:
    """Tool name -> the tool with its split and domain."""
    found: dict[str, dict[str, Any]] = {}
    for split, domains in HELD_OUT.items():
        for domain in domains:
            entry = load(f"catalogue/{domain}.yaml")
            assert (entry["domain"], entry["split"]) == (domain, split)
            for tool in entry["tools"]:
                assert tool["name"] not in found, f"{tool['name']} is defined twice"
                found[tool["name"]] = {**tool, "split": split, "domain": domain}
    return found


TOOLS = held_out_tools()
ROWS: list[dict[str, Any]] = load("handwritten.yaml")
each_row = pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])


def copied_strings(part: dict[str, Any], value: Any) -> Iterator[str]:
    """The strings in `value` that must stand in the request as they are: no enum, no date, no time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from copied_strings(part["properties"][key], inner)
    elif isinstance(value, list):
        for inner in value:
            yield from copied_strings(part["items"], inner)
    elif isinstance(value, str):
        converted = any(mark in part.get("description", "") for mark in CONVERTED)
        if "enum" not in part and not converted:
            yield value


@each_row
def test_row_names_known_tools_of_its_split(row: dict[str, Any]) -> None:
    offered = row["tools"]
    assert 1 <= len(offered) <= 6
    assert len(set(offered)) == len(offered)
    assert {TOOLS[name]["split"] for name in offered} == {row["split"]}
    assert {call["name"] for call in row["calls"]} <= set(offered)


@each_row
def test_calls_fit_the_schema_and_the_request(row: dict[str, Any]) -> None:
    for call in row["calls"]:
        parameters = TOOLS[call["name"]]["parameters"]
        assert set(call["arguments"]) <= set(parameters["properties"])
        assert schema.errors(parameters, call["arguments"]) == []
        for text in copied_strings(parameters, call["arguments"]):
            assert text in row["request"]


@each_row
def test_case_has_its_shape(row: dict[str, Any]) -> None:
    case, offered, calls = row["case"], row["tools"], row["calls"]
    keys = {"id", "split", "tools", "request", "case", "calls"}
    if case == "single":
        assert (len(offered), len(calls)) == (1, 1)
    elif case == "choice":
        assert len(offered) >= 2
        assert len(calls) == 1
    elif case == "two_calls":
        assert len(calls) == 2
    else:
        assert calls == []
        assert row["answer"]
        keys |= {"answer"}
    if case == "missing":
        assert row["answer"].endswith("?")
        assert any(row["lacks"] in TOOLS[name]["parameters"]["required"] for name in offered)
        keys |= {"lacks"}
    assert set(row) == keys


def test_rows_are_distinct_and_as_many_as_promised() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({row["request"].casefold() for row in ROWS}) == len(ROWS)
    counts = Counter((row["split"], row["case"]) for row in ROWS)
    assert counts == {
        ("test", "single"): 20,
        ("test", "choice"): 25,
        ("test", "two_calls"): 8,
        ("test", "none_fits"): 10,
        ("test", "missing"): 7,
        ("dev", "single"): 9,
        ("dev", "choice"): 10,
        ("dev", "two_calls"): 4,
        ("dev", "none_fits"): 4,
        ("dev", "missing"): 3,
    }


def test_every_held_out_tool_is_asked_for() -> None:
    called = {call["name"] for row in ROWS for call in row["calls"]}
    assert called == set(TOOLS)


def test_chat_prompts() -> None:
    prompts = load("chat_prompts.yaml")
    assert len(prompts) == 220  # 150 train, 30 dev, 40 test, in this order
    assert all(isinstance(prompt, str) and prompt.strip() == prompt != "" for prompt in prompts)
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)
