"""A tool with everything that makes examples of it: schema, value pools, phrasings; and how one is rendered.

The catalogue's YAML files (one domain each) are read here. `render` draws values for a phrasing's slots and
returns the sentence with the exact arguments of the correct call.
"""

from __future__ import annotations

import datetime
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.files import yaml_loader
from agentlora.core.types import JSON, Split
from agentlora.tasks.tool_calling.invention import copied, invent

SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
SPLITS = ("train", "dev", "test")
_RANGES = ("integers", "numbers", "dates", "times")
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_TOOL_KEYS = {"name", "description", "parameters", "values", "phrasings", "missing"}
_PHRASING_KEYS = {"text", "set", "lacks", "ask"}
_ENUM_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}


@dataclass(frozen=True, slots=True)
class Phrasing:
    """One way to ask: `text` with ``{slot}`` marks, and the arguments that the words imply (`set`).

    A phrasing that `lacks` a required parameter carries the question (`ask`) that a good answer puts.
    """

    text: str
    set: Mapping[str, Any] = field(default_factory=dict)
    lacks: str | None = None
    ask: str | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        """The names between braces, in the order of the text, each once."""
        return tuple(dict.fromkeys(SLOT.findall(self.text)))


@dataclass(frozen=True, slots=True)
class Conversion:
    """A slot's ``{"say", "value"}`` entries that are said otherwise than the call has them, and requests for them."""

    slot: str
    entries: Sequence[JSON]
    phrasings: Sequence[Phrasing]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool: its schema, one pool of values for each slot name, and the requests that call it.

    A pool is a list of literals and ``{"say", "value"}`` entries, or one of ``{"integers": [low, high]}``,
    ``{"numbers": [low, high], "decimals": n}``, ``{"dates": [first, last]}``, ``{"times": [first, last]}``,
    ``{"list_of": [...], "min": n, "max": n}``. A range that is ``"spoken": true`` is said in words at times
    ("two", "3 May 2026", "half past nine"). `source` says where the tool comes from. `meaning` is
    "deed thing": tools of one meaning are never offered together, and no request about a thing is called
    unfitting where a tool about it is offered; empty: it means like no other. `repeatable`: parameters that one
    request can name several values of, one for each call. `conversions`: by case, values that are said otherwise than
    the call has them.
    """

    domain: str
    name: str
    description: str
    parameters: JSON
    values: Mapping[str, Any]
    phrasings: tuple[Phrasing, ...]
    missing: tuple[Phrasing, ...]
    split: Split
    source: str
    meaning: str = ""
    repeatable: tuple[str, ...] = ()
    conversions: Mapping[str, Sequence[Conversion]] = field(default_factory=dict)

    @property
    def thing(self) -> str:
        """What the tool is about: its meaning without the deed."""
        return self.meaning.partition(" ")[2]

    def openai(self) -> JSON:
        """The tool in OpenAI function format."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


# --- rendering ----------------------------------------------------------------------------------


def render(spec: ToolSpec, phrasing: Phrasing, rng: random.Random, invented: float = 0.0) -> tuple[str, JSON]:
    """Draw values for the slots: the sentence, and the arguments in the order of the schema's properties.

    Slots that share a pool get different values; dates and numbers of one shared range ascend in the
    schema's order, so that a start never follows its end. Where any text would do, a value is `invented` with
    that probability.
    """
    order = list(spec.parameters.get("properties", {}))
    slots = sorted(phrasing.slots, key=order.index)
    drawn: dict[str, tuple[str, Any]] = {}
    for slot in slots:
        if slot not in drawn:
            pool = spec.values[slot]
            sharing = [s for s in slots if spec.values[s] == pool]
            drawn.update(zip(sharing, _draw_many(pool, len(sharing), rng), strict=True))
    if invented:
        properties = spec.parameters["properties"]
        drawn = {slot: _invented(properties[slot], pair, rng, invented) for slot, pair in drawn.items()}
    text = SLOT.sub(lambda mark: drawn[mark[1]][0], phrasing.text)
    arguments = dict(phrasing.set) | {slot: value for slot, (_, value) in drawn.items()}
    return text, {name: arguments[name] for name in order if name in arguments}


