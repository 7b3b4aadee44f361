"""Tools from an OpenAPI 3.x document: one for each operation, with its parameters and the fields of its JSON body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.schemas import References, as_object, is_file
from agentlora.tasks.tool_calling.importing.types import (
    MALFORMED,
    Collector,
    Imported,
    ImportedTool,
    Unusable,
)

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
BODIES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_IN_PATH = re.compile(r"\{\+?([A-Za-z_][\w.-]*)[+*]?\}")
BODY = "body"  # the parameter that a body becomes whose fields cannot stand beside the others


def is_openapi(document: Any) -> bool:
    """Whether a document says that it is one, of any version."""
    return isinstance(document, Mapping) and ("openapi" in document or "swagger" in document)


def import_openapi(document: Any, path: Path | None = None) -> Imported:
    """The operations of a document.

    Headers and cookies are left to who makes the request; operations that are deprecated, that need a file, or whose
    schemas cannot be resolved are left out. What stands between braces in a path and is described nowhere becomes a
    required text, as every parameter of a path is required.

    Args:
        path: where the document stands, for references to files beside it.

    Raises:
        DataError: it is no OpenAPI 3 document.
    """
    name = path.name if path else "the document"
    if "swagger" in document:
        raise DataError(
            f"{name} is Swagger {document['swagger']}; OpenAPI 3 is read. Convert it: npx swagger2openapi {name}"
        )
    if not str(document["openapi"]).startswith("3."):
        raise DataError(f"{name} is OpenAPI {document['openapi']}; 3.0 to 3.2 are read")
    paths = document.get("paths")
    if not isinstance(paths, Mapping):
        raise DataError(f"{name} has no paths, and so no operations")
    references, collected = References(document, path), Collector()
    info = _mapping(document.get("info"))
    for route, item in paths.items():
        try:
            methods, within = references.resolved(item, path.resolve() if path else None)
        except (Unusable, *MALFORMED) as exc:
            collected.note(route, [str(exc)])
            continue
        for method, operation in _mapping(methods).items():
            if method in METHODS:
                origin = f"{method.upper()} {route}"
                shared = _mapping(methods).get("parameters", [])
                collected.take(
                    origin,
                    lambda: _tool(references, route, method, operation, shared, within, collected),  # noqa: B023
                )
    return Imported(
        kind="openapi",
        tools=tuple(collected.tools),
        left_out=tuple(collected.left_out),
        title=str(info.get("title", "")),
        licence=str(_mapping(info.get("license")).get("name", "")),
    )


def _tool(
    references: References,
    route: str,
    method: str,
    operation: Any,
    shared: Any,
    within: Path | None,
    collected: Collector,
) -> ImportedTool:
    if not isinstance(operation, Mapping):
        raise Unusable("it is no operation")
    if operation.get("deprecated") is True:
        raise Unusable("it is deprecated")
    origin, notes = f"{method.upper()} {route}", list[str]()
    properties: JSON = {}
    required: list[str] = []
    for name, schema, must in _parameters(references, shared, operation, within, notes):
        if name in properties:
            notes.append(f"a second parameter is called {name!r}, and is left out")
            continue
        properties[name] = schema
        required += [name] if must else []
    for name in dict.fromkeys(_IN_PATH.findall(route)):
        if name not in properties:
            notes.append(f"{{{name}}} of its path is described nowhere, and is taken as a required text")
            properties[name] = {"type": "string"}
            required.append(name)
    for name, schema, must in _fields(references, operation, within, notes):
        if name in properties:
            notes.append(f"the field {name!r} of the body has the name of a parameter, and is left out")
            continue
        properties[name] = schema
        required += [name] if must else []
    parameters: JSON = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    collected.note(origin, notes)
    about = str(operation.get("summary") or operation.get("description") or "").strip()
    longer = str(operation.get("description") or "").strip()
    if longer and about and longer != about and len(about) < 30:
        about = f"{about.rstrip('.')}. {longer}"
    return ImportedTool(
        name=function_name(str(operation.get("operationId") or f"{method}_{route}")),
        description=" ".join(about.split()),
        parameters=parameters,
        origin=origin,
        joined=_joined(route, parameters),
    )


def _joined(route: str, parameters: JSON) -> tuple[tuple[str, str], ...]:
    """Neighbours in a path, ``/repos/{owner}/{repo}``: people write them as the path does."""
    pairs = re.findall(r"\{([^{}/]+)\}/(?=\{([^{}/]+)\})", route)
    texts = {name for name, rule in parameters["properties"].items() if rule.get("type") == "string"}
    return tuple((first, second) for first, second in pairs if {first, second} <= texts)


def _parameters(
    references: References, shared: Any, operation: Mapping[str, Any], within: Path | None, notes: list[str]
) -> list[tuple[str, JSON, bool]]:
    """(name, schema, required) of those in path and query; an operation's replace those of its path."""
    found: dict[tuple[str, str], tuple[str, JSON, bool]] = {}
    for listed in (shared, operation.get("parameters", [])):
        if not isinstance(listed, list):
            # an object may stand for more than can be written out: anchors of YAML
            given = "an object" if isinstance(listed, Mapping) else shorten(json.dumps(listed), 40)
            notes.append(f"'parameters' is {given} and no list: none of them is taken")
            continue
        for raw in listed:
            parameter, where = references.resolved(raw, within)
            if not isinstance(parameter, Mapping) or "name" not in parameter:
                raise Unusable("one of its parameters has no name")
            name, place = str(parameter["name"]), parameter.get("in")
            must = bool(parameter.get("required")) or place == "path"
            if place not in ("path", "query", "querystring"):
                if must and name.lower() not in ("authorization", "accept", "content-type"):
                    notes.append(f"the {place} parameter {name!r} is left to who makes the request")
                continue
            content = _mapping(parameter.get("content"))
            schema = parameter.get("schema") or _mapping(next(iter(content.values()), {})).get("schema")
            try:
                references.resolved(schema, where)  # one that leads back to itself says nothing
                unfolded = references.unfolded({} if schema is None else schema, where, notes=notes)
            except Unusable as exc:
                if must:
                    raise Unusable(f"parameter {name!r}: {exc}") from exc
                notes.append(f"the parameter {name!r} is left out: {exc}")
                continue
            if text := " ".join(str(parameter.get("description") or "").split()):
                unfolded = {**unfolded, "description": text}
            found[name, str(place)] = (name, unfolded, must)
    return list(found.values())


