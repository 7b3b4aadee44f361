"""A data set's figures as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agentlora.core.grammar import function_of
from agentlora.core.texts import brief
from agentlora.core.types import Example, Split
from agentlora.eval.page import document, note, pre, row, section, table, text, tile
from agentlora.eval.quality import Histogram, Quality, SplitFigures, answer_text

ROWS = 30  # of a table
SHARED = "Requests are never shared. Where wording or values are, a good score may be memory."
WIDTH, HEIGHT, BOTTOM = 420, 120, 18


def page(title: str, found: Quality, notes: Sequence[str] = ()) -> str:
    """The page. `notes`: what the data card says."""
    splits = found.splits
    tiles = "".join(tile(f"{figures.examples:,}", [_counted(s, figures)]) for s, figures in splits.items())
    said = "".join(f"<p>{text(said)}</p>" for said in notes if said)
    sections = [
        f'<header><p class="eyebrow">Data</p><h1>{text(title)}</h1>{said}<div class="tiles">{tiles}</div></header>',
        section(
            "What it asks for", _counts("case", found.cases, splits) + _counts("slice", found.slices, splits)
        ),
        section(
            "Lengths in training",
            f'<div class="multiples">{"".join(map(_histogram, found.histograms))}</div>',
        ),
        section("What dev and test share with training", note(SHARED) + _overlaps(found)),
        _values(found),
        section("To read", "".join(map(_example, found.to_read))),
    ]
    return document(title, sections)


def _counted(split: Split, figures: SplitFigures) -> str:
    said = f"{split}: {figures.groups:,} groups"
    if not figures.tools:
        return said
    return f"{said}, {figures.tools:,} tools offered, {figures.called:,} called"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
    return table(heads, [row(first, cells) for first, *cells in rows], name)


def _counts(what: str, counts: Mapping[str, Mapping[Split, int]], splits: Mapping[Split, object]) -> str:
    totals = {split: sum(row[split] for row in counts.values()) or 1 for split in splits}
    rows = [
        (name, *(f"{row[split]:,} ({row[split] / totals[split]:.0%})" for split in splits))
        for name, row in counts.items()
    ]
    return _table((what, *splits), rows, f"By {what}")


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
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(said)}">{bars}{ends}</svg>'
    middle = f'<p class="soft">median {found.middle:,.0f}</p>'
    return f'<div class="card"><h3>{text(found.name)}</h3>{middle}{picture}</div>'


def _overlaps(found: Quality) -> str:
    heads = ("split", "same wording but for values", "same text values", "same list of tools")
    rows = [
        (split, f"{o.wording:.0%}", f"{o.values:.0%}", f"{o.tools:.0%}")
        for split, o in found.overlaps.items()
    ]
    shown = len(heads) if any(figures.tools for figures in found.splits.values()) else len(heads) - 1
    return _table(heads[:shown], [cells[:shown] for cells in rows], "Shared with training")


def _values(found: Quality) -> str:
    uncalled = ""
    if found.uncalled:
        names = ", ".join(found.uncalled[:ROWS]) + (" …" if len(found.uncalled) > ROWS else "")
        uncalled = note(f"Offered in training and never called: {len(found.uncalled):,} tools. {names}")
    if not found.parameters:
        return uncalled
    rows = [
        (p.name, f"{p.uses:,}", f"{p.distinct:,}", f"{brief(p.most, 40)} ({p.share:.0%})")
        for p in found.parameters[:ROWS]
    ]
    more = f", the {ROWS} least varied of {len(found.parameters):,}" if len(found.parameters) > ROWS else ""
    shown = _table(("parameter", "uses", "different values", "most frequent"), rows, "Values")
    return section("Values", note(f"Of each parameter in training{more}.") + shown + uncalled)


def _example(example: Example) -> str:
    asked = "\n".join(
        f"{m['role']}: {m.get('content') or ''}" for m in example.messages if m["role"] != "system"
    )
    tools = ", ".join(function_of(tool)["name"] for tool in example.tools)
    offered = f'<p class="soft">offered: {text(tools)}</p>' if tools else ""
    about = " · ".join(f"{key} {value}" for key, value in example.tags.items())
    return (
        f'<div class="card"><h3>{text(example.id)}</h3>'
        f'<p class="soft">{text(about)}</p>{offered}'
        f"{pre(asked)}{pre(f'→ {answer_text(example.expected)}')}</div>"
    )
