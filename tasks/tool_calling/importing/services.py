"""Tools from the API descriptions inside `botocore` and `googleapiclient`: ``botocore:s3``, ``google:calendar``."""

from __future__ import annotations

import re
from typing import get_args

from agentlora.core.errors import DataError, nearest
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import (
    LONGEST_TEXT,
    ApiSource,
    Operation,
    Refused,
    all_operations,
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
    for operation in all_operations(source, service, files[service]):
        collected.take(operation.path, lambda: _tool(operation))  # noqa: B023
    return Imported(source, tuple(collected.tools), tuple(collected.left_out), service, "Apache-2.0")


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
