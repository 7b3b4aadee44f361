"""What the bounds of a schema leave: why no value can fit it, and numbers that do where floats run over."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from agentlora.core import schema as json_schema

MOST_LOOKED_AT = 200  # values of an enumeration
SPREAD = 1000  # steps that numbers are drawn from
_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def contradiction(schema: Any) -> str:
    """Why no value fits `schema`, as far as its bounds and enumerations say so: ``lines.[].count: no whole number is
    between its minimum 10 and its maximum 1``. Empty where one may fit.

    Args:
        schema: without references.
    """
    found = _contradiction(schema)
    return ": ".join(filter(None, (".".join(found[0]), found[1]))) if found else ""


_Found = tuple[tuple[str, ...], str]


def _contradiction(schema: Any) -> _Found | None:
    """(path, why)"""
    if not isinstance(schema, Mapping):
        return None
    values = schema.get("enum")
    if values == []:
        return (), "its enumeration is empty"
    few = isinstance(values, list) and len(values) <= MOST_LOOKED_AT
    if few and not any(json_schema.is_valid(dict(schema), value) for value in values or ()):
        return (), "no value of its enumeration fits the rest of its schema"
    kinds = schema.get("type")
    found = [_of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds or ())]
    if found and all(found):
        return found[0]
    for part in schema.get("allOf") or ():
        if inner := _contradiction(part):
            return inner
    for key in ("anyOf", "oneOf"):
        found = [_contradiction(part) for part in schema.get(key) or ()]
        if found and all(found):
            return found[0]
    return None


def _of_kind(kind: str, schema: Mapping[str, Any]) -> _Found | None:
    if kind in ("integer", "number"):
        why = _no_number(schema, kind == "integer")
        return ((), why) if why else None
    if kind not in _LENGTHS:
        return None
    least, most = _LENGTHS[kind]
    if schema.get(least, 0) > schema.get(most, math.inf):
        return (), f"its {least} {schema[least]} is above its {most} {schema[most]}"
    for name, part in _needed(kind, schema):
        if inner := _contradiction(part):
            return (name, *inner[0]), inner[1]
    return None


def _needed(kind: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parts without which there is no value: (name, schema)."""
    properties = schema.get("properties") or {}
    if kind == "object":
        yield from ((name, properties[name]) for name in schema.get("required") or () if name in properties)
    if kind == "array" and schema.get("minItems", 0) > len(schema.get("prefixItems") or ()):
        yield "[]", schema.get("items")


# --- numbers --------------------------------------------------------------------------------------


def number_within(schema: Mapping[str, Any], whole: bool, rng: random.Random) -> int | float | None:
    """A number that the bounds of `schema` take, as near to zero as they allow; None where they take none."""
    first, last, step = _steps(schema, whole)
    if first is not None and last is not None and first > last:
        return None
    if first is None or (first <= 0 and (last is None or last > 0)):
        first = 0 if last is None or last > 0 else last - SPREAD
    elif last is not None and last <= 0:
        first = max(first, last - SPREAD)
    value = step * rng.randint(first, first + SPREAD if last is None else min(last, first + SPREAD))
    if whole or (value.denominator == 1 and abs(value) > 2**53):
        return int(value)
    return float(value)


def _no_number(schema: Mapping[str, Any], whole: bool) -> str:
    """Why no number fits; empty where one does."""
    first, last, _ = _steps(schema, whole)
    if first is None or last is None or first <= last:
        return ""
    low, high = _bounds(schema)
    kind = "whole number" if whole else "number"
    if "multipleOf" in schema:
        kind = f"{kind} that is a multiple of {schema['multipleOf']}"
    return f"no {kind} is between its {low} {schema[low]} and its {high} {schema[high]}"


def _steps(schema: Mapping[str, Any], whole: bool) -> tuple[int | None, int | None, Fraction]:
    """The least and the most that a step can be taken, and the step: exactly, for floats run over at 1e308."""
    low, high = _bounds(schema)
    lowest, highest = (_exact(schema[key]) if key else None for key in (low, high))
    step = _exact(schema["multipleOf"]) if "multipleOf" in schema else None
    if whole:  # a fraction's multiples that are whole are those of its numerator
        step = Fraction(step.numerator) if step else Fraction(1)
    elif step is None:
        narrow = lowest is not None and highest is not None and 0 < highest - lowest < 1
        step = (highest - lowest) / SPREAD if narrow else Fraction(1, 100)  # type: ignore[operator]
        if lowest is not None and lowest == highest:
            step = abs(lowest) or step
    first = None if lowest is None else math.ceil(lowest / step)
    last = None if highest is None else math.floor(highest / step)
    if first is not None and low == "exclusiveMinimum" and first * step == lowest:
        first += 1
    if last is not None and high == "exclusiveMaximum" and last * step == highest:
        last -= 1
    return first, last, step


def _bounds(schema: Mapping[str, Any]) -> tuple[str, str]:
    """The keywords that bound a number below and above; empty where none does."""
    lows, highs = (
        {key: schema[key] for key in keys if key in schema and not isinstance(schema[key], bool)}
        for keys in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
    )
    return max(lows, key=lambda key: lows[key], default=""), min(
        highs, key=lambda key: highs[key], default=""
    )


def _exact(number: float) -> Fraction:
    """As it is written, 0.1 is a tenth; where floats have no fractions, as they are."""
    return Fraction(number if abs(number) >= 2**53 else str(number))
