"""Schemas that stand for themselves: references resolved, the dialects of OpenAPI 3.0 and draft 4 levelled.

Nothing is fetched: a reference to another host is refused, and one to a file must stay inside the document's directory.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.types import Unusable

# of an unfolded schema, and of all of a document: references to references can stand for more than there is memory
MOST_PARTS, MOST_IN_ALL = 20_000, 2_000_000
DEEPEST = 64
_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
           "unevaluatedProperties", "unevaluatedItems", "additionalItems")  # fmt: skip
_DROPPED = ("$schema", "$id", "id", "$comment", "$anchor", "discriminator", "xml", "externalDocs", "readOnly",
            "writeOnly", "deprecated", "$defs", "definitions", "example")  # fmt: skip
_FILES = ("binary", "byte", "base64")


class References:
    """The parts of a document, and of files beside it, by reference."""

    def __init__(self, document: Any, path: Path | None = None) -> None:
        self._path = path.resolve() if path else None
        self._documents: dict[Path | None, Any] = {self._path: document}
        self._failed: dict[Path, str] = {}
        self.parts = 0

    def find(self, reference: str, within: Path | None) -> tuple[Any, Path | None]:
        """What `reference` names, seen from the file `within`, and the file that it stands in.

        Raises:
            Unusable: it names nothing, or something elsewhere.
        """
        file, _, pointer = reference.partition("#")
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|//", file):
            raise Unusable(f"$ref {reference!r} is elsewhere; nothing is fetched")
        where = self._file(file, within, reference) if file else within
        part = self._documents[where]
        if pointer and not pointer.startswith("/"):
            raise Unusable(f"$ref {reference!r} names an anchor, which is not resolved")
        for step in pointer.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(part, Mapping) and key in part:
                part = part[key]
            elif (
                isinstance(part, Sequence)
                and not isinstance(part, str)
                and key.isascii()
                and key.isdigit()
                and int(key) < len(part)
            ):
                part = part[int(key)]
            else:
                raise Unusable(f"$ref {reference!r} names nothing")
        return part, where

    def _file(self, name: str, within: Path | None, reference: str) -> Path:
        if within is None or self._path is None:
            raise Unusable(f"$ref {reference!r} names a file, and there is none beside this")
        path = (within.parent / unquote(name)).resolve()
        if not path.is_relative_to(self._path.parent):
            raise Unusable(f"$ref {reference!r} leads out of {self._path.parent.name}/")
        if path not in self._documents and path not in self._failed:
            try:
                self._documents[path] = read_document(path)
            except DataError as exc:
                self._failed[path] = str(exc)
        if path in self._failed:
            raise Unusable(f"$ref {reference!r}: {self._failed[path]}")
        return path

    def resolved(self, part: Any, within: Path | None) -> tuple[Any, Path | None]:
        """`part`, or what it refers to, as far as that goes."""
        for _ in range(DEEPEST):
            if not (isinstance(part, Mapping) and isinstance(part.get("$ref"), str)):
                return part, within
            part, within = self.find(part["$ref"], within)
        raise Unusable("a $ref leads back to itself")

    def unfolded(
        self,
        schema: Any,
        within: Path | None = None,
        *,
        again: int = 0,
        end: JSON | None = None,
        read_only: bool = False,
        notes: list[str] | None = None,
    ) -> JSON:
        """`schema` with every reference in its place, in today's dialect.

        A schema that contains itself is followed into itself `again` times. From there on it is `end`; when that is not
        given, an object (or anything) of which no more is said; what that is the case of is put into `notes`.
        Properties that are read only are left out, as nobody sends them, unless `read_only`.

        Raises:
            Unusable: a reference cannot be resolved, or it is too deep, too large, or no schema.
        """
        told = [] if notes is None else notes
        found = _Unfolding(self, again, end, read_only, told).of(schema, within or self._path, (), 0)
        if not isinstance(found, dict):
            raise Unusable("its schema says nothing")
        if problems := json_schema.check_schema(found):
            raise Unusable(problems[0])
        return found


class _Unfolding:
    def __init__(
        self, references: References, again: int, end: JSON | None, read_only: bool, notes: list[str]
    ) -> None:
        self.references, self.parts, self.again, self.end = references, 0, again, end
        self.read_only, self.notes = read_only, notes

    def of(self, schema: Any, within: Path | None, open_: tuple[int, ...], depth: int) -> Any:
        self._one_more(depth)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise Unusable(f"{str(schema)[:40]!r} stands where a schema should")
        if "$ref" in schema:
            return self._referred(schema, within, open_, depth)
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise Unusable("$dynamicRef is not resolved")
        found: JSON = {}
        for key, value in schema.items():
            if key in _DROPPED or key.startswith("x-") or key == "nullable":
                continue
            if key in _OF_SCHEMAS and isinstance(value, Mapping):
                found[key] = {name: self.of(v, within, open_, depth + 1) for name, v in value.items()
                              if self.read_only or not _read_only(v)}  # fmt: skip
            elif key in _LISTS and isinstance(value, list):
                found[key] = [self.of(v, within, open_, depth + 1) for v in value]
            elif key == "items" and isinstance(value, list):
                found["prefixItems"] = [self.of(v, within, open_, depth + 1) for v in value]
            elif key in _SINGLE and isinstance(value, Mapping | bool):
                found[key] = self.of(value, within, open_, depth + 1)
            else:
                self._count(value)
                found[key] = value
        return _levelled(found, schema)

    def _count(self, value: Any, depth: int = 0) -> None:
        """Of values too: anchors of YAML can make a few lines stand for millions."""
        parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for part in parts:
            self._one_more(depth)
            self._count(part, depth + 1)

    def _one_more(self, depth: int) -> None:
        self.parts += 1
        self.references.parts += 1
        if self.parts > MOST_PARTS:
            raise Unusable(f"its schema unfolds to more than {MOST_PARTS:,} parts")
        if self.references.parts > MOST_IN_ALL:
            raise Unusable(f"the schemas before it unfold to more than {MOST_IN_ALL:,} parts")
        if depth > DEEPEST:
            raise Unusable(f"its schema is nested more than {DEEPEST} deep")

    def _referred(
        self, schema: Mapping[str, Any], within: Path | None, open_: tuple[int, ...], depth: int
    ) -> Any:
        target, where = self.references.find(str(schema["$ref"]), within)
        beside = {key: value for key, value in schema.items() if key in ("description", "default", "title")}
        if open_.count(id(target)) > self.again:
            if self.end is not None:
                return dict(self.end)
            object_ = isinstance(target, Mapping) and (
                "properties" in target or target.get("type") == "object"
            )
            self._note(schema, target, where, "an object" if object_ else "any value")
            return ({"type": "object"} if object_ else {}) | beside
        found = self.of(target, where, (*open_, id(target)), depth + 1)
        return {**found, **beside} if isinstance(found, dict) else found

    def _note(self, schema: Mapping[str, Any], target: Any, where: Path | None, taken_as: str) -> None:
        """Say once what of a schema that contains itself is not kept."""
        name = str(schema["$ref"]).rpartition("/")[2] or str(schema["$ref"])
        try:
            self.references.resolved(target, where)
            why = (
                f"{name!r} contains itself: inside of it, it is taken as {taken_as} of which no more is said"
            )
        except Unusable:
            why = f"{name!r} refers to nothing but itself: any value is taken for it"
        if why not in self.notes:
            self.notes.append(why)


def _read_only(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("readOnly") is True


def _levelled(found: JSON, original: Mapping[str, Any]) -> JSON:
    """OpenAPI 3.0 and draft 4 as JSON Schema 2020-12, and parts of one object as one object."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if found.get(exclusive) is True and limit in found:
            found[exclusive] = found.pop(limit)
        elif isinstance(found.get(exclusive), bool):
            del found[exclusive]
    if "example" in original and "examples" not in found:
        found["examples"] = [original["example"]]
    if isinstance(found.get("examples"), Mapping):  # OpenAPI's named ones
        found["examples"] = [
            e["value"] for e in found["examples"].values() if isinstance(e, Mapping) and "value" in e
        ]
    if isinstance(found.get("required"), bool):
        del found["required"]
    elif isinstance(found.get("required"), list) and isinstance(found.get("properties"), dict):
        gone = set(_mapping(original.get("properties"))) - set(found["properties"])
        found["required"] = [name for name in found["required"] if name not in gone]
    if not found.get("required", True):
        del found["required"]
    found = _merged(found)
    return _nullable(found) if original.get("nullable") is True else found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _nullable(schema: JSON) -> JSON:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        return schema
    return {"anyOf": [schema, {"type": "null"}]} if "type" not in schema else schema


