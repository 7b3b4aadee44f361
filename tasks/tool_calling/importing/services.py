"""Tools from API descriptions as Amazon and Google write them: those inside `botocore` and `googleapiclient`
(``botocore:s3``, ``google:calendar``), and files of one's own (``service-2.json``, a discovery document).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from agentlora.core.errors import DataError, nearest
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import (
    LONGEST_TEXT,
    ApiSource,
    Operation,
    Refused,
    all_operations,
    described,
    first_sentence,
    service_files,
)
from agentlora.tasks.tool_calling.importing.pruning import MARKED
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool, Unusable

_NOT_TO_BE_USED = re.compile(
    r"^deprecated\b|\b(?:is|are|been) deprecated\b|\bdo not use\b|\binternal use\b", re.I
)
SOURCES: tuple[ApiSource, ...] = get_args(ApiSource)


def import_service(source: ApiSource, service: str) -> Imported:
    """The operations of one service whose required parameters can be said in a sentence.

    Raises:
        MissingExtra: the package is not installed. DataError: it has no such service.
    """
    files = service_files(source)
    if service not in files:
        raise DataError(f"{source} has no service {service!r}.{nearest(service, files)}")
    collected = Collector()
    for operation in all_operations(source, service, described(files[service])):
        collected.take(operation.path, lambda: _tool(operation))  # noqa: B023
    return Imported(source, tuple(collected.tools), tuple(collected.left_out), service, "Apache-2.0")


def format_of(document: Any) -> ApiSource | None:
    """Whose API descriptions a document is one of, by its shape; None of any other document."""
    if not isinstance(document, Mapping):
        return None
    if (
        document.get("kind") == "discovery#restDescription"
        or {"discoveryVersion", "resources"} <= document.keys()
    ):
        return "google"
    parts = ("metadata", "operations", "shapes")
    return "botocore" if all(isinstance(document.get(part), Mapping) for part in parts) else None


def import_description(source: ApiSource, document: Mapping[str, Any], name: str) -> Imported:
    """The operations of a file of one's own, as `import_service` takes them. One that is malformed costs no other."""
    collected = Collector()
    for origin, alone in (_aws_operations if source == "botocore" else _google_operations)(document):
        collected.take(origin, lambda: _tool(next(all_operations(source, name, alone))))  # noqa: B023
    about = document if source == "google" else document["metadata"]
    title = about.get("title") or about.get("serviceFullName") or name
    return Imported(source, tuple(collected.tools), tuple(collected.left_out), str(title))


def _aws_operations(document: Mapping[str, Any]) -> Iterator[tuple[str, JSON]]:
    """(where it stands, a description of nothing else) of each operation."""
    for name, operation in document["operations"].items():
        yield name, {"operations": {name: operation}, "shapes": document["shapes"]}


def _google_operations(document: Mapping[str, Any]) -> Iterator[tuple[str, JSON]]:
    """The same; methods of no resource are those of the API itself."""
    name, schemas = str(document.get("name") or "api"), document.get("schemas") or {}
    stack: list[tuple[str, Any]] = [
        (name, {key: document.get(key) or {} for key in ("methods", "resources")})
    ]
    while stack:
        resource, body = stack.pop()
        parts = body if isinstance(body, Mapping) else {"methods": body}
        methods = parts.get("methods") or {}
        for method, given in methods.items() if isinstance(methods, Mapping) else [(resource, methods)]:
            origin = f"{resource}.{method}"
            if isinstance(given, Mapping):
                origin = str(given.get("id") or origin)
                given = {**given, "id": origin}
            yield origin, {"resources": {resource: {"methods": {method: given}}}, "schemas": schemas}
        inner = parts.get("resources") or {}
        named = list(inner.items()) if isinstance(inner, Mapping) else [(f"{resource}.resources", inner)]
        stack += reversed(named)


def _tool(operation: Operation | Refused) -> ImportedTool:
    if isinstance(operation, Refused):
        raise Unusable(operation.why)
    if len(operation.description.split()) < 2:
        said = f"only {operation.description!r}" if operation.description else "nothing"
        raise Unusable(f"its description says {said}: two words are the least that tell what it does")
    if found := _NOT_TO_BE_USED.search(operation.description):
        raise Unusable(f"its description says {found[0]!r}")
    properties: JSON = {}
    for param in operation.params:
        text = _about(param.description)
        properties[param.name] = {**param.schema, **({"description": text} if text else {})}
    required = [param.name for param in operation.params if param.required]
    parameters: JSON = {"type": "object", "properties": properties}
    name = "_".join((operation.verb, *operation.noun))[:64]
    return ImportedTool(
        name, operation.description, parameters | ({"required": required} if required else {}), operation.path
    )


def _about(description: str) -> str:
    """The first sentence, and the one that says that the parameter is not to be given, where there is such."""
    text = first_sentence(description, 200)
    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"<[^>]+>", " ", description[:LONGEST_TEXT]).strip())
    warning = next((" ".join(said.split()) for said in sentences if MARKED.search(said)), "")
    return text if not warning or MARKED.search(text) else f"{text} {warning[:120]}".strip()
