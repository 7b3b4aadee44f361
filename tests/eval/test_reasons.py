"""Reasons of evaluators are counted, and none of them is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from agentlora.core.types import Example, Expected, Output, Score
from agentlora.eval import reasons
from agentlora.eval.judging import Judged
from agentlora.eval.report import table


def judged(number: int, why: str) -> Judged:
    example = Example(f"e{number}", (), Expected())
    return Judged(example, Output(example.id, ""), Score({}, notes={"who": why} if why else {}), False, {})


def system(name: str, adapter: str | None, *whys: str) -> Any:
    found = reasons.reasons_of([judged(n, why) for n, why in enumerate(whys)], ["who"])
    return SimpleNamespace(name=name, adapter=adapter, aside=False, reasons=found)


def test_the_commonest_come_first_and_the_rest_is_counted() -> None:
    many = [f"reason {n:02}" for n in range(45)]
    found = system("a", None, "x" * 5000, *many, "reason 44", "", "").reasons["who"]
    assert (found.answers, len(found.reasons), found.more) == (47, 40, 6)
    assert (found.reasons[0].why, found.reasons[0].answers) == ("reason 44", 2)
    assert found.reasons[0].samples == ("e45", "e46")
    assert max(len(reason.why) for reason in found.reasons) <= reasons.MOST_SHOWN
    assert system("a", None, "", "").reasons == {}
    failed = Judged(Example("e", (), Expected()), Output("e", "", error="x"), None, False, {})
    assert reasons.reasons_of([failed], ["who"]) == {}


def test_tables_put_adapters_first_and_end_in_what_is_not_shown() -> None:
    base = system("base", None, *["often"] * 3, *(f"base {n}" for n in range(9)))
    adapter = system("tuned", "sha", "rare", "<b>bold</b>")
    record = cast(Any, SimpleNamespace(conditions=[base, adapter]))
    lines = "\n".join(reasons.markdown(record, table)).splitlines()
    assert lines[0] == "## Who: answers by reason"
    assert lines[1] == "|  | tuned | base |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    assert rows[:3] == [["\\<b>bold\\</b>", "1", "–"], ["rare", "1", "–"], ["often", "–", "3"]]
    assert rows[-1] == ["other reasons", "–", "4"]
    assert sum(int(base) for _, _, base in rows if base != "–") == 12
    page = reasons.html(record)
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert 'data-filter="of=tuned&amp;id=e0"' in page
    assert reasons.html(cast(Any, SimpleNamespace(conditions=[system("a", None, "")]))) == ""
