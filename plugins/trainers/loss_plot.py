"""The loss of a training as an SVG file that stands alone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 40
TICKS = (1, 2, 5)

_STYLE = """
  svg { font: 12px system-ui, sans-serif; background: #fff; color: #1f2933 }
  text { fill: currentColor } .title { font-weight: 600; font-size: 13px } .quiet { fill: #66727f }
  .grid { stroke: #e3e7eb } .each { stroke: #9db8d9 } .mean { stroke: #1d5fae; stroke-width: 2 }
  .dev { stroke: #b4530a; stroke-width: 2 } .dot { fill: #b4530a }
  .each, .mean, .dev { fill: none; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) {
    svg { background: #14191f; color: #e6eaee } .quiet { fill: #93a0ad } .grid { stroke: #2b333c }
    .each { stroke: #3d5674 } .mean { stroke: #7db1f0 } .dev { stroke: #f0a35e } .dot { fill: #f0a35e }
  }
"""


def loss_plot(
    title: str,
    training: Sequence[tuple[int, float]],
    dev: Sequence[tuple[int, float]] = (),
    unit: str = "nats a token",
    what: str = "loss",
) -> str:
    """A line of every update's loss, one of their mean over a thirtieth of the training, and,
    with a legend, one of the loss on dev.

    Losses far above the others (the first ones) are cut off at the top.

    Args:
        training, dev: (update, loss), in order.
        what: is drawn, if it is no loss.
    """
    if not training:
        return ""
    steps, losses = zip(*training, strict=True)
    most = sorted(losses)[: max(1, int(0.98 * len(losses)))]
    top = _round_up(max(*most, *(loss for _, loss in dev), 0.0))
    last = max(steps[-1], 1)

    def place(step: float, loss: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(loss, top) / top)
        return f"{x:.1f} {y:.1f}"

    window = max(1, len(losses) // 30)
    means = [
        sum(part) / len(part) for part in (losses[max(0, i - window) : i + 1] for i in range(len(losses)))
    ]
    said = (
        f"{title}: {what} {losses[0]:.3g} in the first of {steps[-1]} updates, {means[-1]:.3g} at the end"
        + (f"; on dev {dev[-1][1]:.3g}" if dev else "")
    )
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(said, quote=True)}"><style>{_STYLE}</style>'
        ),
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
    ]
    for i in range(5):
        x, y = place(0, top * i / 4).split()
        parts.append(f'<path class="grid" d="M{x} {y}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="quiet" x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{top * i / 4:g}</text>'
        )
    for i in range(5):
        x = place(last * i / 4, 0).split()[0]
        parts.append(
            f'<text class="quiet" x="{x}" y="{HEIGHT - 18}" text-anchor="middle">{round(last * i / 4)}</text>'
        )
    parts.append(f'<text class="quiet" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">update</text>')
    parts.append(
        f'<text class="quiet" x="{WIDTH - RIGHT}" y="20" text-anchor="end">{what}, {escape(unit)}</text>'
    )
    for kind, values in (("each", losses), ("mean", means)):
        points = "L".join(place(step, value) for step, value in zip(steps, values, strict=True))
        parts.append(f'<path class="{kind}" d="M{points}"/>')
    if dev:
        places = [place(*point) for point in dev]
        parts.append(f'<path class="dev" d="M{"L".join(places)}"/>')
        for x, y in map(str.split, places):
            parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2.5"/>')
        parts += _legend()
    return "".join(parts) + "</svg>\n"


def _legend() -> Iterator[str]:
    """Which line is which, in the upper right corner."""
    for i, (kind, name) in enumerate((("mean", "training"), ("dev", "dev"))):
        x, y = WIDTH - RIGHT - 90, TOP + 14 + 18 * i
        yield f'<path class="{kind}" d="M{x} {y}h20"/><text x="{x + 26}" y="{y + 4}">{name}</text>'


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0
    while power > value:
        power /= 10
    while True:
        for tick in TICKS:
            if tick * power >= value:
                return tick * power
        power *= 10
