"""What `diff.compare` finds, for a terminal and as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from agentlora.eval.diff import Diff, Flip, Flips, Side, lengths_of
from agentlora.eval.page import document, long_table, note, origin, row, section, text, tile
from agentlora.eval.report import cell, table
from agentlora.eval.report_data import System, facets_of, pack
from agentlora.eval.unseen import named
from agentlora.eval.wording import NOTHING, counted, direction, figure_text, gain, label, p_text, reason

if TYPE_CHECKING:
    from rich.console import RenderableType

VERDICTS = {"up": ("good", "B is better"), "down": ("bad", "B is worse"), "": ("open", "Undecided")}
FLIPS: tuple[Flip, ...] = ("lost", "gained")
SHOWN = 10  # flips of either kind, and values of a slice, on a terminal
HEADS = ("", "n", "A right", "B right", "gained", "lost", "test")
HOW = (
    "Shares of right answers have their 95 % intervals beside them (Wilson's, of as many as groups are worth). Gained: "
    "wrong in A and right in B; lost: the other way round. p says how likely flips as uneven as these are "
    "where neither is better (mid-p): groups, which succeed and fail together, change sides whole."
)


def diff_table(diff: Diff) -> RenderableType:
    """Counts in all and by slice, then the first flips of either kind with the reason of the wrong answer."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = Table(title=f"A {_said(diff.a)}\nB {_said(diff.b)}", title_justify="left")
    for i, head in enumerate(HEADS):
        counts.add_column(head, justify="right" if i else "left")
    counts.add_row("all", *_cells(diff.total), style="bold", end_section=True)
    for by, found in diff.slices.items():
        shown = list(found.items())[:SHOWN]
        counts.add_row(Text(f"by {by}", style="bold"))
        for i, (value, flips) in enumerate(shown, 1):
            counts.add_row(Text(named(f"  {value}")), *_cells(flips), end_section=i == len(shown))
    left_out = [
        f"{by}: {len(found) - SHOWN} more in the page and in --json."
        for by, found in diff.slices.items()
        if len(found) > SHOWN
    ]
    flipped = chain.from_iterable(_flipped(diff, kind) for kind in FLIPS)
    lines = [summary(diff), *_notes(diff), *left_out, *flipped, HOW]
    return Group(counts, *(Text(named(line)) for line in lines))


def summary(diff: Diff) -> str:
    """``B is right on 12 that A got wrong and wrong on 3 that A got right, of 310: +2.9 points (+0.6 to +5.2) …``"""
    found, total = diff.difference, diff.total
    said = (
        f"B is right on {total.gained} that A got wrong, and wrong on {total.lost} that A got right, "
        f"of {total.n} {counted(diff.a.record)}"
    )
    if found.mean is None:
        return said + "."
    ends = "" if found.low is None else f" ({gain(found.low, found)} to {gain(found.high, found)})"
    return f"{said}: {gain(found.mean, found)} points{ends}, {p_text(total.p)}."


def diff_html(diff: Diff) -> str:
    """The page: what flipped, by slice, and the browser of samples with A beside B."""
    names = [f"{key}: {side.condition}" for key, side in (("A", diff.a), ("B", diff.b))]
    kind, verdict = VERDICTS[direction(diff.difference, lower=False)]  # it is of right answers
    shares = f"right in A {figure_text(diff.total.share_a)}, in B {figure_text(diff.total.share_b)}"
    tiles = (
        tile(diff.total.gained, ("gained", "wrong in A, right in B"), "good"),
        tile(diff.total.lost, ("lost", "right in A, wrong in B"), "bad"),
        tile(diff.total.n, ("compared", shares)),
    )
    head = (
        f'<header><p class="eyebrow">agentlora evaluations, compared</p><h1>{text(label(diff.a.record.task))}</h1>'
        f'<div class="verdict {kind}"><p class="said">{verdict}<span>A {text(_said(diff.a))}<br>B {text(_said(diff.b))}'
        f'</span></p><p class="lede">{text(summary(diff))}</p></div><div class="tiles">{"".join(tiles)}</div>'
        + "".join(note(said, warns=True) for said in _notes(diff))
        + f'<p class="soft">{text(HOW)}</p></header>'
    )
    sections = [_slice(by, found) for by, found in diff.slices.items()]
    systems = [
        System(name, side.samples, side.failed) for name, side in zip(names, (diff.a, diff.b), strict=True)
    ]
    data = pack(
        systems,
        facets_of(systems, lengths_of(diff.a.samples)),
        of=names[1],
        against=names[0],
        outcome="changed" if diff.gained or diff.lost else "any",
    )
    return document(f"{diff.a.record.task} · A and B", [head, *sections], data, _origin(diff))


def diff_markdown(diff: Diff) -> str:
    """As on a terminal, with every slice whole."""
    slices = (
        (
            f"## Flips by {by}",
            table(HEADS, [(label(value), *_cells(flips)) for value, flips in found.items()]),
        )
        for by, found in diff.slices.items()
    )
    parts = [
        f"# {cell(diff.a.record.task)}: A and B",
        f"- A {cell(_said(diff.a))}\n- B {cell(_said(diff.b))}",
        cell(summary(diff)),
        "\n".join(f"- {cell(said)}" for said in _notes(diff)),
        table(HEADS, [("all", *_cells(diff.total))]),
        *chain.from_iterable(slices),
        "\n".join(f"- {cell(line)}" for kind in FLIPS for line in _flipped(diff, kind)),
        cell(HOW),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _said(side: Side) -> str:
    return f"{side.name}: {side.condition}, {side.record.created_at[:16].replace('T', ' ')}"


def _cells(flips: Flips) -> tuple[str, ...]:
    shares = (figure_text(share) for share in (flips.share_a, flips.share_b))
    counts = (str(flips.n), *shares, str(flips.gained), str(flips.lost))
    return (*counts, p_text(flips.p) if flips.gained or flips.lost else NOTHING)


def _notes(diff: Diff) -> Iterator[str]:
    if diff.unjudged:
        what = counted(diff.a.record)
        yield f"{diff.unjudged} {what} are not compared: the answer of A or of B is not there or could not be judged."
    yield from diff.notes


def _flipped(diff: Diff, kind: Flip) -> Iterator[str]:
    """The first examples that flipped this way, with why the wrong answer is wrong."""
    names, wrong = (diff.gained, diff.a) if kind == "gained" else (diff.lost, diff.b)
    if names:
        yield f"\n{kind.capitalize()} ({len(names)}):"
    for name in names[:SHOWN]:
        yield f"  {name}: {'A' if kind == 'gained' else 'B'} {reason(wrong.samples[name])}"
    if len(names) > SHOWN:
        yield f"  … and {len(names) - SHOWN} more"


def _slice(by: str, found: Mapping[str, Flips]) -> str:
    rows = [
        row(label(value) if by in ("slice", "case") else value, _cells(flips), **{by: value})
        for value, flips in found.items()
    ]
    return section(f"Flips by {by}", long_table(HEADS, rows, f"By {by}", SHOWN))


def _origin(diff: Diff) -> str:
    facts = {
        f"{key}, {what}": value
        for key, side in (("A", diff.a), ("B", diff.b))
        for what, value in (
            ("base", f"{side.record.base.get('name', NOTHING)} {side.record.base.get('digest', '')}"),
            ("adapter", side.record.adapter or NOTHING),
            ("engine", side.record.engine),
            ("created", side.record.created_at),
            ("record", side.record.digest),
        )
    }
    facts["Data, examples"] = str(diff.a.record.data.get("examples", NOTHING))
    return origin(facts)