def _invented(schema: JSON, pair: tuple[str, Any], rng: random.Random, probability: float) -> tuple[str, Any]:
    said, value = pair
    known = not copied(schema) or said != value or set(":@") & set(value) or _ISO_DATE.fullmatch(value)
    if not known and rng.random() < probability:
        return (invent(value, rng),) * 2
    return pair


def _draw_many(pool: Any, n: int, rng: random.Random) -> list[tuple[str, Any]]:
    """`n` pairs (said, value), different where the pool allows; ranges in ascending order."""
    if isinstance(pool, Sequence):
        entries = [_entry(e) for e in pool]
        return rng.sample(entries, n) if n <= len(entries) else rng.choices(entries, k=n)
    pairs: list[tuple[str, Any]] = []
    for _ in range(50 * n):
        pair = _draw(pool, rng)
        if pair not in pairs:
            pairs.append(pair)
        if len(pairs) == n:
            break
    else:
        pairs += [_draw(pool, rng) for _ in range(n - len(pairs))]
    return sorted(pairs, key=lambda p: p[1]) if any(kind in pool for kind in _RANGES) else pairs


def _draw(pool: Mapping[str, Any], rng: random.Random) -> tuple[str, Any]:
    if "integers" in pool:
        number = rng.randint(*pool["integers"])
        spoken = pool.get("spoken") and number < len(_NUMBER_WORDS) and rng.random() < 0.5
        return _NUMBER_WORDS[number] if spoken else str(number), number
    if "numbers" in pool:
        decimals = pool.get("decimals", 1)
        value = round(rng.uniform(*pool["numbers"]), decimals)
        return (str(int(value)), int(value)) if value == int(value) else (f"{value:.{decimals}f}", value)
    if "dates" in pool:
        first, last = (datetime.date.fromisoformat(d) for d in pool["dates"])
        day = first + datetime.timedelta(days=rng.randint(0, (last - first).days))
        spoken = pool.get("spoken") and rng.random() < 0.5
        return said_date(day, rng) if spoken else day.isoformat(), day.isoformat()
    if "times" in pool:
        first_minute, last_minute = (int(t[:2]) * 60 + int(t[3:]) for t in pool["times"])
        hour, minute = divmod(rng.randrange(first_minute, last_minute + 1, 15), 60)
        spoken = pool.get("spoken") and rng.random() < 0.6
        return said_time(hour, minute, rng) if spoken else f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}"
    entries = [_entry(e) for e in pool["list_of"]]
    low, high = pool.get("min", 1), min(pool.get("max", 3), len(entries))
    chosen = rng.sample(entries, rng.randint(low, high))
    return _said_list([said for said, _ in chosen]), [value for _, value in chosen]


def said_date(day: datetime.date, rng: random.Random) -> str:
    end = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day // 10 != 1 else 0, "th")
    return rng.choice(
        (
            f"{day.day} {day:%B %Y}",
            f"{day:%B} {day.day}, {day.year}",
            f"the {day.day}{end} of {day:%B %Y}",
            f"{day:%b} {day.day} {day.year}",
        )
    )


def said_time(hour: int, minute: int, rng: random.Random) -> str:
    """A quarter of an hour in words, with the half of the day."""
    half = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    twelve, following = (hour - 1) % 12 + 1, hour % 12 + 1
    spelt = {
        0: f"{_NUMBER_WORDS[twelve]} o'clock {half}",
        15: f"quarter past {_NUMBER_WORDS[twelve]} {half}",
        30: f"half past {_NUMBER_WORDS[twelve]} {half}",
        45: f"quarter to {_NUMBER_WORDS[following]} {half}",
    }
    short = f"{twelve}{f':{minute:02}' if minute else ''}{rng.choice((' ', ''))}{'am' if hour < 12 else 'pm'}"
    return rng.choice((short, short, spelt[minute]))


def _entry(entry: Any) -> tuple[str, Any]:
    if isinstance(entry, Mapping):
        return entry["say"], entry["value"]
    return str(entry), entry


def _said_list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# --- checking -----------------------------------------------------------------------------------


