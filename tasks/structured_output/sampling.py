"""Values of a schema, drawn part by part, each part with what somebody would say for it."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.core.types import JSON
from agentlora.tasks.structured_output.names import named_like
from agentlora.tasks.structured_output.schemas import Wanted
from agentlora.tasks.tool_calling.api_sources import Param, singular, split_words
from agentlora.tasks.tool_calling.api_values import enum_words, one_of
from agentlora.tasks.tool_calling.api_words import MONTHS
from agentlora.tasks.tool_calling.invention import invent
from agentlora.tasks.tool_calling.user_values import matching, spoken_schema, values_for

DEEPEST = 12
TRIES = 60  # at a value that the whole schema takes
SAID = 0.65  # of the optional parts
UNSAID_NULL = 0.3  # of the required parts that may be null: nothing is said of them
INVENTED = 0.4  # of the texts that can be anything: what was never seen can only be copied
MOST_ENTRIES = 3  # of an array, where its schema does not ask for more
EMPTY = 0.15  # of the required arrays of which nothing is said
DRAWS = 8  # of one part, until its schema takes it
SHAPED = {"enum", "format", "pattern", "examples"}  # what says by itself which texts it takes
MONEY = re.compile(r"\b(price|cost|costs|fee|salary|budget|rent|wage)\b")  # what is always money
CURRENCY = re.compile(
    r"currenc|valuta|dollar|euros?\b|pound|yen\b|franc|\b(EUR|USD|GBP|CHF|JPY|SEK|CAD|AUD)\b|[€£]",
    re.IGNORECASE,
)
CENTS = re.compile(
    r"\b(price|amount|total|subtotal|cost|fee|tax|sum|balance|rate|discount|salary|budget|paid)\b"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is said in one go. `said` is empty where a text says nothing of it; `phrase` says a yes or a no in
    other words (``without a wiki``).
    """

    path: tuple[str, ...]
    said: str
    value: Any
    schema: JSON
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An object: its members in the schema's order."""

    path: tuple[str, ...]
    members: tuple[tuple[str, Node], ...]
    schema: JSON


@dataclass(frozen=True, slots=True)
class Entries:
    """An array."""

    path: tuple[str, ...]
    entries: tuple[Node, ...]
    schema: JSON


Node: TypeAlias = Leaf | Record | Entries


def value_of(node: Node) -> Any:
    """The JSON value of what was drawn."""
    if isinstance(node, Record):
        return {name: value_of(member) for name, member in node.members}
    if isinstance(node, Entries):
        return [value_of(entry) for entry in node.entries]
    return node.value


