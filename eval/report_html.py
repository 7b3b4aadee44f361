"""The HTML report: one self-contained page without scripts, made from a record and its samples only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from agentlora.core.types import JSON
from agentlora.eval.plot import bar_chart
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record, SuiteRecord
from agentlora.eval.suites.wording import suite_header, suite_rows, suite_title
from agentlora.eval.wording import (
    NOTHING,
    applies_to,
    difference_text,
    expected_text,
    gain,
    interval,
    is_unbounded,
    label,
    mean_text,
    reason,
    sample_failed,
    summary,
)

SHOWN_ADAPTER, SHOWN_BASELINE = 300, 40  # failures listed for each condition, so that the page stays light
# Model output is in the page: should an escape ever be missed, nothing may run or be fetched.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(record: Record, samples: Iterable[JSON] = ()) -> str:
    """The whole page. Everything that comes from data or a model is escaped."""
    style = files("agentlora.eval").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{record.task} · evaluation"
    sections = (
        _head(record),
        _plots(record),
        _figures(record),
        *(_slices(record, tag) for tag in ("slice", "case")),
        _differences(record),
        *map(_suite, record.suites),
        _failures(record, samples),
        _origin(record),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        + "\n".join(sections)
        + "</main></body></html>\n"
    )


# --- the top ------------------------------------------------------------------------------------


def _head(record: Record) -> str:
    day = record.created_at[:10]
    parts = [
        f'<p class="eyebrow">agentlora evaluation · {escape(day)}</p><h1>{escape(label(record.task))}</h1>',
        f'<p class="lede">{escape(summary(record))}</p>',
        f'<div class="tiles">{"".join(_tiles(record))}</div>',
    ]
    for name, why in record.skipped.items():
        parts.append(f'<p class="note warn">{escape(name)} was left out: {escape(why)}.</p>')
    for c in record.conditions:
        figure = c.metrics[record.headline]
        if figure.errored:
            parts.append(
                f'<p class="note warn">{escape(c.name)}: {figure.errored} of {figure.n} requests failed '
                f"and are in no mean. The first error: {escape(c.first_error or '')}</p>"
            )
        if figure.unscored:
            parts.append(
                f'<p class="note warn">{escape(c.name)}: {figure.unscored} of {figure.n} answers could not be judged '
                "and are in no mean.</p>"
            )
    return "".join(parts)


def _tiles(record: Record) -> Iterator[str]:
    name = label(record.headline)
    for c in record.conditions:
        if c.adapter or c.name == record.best_baseline:
            figure = c.metrics[record.headline]
            note = f"{name}, {c.name}" + ("" if c.adapter else " (best baseline)")
            yield _tile(mean_text(figure), f"{note}<br>95 % interval {interval(figure)}", bool(c.adapter))
    for system in (c for c in record.conditions if c.adapter):
        found = record.difference(system.name, record.best_baseline or "")
        if found and found.mean is not None:
            ends = f"{gain(found.low, found)} to {gain(found.high, found)}"
            kind = {"up": " good", "down": " bad"}.get(_direction(record, found), "")
            unit = "" if found.unbounded else "points "
            note = f"{unit}against the best baseline<br>95 % interval {ends}"
            yield f'<div class="tile{kind}"><b>{gain(found.mean, found)}</b><span>{note}</span></div>'
    yield _tile(str(record.n), f"examples<br>in {record.groups} groups", False)


def _tile(value: str, note: str, good: bool) -> str:
    text = "<br>".join(escape(part) for part in note.split("<br>"))
    return f'<div class="tile{" good" if good else ""}"><b>{value}</b><span>{text}</span></div>'


def _plots(record: Record) -> str:
    def chart(metric: str, **size: int) -> str:
        rows = [(c.name, c.metrics[metric], bool(c.adapter)) for c in record.conditions]
        lower = ", lower is better" if metric in record.lower_is_better else ""
        n = applies_to(record, metric)
        caption = f'<h3>{escape(label(metric))} <span class="soft">%, n = {n}{lower}</span></h3>'
        return f'<div class="card">{caption}{bar_chart(label(metric), rows, **size)}</div>'

    shares = [m for m in record.metrics if applies_to(record, m) and not is_unbounded(record, m)]
    others = [m for m in shares if m != record.headline]
    if not shares:
        return ""
    first = chart(record.headline, width=960) if record.headline in shares else ""
    small = "".join(chart(metric, width=470, label_width=128) for metric in others)
    return (
        "<h2>At a glance</h2>"
        '<p class="soft">Bars are means, whiskers 95 % intervals, all on the same examples.</p>'
        f'{first}<div class="multiples">{small}</div>'
    )


# --- tables -------------------------------------------------------------------------------------


def _figures(record: Record) -> str:
    rows = []
    for metric in record.metrics:
        lower = " ↓" if metric in record.lower_is_better else ""
        name = f"{label(metric)}{lower}"
        cells = "".join(_cell(c, c.metrics[metric]) for c in record.conditions)
        kind = ' class="headline"' if metric == record.headline else ""
        rows.append(f"<tr{kind}><th>{escape(name)}</th><td>{applies_to(record, metric)}</td>{cells}</tr>")
    note = (
        "Wilson intervals, of as many examples as those of groups that answer alike are worth; means of what is no "
        "share have a bootstrap’s. “Scored” counts the examples to which a metric applies and that could be judged. "
        "↓ lower is better."
    )
    heads = ("", "Scored", *(c.name for c in record.conditions))
    return f'<h2>All figures</h2><p class="soft">{note}</p>{_table(heads, rows)}{_effort(record)}'


def _effort(record: Record) -> str:
    parts = [
        f"{escape(c.name)}: {c.prompt_tokens:,} prompt and {c.output_tokens:,} new tokens"
        + (f", {c.truncated} answers cut off at {record.max_tokens}" if c.truncated else "")
        + (f", {c.cached} answers from the cache" if c.cached else "")
        for c in record.conditions
    ]
    return f'<p class="note">{"<br>".join(parts)}</p>'


def _slices(record: Record, tag: str) -> str:
    values = sorted({value for c in record.conditions for value in c.slices.get(tag, {})})
    if not values:
        return ""
    rows = []
    for value in values:
        figures = [(c, c.slices[tag][value]) for c in record.conditions]
        cells = "".join(_cell(c, figure) for c, figure in figures)
        n = max(figure.n for _, figure in figures)
        cells += "".join(_difference_cell(record, d) for d in record.slice_gains(tag, value))
        rows.append(f"<tr><th>{escape(label(value))}</th><td>{n}</td>{cells}</tr>")
    against = (f"{d.system} − {d.baseline}" for d in record.slice_gains(tag, values[0]))
    heads = ("", "n", *(c.name for c in record.conditions), *against)
    return f"<h2>Right answers by {escape(tag)}</h2>{_table(heads, rows)}"


def _differences(record: Record) -> str:
    if not record.differences:
        return ""
    baselines = list(dict.fromkeys(d.baseline for d in record.differences))
    rows = []
    for system in dict.fromkeys(d.system for d in record.differences):
        for metric in record.metrics:
            found = [record.difference(system, baseline, metric) for baseline in baselines]
            if not any(d and d.n for d in found):
                continue
            cells = "".join(_difference_cell(record, d) for d in found)
            kind = ' class="headline"' if metric == record.headline else ""
            lower = " ↓" if metric in record.lower_is_better else ""
            rows.append(f"<tr{kind}><th>{escape(label(metric))}{lower}</th>{cells}</tr>")
    note = (
        "Percentage points, adapter minus baseline on the same examples, with the 95 % interval of a cluster "
        "bootstrap by group; in brackets on how many examples the adapter’s value is higher and lower. "
        "Coloured where the interval leaves out zero."
    )
    heads = ("", *(f"against {b}" for b in baselines))
    return f'<h2>Paired differences</h2><p class="soft">{note}</p>{_table(heads, rows)}'


def _suite(suite: SuiteRecord) -> str:
    rows = (
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in suite_rows(suite)
    )
    head = f'<h2>{escape(suite.name)}</h2><p class="soft">{escape(suite_title(suite))}</p>'
    return head + _table(suite_header(suite), list(rows))


def _difference_cell(record: Record, difference: DifferenceRecord | None) -> str:
    if difference is None or difference.mean is None:
        return f"<td>{NOTHING}</td>"
    ends = (
        ""
        if difference.low is None
        else f"{gain(difference.low, difference)} to {gain(difference.high, difference)}"
    )
    counts = f"(↑{difference.higher} ↓{difference.lower} of {difference.n})"
    kind = _direction(record, difference)
    said = escape(difference_text(difference))
    return f'<td class="{kind}" title="{said}">{gain(difference.mean, difference)}<small>{ends} {counts}</small></td>'


def _direction(record: Record, difference: DifferenceRecord) -> str:
    """``up`` when the system is surely better, ``down`` when surely worse, else empty."""
    if difference.low is None or difference.high is None:
        return ""
    better, worse = difference.low > 0, difference.high < 0
    if difference.metric in record.lower_is_better:
        better, worse = worse, better
    return "up" if better else "down" if worse else ""


def _cell(condition: ConditionRecord, figure: Figure) -> str:
    kind = ' class="adapter"' if condition.adapter else ""
    lost = f"{figure.unscored} unscored" if figure.unscored else ""
    small = "<br>".join(part for part in (interval(figure), lost) if part)
    return f"<td{kind}>{mean_text(figure)}<small>{small}</small></td>"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    header = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table>{body}</table></div>'


# --- failures -----------------------------------------------------------------------------------


def _failures(record: Record, samples: Iterable[JSON]) -> str:
    failed: dict[str, list[JSON]] = defaultdict(list)
    for sample in samples:
        if sample_failed(sample, record):
            failed[sample["condition"]].append(sample)
    if not failed:
        return ""
    # The adapter's failures first: they are what there is to mend.
    order = sorted(record.conditions, key=lambda c: not c.adapter)
    groups = "".join(_failure_group(c, failed[c.name], record) for c in order if failed[c.name])
    return f'<section class="failures"><h2>Failures</h2>{groups}</section>'


def _failure_group(condition: ConditionRecord, failed: Sequence[JSON], record: Record) -> str:
    shown = failed[: SHOWN_ADAPTER if condition.adapter else SHOWN_BASELINE]
    by_case: dict[str, list[JSON]] = defaultdict(list)
    for sample in shown:
        by_case[sample["tags"].get("case", "other")].append(sample)
    count = f"{len(failed)} of {record.n_all}"
    if len(shown) < len(failed):
        count += f", the first {len(shown)} here, all in samples.jsonl"
    cases = "".join(_failure_case(case, found) for case, found in sorted(by_case.items()))
    opened = " open" if condition.adapter else ""
    title = f"<summary>{escape(condition.name)} <span>{count}</span></summary>"
    return f'<details class="card group"{opened}>{title}{cases}</details>'


def _failure_case(case: str, found: Sequence[JSON]) -> str:
    count = f'<span class="soft">{len(found)}</span>'
    items = "".join(_failure(sample) for sample in found)
    return f'<details class="case"><summary>{escape(label(case))} {count}</summary>{items}</details>'


def _failure(sample: JSON) -> str:
    turns = sample["request"]["messages"]
    asked = next((_content(t) for t in reversed(turns) if t.get("role") == "user"), "")
    tools = sample["request"]["tools"]
    offered = (
        f'<details><summary class="role">{len(tools)} tools offered</summary>{_pre(_tools(tools))}</details>'
        if tools
        else ""
    )
    conversation = "".join(
        f'<p class="role">{escape(str(t.get("role")))}</p>{_pre(_content(t))}' for t in turns
    )
    got = sample["text"] or "(nothing)"
    return (
        f'<details class="fail"><summary><span class="why">{escape(reason(sample))}</span>'
        f'<span class="asked">{escape(asked)}</span></summary><div class="body">{conversation}{offered}'
        f'<div class="pair"><div><p class="role">expected</p>{_pre(expected_text(sample))}</div>'
        f'<div><p class="role">got</p>{_pre(got)}</div></div>'
        f'<p class="note">{escape(sample["id"])}</p></div></details>'
    )


def _content(turn: JSON) -> str:
    content = turn.get("content")
    shown: Any = content if content else turn.get("tool_calls") or ""
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=1)


def _tools(tools: Sequence[JSON]) -> str:
    return "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


# --- the end ------------------------------------------------------------------------------------


def _origin(record: Record) -> str:
    facts: dict[str, Any] = {
        "Base": f"{record.base.get('name', NOTHING)} {record.base.get('digest', '')}",
        "Adapter": record.adapter or NOTHING,
        "Engine": record.engine,
        "Created": record.created_at,
        "Record": record.digest,
        **{f"Data, {key}": value for key, value in record.data.items()},
        **record.provenance,
    }
    items = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(_fact(value))}</dd>" for key, value in facts.items()
    )
    shots = "".join(f'<p class="role">{escape(str(m["role"]))}</p>{_pre(_content(m))}' for m in record.shots)
    worked = f"<details><summary>The worked examples of the few-shot baseline</summary>{shots}</details>"
    return f"<h2>Where this comes from</h2><dl>{items}</dl>{worked if shots else ''}"


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
