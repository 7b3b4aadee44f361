"""Cells of HTML tables: a figure with its interval, and a paired difference in the colour of what it says."""

from __future__ import annotations

from agentlora.eval.page import text
from agentlora.eval.record import DifferenceRecord, Figure
from agentlora.eval.wording import NOTHING, difference_text, direction, gain, interval, mean_text


def figure_cell(figure: Figure, *beside: str, kind: str = "") -> str:
    """The mean, and small below it the interval and what else there is to say."""
    chosen = f' class="{kind}"' if kind else ""
    small = "<br>".join(text(part) for part in (interval(figure), *beside) if part)
    return f"<td{chosen}>{mean_text(figure)}<small>{small}</small></td>"


def difference_cell(found: DifferenceRecord | None, lower: bool) -> str:
    """In points or the metric's own unit, coloured where the interval leaves out zero; below, on how many examples the
    system's value is higher and lower. `lower`: of the metric, lower is better.
    """
    if found is None or found.mean is None:
        return f"<td>{NOTHING}</td>"
    ends = "" if found.low is None else f"{gain(found.low, found)} to {gain(found.high, found)} "
    counts = f"(↑{found.higher} ↓{found.lower} of {found.n})"
    said = f"{gain(found.mean, found)}<small>{ends}{counts}</small>"
    kind = direction(found, lower)
    chosen = f' class="{kind}"' if kind else ""
    return f'<td{chosen} title="{text(difference_text(found))}">{said}</td>'
