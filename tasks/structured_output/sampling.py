"""Values of a schema, drawn part by part, each part with what somebody would say for it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.core.types import JSON
from agentlora.tasks.structured_output.amounts import draw_date, draw_duration, draw_ipv6, draw_number
from agentlora.tasks.structured_output.combining import CHECKED, NEVER, both, combined
from agentlora.tasks.structured_output.keys import Key, draw_key, keys_for
from agentlora.tasks.structured_output.kinds import ANNOTATIONS, is_end, kind_of, of_any_name
from agentlora.tasks.structured_output.names import fitted, named_like
from agentlora.tasks.structured_output.nodes import (
    Entries,
    Leaf,
    Node,
    Record,
    named,
    place,
    value_of,
    words_in,
    words_of_path,
)
from agentlora.tasks.structured_output.schemas import Wanted
from agentlora.tasks.tool_calling.api_sources import Param
from agentlora.tasks.tool_calling.api_values import enum_words, one_of
from agentlora.tasks.tool_calling.bounds import contradiction
from agentlora.tasks.tool_calling.importing.schemas import is_file
from agentlora.tasks.tool_calling.importing.types import MALFORMED
from agentlora.tasks.tool_calling.invention import invent
from agentlora.tasks.tool_calling.patterns import matching
from agentlora.tasks.tool_calling.user_values import spoken_schema, values_for

DEEPEST = 12
TRIES = 60  # at a value that the whole schema takes
SAID = 0.65  # of the optional parts
UNSAID_NULL = 0.3  # of the required parts that may be null: nothing is said of them
INVENTED = 0.4  # of the texts that can be anything: what was never seen can only be copied
MOST_ENTRIES = 3  # of an array, where its schema does not ask for more
EMPTY = 0.15  # of the required arrays, and objects with keys of any name, of which nothing is said
EXTRA = 0.3  # of the objects that take keys of any name beside their properties: with some
DRAWS = 8  # of one part, until its schema takes it
CHECKED_DRAWS = 24  # of one whose schema says more than a draw knows
MOST_PARTS = 6000  # that are drawn for one value
MOST_ASKED = 100  # entries and members that a schema may ask for at least
MOST_SPENT = 3  # tries that ended for that
SHAPED = {"enum", "format", "pattern", "examples"}  # what says by itself which texts it takes
CURRENCY = re.compile(
    r"currenc|valuta|dollar|euros?\b|pound|yen\b|franc|\b(EUR|USD|GBP|CHF|JPY|SEK|CAD|AUD)\b|[€£]",
    re.IGNORECASE,
)

UNMADE = (
    "no text can be made for its pattern: it looks around or back, is very long, or has \\p{…} of other than letters, "
    "digits, punctuation, spaces and symbols"
)
READ_OTHERWISE = r"[\s\d.,:+-]*|[Yy]es|[Nn]o|[Tt]rue|[Ff]alse|null"  # of texts: as a number, a yes or a no
SCALARS = ("string", "integer", "number", "boolean")


class Sampler:
    """Draws values of a schema. Splits draw from pools of their own, which share well-known values (cities, names).

    `root`: the path of the whole. `unsaid`: parts that some draw had no value for, each with the reason.
    """

    def __init__(self, wanted: Wanted, split: str, seed: int) -> None:
        self.wanted, self._split, self._seed = wanted, split, seed
        self._pools: dict[tuple[str, ...], Any] = {}
        self._left = 0
        self.root = (wanted.name,) if kind_of(wanted.unfolded) == "array" else ()
        self.unsaid: dict[str, str] = {}
        self._judged: set[str] = set()
        # a schema that asks for the currency is told it in a part of its own
        self._money = not CURRENCY.search(json.dumps(wanted.unfolded))

    def draw(self, rng: random.Random) -> Node:
        """A value that the schema takes.

        Raises:
            DataError: none was found.
        """
        problem, spent = "nothing in it can be said in a text", 0
        for _ in range(TRIES):
            self._left = MOST_PARTS
            node = self._node(self.wanted.unfolded, self.root, True, rng)
            if node is None and self._left < 0:
                spent += 1
                problem = "it has too many parts that exclude each other"
            if spent == MOST_SPENT:
                break
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
        node = self._drawn_safely(schema, path, required, rng, chosen)
        if node is None and (name := named(path)) not in self._judged:
            self._judged.add(name)
            if why := contradiction(schema):
                self.unsaid[name] = f"nothing fits it: {why}"
        return node

    def _drawn_safely(
        self, schema: Any, path: tuple[str, ...], required: bool, rng: random.Random, chosen: bool
    ) -> Node | None:
        try:
            return self._any(schema, path, required, rng, chosen)
        except (*MALFORMED, ArithmeticError) as exc:  # one part's loss, not all of the schema's
            self._note(path, f"nothing could be drawn for it ({type(exc).__name__}: {exc})")
            return None

    def _any(
        self, schema: Any, path: tuple[str, ...], required: bool, rng: random.Random, chosen: bool
    ) -> Node | None:
        self._left -= 1
        schema = {} if schema is True else schema
        if not isinstance(schema, Mapping) or is_end(schema) or len(path) > DEEPEST or self._left < 0:
            return None
        if not CHECKED & schema.keys():
            return self._plain(dict(schema), path, required, rng, chosen)
        for _ in range(CHECKED_DRAWS):
            way = combined(schema, rng)
            if way == NEVER or self._left < 0:
                continue
            node = self._plain(way, path, required, rng, chosen)
            if node is not None and json_schema.is_valid(dict(schema), value_of(node)):
                return node
        asked = ", ".join(sorted(CHECKED & schema.keys()))
        self._note(path, f"no value that can be said was found for all that it asks ({asked})")
        return None

    def _plain(
        self, schema: JSON, path: tuple[str, ...], required: bool, rng: random.Random, chosen: bool
    ) -> Node | None:
        if "const" in schema:
            value = schema["const"]
            said = enum_words(value) if isinstance(value, str) else json.dumps(value)
            return Leaf(path, said if chosen else "", value, schema) if chosen or required else None
        if isinstance(schema.get("enum"), list):
            return self._choice(schema, path, required, rng)
        for key in ("oneOf", "anyOf"):
            if isinstance(schema.get(key), list):
                return self._alternative(schema, key, path, required, rng)
        kinds = schema.get("type") or kind_of(schema)
        if not kinds and not schema.keys() - ANNOTATIONS:
            kinds = ["string", "integer"]
        if isinstance(kinds, list):
            if "null" in kinds and required and rng.random() < UNSAID_NULL:
                return Leaf(path, "", None, schema)
            possible = [kind for kind in kinds if kind != "null"] or ["null"]
            kinds = rng.choice(possible)
            schema = {**schema, "type": kinds}
            if kinds in SCALARS and len(possible) > 1:
                return self._leaf(schema, path, rng, as_it_looks=True)
        if kinds == "null":
            return Leaf(path, "", None, schema) if required else None
        if (
            max(schema.get("minItems", 0), schema.get("minProperties", 0), schema.get("minContains", 0))
            > MOST_ASKED
        ):
            self._note(path, f"it asks for more than {MOST_ASKED} entries")
            return None
        if kinds == "object":
            unnamed = not {"properties", "required", "minProperties"} & schema.keys()
            if unnamed and required and path != self.root and rng.random() < EMPTY:
                return Leaf(path, "", {}, schema)
            return self._record(schema, path, rng, chosen)
        if kinds == "array":
            return self._entries(schema, path, required, rng)
        return self._leaf({**schema, "type": kinds} if kinds else schema, path, rng)

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
            whole = both(rest, part) | {key: part[key] for key in ("title", "description") if key in part}
            node = self._drawn_safely(whole, path, required, rng, len(others) > 1)
            if node is not None:
                return node
        return Leaf(path, "", None, schema) if nothing and required else None

    def _record(self, schema: JSON, path: tuple[str, ...], rng: random.Random, chosen: bool) -> Record | None:
        needed, parts = set(schema.get("required", ())), dict(schema.get("properties", {}))
        parts |= {name: of_any_name(schema, name) for name in schema.get("required", ()) if name not in parts}
        drawn: dict[str, Node] = {}
        for name, part in parts.items():
            if name not in needed and rng.random() >= SAID:
                continue
            node = self._node(part, (*path, name), name in needed, rng, chosen)
            if node is not None:
                drawn[name] = node
            elif name in needed:
                looped = is_end(part) and part is not False
                why = "it leads back to itself" if looped else "it is required"
                self._note((*path, name), f"{why}, and has no value that is said in a text")
                return None
            elif not is_end(part):
                self._note((*path, name), "it has no value that is said in a text")
        least = max(1, int(schema.get("minProperties", 0)))
        most = int(schema.get("maxProperties", len(parts)))
        others = [name for name in rng.sample(list(parts), len(parts)) if name not in drawn]
        while len(drawn) < least and others:  # nobody says an empty object
            name = others.pop()
            node = self._node(parts[name], (*path, name), False, rng, chosen)
            drawn |= {name: node} if node is not None else {}
        optional = [name for name in drawn if name not in needed]
        for name in rng.sample(optional, min(len(optional), max(0, len(drawn) - most))):
            del drawn[name]
        members = [(name, drawn[name]) for name in parts if name in drawn]
        if not parts or len(members) < least or rng.random() < EXTRA:
            members += self._free(schema, path, dict(parts), least - len(members), rng)
        return Record(path, tuple(members), schema) if members else None

    def _free(
        self, schema: JSON, path: tuple[str, ...], taken: dict[str, Any], least: int, rng: random.Random
    ) -> list[tuple[str, Node]]:
        """Members whose keys no schema names: `least` of them or more, where it takes such."""
        kinds: list[tuple[str, Any]] = list((schema.get("patternProperties") or {}).items())
        others = schema.get("additionalProperties", not kinds and not taken)
        if others is True or others == {}:
            others = {} if not schema.get("properties") else None  # nobody writes what is not asked for
        kinds += [("", others)] if isinstance(others, Mapping) else []
        kinds = [(pattern, part) for pattern, part in kinds if not is_end(part)]
        most = max(least, MOST_ENTRIES)
        most = min(most, int(schema.get("maxProperties", most + len(taken))) - len(taken))
        members: list[tuple[str, Node]] = []
        if not kinds or most < 1:
            return members
        for _ in range(rng.randint(max(1, min(least, most)), most)):
            pattern, part = rng.choice(kinds)
            key = draw_key(self._keys(path), schema.get("propertyNames"), pattern, taken, rng)
            node = self._node(part, (*path, key), False, rng) if key else None
            if key and node is not None:
                members.append((str(key), node))
                taken[str(key)] = part
        return members

    def _keys(self, path: tuple[str, ...]) -> list[str]:
        key = (*place(path), "keys")
        if key not in self._pools:
            rng = random.Random(f"{self._seed}/{self._split}/{'/'.join(key)}")
            self._pools[key] = keys_for(words_of_path(path) or words_in(self.wanted.name), rng)
        found: list[str] = self._pools[key]
        return found

    def _entries(
        self, schema: JSON, path: tuple[str, ...], required: bool, rng: random.Random
    ) -> Entries | Leaf | None:
        least = max(1, int(schema.get("minItems", 0)))
        most = min(int(schema.get("maxItems", MOST_ENTRIES)), max(least, MOST_ENTRIES))
        may_be_empty = (
            required and not schema.get("minItems") and path != self.root and "contains" not in schema
        )
        if may_be_empty and (most == 0 or rng.random() < EMPTY):
            return Leaf(path, "", [], schema)
        parts = schema.get("prefixItems") if isinstance(schema.get("prefixItems"), list) else None
        items = schema.get("additionalItems", schema.get("items")) if parts else schema.get("items")
        if parts:
            drawn = [self._node(part, (*path, f"part {i}"), False, rng) for i, part in enumerate(parts, 1)]
            drawn += [self._node(items, (*path, ""), False, rng) for _ in range(least - len(parts))]
            return None if None in drawn else Entries(path, tuple(n for n in drawn if n), schema)
        held = schema.get("contains")
        items = {} if items is None and not isinstance(held, Mapping) else items
        owed = int(schema.get("minContains", 1)) if isinstance(held, Mapping) else 0
        least, most = max(least, owed), max(most, owed)
        if most < 1:
            return None
        entries: list[Node] = []
        for _ in range(rng.randint(least, max(least, most)) * 3):
            rule = both(items if items is not None else True, held) if len(entries) < owed else items
            node = self._node(rule if rule is not None else held, (*path, ""), False, rng)
            if node is None:
                return None
            if all(value_of(node) != value_of(entry) for entry in entries):
                entries.append(node)
            if len(entries) >= max(least, most) or (len(entries) >= least and rng.random() < 0.4):
                break
        if owed:
            rng.shuffle(entries)
        return Entries(path, tuple(entries), schema) if len(entries) >= least else None

    def _leaf(
        self, schema: JSON, path: tuple[str, ...], rng: random.Random, as_it_looks: bool = False
    ) -> Leaf | None:
        """A value in one go. `as_it_looks`: it may be of several types, and is said so that it is read as its own."""
        if schema.get("format") in ("duration", "ipv6") and schema.get("type") == "string":
            said, made = draw_duration(rng) if schema["format"] == "duration" else ("", draw_ipv6(rng))
            return Leaf(path, said or made, made, schema)
        spoken = spoken_schema(schema)
        words = words_of_path(path) or words_in(self.wanted.name)
        if spoken is None or not words or is_file(schema) or "contentEncoding" in schema:
            self._note(path, "its schema is of no kind that is said in a text")
            return None
        pool = self._pool(path, words, spoken, schema)
        if not pool:
            return None
        value: Any
        if spoken["type"] == "boolean":
            value = rng.random() < 0.5
            phrases = [entry["say"] for entry in pool if isinstance(entry, dict) and entry["value"] is value]
            phrase = rng.choice(phrases) if phrases and not isinstance(path[-1], Key) else ""
            return Leaf(path, "yes" if value else "no", value, schema, phrase)
        for _ in range(DRAWS):
            said, value = self._drawn(schema, spoken, words, pool, rng)
            if as_it_looks and spoken["type"] in ("integer", "number"):
                said = json.dumps(value)
            elif as_it_looks and re.fullmatch(READ_OTHERWISE, said):
                continue
            if said and json_schema.is_valid(schema, value):
                return Leaf(path, said, value, schema)
        return None

    def _drawn(
        self, schema: JSON, spoken: JSON, words: tuple[str, ...], pool: Any, rng: random.Random
    ) -> tuple[str, Any]:
        """(what is said, the value) of one leaf; it may not be valid."""
        if spoken["type"] in ("integer", "number"):
            return draw_number(schema, spoken["type"] == "integer", " ".join(words), pool, self._money, rng)
        if schema.get("format") in ("date", "date-time"):
            return draw_date(str(schema["format"]), rng)
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
        key = (*place(path), json.dumps(schema, sort_keys=True))
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
                pool = values_for(
                    param, {k: v for k, v in schema.items() if k != "multipleOf"}, noun, "", rng
                )
            if not pool and spoken["type"] == "string" and not SHAPED & schema.keys():
                pool = fitted(int(schema.get("minLength", 1)), schema.get("maxLength"), rng)
            self._pools[key] = pool
            if not pool:
                pattern = schema.get("pattern")
                unmade = isinstance(pattern, str) and matching(pattern, rng) is None
                self._note(path, UNMADE if unmade else "nothing that fits its schema is said in a text")
        return self._pools[key]

    def _note(self, path: Sequence[str], why: str) -> None:
        self.unsaid.setdefault(named(path), why)