class Sampler:
    """Draws values of a schema. Splits draw from pools of their own, which share well-known values (cities, names).

    `root`: the path of the whole. `unsaid`: optional parts that values are never drawn for, each with the reason.
    """

    def __init__(self, wanted: Wanted, split: str, seed: int) -> None:
        self.wanted, self._split, self._seed = wanted, split, seed
        self._pools: dict[tuple[str, ...], Any] = {}
        self.root = (wanted.name,) if _kind_of(wanted.unfolded) == "array" else ()
        self.unsaid: dict[str, str] = {}
        # a schema that asks for the currency is told it in a part of its own
        self._money = not CURRENCY.search(json.dumps(wanted.unfolded))

    def draw(self, rng: random.Random) -> Node:
        """A value that the schema takes.

        Raises:
            DataError: none was found.
        """
        problem = "nothing in it can be said in a text"
        for _ in range(TRIES):
            node = self._node(self.wanted.unfolded, self.root, True, rng)
            if node is None:
                continue
            found = self.wanted.problems(value_of(node))
            if not found:
                return node
            problem = found[0]
        why = "".join(f"\n  {part}: {reason}" for part, reason in list(self.unsaid.items())[:5])
        raise DataError(
            f"no value that schema {self.wanted.name!r} takes was found in {TRIES} tries: {problem}.{why}"
        )

    # --- parts ----------------------------------------------------------------------------------

    def _node(
        self, schema: Any, path: tuple[str, ...], required: bool, rng: random.Random, chosen: bool = False
    ) -> Node | None:
        """A part, or None where it has no value that can be said. `chosen`: it is one of several alternatives."""
        if not isinstance(schema, Mapping) or _is_end(schema) or len(path) > DEEPEST:
            return None
        schema = dict(schema)
        if "const" in schema:
            value = schema["const"]
            said = enum_words(value) if isinstance(value, str) else json.dumps(value)
            return Leaf(path, said if chosen else "", value, schema) if chosen or required else None
        if isinstance(schema.get("enum"), list):
            return self._choice(schema, path, required, rng)
        for key in ("oneOf", "anyOf"):
            if isinstance(schema.get(key), list):
                return self._alternative(schema, key, path, required, rng)
        kinds = schema.get("type") or _kind_of(schema)
        if isinstance(kinds, list):
            if "null" in kinds and required and rng.random() < UNSAID_NULL:
                return Leaf(path, "", None, schema)
            kinds = next((kind for kind in kinds if kind != "null"), "null")
        if kinds == "null":
            return Leaf(path, "", None, schema) if required else None
        if kinds == "object":
            return self._record(schema, path, rng, chosen)
        if kinds == "array":
            return self._entries(schema, path, required, rng)
        return self._leaf(schema, path, rng)

    def _choice(self, schema: JSON, path: tuple[str, ...], required: bool, rng: random.Random) -> Leaf | None:
        """One of an enumeration's values: as it is written, or in words where no two are said alike."""
        values = [value for value in schema["enum"] if value is not None]
        if None in schema["enum"] and required and (not values or rng.random() < UNSAID_NULL):
            return Leaf(path, "", None, schema)
        if not values or any(isinstance(value, dict | list) for value in values):
            self._note(path, "it is one of some objects or arrays, which nobody says")
            return None
        value = rng.choice(values)
        if isinstance(value, bool):
            return Leaf(path, "yes" if value else "no", value, schema)
        plain = [v if isinstance(v, str) else json.dumps(v) for v in values]
        words = [enum_words(v) if isinstance(v, str) else p for v, p in zip(values, plain, strict=True)]
        in_words = len({w.lower() for w in words}) == len(words) and rng.random() < 0.6
        return Leaf(path, (words if in_words else plain)[values.index(value)], value, schema)

    def _alternative(
        self, schema: JSON, key: str, path: tuple[str, ...], required: bool, rng: random.Random
    ) -> Node | None:
        rest = {name: part for name, part in schema.items() if name != key}
        parts = [part for part in schema[key] if isinstance(part, Mapping)]
        nothing = [part for part in parts if part.get("type") == "null"]
        others = [part for part in parts if part.get("type") != "null"]
        if nothing and required and rng.random() < UNSAID_NULL:
            return Leaf(path, "", None, schema)
        for part in rng.sample(others, len(others)):
            node = self._node(_together(rest, part), path, required, rng, chosen=len(others) > 1)
            if node is not None:
                return node
        return Leaf(path, "", None, schema) if nothing and required else None

    def _record(self, schema: JSON, path: tuple[str, ...], rng: random.Random, chosen: bool) -> Record | None:
        needed, parts = set(schema.get("required", ())), schema.get("properties", {})
        drawn: dict[str, Node] = {}
        for name, part in parts.items():
            if name not in needed and rng.random() >= SAID:
                continue
            node = self._node(part, (*path, name), name in needed, rng, chosen)
            if node is not None:
                drawn[name] = node
            elif name in needed:
                self._note((*path, name), "it is required, and has no value that is said in a text")
                return None
            elif not _is_end(part):
                self._note((*path, name), "it has no value that is said in a text")
        others = rng.sample(list(parts), len(parts)) if not drawn else []
        while not drawn and others:  # nobody says an empty object
            name = others.pop()
            node = self._node(parts[name], (*path, name), False, rng, chosen)
            drawn |= {name: node} if node is not None else {}
        members = tuple((name, drawn[name]) for name in parts if name in drawn)
        return Record(path, members, schema) if members else None

    def _entries(
        self, schema: JSON, path: tuple[str, ...], required: bool, rng: random.Random
    ) -> Entries | Leaf | None:
        least = max(1, int(schema.get("minItems", 0)))
        if required and not schema.get("minItems") and path != self.root and rng.random() < EMPTY:
            return Leaf(path, "", [], schema)
        most = min(int(schema.get("maxItems", MOST_ENTRIES)), max(least, MOST_ENTRIES))
        parts = schema.get("prefixItems") if isinstance(schema.get("prefixItems"), list) else None
        if parts:
            drawn = [self._node(part, (*path, f"part {i}"), False, rng) for i, part in enumerate(parts, 1)]
            return None if None in drawn else Entries(path, tuple(n for n in drawn if n), schema)
        entries: list[Node] = []
        for _ in range(rng.randint(least, max(least, most)) * 3):
            node = self._node(schema.get("items"), (*path, ""), False, rng)
            if node is None:
                return None
            if all(value_of(node) != value_of(entry) for entry in entries):
                entries.append(node)
            if len(entries) >= max(least, most) or (len(entries) >= least and rng.random() < 0.4):
                break
        return Entries(path, tuple(entries), schema) if len(entries) >= least else None

    def _leaf(self, schema: JSON, path: tuple[str, ...], rng: random.Random) -> Leaf | None:
        spoken = spoken_schema(schema)
        words = words_of_path(path)
        if spoken is None or not words:
            self._note(path, "its schema is of no kind that is said in a text")
            return None
        pool = self._pool(path, words, spoken, schema)
        if not pool:
            return None
        value: Any
        if spoken["type"] == "boolean":
            value = rng.random() < 0.5
            phrases = [entry["say"] for entry in pool if isinstance(entry, dict) and entry["value"] is value]
            phrase = rng.choice(phrases) if phrases else ""
            return Leaf(path, "yes" if value else "no", value, schema, phrase)
        for _ in range(DRAWS):
            said, value = self._drawn(schema, spoken, words, pool, rng)
            if said and json_schema.is_valid(schema, value):
                return Leaf(path, said, value, schema)
        return None

    def _drawn(
        self, schema: JSON, spoken: JSON, words: tuple[str, ...], pool: Any, rng: random.Random
    ) -> tuple[str, Any]:
        """(what is said, the value) of one leaf; it may not be valid."""
        if spoken["type"] in ("integer", "number"):
            return _number(schema, spoken["type"] == "integer", " ".join(words), pool, self._money, rng)
        if schema.get("format") in ("date", "date-time"):
            return _date(str(schema["format"]), rng)
        said, value = one_of(pool, rng)
        if isinstance(schema.get("pattern"), str):
            made = matching(schema["pattern"], rng)
            return (made, made) if made and made == " ".join(made.split()) else (said, value)
        if schema.get("format") == "email":
            local, _, host = value.partition("@")
            value = f"{invent(local, rng) if rng.random() < INVENTED else local}@{host}"
            return value, value
        if said == value and not SHAPED & schema.keys() and rng.random() < INVENTED:
            said = value = invent(value, rng)
        return said, value

    def _pool(self, path: tuple[str, ...], words: tuple[str, ...], spoken: JSON, schema: JSON) -> Any:
        """Made once for each part of the schema."""
        key = (*path, json.dumps(schema, sort_keys=True))
        if key not in self._pools:
            rng = random.Random(f"{self._seed}/{self._split}/{'/'.join(path)}")
            noun = words_of_path(path[:-1]) or words_in(self.wanted.name)
            pool: Any = []
            if spoken["type"] == "string" and not SHAPED & schema.keys():
                pool = [text for text in named_like(words, noun, rng) if json_schema.is_valid(schema, text)]
            if not pool:
                param = Param(
                    path[-1] or "_".join(words), words, spoken, True, str(schema.get("description", ""))
                )
                pool = values_for(param, schema, noun, "", rng)
            self._pools[key] = pool
            if not pool:
                self._note(path, "nothing that fits its schema is said in a text")
        return self._pools[key]

    def _note(self, path: Sequence[str], why: str) -> None:
        self.unsaid.setdefault(".".join(part or "[]" for part in path) or "(all of it)", why)


