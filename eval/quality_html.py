"""A data set's figures as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from agentlora.core.grammar import function_of
from agentlora.core.types import Example, Split
from agentlora.eval.quality import Histogram, Quality, answer_text

ROWS = 30  # of a table
WIDTH, HEIGHT, BOTTOM = 420, 120, 18


def page(title: str, found: Quality, notes: Sequence[str] = ()) -> str:
    """The page. `notes`: what the data card says."""
    splits = found.splits
    tiles = "".join(
        f'<div class="tile"><b>{figures.examples:,}</b><span>{escape(split)}: {figures.groups:,} groups'
        + (f", {figures.tools:,} tools offered, {figures.called:,} called" if figures.tools else "")
        + "</span></div>"
        for split, figures in splits.items()
    )
    style = files("agentlora.eval").joinpath("report.css").read_text(encoding="utf-8")
    parts = [
        f'<p class="eyebrow">Data</p><h1>{escape(title)}</h1>',
        *(f"<p>{escape(note)}</p>" for note in notes if note),
        f'<div class="tiles">{tiles}</div>',
        "<h2>What it asks for</h2>",
        _counts("case", found.cases, splits),
        _counts("slice", found.slices, splits),
        "<h2>Lengths in training</h2>",
        '<div class="multiples">' + "".join(map(_histogram, found.histograms)) + "</div>",
        "<h2>What dev and test share with training</h2>",
        '<p class="note">Requests are never shared. Where wording or values are, a good score may be memory.</p>',
        _overlaps(found),
        *_values(found),
        "<h2>To read</h2>",
        *(_example(example) for example in found.to_read),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        + "".join(parts)
        + "</main></body></html>\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _counts(what: str, counts: Mapping[str, Mapping[Split, int]], splits: Mapping[Split, object]) -> str:
    totals = {split: sum(row[split] for row in counts.values()) or 1 for split in splits}
    rows = [
        (name, *(f"{row[split]:,} ({row[split] / totals[split]:.0%})" for split in splits))
        for name, row in counts.items()
    ]
    return _table((what, *splits), rows)


def _histogram(found: Histogram) -> str:
    most = max(found.counts) or 1
    width = WIDTH / len(found.counts)
    bars = "".join(
        f'<rect class="bar adapter" x="{i * width:.1f}" y="{(HEIGHT - BOTTOM) * (1 - count / most):.1f}" '
        f'width="{max(1.0, width - 2):.1f}" height="{(HEIGHT - BOTTOM) * count / most:.1f}"/>'
        for i, count in enumerate(found.counts)
    )
    said = f"{found.name}: {found.low:,.0f} to {found.high:,.0f}, median {found.middle:,.0f}"
    ends = (
        f'<text class="tick" style="text-anchor:start" x="0" y="{HEIGHT - 6}">{found.low:,.0f}</text>'
        f'<text class="tick" style="text-anchor:end" x="{WIDTH}" y="{HEIGHT - 6}">{found.high:,.0f}</text>'
    )
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{bars}{ends}</svg>'
    middle = f'<p class="soft">median {found.middle:,.0f}</p>'
    return f'<div class="card"><h3>{escape(found.name)}</h3>{middle}{picture}</div>'


def _overlaps(found: Quality) -> str:
    heads = ("split", "same wording but for values", "same text values", "same list of tools")
    rows = [
        (split, f"{o.wording:.0%}", f"{o.values:.0%}", f"{o.tools:.0%}")
        for split, o in found.overlaps.items()
    ]
    shown = len(heads) if any(figures.tools for figures in found.splits.values()) else len(heads) - 1
    return _table(heads[:shown], [row[:shown] for row in rows])


def shorten(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _values(found: Quality) -> list[str]:
    parts = []
    if found.parameters:
        rows = [
            (p.name, f"{p.uses:,}", f"{p.distinct:,}", f"{shorten(p.most, 40)} ({p.share:.0%})")
            for p in found.parameters[:ROWS]
        ]
        more = (
            f", the {ROWS} least varied of {len(found.parameters):,}" if len(found.parameters) > ROWS else ""
        )
        parts += [f"<h2>Values</h2><p class='note'>Of each parameter in training{more}.</p>"]
        parts += [_table(("parameter", "uses", "different values", "most frequent"), rows)]
    if found.uncalled:
        names = ", ".join(found.uncalled[:ROWS]) + (" …" if len(found.uncalled) > ROWS else "")
        parts.append(
            f'<p class="note">Offered in training and never called: {len(found.uncalled):,} tools. {escape(names)}</p>'
        )
    return parts


def _example(example: Example) -> str:
    asked = "\n".join(
        f"{m['role']}: {m.get('content') or ''}" for m in example.messages if m["role"] != "system"
    )
    tools = ", ".join(function_of(tool)["name"] for tool in example.tools)
    offered = f'<p class="soft">offered: {escape(tools)}</p>' if tools else ""
    about = " · ".join(f"{key} {value}" for key, value in example.tags.items())
    return (
        f'<div class="card" style="margin-top:14px"><h3>{escape(example.id)}</h3>'
        f'<p class="soft">{escape(about)}</p>{offered}'
        f"<pre>{escape(asked)}</pre><pre>→ {escape(answer_text(example.expected))}</pre></div>"
    )
