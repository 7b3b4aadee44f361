"""Reports: pure renderings of a record (and its samples) for a terminal, as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlora.eval import compliance_report, first_view, reasons
from agentlora.eval.record import DifferenceRecord, Record, SuiteRecord
from agentlora.eval.report_html import html
from agentlora.eval.suites.wording import suite_header, suite_rows, suite_title
from agentlora.eval.unseen import named
from agentlora.eval.verdict_report import failures, named_version, verdict_markdown, word
from agentlora.eval.wording import (
    LEGEND,
    NOTHING,
    applies_to,
    arrowed,
    difference_text,
    figure_text,
    gain,
    gold_notes,
    interval,
    label,
    mean_text,
    notes,
    p_text,
    probes_text,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["html", "markdown", "terminal_table"]


def terminal_table(record: Record) -> RenderableType:
    """Metrics down, conditions across, mean over interval; at the right, each adapter's paired difference to the best
    baseline, in points; below, what was found and what was left out.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{record.task}: {record.n} examples in {record.groups} groups", title_justify="left")
    table.add_column("95 % intervals", style="bold")
    for condition in record.conditions:
        view = first_view.view_of(record, condition.name)
        style = {"good": "green", "bad": "red", "open": "yellow"}[view.kind] if view else ""
        table.add_column(Text(condition.name), justify="right", style=style)
    best = record.best_baseline
    compared = [c.name for c in record.conditions if c.decides and best is not None]
    for system in compared:
        name = system if len(compared) > 1 else "points"
        table.add_column(Text(f"{name} against\n{best}"), justify="right")
    for metric in record.metrics:
        if not applies_to(record, metric):
            continue
        name = f"{arrowed(record, metric)}\n(of {applies_to(record, metric)})"
        figures = [c.metrics[metric] for c in record.conditions]
        cells = [f"{mean_text(f)}\n{interval(f)}" for f in figures]
        cells += [_gain(record.difference(system, best or "", metric)) for system in compared]
        table.add_row(name, *cells, style="bold" if metric == record.headline else None, end_section=True)
    lines = filter(None, (probes_text(record), *_notes(record)))
    first = ((f"{said}: " if said else "", line) for said, line in first_view.lines(record))
    return Group(
        table,
        *(Text.assemble((named(said), "bold"), named(line)) for said, line in first),
        *(Text(named(line)) for line in lines),
        *compliance_report.terminal(record),
        *reasons.terminal(record),
        *map(_suite_table, record.suites),
    )


def _suite_table(suite: SuiteRecord) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{suite.name}: {suite_title(suite)}"), title_justify="left")
    for number, column in enumerate(suite_header(suite)):
        table.add_column(Text(column), justify="right" if number else "left")
    for row in suite_rows(suite):
        table.add_row(*(Text(named(cell)) for cell in row))
    return table


def _gain(found: DifferenceRecord | None) -> str:
    if found is None or found.low is None or found.high is None:
        return NOTHING
    mean, low, high = (gain(value, found) for value in (found.mean, found.low, found.high))
    return f"{mean}\n{low} to {high}"


