"""Numbers and days: drawn, and said as people write them."""

from __future__ import annotations

import math
import random
import re
from decimal import Decimal
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_values import one_of
from agentlora.tasks.tool_calling.api_words import MONTHS
from agentlora.tasks.tool_calling.bounds import number_within

MONEY = re.compile(r"\b(price|cost|costs|fee|salary|budget|rent|wage)\b")  # what is always money
CENTS = re.compile(
    r"\b(price|amount|total|subtotal|cost|fee|tax|sum|balance|rate|discount|salary|budget|paid)\b"
)


def number_said(value: float, rng: random.Random, cents: bool = False, money: bool = False) -> str:
    """``1250.5`` as people write it: 1250.5, 1,250.50, and small counts as words now and then."""
    if isinstance(value, int):
        if value in NUMBERS and rng.random() < 0.25:
            return NUMBERS[value]
        return f"{value:,}" if value >= 1000 and rng.random() < 0.15 else str(value)
    if cents:
        frame = rng.choice(MONEY_SAID) if money and rng.random() < IN_MONEY else "{}"
        return frame.format(f"{value:,.2f}" if rng.random() < 0.3 else f"{value:.2f}")
    return str(value)


MONEY_SAID = ("€{}", "{} EUR", "{} €", "${}", "£{}", "EUR {}", "{} euros")
IN_MONEY = 0.15  # of the prices: with a currency, where the schema does not ask for it


NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten",
           11: "eleven", 12: "twelve", 15: "fifteen", 20: "twenty", 30: "thirty", 40: "forty", 50: "fifty",
           100: "a hundred"}  # fmt: skip


def draw_number(
    schema: JSON, whole: bool, words: str, pool: Any, money: bool, rng: random.Random
) -> tuple[str, Any]:
    """A number of the usual size for its name, or from all of the schema's range, where small ones are more likely."""
    try:
        value = _drawn(schema, whole, words, pool, rng)
        cents = not whole and bool(CENTS.search(words)) and round(value, 2) == value
    except (ArithmeticError, ValueError):  # more than floats have
        value, cents = number_within(schema, whole, rng), False
    if value is None:
        return "", None
    return number_said(value, rng, cents, money and bool(MONEY.search(words))), value


def _drawn(schema: JSON, whole: bool, words: str, pool: Any, rng: random.Random) -> Any:
    """Raises ArithmeticError or ValueError where floats run over."""
    low, high = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    step: Any = schema.get("multipleOf") or 1
    value: Any
    if low is not None and high is not None and rng.random() < 0.5:
        if whole:
            value = step * _small(math.ceil(low / step), math.floor(high / step), rng)
        else:
            value = round(rng.uniform(low, high), 2 if high - low <= 50 else 1)
    else:
        value = one_of(pool, rng)[1]
        if not whole and CENTS.search(words):
            value = round(value + rng.choice((0, 0.5, 0.25, 0.99, 0.9, rng.random())), 2)
    if step != 1 or (whole and not isinstance(value, int)):
        value = _in_steps(value, step, whole)
    return value


def _small(low: int, high: int, rng: random.Random) -> int:
    """A whole number of a range; of one that begins with nothing or a few, mostly small: things are counted."""
    if not 0 <= low < min(10, high) or rng.random() < 0.4:
        return rng.randint(low, max(low, high))
    return low + int(math.exp(rng.uniform(0, math.log(high - low + 1)))) - 1


def draw_date(layout: str, rng: random.Random) -> tuple[str, str]:
    """A day, or a moment in UTC, as people write it."""
    year, month, day = rng.randint(2023, 2027), rng.randint(1, 12), rng.randint(1, 28)
    value, name = f"{year}-{month:02}-{day:02}", MONTHS[month - 1]
    said = rng.choice(
        (value, value, value, f"{day} {name} {year}", f"{name} {day}, {year}", f"{day} {name[:3]} {year}")
    )
    if layout == "date-time":
        hour, minute = rng.randint(6, 21), rng.choice((0, 0, 15, 30, 45))
        return f"{said} at {hour:02}:{minute:02} UTC", f"{value}T{hour:02}:{minute:02}:00Z"
    return said, value


def _in_steps(value: float, step: float, whole: bool) -> Any:
    """The multiple of `step` that is nearest to `value`, with as many decimals as the step has."""
    exact = Decimal(str(step))
    found = round(Decimal(str(value)) / exact) * exact
    return int(found) if whole or found == int(found) else float(found)


def draw_duration(rng: random.Random) -> tuple[str, str]:
    """(what is said, the value in ISO 8601)"""
    unit, letters, most = rng.choice((("minute", "PT{}M", 90), ("hour", "PT{}H", 48), ("day", "P{}D", 60)))
    count = rng.randint(1, most)
    return f"{count} {unit}{'' if count == 1 else 's'}", letters.format(count)


def draw_ipv6(rng: random.Random) -> str:
    """An address of those that are kept for documentation (RFC 3849)."""
    return "2001:db8:" + ":".join(f"{rng.randint(1, 0xFFFF):x}" for _ in range(6))
