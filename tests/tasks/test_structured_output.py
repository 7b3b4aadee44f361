"""Somebody's own schema: drawn values fit it, texts say all that is in them, and answers are judged field by field."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from schema_lines import trained_and_evaluated

from agentlora.core import schema as json_schema
from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.data import refuse_leaks
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.types import Example, Split
from agentlora.tasks.structured_output.builder import SchemaTextParams, SchemaTexts
from agentlora.tasks.structured_output.labels import THESAURUS, called, labels_of
from agentlora.tasks.structured_output.legend import legend_of
from agentlora.tasks.structured_output.nodes import Entries, Leaf, Node, Record, value_of
from agentlora.tasks.structured_output.sampling import Sampler
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.structured_output.scoring import JsonFields
from agentlora.tasks.structured_output.writing import write

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
ROOT = Path(__file__).parents[2]
ORDER = ROOT / "benchmarks" / "own_schema" / "delivery_order.json"
ZOO: dict[str, Any] = {
    "title": "Booking",
    "type": "object",
    "properties": {
        "code": {"type": "string", "pattern": "^BK-[0-9]{3}$"},
        "guest": {"$ref": "#/$defs/person"},
        "companions": {"type": "array", "items": {"$ref": "#/$defs/person"}, "maxItems": 2},
        "room": {"enum": ["single", "double_bed", "suite"]},
        "nights": {"type": "integer", "minimum": 1, "maximum": 30},
        "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 400},
        "arrival": {"type": "string", "format": "date"},
        "breakfast": {"type": "boolean"},
        "remark": {"type": ["string", "null"]},
        "extras": {"type": "array", "items": {"enum": ["cot", "parking", "late_checkout"]}, "uniqueItems": True},
        "payment": {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": "card"}, "last_digits": {"type": "string",
                 "pattern": "^[0-9]{4}$"}}, "required": ["kind", "last_digits"], "additionalProperties": False},
                {"type": "object", "properties": {"kind": {"const": "invoice"}, "company": {"type": "string"}},
                 "required": ["kind", "company"], "additionalProperties": False},
            ]
        },
        "parts": {"$ref": "#/$defs/part"},
    },
    "required": ["code", "guest", "room", "remark"],
    "additionalProperties": False,
    "$defs": {
        "person": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "email": {"type":
                   "string", "format": "email"}}, "required": ["name"], "additionalProperties": False},
        "part": {"type": "object", "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items":
                 {"$ref": "#/$defs/part"}, "maxItems": 2}}, "required": ["name"], "additionalProperties": False},
    },
}  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    """A schema with all that the task takes: references, recursion, alternatives, null, enumerations, patterns."""
    path = tmp_path / "booking.json"
    path.write_text(json.dumps(ZOO))
    return str(path)


def build(schema: str, split: Split, **settings: Any) -> list[Example]:
    params = parse(
        SchemaTextParams,
        {"schema": schema, "examples": 120, "dev_examples": 20, "test_examples": 40, **settings},
    )
    return list(SchemaTexts().build(split, params, 0))


def leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    inner = [member for _, member in node.members] if isinstance(node, Record) else node.entries
    return [leaf for part in inner for leaf in leaves(part)]


# --- schemas ------------------------------------------------------------------------------------


def test_a_class_of_a_file_is_a_schema_and_the_file_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text(
        "from pydantic import BaseModel, Field\nraise SystemExit('run!')\n"
        "class Line(BaseModel):\n    product: str\n    quantity: int = Field(ge=1)\n"
        "class Invoice(BaseModel):\n    '''A bill.'''\n    number: str\n    lines: list[Line]\n"
        "    paid: bool | None = None\n"
    )
    wanted = read_schema(f"{file}:Invoice")
    assert wanted.name == "Invoice"
    assert wanted.schema["required"] == ["number", "lines"]
    assert wanted.schema["properties"]["lines"]["items"]["properties"]["quantity"]["minimum"] == 1
    with pytest.raises(DataError, match=r"no class 'Invoise'\. Did you mean 'Invoice'"):
        read_schema(f"{file}:Invoise")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "holds no JSON Schema"),
        ('{"type": "string"}', "neither an object nor an array"),
        ('{"type": "objet"}', "not a usable JSON Schema"),
        ('{"properties": {"a": {"$ref": "https://example.com/a.json"}}}', "nothing is fetched|never fetched"),
        ('{"type": "object", "properties": {"a": {"$ref": "#/no"}}}', "names nothing|not a usable"),
        ('{"type": "object"', "not JSON"),
    ],
)
def test_what_is_no_schema_for_an_answer_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_schema(str(path))


def test_a_schema_has_to_be_named_and_to_be_there() -> None:
    with pytest.raises(ConfigError, match="Give --schema"):
        read_schema("")
    with pytest.raises(DataError, match="no such file"):
        read_schema("nowhere.json")
    with pytest.raises(DataError, match="no such module"):
        read_schema("nowhere.at.all:Thing")


# --- values and texts ---------------------------------------------------------------------------


def test_drawn_values_fit_the_schema_and_use_all_of_it(zoo: str) -> None:
    sampler, rng = Sampler(read_schema(zoo), "train", 0), random.Random(1)
    values: list[Any] = [value_of(sampler.draw(rng)) for _ in range(300)]
    assert all(json_schema.is_valid(ZOO, value) for value in values)
    for name in ZOO["properties"]:
        assert any(name in value for value in values), name
    assert {value["payment"]["kind"] for value in values if "payment" in value} == {"card", "invoice"}
    assert any(value["remark"] is None for value in values)
    assert any(value["remark"] for value in values)
    assert any(inner.get("parts") for value in values for inner in value.get("parts", {}).get("parts", ()))
    assert not sampler.unsaid


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("source", ["zoo", "order"])
def test_a_text_says_every_value_that_is_expected(zoo: str, source: str, held_out: bool) -> None:
    wanted = read_schema(zoo if source == "zoo" else str(ORDER))
    sampler, rng = Sampler(wanted, "train", 0), random.Random(2)
    styles = set()
    for _ in range(400):
        node = sampler.draw(rng)
        said = write(node, wanted.name, legend_of(wanted.unfolded, sampler.root), held_out, rng)
        styles.add(said.style)
        assert not re.search(r"<[a-zA-Z]>(?!>)", said.text), said.text
        for leaf in leaves(node):
            if isinstance(leaf.value, bool) or not leaf.said:
                continue
            assert leaf.said in said.text, (leaf, said.text)
    assert styles == {"form", "sentences", "letter", "line", "order", "converted"}


ODD: dict[str, Any] = {
    "title": "Reading",
    "type": "object",
    "properties": {
        "place": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems":
                  2},
        "level": {"enum": [0, 0.5, 1, "auto"]},
        "mood": {"enum": ["calm", None]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "depth": {"type": "integer", "maximum": -1},
        "step": {"type": "integer", "minimum": 10, "maximum": 40, "multipleOf": 10},
        "数量": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"type": ["string", "null"]}},
        "kind": {"const": "reading"},
        "site": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}},
        "value": {
            "oneOf": [
                {"type": "object", "properties": {"in": {"const": "pct"}, "of": {"type": "integer"}},
                 "required": ["in", "of"]},
                {"type": "object", "properties": {"in": {"const": "txt"}, "of": {"type": "string"}},
                 "required": ["in", "of"]},
            ]
        },
        "at": {"type": "string", "format": "date-time", "readOnly": True},
    },
    "required": ["place", "level", "mood", "tags", "at"],
    "additionalProperties": False,
}  # fmt: skip


def test_odd_but_valid_schemas_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(ODD))
    wanted = read_schema(str(path))
    sampler, rng = Sampler(wanted, "train", 0), random.Random(3)
    values: list[Any] = []
    for _ in range(200):
        node = sampler.draw(rng)
        values.append(value_of(node))
        said = write(node, wanted.name, legend_of(wanted.unfolded, sampler.root), False, rng).text
        assert all(leaf.said in said for leaf in leaves(node) if not isinstance(leaf.value, bool))
    assert set(sampler.unsaid) == {"kind"}
    assert {value["level"] for value in values} == {0, 0.5, 1, "auto"}
    assert {value["mood"] for value in values} == {"calm", None}
    assert len({value["confidence"] for value in values if "confidence" in value}) > 20
    assert {value["step"] for value in values if "step" in value} == {10, 20, 30, 40}
    assert {value["value"]["in"] for value in values if "value" in value} == {"pct", "txt"}
    assert any(value["tags"] == [] for value in values)
    assert all(None not in value["tags"] for value in values)
    assert not any("kind" in value for value in values)  # nothing in a text could say it
    assert any("数量" in value for value in values)


@pytest.mark.parametrize(
    "items", [{"type": "string"}, {"type": "object", "properties": {"name": {"type": "string"}}}]
)
def test_arrays_are_filled_too(tmp_path: Path, items: Any) -> None:
    path = tmp_path / "guests.json"
    path.write_text(json.dumps({"title": "guests", "type": "array", "items": items}))
    built = build(str(path), "train")
    assert all(isinstance(e.expected.value, list) and e.expected.value for e in built)
    assert not any("The  " in e.messages[1]["content"] for e in built)


def test_files_beside_the_schema_and_older_drafts_are_taken(tmp_path: Path) -> None:
    (tmp_path / "place.json").write_text(
        '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
    )
    whole = {"type": "object", "properties": {"to": {"$ref": "place.json"}}, "required": ["to"]}
    (tmp_path / "trip.json").write_text(json.dumps(whole))
    assert all(e.expected.value["to"]["city"] for e in build(str(tmp_path / "trip.json"), "train"))
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["pair"], "properties": {
        "pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "minItems": 2}}}  # fmt: skip
    (tmp_path / "old.json").write_text(json.dumps(old))
    built = build(str(tmp_path / "old.json"), "train")
    assert all([type(part) for part in e.expected.value["pair"]] == [str, int] for e in built)
    assert "$schema" not in built[0].messages[0]["content"]


def test_what_a_value_is_shows_without_a_label_only_where_it_can_be_nothing_else() -> None:
    def alone(properties: Any) -> set[tuple[str, ...]]:
        return set(legend_of({"type": "object", "properties": properties}, ()).alone)

    level = {"enum": ["low", "high"]}
    assert alone({"priority": level}) == {("priority",)}
    assert alone({"priority": level, "severity": {"enum": ["low", "high", "critical"]}}) == set()
    assert alone({"kind": {"enum": ["mail", "other"]}}) == set()
    text, date = {"type": "string"}, {"type": "string", "format": "date"}
    assert alone({"notes": text}) == {("notes",)}
    assert alone({"notes": text, "complaint": text}) == set()
    assert alone({"comments": {"type": "integer"}}) == set()
    assert alone({"start": date}) == {("start",)}
    assert alone({"start": date, "end": date}) == set()
    person = {"type": "object", "properties": {"name": text, "company": text}}
    assert ("buyer",) in alone({"buyer": person})
    assert alone({"buyer": person, "seller": person}) == set()


def test_labels_differ_from_the_keys_and_never_name_another_part() -> None:
    known = labels_of(["quantity", "amount", "delivery date", "price", "cost", "total"])
    rng = random.Random(0)
    trained = {called("quantity", known, False, rng) for _ in range(300)}
    assert {"quantity", "qty", "number", "pieces", "quant.", "QUANTITY"} <= trained
    held = {called("quantity", known, True, rng) for _ in range(300)}
    assert "count" in held - trained
    assert "amount" not in trained | held  # it is another part's name
    assert {"delivery day", "shipping date"} <= {
        called("delivery date", known, False, rng) for _ in range(300)
    }
    # both could be called so: neither is
    beside = labels_of(["quantity", "order number", "phone number", "mobile", "department", "departure"])
    said = {called(name, beside, held_out, rng) for name in ("quantity", "phone number", "department") for held_out in
            (False, True) for _ in range(300)}  # fmt: skip
    assert not {"number", "mobile number", "dep."} & said
    assert {"qty", "division"} <= said
    assert {called("ip address", labels_of(["ip address"]), False, rng).lower() for _ in range(100)} <= {
        "ip address", "ip addr."
    }  # fmt: skip
    both = labels_of(["amount", "total"])
    assert "sum" not in {called(name, both, held_out, rng) for name in ("amount", "total") for held_out in (0, 1)
                         for _ in range(300)}  # fmt: skip


def test_no_label_of_dev_and_test_is_a_label_of_training_for_the_same_name() -> None:
    for name, (trained, held_out) in THESAURUS.items():
        assert not set(trained) & set(held_out), name


def test_counts_are_mostly_small_and_prices_have_a_currency_where_nobody_asks_for_it(tmp_path: Path) -> None:
    sampler, rng = Sampler(read_schema(str(ORDER)), "train", 0), random.Random(0)
    found = [leaf for _ in range(400) for leaf in leaves(sampler.draw(rng))]
    counts = [leaf.value for leaf in found if leaf.path[-1] == "quantity"]
    assert sum(count <= 20 for count in counts) > len(counts) / 3
    assert max(counts) > 400
    prices = [leaf.said for leaf in found if leaf.path[-1] == "unit_price" and leaf.said]
    assert any("€" in price for price in prices)
    number = {"type": "number", "minimum": 0}
    for beside in (
        {"priceCurrency": {"enum": ["SEK", "NOK"]}},
        {"vat": {"type": "number", "description": "In US dollars"}},
        {},
    ):
        asked = {"type": "object", "properties": {"price": number, "heart_rate": number, **beside}}
        path = tmp_path / f"price-{len(str(beside))}.json"
        path.write_text(json.dumps(asked))
        sampler = Sampler(read_schema(str(path)), "train", 0)
        found = [leaf for _ in range(200) for leaf in leaves(sampler.draw(rng))]
        money = {str(leaf.path[-1]) for leaf in found if re.search("[€$£]|eur", leaf.said, re.IGNORECASE)}
        assert money == (set() if beside else {"price"})


def test_parts_are_said_together_only_where_they_belong_together() -> None:
    def said(properties: list[str], drawn: dict[str, Any]) -> set[str]:
        rule = {"type": "object", "properties": {name: {"type": "string"} for name in properties}}
        members = tuple((name, Leaf((name,), str(value), value, {})) for name, value in drawn.items())
        node = Record((), members, rule)
        return {
            write(node, "Trip", legend_of(rule, ()), False, random.Random(seed)).text for seed in range(200)
        }

    assert any(
        "7 Elm, Rome" in text for text in said(["street", "city"], {"street": "7 Elm", "city": "Rome"})
    )
    mixed = ["pickup_street", "pickup_city", "dropoff_street", "dropoff_city"]
    texts = said(mixed, {"pickup_street": "7 Elm", "dropoff_city": "Rome"})
    assert all("pick" in text.lower() and "drop" in text.lower() for text in texts)
    goods = {"quantity": 3, "product": "mug", "amount": 12.5}
    assert not any("at 12.5" in text or "for 12.5" in text for text in said([*goods], goods))
    assert any(
        "3 x mug at 2" in text
        for text in said(["quantity", "product", "price"], {"quantity": 3, "product": "mug", "price": 2})
    )
    assert not any("x 48213" in text for text in said(["quantity", "sku"], {"quantity": 3, "sku": "48213"}))


def test_splits_share_no_text_and_the_same_seed_gives_the_same(zoo: str) -> None:
    splits = {split: build(zoo, split) for split in SPLITS}
    assert [len(splits[split]) for split in SPLITS] == [120, 20, 40]
    refuse_leaks(splits)
    assert build(zoo, "test") == splits["test"]
    assert {e.group for e in splits["train"]} == {f"train-{n:05}" for n in range(15)}
    prompts = {e.messages[0]["content"] for split in SPLITS for e in splits[split]}
    assert len(prompts) == 1
    assert '"pattern": "^BK-' in prompts.pop()
    assert not JsonFields().validate(splits["test"])


def test_a_schema_of_few_values_ends_with_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text('{"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}')
    with pytest.raises(DataError, match=r"only \d+ of 5000 texts of train .* the same again"):
        build(str(path), "train", examples=5000)


def test_a_required_part_that_nobody_says_is_told(tmp_path: Path) -> None:
    path = tmp_path / "blob.json"
    path.write_text(
        '{"type": "object", "properties": {"blob": {"type": "string", "format": "binary"}}, "required": ["blob"]}'
    )
    with pytest.raises(DataError, match="blob"):
        build(str(path), "train")


def test_a_schema_that_is_too_large_for_its_texts_is_told_after_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, drawn, draw = tmp_path / "large.json", [], Sampler.draw

    def counted(self: Sampler, rng: random.Random) -> Node:
        drawn.append(draw(self, rng))
        return drawn[-1]

    monkeypatch.setattr(Sampler, "draw", counted)
    path.write_text(
        json.dumps({"type": "object", "properties": {f"f{n}": {"type": "string"} for n in range(200)}})
    )
    with pytest.raises(
        DataError, match=r"only 0 of 120 texts of train .* too long \([\d,]+ characters\): raise"
    ):
        build(str(path), "train", text_chars_max=60)
    assert len(drawn) == 3


def test_a_reference_that_leads_back_to_itself_is_told(tmp_path: Path) -> None:
    path = tmp_path / "loop.json"
    loop = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    path.write_text(json.dumps({"$ref": "#/$defs/a", **loop}))
    with pytest.raises(DataError, match=r"loop.json: a \$ref leads back to itself"):
        read_schema(str(path))
    read_schema.cache_clear()
    part = {"type": "object", "properties": {"next": {"$ref": "#/$defs/a"}}, "required": ["next"], **loop}
    path.write_text(json.dumps(part))
    with pytest.raises(DataError, match="next: it leads back to itself"):
        build(str(path), "train")


def test_a_root_that_refers_to_no_object_is_told_in_the_file_s_own_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loop = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
    for defs, why in (
        (loop, "a $ref leads back to itself"),
        ({"a": {"type": "string"}}, "of neither an object nor"),
    ):
        Path("root.json").write_text(json.dumps({"$ref": "#/$defs/a", "$defs": defs}))
        read_schema.cache_clear()
        with pytest.raises(DataError, match=re.escape(why)):
            read_schema("root.json")


def test_an_optional_part_that_nobody_says_is_in_the_card(tmp_path: Path) -> None:
    path = tmp_path / "blob.json"
    path.write_text(
        '{"title": "Note", "type": "object", "properties": {"topic": {"type": "string"}, "blob": {"type": "string", '
        '"format": "binary"}}, "required": ["topic"]}'
    )
    card = SchemaTexts().card(parse(SchemaTextParams, {"schema": str(path)}))
    assert [row.partition(":")[0] for row in card["never_filled"]] == ["blob"]
    assert card["system"].endswith('"required": ["topic"]}')


# --- command line -------------------------------------------------------------------------------


def test_the_options_of_a_schema(zoo: str) -> None:
    runner = CliRunner()
    shown = runner.invoke(
        cli, ["train", "structured-output", "--schema", zoo, "--data", "p.jsonl", "--dry-run"]
    )
    assert shown.exit_code == 0, shown.output
    data = json.loads(shown.output)["data"]
    assert (data["builder"], data["params"]) == ("schema-texts", {"schema": zoo, "pairs": "p.jsonl"})
    both = runner.invoke(cli, ["train", "tool-calling", "--schema", zoo, "--tools", "x.yaml"])
    assert both.exit_code == 2
    wrong = runner.invoke(cli, ["train", "structured-output", "--set", "data.params.schma=x", "--dry-run"])
    assert wrong.exit_code != 0


def test_a_schema_is_trained_and_evaluated(zoo: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _, record = trained_and_evaluated(zoo, tiny_model_dir, run)
    assert record["headline"] == "field_accuracy"
    assert record["n"] == 6
    shots = record["shots"]
    assert [m["role"] for m in shots] == ["system", *("user", "assistant") * 3]
    assert "JSON Schema" in shots[0]["content"]
    assert all(json_schema.is_valid(ZOO, json.loads(m["content"])) for m in shots if m["role"] == "assistant")
    samples = [json.loads(line) for line in (run / "eval" / "samples.jsonl").read_text().splitlines()]
    assert {s["condition"] for s in samples} >= {"base", "base + 3 examples", "adapter"}


def test_an_adapter_is_evaluated_with_and_without_a_grammar(
    zoo: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """In eight tokens a model of random weights completes no value, and under a grammar it always begins one."""
    pytest.importorskip("xgrammar")
    run = tmp_path / "run"
    trained_and_evaluated(zoo, tiny_model_dir, run)
    command = ["eval", str(run), "--engine", "transformers", "--split", "dev", "--constrained", "--json"]
    command += ["--probes", "12"]
    said = CliRunner().invoke(cli, command)
    assert said.exit_code == 0, said.output
    record = json.loads((run / "eval-dev" / "record.json").read_text())
    assert record["skipped"] == {}
    assert [c["name"] for c in record["conditions"] if c.get("aside")] == ["adapter + schema"]
    pairs = [(p["free"], p["constrained"]) for p in record["constraints"]]
    assert ("adapter", "adapter + schema") in pairs
    samples = [json.loads(line) for line in (run / "eval-dev" / "samples.jsonl").read_text().splitlines()]
    held = [s for s in samples if s["condition"] == "adapter + schema"]
    assert len(held) == record["n"]
    assert {p["keyword"] for s in held for p in s["problems"]} == {"truncated"}
    assert {s["finish_reason"] for s in held} == {"length"}
    assert not {d["system"] for d in record["differences"]} & {"adapter + schema"}


def test_entries_are_named_in_the_singular() -> None:
    leaf = Leaf(("tags", ""), "red", "red", {})
    entries = Entries(("tags",), (leaf,), {})
    said = write(Record((), (("tags", entries),), {}), "Thing", legend_of({}, ()), False, random.Random(0))
    assert "red" in said.text
