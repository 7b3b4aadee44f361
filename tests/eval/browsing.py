"""What tests do on a page of samples, in a browser."""

from __future__ import annotations

from typing import Any


def count(tab: Any) -> str:
    return str(tab.get_by_role("status").inner_text())


def choose(tab: Any, name: str, value: str) -> None:
    tab.get_by_role("combobox", name=name, exact=True).select_option(value)


def until(tab: Any, said: str) -> None:
    """Wait until the count of samples says so."""
    tab.get_by_role("status").filter(has_text=said).wait_for()


def listed(tab: Any) -> list[str]:
    return [text.splitlines()[0] for text in tab.locator("#list h3").all_inner_texts()]


def unfold(summary: Any) -> None:
    """Open a `details` and wait until it is filled, which is when the browser tells that it was opened."""
    summary.click()
    summary.locator("xpath=following-sibling::*").first.wait_for(state="attached")
