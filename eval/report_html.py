"""The HTML report of a record and its samples: verdict, figures, slices, samples, provenance, in one page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agentlora.core.types import JSON
from agentlora.eval import compliance_report, reasons
from agentlora.eval.cells import difference_cell, figure_cell
from agentlora.eval.first_view import direction_of, served_difference, views
from agentlora.eval.gate_html import gate_head, gate_section
from agentlora.eval.page import (
    document,
    long_table,
    note,
    origin,
    pre,
    row,
    row_head,
    section,
    table,
    text,
    tile,
)
from agentlora.eval.plot import bar_chart, difference_chart
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record, SuiteRecord
from agentlora.eval.report_data import facets_of, pack, systems_of
from agentlora.eval.slicing import prompt_lengths, ranges, sliced, tools_of
from agentlora.eval.suites.wording import suite_header, suite_rows, suite_title
from agentlora.eval.wording import (
    LEGEND,
    NOTHING,
    applies_to,
    arrowed,
    gain,
    interval,
    is_unbounded,
    label,
    mean_text,
    notes,
    probes_text,
    sample_failed,
    summary,
)

FIRST = 12  # rows of a long table that are shown before one asks for the others


def html(record: Record, samples: Iterable[JSON] = (), verdict: Mapping[str, Any] | None = None) -> str:
    """The whole page. Everything that comes from data or a model is escaped. `verdict`: what the gate says of it, as
    ``gate.json`` holds it.
    """
    samples = list(samples)
    sections = (
        _head(record, verdict),
        gate_section(verdict) if verdict else "",
        _plots(record),
        _figures(record),
        _differences(record),
        compliance_report.html(record),
        reasons.html(record),
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
    of = next((c.name for c in record.conditions if c.decides), record.best_baseline or names[0])
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


def _head(record: Record, verdict: Mapping[str, Any] | None) -> str:
    parts = [
        f'<p class="eyebrow">agentlora evaluation · {text(record.created_at[:10])}</p>',
        f"<h1>{text(label(record.task))}</h1>",
        gate_head(verdict) if verdict else "",
        *_verdicts(record),
        f'<div class="tiles">{"".join(_tiles(record))}</div>',
    ]
    parts += [note(*said) for said in notes(record)]
    return f"<header>{''.join(parts)}</header>"


def _verdicts(record: Record) -> Iterator[str]:
    """Of each adapter: the headline against the best baseline, against what is served, and what is surely worse."""
    found = views(record)
    if not found:
        yield f'<p class="lede">{text(summary(record))}</p>'
    for view in found:
        against = f"{view.system} against {record.best_baseline}, the best baseline"
        said = f"{text(view.said)} <span>{text(against if record.best_baseline else view.system)}</span>"
        worse = f"<b>Surely worse in:</b> {text('; '.join(view.worse))}" if view.worse else ""
        yield (
            f'<div class="verdict {view.kind}">'
            + (f'<p class="said">{said}</p>' if view.said else "")
            + f'<p class="lede">{text(view.summary)}</p>'
            + (f'<p class="beside {view.served_kind}">{text(view.served)}</p>' if view.served else "")
            + (f'<p class="worse">{worse}</p>' if worse else "")
            + "</div>"
        )


def _tiles(record: Record) -> Iterator[str]:
    name = label(record.headline)
    kinds = {view.system: "" if view.kind == "open" else view.kind for view in views(record)}
    for c in record.conditions:
        if c.decides or c.name == record.best_baseline:
            figure = c.metrics[record.headline]
            whose = f"{name}, {c.name}" + ("" if c.decides else " (best baseline)")
            lines = (whose, f"95 % interval {interval(figure)}")
            yield tile(mean_text(figure), lines, kinds.get(c.name, ""))
    for system in kinds:
        yield from _gain_tile(
            record, record.difference(system, record.best_baseline or ""), "the best baseline"
        )
        yield from _gain_tile(record, served_difference(record, system), "what is served")
    yield tile(record.n, ("examples", f"in {record.groups} groups"))


def _gain_tile(record: Record, found: DifferenceRecord | None, against: str) -> Iterator[str]:
    if found is None or found.mean is None:
        return
    ends = f"95 % interval {gain(found.low, found)} to {gain(found.high, found)}"
    unit = "" if found.unbounded else "points "
    kind = {"up": "good", "down": "bad", "": ""}[direction_of(record, found)]
    yield tile(gain(found.mean, found), (f"{unit}against {against}", ends), kind)


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
    for system in (c.name for c in record.conditions if c.decides and record.best_baseline):
        found = [(m, record.difference(system, record.best_baseline or "", m)) for m in metrics]
        rows = [
            (arrowed(record, m), d, direction_of(record, d)) for m, d in found if d and d.mean is not None
        ]
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
        head = row_head(arrowed(record, metric))
        rows.append(f"<tr{kind}>{head}<td>{applies_to(record, metric)}</td>{cells}</tr>")
    how = (
        "Wilson intervals, of as many examples as those of groups that answer alike are worth; means of what is no "
        "share have a bootstrap’s. “Scored” counts the examples to which a metric applies and that could be judged. "
        + LEGEND
    )
    heads = ("", "Scored", *(c.name for c in record.conditions))
    shown = table(heads, rows, "All figures")
    return section("All figures", f'<p class="soft">{how}</p>{shown}{_effort(record)}')


def _effort(record: Record) -> str:
    parts = [
        f"{text(c.name)}: {c.prompt_tokens:,} prompt and {c.output_tokens:,} new tokens"
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
    return section(f"Right answers by {tag}", table(heads, rows, f"By {tag}"))


def _tools(record: Record, samples: Sequence[JSON]) -> str:
    """Those first of which the adapter (or the best baseline) gets most wrong."""
    wanted = {s["id"]: tools_of(s) for s in samples}
    name = next((c.name for c in record.conditions if c.decides), record.best_baseline)
    found = sliced(record, samples, wanted)
    found.sort(key=lambda part: (-_wrong(part.figures.get(name or "")), -part.n, part.value))
    how = f"Those first of which {name} gets most wrong." if name else ""
    return _of_samples(record, "tool", [(p.value, p.n, p.figures) for p in found], how)


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
    record: Record, by: str, parts: Sequence[tuple[str, int, Mapping[str, Figure]]], how: str
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
    shown = long_table(heads, rows, f"By {by}", FIRST)
    return section(f"Right answers by {by}", f'<p class="soft">{text(how)}</p>{shown}')


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
            rows.append(f"<tr{kind}>{row_head(arrowed(record, metric))}{cells}</tr>")
    how = (
        "Percentage points, adapter minus baseline on the same examples, with the 95 % interval of a cluster "
        "bootstrap by group; in brackets on how many examples the adapter’s value is higher and lower. "
        "Coloured where the interval leaves out zero."
    )
    heads = ("", *(f"against {b}" for b in baselines))
    body = f'<p class="soft">{how}</p>{table(heads, rows, "Differences")}'
    return section("Paired differences", body)


def _probes(record: Record) -> str:
    """One line, and the areas."""
    if record.probes is None:
        return ""
    rows = []
    for area, found in record.probes.areas.items():
        cells = (
            figure_cell(found.base) + figure_cell(found.adapter) + _difference_cell(record, found.difference)
        )
        rows.append(f"<tr>{row_head(label(area))}<td>{found.base.n}</td>{cells}</tr>")
    heads = ("", "n", "base", "adapter", "adapter − base")
    shown = table(heads, rows, "General-ability probes") if rows else ""
    return section("General-ability probes", f"<p>{text(probes_text(record))}</p>{shown}")


def _suite(suite: SuiteRecord) -> str:
    rows = [row(name, cells) for name, *cells in suite_rows(suite)]
    shown = table(suite_header(suite), rows, suite.name)
    return section(suite.name, f'<p class="soft">{text(suite_title(suite))}</p>{shown}')


def _difference_cell(record: Record, difference: DifferenceRecord | None) -> str:
    return difference_cell(difference, difference is not None and difference.metric in record.lower_is_better)


def _cell(condition: ConditionRecord, figure: Figure) -> str:
    lost = f"{figure.unscored} unscored" if figure.unscored else ""
    return figure_cell(figure, lost, kind="adapter" if condition.adapter else "")


# --- the end ------------------------------------------------------------------------------------


def _origin(record: Record) -> str:
    judge = record.evaluator
    made = {key: value for key, value in record.provenance.items() if key != "seed" or record.seed is None}
    facts: dict[str, Any] = {
        "Base": f"{record.base.get('name', NOTHING)} {record.base.get('digest', '')}",
        "Chat template": record.template,
        "Adapter": record.adapter or NOTHING,
        "Engine": record.engine,
        "Engine, version": record.engine_version,
        "Evaluator": f"{judge.name} {judge.digest}" if judge else None,
        "Decoding": record.decoding.model_dump() if record.decoding else None,
        "Seed": record.seed,
        "Created": record.created_at,
        "Record": record.digest,
    }
    known = {key: value for key, value in facts.items() if value not in (None, "")}
    data = {f"Data, {key}": value for key, value in record.data.items()}
    shots = "".join(f'<p class="role">{text(m.get("role"))}</p>{pre(_content(m))}' for m in record.shots)
    worked = f"<details><summary>The worked examples of the few-shot baseline</summary>{shots}</details>"
    return origin(known | data | made, worked if shots else "")


def _content(turn: JSON) -> str:
    content = turn.get("content") or turn.get("tool_calls") or ""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
