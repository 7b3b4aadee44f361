"""The HTML report of a record and its samples: verdict, figures, slices, samples, provenance, in one page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agentlora.core.types import JSON
from agentlora.eval import compliance_report
from agentlora.eval.page import document, pre, row_head, table, text
from agentlora.eval.plot import bar_chart, difference_chart
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record, SuiteRecord
from agentlora.eval.report_data import facets_of, pack, systems_of
from agentlora.eval.slicing import prompt_lengths, ranges, sliced, tools_of
from agentlora.eval.suites.wording import suite_header, suite_rows, suite_title
from agentlora.eval.wording import (
    NOTHING,
    applies_to,
    detectable_text,
    difference_text,
    gain,
    interval,
    is_unbounded,
    label,
    mean_text,
    probes_text,
    sample_failed,
    statuses,
    summary,
)

FIRST = 12  # rows of a long table that are shown before one asks for the others
VERDICTS = {"up": ("good", "Better"), "down": ("bad", "Worse"), "": ("open", "Undecided")}


def html(record: Record, samples: Iterable[JSON] = ()) -> str:
    """The whole page. Everything that comes from data or a model is escaped."""
    samples = list(samples)
    sections = (
        _head(record),
        _plots(record),
        _figures(record),
        _differences(record),
        compliance_report.html(record, partial(table, name="Schema compliance")),
        *(_slices(record, tag) for tag in ("slice", "case")),
        _tools(record, samples),
        _lengths(record, samples),
        _probes(record),
        *map(_suite, record.suites),
    )
    return document(f"{record.task} · evaluation", sections, browsed(record, samples), _origin(record))


def browsed(record: Record, samples: Sequence[JSON]) -> JSON | None:
    """What the page's browser of samples begins with: what the adapter gets wrong, beside the best baseline."""
    systems = systems_of(record, samples)
    if not samples:
        return None
    names = [c.name for c in record.conditions]
    of = next((c.name for c in record.conditions if c.adapter), record.best_baseline or names[0])
    others = [name for name in (record.best_baseline, *names) if name and name != of]
    failed = any(sample_failed(s, record) for s in samples if s["condition"] == of)
    return pack(
        systems,
        facets_of(systems, prompt_lengths(record, samples)),
        of=of,
        against=others[0] if others else None,
        outcome="failed" if failed else "any",
    )


# --- the top ------------------------------------------------------------------------------------


def _head(record: Record) -> str:
    parts = [
        f'<p class="eyebrow">agentlora evaluation · {text(record.created_at[:10])}</p>',
        f"<h1>{text(label(record.task))}</h1>",
        *_verdicts(record),
        f'<div class="tiles">{"".join(_tiles(record))}</div>',
    ]
    for name, why in record.skipped.items():
        parts.append(f'<p class="note warn">{text(name)} was left out: {text(why)}.</p>')
    parts += [f'<p class="note">{text(line)}</p>' for line in statuses(record)]
    for c in record.conditions:
        figure = c.metrics[record.headline]
        if figure.errored:
            parts.append(
                f'<p class="note warn">{text(c.name)}: {figure.errored} of {figure.n} requests failed '
                f"and are in no mean. The first error: {text(c.first_error or '')}</p>"
            )
        if figure.unscored:
            parts.append(
                f'<p class="note warn">{text(c.name)}: {figure.unscored} of {figure.n} answers could not be judged '
                "and are in no mean.</p>"
            )
    return f"<header>{''.join(parts)}</header>"


def _verdicts(record: Record) -> Iterator[str]:
    """What the headline says of each adapter, and in what else it is surely worse than the best baseline."""
    compared = [c.name for c in record.conditions if c.adapter and record.best_baseline]
    found = [(name, record.difference(name, record.best_baseline or "")) for name in compared]
    judged = [(name, difference) for name, difference in found if difference and difference.mean is not None]
    if not judged:
        yield f'<p class="lede">{text(summary(record))}</p>'
    for name, difference in judged:
        kind, verdict = VERDICTS[_direction(record, difference)]
        worse = ", ".join(_worse(record, name))
        yield (
            f'<div class="verdict {kind}"><p class="said">{verdict} '
            f"<span>{text(name)} against {text(record.best_baseline)}, the best baseline</span></p>"
            f'<p class="lede">{text(summary(record, name))}</p>'
            + (f'<p class="worse"><b>Surely worse in:</b> {text(worse)}</p>' if worse else "")
            + "</div>"
        )


