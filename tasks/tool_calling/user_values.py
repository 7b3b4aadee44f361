"""Values that somebody would say for a parameter of any schema, each of them valid under it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_kinds import spoken
from agentlora.tasks.tool_calling.api_sources import Param, split_words
from agentlora.tasks.tool_calling.api_values import one_of, pool_for
from agentlora.tasks.tool_calling.bounds import number_within
from agentlora.tasks.tool_calling.patterns import matching

SCALARS = ("string", "integer", "number", "boolean")
DATES = ("date", "date-time")
LONGEST = 80  # characters that are said for one value
VALUES = 60  # that a pool draws for
MEMBERS = 4  # of an object that can be said
UNSAID = frozenset(  # formats whose values nobody says
    [
        "duration",
        "ipv6",
        "iri",
        "iri-reference",
        "uri-template",
        "password",
        "binary",
        "byte",
        "regex",
        "json-pointer",
        "relative-json-pointer",
    ]
)
# last words after these are no names: "page number"
COUNTED = frozenset(("phone", "page", "sort", "port", "version", "account", "serial", "max", "min", "total"))
IDENTIFYING = ("id", "number", "no", "nr", "num", "key", "slug", "identifier", "uuid")  # last words of a name
NUMBERED = (1, 3000)  # what integers that identify something are drawn from
# what is said of times and dates whose schema has no format of its own
HOURS = "^(0[7-9]|1[0-9]|2[01]):(00|15|30|45)$"
DAYS = "^2026-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"
_BOUND = frozenset(("format", "pattern", "enum", "const", "minLength", "maxLength"))
_DAY = re.compile(r"\byyyy-mm-dd\b", re.IGNORECASE)
_HOURS = re.compile(r"hh:mm", re.IGNORECASE)
_ONLY_HOURS = re.compile(r"^(?!.*(yy|am\b|pm\b))(.*\W)?hh:mm(?![:\w])", re.IGNORECASE)
# format of JSON Schema → the kind of word that `pool_for` has values for
WORDS = {"email": ("email",), "idn-email": ("email",), "uri": ("url",), "url": ("url",), "uri-reference": ("url",),
         "hostname": ("hostname",), "ipv4": ("ip",), "ip": ("ip",), "phone": ("phone",)}  # fmt: skip


def parameter(name: str, schema: Any, required: bool) -> Param | None:
    """The parameter as one that requests can be written about, or None where nobody says its values in a sentence."""
    simple = spoken_schema(schema)
    words = split_words(name)
    if simple is None or not words or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return None
    return Param(name, words, simple, required, str(schema.get("description", "")))


def with_stated_format(name: str, schema: Any) -> Any:
    """The schema with the format of a date or a time that only its description says (``YYYY-MM-DD``, ``HH:MM``), and of
    a date that none is said for.
    """
    kinds = (schema.get("type"), *_list(schema.get("type"))) if isinstance(schema, Mapping) else ()
    if "string" not in kinds or _BOUND & schema.keys():
        return schema
    described = str(schema.get("description", ""))
    if _HOURS.search(described):
        return {**schema, "pattern": HOURS} if _ONLY_HOURS.search(described) else schema
    if _DAY.search(described):
        return {**schema, "format": "date"}
    unsaid = split_words(name)[-1:] == ("date",) and not re.search(r"\d|format", described)
    return {**schema, "pattern": DAYS} if unsaid else schema


def says_format(schema: JSON) -> bool:
    """Whether a schema, or its description, says how a date or a time is written."""
    described = str(schema.get("description", ""))
    return "format" in schema or bool(_DAY.search(described) or _HOURS.search(described))


def identifies(param: Param) -> bool:
    """Whether its values are the names of things, numbers among them."""
    plain = param.schema["type"] in ("string", "integer") and "enum" not in param.schema
    return (
        plain
        and "format" not in param.schema
        and param.words[-1] in IDENTIFYING
        and not COUNTED & set(param.words)
    )


def spoken_part(schema: Any, depth: int = 0) -> JSON | None:
    """The schema itself, or the first of its alternatives that a sentence can speak of, as `spoken_schema` does."""
    if not isinstance(schema, Mapping):
        return None
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            parts = (spoken_part(part, depth) for part in schema[key])
            return next((part for part in parts if part is not None and spoken_schema(part, depth)), None)
    return dict(schema)


def spoken_schema(schema: Any, depth: int = 0) -> JSON | None:
    """What requests speak of in a schema: one type, no alternatives. None where there is nothing."""
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return _of_choices([schema["const"]])
    if isinstance(schema.get("enum"), list):
        return _of_choices([value for value in schema["enum"] if value is not None])
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return next((found for part in schema[key] if (found := spoken_schema(part, depth))), None)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), None)
    if kind in SCALARS:
        if kind == "string" and schema.get("format") in UNSAID:
            return None
        kept = {"type": kind} | {key: schema[key] for key in ("minimum", "maximum") if key in schema}
        dated = kind == "string" and schema.get("format") in DATES and "pattern" not in schema
        return kept | ({"format": schema["format"]} if dated else {})
    if kind == "array" and depth == 0:
        items = spoken_schema(schema.get("items"), 2)
        return {"type": "array", "items": items} if items and items["type"] in SCALARS[:3] else None
    if kind == "object" and depth == 0:
        members = schema.get("properties") or {}
        parts = {name: spoken_schema(part, 2) for name, part in members.items() if split_words(name)}
        said = {name: part for name, part in parts.items() if part and part["type"] in SCALARS}
        needed = schema.get("required", ())
        if not said or len(said) > MEMBERS or any(name not in said for name in needed):
            return None
        return {"type": "object", "properties": said} | ({"required": list(needed)} if needed else {})
    return None


def _of_choices(values: Sequence[Any]) -> JSON | None:
    kinds = {type(value) for value in values}
    names: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if len(kinds) != 1 or (kind := names.get(kinds.pop())) is None:
        return None
    return {"type": kind, "enum": list(values)}


def values_for(param: Param, schema: JSON, noun: tuple[str, ...], service: str, rng: random.Random) -> Any:
    """The pool of `param` (see `ToolSpec`): what `schema` allows, said as people say it. Empty where nothing fits.

    Examples and defaults that the schema gives are among the values.
    """
    part = spoken_part(schema) or {}
    drawn = _drawn(param, part, noun, service, rng)
    if isinstance(drawn, list):
        given: list[Any] = []
        if param.schema["type"] in ("string", "integer", "number") and "enum" not in param.schema:
            given = [
                v
                for v in (*_list(part.get("examples")), part.get("default"))
                if isinstance(v, str | int | float)
            ]
        return valid_entries([*given, *drawn], schema)
    if "list_of" in drawn:
        items = spoken_part(part.get("items")) or {}
        entries = valid_entries(drawn["list_of"], items)
        least = max(1, int(part.get("minItems", 1)))
        most = min(max(least, drawn.get("max", 3)), int(part.get("maxItems", 3)), len(entries))
        return {"list_of": entries, "min": least, "max": most} if most >= least else []
    if not _valid_range(drawn, schema):
        return _few_numbers(part, schema, rng)
    if (part == schema and "multipleOf" not in part) or _valid_between(drawn, schema):
        return drawn
    return _in_steps(drawn, part, schema, rng) or _few_numbers(part, schema, rng)


def _in_steps(pool: JSON, part: JSON, schema: JSON, rng: random.Random) -> list[Any]:
    """Multiples of what the schema asks for, within the range of a pool; empty where it asks for none."""
    if "multipleOf" not in part:
        return []
    low, high = pool.get("integers") or pool["numbers"]
    bounds = {"minimum": low, "maximum": high, "multipleOf": part["multipleOf"]}
    found = (number_within(bounds, "integers" in pool, rng) for _ in range(VALUES))
    return valid_entries([number for number in found if number is not None], schema)


def _few_numbers(part: JSON, schema: JSON, rng: random.Random) -> list[Any]:
    """Numbers within the schema's own bounds, where the usual ones of such a name are not; empty where none is."""
    whole = "integer" in (part.get("type"), *_list(part.get("type")))
    highest: Any = part.get("maximum", part.get("exclusiveMaximum"))
    low: Any = part.get(
        "minimum", part.get("exclusiveMinimum", 0 if highest is None or highest > 0 else highest - 1000)
    )
    high: Any = low + 1000 if highest is None else highest
    step = part.get("multipleOf")
    try:
        drawn = [
            rng.randint(int(low), int(high)) if whole else round(rng.uniform(low, high), 2)
            for _ in range(VALUES)
        ]
        drawn = [int(v // step * step) for v in drawn] if step and whole else drawn
    except (ValueError, OverflowError):  # nothing is in the range, or more than floats have
        found = (number_within(part, whole, rng) for _ in range(VALUES))
        drawn = [number for number in found if number is not None]
    return valid_entries(drawn, schema)


def _drawn(param: Param, schema: JSON, noun: tuple[str, ...], service: str, rng: random.Random) -> Any:
    kind = param.schema["type"]
    if "enum" in param.schema and kind not in ("string", "boolean"):
        return list(param.schema["enum"])
    if kind == "string":
        if isinstance(schema.get("pattern"), str):
            return [made for _ in range(VALUES) if (made := matching(schema["pattern"], rng)) is not None]
        if schema.get("format") == "uuid":
            return [_uuid(rng) for _ in range(VALUES)]
        if schema.get("format") == "time":
            return _times(rng)
        words = WORDS.get(str(schema.get("format")))
        if words:
            param = Param(param.name, words, param.schema, param.required, "")
        pools = [pool_for(param, noun, service, rng) for _ in range(5)]
        return _once([entry for pool in pools for entry in pool])
    if kind == "array":
        items = param.schema["items"]
        one = Param(param.name, param.words, items, True, "")
        drawn = _drawn(one, spoken_part(schema.get("items")) or {}, noun, service, rng)
        if isinstance(drawn, dict):
            drawn = [one_of(drawn, rng)[1] for _ in range(VALUES)]
        return {"list_of": _once(drawn), "max": 3}
    if kind == "object":
        return _objects(param, schema, noun, service, rng)
    if kind == "boolean":
        return _once([*pool_for(param, noun, service, rng), *_yes_and_no(param.words)])
    if identifies(param):
        low, high = param.schema.get("minimum", NUMBERED[0]), param.schema.get("maximum", NUMBERED[1])
        return {"integers": [int(low), int(max(low, high))]}
    return pool_for(param, noun, service, rng)


def _yes_and_no(words: tuple[str, ...]) -> list[Any]:
    """Short ways to say a yes-or-no parameter: ``has wiki`` is "without a wiki", ``private`` "and make it private"."""
    yes: tuple[str, ...]
    no: tuple[str, ...]
    if words[0] in ("has", "with", "include", "includes", "have") and words[1:]:
        thing = spoken(words[1:])
        yes, no = (
            (f"with {thing}", f"with a {thing}"),
            (f"without {thing}", f"without a {thing}", f"but no {thing}"),
        )
    else:
        thing = spoken(words[1:] if words[0] == "is" and words[1:] else words)
        yes, no = (
            (f"and make it {thing}", f"as {thing}", f"({thing})"),
            (f"but not {thing}", f"and not {thing}"),
        )
    return [{"say": s, "value": True} for s in yes] + [{"say": s, "value": False} for s in no]


def _objects(
    param: Param, schema: JSON, noun: tuple[str, ...], service: str, rng: random.Random
) -> list[Any]:
    """Objects said as ``city Oslo and country NO``: what is required and some of the rest."""
    members = param.schema["properties"]
    pools = {}
    for name, part in members.items():
        member = schema["properties"][name]
        one = parameter(name, member, True) or Param(name, split_words(name), part, True, "")
        if (
            one.schema["type"] not in SCALARS
        ):  # an array among its alternatives, which nobody says in an object
            one, member = Param(name, split_words(name), part, True, ""), spoken_part(member, 2) or {}
        if part["type"] == "boolean":
            words = spoken(one.words)
            pools[name] = [{"say": f"{words} on", "value": True}, {"say": f"{words} off", "value": False}]
        else:
            pools[name] = values_for(one, member, noun, service, rng)
    needed = param.schema.get("required", ())
    if any(not pools[name] for name in needed):
        return []
    entries = []
    for _ in range(VALUES):
        chosen = [name for name in members if pools[name] and (name in needed or rng.random() < 0.5)]
        if not chosen:
            continue
        said, value = [], {}
        for name in chosen:
            words, value[name] = one_of(pools[name], rng)
            boolean = members[name]["type"] == "boolean"
            said.append(words if boolean else f"{spoken(split_words(name))} {words}")
        entries.append(
            {"say": f"{', '.join(said[:-1])} and {said[-1]}" if said[1:] else said[0], "value": value}
        )
    return _once(entries)


def valid_entries(entries: Sequence[Any], schema: JSON) -> list[Any]:
    """Entries that `schema` takes, each once, that are short enough to be said."""
    kept = []
    for entry in _once(entries):
        value = entry["value"] if isinstance(entry, dict) else entry
        said = entry["say"] if isinstance(entry, dict) else str(entry)
        clean = said == " ".join(said.split()) and said and not set("{}") & set(said)
        if clean and len(said) <= LONGEST and json_schema.is_valid(schema, value):
            kept.append(entry)
    return kept


def _valid_range(pool: Mapping[str, Any], schema: JSON) -> bool:
    low, high = pool.get("integers") or pool["numbers"]
    looked_at = (low, high, low + (high - low) // 3)
    return low <= high and all(json_schema.is_valid(schema, value) for value in looked_at)


def _valid_between(pool: Mapping[str, Any], schema: JSON) -> bool:
    """Whether the numbers of a range fit a schema that may leave gaps: of several alternatives, or of multiples."""
    rng = random.Random(0)
    return all(json_schema.is_valid(schema, one_of(pool, rng)[1]) for _ in range(VALUES))


def _once(entries: Sequence[Any]) -> list[Any]:
    return list({repr(entry): entry for entry in entries}.values())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _uuid(rng: random.Random) -> str:
    bits = f"{rng.getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


def _times(rng: random.Random) -> list[Any]:
    pairs = [(rng.randint(6, 22), rng.choice((0, 15, 30, 45))) for _ in range(VALUES)]
    return [{"say": f"{hour}:{minute:02}", "value": f"{hour:02}:{minute:02}:00Z"} for hour, minute in pairs]
