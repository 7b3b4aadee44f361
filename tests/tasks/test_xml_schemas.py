"""XML Schemas and lists of elements become schemas that texts are written for; what cannot be taken is told."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from schema_lines import trained_and_evaluated

from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import DataError
from agentlora.core.types import Example, GenerateRequest, Output, Split
from agentlora.core.xml_schema import problems_in
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import read_value, write_xml
from agentlora.eval.conditions import BOTH, Condition, to_request
from agentlora.eval.quality import look
from agentlora.eval.teaching import read_answer
from agentlora.tasks.structured_output.builder import SchemaTextParams, SchemaTexts
from agentlora.tasks.structured_output.elements import xsd_of
from agentlora.tasks.structured_output.pairs import read_pairs
from agentlora.tasks.structured_output.sampling import Sampler, value_of
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.structured_output.scoring import JsonFields

ORDER = Path(__file__).with_name("order.xsd")
LIST = """\
booking xmlns=urn:example:stay   # one stay
  @code text /BK-[0-9]{3}/
  guest
    name text ..40
    email? text
  companions?
    companion{1,2} like guest
  room single | double bed | suite
  nights integer 1..30
  rate? number >0 <400
    @currency EUR | USD
  arrival date
  extra* cot | parking
  breakfast? empty
  either:
    card text /[0-9]{4}/
  or:
    invoice nil text
  part*
    label text
    part* like part
