"""The HTML report in a real browser: Chromium, over Playwright."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_examples import light, make_examples
from eval_runs import Counting, perfect, run
from report_pages import mixed

from agentlora.core.types import Example, Expected, ToolCall
from agentlora.eval.calls import render_calls
from agentlora.eval.conditions import Condition
from agentlora.eval.diff import Side, compare
from agentlora.eval.diff_report import diff_html
from agentlora.eval.report import html

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
# [ratio, element] of every visible element with text of its own
CONTRASTS = r"""() => {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (it) => {
    const colour = getComputedStyle(it).backgroundColor;
    return colour.endsWith(", 0)") ? behind(it.parentElement) : colour;
  };
  const hasText = (it) => [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return [...document.querySelectorAll("main *")].filter((it) => it.checkVisibility() && hasText(it))
    .map((it) => [ratio(light(getComputedStyle(it).color), light(behind(it))), `${it.tagName}.${it.className}`]);
}"""
BIDI = "safe\u202egnp.exe\u202c \u2066x\u2069 a\u200bb"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed. On Debian: sudo apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens a page's text and waits until its samples are listed. When the test ends, no page may have
    asked for anything, complained, or shown a dialog.
    """
    contexts, numbers, trouble = [], itertools.count(), []

    def open_page(
        page: str, fragment: str = "", script: bool | None = True, holed: bool = False, **settings: Any
    ) -> Any:
        file = tmp_path / f"page-{next(numbers)}.html"
        file.write_text(page, encoding="utf-8")
        context = chromium.new_context(java_script_enabled=script is not False, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda said: None if holed else trouble.append(said.text))
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("dialog", lambda dialog: trouble.append(dialog.message) or dialog.dismiss())
        # what the policy stops is still an event, though nobody was asked
        asked = "requestfinished" if holed else "request"
        tab.on(asked, lambda it: None if it.url.startswith(file.as_uri()) else trouble.append(it.url))
        tab.goto(file.as_uri() + fragment)
        if script:
            tab.wait_for_selector("html[data-ready]", state="attached")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def page(tmp_path: Path) -> str:
    _, (record, samples) = mixed(tmp_path)
    return html(record, samples)


def count(tab: Any) -> str:
    return str(tab.get_by_role("status").inner_text())


def choose(tab: Any, name: str, value: str) -> None:
    tab.get_by_role("combobox", name=name, exact=True).select_option(value)


def until(tab: Any, said: str) -> None:
    """Wait until the count of samples says so."""
    tab.get_by_role("status").filter(has_text=said).wait_for()


def listed(tab: Any) -> list[str]:
    return [text.splitlines()[0] for text in tab.locator("#list h3").all_inner_texts()]


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
            folded.click()
        detail.locator(".tool").wait_for()
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


# --- what is shown ------------------------------------------------------------------------------


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
    detail.get_by_text("2 more answers").click()
    assert detail.locator(".answer").count() == 4
    detail.get_by_text("2 tools offered").click()
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


# --- by keyboard, on a phone, in print, without a script ----------------------------------------


def test_everything_is_reached_by_keyboard(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    focus = "document.activeElement.name || document.activeElement.innerText.split('\\n')[0]"
    tab.keyboard.press("Tab")
    assert tab.evaluate(focus) == "To the samples"
    tab.keyboard.press("Enter")
    seen = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate(focus))
        assert tab.locator(":focus").evaluate("(it) => getComputedStyle(it).outline").endswith("solid 3px")
    controls = tab.locator("#filters select, #filters input, #filters button")
    assert seen[: controls.count()] == controls.evaluate_all(
        "(parts) => parts.map((it) => it.name || it.innerText)"
    )
    assert listed(tab)[0] in seen
    tab.keyboard.press("j")
    tab.keyboard.press("/")
    assert tab.evaluate(focus) == "q"
    tab.keyboard.type("jk/")  # which are letters here
    assert tab.get_by_label("Text").input_value() == "jk/"
    until(tab, "0 of 24")
    tab.keyboard.press("Escape")
    assert count(tab) == "5 of 24 samples: adapter, failed"
    open_now = tab.locator("#list [aria-expanded=true]")
    for key, name in (("j", "Dim room 0"), ("j", "What is 1"), ("j", "Light in room 2"), ("k", "What is 1")):
        tab.keyboard.press(key)
        assert open_now.count() == 1
        assert open_now.inner_text().startswith(name)
        assert tab.evaluate(focus).startswith(name)
        region = tab.locator("#" + open_now.get_attribute("aria-controls"))
        assert region.is_visible()
    tab.keyboard.press("Enter")
    assert open_now.count() == 0
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate(focus) == "Dim room 0"
    assert open_now.count() == 0
    tab.keyboard.press("ArrowUp")  # there is no other above
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(focus).startswith("What is 1")
    tab.get_by_label("Keys of one letter").uncheck()
    tab.locator("#list button").first.focus()
    tab.keyboard.press("j")
    tab.keyboard.press("/")
    assert tab.evaluate(focus) == "Dim room 0"


def test_names_and_roles(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    tab.keyboard.press("j")
    assert tab.get_by_role("search", name="Filter the samples").is_visible()
    for select in tab.get_by_role("combobox").all():
        assert select.evaluate("(it) => it.labels.length") == 1
    assert tab.get_by_role("list", name="Samples").get_by_role("listitem").count() == 5
    levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert len(ids) == len(set(ids))
    for chart in tab.get_by_role("img").all():
        assert "adapter" in (chart.get_attribute("aria-label") or "")
    row = tab.locator(".diff tbody tr").nth(1)
    assert "another value" in row.inner_text()  # not by colour alone


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened: Callable[..., Any], page: str, scheme: str) -> None:
    """4.5 to 1, as WCAG 2.2 wants it of text (1.4.3)."""
    tab = opened(page, color_scheme=scheme)
    tab.keyboard.press("j")
    found = tab.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [what for ratio, what in found if ratio < 4.5] == []
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    assert dark == (scheme == "dark")


def test_a_phone_shows_it_without_scrolling_sideways(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page, viewport={"width": 390, "height": 844})
    tab.keyboard.press("j")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    sizes = tab.evaluate(
        "[...document.querySelectorAll('.chart .name, .chart .value, td, th, pre, #list button, select')]"
        ".filter((it) => it.checkVisibility() && it.innerText).map((it) => parseFloat(getComputedStyle(it).fontSize))"
    )
    assert min(sizes) >= 12
    answers = tab.locator("#list .answer").all()
    assert (
        answers[0].bounding_box()["y"] < answers[1].bounding_box()["y"]
    )  # below each other, not too narrow beside
    targets = tab.locator("#filters select, #filters input, #list button, #filters button").all()
    assert min(target.bounding_box()["height"] for target in targets) >= 24  # WCAG 2.2, 2.5.8


def test_print_shows_what_is_on_view(opened: Callable[..., Any], page: str, tmp_path: Path) -> None:
    tab = opened(page)
    tab.keyboard.press("j")
    tab.emulate_media(media="print", color_scheme="dark")
    assert not tab.locator("#filters").is_visible()
    assert tab.get_by_role("status").is_visible()
    assert tab.get_by_text("At a glance").is_visible()
    assert tab.locator("#list .answer").count() == 2
    assert all(answer.is_visible() for answer in tab.locator("#list .answer").all())
    assert len(listed(tab)) == 5
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"  # on white paper
    assert tab.pdf(format="A4").startswith(b"%PDF")


def test_without_a_script_figures_and_a_note_are_there(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page, script=False)
    assert tab.locator(".verdict").is_visible()
    for said in ("At a glance", "All figures", "Right answers by case", "Right answers by tool"):
        assert tab.get_by_text(said, exact=True).first.is_visible()
    assert tab.locator("noscript p").is_visible()
    assert not tab.locator("#browser").is_visible()
    assert tab.get_by_text("Where this comes from").is_visible()


def test_samples_that_cannot_be_unpacked_are_said_to_be_missing(
    opened: Callable[..., Any], page: str
) -> None:
    tab = opened(page.replace('id="data">', 'id="data">AAAA', 1), script=None)
    tab.get_by_text("The samples cannot be unpacked here").wait_for()
    assert not tab.locator("#browser").is_visible()


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