def _fields(
    references: References, operation: Mapping[str, Any], within: Path | None, notes: list[str]
) -> list[tuple[str, JSON, bool]]:
    """(name, schema, required) of the fields of the JSON body, or of the body where it is no object."""
    if "requestBody" not in operation:
        return []
    body, where = references.resolved(operation["requestBody"], within)
    content = _mapping(_mapping(body).get("content"))
    kind = next((kind for kind in BODIES if kind in content), None)
    kind = kind or next((kind for kind in content if kind.partition(";")[0].endswith("json")), None)
    must = bool(_mapping(body).get("required"))
    if kind is None:
        if must:
            raise Unusable(f"its body is {', '.join(content) or 'of no stated kind'}, and JSON is needed")
        notes.append(f"its body ({', '.join(content) or 'of no stated kind'}) is left out: it is no JSON")
        return []
    described = _mapping(content[kind]).get("schema", {})
    references.resolved(described, where)
    schema = references.unfolded(described, where, notes=notes)
    try:
        whole = as_object(schema, "the body")
    except Unusable:
        return [(BODY, schema, must)]
    if not whole["properties"]:
        return [(BODY, schema, must)] if schema else []
    if "anyOf" in schema or "oneOf" in schema:
        notes.append("which of the fields of its body go together (anyOf, oneOf) is not kept")
    fields, needed = [], set(whole.get("required", ())) if must or "required" not in _mapping(body) else set()
    for name, part in whole["properties"].items():
        if is_file(part) or is_file(part.get("items") if isinstance(part, dict) else None):
            if name in needed:
                raise Unusable(f"the field {name!r} of its body is a file")
            notes.append(f"the field {name!r} of the body is a file, and is left out")
            continue
        fields.append((name, part if isinstance(part, dict) else {}, name in needed))
    return fields


def function_name(text: str) -> str:
    """`text` as a name that every chat API takes: letters, digits, ``_`` and ``-``, at most 64."""
    name = re.sub(r"_*[^A-Za-z0-9_-]+_*", "_", text[:200]).strip("_-")
    return name[:64].rstrip("_-") or "tool"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
