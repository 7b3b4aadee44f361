"""Arguments that have to be converted: other units, dates and numbers in words, synonyms, yes or no in plain words.

Whatever is said stands for one value only, which can be told from the request and the tool's schema.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from agentlora.core.types import JSON, Split
from agentlora.tasks.tool_calling.api_frames import KINDS
from agentlora.tasks.tool_calling.api_kinds import kind_of
from agentlora.tasks.tool_calling.api_sources import Operation, Param, split_words
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.toolspec import Conversion, said_date, said_time
from agentlora.tasks.tool_calling.units import Measured, amounts, measured, names_unit
from agentlora.tasks.tool_calling.user_phrasing import as_names, requests_saying
from agentlora.tasks.tool_calling.user_values import identifies, says_format, valid_entries
from agentlora.tasks.tool_calling.value_words import other_words, plain_words

DRAWN = 40  # numbers of a range that are said in words
FORMS = 3  # ways that one date is said in
# numbers that are read out digit by digit, or are names
DIGITS = frozenset(
    ["port", "year", "version", "code", "phone", "account", "serial", "latitude", "lat", "longitude", "lng", "lon",
     "pin", "zip", "timestamp", "seed", "status"]
)  # fmt: skip
COUNTS = frozenset(("quantity", "count", "limit", "items", "copies", "guests", "tickets", "people", "pieces"))
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d):(\d\d):00Z)?")
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::00Z)?")
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True, slots=True)
class _Said:
    """Entries for a parameter, which requests call by the words of `param`."""

    case: str
    entries: Iterable[JSON]
    param: Param
    amount: Measured | None = None


def conversions_of(
    tool: ImportedTool,
    operation: Operation,
    params: Sequence[Param],
    pools: Mapping[str, Any],
    split: Split,
    rng: random.Random,
) -> dict[str, tuple[Conversion, ...]]:
    """By case, what can be said otherwise than a call has it, with requests that say it.

    Args:
        params: those of the tool that can be said.
        pools: their values as they are said mostly.
    """
    found: dict[str, list[Conversion]] = {}
    properties = tool.parameters.get("properties", {})
    units = _units(params, properties)
    finding = KINDS.get(operation.verb) in ("get", "list")
    named = as_names(params, tool)
    for param in params:
        others = [split_words(name) for name in properties if name != param.name]
        if (
            param.schema["type"] == "string"
            and "enum" not in param.schema
            and not (says_format(param.schema) or says_format(properties[param.name]))
        ):
            continue  # what it would have to be converted to is not known
        said = _said(param, units, pools[param.name], others, finding, split != "train", rng)
        entries = certain(valid_entries(list(said.entries), properties[param.name])) if said else []
        if not said or not entries:
            continue
        # in its own place, for the others keep theirs
        asked = [said.param if p.name == param.name else p for p in named]
        lasts = said.amount is not None and said.amount.lasts
        requests = requests_saying(
            tool, operation, asked, param.name, split, rng, said.amount is not None, lasts
        )
        if requests:
            found.setdefault(said.case, []).append(Conversion(param.name, entries, requests))
    return {case: tuple(conversions) for case, conversions in found.items()}


def certain(entries: Sequence[JSON]) -> list[JSON]:
    """Without what is said for two values."""
    values: dict[str, set[str]] = {}
    for entry in entries:
        values.setdefault(entry["say"].casefold(), set()).add(repr(entry["value"]))
    return [entry for entry in entries if len(values[entry["say"].casefold()]) == 1]


def _units(params: Sequence[Param], properties: Iterable[str]) -> dict[str, Measured]:
    """The amounts among `params` that can be called by their words without the unit."""
    if any(names_unit(name) for name in properties):
        return {}
    found = {p.name: unit for p in params if (unit := measured(p))}
    called = [found[p.name].words if p.name in found else p.words for p in params]
    return {name: unit for name, unit in found.items() if called.count(unit.words) == 1}


def _said(
    param: Param,
    units: Mapping[str, Measured],
    pool: Any,
    others: Sequence[tuple[str, ...]],
    finding: bool,
    held_out: bool,
    rng: random.Random,
) -> _Said | None:
    kind, schema = kind_of(param), param.schema
    if kind == "bool":
        words = plain_words(param.words, others, finding, held_out)
        return _Said("yes_no", _entries(words), param)
    if kind == "enum" and schema["type"] == "string":
        return _Said("synonym", _entries(other_words(schema["enum"], param.words, held_out)), param)
    if schema["type"] == "string":
        return _Said("date", _moments(pool, held_out, rng), param) if isinstance(pool, list) else None
    if schema["type"] not in ("integer", "number"):
        return None
    if unit := units.get(param.name):
        called = replace(param, words=unit.words, description="")  # which would say the unit
        return _Said("unit", amounts(unit, schema["type"] == "integer", held_out, rng), called, unit)
    if measured(param) or identifies(param) or DIGITS & set(param.words):
        return None
    return _Said("number", _numbers(param, pool, rng), param)


def _entries(pairs: Iterable[tuple[str, Any]]) -> Iterator[JSON]:
    return ({"say": said, "value": value} for said, value in pairs)


# --- dates and times ------------------------------------------------------------------------------


def _moments(pool: Sequence[Any], held_out: bool, rng: random.Random) -> Iterator[JSON]:
    """The dates and times of a pool in words and in other formats, each as it can only be read in one way."""
    for entry in pool:
        value = entry["value"] if isinstance(entry, dict) else entry
        with suppress(ValueError):  # what a schema gives for an example may be no date
            for said in _sayings(value, held_out, rng):
                yield {"say": said, "value": value}


def _sayings(value: str, held_out: bool, rng: random.Random) -> list[str]:
    if found := _CLOCK.fullmatch(value):
        return [_clock(found[1], found[2], rng)]
    if not (found := _MOMENT.fullmatch(value)):
        return []
    clock = f" at {_clock(found[2], found[3], rng)} UTC" if found[2] else ""
    days = _days(datetime.date.fromisoformat(found[1]), held_out, rng)
    return [f"{day}{clock}" for day in rng.sample(days, FORMS)]


def _days(day: datetime.date, held_out: bool, rng: random.Random) -> list[str]:
    said = [said_date(day, rng), said_date(day, rng), f"{day.year}/{day.month:02}/{day.day:02}"]
    if day.day > 12:  # no month, whichever comes first
        said += [f"{day.day}/{day.month}/{day.year}", f"{day.month}/{day.day}/{day.year}"]
    return (
        [*said, f"{day:%A}, {day.day} {day:%B %Y}", f"{day:%A}, {day:%B} {day.day} {day.year}"]
        if held_out
        else said
    )


def _clock(hour: str, minute: str, rng: random.Random) -> str:
    """Raises ValueError where words would leave it open, at midnight and between quarters of an hour."""
    time = datetime.time(int(hour), int(minute))
    if not time.hour or time.minute % 15:
        raise ValueError(f"{time:%H:%M} has no words")
    return said_time(time.hour, time.minute, rng)


# --- numbers --------------------------------------------------------------------------------------


def _numbers(param: Param, pool: Any, rng: random.Random) -> Iterator[JSON]:
    """Numbers of a pool in words and with separators."""
    if isinstance(pool, dict):
        low, high = pool.get("integers") or pool["numbers"]
        drawn = [rng.randint(int(low), int(high)) for _ in range(DRAWN)]
        values = sorted({*drawn, *(round(n, 1 - len(str(n))) for n in drawn)})
        values = [n for n in values if low <= n <= high]
    else:
        values = [n for n in pool if type(n) is int]
    for value in values:
        forms = spoken_forms(value)
        if COUNTS & set(param.words) and value in (12, 24, 36):
            forms.append({12: "a dozen", 24: "two dozen", 36: "three dozen"}[value])
        if forms:
            yield {"say": rng.choice(forms), "value": value}
        if param.schema["type"] == "number" and 1 <= value < 20 and "numbers" in pool:
            yield {"say": f"{_ONES[value]} and a half", "value": value + 0.5}


def spoken_forms(number: int) -> list[str]:
    """A number from 2 up in words, where these are few, and with separators: ``1,500``, ``12k``, ``1.5 million``."""
    forms = []
    if 2 <= number < 100 or (number < 10**6 and number > 0 and number % 100 == 0):
        forms.append(in_words(number))
    if number >= 1000:
        forms.append(f"{number:,}")
    if number >= 1000 and number % 1000 == 0 and number < 10**6:
        forms.append(f"{number // 1000}k")
    if 10**6 <= number < 10**9 and number % 10**5 == 0:
        forms.append(f"{number / 10**6:g} million")
    return forms


def in_words(number: int) -> str:
    """``2500`` → ``two thousand five hundred``, of 0 to 999,999."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    rest = f" {in_words(number % size)}" if number % size else ""
    return f"{in_words(number // size)} {name}{rest}"
