"""Plots of means and differences with their intervals. Names and figures are text of the page, so that they stay
readable on a phone; only the lanes between them are drawn. Colours come from the style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentlora.eval.page import text
from agentlora.eval.record import DifferenceRecord, Figure
from agentlora.eval.wording import difference_text, figure_text, gain, interval, percent

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # where an axis of differences may end


def bar_chart(title: str, rows: Sequence[tuple[str, Figure, bool]]) -> str:
    """Bars of shares, 0 to 100 %, with 95 % whiskers; a row is (name, figure, is it the adapter)."""
    lines = []
    for name, figure, adapter in rows:
        if figure.mean is None or figure.low is None or figure.high is None:
            lines.append(_row(name, "", "not scored"))
            continue
        kind = "bar adapter" if adapter else "bar"
        bar = f'<rect class="{kind}" width="{100 * figure.mean:.2f}" y="2" height="16"/>'
        drawn = _lane("0 0 100 20", bar + _whisker(100 * figure.low, 100 * figure.high))
        lines.append(_row(name, drawn, f"<b>{percent(figure.mean)}</b> {interval(figure)}"))
    said = "; ".join(f"{name}: {figure_text(figure)}" for name, figure, _ in rows)
    return _chart(f"{title}. {said}", lines, ("0", "25", "50", "75", "100"))


def difference_chart(title: str, rows: Sequence[tuple[str, DifferenceRecord, str]]) -> str:
    """Differences of shares in points, around zero, with 95 % whiskers; a row is (name, difference, ``up``, ``down`` or
    nothing).
    """
    shown = [d for _, d, _ in rows if d.mean is not None]
    reach = max((abs(v) for d in shown for v in (d.mean, d.low, d.high) if v is not None), default=0)
    end = next((step for step in STEPS if step >= reach), STEPS[-1])
    lines = []
    for name, found, kind in rows:
        if found.mean is None:
            lines.append(_row(name, "", "not scored"))
            continue
        mean = 100 * found.mean / end
        marks = '<path class="zero" d="M0 0V20"/>'
        spread = ""
        if found.low is not None and found.high is not None:
            marks += _whisker(100 * found.low / end, 100 * found.high / end)
            spread = f"{gain(found.low, found)} to {gain(found.high, found)}"
        marks += f'<path class="dot {kind}" d="M{mean:.2f} 10h0.01"/>'
        lines.append(_row(name, _lane("-100 0 200 20", marks), f"<b>{gain(found.mean, found)}</b> {spread}"))
    said = "; ".join(f"{name}: {difference_text(found)}" for name, found, _ in rows)
    ticks = tuple(
        f"{100 * end * part:+g}".replace("-", "−") if part else "0" for part in (-1, -0.5, 0, 0.5, 1)
    )
    return _chart(f"{title}. {said}", lines, ticks, "chart wide")


def _chart(said: str, rows: Sequence[str], ticks: Sequence[str], kind: str = "chart") -> str:
    axis = "".join(f"<span>{tick}</span>" for tick in ticks)
    return (
        f'<div class="{kind}" role="img" aria-label="{text(said)}">{"".join(rows)}'
        f'<div class="row axis"><span class="name"></span><span class="ticks">{axis}</span></div></div>'
    )


def _row(name: str, drawn: str, value: str) -> str:
    return (
        f'<div class="row"><span class="name">{text(name)}</span><span class="lane">{drawn}</span>'
        f'<span class="value">{value}</span></div>'
    )


def _lane(box: str, drawn: str) -> str:
    """Stretched to the width that there is; strokes keep theirs."""
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'


def _whisker(low: float, high: float) -> str:
    return f'<path class="whisker" d="M{low:.2f} 10H{high:.2f}M{low:.2f} 6v8M{high:.2f} 6v8"/>'
