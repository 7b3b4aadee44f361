"""The simple types of XML Schema as JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from agentlora.core.errors import AgentLoraError
from agentlora.core.types import JSON
from agentlora.core.xml_values import KEY, typed

_SPACE = "{http://www.w3.org/2001/XMLSchema}"
_WORD = {"drawn": "^[A-Z]{1,3}-?[0-9]{2,5}$"}
# the built-in types
_TYPES: dict[str, JSON] = {
    "string": {"type": "string", KEY: {"space": "preserve"}},
    "normalizedString": {"type": "string", KEY: {"space": "replace"}},
    "token": {"type": "string"},
    "anySimpleType": {"type": "string"},
    "anyAtomicType": {"type": "string"},
    "language": {"type": "string", "pattern": "^[a-z]{2}$"},
    "Name": {"type": "string", KEY: _WORD},
    "NCName": {"type": "string", KEY: _WORD},
    "ID": {"type": "string", KEY: _WORD},
    "NMTOKEN": {"type": "string", KEY: _WORD},
    "anyURI": {"type": "string", "format": "uri"},
    "boolean": {"type": "boolean"},
    "decimal": {"type": "number"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "integer": {"type": "integer"},
    "long": {"type": "integer"},
    "int": {"type": "integer"},
    "short": {"type": "integer", "minimum": -32768, "maximum": 32767},
    "byte": {"type": "integer", "minimum": -128, "maximum": 127},
    "nonNegativeInteger": {"type": "integer", "minimum": 0},
    "positiveInteger": {"type": "integer", "minimum": 1},
    "nonPositiveInteger": {"type": "integer", "maximum": 0},
    "negativeInteger": {"type": "integer", "maximum": -1},
    "unsignedLong": {"type": "integer", "minimum": 0},
    "unsignedInt": {"type": "integer", "minimum": 0},
    "unsignedShort": {"type": "integer", "minimum": 0, "maximum": 65535},
    "unsignedByte": {"type": "integer", "minimum": 0, "maximum": 255},
    "date": {"type": "string", "format": "date"},
    "dateTime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "gYear": {"type": "string", "pattern": "^(19|20)[0-9]{2}$"},
    "gYearMonth": {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$"},
    "gMonthDay": {"type": "string", "pattern": "^--(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"},
    "gMonth": {"type": "string", "pattern": "^--(0[1-9]|1[0-2])$"},
    "gDay": {"type": "string", "pattern": "^---(0[1-9]|1[0-9]|2[0-8])$"},
    "duration": {"type": "string", "format": "duration"},
    "base64Binary": {"type": "string", "format": "byte"},
    "hexBinary": {"type": "string", "format": "binary"},
}
_BOUNDS = {
    "minInclusive": "minimum",
    "maxInclusive": "maximum",
    "minExclusive": "exclusiveMinimum",
    "maxExclusive": "exclusiveMaximum",
}
_LENGTHS = {
    "length": ("minLength", "maxLength"),
    "minLength": ("minLength",),
    "maxLength": ("maxLength",),
}
MOST_DIGITS = 6  # after the point


class Untaken(AgentLoraError):
    """A part of an XML Schema that no value is made for; the message says why."""


def simple_schema(type_: Any, values: Sequence[str] = ()) -> JSON:
    """The JSON Schema of a simple type; `values`: as an enumeration of these texts.

    Raises:
        Untaken: it is a list, or of a kind that no text says.
    """
    if type_.is_list():
        raise Untaken("it is a list of values in one text (xs:list)")
    if type_.is_union():
        return _union(type_, values)
    steps = list(_steps(type_))
    name = str(steps[-1].name).removeprefix(_SPACE)
    if name not in _TYPES:
        raise Untaken(f"it is of type {name}, whose values no text says")
    found = dict(_TYPES[name])
    if (space := type_.white_space) and found["type"] == "string":
        kept = {key: part for key, part in found.pop(KEY, {}).items() if key != "space"}
        kept |= {"space": space} if space != "collapse" else {}
        found |= {KEY: kept} if kept else {}
    listed = values or _enumeration(steps)
    if listed:
        plain = {key: found[key] for key in ("type", KEY) if key in found}
        kept = {KEY: found[KEY]} if KEY in found else {}
        return {"enum": list({str(v): v for v in (typed(plain, text) for text in listed)}.values()), **kept}
    for facet, key in _BOUNDS.items():
        if (bound := _facet(steps, facet)) is not None and found["type"] != "string":
            found[key] = typed({"type": "number"}, bound)
    for facet, keys in _LENGTHS.items():
        if (length := _facet(steps, facet)) is not None and found["type"] == "string":
            found |= dict.fromkeys(keys, int(length))
    digits = _facet(steps, "fractionDigits")
    if digits is not None and found["type"] == "number" and int(digits) <= MOST_DIGITS:
        found |= (
            {"multipleOf": round(math.pow(10, -int(digits)), int(digits))}
            if int(digits)
            else {"type": "integer"}
        )
    if pattern := _pattern(steps):
        # a number that is written in a certain way (9.50) is a text
        kept = {KEY: found[KEY]} if KEY in found else {}
        found = {"type": "string", "pattern": pattern, **kept} | {
            key: found[key] for key in ("minLength", "maxLength") if key in found
        }
    return found


def _union(type_: Any, values: Sequence[str]) -> JSON:
    """Of enumerations of texts one enumeration; of anything else nothing."""
    if values:
        return {"enum": list(values)}
    members = [simple_schema(member) for member in type_.member_types]
    if all(isinstance(member.get("enum"), list) for member in members):
        return {"enum": list({str(v): v for member in members for v in member["enum"]}.values())}
    raise Untaken("its values are of one of several types (xs:union)")


def _steps(type_: Any) -> Iterator[Any]:
    """The type and those that it restricts, up to the first built-in one."""
    while True:
        yield type_
        if str(type_.name or "").startswith(_SPACE):
            return
        type_ = type_.base_type


def _own(step: Any, facet: str) -> Any:
    """A facet that a step itself has."""
    builtin = str(step.name or "").startswith(_SPACE)
    return None if builtin else (step.facets or {}).get(f"{_SPACE}{facet}")


def _facet(steps: Sequence[Any], facet: str) -> str | None:
    """A facet's text, of the step nearest to the type."""
    found = next((own for step in steps if (own := _own(step, facet)) is not None), None)
    return None if found is None else str(found.elem.get("value")).strip()


def _enumeration(steps: Sequence[Any]) -> list[str]:
    found = next((own for step in steps if (own := _own(step, "enumeration")) is not None), None)
    return [] if found is None else [str(part.get("value")) for part in found]


def _pattern(steps: Sequence[Any]) -> str:
    """The patterns of the step nearest to the type that has some, as one; the others are left to the XML Schema."""
    found = next((own for step in steps if (own := _own(step, "pattern")) is not None), None)
    if found is None:
        return ""
    plain = [str(expression) for expression in found.regexps]
    if any(
        re.search(r"\\[icIC]|\\[pP]\{|-\[", expression) for expression in plain
    ):  # what only XML Schema has
        return "|".join(f"(?:{pattern.pattern})" for pattern in found.patterns)
    whole = plain[0] if len(plain) == 1 else "|".join(f"(?:{expression})" for expression in plain)
    return f"^(?:{whole})$" if "|" in whole else f"^{whole}$"