def markdown(record: Record, verdict: Mapping[str, Any] | None = None) -> str:
    """The record's figures as Markdown tables; before them what the gate says (`verdict`: its ``gate.json``)."""
    names = [c.name for c in record.conditions]
    intro = (
        f"{record.n} examples in {record.groups} groups, at most {record.max_tokens} new tokens. "
        "Per cent with 95 % intervals (Wilson's, of as many examples as those of groups that answer alike are worth); "
        "differences are paired, their intervals from a cluster bootstrap by group, their test McNemar's with groups "
        "as one."
    )
    rows = [_row(record, metric) for metric in record.metrics]
    first = first_view.lines(record)
    if verdict:
        failed = "; ".join(failures(verdict)) or "every rule"
        first.insert(0, (f"The gate {word(verdict)} {named_version(verdict)}", f"{failed}."))
    parts = [f"# Evaluation: {cell(record.task)}"]
    parts += [(f"**{cell(said)}:** " if said else "") + cell(line) for said, line in first]
    parts += [f"- {cell(note.said)}" for note in gold_notes(record)]
    if verdict:
        parts += [verdict_markdown(verdict, named_version(verdict)).rstrip(), "## Figures"]
    parts.append(intro)
    parts.append(table(["", "scored", *names], rows))
    for tag in sorted({tag for c in record.conditions for tag in c.slices}):
        values = sorted({value for c in record.conditions for value in c.slices.get(tag, {})})
        if values:
            rows = [_slice_row(record, tag, value) for value in values]
            against = [f"{d.system} − {d.baseline}" for d in record.slice_gains(tag, values[0])]
            parts += [f"## Right answers by {cell(tag)}", table(["", "n", *names, *against], rows)]
    if record.differences:
        compared: list[list[object]] = [
            [
                f"{d.system} − {d.baseline}",
                label(d.metric),
                difference_text(d),
                d.n,
                d.groups,
                p_text(d.p_value),
            ]
            for d in record.differences
        ]
        parts += [
            "## Paired differences",
            table(["", "metric", "difference", "n", "groups", "test"], compared),
        ]
    parts += compliance_report.markdown(record, table)
    parts += reasons.markdown(record, table)
    parts += _probes(record)
    for suite in record.suites:
        parts += [f"## {cell(suite.name)}", cell(suite_title(suite))]
        parts.append(table(suite_header(suite), suite_rows(suite)))
    told = {note.said for note in gold_notes(record)}
    parts += filter(None, ["\n".join(f"- {cell(note)}" for note in _notes(record) if note not in told)])
    base, digest = record.base.get("name", NOTHING), str(record.base.get("digest", NOTHING))[:12]
    parts.append(
        f"Base {_code(base)} {_code(digest)}, adapter {_code((record.adapter or NOTHING)[:19])}, engine "
        f"{_code(record.engine)}, {cell(record.created_at)}, record {_code(record.digest[:12])}."
    )
    return "\n\n".join(parts) + "\n"


def _probes(record: Record) -> Iterator[str]:
    if record.probes is None:
        return
    yield "## General-ability probes"
    yield cell(probes_text(record))
    if record.probes.areas:
        rows: list[list[object]] = [
            [
                label(area),
                found.base.n,
                figure_text(found.base),
                figure_text(found.adapter),
                difference_text(found.difference),
            ]
            for area, found in record.probes.areas.items()
        ]
        yield table(["", "n", "base", "adapter", "adapter − base"], rows)


def _row(record: Record, metric: str) -> list[object]:
    cells = [figure_text(c.metrics[metric]) for c in record.conditions]
    return [arrowed(record, metric), applies_to(record, metric), *cells]


def _slice_row(record: Record, tag: str, value: str) -> list[object]:
    figures = [c.slices[tag][value] for c in record.conditions]
    gains = [difference_text(d) for d in record.slice_gains(tag, value)]
    return [label(value), max(f.n for f in figures), *map(figure_text, figures), *gains]


def _notes(record: Record) -> list[str]:
    return ([LEGEND] if record.lower_is_better else []) + [note.said for note in notes(record)]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cell(str(c)) for c in line) + " |" for line in lines)


def _code(text: object) -> str:
    """A code span: its marks are longer than any run of them inside, so that the text cannot end it."""
    said = " ".join(str(text).split())
    mark = "`" * (1 + max(map(len, re.findall("`+", said)), default=0))
    return f"{mark} {said} {mark}" if "`" in said else f"`{said}`"


def cell(text: str) -> str:
    """Text that cannot break out of a table or become markup; what cannot be seen is named."""
    text = named(text)
    for mark in ("\\", "|", "<", "`", "*", "_", "["):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
