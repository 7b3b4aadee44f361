"""The valid value that comes nearest to a wrong one: what the model may have meant, and how far off it was.

A proposal is made only where the schema takes it: it is put into its place and the whole value is judged again. Of an
option that is spelt otherwise it is the one of the least edit distance; of a key the property that is spelt most alike;
of another type the same value written as that type, where nothing is lost by that; of a limit the limit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.files import loads_strict
from agentlora.core.schema_errors import Finding, findings, value_at
from agentlora.core.types import JSON
from agentlora.eval.calls import MISSING, canonical

MOST_CHARACTERS = 20_000  # of a value that is judged again for each proposal
MOST_PROPOSALS = 24
_LONGEST_COMPARED = 120  # characters of a word; the distance takes their product in steps
_MOST_OPTIONS = 500
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"([0-9]{4})[./-]([0-9]{1,2})[./-]([0-9]{1,2})")
_KEYS = ("required", "dependentRequired", "dependencies", "additionalProperties", "unevaluatedProperties")
_BEYOND = (
    "items",
    "prefixItems",
    "additionalItems",
    "properties",
    "patternProperties",
)  # what a `false` rules out
LEFT_OUT = "(left out)"


def given_and_nearest(schema: JSON, value: Any, finding: Finding) -> tuple[str | None, str | None]:
    """What stands where `finding` says that something is wrong, and the nearest that the schema takes there; both as
    JSON texts, None where there is none. For keys that are missing or not expected: the key, and the one that it may be
    a misspelling of; `LEFT_OUT` where the value fits without it.
    """
    if len(json.dumps(value, ensure_ascii=False)) > MOST_CHARACTERS:
        return _given(value, finding), None
    if finding.leaf in _KEYS:
        return _key(schema, value, finding)
    if finding.leaf == "propertyNames":
        return _text(finding.steps[-1]), None
    try:
        given = value_at(value, finding.steps)
    except (KeyError, IndexError, TypeError):
        return None, None  # a key that is named wrongly
    seen = {canonical(given)}
    before = len(_wrong(schema, value, finding))
    for count, proposal in enumerate(_proposals(finding, given)):
        if count >= MOST_PROPOSALS:
            break
        if (key := canonical(proposal)) in seen:
            continue
        seen.add(key)
        if _better(schema, _with(value, finding.steps, proposal), finding, before):
            return _text(given), _text(proposal)
    says_nothing = given in (None, "", [], {})
    if (says_nothing or finding.leaf in _BEYOND) and _better(
        schema, _with(value, finding.steps, MISSING), finding, before
    ):
        return _text(given), LEFT_OUT
    return _text(given), None


def closest(word: str, options: Sequence[str]) -> str | None:
    """The option that is spelt most like `word`, capitals and separators of no account; None where none is alike: more
    than one letter in three would have to change (of short words one, and never all).
    """
    found = nearest_of(word, options)
    if found is None:
        return None
    one, other = _plain(word), _plain(found)
    shorter, longer = sorted((len(one), len(other)))
    return found if edits(one, other) <= min(max(1, longer // 3), shorter - 1) else None


def nearest_of(word: str, options: Sequence[str]) -> str | None:
    """The option of the least edit distance, capitals and separators counting last; of equal ones the first."""
    return min(
        options[:_MOST_OPTIONS],
        key=lambda option: (edits(_plain(word), _plain(option)), edits(word, option)),
        default=None,
    )


def edits(one: str, other: str) -> int:
    """How many letters have to be put in, left out, changed, or swapped with their neighbour, of the first 120.

    Source: the optimal string alignment distance; F. Damerau, "A technique for computer detection and correction of
    spelling errors", CACM 7 (1964) 171-176.
    """
    one, other = one[:_LONGEST_COMPARED], other[:_LONGEST_COMPARED]
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above = row
        row = [i]
        for j, mark in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != mark))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == mark:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]


# --- keys ---------------------------------------------------------------------------------------


def _key(schema: JSON, value: Any, finding: Finding) -> tuple[str | None, str | None]:
    """(the misspelt key, the key that it may stand for)"""
    *place, name = finding.steps
    holder = value_at(value, place)
    name = str(name)
    missing = name not in holder
    given, right = name, name
    if missing:
        found = closest(name, [key for key in holder if key not in finding.known])
        if found is None:
            return None, None
        given = found
    else:
        found = closest(name, [key for key in finding.known if key not in holder])
        if found is None:
            return _text(name), LEFT_OUT if _better_without(schema, value, finding) else None
        right = found
    renamed = {right if key == given else key: part for key, part in holder.items()}
    before = len(_wrong(schema, value, finding))
    fits = len(_wrong(schema, _with(value, tuple(place), renamed), finding)) < before
    return _text(given), _text(right) if fits else None


def _better_without(schema: JSON, value: Any, finding: Finding) -> bool:
    before = len(_wrong(schema, value, finding))
    return _better(schema, _with(value, finding.steps, MISSING), finding, before)


# --- values -------------------------------------------------------------------------------------


def _proposals(finding: Finding, given: Any) -> Iterator[Any]:
    asked, kind = finding.asked, finding.leaf
    if kind in ("enum", "const"):
        options = list(asked) if kind == "enum" else [asked]
        if finding.branch:  # an alternative beside the options may take what it says
            yield from _as_other_types(given)
        yield from _options(given, options)
    elif kind == "type":
        for name in asked:
            yield from _AS.get(name, _nothing)(given)
    elif kind in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(asked, int | float):  # a number too large for either is no proposal
            yield asked
        if isinstance(asked, int) or (isinstance(asked, float) and asked.is_integer()):
            yield int(asked) + (1 if kind == "exclusiveMinimum" else -1)
    elif kind == "multipleOf":
        yield from _multiples(given, asked)
    elif kind == "maxLength" or kind == "maxItems":
        yield given[:asked]
    elif kind == "uniqueItems":
        first: dict[str, Any] = {}
        for entry in given:
            first.setdefault(canonical(entry), entry)
        yield list(first.values())
    elif isinstance(given, str):
        yield from _respelt(given)


def _options(given: Any, options: list[Any]) -> list[Any]:
    """Options, the nearest first."""
    options = options[:_MOST_OPTIONS]
    if isinstance(given, int | float) and not isinstance(given, bool):
        numbers = [o for o in options if isinstance(o, int | float) and not isinstance(o, bool)]
        if numbers:
            return sorted(numbers, key=lambda o: abs(o - given))
    word = given if isinstance(given, str) else _text(given)
    texts = [o if isinstance(o, str) else _text(o) for o in options]
    first = nearest_of(word, texts)
    return [] if first is None else [options[texts.index(first)]]


def _as_other_types(given: Any) -> Iterator[Any]:
    for reading in _AS.values():
        yield from reading(given)


def _nothing(given: Any) -> Iterator[Any]:
    return iter(())


def _as_number(given: Any) -> Iterator[Any]:
    if isinstance(given, str) and len(given) < 100 and _NUMBER.fullmatch(text := given.strip()):
        number = float(text)
        if math.isfinite(number):
            yield int(text) if re.fullmatch(r"-?[0-9]+", text) else number
    yield from _only(given)


def _as_string(given: Any) -> Iterator[Any]:
    if given is not None and not isinstance(given, list | dict | str):
        yield _text(given)
    yield from _only(given)


def _as_boolean(given: Any) -> Iterator[Any]:
    if isinstance(given, str) and given.strip().lower() in ("true", "false"):
        yield given.strip().lower() == "true"
    elif given in (0, 1) and isinstance(given, int | float):
        yield bool(given)
    yield from _only(given)


def _as_null(given: Any) -> Iterator[Any]:
    if isinstance(given, str) and given.strip().lower() in ("null", "none"):
        yield None


def _as_array(given: Any) -> Iterator[Any]:
    yield from _inside(given, list)
    if given is not None:
        yield [given]


def _as_object(given: Any) -> Iterator[Any]:
    yield from _inside(given, dict)
    yield from _only(given)


def _inside(given: Any, kind: type) -> Iterator[Any]:
    """What a text says that is JSON itself."""
    if isinstance(given, str):
        try:
            value = loads_strict(given)
        except ValueError:
            return
        if isinstance(value, kind):
            yield value


def _only(given: Any) -> Iterator[Any]:
    """The one entry of an array."""
    if isinstance(given, list) and len(given) == 1:
        yield given[0]


_AS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "integer": _as_number,
    "number": _as_number,
    "boolean": _as_boolean,
    "null": _as_null,
    "string": _as_string,
    "object": _as_object,
    "array": _as_array,
}


def _multiples(given: Any, step: Any) -> Iterator[Any]:
    try:
        size = Decimal(str(step))
        nearest = (Decimal(str(given)) / size).to_integral_value(ROUND_HALF_EVEN) * size
    except (InvalidOperation, ZeroDivisionError):
        return
    yield int(nearest) if nearest == nearest.to_integral_value() else float(nearest)


def _respelt(text: str) -> Iterator[str]:
    """The same text without what goes wrong at its ends, in other letters, and dates and times as ISO 8601 has them."""
    if len(text) > 1000:
        return
    yield from (text.strip(), text.lower(), text.upper(), text.strip().lower(), text.strip().upper())
    yield from ("".join(text.split()), re.sub(r"[\s_]+", "-", text.strip()), re.sub(r"[\s.()/-]+", "", text))
    iso = _DATE.sub(lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text.strip())
    yield from (iso, iso.replace(" ", "T", 1), iso[:10])


# --- judging again ------------------------------------------------------------------------------


def _better(schema: JSON, changed: Any, finding: Finding, before: int) -> bool:
    """Whether less is wrong than before, and nothing at the very place that was changed."""
    try:
        after = _wrong(schema, changed, finding)
    except DataError:  # not decided is no proof
        return False
    return len(after) < before and all(part.steps != finding.steps for part in after)


def _wrong(schema: JSON, value: Any, finding: Finding) -> list[Finding]:
    return findings(schema, value, formats=True if finding.leaf == "format" else None)


def _with(value: Any, steps: Sequence[str | int], part: Any) -> Any:
    """`value` with another part at a path; without it where `part` is `MISSING`."""
    if not steps:
        return part if part is not MISSING else value
    first, rest = steps[0], steps[1:]
    if part is MISSING and not rest:
        if isinstance(value, dict):
            return {key: kept for key, kept in value.items() if key != first}
        return [kept for i, kept in enumerate(value) if i != first]
    changed = _with(value[first], rest, part)
    if isinstance(value, dict):
        return {**value, first: changed}
    return [changed if i == first else kept for i, kept in enumerate(value)]


def _given(value: Any, finding: Finding) -> str | None:
    try:
        return _text(value_at(value, finding.steps))
    except (KeyError, IndexError, TypeError):
        return None


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).casefold()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