def words_of_path(path: Sequence[str]) -> tuple[str, ...]:
    """The words of its last name; of an array's entry, those of the array in the singular."""
    for depth, name in enumerate(reversed(path)):
        if name:
            words = words_in(name)
            return singular(words) if depth else words
    return ()


def words_in(name: str) -> tuple[str, ...]:
    """The words of a name; of one that has other letters than English, as it is written."""
    words = split_words(name) if name.isascii() else ()
    return words or tuple(re.split(r"[\s_-]+", name.strip().lower())) or (name,)


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


def _number(
    schema: JSON, whole: bool, words: str, pool: Any, money: bool, rng: random.Random
) -> tuple[str, Any]:
    """A number of the usual size for its name, or from all of the schema's range, where small ones are more likely."""
    low, high = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    step = schema.get("multipleOf")
    step = step if isinstance(step, int) and step > 1 else 1
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
    if step > 1:
        value = int(value // step * step)
    cents = not whole and bool(CENTS.search(words))
    return number_said(value, rng, cents, money and bool(MONEY.search(words))), value


def _small(low: int, high: int, rng: random.Random) -> int:
    """A whole number of a range; of one that begins with nothing or a few, mostly small: things are counted."""
    if not 0 <= low < min(10, high) or rng.random() < 0.4:
        return rng.randint(low, max(low, high))
    return low + int(math.exp(rng.uniform(0, math.log(high - low + 1)))) - 1


def _date(layout: str, rng: random.Random) -> tuple[str, str]:
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


def _is_end(schema: Any) -> bool:
    """Whether nothing fits: where a schema that contains itself is no longer followed, or an array of such."""
    if not isinstance(schema, Mapping):
        return schema is False
    return schema.get("not") == {} or ("items" in schema and _is_end(schema["items"]))


def _kind_of(schema: Mapping[str, Any]) -> str | None:
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    for key in ("oneOf", "anyOf"):
        kinds = {_kind_of(part) for part in schema.get(key) or () if isinstance(part, Mapping)} - {"null"}
        if len(kinds) == 1:
            return kinds.pop()
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else None


def _together(rest: JSON, part: Mapping[str, Any]) -> JSON:
    """An alternative with what holds for all of them."""
    found = {**rest, **part}
    if "properties" in rest and "properties" in part:
        found["properties"] = {**rest["properties"], **part["properties"]}
    if "required" in rest and "required" in part:
        found["required"] = list(dict.fromkeys([*rest["required"], *part["required"]]))
    return found
