"""Tools from the API descriptions inside `botocore` and `googleapiclient`: ``botocore:s3``, ``google:calendar``."""

from __future__ import annotations

from typing import get_args

from agentlora.core.errors import DataError, nearest
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import (
    ApiSource,
    Operation,
    first_sentence,
    operation_names,
    read_operations,
    service_files,
)
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool

UNSPOKEN = (
    "it is deprecated, undocumented, or needs what nobody says in a sentence (a policy, a token, a document)"
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
    taken = set()
    for operation in read_operations(source, service, files[service]):
        taken.add(operation.path)
        collected.take(operation.path, lambda: _tool(operation))  # noqa: B023
    for name in operation_names(source, files[service]):
        if name not in taken:
            collected.note(name, [UNSPOKEN])
    return Imported(source, tuple(collected.tools), tuple(collected.left_out), service, "Apache-2.0")


def _tool(operation: Operation) -> ImportedTool:
    properties: JSON = {}
    for param in operation.params:
        text = first_sentence(param.description, 200)
        properties[param.name] = {**param.schema, **({"description": text} if text else {})}
    required = [param.name for param in operation.params if param.required]
    parameters: JSON = {"type": "object", "properties": properties}
    name = "_".join((operation.verb, *operation.noun))[:64]
    return ImportedTool(
        name, operation.description, parameters | ({"required": required} if required else {}), operation.path
    )