def problems(spec: ToolSpec) -> list[str]:
    """Everything that would make a wrong example of this tool; empty when it is sound."""
    from agentlora.core import schema

    found = [
        f"parameters: {e}" for e in (*schema.check_schema(spec.parameters), *_enum_problems(spec.parameters))
    ]
    properties = spec.parameters.get("properties", {})
    if found:
        return found
    for name, pool in spec.values.items():
        if name not in properties:
            found.append(f"values.{name}: no such property; there is: {', '.join(properties)}")
            continue
        found += [f"values.{name}: {problem}" for problem in _pool_problems(pool)]
        if found:
            continue
        for value in _samples(pool):
            found += [f"values.{name}: {value!r}: {e}" for e in schema.errors(properties[name], value)]
    for phrasing in (*spec.phrasings, *spec.missing):
        found += [f"phrasing {phrasing.text!r}: {p}" for p in _phrasing_problems(spec, phrasing)]
        for name, value in phrasing.set.items():
            found += [f"set {name}={value!r}: {e}" for e in schema.errors(properties.get(name, False), value)]
    named = {slot for phrasing in (*spec.phrasings, *spec.missing) for slot in phrasing.slots}
    found += [f"values.{name}: no phrasing has this slot" for name in spec.values if name not in named]
    return found


def _phrasing_problems(spec: ToolSpec, phrasing: Phrasing) -> Iterator[str]:
    slots, properties = set(phrasing.slots), spec.parameters.get("properties", {})
    if set("{}") & set(SLOT.sub("", phrasing.text)):
        yield "a brace that is no {slot}"
    for slot in sorted(slots - spec.values.keys()):
        yield f"slot {slot!r} has no pool in values"
    for name in sorted(phrasing.set.keys() - properties.keys()):
        yield f"set names {name!r}, which is no property"
    for name in sorted(slots & phrasing.set.keys()):
        yield f"{name!r} is both a slot and set"
    required = set(spec.parameters.get("required", ()))
    if phrasing.lacks is not None:
        if phrasing.lacks not in required or phrasing.lacks in slots | phrasing.set.keys():
            yield f"lacks {phrasing.lacks!r}, which must be required and left out"
        if not phrasing.ask:
            yield "lacks a parameter and has no question (ask)"
        required.discard(phrasing.lacks)
    for name in sorted(required - slots - phrasing.set.keys()):
        yield f"required {name!r} is neither a slot nor set"


