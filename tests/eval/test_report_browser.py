"""The HTML report in a real browser, Chromium over Playwright: nothing that it shows runs, and samples are chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import choose, count, listed, unfold, until
from eval_examples import light, make_examples
from eval_runs import Counting, perfect, run

from agentlora.core.types import Example, Expected, ToolCall
from agentlora.eval.calls import render_calls
from agentlora.eval.conditions import Condition
from agentlora.eval.diff import Side, compare
from agentlora.eval.diff_report import diff_html
from agentlora.eval.report import html

pytestmark = pytest.mark.slow
EVIL = [
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "--><img src=x onerror='window.pwned = 1'>",
    '"><svg onload=window.pwned=1>',
    "[click](javascript:window.pwned=1) javascript:window.pwned=1",
    "</pre></main><iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "{{constructor.constructor('window.pwned = 1')()}} ${window.pwned = 1}",
]
BIDI = "safe\u202egnp.exe\u202c \u2066x\u2069 a\u200bb"


# --- nothing runs -------------------------------------------------------------------------------


def test_nothing_of_a_model_or_of_data_runs(opened: Callable[..., Any], tmp_path: Path) -> None:
    """Hostile answers, requests, tools, tags, names and errors: shown as they are, letter by letter."""
    evil = "\n".join([*EVIL, BIDI])
    tool = {
        "type": "function",
        "function": {"name": evil, "description": evil, "parameters": {"type": "object", "title": evil}},
    }
    examples = [
        Example(
            id=f"{evil} {i}",
            messages=({"role": "system", "content": evil}, {"role": "user", "content": evil}),
            tools=(tool,),
            expected=Expected(calls=(ToolCall(evil, {evil: evil}),)) if i % 2 else Expected(text=evil),
            group=f"{evil} {i}",
            tags={"case": f"{evil} {i}", "slice": evil, evil: f"{evil} {i}"},
        )
        for i in range(4)
    ]
    answers = {e.id: evil for e in examples} | {
        f"skill/{examples[1].id}": render_calls([ToolCall("other", {evil: [evil], "__proto__": evil})])
    }
    conditions = (Condition("base"), Condition(f"adapter {evil}", adapter="skill"))
    identity = {"base": {"name": evil}, "adapter": evil, "engine": evil, "provenance": {evil: evil}}
    record, samples = run(
        Counting(answers, {examples[3].id: evil}),
        examples,
        tmp_path,
        conditions=conditions,
        identity=identity,
    )
    record = record.model_copy(update={"skipped": {evil: evil}, "task": evil})
    tab = opened(html(record, samples))
    choose(tab, "Outcome", "any")
    for detail in tab.locator("#list > li").all():
        tab.keyboard.press("j")
        for folded in detail.locator("summary").all():
            unfold(folded)
        shown = detail.locator("pre").all_inner_texts()
        assert sum("\n".join(EVIL) in text for text in shown) >= 2  # system, user and what there is else
        assert "safeU+202Egnp.exeU+202C U+2066xU+2069 aU+200Bb" in shown[0]
        assert EVIL[0] in detail.locator(".tool p").inner_text()
    assert "[U+202E]" in tab.locator("h1").inner_text()
    raw = tab.evaluate("document.body.innerText")
    assert not any(mark in raw for mark in "\u202e\u2066\u200b")
    tab.get_by_label("Text").fill("</SCRIPT>")
    until(tab, "4 samples")
    assert tab.evaluate("window.pwned") is None
    assert tab.locator("img, iframe, object, embed, form:not(#filters)").count() == 0
    assert tab.locator("script").count() == 2
    links = tab.evaluate("[...document.links].map((a) => new URL(a.href).protocol + a.hash.slice(0, 1))")
    assert set(links) == {"file:#"}
    names = tab.evaluate("[...document.querySelectorAll('*')].flatMap((it) => it.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]


def test_what_slipped_through_would_not_run(opened: Callable[..., Any], page: str) -> None:
    """The policy and trusted types hold where an escape were missed: here somebody forgot to."""
    hole = f"<main>{EVIL[0]}{EVIL[3]}<a id='bad' href='javascript:window.pwned=1'>x</a><img src='https://example.org/'>"
    tab = opened(page.replace("<main>", hole, 1), holed=True)
    tab.locator("#bad").click()
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('script').text = 'window.pwned = 1'",
        "document.createElement('iframe').srcdoc = 'x'",
    ):
        tried = f"() => {{ try {{ {attempt}; return 'done' }} catch (error) {{ return error.name }} }}"
        assert tab.evaluate(tried) == "TypeError"
    assert tab.evaluate("window.pwned") is None
    assert listed(tab)


def test_an_answer_of_a_megabyte_is_there_whole(opened: Callable[..., Any], tmp_path: Path) -> None:
    examples = make_examples(1)
    long, deep = "tick tock " * 105_000, "[" * 50_000
    answers = perfect(examples) | {"skill/g0-one": long, "skill/g0-two": f"<tool_call>{deep}</tool_call>"}
    tab = opened(html(*run(Counting(answers), examples, tmp_path)))
    tab.keyboard.press("j")
    given = tab.locator("#list > li").nth(0).locator(".answer").nth(1).locator("pre").last
    assert given.evaluate("(it) => it.textContent") == long
    tab.keyboard.press("j")
    answer = tab.locator("#list > li").nth(1).locator(".answer").nth(1)
    assert "1 call(s) cannot be read." in answer.inner_text()
    assert deep in answer.locator("pre").last.inner_text()


# --- choosing -----------------------------------------------------------------------------------


def test_the_page_begins_with_what_the_adapter_gets_wrong(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    assert count(tab) == "5 of 24 samples: adapter, failed"
    assert listed(tab)[0] == "Dim room 0"
    choose(tab, "Outcome", "lost")
    assert count(tab) == "1 of 24 samples: adapter, wrong, the other right"
    assert listed(tab) == ["What is 1 squared?"]
    choose(tab, "Beside", "-1")
    assert count(tab) == "24 samples: adapter, all"
    assert tab.locator("select[name=outcome] option").all_inner_texts() == [
        "all (24)",
        "failed (5)",
        "right (19)",
        "not judged (2)",
    ]
    choose(tab, "Case", tab.locator("#facets option", has_text="Two calls").get_attribute("value"))
    choose(tab, "Outcome", "failed")
    assert listed(tab) == ["Light in room 2, and some jazz"]
    tab.get_by_role("button", name="Show all").click()
    assert count(tab) == "24 samples: adapter, all"
    tab.get_by_label("Text").fill("NOT SURE")  # of an answer, in other letters
    until(tab, "1 of 24")
    choose(tab, "Answers of", "0")
    choose(tab, "Beside", "1")
    assert count(tab) == "0 of 24 samples: base, all"  # neither of these two said so


def test_what_is_chosen_stands_in_the_address(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page, "#outcome=any&case=two_calls&q=room+3")
    assert listed(tab) == ["Light in room 3, and some jazz"]
    assert tab.get_by_label("Text").input_value() == "room 3"
    tab.keyboard.press("j")
    address = tab.url
    assert "id=g3-two" in address
    again = opened(page, address[address.index("#") :])
    assert again.locator("[aria-expanded=true]").inner_text().startswith("Light in room 3")
    single = opened(page, "#id=g4-ask")  # which is right, so that it is not among what is shown first
    assert single.locator("[aria-expanded=true]").inner_text().startswith("Dim the light")
    odd = opened(page, "#outcome=constructor&of=nobody&case=nothing&q=")
    assert count(odd) == "5 of 24 samples: adapter, failed"


def test_a_slice_leads_to_its_samples(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    tab.get_by_role("region", name="By tool").get_by_role("link", name="play").click()
    until(tab, "1 of 24")
    assert listed(tab) == ["Light in room 2, and some jazz"]
    assert tab.evaluate("document.activeElement.id") == "samples-title"
    tab.get_by_role("region", name="By case").get_by_role("link", name="None fits").click()
    until(tab, "2 of 24")
    assert listed(tab) == ["What is 1 squared?", "What is 5 squared?"]
    tab.go_back()
    until(tab, "1 of 24")
    assert listed(tab) == ["Light in room 2, and some jazz"]


def test_a_fault_leads_to_its_samples_and_a_sample_tells_its_faults(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    examples = make_examples(6)
    text = render_calls([ToolCall("set_light", {"room": "hall", "brightness": "20"})])
    odd = render_calls([ToolCall("set_light", {"rooom": "hall"})])
    answers = {f"skill/g{g}-one": text for g in range(3)} | {"skill/g3-one": odd}
    tab = opened(html(*run(Counting(perfect(examples) | answers), examples, tmp_path)))
    table = tab.get_by_role("region", name="Schema compliance")
    table.get_by_role("row", name="type").get_by_role("link", name="3 (").click()
    until(tab, "3 of 24 samples: adapter, all")
    assert listed(tab) == [f"Dim room {g}" for g in range(3)]
    tab.keyboard.press("j")
    adapter = tab.locator("#list .answer").last
    assert adapter.locator(".faults li").all_inner_texts() == [
        'type set_light(brightness) is not of type integer\ngiven "20", nearest valid 20'
    ]
    assert (
        "no call where one was wanted" in tab.locator("#list .answer").first.locator(".faults").inner_text()
    )
    table.get_by_role("rowheader", name="no call").get_by_role("link").click()  # which only others have
    until(tab, "12 of 24 samples: base, all")
    missing = tab.locator(".paths .fail", has_text="is missing")
    missing.get_by_role("link", name="1 answer").click()
    until(tab, "1 of 24 samples: adapter, all")
    assert listed(tab) == ["Dim room 3"]
    worst = tab.locator(".paths .fail", has_text="brightness")
    worst.locator("summary").click(position={"x": 4, "y": 12})
    worst.get_by_role("link", name="g1-one").click()
    until(tab, "24 samples: adapter, all")
    assert tab.locator("[aria-expanded=true]").inner_text().startswith("Dim room 1")


def test_many_samples_are_listed_in_parts(opened: Callable[..., Any], tmp_path: Path) -> None:
    tab = opened(html(*run(Counting(), make_examples(40), tmp_path)), "#outcome=any")
    assert count(tab) == "160 samples, the first 50 listed: adapter, all"
    tab.get_by_role("button", name="Show 50 more").click()
    assert len(listed(tab)) == 100
    assert tab.evaluate(
        "document.activeElement.closest('li') === document.getElementById('list').children[50]"
    )
    tab.locator("#list button").nth(99).focus()
    tab.keyboard.press("ArrowDown")  # beyond what is listed
    assert len(listed(tab)) == 101
    deep = opened(html(*run(Counting(), make_examples(40), tmp_path)), "#outcome=any&id=g39-ask")
    assert len(listed(deep)) == 160


# --- two evaluations ----------------------------------------------------------------------------


def test_the_page_of_two_evaluations_begins_with_what_flipped(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    examples = make_examples(6)
    sides = []
    for name, wrong in (("A", ["g0-one", "g1-one"]), ("B", ["g1-one", "g2-none"])):
        answers = perfect(examples) | {f"skill/{i}": render_calls([light("cellar")]) for i in wrong}
        record, samples = run(Counting(answers), examples, tmp_path)
        sides.append(
            Side(name, record, "adapter", {s["id"]: s for s in samples if s["condition"] == "adapter"})
        )
    tab = opened(diff_html(compare(*sides)))
    assert count(tab) == "2 of 24 samples: B: adapter, one right, one wrong"
    assert listed(tab) == ["Dim room 0", "What is 2 squared?"]
    choose(tab, "Outcome", "lost")
    assert listed(tab) == ["What is 2 squared?"]
    tab.keyboard.press("j")
    headings = tab.locator("#list").get_by_role("heading", level=4).all_inner_texts()
    assert headings == ["A: adapter ✓ right", "B: adapter ✗ wrong"]
    assert tab.locator(".verdict .said").inner_text().startswith("Undecided")
    tab.get_by_role("region", name="By case").get_by_role("link", name="Call", exact=True).click()
    until(tab, "1 of 24")
    assert listed(tab) == ["Dim room 0"]
