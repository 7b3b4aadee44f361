"""The list of elements that a model is shown in place of an XML Schema (see `elements` for how it is written)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentlora.core.types import JSON
from agentlora.core.xml_values import KEY, Names, alternative, member, resolved

LONGEST_PATTERN = 80
KINDS = {"integer": "integer", "number": "number", "boolean": "boolean"}
FORMATS = {"date": "date", "time": "time", "date-time": "datetime", "uri": "uri"}


def shown_elements(schema: JSON) -> str:
    """The elements of a schema's documents, one a line."""
    form = schema[KEY]
    shown = _Shown(schema)
    lines = list(shown.element(form["root"], "", schema, ""))
    spaces = " ".join(shown.names.declared()).replace('"', "")
    head, mark, about = lines[0].partition("  #")
    return "\n".join([f"{head} {spaces}{mark}{about}" if spaces else lines[0], *lines[1:]])


class _Shown:
    def __init__(self, schema: JSON) -> None:
        self.schema, self.names = schema, Names(schema[KEY]["prefixes"])
        self.named: dict[str, str] = {}  # an element's name → the definition that it was shown with
        self.open: dict[str, str] = {}  # the definitions around what is shown → the elements' names

    def element(self, clark: str, marks: str, schema: Any, indent: str) -> Iterator[str]:
        """The lines of one element."""
        name = self.names.name(clark)
        nil = alternative(self.schema, schema) != resolved(self.schema, schema)
        part = alternative(self.schema, schema)
        form = part.get(KEY, {})
        about = _about(schema) or _about(part)
        start = f"{indent}{name}{marks}{' nil' if nil else ''}"
        reference = _reference(schema)
        known = name if self.named.get(name) == reference else self.open.get(reference)
        if reference and known and not form.get("empty"):
            yield f"{start} like {known}{about}"
            return
        compound = {"entry", "elements", "attributes", "text"} & set(form)
        if not compound:
            yield f"{start} {'empty' if form.get('empty') else simple_shown(part)}{about}"
            return
        if reference:
            self.named[name] = reference
            self.open[reference] = name
        if "entry" in form:
            yield f"{start}{about}"
            mark = _occurs(part.get("minItems", 0), part.get("maxItems"))
            yield from self.element(form["entry"], mark, part.get("items", {}), indent + "  ")
        else:
            text = form.get("text")
            yield f"{start}{f' {simple_shown(member(part, text))}' if text else ''}{about}"
            yield from self.members(part, form, indent + "  ")
        self.open.pop(reference, None)

    def members(self, part: Mapping[str, Any], form: Mapping[str, Any], indent: str) -> Iterator[str]:
        required = part.get("required", ())
        for key, name in form.get("attributes", {}).items():
            inner = member(part, key)
            mark = "" if key in required else "?"
            yield f"{indent}@{self.names.name(name)}{mark} {simple_shown(inner)}{_about(inner)}"
        chosen = False
        for key in form.get("elements", {}):
            if key in part.get("properties", {}):
                yield from self.one(form["elements"][key], part["properties"][key], key in required, indent)
            elif not chosen:
                chosen = True
                yield from self.either(part.get("oneOf", ()), form, indent)

    def either(self, ways: Sequence[JSON], form: Mapping[str, Any], indent: str) -> Iterator[str]:
        some = [way for way in ways if way["properties"]]
        mark = "?" if len(some) < len(ways) else ""
        for i, way in enumerate(some):
            yield f"{indent}{'or' if i else f'either{mark}'}:"
            for key in form["elements"]:
                if key in way["properties"]:
                    needed = key in way.get("required", ())
                    yield from self.one(form["elements"][key], way["properties"][key], needed, indent + "  ")

    def one(self, name: str, schema: Any, required: bool, indent: str) -> Iterator[str]:
        """An element, or the entries of a list."""
        part = alternative(self.schema, schema)
        if "items" in part and "entry" not in part.get(KEY, {}):
            least = part.get("minItems", 1) if required else 0
            yield from self.element(name, _occurs(least, part.get("maxItems")), part["items"], indent)
        else:
            yield from self.element(name, "" if required else "?", schema, indent)


def simple_shown(part: Mapping[str, Any]) -> str:
    """A simple type in a few words."""
    if "const" in part:
        return f"always {part['const']}"
    if isinstance(part.get("enum"), list):
        return " | ".join(str(value) for value in part["enum"])
    kind, pattern = part.get("type"), str(part.get("pattern", ""))
    if kind in KINDS:
        low, high = part.get("minimum"), part.get("maximum")
        words = [KINDS[str(kind)]]
        words += (
            [f"{'' if low is None else low}..{'' if high is None else high}"]
            if (low, high) != (None, None)
            else []
        )
        words += [f">{part['exclusiveMinimum']}"] if "exclusiveMinimum" in part else []
        words += [f"<{part['exclusiveMaximum']}"] if "exclusiveMaximum" in part else []
        return " ".join(words)
    words = [FORMATS.get(str(part.get("format")), "text")]
    if part.keys() & {"minLength", "maxLength"}:
        words.append(f"{part.get('minLength', '')}..{part.get('maxLength', '')}")
    if pattern and len(pattern) <= LONGEST_PATTERN:
        words.append(f"/{pattern.removeprefix('^').removesuffix('$')}/")
    return " ".join(words)


def _occurs(least: int, most: int | None) -> str:
    known = {(0, None): "*", (1, None): "+", (0, 1): "?", (1, 1): ""}
    return known.get((least, most), f"{{{least},{'' if most is None else most}}}")


def _reference(schema: Any) -> str:
    """The name of the definition that a schema refers to."""
    if isinstance(schema, Mapping) and isinstance(schema.get("anyOf"), list):
        schema = schema["anyOf"][0]
    return str(schema.get("$ref", "")) if isinstance(schema, Mapping) else ""


def _about(schema: Any) -> str:
    about = schema.get("description", "") if isinstance(schema, Mapping) else ""
    return f"  # {about}" if about else ""