"""
BOUNDS = '<xs:minInclusive value="1"/><xs:maxExclusive value="9"/>'
HEAD = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"'


def xsd(tmp_path: Path, body: str, head: str = "", name: str = "x.xsd") -> str:
    (tmp_path / name).write_text(f"{HEAD} {head}>{body}</xs:schema>")
    return str(tmp_path / name)


def record(parts: str) -> str:
    """The root element `a` with these parts in a sequence."""
    return f'<xs:element name="a"><xs:complexType><xs:sequence>{parts}</xs:sequence></xs:complexType></xs:element>'


def listed(tmp_path: Path, text: str = LIST) -> str:
    (tmp_path / "booking.elements").write_text(text)
    return str(tmp_path / "booking.elements")


def drawn(source: str, count: int = 40) -> tuple[Any, list[Any]]:
    wanted = read_schema(source)
    sampler, rng = Sampler(wanted, "train", 0), random.Random(1)
    return wanted, [value_of(sampler.draw(rng)) for _ in range(count)]


def build(source: str, split: Split, **settings: Any) -> list[Example]:
    params = parse(
        SchemaTextParams,
        {"schema": source, "examples": 24, "dev_examples": 4, "test_examples": 8, **settings},
    )
    return list(SchemaTexts().build(split, params, 0))


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["xsd", "list"])
def test_drawn_values_are_valid_documents_and_are_read_back(tmp_path: Path, form: str) -> None:
    wanted, values = drawn(str(ORDER) if form == "xsd" else listed(tmp_path))
    for value in values:
        text = write_xml(wanted.schema, value)
        assert problems_in(wanted.schema, text) == []
        kept = {
            key: part for key, part in value.items() if (key, part) != ("priority", "normal")
        }  # the default
        assert read_value(wanted.schema, parse_xml(text)) == kept
    names = {name for value in values for name in value}
    all_of_them = {
        "xsd": {"number", "priority", "customer", "items", "card", "invoice", "delivery", "gift", "note", "parts"},
        "list": {"code", "guest", "companions", "room", "nights", "rate", "arrival", "extra", "breakfast", "card",
                 "invoice", "part"},
    }  # fmt: skip
    assert names == all_of_them[form]
    assert not any({"card", "invoice"} <= value.keys() for value in values)


def test_a_schema_that_contains_itself_is_followed_into_itself_twice(tmp_path: Path) -> None:
    def depth(value: Any) -> int:
        parts = value.get("part", []) if isinstance(value, dict) else []
        return 1 + max(map(depth, parts), default=0)

    _, values = drawn(listed(tmp_path, "part\n  label text\n  part* like part\n"), 60)
    assert max(map(depth, values)) == 3
    deep = "<part><label>a</label>" * 9 + "</part>" * 9
    wanted = read_schema(str(tmp_path / "booking.elements"))
    value = read_value(wanted.schema, parse_xml(deep))
    assert depth(value) == 9  # as an answer it is read as deep as it is
    assert write_xml(wanted.schema, value) == deep


def test_namespaces_come_out_as_the_schema_asks(tmp_path: Path) -> None:
    first = record('<xs:element name="b" type="xs:int"/>')
    own = 'targetNamespace="urn:n" xmlns:n="urn:n"'

    def document(head: str) -> str:
        return write_xml(read_schema(xsd(tmp_path, first, head, f"{len(head)}.xsd")).schema, {"b": 1})

    assert document("") == "<a><b>1</b></a>"
    assert document(own) == '<n:a xmlns:n="urn:n"><b>1</b></n:a>'
    assert document(f'{own} elementFormDefault="qualified"') == '<a xmlns="urn:n"><b>1</b></a>'
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "p.xsd").write_text(
        f'{HEAD} targetNamespace="urn:p" elementFormDefault="qualified"><xs:element name="c" type="xs:string"/>'
        '<xs:attribute name="id" type="xs:int"/></xs:schema>'
    )
    two = xsd(
        tmp_path,
        '<xs:import namespace="urn:p" schemaLocation="types/p.xsd"/>'
        '<xs:element name="a"><xs:complexType><xs:sequence><xs:element ref="p:c"/></xs:sequence>'
        '<xs:attribute ref="p:id"/></xs:complexType></xs:element>',
        f'{own} xmlns:p="urn:p" elementFormDefault="qualified"',
    )
    wanted = read_schema(two)
    text = write_xml(wanted.schema, {"id": 3, "c": "x"})
    assert text == '<a xmlns="urn:n" xmlns:p="urn:p" p:id="3"><p:c>x</p:c></a>'
    assert problems_in(wanted.schema, text) == []
    assert wanted.shown == "a xmlns=urn:n xmlns:p=urn:p\n  @p:id? integer\n  p:c text"


def test_types_of_xml_schema(tmp_path: Path) -> None:
    parts = "".join(
        f'<xs:element name="{name}"><xs:simpleType><xs:restriction base="xs:{base}">{facets}</xs:restriction>'
        "</xs:simpleType></xs:element>"
        for name, base, facets in (
            ("cents", "decimal", f'<xs:fractionDigits value="2"/>{BOUNDS}'),
            ("written", "decimal", r'<xs:pattern value="[0-9]{1,3}\.[0-9]{2}"/>'),
            ("code", "string", '<xs:pattern value="[A-Z]{2}"/><xs:pattern value="[0-9]{3}"/>'),
            ("level", "byte", '<xs:minExclusive value="0"/>'),
            ("kind", "token", '<xs:enumeration value="a b"/><xs:enumeration value="c"/>'),
            ("year", "gYear", ""),
            ("moment", "dateTime", ""),
            ("link", "anyURI", ""),
            ("sku", "NMTOKEN", '<xs:maxLength value="12"/>'),
            ("grade", "integer", '<xs:enumeration value="1"/><xs:enumeration value="2"/>'),
        )
    )  # fmt: skip
    wanted, values = drawn(xsd(tmp_path, record(parts)), 20)
    for value in values:
        assert 1 <= value["cents"] <= 9
        assert round(value["cents"], 2) == value["cents"]
        assert isinstance(value["written"], str)  # 9.50 is not 9.5 there
        assert 0 < value["level"] < 128
        assert value["grade"] in (1, 2)
        assert value["kind"] in ("a b", "c")
    assert "code text /(([A-Z]{2})|([0-9]{3}))/" in wanted.shown.replace("(?:", "(")
    assert "grade 1 | 2" in wanted.shown


def test_what_is_left_out_is_told_and_what_is_required_is_refused(tmp_path: Path) -> None:
    any_, mixed = '<xs:any minOccurs="{}" namespace="##other"/>', '<xs:complexType mixed="true"/>'
    text = '<xs:element name="b" type="xs:string"/>'
    parts = (
        any_.format(0)
        + f'<xs:element name="c" minOccurs="0">{mixed}</xs:element>'
        + '<xs:element name="d" minOccurs="0"/><xs:element name="e" type="xs:IDREFS" minOccurs="0"/>'
        + '<xs:element name="f" type="xs:base64Binary" minOccurs="0"/>'
    )
    source = xsd(tmp_path, record(text + parts))
    card = SchemaTexts().card(parse(SchemaTextParams, {"schema": source}))
    told = "\n".join(card["never_filled"])
    for part, why in (
        ("a/*", "xs:any"),
        ("a/c", "mixed"),
        ("a/d", "no type"),
        ("a/e", "xs:list"),
        ("f", "kind"),
    ):
        assert any(row.startswith(f"{part}:") and why in row for row in card["never_filled"]), (part, told)
    assert "c?" not in read_schema(source).shown.split()
    for needed, why in (
        (any_.format(1), "xs:any"),
        (f'<xs:element name="c">{mixed}</xs:element>', "<c>: text and elements stand mixed"),
        ('<xs:element name="e" type="xs:QName"/>', "type QName"),
        (
            '<xs:sequence maxOccurs="3"><xs:element name="x"/><xs:element name="y"/></xs:sequence>',
            "is repeated",
        ),
        (text, "two places"),
        ('<xs:element name="g" type="xs:int" minOccurs="1000000" maxOccurs="1000000"/>', "1000000 times"),
    ):
        with pytest.raises(DataError, match=f"<a> cannot be taken: .*{why}"):
            read_schema(xsd(tmp_path, record(text + needed), name=f"{len(needed)}.xsd"))


def test_an_attribute_that_is_called_as_an_element_beside_it(tmp_path: Path) -> None:
    body = record('<xs:element name="id" type="xs:int"/>').replace(
        "</xs:sequence>", '</xs:sequence><xs:attribute name="id" type="xs:int"{}/>'
    )
    wanted = read_schema(xsd(tmp_path, body.format("")))
    assert wanted.left_out == {"a/@id": "an element beside it is called so too"}
    assert wanted.shown == "a\n  id integer"
    with pytest.raises(DataError, match="'id' is both an attribute and an element"):
        read_schema(xsd(tmp_path, body.format(' use="required"'), name="y.xsd"))


def test_substitution_groups_and_abstract_elements_are_told(tmp_path: Path) -> None:
    globals_ = (
        '<xs:element name="pet" type="xs:string"{}/>'
        '<xs:element name="cat" type="xs:string" substitutionGroup="pet"/>'
    )
    body = record('<xs:element name="b" type="xs:string"/><xs:element ref="pet" minOccurs="0"/>')
    wanted = read_schema(xsd(tmp_path, body + globals_.format("")) + ":a")
    assert "substitution group" in wanted.left_out["a/pet"]
    assert "pet? text" in wanted.shown
    gone = read_schema(xsd(tmp_path, body + globals_.format(' abstract="true"'), name="y.xsd") + ":a")
    assert "abstract" in gone.left_out["a/pet"]
    assert "pet" not in gone.shown


def test_a_document_has_one_root(tmp_path: Path) -> None:
    both = "".join(
        record('<xs:element name="x" type="xs:int"/>').replace('"a"', f'"{name}"') for name in "ab"
    )
    with pytest.raises(
        DataError, match=r"several elements that a document can be: a, b\. Say which one: .*x\.xsd:a"
    ):
        read_schema(xsd(tmp_path, both))
    assert read_schema(f"{tmp_path / 'x.xsd'}:b").name == "b"
    with pytest.raises(DataError, match="no element 'c'"):
        read_schema(f"{tmp_path / 'x.xsd'}:c")
    with pytest.raises(DataError, match="neither elements nor attributes"):
        read_schema(xsd(tmp_path, '<xs:element name="n" type="xs:int"/>'))


# --- hostile files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no xml", "no well-formed XML"),
        ("<a/>", "is no XML Schema"),
        (f'<!DOCTYPE s [<!ENTITY x "y">]>{HEAD}/>', "document type"),
        (f"{HEAD}/>", "declares no element"),
        (f'{HEAD}><xs:element name="a" type="nothing"/></xs:schema>', "not a usable XML Schema"),
        (f'{HEAD}><xs:include schemaLocation="https://example.com/b.xsd"/></xs:schema>', "nothing is fetched"),
        (f'{HEAD}><xs:include schemaLocation="../b.xsd"/></xs:schema>', "leads out of"),
        (f'{HEAD}><xs:include schemaLocation="/etc/passwd"/></xs:schema>', "leads out of"),
        (f'{HEAD}><xs:include schemaLocation="gone.xsd"/></xs:schema>', r"gone\.xsd: it cannot be read"),
        ("<a>" * 200, "nested more than"),
        (f"{HEAD}>{'<!-- long -->' * 100_000}</xs:schema>", "at most 1024 KB"),
    ],
)  # fmt: skip
def test_files_that_are_no_schema_are_refused(tmp_path: Path, text: str, said: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "b.xsd").write_text(f"{HEAD}/>")
    (folder / "a.xsd").write_text(text)
    with pytest.raises(DataError, match=said):
        read_schema(str(folder / "a.xsd"))


def test_a_link_beside_the_schema_leads_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.xsd").write_text(f"{HEAD}/>")
    (folder / "link.xsd").symlink_to(tmp_path / "secret.xsd")
    with pytest.raises(DataError, match="leads out of"):
        read_schema(xsd(folder, '<xs:include schemaLocation="link.xsd"/>', name="a.xsd"))


def test_the_schema_of_an_example_holds_all_that_is_needed(tmp_path: Path) -> None:
    (tmp_path / "b.xsd").write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{HEAD}><!-- née -->'
        '<xs:simpleType name="T"><xs:annotation><xs:documentation>née</xs:documentation></xs:annotation>'
        '<xs:restriction base="xs:string"><xs:enumeration value="é"/></xs:restriction></xs:simpleType></xs:schema>',
        encoding="latin-1",
    )
    source = xsd(tmp_path, '<xs:include schemaLocation="b.xsd"/>' + record('<xs:element name="t" type="T"/>'))
    schema = json.loads(json.dumps(read_schema(source).schema))
    (tmp_path / "b.xsd").unlink()
    assert problems_in(schema, "<a><t>é</t></a>") == []
    assert problems_in(schema, "<a><t>e</t></a>")
    assert "née" not in json.dumps(schema["x-xml"], ensure_ascii=False)


def test_an_empty_note_takes_nothing_else_away(tmp_path: Path) -> None:
    body = '<xs:annotation/><xs:element name="t" type="xs:int"/><xs:element name="u" type="xs:int"/>'
    schema = read_schema(xsd(tmp_path, "<xs:annotation/>" + record(body))).schema
    assert problems_in(schema, "<a><t>1</t><u>2</u></a>") == []
    assert problems_in(schema, "<a><u>2</u></a>")


# --- lists of elements --------------------------------------------------------------------------


def test_a_list_is_shown_as_it_was_written(tmp_path: Path) -> None:
    shown = read_schema(listed(tmp_path)).shown
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        " ".join(line.split()) for line in LIST.splitlines()
    ]
    assert read_schema(listed(tmp_path, shown)).schema == read_schema(listed(tmp_path, LIST)).schema


def test_an_xml_schema_is_shown_as_a_list_that_is_none_the_less(tmp_path: Path) -> None:
    wanted = read_schema(str(ORDER))
    assert "\n  either:\n    card text /[0-9]{4}/\n  or:\n    invoice like customer\n" in wanted.shown
    assert "\n  note nil text" in wanted.shown
    assert "\n  parts?\n    label text\n    part{0,2} like parts" in wanted.shown
    assert wanted.shown.startswith("o:order xmlns:o=urn:example:orders\n  @number integer 1..\n")
    assert len(wanted.shown) < len(ORDER.read_text()) / 4
    plain = wanted.shown.replace("o:order xmlns:o=urn:example:orders", "order")
    again = read_schema(listed(tmp_path, plain))
    assert again.shown == plain


def test_types_that_contain_each_other_are_shown_once(tmp_path: Path) -> None:
    types = "".join(
        f'<xs:complexType name="{one}"><xs:sequence><xs:element name="n" type="xs:int"/>'
        f'<xs:element name="x" type="{other}" minOccurs="0"/></xs:sequence></xs:complexType>'
        for one, other in ("AB", "BA")
    )
    wanted, values = drawn(xsd(tmp_path, f'<xs:element name="a" type="A"/>{types}'))
    assert wanted.shown == "a\n  n integer\n  x?\n    n integer\n    x? like a"
    assert any("x" in value["x"] for value in values if "x" in value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the list is empty"),
        ("a\n  b intger", r"line 2: unknown type 'intger'\. Did you mean 'integer'"),
        ("a\n  b text\nc text", "line 3: a document has one element, 'a'"),
        ("a\n    b text\n  c text", "line 3: it stands between two levels"),
        ("a\n  b text\n    c text", "line 3: 'b' is of a type"),
        ("a\n  b like c", "line 2: there is no element 'c'"),
        ("a\n  @b* text", "line 2: an attribute is there once"),
        ("a\n  @b text\n  @b text", "line 3: the attribute 'b' stands twice"),
        ("a\n  b number 1..x", "line 2: '1..x' after 'number' says nothing"),
        ("a\n  b text /[/", "line 2: the pattern"),
        ("a\n  b x |  | y", "line 2: .*each of the values"),
        ("a\n  or:\n    b", "line 2: 'or:' stands right after"),
        ("a\n  either:\n    b", "line 2: 'either:' has no 'or:'"),
        ("a*\n  b", "line 1: the first line is the document's element"),
        ("a\n  <b>", "line 2: '<b>' is no element"),
        ("a\n" + "".join(" " * i + f"b{i}\n" for i in range(1, 50)), "nested more than 30 deep"),
        ("a\n  b{5,2} text", "not a usable XML Schema"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_schema(listed(tmp_path, text))


def test_values_of_a_list_may_hold_what_xml_has_marks_for() -> None:
    assert 'value="km/h"' in xsd_of("a\n  b km/h | mph")
    assert 'value="&lt;5 &amp; more"' in xsd_of("a\n  b <5 & more | 5")
    assert "<x:pattern value='a \"b\" | c'" in xsd_of('a\n  b text /a "b" | c/')


# --- data ---------------------------------------------------------------------------------------


def test_examples_hold_documents(tmp_path: Path) -> None:
    built = build(str(ORDER), "test")
    assert not JsonFields().validate(built[:2])
    assert all(e.expected.value is None and str(e.expected.text).startswith("<o:order ") for e in built)
    system = built[0].messages[0]["content"]
    assert "one XML document" in system
    assert "xsi:nil" in system
    assert "xs:element" not in system  # the model is shown the list
    assert Example.from_dict(json.loads(built[0].to_json())) == built[0]
    assert "xsi:nil" not in build(listed(tmp_path, "a\n  b text\n"), "test")[0].messages[0]["content"]
    assert {p.name for p in look({"train": built}).parameters} >= {"customer.name", "number", "delivery"}


def test_pairs_are_documents(tmp_path: Path) -> None:
    wanted = read_schema(listed(tmp_path, "order\n  item+ text\n  due? date\n"))
    rows = [
        {
            "text": "a mug",
            "value": "<?xml version='1.0'?>\n<order>\n <item>mug</item></order>",
            "split": "test",
        },
        {"text": "2", "value": "<order/>"},
        {"text": "3", "value": {"item": ["mug"]}},
        {"text": "4", "value": "<order><item>mug</order>"},
        {"text": "5", "value": "<order><item>mug</item><due>soon</due></order>"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(rows[0]))
    assert read_pairs(path, wanted.schema, 0).splits["test"][0].value == {"item": ["mug"]}
    built = build(str(tmp_path / "booking.elements"), "test", pairs=str(path), test_examples=0)
    assert [e.expected.text for e in built] == ["<order><item>mug</item></order>"]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError) as raised:
        read_pairs(path, wanted.schema, 0, strict=True)
    for said in ("line 2: its value does not fit", "line 3: its value is the text of an XML document",
                 "line 4: it is no well-formed XML", "line 5: its value does not fit"):  # fmt: skip
        assert said in str(raised.value)


def test_a_pair_with_a_part_that_is_left_out_is_told(tmp_path: Path) -> None:
    source = xsd(
        tmp_path, record('<xs:element name="b" type="xs:string"/><xs:element name="c" minOccurs="0"/>')
    )
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"text": "x", "value": "<a><b>x</b><c>y</c></a>"}))
    with pytest.raises(DataError, match="line 1: <a> has no 'c'"):
        read_pairs(path, read_schema(source).schema, 0)


# --- who answers --------------------------------------------------------------------------------


def test_no_schema_of_json_is_held_against_xml(tmp_path: Path) -> None:
    example = build(listed(tmp_path), "test")[0]
    for condition in (Condition("base + schema", "constrained"), BOTH):
        request = to_request(example, condition, [example])
        assert isinstance(request, GenerateRequest)
        assert request.json_schema is None


def test_a_teachers_document_is_learnt_as_ours_are_written(tmp_path: Path) -> None:
    example = build(listed(tmp_path, "a\n  b integer\n"), "test")[0]

    def read(text: str) -> Any:
        found = read_answer(example, Output("x", text))
        return found if isinstance(found, str) else found.text

    assert read("```xml\n<a>\n  <b> 3 </b>\n</a>\n```") == "<a><b>3</b></a>"
    assert read("<a><b>x</b></a>") == "does not fit the schema"
    assert read("the answer is 3") == "not XML"


def test_a_document_is_trained_evaluated_and_gated(tiny_model_dir: Path, tmp_path: Path) -> None:
    run, source = tmp_path / "run", listed(tmp_path)
    said, record = trained_and_evaluated(source, tiny_model_dir, run)
    assert "do not agree" not in said
    card = json.loads((run / "data" / "card.json").read_text())
    assert "booking xmlns=urn:example:stay" in card["system"]
    assert "list of the elements" in card["notes"]
    assert [condition["name"] for condition in record["conditions"]] == [
        "base",
        "base + 3 examples",
        "adapter",
    ]
    assert "XML" in record["skipped"]["base + schema"]
    wanted = read_schema(source)
    shots = [m["content"] for m in record["shots"] if m["role"] == "assistant"]
    assert len(shots) == 3
    assert all(problems_in(wanted.schema, shot) == [] for shot in shots)
    samples = [json.loads(line) for line in (run / "eval" / "samples.jsonl").read_text().splitlines()]
    assert all(sample["why"].startswith("not one XML document") for sample in samples)
    refused = CliRunner().invoke(cli, ["publish", str(run), "--name", "bookings"])
    assert refused.exit_code != 0
    assert "field_accuracy" in str(refused.exception)
