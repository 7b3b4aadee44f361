"""Tools from an MCP server: a command that talks over its standard input and output, or a URL."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import Any

from agentlora.core.errors import DataError, needs_extra
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.schemas import References, as_object
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool

PATIENCE = 60.0  # seconds, for the server to start and to list its tools
MOST_PAGES = 200


def import_mcp(server: str) -> Imported:
    """The tools that a server lists. None of them is called.

    Args:
        server: a command line, or a URL of the streamable HTTP transport.

    Raises:
        MissingExtra: the SDK is not installed.
        DataError: the server cannot be started or reached, or does not answer in time.
    """
    with needs_extra("train", "reading tools from an MCP server"):
        import mcp
    try:
        listed, name = asyncio.run(asyncio.wait_for(_listed(server), PATIENCE))
    except TimeoutError as exc:
        raise DataError(f"the MCP server {server!r} did not list its tools within {PATIENCE:.0f} s") from exc
    except DataError:
        raise
    except BaseExceptionGroup as exc:
        raise DataError(f"the MCP server {server!r} cannot be asked: {_first(exc)}") from exc
    except (OSError, ValueError, mcp.MCPError, RuntimeError) as exc:
        raise DataError(f"the MCP server {server!r} cannot be asked: {exc}") from exc
    collected = Collector()
    for tool in listed:
        origin = str(tool.get("name"))
        collected.take(origin, lambda: _tool(tool, collected))  # noqa: B023
    return Imported("mcp", tuple(collected.tools), tuple(collected.left_out), title=name)


async def _listed(server: str) -> tuple[list[JSON], str]:
    from mcp import Client, StdioServerParameters, stdio_client

    transport: Any = server
    if not server.startswith(("http://", "https://")):
        words = shlex.split(server)
        if not words:
            raise DataError("an MCP server is a command or a URL, and there is none")
        transport = stdio_client(StdioServerParameters(command=words[0], args=words[1:]), errlog=sys.stderr)
    async with Client(transport) as client:
        tools: list[JSON] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += [tool.model_dump(by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        info = client.server_info
        return tools, str(getattr(info, "name", "") or "")


def _tool(tool: JSON, collected: Collector) -> ImportedTool:
    raw = tool.get("inputSchema") or {"type": "object", "properties": {}}
    notes: list[str] = []
    parameters = as_object(References(raw).unfolded(raw, notes=notes), "its schema")
    collected.note(str(tool["name"]), notes)
    about = " ".join(str(tool.get("description") or tool.get("title") or "").split())
    return ImportedTool(str(tool["name"]), about, parameters, str(tool["name"]))


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
