"""Why evaluators beside the task's own call answers wrong: reasons counted, and how reports show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from agentlora.core.texts import brief
from agentlora.eval import page
from agentlora.eval.record import ConditionRecord, ReasonCount, ReasonsRecord, Record
from agentlora.eval.unseen import named
from agentlora.eval.wording import NOTHING, label

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agentlora.eval.judging import Judged

MOST_REASONS = 40  # of a condition and evaluator that a record holds
MOST_SAMPLES = 5  # ids of answers with one reason
MOST_SHOWN = 300  # characters of a reason
SHOWN = 8  # reasons in a terminal and in Markdown
OTHERS = "other reasons"


def reasons_of(results: Sequence[Judged], evaluators: Sequence[str]) -> dict[str, ReasonsRecord]:
    """By evaluator, why answers of one condition are wrong by it; only those that call some wrong."""
    found = {}
    for evaluator in evaluators:
        ids: dict[str, list[str]] = {}
        for judged in results:
            if judged.score is not None and (why := judged.score.notes.get(evaluator)):
                ids.setdefault(brief(why, MOST_SHOWN), []).append(judged.example.id)
        if ids:
            ordered = sorted(ids, key=lambda why: (-len(ids[why]), why))
            found[evaluator] = ReasonsRecord(
                answers=sum(map(len, ids.values())),
                reasons=tuple(
                    ReasonCount(why=why, answers=len(ids[why]), samples=tuple(ids[why][:MOST_SAMPLES]))
                    for why in ordered[:MOST_REASONS]
                ),
                more=sum(len(ids[why]) for why in ordered[MOST_REASONS:]),
            )
    return found


# --- showing ------------------------------------------------------------------------------------


def _evaluators(record: Record) -> list[str]:
    return list(dict.fromkeys(name for condition in record.conditions for name in condition.reasons))


def _title(evaluator: str) -> str:
    return f"{label(evaluator)}: answers by reason"


def _conditions(record: Record) -> list[ConditionRecord]:
    """Adapters first, as the section on compliance has them."""
    return sorted(record.conditions, key=lambda c: (not c.adapter, c.aside))


def _counts(record: Record, evaluator: str, most: int) -> list[tuple[str, list[ReasonCount | int | None]]]:
    """(reason, what each condition has of it), those first that the adapter's answers have most; last how many
    answers of each condition have another one.
    """
    told = [c.reasons.get(evaluator) for c in _conditions(record)]
    by = [{r.why: r for r in found.reasons} if found else {} for found in told]
    every = dict.fromkeys(why for reasons in by for why in reasons)
    shown = sorted(every, key=lambda why: ([-r[why].answers if why in r else 0 for r in by], why))[:most]
    rows: list[tuple[str, list[ReasonCount | int | None]]] = [
        (why, [reasons.get(why) for reasons in by]) for why in shown
    ]
    others = [
        (found.answers if found else 0) - sum(r[why].answers for why in shown if why in r)
        for found, r in zip(told, by, strict=True)
    ]
    return [*rows, (OTHERS, list(others))] if any(others) else rows


def _cell(count: ReasonCount | int | None) -> str:
    return str(count.answers if isinstance(count, ReasonCount) else count or NOTHING)


def terminal(record: Record) -> Iterator[RenderableType]:
    """A table for each evaluator."""
    from rich.table import Table
    from rich.text import Text

    for evaluator in _evaluators(record):
        table = Table(title=_title(evaluator), title_justify="left")
        table.add_column("", overflow="fold")
        for condition in _conditions(record):
            table.add_column(Text(condition.name), justify="right")
        for why, counts in _counts(record, evaluator, SHOWN):
            table.add_row(Text(named(why)), *map(_cell, counts))
        yield table


def markdown(
    record: Record, table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]
) -> Iterator[str]:
    """A heading and a table for each evaluator; `table` escapes its cells."""
    names = [c.name for c in _conditions(record)]
    for evaluator in _evaluators(record):
        rows = [[why, *map(_cell, counts)] for why, counts in _counts(record, evaluator, SHOWN)]
        yield from (f"## {_title(evaluator)}", table(["", *names], rows))


def html(record: Record) -> str:
    """The section, or nothing; everything that comes from data or a model is escaped. Numbers lead to a sample."""
    parts = []
    names = [c.name for c in _conditions(record)]
    for evaluator in _evaluators(record):
        rows = []
        for why, counts in _counts(record, evaluator, MOST_REASONS):
            cells = (_html_cell(name, count) for name, count in zip(names, counts, strict=True))
            rows.append(f"<tr>{page.row_head(why)}{''.join(cells)}</tr>")
        title = _title(evaluator)
        parts.append(f"<h2>{page.text(title)}</h2>{page.table(('', *names), rows, title)}")
    return f"<section>{''.join(parts)}</section>" if parts else ""


def _html_cell(condition: str, count: ReasonCount | int | None) -> str:
    if not isinstance(count, ReasonCount):
        return f'<td class="soft">{_cell(count)}</td>'
    ids = ", ".join(page.to_samples(name, {"of": condition, "id": name}) for name in count.samples)
    return f"<td>{count.answers}<small>{ids}</small></td>"
