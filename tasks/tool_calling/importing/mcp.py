"""Tools from an MCP server: a command that talks over its standard input and output, or a URL."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from agentlora.core.errors import ConfigError, DataError, needs_extra
from agentlora.core.provenance import redact, redact_text
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.schemas import References, as_object
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool

PATIENCE = 60.0  # seconds, for the server to start and to list its tools
MOST_PAGES = 200
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_HEADERS = ("cookie", "proxy-authorization")  # beside those that records black out


def named_values(entries: Sequence[str], mark: str) -> dict[str, str]:
    """``Name: value`` (mark ``:``) or ``NAME=value`` (mark ``=``) texts by name. The values may name environment
    variables, ``${NAME}``, which stay as they are: these texts are written into a run's files.

    Raises:
        ValueError: one has no name or no value, or holds what looks like a secret.
    """
    found = {}
    for number, entry in enumerate(entries, 1):
        name, _, value = (part.strip() for part in entry.partition(mark))
        form = f"Name{mark}{' ' * (mark == ':')}value"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not value:
            raise ValueError(f"each of them is {form!r}, and number {number} is not.")
        written = _VARIABLE.sub("", value)
        named = written != value
        secret = redact_text(written) != written or (
            not named and (redact({name: value}) != {name: value} or name.lower() in _SECRET_HEADERS)
        )
        if secret:
            raise ValueError(
                f"the value of {name} looks like a secret, and would be written into the run's files. Put it into an "
                f"environment variable, and name that: '{form.replace('Name', name).replace('value', '${MY_TOKEN}')}'."
            )
        found[name] = value
    return found


def _expanded(entries: Sequence[str], mark: str) -> dict[str, str]:
    """`named_values` with what the environment says. Raises ConfigError."""
    found = {}
    for name, value in named_values(entries, mark).items():
        for variable in _VARIABLE.findall(value):
            if not os.environ.get(variable):
                raise ConfigError(
                    f"{name} of the MCP server is {value!r}, and the environment has no {variable}: export it first."
                )
        found[name] = _VARIABLE.sub(lambda variable: os.environ[variable[1]], value)
        if mark == ":" and not (found[name].isascii() and found[name].isprintable()):
            raise ConfigError(
                f"{name} of the MCP server is {value!r}, and holds a line break or another character that no header "
                "may have: look at what the environment says."
            )
    return found


def import_mcp(server: str, headers: Sequence[str] = (), environment: Sequence[str] = ()) -> Imported:
    """The tools that a server lists. None of them is called.

    Args:
        server: a command line, or a URL of the streamable HTTP transport.
        headers: of requests to a URL, as `named_values` has them; what they name in the environment is looked up here.
        environment: variables of a command, likewise; beside these it gets a few harmless ones only (``PATH``, …).

    Raises:
        ConfigError: there are headers for a command, an environment for a URL, or what they name is not set.
        MissingExtra: the SDK is not installed.
        DataError: the server cannot be started or reached, or does not answer in time.
    """
    with needs_extra("train", "reading tools from an MCP server"):
        import mcp
    remote = server.startswith(("http://", "https://"))
    if wrong := environment if remote else headers:
        what = ("environment variables", "a URL") if remote else ("headers", "a command")
        raise ConfigError(
            f"{what[0]} ({len(wrong)}) are given for the MCP server {server!r}, which is {what[1]}."
        )
    given = _expanded(headers, ":") if remote else _expanded(environment, "=")
    try:
        listed, name = asyncio.run(asyncio.wait_for(_listed(server, given, remote), PATIENCE))
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


async def _listed(server: str, given: dict[str, str], remote: bool) -> tuple[list[JSON], str]:
    """(tools, name of the server). `given`: headers where it is `remote`, environment where it is a command."""
    from mcp import Client, StdioServerParameters, stdio_client

    async with AsyncExitStack() as stack:
        transport: Any = server
        if remote and given:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            # what the SDK does without headers: it follows redirects within the server's own host only
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=given, timeout=PATIENCE))
            transport = streamable_http_client(server, http_client=http)
        elif not remote:
            words = shlex.split(server)
            if not words:
                raise DataError("an MCP server is a command or a URL, and there is none")
            started = StdioServerParameters(command=words[0], args=words[1:], env=given or None)
            transport = stdio_client(started, errlog=sys.stderr)
        client = await stack.enter_async_context(Client(transport))
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
