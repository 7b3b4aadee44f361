"""Bar charts as inline SVG; colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agentlora.eval.record import Figure
from agentlora.eval.wording import figure_text, interval, percent

BAR, GAP, TOP, BOTTOM = 20, 14, 6, 22
VALUE_WIDTH = 124  # room for "84.0 % (78–89)" on the right


def bar_chart(
    title: str, rows: Sequence[tuple[str, Figure, bool]], width: int = 720, label_width: int = 150
) -> str:
    """Horizontal bars, 0 to 100 %, with 95 % whiskers; a row is (name, figure, is it the adapter)."""
    height = TOP + len(rows) * (BAR + GAP) + BOTTOM
    plot = width - label_width - VALUE_WIDTH
    said = "; ".join(f"{name}: {figure_text(figure)}" for name, figure, _ in rows)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{title}. {said}")}">',
        *(_grid_line(label_width + plot * i / 4, i * 25, height) for i in range(5)),
    ]
    for i, (name, figure, adapter) in enumerate(rows):
        y = TOP + i * (BAR + GAP) + GAP / 2
        middle = y + BAR / 2
        parts.append(f'<text class="name" x="{label_width - 10}" y="{middle}">{escape(name)}</text>')
        if figure.mean is None or figure.low is None or figure.high is None:
            parts.append(f'<text class="none" x="{label_width + 8}" y="{middle}">not scored</text>')
            continue
        kind = "bar adapter" if adapter else "bar"
        size = f'width="{plot * figure.mean:.1f}" height="{BAR}"'
        parts.append(f'<rect class="{kind}" x="{label_width}" y="{y}" {size} rx="3"/>')
        parts.append(_whisker(label_width + plot * figure.low, label_width + plot * figure.high, middle))
        mean = f'<tspan class="mean">{percent(figure.mean)}</tspan>'
        spread = f'<tspan class="range">{interval(figure)}</tspan>'
        parts.append(f'<text x="{width - VALUE_WIDTH + 14}" y="{middle}">{mean} {spread}</text>')
    return "".join(parts) + "</svg>"


def _grid_line(x: float, value: int, height: int) -> str:
    end = height - BOTTOM + 4
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{end}"/>'
        f'<text class="tick" x="{x:.1f}" y="{height - 5}">{value}</text>'
    )


def _whisker(low: float, high: float, y: float) -> str:
    return f'<path class="whisker" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 5}v10M{high:.1f} {y - 5}v10"/>'