def _enum_problems(schema: Any) -> Iterator[str]:
    """YAML reads an unquoted ``on``, ``off``, ``yes`` or ``no`` as a boolean, and 7:30 as a number."""
    if isinstance(schema, Mapping):
        kinds = _ENUM_TYPES.get(str(schema.get("type")), (object,))
        for value in schema.get("enum", ()) if isinstance(schema.get("enum"), list) else ():
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds != (object,)):
                yield f"enum value {value!r} is no {schema['type']}: quote it"
        for part in schema.values():
            yield from _enum_problems(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _enum_problems(part)


def _pool_problems(pool: Any) -> list[str]:
    if isinstance(pool, Mapping):
        kinds = [kind for kind in (*_RANGES, "list_of") if kind in pool]
        unknown = pool.keys() - {*kinds, "decimals", "min", "max", "spoken"}
        if len(kinds) != 1 or unknown:
            return [f"a pool is a list, or has one of {', '.join((*_RANGES, 'list_of'))}; found {list(pool)}"]
        if kinds[0] in _RANGES:
            bounds = pool[kinds[0]]
            good = isinstance(bounds, Sequence) and len(bounds) == 2 and bounds[0] <= bounds[1]
            return [] if good else [f"{kinds[0]} needs [low, high], found {bounds!r}"]
        pool = pool["list_of"]
    if not isinstance(pool, Sequence) or isinstance(pool, str) or not pool:
        return [f"needs a list with at least one value, found {pool!r}"]
    found = []
    for entry in pool:
        if isinstance(entry, Mapping) and entry.keys() != {"say", "value"}:
            found.append(f"an entry with keys say and value is needed, found {entry!r}")
        elif isinstance(entry, bool | list | None):
            found.append(f"{entry!r} cannot be said as it is: quote it, or give say and value")
        elif not isinstance(_entry(entry)[0], str) or _entry(entry)[0] != " ".join(_entry(entry)[0].split()):
            found.append(f"{_entry(entry)[0]!r} must be said as a text without double or outer spaces")
    return found


def _samples(pool: Any) -> list[Any]:
    """Every value of a listed pool; the ends of a range."""
    if isinstance(pool, Sequence):
        return [_entry(e)[1] for e in pool]
    if "list_of" in pool:
        entries = [_entry(e)[1] for e in pool["list_of"]]
        least = pool.get("min", 1)
        return [entries[i : i + least] for i in range(0, len(entries) - least + 1, least)]
    return list(next(pool[kind] for kind in _RANGES if kind in pool))


# --- the catalogue ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def load_catalogue() -> tuple[ToolSpec, ...]:
    """Every tool of the catalogue package, by file name and position.

    Raises:
        DataError: a file is not usable; the message names file and tool and lists every problem.
    """
    from agentlora.tasks.tool_calling.kept_tools import kept_tools  # which makes tools of what it has kept

    return kept_tools("catalogue", (), _read_catalogue)


def _read_catalogue() -> tuple[ToolSpec, ...]:
    package = files("agentlora.tasks.tool_calling.catalogue")
    sheets = sorted((f for f in package.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(spec for sheet in sheets for spec in load_sheet(sheet))


def load_sheet(sheet: Traversable) -> list[ToolSpec]:
    """The tools of one YAML file (catalogue format). Raises DataError naming file and tool."""
    import yaml

    try:
        raw = yaml.load(sheet.read_text(encoding="utf-8"), Loader=yaml_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise DataError(f"{sheet.name}: not readable as YAML: {exc}") from exc
    if not isinstance(raw, dict) or not isinstance(raw.get("tools"), list):
        raise DataError(f"{sheet.name}: needs the keys domain, split and tools (a list)")
    if raw.get("split") not in SPLITS:
        raise DataError(f"{sheet.name}: split is {raw.get('split')!r}; use one of {', '.join(SPLITS)}")
    specs, wrong = [], []
    if raw.get("domain") != sheet.name.removesuffix(".yaml"):
        wrong.append(f"{sheet.name}: domain is {raw.get('domain')!r}; it must be the file's name")
    for number, tool in enumerate(raw["tools"], 1):
        where = f"{sheet.name}, tool {tool.get('name', number) if isinstance(tool, dict) else number}"
        try:
            spec = _spec(str(raw.get("domain")), raw["split"], _plain(tool))
            wrong += [f"{where}: {problem}" for problem in problems(spec)]
            specs.append(spec)
        except (KeyError, TypeError, ValueError) as exc:
            wrong.append(f"{where}: {type(exc).__name__}: {exc}")
    names = [spec.name for spec in specs]
    wrong += [f"{sheet.name}, tool {n}: the name is used twice" for n in set(names) if names.count(n) > 1]
    if wrong:
        raise DataError("The tool catalogue needs mending:\n  " + "\n  ".join(wrong))
    return specs


def _spec(domain: str, split: Split, tool: Mapping[str, Any]) -> ToolSpec:
    unknown, absent = (
        tool.keys() - _TOOL_KEYS,
        {"name", "description", "parameters", "phrasings"} - tool.keys(),
    )
    if unknown or absent:
        raise ValueError(f"unknown keys {sorted(unknown)}, missing keys {sorted(absent)}")
    return ToolSpec(
        domain=domain,
        name=str(tool["name"]),
        description=" ".join(str(tool["description"]).split()),
        parameters=tool["parameters"],
        values=tool.get("values") or {},
        phrasings=tuple(_phrasing(p) for p in tool["phrasings"]),
        missing=tuple(_phrasing(p) for p in tool.get("missing") or ()),
        split=split,
        source="catalogue",
    )


def _phrasing(raw: Any) -> Phrasing:
    if isinstance(raw, str):
        return Phrasing(" ".join(raw.split()))
    unknown = raw.keys() - _PHRASING_KEYS
    if unknown:
        raise ValueError(f"phrasing {raw.get('text')!r} has unknown keys {sorted(unknown)}")
    return Phrasing(" ".join(raw["text"].split()), raw.get("set") or {}, raw.get("lacks"), raw.get("ask"))


def _plain(value: Any) -> Any:
    """YAML reads an unquoted 2026-03-14 as a date: turn those back into the text that was written."""
    return json.loads(json.dumps(value, default=str))
