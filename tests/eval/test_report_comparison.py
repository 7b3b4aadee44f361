"""Expected and given beside each other, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from browsing import unfold

pytestmark = pytest.mark.slow


def test_expected_and_given_are_compared_key_by_key(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    tab.keyboard.press("j")
    detail = tab.locator("#list > li").nth(0)
    assert detail.get_by_role("heading", level=4).all_inner_texts() == ["base ✗ wrong", "adapter ✗ wrong"]
    base, adapter = detail.locator(".answer").all()
    assert "No call was made." in base.inner_text()
    assert rows(adapter) == [
        ["=", "call", "set_light", "set_light"],
        ["≠", "room", '"room 0"', '"hall"'],
        ["≠", "brightness", "20", "3"],
    ]
    unfold(detail.get_by_text("2 more answers"))
    assert detail.locator(".answer").count() == 4
    unfold(detail.get_by_text("2 tools offered"))
    assert detail.locator(".tool p").first.inner_text() == "set_light (expected) Switch a lamp or dim it."
    tab.keyboard.press("j")
    tab.keyboard.press("j")
    assert "engine error: timed out after 60 s" in tab.locator("#list > li").nth(3).inner_text()


def rows(answer: Any) -> list[list[str]]:
    """The rows of an answer's comparison, without what only screen readers say."""
    found = answer.locator("tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.firstElementChild?.ariaHidden ? "
        "cell.firstElementChild.textContent : cell.textContent))"
    )
    return list(found)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def said(name: str, **arguments: Any) -> str:
    return json.dumps(call(name, **arguments))


def hermes(*texts: str) -> str:
    return "".join(f"<tool_call>{text}</tool_call>" for text in texts)


@pytest.mark.parametrize(
    ("expected", "answer", "marks"),
    [
        # calls in another order
        ({"calls": [call("a", x=1), call("b", y=2)]}, hermes(said("b", y=2), said("a", x=1)), "===="),
        # of two calls of one tool each beside the likelier
        ({"calls": [call("a", x=1), call("a", x=2)]}, hermes(said("a", x=2), said("a", x=3)), "=≠=="),
        ({"calls": [call("a", x=1)]}, hermes('{"name":"a","arguments":{"x":1.0,"y":null}}'), "==+"),
        ({"calls": [call("a", x={"y": [1, {"z": 2}]})]}, hermes('{"name":"a","arguments":{"x":{"y":[1]}}}'), "==−"),
        ({"calls": [call("a", x=True)]}, hermes('{"name":"a","arguments":{"x":1}}'), "=≠"),
        # a member that every object of JavaScript inherits
        ({"calls": [call("a", x=1)]}, hermes('{"name":"a","arguments":{"x":1,"__proto__":2,"toString":3}}'), "==++"),
        # arguments as a text, and an array as constrained answers are
        ({"calls": [call("a", x=1)]}, hermes('{"name":"a","arguments":"{\\"x\\":1}"}'), "=="),
        ({"calls": [call("a", x=1)]}, ' [{"name":"a","arguments":{"x":2}}]', "=≠"),
        # a call that nobody wanted, one too many, none
        ({}, hermes('{"name":"a","arguments":{}}'), "+"),
        ({"calls": [call("a")]}, hermes('{"name":"a","arguments":{}}', '{"name":"a","arguments":{}}'), "=+"),
        ({"calls": [call("a")]}, hermes("nothing"), "−"),
        ({"value": {"a": [1, 2], "b": {}}}, '```json\n{"a": [1, 3], "c": {}}\n```', "=≠−+"),
        ({"value": [1]}, "<think>hm</think> [1]", "="),
    ],
)  # fmt: skip
def test_marks_of_a_comparison(
    opened: Callable[..., Any], page: str, expected: dict[str, Any], answer: str, marks: str
) -> None:
    assert "".join(row[0] for row in compared(opened(page), expected, answer)) == marks


def compared(tab: Any, expected: dict[str, Any], answer: str) -> list[list[str]]:
    """The comparison that the page makes of an answer."""
    tab.evaluate(
        "([expected, answer]) => document.body.replaceChildren(...[PageText.difference(JSON.parse(expected), answer, "
        "false)].flat(9).filter(Boolean))",
        [json.dumps(expected), answer],
    )
    return rows(tab.locator("body"))


def test_numbers_keep_their_digits(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    said = '{"id": 12345678901234567890, "odd": 0.1, "long": 0.12345678901234567890, "huge": 1e999, "same": 1.50}'
    shown = tab.evaluate("(said) => PageText.pretty(PageText.readJson(said).value)", said)
    assert "".join(shown.split()) == said.replace(" ", "").replace("1.50", "1.5")
    found = compared(tab, {"value": {"id": 12345678901234567000}}, '{"id": 12345678901234567890}')
    assert found == [["≠", "id", "12345678901234567000", "12345678901234567890"]]


def test_texts_are_compared_word_by_word(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    compared(tab, {"text": "The light in the hall is on."}, "The lamp in the hall is now on.")
    assert tab.locator("del").all_inner_texts() == ["light"]
    assert tab.locator("ins").all_inner_texts() == ["lamp", " now"]