def _merged(schema: JSON) -> JSON:
    """``allOf`` objects as one object, and an ``anyOf`` or ``oneOf`` of one as that one."""
    for key in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(key)
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
            others = _without(schema, key)
            if not (parts[0].keys() & others.keys()) - {"description", "title", "type"}:
                schema = {**parts[0], **others}
    parts = schema.get("allOf")
    if not parts or not all(_is_object(part) for part in (*parts, _without(schema, "allOf"))):
        return schema
    merged: JSON = {}
    properties: JSON = {}
    required: list[str] = []
    for part in (*parts, _without(schema, "allOf")):
        of_part = part.get("properties", {})
        if any(name in properties and properties[name] != rule for name, rule in of_part.items()):
            return schema  # both hold, which only allOf says
        properties |= of_part
        required += [name for name in part.get("required", ()) if name not in required]
        merged |= {key: part[key] for key in ("title", "description") if key in part}
    merged |= {"type": "object", "properties": properties}
    return merged | ({"required": required} if required else {})


def _is_object(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() <= _OBJECT
        and part.get("type", "object") == "object"
        and isinstance(part.get("properties", {}), dict)
    )


_OBJECT = {"type", "properties", "required", "title", "description", "examples"}


def _without(schema: JSON, key: str) -> JSON:
    return {k: v for k, v in schema.items() if k != key}