def _worse(record: Record, system: str) -> Iterator[str]:
    """Metrics and slices whose difference to the best baseline is surely to the bad."""
    for metric in record.metrics:
        found = record.difference(system, record.best_baseline or "", metric)
        if metric != record.headline and found and _direction(record, found) == "down":
            yield f"{label(metric).lower()} {difference_text(found)}"
    for part in record.slice_differences:
        if part.difference.system == system and _direction(record, part.difference) == "down":
            yield f"{part.tag} {label(part.value)!r} {difference_text(part.difference)}"


def _tiles(record: Record) -> Iterator[str]:
    name = label(record.headline)
    for c in record.conditions:
        if (c.adapter and not c.aside) or c.name == record.best_baseline:
            figure = c.metrics[record.headline]
            note = f"{name}, {c.name}" + ("" if c.adapter else " (best baseline)")
            yield _tile(mean_text(figure), (note, f"95 % interval {interval(figure)}"), bool(c.adapter))
    for system in (c for c in record.conditions if c.adapter and not c.aside):
        found = record.difference(system.name, record.best_baseline or "")
        if found and found.mean is not None:
            ends = f"{gain(found.low, found)} to {gain(found.high, found)}"
            kind = {"up": " good", "down": " bad"}.get(_direction(record, found), "")
            unit = "" if found.unbounded else "points "
            note = f"{unit}against the best baseline<br>95 % interval {ends}"
            yield f'<div class="tile{kind}"><b>{gain(found.mean, found)}</b><span>{note}</span></div>'
    yield _tile(str(record.n), ("examples", f"in {record.groups} groups"), False)


def _tile(value: str, notes: Sequence[str], good: bool) -> str:
    said = "<br>".join(map(text, notes))
    return f'<div class="tile{" good" if good else ""}"><b>{value}</b><span>{said}</span></div>'


def _plots(record: Record) -> str:
    def chart(metric: str) -> str:
        rows = [(c.name, c.metrics[metric], bool(c.adapter)) for c in record.conditions]
        lower = ", lower is better" if metric in record.lower_is_better else ""
        n = applies_to(record, metric)
        caption = f'<h3>{text(label(metric))} <span class="soft">%, n = {n}{lower}</span></h3>'
        return f'<div class="card">{caption}{bar_chart(label(metric), rows)}</div>'

    shares = [m for m in record.metrics if applies_to(record, m) and not is_unbounded(record, m)]
    others = [m for m in shares if m != record.headline]
    if not shares:
        return ""
    first = chart(record.headline) if record.headline in shares else ""
    small = "".join(map(chart, others))
    return (
        "<section><h2>At a glance</h2>"
        '<p class="soft">Bars are means, whiskers 95 % intervals, all on the same examples.</p>'
        f'{first}{"".join(_forests(record, shares))}<div class="multiples">{small}</div></section>'
    )


def _forests(record: Record, metrics: Sequence[str]) -> Iterator[str]:
    """Of each adapter, its differences to the best baseline in every metric, around zero."""
    for system in (c.name for c in record.conditions if c.adapter and record.best_baseline):
        found = [(m, record.difference(system, record.best_baseline or "", m)) for m in metrics]
        rows = [(_arrowed(record, m), d, _direction(record, d)) for m, d in found if d and d.mean is not None]
        if rows:
            title = f"{system} − {record.best_baseline}"
            caption = f'<h3>{text(title)} <span class="soft">points</span></h3>'
            yield f'<div class="card">{caption}{difference_chart(title, rows)}</div>'


# --- tables -------------------------------------------------------------------------------------


def _figures(record: Record) -> str:
    rows = []
    for metric in record.metrics:
        cells = "".join(_cell(c, c.metrics[metric]) for c in record.conditions)
        kind = ' class="headline"' if metric == record.headline else ""
        head = row_head(_arrowed(record, metric))
        rows.append(f"<tr{kind}>{head}<td>{applies_to(record, metric)}</td>{cells}</tr>")
    note = (
        "Wilson intervals, of as many examples as those of groups that answer alike are worth; means of what is no "
        "share have a bootstrap’s. “Scored” counts the examples to which a metric applies and that could be judged. "
        "↓ lower is better."
    )
    heads = ("", "Scored", *(c.name for c in record.conditions))
    shown = table(heads, rows, "All figures")
    return f'<section><h2>All figures</h2><p class="soft">{note}</p>{shown}{_effort(record)}</section>'


