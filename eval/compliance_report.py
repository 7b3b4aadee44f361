"""The section "Schema compliance" of a report: by keyword, the worst paths, and decoding with and without a grammar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from agentlora.core.texts import brief
from agentlora.eval import page
from agentlora.eval.cells import difference_cell, figure_cell
from agentlora.eval.compliance import FORMS
from agentlora.eval.faults import fault, keyword_of, path_of
from agentlora.eval.record import (
    ComplianceRecord,
    ConditionRecord,
    ConstraintRecord,
    ConstraintRow,
    KeywordCount,
    PathCount,
    Record,
)
from agentlora.eval.unseen import named
from agentlora.eval.wording import (
    NOTHING,
    difference_text,
    figure_text,
    interval,
    label,
    mean_text,
    percent,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLE = "Schema compliance"
SHOWN_PATHS = 8  # in a terminal and in Markdown
LOWER = ("output_tokens", "seconds")
NOTE = (
    "Answers by what is wrong with them: a keyword of the schema, the form, or whether to call. An answer may have "
    "several faults, and one that comes several times in it is counted once. Rows in brackets leave an answer valid."
)
GRAMMAR = (
    "The same system with answers written freely and held to a schema while they are written; differences are paired. "
    "A grammar makes answers fit, which is not the same as right. Right is the headline metric; where that says "
    "nothing about an example, as where no call is wanted, whether the answer is right."
)
COUNTS = "In brackets: on how many examples the constrained value is higher and lower."
Judged = list[tuple[ConditionRecord, ComplianceRecord]]


def judged(record: Record) -> Judged:
    """The conditions whose answers have something to fit, adapters first."""
    found = [(c, c.compliance) for c in record.conditions if c.compliance is not None]
    return sorted(found, key=lambda pair: (not pair[0].adapter, pair[0].aside))


def _kinds(found: Judged) -> list[tuple[str, str, bool]]:
    """Every fault of any condition, those that count first, then the most frequent."""
    most: dict[tuple[str, str], tuple[bool, int]] = {}
    for _, compliance in found:
        for count in compliance.keywords:
            counts, answers = most.get((count.keyword, count.branch), (False, 0))
            most[count.keyword, count.branch] = counts or count.counts, max(answers, count.answers)
    ordered = sorted(most, key=lambda key: (not most[key][0], -most[key][1], key))
    return [(*key, most[key][0]) for key in ordered]


def _count(compliance: ComplianceRecord, keyword: str, branch: str) -> KeywordCount | None:
    return next((k for k in compliance.keywords if (k.keyword, k.branch) == (keyword, branch)), None)


def _share(count: KeywordCount | None, compliance: ComplianceRecord) -> str:
    """``12 (3.0 %)``, of the answers that could be judged."""
    if count is None:
        return NOTHING
    n = compliance.valid.n - compliance.valid.errored - compliance.valid.unscored
    return f"{count.answers} ({percent(count.answers / n)})" if n else str(count.answers)


def _row_name(keyword: str, branch: str, counts: bool) -> str:
    return fault(keyword, branch) if counts else f"({fault(keyword, branch)})"


def measure(row: ConstraintRow, record: Record) -> str:
    """What a row of the comparison is about."""
    if row.metric == "right":
        return f"Right ({label(record.headline).lower()})"
    return {"valid": "Fits its schema", "output_tokens": "Tokens an answer", "seconds": "Seconds an answer"}[
        row.metric
    ]


# --- terminal -----------------------------------------------------------------------------------


def terminal(record: Record) -> Iterator[RenderableType]:
    """Tables for a terminal; nothing where nothing has to fit a schema."""
    from rich.table import Table as RichTable
    from rich.text import Text

    found = judged(record)
    kinds = _kinds(found)
    if kinds:
        table = RichTable(title=f"{TITLE}: answers by fault", title_justify="left")
        table.add_column("")
        for condition, _ in found:
            table.add_column(Text(condition.name), justify="right")
        table.add_row("fits its schema", *(_valid(c) for _, c in found), style="bold", end_section=True)
        for keyword, branch, counts in kinds:
            cells = [_share(_count(c, keyword, branch), c) for _, c in found]
            table.add_row(Text(named(_row_name(keyword, branch, counts))), *cells)
        yield table
    for condition, compliance in found[:1]:
        if compliance.paths:
            table = RichTable(title=f"Worst paths of {condition.name!r}", title_justify="left")
            for head in ("fault", "path", "answers", "given", "nearest valid"):
                table.add_column(head, overflow="fold", justify="right" if head == "answers" else "left")
            for path in compliance.paths[:SHOWN_PATHS]:
                table.add_row(*(Text(named(cell)) for cell in _path_cells(path)))
            yield table
    for pair in record.constraints:
        table = RichTable(title=f"{pair.free!r} held to a schema: {pair.constrained!r}", title_justify="left")
        for head in ("", "free", "constrained", "difference"):
            table.add_column(head, justify="right" if head else "left")
        for row in pair.rows:
            table.add_row(measure(row, record), *_row_cells(row))
        table.caption, table.caption_justify = Text(_untimed(pair)), "left"
        yield table


def _valid(compliance: ComplianceRecord) -> str:
    return f"{mean_text(compliance.valid)}\n{interval(compliance.valid)}"


def _path_cells(path: PathCount) -> list[str]:
    given = _short(path.given)
    return [
        _row_name(path.keyword, path.branch, path.counts),
        path.path,
        str(path.answers),
        given,
        _short(path.nearest),
    ]


def _short(text: str | None, most: int = 60) -> str:
    if text is None:
        return NOTHING
    return brief(" ".join(text.split()), most)


def _untimed(pair: ConstraintRecord) -> str:
    """Why seconds have no interval, or are not there; empty where they have one."""
    shown = [row for row in pair.rows if row.metric == "seconds"]
    if any(not figure.scored for row in shown for figure in (row.free, row.constrained)):
        return "Answers that were known from before took no time: of them there are no seconds."
    if any(None in (row.free.low, row.constrained.low, row.difference.low) for row in shown):
        return "Seconds have no interval where all answers share the time of one batch, or of batches that overlap."
    return ""


def _row_cells(row: ConstraintRow) -> list[str]:
    return [figure_text(row.free), figure_text(row.constrained), difference_text(row.difference)]


# --- Markdown -----------------------------------------------------------------------------------


def markdown(
    record: Record, table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]
) -> Iterator[str]:
    """Paragraphs and tables; `table` escapes its cells."""
    found = judged(record)
    kinds = _kinds(found)
    if kinds:
        rows: list[list[object]] = [["fits its schema", *(figure_text(c.valid) for _, c in found)]]
        rows += [
            [_row_name(k, branch, counts), *(_share(_count(c, k, branch), c) for _, c in found)]
            for k, branch, counts in kinds
        ]
        yield from (f"## {TITLE}", NOTE, table(["", *(c.name for c, _ in found)], rows))
    for condition, compliance in found:
        if compliance.paths and (condition.adapter or condition.name == record.best_baseline):
            lines = [_path_cells(path) for path in compliance.paths[:SHOWN_PATHS]]
            heads = [f"worst paths of {condition.name}", "path", "answers", "given", "nearest valid"]
            yield table(heads, lines)
    if record.constraints:
        yield from ("## Free and constrained decoding", GRAMMAR)
    for pair in record.constraints:
        heads = ["", pair.free, pair.constrained, "difference"]
        yield table(heads, [[measure(row, record), *_row_cells(row)] for row in pair.rows])
        yield from filter(None, [_untimed(pair)])


# --- HTML ---------------------------------------------------------------------------------------


def html(record: Record) -> str:
    """The section, or nothing; everything that comes from data or a model is escaped."""
    found = judged(record)
    kinds = _kinds(found)
    parts = []
    if kinds:
        parts += [
            f'<h2>{TITLE}</h2><p class="soft">{page.text(NOTE)}</p>',
            _by_keyword(found, kinds),
        ]
        parts += [_undecided(c, compliance) for c, compliance in found if compliance.undecided]
        parts += [_worst(c, compliance) for c, compliance in found if compliance.paths]
    if record.constraints:
        parts.append(
            f'<h2>Free and constrained decoding</h2><p class="soft">{page.text(GRAMMAR)} {COUNTS}</p>'
        )
        parts += [_pair(pair, record) for pair in record.constraints]
    return f'<section class="compliance">{"".join(parts)}</section>' if parts else ""


def _by_keyword(found: Judged, kinds: Sequence[tuple[str, str, bool]]) -> str:
    valid = "".join(figure_cell(c.valid, f"n = {c.valid.scored}") for _, c in found)
    rows = [f'<tr class="headline">{page.row_head("Fits its schema")}{valid}</tr>']
    for keyword, branch, counts in kinds:
        filters = {"outcome": "any", "keyword": keyword_of(keyword, branch)}
        counted = [(condition.name, c, _count(c, keyword, branch)) for condition, c in found]
        first = next(name for name, _, count in counted if count)
        cells = "".join(_keyword_cell(count, c, {"of": name, **filters}) for name, c, count in counted)
        head = page.row_head(_row_name(keyword, branch, counts), of=first, **filters)
        rows.append(f"<tr>{head}{cells}</tr>")
    return page.table(("", *(c.name for c, _ in found)), rows, TITLE)


def _keyword_cell(
    count: KeywordCount | None, compliance: ComplianceRecord, filters: Mapping[str, str]
) -> str:
    if count is None:
        return f'<td class="soft">{NOTHING}</td>'
    share = page.to_samples(_share(count, compliance), filters)
    places = f"at {count.paths} paths" if count.paths > 1 else ""
    return f"<td>{share}<small>{places}</small></td>"


def _undecided(condition: ConditionRecord, compliance: ComplianceRecord) -> str:
    said = f"{condition.name}: {compliance.valid.unscored} answers are undecided: {compliance.undecided}"
    return page.note(said, warns=True)


def _worst(condition: ConditionRecord, compliance: ComplianceRecord) -> str:
    items = "".join(_path(path, condition.name) for path in compliance.paths)
    more = f" and {compliance.more_paths} more" if compliance.more_paths else ""
    count = f"<span>worst paths, {len(compliance.paths)}{more}</span>"
    opened = " open" if condition.decides else ""
    title = f"<summary>{page.text(condition.name)} {count}</summary>"
    return f'<details class="card"{opened}>{title}<div class="paths">{items}</div></details>'


def _path(path: PathCount, condition: str) -> str:
    nearest = ""
    if path.given is not None and path.keyword not in FORMS and path.keyword != "no_call":
        to = (
            f", nearest valid <code>{page.text(_short(path.nearest))}</code>"
            if path.nearest is not None
            else ""
        )
        nearest = f'<span class="given">given <code>{page.text(_short(path.given))}</code>{to}</span>'
    answers = f"{path.answers} answer{'s' if path.answers > 1 else ''}"
    all_of = {"of": condition, "outcome": "any", "path": path_of(path.keyword, path.branch, path.path)}
    ids = ", ".join(page.to_samples(name, {"of": condition, "id": name}) for name in path.samples)
    name = page.text(_row_name(path.keyword, path.branch, path.counts))
    return (
        f'<details class="fail"><summary><span class="chip">{name}</span> '
        f"<code>{page.text(path.path)}</code> <span>{page.text(path.said)}</span> "
        f'<span class="soft">{page.to_samples(answers, all_of)}</span>{nearest}</summary><div class="body">'
        f'<p class="role">an answer</p>{page.pre(path.output or "(nothing)")}<p class="note">{ids}</p></div></details>'
    )


def _pair(pair: ConstraintRecord, record: Record) -> str:
    rows = []
    for row in pair.rows:
        lower = row.metric in LOWER or (row.metric == "right" and record.headline in record.lower_is_better)
        cells = figure_cell(row.free) + figure_cell(row.constrained) + difference_cell(row.difference, lower)
        rows.append(f"<tr>{page.row_head(measure(row, record))}{cells}</tr>")
    heads = ("", pair.free, pair.constrained, "difference")
    shown = page.table(heads, rows, f"{pair.free} and {pair.constrained}")
    return shown + (page.note(said) if (said := _untimed(pair)) else "")
