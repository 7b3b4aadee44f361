"""A parity on the terminal: what holds, and token by token where answers part."""

from __future__ import annotations

from itertools import zip_longest
from statistics import median
from typing import TYPE_CHECKING

from agentlora.eval.metrics import wilson
from agentlora.eval.parity import LEAST_EQUAL, Mismatch, Parity, Step

if TYPE_CHECKING:
    from rich.console import RenderableType


def terminal(parity: Parity, shown: int = 3) -> RenderableType:
    """The figures, what is wrong, and the `shown` mismatches that say most: those without a gap, then the widest."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(headline(parity), style="bold")]
    problems = parity.problems()
    parts += [Text(f"  does not hold: {problem}", style="red") for problem in problems]
    if not problems:
        parts.append(Text(f"  holds: {_wanted(parity)}", style="green"))
    ordered = sorted(parity.mismatches, key=lambda m: (m.gap is not None, -(m.gap or 0.0)))
    for mismatch in ordered[:shown]:
        parts += ["", *_mismatch(parity, mismatch)]
    if len(ordered) > shown:
        parts.append(Text(f"\n{len(ordered) - shown} more in --json"))
    return Group(*parts)


def headline(parity: Parity) -> str:
    """One line: how many answers are equal, and how wide the gaps are."""
    low, high = wilson(parity.equal, parity.n)
    said = (
        f"{parity.dtype}: {parity.equal} of {parity.n} answers equal on {parity.sides[0]} and {parity.sides[1]} "
        f"({low:.0%} to {high:.0%}), up to {parity.max_tokens} tokens"
    )
    gaps = parity.gaps
    return f"{said}; gap {median(gaps):.3f} nat (median), {gaps[-1]:.3f} (most)" if gaps else said


def _wanted(parity: Parity) -> str:
    if parity.dtype == "float32":
        return f"at least {LEAST_EQUAL:.0%} equal"
    return f"where answers part, no token is likelier by {parity.most_gap} nat or more"


def _mismatch(parity: Parity, mismatch: Mismatch) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    if not mismatch.left and not mismatch.right:
        return [Text(f"{mismatch.id}: {mismatch.why}")]
    gap = "" if mismatch.gap is None else f", gap {mismatch.gap:.4f} nat (float32)"
    table = Table(
        title=Text(f"{mismatch.id}: parts at token {mismatch.place}{gap}"), title_justify="left", box=None
    )
    table.add_column("token", justify="right")
    for side in parity.sides:
        table.add_column(Text(side))
        table.add_column("log-prob.", justify="right")
        table.add_column("of the other's", justify="right")
    for number, (left, right) in enumerate(zip_longest(mismatch.left, mismatch.right), mismatch.start):
        here = number == mismatch.place
        style = "bold red" if here else "dim" if number < mismatch.place else ""
        cells = [cell for step in (left, right) for cell in _cells(step, here)]
        table.add_row(str(number), *cells, style=style)
    return [table]


def _cells(step: Step | None, here: bool) -> list[RenderableType]:
    from rich.text import Text

    if step is None:
        return [Text("(end)"), "", ""]
    return [Text(repr(step.text)), _nat(step.logprob), _nat(step.of_other) if here else ""]


def _nat(logprob: float | None) -> str:
    return "not told" if logprob is None else f"{logprob:.3f}"
