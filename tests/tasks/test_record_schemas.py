"""Schemas as people have them: every value that is drawn fits, uses what the schema has, and is said in the text."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentlora.core import schema as json_schema
from agentlora.core.config import parse
from agentlora.core.errors import DataError
from agentlora.tasks.structured_output.builder import SchemaTextParams, SchemaTexts
from agentlora.tasks.structured_output.combining import NEVER, both
from agentlora.tasks.structured_output.converted import convert
from agentlora.tasks.structured_output.keys import Key, keys_for
from agentlora.tasks.structured_output.legend import legend_of
from agentlora.tasks.structured_output.names import CITIES
from agentlora.tasks.structured_output.nodes import Entries, Leaf, Node, Record, value_of
from agentlora.tasks.structured_output.sampling import Sampler
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.structured_output.writing import write

TEXT: Any = {"type": "string"}
COUNT: Any = {"type": "integer", "minimum": 0}


def of(properties: Any, *required: str, **more: Any) -> Any:
    return {"type": "object", "properties": properties, "required": list(required), **more}


SCHEMAS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "fixtures" / "record_schemas.yaml").read_text()
)


def sampled(schema: Any, folder: Path) -> Sampler:
    path = folder / "wanted.json"
    path.write_text(json.dumps({"title": "Record", **schema}))
    read_schema.cache_clear()
    return Sampler(read_schema(str(path)), "train", 0)


def leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    inner = [member for _, member in node.members] if isinstance(node, Record) else node.entries
    return [leaf for part in inner for leaf in leaves(part)]


def keys_of(value: Any) -> set[str]:
    if isinstance(value, list):
        return {key for part in value for key in keys_of(part)}
    return (
        {key for name, part in value.items() for key in (name, *keys_of(part))}
        if isinstance(value, dict)
        else set()
    )


def names_in(schema: Any) -> set[str]:
    """The names of all properties of a schema."""
    if isinstance(schema, list):
        return {name for part in schema for name in names_in(part)}
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own | {name for part in schema.values() for name in names_in(part)}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_drawn_fits_uses_all_and_is_said(name: str, tmp_path: Path) -> None:
    sampler, rng = sampled(SCHEMAS[name], tmp_path), random.Random(5)
    legend = legend_of(sampler.wanted.unfolded, sampler.root)
    used: set[str] = set()
    for i in range(60):
        node = sampler.draw(rng)
        value = value_of(node)
        assert json_schema.is_valid(sampler.wanted.schema, value)
        used |= keys_of(value)
        said = write(node, "Record", legend, i % 2 == 0, rng).text
        assert not re.search(r"<[a-zA-Z]>(?!>)", said), said
        for leaf in leaves(node):
            if leaf.said and not isinstance(leaf.value, bool):
                assert leaf.said in said, (leaf, said)
            for part in leaf.path:
                if isinstance(part, Key) and leaf.said:
                    assert part in said, (part, said)
    asked = names_in(SCHEMAS[name])
    assert asked - used <= {"private"}, (
        asked - used
    )  # a constant that is optional: nothing in a text could say it
    assert set(sampler.unsaid) <= {"private"}, sampler.unsaid


def test_each_way_of_a_condition_is_drawn(tmp_path: Path) -> None:
    sampler, rng = sampled(SCHEMAS["address"], tmp_path), random.Random(0)
    found: list[Any] = [value_of(sampler.draw(rng)) for _ in range(80)]
    assert {value["country"] for value in found} == {"US", "CA", "NO"}
    assert all(re.fullmatch(r"\d{5}(-\d{4})?", v["postal_code"]) for v in found if v["country"] == "US")


def test_keys_suit_what_the_object_is_called(tmp_path: Path) -> None:
    rng = random.Random(0)
    assert any(" " in key and key[0].isupper() for key in keys_for(("scores",), rng))
    assert {"en", "de"} <= set(keys_for(("title", "translations"), rng))
    assert set(CITIES) >= set(keys_for(("price", "by", "city"), rng))
    assert "Monday" in keys_for(("opening", "hours"), rng)
    assert "shoe_size" in keys_for(("metadata",), rng)
    sampler = sampled(SCHEMAS["scores"], tmp_path)
    people = {key for _ in range(200) for key in value_of(sampler.draw(rng))["scores"]}
    assert len(people) > 150  # many were never seen before


def test_keys_stand_in_the_text_letter_for_letter_and_in_the_answers_order(tmp_path: Path) -> None:
    sampler, rng = sampled(SCHEMAS["inventory"], tmp_path), random.Random(1)
    legend = legend_of(sampler.wanted.unfolded, sampler.root)
    for i in range(120):
        node = sampler.draw(rng)
        said = write(node, "Record", legend, i % 2 == 0, rng)
        keys = list(value_of(node))
        spans = [re.search(rf"(?<!\w){re.escape(key)}(?!\w)", said.text) for key in keys]
        places = [found.start() if found else -1 for found in spans]
        assert -1 not in places, (keys, said.text)
        if said.style not in ("converted", "letter"):
            assert places == sorted(places), (keys, said.text)


def test_texts_and_numbers_of_one_part_are_told_apart_by_their_looks(tmp_path: Path) -> None:
    sampler, rng = sampled(SCHEMAS["mixed types"], tmp_path), random.Random(2)
    kinds = set()
    for _ in range(150):
        for leaf in leaves(sampler.draw(rng)):
            if leaf.path[-1] in ("amount", "ref") and leaf.said:
                kinds.add((leaf.path[-1], type(leaf.value)))
                assert bool(re.fullmatch(r"-?[\d.]+(e-?\d+)?", leaf.said)) == (
                    not isinstance(leaf.value, str)
                )
    assert {("amount", str), ("amount", float), ("ref", int), ("ref", str)} <= kinds


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (of({"a": {"allOf": [{"type": "string"}, {"type": "integer"}]}}, "a"), r"a: no value .* asks \(allOf\)"),
        (of({"a": of({}, "b", additionalProperties=False)}, "a"), "a: it is required"),
        (of({"a": {"type": "string", "contentEncoding": "base64"}}, "a"), "a: its schema is of no kind"),
        (of({"a": TEXT}, "a", **{"not": {"required": ["a"]}}), r"asks \(not\)"),
        (of({"a": {"type": "object", "additionalProperties": TEXT, "propertyNames": {"pattern": "(?=x)y"},
                   "minProperties": 1}}, "a"), r"a: no value .* asks \(minProperties, propertyNames\)"),
        (of({"a": {"type": "string", "minLength": 5000}}, "a"), "a: nothing that fits"),
        (of({"a": {"type": "array", "items": TEXT, "minItems": 10**9}}, "a"), "a: it asks for more than 100"),
        (of({"a": {"type": "array", "prefixItems": [TEXT], "minItems": 10**9}}, "a"), "a: it asks for more than"),
        (of({"a": {"type": "object", "minProperties": 10**9}}, "a"), "a: it asks for more than"),
    ],
)  # fmt: skip
def test_what_cannot_be_filled_is_told(schema: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        sampled(schema, tmp_path).draw(random.Random(0))


def test_a_hostile_schema_ends(tmp_path: Path) -> None:
    part: Any = of({"x": COUNT}, "x", **{"not": {}})
    for _ in range(9):
        part = of({"a": part, "b": part}, "a", "b", minProperties=1)
    with pytest.raises(DataError, match="no value"):
        sampled(part, tmp_path).draw(random.Random(0))


def test_two_schemas_of_one_value_are_one() -> None:
    assert both({"type": "number", "minimum": 1}, {"type": "integer", "minimum": 3, "maximum": 9}) == {
        "type": "integer", "minimum": 3, "maximum": 9}  # fmt: skip
    assert both({"enum": ["a", "b"]}, {"enum": ["b", "c"]}) == {"enum": ["b"]}
    assert both({"type": "string"}, {"const": "a"}) == {"type": "string", "enum": ["a"]}
    assert both({"const": "a"}, {"const": "b"}) == both({"type": "null"}, {"type": "array"}) == NEVER
    closed = both(
        {"properties": {"a": TEXT}, "additionalProperties": False}, {"properties": {"b": TEXT, "a": {}}}
    )
    assert closed == {"properties": {"a": TEXT}, "additionalProperties": False}
    ways = both(
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    )
    assert ways == {"anyOf": [{"type": "string"}]}


# --- other forms --------------------------------------------------------------------------------


def order() -> Record:
    def leaf(*path: str, said: str, value: Any) -> Leaf:
        return Leaf(path, said, value, {})

    rows = tuple(
        Record(
            ("items", ""),
            (
                ("sku", leaf("items", "", "sku", said=sku, value=sku)),
                ("count", leaf("items", "", "count", said=str(n), value=n)),
            ),
            {},
        )
        for sku, n in (("A,1", 2), ("B-2", 30))
    )
    return Record(
        (),
        (
            ("buyer", leaf("buyer", said="Ann Lee", value="Ann Lee")),
            ("day", leaf("day", said="3 May 2026", value="2026-05-03")),
            ("paid", leaf("paid", said="yes", value=True)),
            ("note", leaf("note", said="", value=None)),
            ("items", Entries(("items",), rows, {})),
        ),
        {},
    )


def test_other_forms_hold_all_that_is_said_under_other_keys() -> None:
    labels = {"buyer": "client", "day": "order date", "items": "lines", "sku": "article"}

    def label(node: Node) -> str:
        return labels.get(node.path[-1], node.path[-1])

    seen = set()
    for seed in range(120):
        text = convert(order(), "order", label, False, random.Random(seed))
        assert all(part in text for part in ("Ann Lee", "3 May 2026", "A,1", "B-2", "30")), text
        start = text.find("{")
        if start >= 0:
            found = json.JSONDecoder().raw_decode(text[start:])[0]
            seen |= set(found)
            lines = next(part for part in found.values() if isinstance(part, list) and part)
            assert [list(row.values()) for row in lines] == [["A,1", 2], ["B-2", 30]]
            assert lines[0].keys() == lines[1].keys()
            assert True in found.values()
    assert {"orderDate", "order_date", "client"} <= seen


def test_a_table_has_a_header_and_a_row_a_record() -> None:
    items = next(member for name, member in order().members if name == "items")
    tables = 0
    for seed in range(40):
        text = convert(items, "order", lambda node: node.path[-1], False, random.Random(seed))
        part = re.search(r"^sku(.)count\n.*\n.*$", text, re.MULTILINE)
        if part:
            tables += 1
            rows = list(csv.reader(part[0].splitlines(), delimiter=part[1]))
            assert rows == [["sku", "count"], ["A,1", "2"], ["B-2", "30"]]
    assert tables > 5


def test_the_card_says_what_is_never_filled(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(SCHEMAS["manifest"]))
    params = parse(SchemaTextParams, {"schema": str(path)})
    assert [row.partition(":")[0] for row in SchemaTexts().card(params)["never_filled"]] == ["private"]


def test_what_some_example_fills_is_not_called_never_filled(tmp_path: Path) -> None:
    """A family goes as deep as it is followed; a number between two near bounds is drawn by some tries only."""
    family = of({"name": TEXT, "kids": {"type": "array", "items": {"$ref": "#/$defs/one"}}}, "name", "kids")
    ends = {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1}
    schema = of({"family": {"$ref": "#/$defs/one"}, "b": ends, "hidden": {"type": "string", "format": "password"}},
                "family", "b") | {"$defs": {"one": family}}  # fmt: skip
    path = tmp_path / "wanted.json"
    path.write_text(json.dumps(schema))
    read_schema.cache_clear()
    params = parse(SchemaTextParams, {"schema": str(path), "examples": 80})
    builder = SchemaTexts()
    values: list[Any] = [e.expected.value for e in builder.build("train", params, 0)]
    for card in (builder.card(params), SchemaTexts().card(params)):
        never = {row.partition(":")[0] for row in card["never_filled"]}
        assert "hidden" in never
        assert not {"b", "family", "family.kids"} & never
    assert all(value["b"] == 2**53 + 1 for value in values)
    assert any(value["family"]["kids"] for value in values)
