"""Which importer a source is for: one text says where tools are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentlora.core.errors import ConfigError, DataError
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.functions import import_folder, import_functions, is_functions
from agentlora.tasks.tool_calling.importing.mcp import import_mcp
from agentlora.tasks.tool_calling.importing.modules import module_file
from agentlora.tasks.tool_calling.importing.openapi import import_openapi, is_openapi
from agentlora.tasks.tool_calling.importing.python import import_python
from agentlora.tasks.tool_calling.importing.schemas import without_default_nulls
from agentlora.tasks.tool_calling.importing.services import (
    SOURCES,
    format_of,
    import_description,
    import_service,
)
from agentlora.tasks.tool_calling.importing.types import Imported

KNOWN = """
  FILE.json, FILE.yaml     an OpenAPI 3 document, or functions in OpenAI's format;
                           a discovery document of Google, a service-2.json of botocore
  DIRECTORY                of such functions
  FILE.py, PACKAGE.MODULE  Python functions with type hints; read, never run
  mcp:COMMAND, mcp:URL     an MCP server: "mcp:python server.py", "mcp:http://localhost:8000/mcp"
  botocore:SERVICE         an API of Amazon, as its package describes it; google:SERVICE likewise"""


def import_tools(source: str, headers: Sequence[str] = (), environment: Sequence[str] = ()) -> Imported:
    """The tools of a source; see `KNOWN` for what it may be.

    Args:
        headers: ``Name: value`` for an MCP server at a URL, which may name environment variables (``${NAME}``).
        environment: ``NAME=value`` for one that is a command, likewise.

    Raises:
        ConfigError: an MCP server needs what is not there, or headers or variables are given for something else.
        DataError: there is nothing there, it is of no known kind, or it holds no usable tool.
        MissingExtra: a package that reads it is not installed.
    """
    scheme, _, rest = source.partition(":")
    if scheme != "mcp" and (headers or environment):
        raise ConfigError(f"headers and environment variables are for MCP servers, and {source} is none.")
    imported = import_mcp(rest, headers, environment) if scheme == "mcp" else _imported(source)
    tools = [replace(tool, parameters=without_default_nulls(tool.parameters)) for tool in imported.tools]
    imported = replace(imported, tools=tuple(tools))
    if not imported.tools:
        reasons = "".join(f"\n  {row.what}: {row.why}" for row in imported.left_out[:5])
        raise DataError(f"{source} has no tool that can be used.{reasons}")
    return imported


def _imported(source: str) -> Imported:
    scheme, _, rest = source.partition(":")
    if scheme in SOURCES:
        return import_service(scheme, rest)
    if re.match(r"https?://", source):
        raise DataError(
            f"{source} is not fetched. Download it, and give the file; an MCP server is given as mcp:{source}"
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return import_folder(path)
    if path.suffix == ".py":
        return import_python(path)
    if not path.exists():
        module = module_file(source)
        if module is None:
            raise DataError(
                f"no tools at {source!r}: there is no such file or module. What can be given:{KNOWN}"
            )
        return import_python(module)
    document = read_document(path)
    if is_openapi(document):
        return import_openapi(document, path)
    if described := format_of(document):  # before functions: they have a name and parameters too
        return import_description(described, document, path.name)
    if is_functions(document):
        return import_functions(document, path.name)
    raise DataError(
        f"{source} is neither an OpenAPI document nor functions nor an API description. "
        f"What can be given:{KNOWN}"
    )
