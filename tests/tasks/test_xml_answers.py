"""XML answers are judged as JSON ones: is it a document, does it fit the XML Schema, and which fields are right.

A field is right where its value is. Where it stands (in which order or namespace, as an attribute or an element) is a
matter of validity, and an exact match needs both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentlora.core.types import Example, Expected, Output
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import read_value, write_xml
from agentlora.eval.compliance import judge
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.structured_output.scoring import JsonFields

ORDER = Path(__file__).with_name("order.xsd")
GOLD = (
    '<o:order xmlns:o="urn:example:orders" number="7"><customer><name>Ann &amp; Bob</name></customer><items>'
    '<item sku="A-1"><product>mug</product><quantity>2</quantity><price currency="EUR">4.5</price></item>'
    "<item><product>tea</product><quantity>1</quantity></item></items><card>0042</card>"
    "<delivery>2026-05-03</delivery><gift>true</gift><note>ring twice</note></o:order>"
)
VALUE = {
    "number": 7,
    "customer": {"name": "Ann & Bob"},
    "items": [
        {"sku": "A-1", "product": "mug", "quantity": 2, "price": {"currency": "EUR", "price": 4.5}},
        {"product": "tea", "quantity": 1},
    ],
    "card": "0042",
    "delivery": "2026-05-03",
    "gift": True,
    "note": "ring twice",
}  # thirteen fields
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
LAUGHS = (
    '<!DOCTYPE o [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
    + "]>"
).replace("&a0;", "&a;")
ITEM = GOLD[GOLD.index("<item sku") : GOLD.index("<item><product>tea")]
TEA = "<item><product>tea</product><quantity>1</quantity></item>"
CUSTOMER = "<customer><name>Ann &amp; Bob</name></customer>"
ITEMS = f"<items>{ITEM}{TEA}</items>"


@pytest.fixture(scope="module")
def schema() -> Any:
    return read_schema(str(ORDER)).schema


def scored(schema: Any, text: str, gold: str = GOLD) -> Any:
    example = Example("x", (), Expected(text=gold), schema=schema)
    return JsonFields().score(example, Output("x", text))


def test_a_document_is_written_as_its_value_says_and_read_back(schema: Any) -> None:
    assert write_xml(schema, VALUE) == GOLD
    assert read_value(schema, parse_xml(GOLD)) == VALUE


# why → the answer
READ: dict[str, str] = {
    "the answer itself": GOLD,
    "line breaks between elements are layout": GOLD.replace("><", ">\n  <"),
    "a declaration may stand before it": f'<?xml version="1.0" encoding="UTF-8"?>\n{GOLD}',
    "the encoding that it declares is of no account: it is text already":
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{GOLD}',
    "one that nobody knows neither": f'<?xml version="1.0" encoding="klingon"?>{GOLD}',
    "white space around it": f"\n  {GOLD}\n",
    "a byte order mark": f"\ufeff{GOLD}",
    "a Markdown fence": f"```xml\n{GOLD}\n```",
    "a Markdown fence that names no language": f"```\n{GOLD}\n```",
    "thoughts before it": f"<think>Two items.</think>\n{GOLD}",
    "a comment": GOLD.replace("<items>", "<!-- what was ordered --><items>"),
    "a comment within a text": GOLD.replace("ring twice", "ring<!-- the bell --> twice"),
    "a processing instruction": GOLD.replace("<items>", "<?page break?><items>"),
    "CDATA is text": GOLD.replace("Ann &amp; Bob", "<![CDATA[Ann & Bob]]>"),
    "a character may be written by its number": GOLD.replace("&amp;", "&#38;"),
    "in hexadecimal too": GOLD.replace("&amp;", "&#x26;"),
    "attributes in single quotes": GOLD.replace('"7"', "'7'"),
    "white space within a tag": GOLD.replace("<gift>true</gift>", "<gift  >true</gift  >"),
    "white space around a number does not count": GOLD.replace(">2<", "> 2\n<"),
    "nor around a date": GOLD.replace(">2026", "> 2026"),
    "nor in an attribute that is a token": GOLD.replace('"A-1"', '" A-1 "'),
    "02 is 2": GOLD.replace(">2<", ">02<"),
    "+2 is 2": GOLD.replace(">2<", ">+2<"),
    "4.50 is 4.5": GOLD.replace("4.5<", "4.50<"),
    "1 is true": GOLD.replace(">true<", ">1<"),
    "the default of an attribute says no more than its absence": GOLD.replace('"7"', '"7" priority="normal"'),
    "a prefix is only a name": GOLD.replace("o:order", "s:order").replace("xmlns:o", "xmlns:s"),
    "a hint where the XML Schema lies is not followed": GOLD.replace(
        '"7"', f'"7" {XSI} xsi:schemaLocation="urn:example:orders http://127.0.0.1:9/order.xsd"'),
}  # fmt: skip


@pytest.mark.parametrize("why", READ)
def test_answers_that_say_the_same(schema: Any, why: str) -> None:
    found = scored(schema, READ[why])
    assert set(found.metrics.values()) == {1.0}, found


NO_DOCUMENT: dict[str, str] = {
    "nothing": "",
    "JSON": '{"number": 7}',
    "words before it": f"Here it is: {GOLD}",
    "words after it": f"{GOLD}\nAnything else?",
    "a fence of another language": f"```json\n{GOLD}\n```",
    "its end cut off": GOLD[:-4],
    "two documents": GOLD + GOLD,
    "tags that cross": GOLD.replace("Bob</name></customer>", "Bob</customer></name>"),
    "a bare ampersand": GOLD.replace("&amp;", "&"),
    "an entity that XML does not know": GOLD.replace("&amp;", "&nbsp;"),
    "a prefix that is not declared": GOLD.replace(' xmlns:o="urn:example:orders"', ""),
    "an attribute twice": GOLD.replace('"7"', '"7" number="7"'),
    "a character that XML has not": GOLD.replace("ring", "&#0;"),
    "half a character": GOLD.replace("ring", "\ud800"),
    "a document type": f"<!DOCTYPE order>{GOLD}",
    "entities that stand for gigabytes": LAUGHS + GOLD.replace("ring", "&a8;"),
    "an entity that is a file": f'<!DOCTYPE o [<!ENTITY f SYSTEM "file:///etc/hostname">]>{GOLD}'.replace(
        "ring", "&f;"),
    "too deep": "<a>" * 5000 + "</a>" * 5000,
    "too many elements": f"<a>{'<b/>' * 60_000}</a>",
    "too long": f"<a>{'b' * (1 << 20)}</a>",
}  # fmt: skip


@pytest.mark.parametrize("why", NO_DOCUMENT)
def test_answers_that_are_no_document(schema: Any, why: str) -> None:
    found = scored(schema, NO_DOCUMENT[why])
    assert set(found.metrics.values()) == {0.0}, found
    assert found.why.startswith("not one XML document: "), found.why


# why → (the answer, whether it is valid, right fields, fields)
JUDGED: dict[str, tuple[str, bool, int, int]] = {
    # texts and numbers
    "white space counts in an xs:string": (GOLD.replace("ring twice", " ring twice "), True, 12, 13),
    "capitals count": (GOLD.replace(">mug<", ">Mug<"), True, 12, 13),
    "another number": (GOLD.replace(">2<", ">3<"), True, 12, 13),
    "2.0 is 2, and no xs:integer": (GOLD.replace(">2<", ">2.0<"), False, 13, 13),
    "4.5e0 is 4.5, and no xs:decimal": (GOLD.replace("4.5<", "4.5e0<"), False, 13, 13),
    "a comma is no decimal point": (GOLD.replace("4.5<", "4,5<"), False, 12, 13),
    "a currency sign is no number": (GOLD.replace("4.5<", "€4.5<"), False, 12, 13),
    "a word is no number": (GOLD.replace(">2<", ">two<"), False, 12, 13),
    "yes is no truth value": (GOLD.replace(">true<", ">yes<"), False, 12, 13),
    "nor is TRUE": (GOLD.replace(">true<", ">TRUE<"), False, 12, 13),
    "another date": (GOLD.replace("05-03", "05-04"), True, 12, 13),
    "a date as people write it": (GOLD.replace("2026-05-03", "3 May 2026"), False, 12, 13),
    "a day that is not": (GOLD.replace("2026-05-03", "2026-02-30"), False, 12, 13),
    "a zone that nobody said": (GOLD.replace("05-03", "05-03Z"), True, 12, 13),
    "none of the values": (GOLD.replace("EUR", "GBP"), False, 12, 13),
    "not as the pattern says": (GOLD.replace("0042", "42"), False, 12, 13),
    # what is there
    "an attribute less that may be absent": (GOLD.replace(' sku="A-1"', ""), True, 12, 13),
    "an attribute less that has to be there": (GOLD.replace(' number="7"', ""), False, 12, 13),
    "an attribute that nobody knows": (GOLD.replace("<customer>", '<customer lang="en">'), False, 13, 14),
    "an element that nobody knows": (GOLD.replace("</customer>", "<age>9</age></customer>"), False, 13, 14),
    "an element that was made up": (GOLD.replace("</customer>", "<email>a@b</email></customer>"), True, 13, 14),
    "an attribute that was made up": (GOLD.replace('"7"', '"7" priority="urgent"'), True, 13, 14),
    "parts that were made up": (GOLD.replace("</o:", "<parts><label>x</label></parts></o:"), True, 13, 14),
    "an element less that has to be there": (GOLD.replace("<note>ring twice</note>", ""), False, 12, 13),
    "an empty element is an empty text": (GOLD.replace("ring twice", ""), True, 12, 13),
    "nil is no text": (GOLD.replace("<note>ring twice</note>", f'<note {XSI} xsi:nil="true"/>'), True, 12, 13),
    "nil with a text": (GOLD.replace("<note>", f'<note {XSI} xsi:nil="true">'), False, 13, 13),
    "the other alternative": (GOLD.replace("<card>0042</card>", "<invoice><name>A</name></invoice>"), True, 12, 14),
    "both alternatives": (GOLD.replace("</card>", "</card><invoice><name>A</name></invoice>"), False, 13, 14),
    # repeated elements
    "one item less": (GOLD.replace(TEA, ""), True, 11, 13),
    "the first item less: the others are not wrong for it": (GOLD.replace(ITEM, ""), True, 8, 13),
    "one item more": (GOLD.replace(TEA, TEA + TEA.replace("tea", "jam")), True, 13, 15),
    "items in another order": (GOLD.replace(ITEM + TEA, TEA + ITEM), True, 6, 16),
    "no item": (GOLD.replace(ITEM + TEA, ""), False, 6, 13),
    "items without the element around them": (GOLD.replace(ITEMS, ITEM + TEA), False, 6, 20),
    "a name twice": (GOLD.replace("</name>", "</name><name>Ann &amp; Bob</name>"), False, 12, 13),
    # where things stand
    "parts in another order": (GOLD.replace(CUSTOMER + ITEMS, ITEMS + CUSTOMER), False, 13, 13),
    "elements of an item in another order": (
        GOLD.replace("<product>mug</product><quantity>2</quantity>", "<quantity>2</quantity><product>mug</product>"),
        False, 13, 13),
    "an attribute as an element": (
        GOLD.replace(' number="7"', "").replace("<customer>", "<number>7</number><customer>", 1), False, 13, 13),
    "an element as an attribute": (GOLD.replace(CUSTOMER, '<customer name="Ann &amp; Bob"/>'), False, 13, 13),
    "text between elements": (GOLD.replace("<customer>", "<customer>Dear "), False, 13, 13),
    "an element within a text": (GOLD.replace(">mug<", "><b>mug</b><"), False, 12, 13),
    "a name in capitals is another name": (
        GOLD.replace("customer>", "Customer>"), False, 12, 14),
    # names
    "another root": (GOLD.replace("o:order", "o:purchase"), False, 13, 13),
    "a root that is known and is no order": (GOLD.replace("o:order", "o:note"), False, 13, 13),
    "another namespace": (GOLD.replace("urn:example:orders", "urn:example:order"), False, 13, 13),
    "no namespace": (GOLD.replace("o:order", "order"), False, 13, 13),
    "a namespace that its parts are not in": (
        GOLD.replace("o:order", "order").replace("xmlns:o", "xmlns"), False, 13, 13),
    "parts in the namespace that are in none": (GOLD.replace("customer>", "o:customer>"), False, 13, 13),
}  # fmt: skip


@pytest.mark.parametrize("why", JUDGED)
def test_answers_are_judged_field_by_field(schema: Any, why: str) -> None:
    text, valid, right, fields = JUDGED[why]
    found = scored(schema, text)
    assert found.metrics["parsed"] == 1
    assert found.metrics["schema_valid"] == valid, found.why
    assert found.metrics["field_accuracy"] == pytest.approx(right / fields), found.why
    assert found.metrics["exact_match"] == (valid and right == fields)
    assert bool(found.why) == (not found.metrics["exact_match"])


@pytest.mark.parametrize("why", [*JUDGED, *NO_DOCUMENT])
def test_an_answer_that_is_not_valid_has_its_faults(schema: Any, why: str) -> None:
    text, valid = JUDGED[why][:2] if why in JUDGED else (NO_DOCUMENT[why], False)
    found = judge(Example("x", (), Expected(text=GOLD), schema=schema), Output("x", text))
    assert found is not None
    assert (found.valid, found.undecided) == (valid, None)
    assert any(problem.counts for problem in found.problems) is not valid


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (GOLD.replace("EUR", "GBP"), [("enum", "items[*].price.currency")]),
        (GOLD.replace("0042", "42"), [("pattern", "card")]),
        (GOLD.replace(">two<", ">x<").replace(">2<", ">two<"), [("type", "items[*].quantity")]),
        (GOLD.replace("<note>ring twice</note>", ""), [("required", "note")]),
        (GOLD.replace(">2<", ">2.0<"), [("xsd", "order.items.item[*].quantity")]),  # of a value that fits
        (GOLD.replace("o:order", "order"), [("xsd", "(root)")]),
        (f"Here: {GOLD}", [("extra_text", "(answer)")]),
        (GOLD[:80], [("truncated", "(answer)")]),
        (GOLD.replace("</customer>", ""), [("not_xml", "(answer)")]),
        ("No order.", [("not_xml", "(answer)")]),
        ("", [("empty", "(answer)")]),
    ],
)
def test_faults_of_a_document_are_those_of_its_value(schema: Any, text: str, faults: Any) -> None:
    found = judge(Example("x", (), Expected(text=GOLD), schema=schema), Output("x", text))
    assert found is not None
    assert [(p.branch or p.keyword, p.path) for p in found.problems] == faults


def test_what_is_wrong_is_told(schema: Any) -> None:
    assert scored(schema, GOLD.replace(">2<", ">3<")).why == "items[0].quantity is 3; expected 2"
    assert scored(schema, GOLD.replace("o:order", "order")).why.startswith(
        "the document is <order>, not <order xmlns="
    )
    assert "quantity" in scored(schema, GOLD.replace(">2<", ">2.0<")).why
    cut = JsonFields().score(
        Example("x", (), Expected(text=GOLD), schema=schema), Output("x", GOLD[:50], finish_reason="length")
    )
    assert cut.why.endswith("(cut off at the token limit)")


def test_a_gold_document_is_right_and_every_corruption_of_it_is_not(schema: Any) -> None:
    example = Example("x", (), Expected(text=GOLD), schema=schema)
    assert not JsonFields().validate([example])
    wrong = Example("y", (), Expected(text=GOLD.replace("0042", "42")), schema=schema)
    assert any("schema_valid" in problem for problem in JsonFields().validate([wrong]))


def test_what_cannot_be_judged_is_unscored(schema: Any) -> None:
    nothing = JsonFields().score(
        Example("x", (), Expected(value={"number": 7}), schema=schema), Output("x", GOLD)
    )
    assert "expects no XML document" in str(nothing.unscored)
    broken = {**schema, "x-xml": {**schema["x-xml"], "files": {"a.xsd": "<a/>"}}}
    assert "not a usable XML Schema" in str(scored(broken, GOLD).unscored)


def test_a_pattern_takes_no_longer_for_an_answer_that_it_does_not_match(tmp_path: Path) -> None:
    path = tmp_path / "tag.elements"
    path.write_text("tags\n  tag* text /([A-Z]+ ?)+/\n")
    tags = read_schema(str(path)).schema
    gold = "<tags><tag>ABLE BAKER</tag></tags>"
    assert scored(tags, gold, gold).metrics["exact_match"] == 1
    # two to the power of 4,000 steps, for a matcher that goes back
    assert scored(tags, f"<tags><tag>{'A' * 4000}.</tag></tags>", gold).metrics["schema_valid"] == 0
