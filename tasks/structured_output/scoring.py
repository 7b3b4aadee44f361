"""Judging answers in JSON and XML: do they fit the schema, and which fields are right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.accepts import accepted, joined
from agentlora.core.errors import DataError
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Output, Score
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value, value_schema, write_xml
from agentlora.eval.calls import MISSING, parse_value, unfenced
from agentlora.eval.scorers.equality import BY_SCHEMA, Comparing, Comparison, another, keyword_of, member_of
from agentlora.tasks.tool_calling.importing.schemas import References
from agentlora.tasks.tool_calling.importing.types import Unusable

MOST_PAIRS = 2500  # of entries that are aligned


class JsonFields:
    """Judges an answer against the expected value, field by field. A field is a path to a value that is no object and
    no array of objects. Where the schema says that values are written as XML (`core.xml_values`), the answer is read as
    such, typed, and what is said of fields holds of what was read.

    - ``parsed``: the answer is one JSON value, or one XML document, alone or in a Markdown fence.
    - ``schema_valid``: it fits the example's schema; a document its XML Schema.
    - ``field_accuracy``: of all fields that the expected value or the answer has, the share that both have and that are
      equal: a field that was made up counts as one that is missing. Numbers are equal by value, times with a format by
      the moment that they name, lists of which the schema says ``uniqueItems`` as sets, all else exactly, unless
      `Params` or the example (`Accepts`) say otherwise. Of two arrays of objects with different numbers of entries,
      those are compared that are most alike, in order.
    - ``exact_match``: every field is right, and the schema takes the answer (a document can have the right fields in
      the wrong places).
    """

    metrics: Sequence[str] = ("parsed", "schema_valid", "field_accuracy", "exact_match")
    headline = "field_accuracy"
    lower_is_better: frozenset[str] = frozenset()
    Params = Comparing
    how: Comparing = BY_SCHEMA

    def configured(self, params: Comparing) -> JsonFields:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer; unscored where the example has no value, or its schema is unusable or decides
        nothing about the answer.
        """
        schema = example.schema or {}
        try:
            wanted, how = _expected(example), self._comparison(example)
            value, judged = _read(schema, output.text)
            problems = judged()
        except DataError as exc:
            return Score(unscored=str(exc))
        if value is MISSING:
            cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
            return Score(dict.fromkeys(self.metrics, 0.0), why=f"{brief(problems[0], 300)}{cut}")
        compared = _compared(schema, wanted, value, how)
        wrong = [field for field in compared if not field.right]
        share = (len(compared) - len(wrong)) / len(compared) if compared else 1.0
        scores = {
            "parsed": 1.0,
            "schema_valid": float(not problems),
            "field_accuracy": share,
            "exact_match": float(not wrong and not problems),
        }
        why = wrong[0].why() if wrong else brief(problems[0], 300) if problems else ""
        return Score(scores, why=why)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold value that does not score 1 everywhere, a corruption of it that does."""
        problems = []
        for example in examples:
            text = example.expected.text if in_xml(example.schema) else json.dumps(example.expected.value)
            gold = self.score(example, Output(example.id, text or ""))
            if gold.unscored:
                problems.append(f"{example.id}: the gold answer is unscored: {gold.unscored}")
                continue
            problems += [
                f"{example.id}: the gold answer scores {name} {value:g}: {gold.why}"
                for name, value in gold.metrics.items()
                if value != 1
            ]
            schema, wanted, how = example.schema or {}, _expected(example), self._comparison(example)
            for label, text in _corruptions(example, how):
                value, judged = _read(schema, text)
                if all(field.right for field in _compared(schema, wanted, value, how)) and not judged():
                    problems.append(f"{example.id}: the gold answer with {label} still scores 1")
        return problems

    def _comparison(self, example: Example) -> Comparison:
        return Comparison(self.how, accepted(example.accepts))


def _expected(example: Example) -> Any:
    """The value that is expected. Raises DataError where there is none, or the schema is unusable."""
    schema, expected = example.schema or {}, example.expected
    if in_xml(schema):
        try:
            return read_value(schema, parse_xml(expected.text or ""))
        except ValueError as exc:
            raise DataError(f"the example expects no XML document: {exc}") from exc
    if expected.value is None:
        raise DataError("the example expects no JSON value")
    for problem in json_schema.check_schema(schema):
        raise DataError(f"the schema: {problem}")
    return expected.value


def _read(schema: JSON, text: str) -> tuple[Any, Callable[[], list[str]]]:
    """(the value of an answer, `MISSING` where it has none; what says why the schema does not take it)"""
    if not in_xml(schema):
        value = parse_value(text)
        missing = value is MISSING
        return value, lambda: ["not one JSON value"] if missing else json_schema.errors(schema, value)
    try:
        root = parse_xml(unfenced(text, "xml").strip())
    except ValueError as exc:
        why = f"not one XML document: {exc}"
        return MISSING, lambda: [why]
    return read_value(schema, root), lambda: problems_of(schema, root)


def _compared(schema: JSON, wanted: Any, value: Any, how: Comparison) -> list[Field]:
    return list(compare(wanted, value, _unfolded(json.dumps(value_schema(schema))), how))


@lru_cache(maxsize=64)
def _unfolded(schema_json: str) -> Any:
    """A schema with its references in their places, as `compare` reads it; as it is where that cannot be."""
    schema = json.loads(schema_json)
    if '"$ref"' not in schema_json:
        return schema
    try:
        return References(schema).unfolded(schema, again=2)
    except Unusable:
        return schema


# --- fields -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the expected value, of the answer, or of both; `MISSING` where one of them lacks it."""

    path: str
    wanted: Any
    found: Any
    right: bool

    def why(self) -> str:
        """What is wrong, in a few words."""
        path = brief(self.path, 120)
        if self.found is MISSING:
            return f"{path} is missing; expected {_short(self.wanted)}"
        if self.wanted is MISSING:
            return f"{path} is {_short(self.found)}; nothing is expected there"
        return f"{path} is {_short(self.found)}; expected {_short(self.wanted)}"


