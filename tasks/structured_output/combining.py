"""What several schemas say of one value (``allOf``, ``if``, ``dependentRequired``), as one that values are drawn from.

Where there are several ways, one is chosen. What is drawn has to be checked against the schema itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from agentlora.core.types import JSON

NEVER: JSON = {"not": {}}
MOST_WAYS = 40  # of alternatives that are multiplied by others
DEEPEST = 12
TAKEN = 0.5  # of the conditions: what they ask holds
# keywords of which a plain draw knows nothing: what is drawn is checked against the schema
CHECKED = frozenset(
    ["allOf", "if", "dependentRequired", "dependentSchemas", "dependencies", "not", "contains", "minProperties",
     "maxProperties", "patternProperties", "propertyNames", "unevaluatedItems"]
)  # fmt: skip
_RESOLVED = ("allOf", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies")
_HIGHEST = (
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
    "minContains",
    "multipleOf",
)
_LOWEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")


def combined(schema: Mapping[str, Any], rng: random.Random, depth: int = 0) -> JSON:
    """`schema` without keywords that hold other schemas for the same value; `NEVER` where they exclude each other."""
    found: JSON = {key: value for key, value in schema.items() if key not in _RESOLVED}
    if depth > DEEPEST:
        return found
    parts = list(schema.get("allOf") or ())
    if "if" in schema:
        holds = rng.random() < TAKEN
        parts += [schema["if"], schema.get("then", True)] if holds else [schema.get("else", True)]
    asks = list(_dependents(schema))
    for part in parts:
        part = combined(part, rng, depth + 1) if isinstance(part, Mapping) else part
        asks += list(_dependents(part)) if isinstance(part, Mapping) else []
        found = both(found, part)
    for name, part in asks:
        if name in found.get("required", ()) or rng.random() < TAKEN:
            part = combined(part, rng, depth + 1) if isinstance(part, Mapping) else part
            found = both(both(found, {"required": [name]}), part)
        else:
            found["properties"] = {n: p for n, p in found.get("properties", {}).items() if n != name}
    return found


def _dependents(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name of a property, what holds where it is there)"""
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        for name, part in (schema.get(key) or {}).items():
            yield name, {"required": list(part)} if isinstance(part, list) else part


def both(one: Any, other: Any) -> JSON:
    """A schema of what fits `one` and `other`, as far as one can be written; `NEVER` where nothing does."""
    if one is True or other is True:
        found = other if one is True else one
        return {} if found is True else dict(found) if isinstance(found, Mapping) else dict(NEVER)
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one == NEVER or other == NEVER:
        return dict(NEVER)
    found = {**other, **one}
    for key in one.keys() & other.keys():
        found[key] = _joined(key, one[key], other[key])
    found |= _properties(one, other)
    values = _values(one, other)
    if values is not None and not values:
        return dict(NEVER)
    if values is not None:
        found = {key: part for key, part in found.items() if key not in ("const", "enum")}
        # what only one of the two fixes is a choice to whoever reads the other: it has to be said
        found |= {"const": values[0]} if "const" in one and "const" in other else {"enum": values}
    return dict(NEVER) if found.get("type") == [] else found


def _joined(key: str, a: Any, b: Any) -> Any:
    """What a keyword says that both have; the first's where that cannot be said in one."""
    if key in _HIGHEST:
        return max(a, b)
    if key in _LOWEST:
        return min(a, b)
    if key == "type":
        return _types(a, b)
    if key == "required":
        return list(dict.fromkeys([*a, *b]))
    if key == "uniqueItems":
        return a or b
    if key in ("items", "additionalProperties", "propertyNames", "contains"):
        if False in (a, b):
            return False
        return both(a, b)
    if key == "prefixItems":
        return [both(x, y) for x, y in zip(a, b, strict=False)]
    if key in ("anyOf", "oneOf"):
        return [part for x in a for y in b if (part := both(x, y)) != NEVER][:MOST_WAYS]
    if key == "not":
        return {"anyOf": [a, b]}
    return a


def _types(a: Any, b: Any) -> Any:
    ours, theirs = (kind if isinstance(kind, list) else [kind] for kind in (a, b))
    found = [kind for kind in ours if kind in theirs or (kind == "integer" and "number" in theirs)]
    found += [kind for kind in theirs if kind == "integer" and "number" in ours and kind not in found]
    return found[0] if len(found) == 1 else found


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> JSON:
    """Properties of both: what either does not name has to fit its ``additionalProperties``."""
    found: JSON = {}
    names = list(dict.fromkeys([*(one.get("properties") or ()), *(other.get("properties") or ())]))
    for name in names:
        part = both(_of(one, name), _of(other, name))
        if part != NEVER or name in one.get("required", ()) or name in other.get("required", ()):
            found[name] = part
    merged: JSON = {"properties": found} if names else {}
    patterns = {**(other.get("patternProperties") or {}), **(one.get("patternProperties") or {})}
    return merged | ({"patternProperties": patterns} if patterns else {})


def _of(schema: Mapping[str, Any], name: str) -> Any:
    if name in (schema.get("properties") or {}):
        return schema["properties"][name]
    if schema.get("patternProperties"):
        return True  # which pattern it fits is left to the check
    return schema.get("additionalProperties", True)


def _values(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Any] | None:
    """The values that both take, where one of them names its values."""
    listed = [[part["const"]] if "const" in part else part["enum"] for part in (one, other)
              if "const" in part or isinstance(part.get("enum"), list)]  # fmt: skip
    if len(listed) < 2:
        return listed[0] if listed else None
    known = {json.dumps(value, sort_keys=True) for value in listed[1]}
    return [value for value in listed[0] if json.dumps(value, sort_keys=True) in known]