def _effort(record: Record) -> str:
    parts = [
        f"{text(c.name)}: {c.prompt_tokens:,} prompt and {c.output_tokens:,} new tokens"
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
        rows.append(f"<tr>{row_head(label(value), **{tag: value})}<td>{n}</td>{cells}</tr>")
    against = (f"{d.system} − {d.baseline}" for d in record.slice_gains(tag, values[0]))
    heads = ("", "n", *(c.name for c in record.conditions), *against)
    return _section(f"Right answers by {tag}", table(heads, rows, f"By {tag}"))


def _tools(record: Record, samples: Sequence[JSON]) -> str:
    """Those first of which the adapter (or the best baseline) gets most wrong."""
    wanted = {s["id"]: tools_of(s) for s in samples}
    name = next((c.name for c in record.conditions if c.adapter), record.best_baseline)
    found = sliced(record, samples, wanted)
    found.sort(key=lambda part: (-_wrong(part.figures.get(name or "")), -part.n, part.value))
    note = f"Those first of which {name} gets most wrong." if name else ""
    return _of_samples(record, "tool", [(p.value, p.n, p.figures) for p in found], note)


def _lengths(record: Record, samples: Sequence[JSON]) -> str:
    values = {name: (value,) for name, value in ranges(prompt_lengths(record, samples)).items()}
    found = sliced(record, samples, values)
    found.sort(key=lambda part: int(re.split("[– ]", part.value)[0].replace(",", "")))
    return _of_samples(
        record, "length", [(p.value, p.n, p.figures) for p in found], "By tokens of the prompt."
    )


def _wrong(figure: Figure | None) -> float:
    return figure.scored * (1 - figure.mean) if figure and figure.mean is not None else 0.0


def _of_samples(
    record: Record, by: str, parts: Sequence[tuple[str, int, Mapping[str, Figure]]], note: str
) -> str:
    if len(parts) < 2:
        return ""
    rows = [
        f"<tr>{row_head(value, **{by: value})}<td>{n}</td>"
        + "".join(_cell(c, figures[c.name]) for c in record.conditions)
        + "</tr>"
        for value, n, figures in parts
    ]
    heads = ("", "n", *(c.name for c in record.conditions))
    shown = table(heads, rows[:FIRST], f"By {by}")
    if len(rows) > FIRST:
        more = table(heads, rows[FIRST:], f"By {by}, the others")
        shown += f"<details><summary>{len(rows) - FIRST} more</summary>{more}</details>"
    return _section(f"Right answers by {by}", f'<p class="soft">{text(note)}</p>{shown}')


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
            rows.append(f"<tr{kind}>{row_head(_arrowed(record, metric))}{cells}</tr>")
    note = (
        "Percentage points, adapter minus baseline on the same examples, with the 95 % interval of a cluster "
        "bootstrap by group; in brackets on how many examples the adapter’s value is higher and lower. "
        "Coloured where the interval leaves out zero."
    )
    heads = ("", *(f"against {b}" for b in baselines))
    least = detectable_text(record)
    body = f'<p class="soft">{note} {text(least)}</p>{table(heads, rows, "Differences")}'
    return _section("Paired differences", body)


def _probes(record: Record) -> str:
    """One line, and the areas."""
    if record.probes is None:
        return ""
    rows = []
    for area, found in record.probes.areas.items():
        cells = "".join(
            f"<td>{mean_text(figure)}<small>{interval(figure)}</small></td>"
            for figure in (found.base, found.adapter)
        )
        cells += _difference_cell(record, found.difference)
        rows.append(f"<tr>{row_head(label(area))}<td>{found.base.n}</td>{cells}</tr>")
    heads = ("", "n", "base", "adapter", "adapter − base")
    shown = table(heads, rows, "General-ability probes") if rows else ""
    return _section("General-ability probes", f"<p>{text(probes_text(record))}</p>{shown}")


def _suite(suite: SuiteRecord) -> str:
    rows = [
        f"<tr>{row_head(name)}{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in suite_rows(suite)
    ]
    shown = table(suite_header(suite), rows, suite.name)
    return _section(suite.name, f'<p class="soft">{text(suite_title(suite))}</p>{shown}')


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
    said = text(difference_text(difference))
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


def _arrowed(record: Record, metric: str) -> str:
    return label(metric) + (" ↓" if metric in record.lower_is_better else "")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{text(title)}</h2>{body}</section>"


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
    items = "".join(f"<dt>{text(key)}</dt><dd>{text(_fact(value))}</dd>" for key, value in facts.items())
    shots = "".join(f'<p class="role">{text(m.get("role"))}</p>{pre(_content(m))}' for m in record.shots)
    worked = f"<details><summary>The worked examples of the few-shot baseline</summary>{shots}</details>"
    return _section("Where this comes from", f"<dl>{items}</dl>{worked if shots else ''}")


def _content(turn: JSON) -> str:
    content = turn.get("content") or turn.get("tool_calls") or ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