def compare(
    wanted: Any, found: Any, schema: Any, how: Comparison, path: str = "", place: str = ""
) -> Iterator[Field]:
    """Every field of two values, but for those that are missing and may be.

    Args:
        schema: says how they are compared; it need not be whole. place: the path without the numbers of entries.
    """
    if isinstance(wanted, Mapping) or isinstance(found, Mapping):
        mine = wanted if isinstance(wanted, Mapping) else {}
        theirs = found if isinstance(found, Mapping) else {}
        if not mine and not theirs:
            yield Field(path or "(all)", wanted, found, _equal(wanted, found, schema, how, place))
            return
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            here = joined(place, name)
            if name not in theirs and how.may_lack(here):
                continue
            one, other = mine.get(name, MISSING), theirs.get(name, MISSING)
            yield from compare(one, other, member_of(schema, name), how, joined(path, name), here)
        return
    if _has_objects(wanted) or _has_objects(found):
        ours = wanted if isinstance(wanted, list) else []
        others = found if isinstance(found, list) else []
        inner = keyword_of(schema, "items")
        for i, (one, other) in enumerate(_aligned(ours, others, inner, how, place)):
            yield from compare(one, other, inner, how, f"{path}[{i}]", place)
        return
    yield Field(path or "(all)", wanted, found, _equal(wanted, found, schema, how, place))


def _aligned(
    ours: Sequence[Any], others: Sequence[Any], schema: Any, how: Comparison, place: str
) -> list[tuple[Any, Any]]:
    """Entries of two arrays of objects in pairs, in order, so that as many fields as can be are right (an alignment of
    sequences, Needleman and Wunsch 1970, without a cost of gaps): what lacks one entry is not wrong in all of them.
    """
    if len(ours) == len(others) or len(ours) * len(others) > MOST_PAIRS:
        return list(zip_longest(ours, others, fillvalue=MISSING))

    def right_in(one: Any, other: Any) -> int:
        return sum(field.right for field in compare(one, other, schema, how, "", place))

    right = [[right_in(a, b) for b in others] for a in ours]
    best = [[0] * (len(others) + 1) for _ in range(len(ours) + 1)]
    for i in reversed(range(len(ours))):
        for j in reversed(range(len(others))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], right[i][j] + best[i + 1][j + 1])
    pairs: list[tuple[Any, Any]] = []
    i = j = 0
    while i < len(ours) and j < len(others):
        if best[i][j] == right[i][j] + best[i + 1][j + 1]:
            pairs.append((ours[i], others[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((ours[i], MISSING))
            i += 1
        else:
            pairs.append((MISSING, others[j]))
            j += 1
    return [*pairs, *((one, MISSING) for one in ours[i:]), *((MISSING, other) for other in others[j:])]


def _equal(wanted: Any, found: Any, schema: Any, how: Comparison, place: str) -> bool:
    return wanted is not MISSING and found is not MISSING and how.same(wanted, found, schema, place)


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value)


def _short(value: Any) -> str:
    return brief(json.dumps(value, ensure_ascii=False))


# --- corrupting ---------------------------------------------------------------------------------


def _corruptions(example: Example, how: Comparison) -> Iterator[tuple[str, str]]:
    """Wrong answers made from the gold one: (what was done, the text)."""
    value, schema = _expected(example), example.schema or {}
    for path, changed in _changes(value, ""):
        if re.sub(r"\.\d+(?=\.|$)", "", path.removesuffix(" left out")) in how.accepts.optional:
            continue  # a field that may be left out
        try:
            yield path, write_xml(schema, changed) if in_xml(schema) else json.dumps(changed)
        except ValueError:  # not even written: an empty element that is not there
            continue
    text = str(example.expected.text) if in_xml(schema) else json.dumps(value)
    yield "its end cut off", text[:-1]
    yield "words around it", f"Here it is: {text}"
    if in_xml(schema):
        yield "an element too many", re.sub(r"(/>|</[^<>]*>)\Z", r"<not_a_field>1</not_a_field>\1", text)
    elif isinstance(value, dict):
        yield "a field too many", json.dumps({**value, "not_a_field": 1})


def _changes(value: Any, path: str) -> Iterator[tuple[str, JSON | list[Any]]]:
    """`value` with one thing in it changed, for each thing."""
    parts: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, part in parts:
        where = joined(path, str(key))
        for what, other in _others(part, where):
            yield what, ({**value, key: other} if isinstance(value, dict) else _replaced(value, key, other))
        if isinstance(value, dict):
            yield f"{where} left out", {name: kept for name, kept in value.items() if name != key}


def _others(part: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict | list):
        yield from _changes(part, where)
        return
    yield f"{where} changed", another(part)


def _replaced(values: list[Any], index: Any, value: Any) -> list[Any]:
    return [*values[:index], value, *values[index + 1 :]]
