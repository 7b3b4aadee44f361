"""Answers by hand, each with the faults that they have to be attributed to, and why.

A fault is ``keyword`` or ``anyOf › keyword``, then the path. ``!`` before it: it does not make the answer invalid.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from agentlora.core.types import JSON


class Case(NamedTuple):
    """`schema`: of a value; None where the answer is of calls. `valid`: None where there is nothing to fit."""

    name: str
    answer: str
    faults: list[tuple[str, str]]
    valid: bool | None
    why: str
    schema: Any = None
    wanted: bool = True
    cut: bool = False
    array: bool = False


def values(**properties: Any) -> JSON:
    return {"type": "object", "properties": properties, "additionalProperties": False}


ORDER: JSON = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        "unit": {"enum": ["kg", "g", "piece"]},
        "items": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 0}},
                "required": ["name", "price"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["id", "items"],
    "additionalProperties": False,
}
PETS: JSON = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
            "required": ["kind", "lives"],
        },
        {
            "type": "object",
            "properties": {"kind": {"const": "dog"}, "tail": {"type": "string"}},
            "required": ["kind", "tail"],
        },
    ]
}
MAYBE: JSON = values(due={"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})
TREE: JSON = {
    "$defs": {
        "n": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "kids": {"items": {"$ref": "#/$defs/n"}}},
        }
    },
    "$ref": "#/$defs/n",
}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ONE = '{"id": "AB-1234", "items": [{"name": "tea", "price": 2}]}'


def call(name: str, arguments: Any, *, key: str = "arguments") -> str:
    return f"<tool_call>\n{json.dumps({'name': name, key: arguments})}\n</tool_call>"


VALUES = [
    Case("right", ONE, [], True, "nothing is wrong", ORDER),
    Case("fenced", f"```json\n{ONE}\n```", [], True, "a Markdown fence is taken, by the evaluator too", ORDER),
    Case("thought", f"<think>tea…</think>{ONE}", [], True, "thoughts before the answer are no part of it", ORDER),
    Case("index", '{"id": "AB-1234", "items": [{"name": "a", "price": 1}, {"name": "b", "price": "2"}]}',
         [("type", "items[*].price")], False,
         "the second entry's price is a text; which entry is of no account", ORDER),
    Case("all faults", '{"id": "ab-1", "unit": "Kg", "items": []}',
         [("pattern", "id"), ("enum", "unit"), ("minItems", "items")], False,
         "every fault counts, not the first", ORDER),
    Case("negative", '{"id": "AB-1234", "items": [{"name": "a", "price": -0.01}]}', [("minimum", "items[*].price")],
         False, "below the limit", ORDER),
    Case("missing inside", '{"id": "AB-1234", "items": [{"name": "a"}, {"name": "b"}]}',
         [("required", "items[*].price")], False, "twice in one answer is one fault at one path", ORDER),
    Case("misspelt", '{"id": "AB-1234", "itmes": []}', [("required", "items"),
         ("additionalProperties", "itmes")], False,
         "the key that is missing, and the one that is not expected", ORDER),
    Case("another kind", "[]", [("type", "(root)")], False,
         "an array where an object is wanted: the value itself", ORDER),
    Case("null", "null", [("type", "(root)")], False,
         "null is a JSON value, so that it is a type and not an empty answer",
         ORDER),
    Case("empty", "  \n", [("empty", "(answer)")], False, "nothing was written, which is not broken JSON", ORDER),
    Case("prose", "I am sorry, I cannot.", [("not_json", "(answer)")], False, "words alone", ORDER),
    Case("prose, cut", "I am sorry, but the", [("not_json", "(answer)"), ("truncated", "(answer)")], False,
         "words, and the limit ended them: more room alone would not have made a value of it", ORDER, cut=True),
    Case("around", f"Here it is: {ONE} Anything else?", [("extra_text", "(answer)")], False,
         "the value fits, and the evaluator still takes it for none", ORDER),
    Case("around a fence", f"Sure!\n```json\n{ONE}\n```", [("extra_text", "(answer)")], False,
         "a fence with words before it is no fence", ORDER),
    Case("around, and wrong", 'Here: {"id": "AB-1234", "items": []}',
         [("extra_text", "(answer)"), ("minItems", "items")],
         False, "what stands between the words is judged as well", ORDER),
    Case("two values", ONE + "\n" + ONE, [("extra_text", "(answer)")], False,
         "a second value is text after the first",
         ORDER),
    Case("brackets in words", f"As [asked] and {{so on}}: {ONE}", [("extra_text", "(answer)")], False,
         "brackets in a sentence begin no value", ORDER),
    Case("cut in a text", '{"id": "AB-12', [("truncated", "(answer)")], False,
         "ends within a string", ORDER, cut=True),
    Case("cut by itself", '{"id": "AB-1234", "items": [', [("truncated", "(answer)")], False,
         "the model ended too early by itself: still the beginning of a value", ORDER),
    Case("cut in a word", '{"ok": tru', [("truncated", "(answer)")], False, "tru is the beginning of true", ORDER),
    Case("cut in a number", '{"price": 1.', [("truncated", "(answer)")], False,
         "a point needs a digit after it", ORDER),
    Case("cut after words", 'Sure: {"id": "AB-1234"', [("extra_text", "(answer)"), ("truncated", "(answer)")], False,
         "both: words before, and no end", ORDER),
    Case("lost brace within", '{"id": "AB-1234", "items": [{"name": "a", "price": 1]}',
         [("not_json", "(answer)")], False,
         "a bracket closes what a brace opened: broken, not cut off; nothing within is taken for the answer",
         ORDER),
    Case("lost quote within", '{"id": "AB-1234, "items": []}', [("not_json", "(answer)")], False,
         "a quote is missing in the middle; no inner [] is taken for the answer", ORDER),
    Case("single quotes", "{'id': 'AB-1234', 'items': []}", [("not_json", "(answer)")], False,
         "Python, not JSON", ORDER),
    Case("trailing comma", '{"id": "AB-1234",}', [("not_json", "(answer)")], False,
         "no comma before the end in JSON", ORDER),
    Case("comment", '{"id": "AB-1234" /* the id */}', [("not_json", "(answer)")], False,
         "JSON has no comments", ORDER),
    Case("NaN", '{"price": NaN}', [("not_json", "(answer)")], False, "Python reads it, and it is no JSON number",
         values(price={"type": "number"})),
    Case("huge number", '{"price": 1e999}', [("not_json", "(answer)")], False, "it would be read as infinity",
         values(price={"type": "number"})),
    Case("too deep", "[" * 300 + "]" * 300, [("too_large", "(answer)")], False,
         "deeper than is read; JSON otherwise", {}),
    Case("duplicate key", '{"n": "x", "n": 1}', [], True, "of two members of one name the last counts",
         values(n={"type": "integer"})),
    Case("integer as float", '{"n": 3.0}', [], True,
         "3.0 is an integer in JSON Schema", values(n={"type": "integer"})),
    Case("true is no number", '{"n": true}', [("type", "n")], False, "in Python True is an int, in JSON it is not",
         values(n={"type": "integer"})),
    Case("format as note", '{"d": "tomorrow"}', [("!format", "d")], True,
         "2020-12 takes format as a note: shown, and not counted", values(d={"type": "string", "format": "date"})),
    Case("format that counts", '{"d": "tomorrow"}', [("format", "d")], False, "draft 7 asserts it",
         {"$schema": DRAFT_7, **values(d={"type": "string", "format": "date"})}),
    Case("null or number, text", '{"due": "5"}', [("anyOf › type", "due")], False,
         "no alternative is of its kind: what is asked for is one of both", MAYBE),
    Case("null or number, small", '{"due": 0}', [("anyOf › minimum", "due")], False,
         "a number comes nearest to the number: its limit is what failed", MAYBE),
    Case("discriminated", '{"kind": "dog", "lives": 9}', [("oneOf › required", "tail")], False,
         "it says that it is a dog, so that the cat's lives are of no account", PETS),
    Case("discriminated, type", '{"kind": "cat", "lives": "nine"}', [("oneOf › type", "lives")], False,
         "the alternative of its mark comes nearest", PETS),
    Case("unknown mark", '{"kind": "fish", "lives": 1}', [("oneOf › enum", "kind")], False,
         "no alternative has this mark: of all of them the marks are the options", PETS),
    Case("no mark", "{}", [("oneOf › required", "kind")], False,
         "both alternatives are as near: what both ask for is wrong, lives and tail are guesses", PETS),
    Case("fits two", '{"n": 5}', [("oneOf", "n")], False, "one alternative too many fits; none is to be mended",
         values(n={"oneOf": [{"type": "integer"}, {"minimum": 1}]})),
    Case("map", '{"a": 1, "b c": "x", "d": "y"}', [("type", "*")], False,
         "keys of a map are made up: one path for all",
         {"type": "object", "additionalProperties": {"type": "integer"}}),
    Case("odd key", '{"b c": 1}', [("type", '["b c"]')], False, "a named key that is no word is quoted",
         values(**{"b c": {"type": "string"}})),
    Case("property of a keyword's name", '{"items": {"properties": 1}}', [("type", "items.properties")], False,
         "here items and properties are names of properties, not keywords",
         values(items=values(properties={"type": "string"}))),
    Case("behind a reference", '{"v": 1, "kids": [{"v": 2, "kids": [{"v": "3"}]}]}',
         [("type", "kids[*].kids[*].v")], False,
         "through $ref, as deep as the answer goes", TREE),
    Case("in all of", '{"n": 3}', [("multipleOf", "n"), ("minimum", "n")], False, "allOf has no fault of its own",
         values(n={"allOf": [{"multipleOf": 2}, {"minimum": 5}]})),
    Case("conditional", '{"pay": "card"}', [("required", "number")], False, "then asks for it, and if is met",
         {"if": {"properties": {"pay": {"const": "card"}}}, "then": {"required": ["number"]}}),
    Case("goes together", '{"from": 1}', [("dependentRequired", "to")], False, "to is missing because from is there",
         {"dependentRequired": {"from": ["to"]}}),
    Case("twice", '{"tags": ["a", "b", "a"]}', [("uniqueItems", "tags")], False,
         "the array is wrong, no single entry",
         values(tags={"type": "array", "uniqueItems": True})),
    Case("key of a map", '{"too long": 1}', [("propertyNames", '["too long"]')], False,
         "the key is wrong, not its value",
         {"propertyNames": {"maxLength": 3}}),
    Case("beyond the tuple", "[1, 2]", [("items", "[*]")], False, "items is false: no entry after the first is taken",
         {"prefixItems": [{"type": "integer"}], "items": False}),
    Case("ruled out", '{"n": "none"}', [("not", "n")], False, "not names what must not be",
         values(n={"not": {"const": "none"}})),
    Case("a text as root", "kitchen", [("not_json", "(answer)")], False,
         "a JSON text has quotes", {"enum": ["kitchen"]}),
    Case("a number and words", "42 degrees", [("extra_text", "(answer)")], False,
         "the number is there, with words after it",
         {"type": "integer"}),
]  # fmt: skip

CALLS = [
    Case("right call", call("set_light", {"room": "hall"}), [], True, "nothing is wrong"),
    Case("text arguments", call("set_light", '{"room": "hall"}'), [], True,
         "arguments as a JSON text of an object are taken by the parser too"),
    Case("text arguments, wrong", call("set_light", '{"room": 1}'), [("type", "set_light(room)")], False,
         "and what they hold is judged"),
    Case("text arguments, no object", call("set_light", "hall"), [("type", "call.arguments")], False,
         "a text that holds no object is no set of arguments"),
    Case("number as text", call("set_light",
         {"room": "hall", "brightness": "20"}), [("type", "set_light(brightness)")],
         False, "the tool's name stands before the path"),
    Case("over the limit", call("set_light",
         {"room": "hall", "brightness": 101}), [("maximum", "set_light(brightness)")],
         False, "101 is above 100"),
    Case("two calls, one wrong", call("set_light", {"room": "a"}) + call("play", {"title": 1}),
         [("type", "play(title)")], False, "the right call has no fault, and does not hide the other's"),
    Case("the same twice", call("play", {}) + call("play", {}), [("required", "play(title)")], False,
         "one fault of the answer, twice"),
    Case("unknown tool", call("set_lamp", {"room": 1}), [("unknown_tool", "set_lamp")], False,
         "nothing says what its arguments have to be"),
    Case("other envelope", call("set_light",
         {"room": "hall"}, key="parameters"), [("required", "call.arguments")], False,
         "the call itself lacks a key; its tool is offered"),
    Case("no name", '<tool_call>\n{"arguments": {}}\n</tool_call>', [("required", "call.name")], False,
         "a call without a name"),
    Case("a list of calls", '<tool_call>\n[{"name": "play"}]\n</tool_call>', [("type", "call")], False,
         "one block holds one call"),
    Case("no call", "The light is on.", [("no_call", "set_light")], False, "it says that it did what it did not do"),
    Case("no call, cut", "Let me think about", [("no_call", "set_light"), ("truncated", "(answer)")], False,
         "ended by the limit before it called: both are told", cut=True),
    Case("call without marks", '{"name": "set_light", "arguments": {"room": "hall"}}',
         [("no_call", "set_light")], False,
         "no server would call that"),
    Case("not wanted", call("play", {"title": "x"}), [("!unwanted_call", "(answer)")], True,
         "it fits its tool, and should not be: not a fault of its schema", wanted=False),
    Case("not wanted, wrong", call("play", {}), [("required", "play(title)"), ("!unwanted_call", "(answer)")], False,
         "a call that is made is judged, wanted or not", wanted=False),
    Case("rightly none", "None of the tools fits.", [], None, "nothing to hold against a schema", wanted=False),
    Case("silence", "", [("!empty", "(answer)")], None, "no call was wanted, but some words were", wanted=False),
    Case("words beside", "Gladly.\n" + call("play", {"title": "x"}), [("!extra_text", "(answer)")], True,
         "text beside a call is allowed"),
    Case("thoughts beside", "<think>hm</think>" + call("play", {"title": "x"}), [], True,
         "thoughts are no such text"),
    Case("never closed", '<tool_call>\n{"name": "play", "arguments": {"title": "x"}}',
         [("truncated", "(answer)")], False,
         "the JSON is whole and the closing mark is missing"),
    Case("cut in a call", '<tool_call>\n{"name": "play", "argum', [("truncated", "(answer)")], False, "at the limit",
         cut=True),
    Case("lost brace", '<tool_call>\n{"name": "play", "arguments": {"title": "x"}\n</tool_call>',
         [("not_json", "(answer)")], False, "closed by its mark, so that it was not cut off: a brace is missing"),
    Case("half a block, then a call", "<tool_call>\n" + call("play", {"title": "x"}), [("empty", "(answer)"),
         ("truncated", "(answer)")], False, "a block without content that is never closed; the next one is read"),
    Case("array", '[{"name": "play", "arguments": {"title": "x"}}]', [], True,
         "as the grammar asks for it", array=True),
    Case("array, none", "[]", [("no_call", "set_light")], False, "an empty array says that no tool fits", array=True),
    Case("array, rightly none", "[]", [], None, "and rightly so", array=True, wanted=False),
    Case("array, cut", '[{"name": "play", "arguments": {"title": "x', [("truncated", "(answer)")], False,
         "a grammar cannot keep the limit from ending an answer", array=True, cut=True),
    Case("array, an object", '{"name": "play", "arguments": {"title": "x"}}', [("type", "(answer)")], False,
         "no array", array=True),
]  # fmt: skip
