"""MCP servers that ask for a token: it is taken from the environment, and stands in no file and no message."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.provenance import redact
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools

TOKEN = "s3cr3t-of-the-shelf"
HEADER = "Authorization: Bearer ${SHELF_KEY}"
SERVER = """
import os
from mcp.server import MCPServer
server = MCPServer("shelf")
if os.environ.get("API_KEY") == "s3cr3t-of-the-shelf" and os.environ.get("REGION") == "north":
    @server.tool()
    def find_book(title: str) -> str:
        "Find a book by its title."
        return title

server.run()
"""


@pytest.fixture
def url() -> Iterator[str]:
    """Of a server that answers those only who have the token."""
    pytest.importorskip("mcp")
    uvicorn = pytest.importorskip("uvicorn")
    from mcp.server import MCPServer

    server = MCPServer("shelf")

    @server.tool()
    def find_book(title: str) -> str:
        """Find a book by its title."""
        raise AssertionError("a tool was called")

    inner = server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if (
            scope["type"] == "http"
            and dict(scope["headers"]).get(b"authorization") != f"Bearer {TOKEN}".encode()
        ):
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
        else:
            await inner(scope, receive, send)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
        thread.start()
        while not running.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        running.should_exit = True
        thread.join(20)


def test_headers_are_looked_up_when_the_server_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELF_KEY", TOKEN)
    assert [tool.name for tool in import_tools(f"mcp:{url}", [HEADER, "X-Region: north"]).tools] == [
        "find_book"
    ]
    params = parse(UserToolParams, {"tools": f"mcp:{url}", "mcp_headers": [HEADER], "examples": 20})
    assert len(list(UserTools().build("train", params, 0))) == 20
    dumped = params.model_dump(mode="json")
    assert redact(dumped) == dumped  # so a run knows later what it was built with
    assert TOKEN not in json.dumps([dumped, UserTools().card(params)])
    shown = CliRunner().invoke(cli, ["data", "import", f"mcp:{url}", "--mcp-header", HEADER])
    assert shown.exit_code == 0
    assert f"--set 'data.params.mcp_headers=[\"{HEADER}\"]'" in " ".join(shown.output.split())
    assert TOKEN not in shown.output
    with pytest.raises(DataError, match="cannot be asked") as told:
        import_tools(f"mcp:{url}")
    monkeypatch.setenv("SHELF_KEY", "wrong-key-of-somebody")
    with pytest.raises(DataError, match="cannot be asked") as told_wrong:
        import_tools(f"mcp:{url}", [HEADER])
    assert "wrong-key" not in f"{told.value} {told_wrong.value}"


def test_variables_reach_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "server.py").write_text(SERVER)
    command = f"mcp:{sys.executable} {tmp_path / 'server.py'}"
    monkeypatch.setenv("SHELF_KEY", TOKEN)
    monkeypatch.setenv("API_KEY", TOKEN)  # which a server does not get unless it is named
    found = import_tools(command, environment=["API_KEY=${SHELF_KEY}", "REGION=north"])
    assert [tool.name for tool in found.tools] == ["find_book"]
    with pytest.raises(DataError, match="no tool that can be used"):
        import_tools(command)


def test_what_is_not_in_the_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp")
    monkeypatch.delenv("SHELF_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment has no SHELF_KEY: export it first"):
        import_tools("mcp:http://127.0.0.1:9/mcp", [HEADER])
    monkeypatch.setenv("SHELF_KEY", "two\nlines-of-it")
    with pytest.raises(ConfigError, match="a line break") as told:
        import_tools("mcp:http://127.0.0.1:9/mcp", [HEADER])
    assert "lines-of-it" not in str(told.value)


@pytest.mark.parametrize(
    ("key", "entry", "why"),
    [
        ("mcp_headers", "Authorization: Bearer opensesame123", r"'Authorization: \$\{MY_TOKEN\}'"),
        ("mcp_headers", "X-Api-Key: opensesame123", "looks like a secret"),
        ("mcp_headers", "Cookie: id=opensesame123", "looks like a secret"),
        ("mcp_headers", "X-Any: hf_opensesame123opensesame123 ${A}", "looks like a secret"),
        ("mcp_headers", "Bearer opensesame123", "number 1 is not"),
        ("mcp_env", "API_KEY=opensesame123", r"'API_KEY=\$\{MY_TOKEN\}'"),
        ("mcp_env", "opensesame123", "'Name=value', and number 1 is not"),
    ],
)
def test_secrets_that_are_written_out_are_refused_before_anything_is_written(
    key: str, entry: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as told:
        parse(UserToolParams, {"tools": "mcp:x", key: [entry]}, "data.params")
    assert "opensesame" not in str(told.value)


def test_headers_are_for_servers_at_a_url(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is a command"):
        import_tools("mcp:python server.py", [HEADER])
    with pytest.raises(ConfigError, match="which is a URL"):
        import_tools("mcp:http://127.0.0.1:9/mcp", environment=["A=b"])
    with pytest.raises(ConfigError, match="are for MCP servers"):
        import_tools(str(tmp_path / "shop.yaml"), [HEADER])