def is_file(schema: Any) -> bool:
    """Whether a value of it is the content of a file, which nobody says."""
    return isinstance(schema, Mapping) and (
        schema.get("format") in _FILES or schema.get("type") == "file" or "contentMediaType" in schema
    )


def as_object(schema: JSON, what: str) -> JSON:
    """The schema of a tool's parameters, which has to be one of an object. Raises Unusable."""
    kinds = schema.get("type", "object")
    if kinds != "object" and "object" not in kinds:
        raise Unusable(f"{what} is of type {kinds}, and a call's arguments are an object")
    if "allOf" in schema or (any(key in schema for key in ("anyOf", "oneOf")) and "properties" not in schema):
        raise Unusable(f"{what} is one of several objects (anyOf, oneOf, allOf), and a tool needs one")
    return {"type": "object", **_without(schema, "type"), "properties": schema.get("properties", {})}


def without_null(schema: JSON) -> JSON:
    """A schema of what may be left out without its null: who leaves it out need not say null."""
    kind = schema.get("type")
    if isinstance(kind, list) and "null" in kind and len(kind) > 1:
        rest = [part for part in kind if part != "null"]
        choices = {"enum": [c for c in schema["enum"] if c is not None]} if "enum" in schema else {}
        return {**schema, "type": rest[0] if len(rest) == 1 else rest, **choices}
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            parts = [p for p in schema[key] if not (isinstance(p, dict) and p.get("type") == "null")]
            if len(parts) in (0, len(schema[key])):
                continue
            return _merged({**schema, key: parts})
    return schema


def without_default_nulls(schema: JSON) -> JSON:
    """A copy in which null is no value of the optional properties that have it as their default, as pydantic and MCP
    servers write what may be left out.
    """
    schema = copy.deepcopy(schema)
    for part in walk(schema):
        properties = part.get("properties", {})
        for name, rule in properties.items():
            may_be_left_out = name not in part.get("required", ())
            if may_be_left_out and isinstance(rule, dict) and rule.get("default", "") is None:
                properties[name] = without_null(_without(rule, "default"))
    return schema


def walk(schema: Any) -> Iterator[JSON]:
    """A schema and all schemas in it, outermost first."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in _OF_SCHEMAS and isinstance(value, dict):
            for part in value.values():
                yield from walk(part)
        elif key in _LISTS and isinstance(value, list):
            for part in value:
                yield from walk(part)
        elif key in _SINGLE:
            yield from walk(value)
