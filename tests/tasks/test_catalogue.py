"""Every catalogue file keeps the rules that the dataset builder relies on.

The renderer here is written apart from the builder's, so that one misreading of the format cannot pass twice.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentlora.core import schema
from agentlora.core.files import yaml_loader

CATALOGUE = Path(__file__).resolve().parents[2] / "tasks" / "tool_calling" / "catalogue"
FILES = sorted(CATALOGUE.glob("*.yaml"))
RENDERINGS = 40
SLOT = re.compile(r"\{(\w+)\}")
TOOL_KEYS = {"name", "description", "parameters", "values", "phrasings", "missing"}


@cache
def load(path: Path) -> dict[str, Any]:
    domain = yaml.load(path.read_text(encoding="utf-8"), yaml_loader())
    assert isinstance(domain, dict), f"{path.name}: not a mapping"
    return domain


def entry(raw: Any) -> tuple[str, Any]:
    """What is said and what is meant."""
    return (raw["say"], raw["value"]) if isinstance(raw, dict) else (str(raw), raw)


def draw(pool: Any, rng: random.Random) -> tuple[str, Any]:
    if isinstance(pool, list):
        return entry(rng.choice(pool))
    if "integers" in pool:
        number = rng.randint(*pool["integers"])
        return str(number), number
    if "numbers" in pool:
        amount = round(rng.uniform(*pool["numbers"]), pool["decimals"])
        return str(amount), amount
    if "dates" in pool:
        first, last = (date.fromisoformat(day).toordinal() for day in pool["dates"])
        day = date.fromordinal(rng.randint(first, last)).isoformat()
        return day, day
    if "times" in pool:
        first, last = (60 * int(said[:2]) + int(said[3:]) for said in pool["times"])
        minutes = rng.randint(first, last)
        said = f"{minutes // 60:02}:{minutes % 60:02}"
        return said, said
    chosen = [entry(raw) for raw in rng.sample(pool["list_of"], rng.randint(pool["min"], pool["max"]))]
    said = [say for say, _ in chosen]
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]])), [value for _, value in chosen]


def entries(pool: Any) -> list[Any]:
    return pool if isinstance(pool, list) else pool.get("list_of", [])


def phrasing(raw: Any) -> tuple[str, dict[str, Any]]:
    return (raw, {}) if isinstance(raw, str) else (raw["text"], raw.get("set", {}))


def pool_problems(name: str, pool: Any) -> list[str]:
    if isinstance(pool, dict):
        kinds = [{"integers"}, {"numbers", "decimals"}, {"dates"}, {"times"}, {"list_of", "min", "max"}]
        spoken = {"spoken"} if {"integers", "dates", "times"} & set(pool) else set()  # in words, at times
        if set(pool) - spoken not in kinds:
            return [f"pool {name}: keys {sorted(pool)}"]
        if "list_of" in pool and not 1 <= pool["min"] <= pool["max"] <= len(pool["list_of"]):
            return [f"pool {name}: cannot draw {pool['min']} to {pool['max']} entries"]
    listed = entries(pool)
    found = [f"pool {name}: {raw!r} is said in no way" for raw in listed if isinstance(raw, bool | list)]
    found += [
        f"pool {name}: keys of {raw}"
        for raw in listed
        if isinstance(raw, dict) and set(raw) != {"say", "value"}
    ]
    if found:
        return found
    said = Counter(entry(raw)[0] for raw in listed)
    found += [f"pool {name}: {say!r} occurs twice" for say, times in said.items() if times > 1]
    if isinstance(pool, list) and len(pool) < 2:
        found.append(f"pool {name}: fewer than two values")
    return found


def format_problems(parameters: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """The validator takes ``format`` as a note, so dates are parsed here."""
    parsers = {"date": date.fromisoformat, "date-time": datetime.fromisoformat}
    found = []
    for name, value in arguments.items():
        parse = parsers.get(parameters["properties"].get(name, {}).get("format", ""))
        try:
            if parse is not None:
                parse(value)
        except (TypeError, ValueError) as exc:
            found.append(f"{name}: {exc}")
    return found


def phrasing_problems(tool: dict[str, Any], raw: Any, rng: random.Random) -> list[str]:
    text, implied = phrasing(raw)
    slots, parameters = SLOT.findall(text), tool["parameters"]
    found = [f"{{{slot}}} occurs twice" for slot, times in Counter(slots).items() if times > 1]
    found += [f"{{{slot}}} has no pool" for slot in set(slots) - set(tool["values"])]
    found += [f"{name} is both said and set" for name in set(slots) & set(implied)]
    found += [f"{name} is not a property" for name in {*slots, *implied} - set(parameters["properties"])]
    absent = set(parameters.get("required", [])) - {*slots, *implied}
    found += [f"required {name} is neither said nor set" for name in absent]
    if "{" in SLOT.sub("", text) or "}" in SLOT.sub("", text):
        found.append("stray brace")
    if not found:
        for _ in range(RENDERINGS):
            arguments = {**implied, **{slot: draw(tool["values"][slot], rng)[1] for slot in slots}}
            found += schema.errors(parameters, arguments) + format_problems(parameters, arguments)
    return [f"{text!r}: {problem}" for problem in dict.fromkeys(found)]


def missing_problems(tool: dict[str, Any]) -> list[str]:
    required, found = tool["parameters"].get("required", []), []
    if not (2 if required else 0) <= len(tool["missing"]) <= (3 if required else 0):
        found.append(f"{len(tool['missing'])} `missing` entries for required {required}")
    for raw in tool["missing"]:
        if set(raw) - {"set"} != {"text", "lacks", "ask"}:
            found.append(f"missing: keys {sorted(raw)}")
            continue
        slots = SLOT.findall(raw["text"])
        found += [f"{raw['text']!r}: {{{slot}}} has no pool" for slot in slots if slot not in tool["values"]]
        if raw["lacks"] not in required or raw["lacks"] in [*slots, *raw.get("set", {})]:
            found.append(f"{raw['text']!r}: does not lack a required {raw['lacks']}")
        rest = set(required) - {raw["lacks"], *slots, *raw.get("set", {})}
        found += [f"{raw['text']!r}: lacks {name} too" for name in rest]
        if not raw["ask"].strip().endswith("?"):
            found.append(f"{raw['text']!r}: asks no question")
    return found


def tool_problems(tool: dict[str, Any]) -> list[str]:
    tool = {"values": {}, **tool}  # a tool without arguments has no pools
    if set(tool) != TOOL_KEYS:
        return [f"{tool.get('name')}: keys {sorted(tool)}"]
    try:
        json.dumps(tool, allow_nan=False)
    except (TypeError, ValueError) as exc:  # YAML reads a bare 2026-01-01 as a date
        return [f"{tool['name']}: not JSON: {exc}"]
    parameters, rng = tool["parameters"], random.Random(tool["name"])
    found = schema.check_schema(parameters)
    if parameters.get("type") != "object" or not set(parameters.get("required", [])) <= set(
        parameters["properties"]
    ):
        found.append("parameters is no object schema, or requires what it does not describe")
    if not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", tool["name"]):
        found.append("name")
    for name, pool in tool["values"].items():
        found += pool_problems(name, pool)
    if found:
        return [f"{tool['name']}: {problem}" for problem in found]
    texts = [phrasing(raw)[0] for raw in tool["phrasings"]]
    unused = set(tool["values"]) - {slot for text in texts for slot in SLOT.findall(text)}
    found += [f"pool {name} is never used" for name in unused]
    if len(texts) < 10:
        found.append(f"{len(texts)} phrasings, at least 10 are needed")
    for raw in tool["phrasings"]:
        found += phrasing_problems(tool, raw, rng)
    return [f"{tool['name']}: {problem}" for problem in found + missing_problems(tool)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_domain(path: Path) -> None:
    domain = load(path)
    assert set(domain) == {"domain", "split", "tools"}
    assert domain["domain"] == path.stem
    assert domain["split"] in ("train", "dev", "test")
    assert len(domain["tools"]) >= 2
    assert [problem for tool in domain["tools"] for problem in tool_problems(tool)] == []


def test_whole_catalogue() -> None:
    domains = [load(path) for path in FILES]
    assert Counter(domain["split"] for domain in domains)["train"] >= 15
    assert {domain["split"] for domain in domains} == {"train", "dev", "test"}
    assert sum(len(domain["tools"]) for domain in domains if domain["split"] == "train") >= 60
    tools = [tool for domain in domains for tool in domain["tools"]]
    names = Counter(tool["name"] for tool in tools)
    assert [name for name, times in names.items() if times > 1] == []
    texts = Counter(
        phrasing(raw)[0].casefold() for tool in tools for raw in tool["phrasings"] + tool["missing"]
    )
    assert [text for text, times in texts.items() if times > 1] == []


def test_schemas_of_every_kind_are_in_each_split() -> None:
    for split in ("train", "dev", "test"):
        tools = [tool for path in FILES if load(path)["split"] == split for tool in load(path)["tools"]]
        schemas = [tool["parameters"] for tool in tools]
        properties = [value for schema in schemas for value in schema["properties"].values()]
        kinds = {value.get("type") for value in properties}
        assert kinds >= {"string", "integer", "number", "boolean", "array"}, split
        assert any("enum" in value for value in properties), split
        assert any(value.get("format") == "date" for value in properties), split
        assert any(set(schema["properties"]) - set(schema.get("required", [])) for schema in schemas), split
        if split == "train":
            assert "object" in kinds


GOOD: dict[str, Any] = {
    "name": "book",
    "description": "Book a seat.",
    "parameters": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "seats": {"type": "integer", "maximum": 3},
        },
        "required": ["day"],
    },
    "values": {"day": {"dates": ["2026-01-01", "2026-02-01"]}, "seats": {"integers": [1, 3]}},
    "phrasings": [f"number {n}: {{seats}} for {{day}}" for n in range(10)],
    "missing": [{"text": f"book {n}", "lacks": "day", "ask": "Which day?"} for n in range(2)],
}


def test_a_good_tool_has_no_problems() -> None:
    assert tool_problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t["values"].update(seats={"integers": [4, 9]}), "maximum"),
        (lambda t: t["values"].update(day=["soon", "later"]), "isoformat"),
        (lambda t: t["values"].update(day=[date(2026, 1, 1)]), "not JSON"),
        (lambda t: t["values"].update(day=[{"say": "x", "value": "a"}, {"say": "x", "value": "b"}]), "twice"),
        (lambda t: t["values"].update(row=["a", "b"]), "never used"),
        (lambda t: t["values"].pop("seats"), "no pool"),
        (lambda t: t["phrasings"].append("a seat for anyone"), "neither said nor set"),
        (lambda t: t["phrasings"].append({"text": "{day}", "set": {"seats": "2"}}), "integer"),
        (lambda t: t["phrasings"].append({"text": "{day}", "set": {"row": 2}}), "not a property"),
        (lambda t: t["phrasings"].pop(), "9 phrasings"),
        (lambda t: t["missing"].pop(), "`missing`"),
        (lambda t: t["missing"][0].update(text="for {day}"), "does not lack"),
        (lambda t: t["parameters"].update(required=["day", "seats"]), "lacks seats too"),
        (lambda t: t["parameters"].update(required=["cost"]), "requires what"),
        (lambda t: t["parameters"]["properties"]["day"].update(type="text"), "JSON Schema"),
    ],
)
def test_a_fault_is_named(change: Any, complaint: str) -> None:
    tool = copy.deepcopy(GOOD)
    change(tool)
    assert complaint in "\n".join(tool_problems(tool))
