"""The HTML report by keyboard, for screen readers, on a phone, in print and without a script, in a real browser."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import count, listed, until

pytestmark = pytest.mark.slow
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


def test_everything_is_reached_by_keyboard(opened: Callable[..., Any], page: str) -> None:
    tab = opened(page)
    focus = "document.activeElement.name || document.activeElement.innerText.split('\\n')[0]"
    tab.keyboard.press("Tab")
    assert tab.evaluate(focus) == "To the samples"
    tab.keyboard.press("Enter")
    seen = []
    for _ in range(13):
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
    assert tab.get_by_role("list", name="Samples").locator("> li").count() == 5
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
