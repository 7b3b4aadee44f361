"""The requests of benchmarks/own_tools.py: enough of them, right for their tools, and with arguments that they say."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.user_tools import UserToolParams, read_tools, unspoken
from agentlora.tasks.tool_calling.written import written_requests

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
spec = importlib.util.spec_from_file_location("own_tools_benchmark", BENCHMARKS / "own_tools.py")
assert spec
assert spec.loader
own_tools = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own_tools)
# GitHub's document is given by its path, and is not here
HERE = [name for name, source in own_tools.SOURCES.items() if source.tools]


def tools_of(name: str) -> list[ImportedTool]:
    if package := own_tools.SOURCES[name].package:
        pytest.importorskip(package)
    return imported(name)


@functools.cache
def imported(name: str) -> list[ImportedTool]:
    source = own_tools.SOURCES[name]
    read = read_tools(source.tools, UserToolParams().tool_tokens, source.only)
    assert not unspoken(read, 0)
    return [pruned.tool for pruned in read.pruned]


@pytest.mark.parametrize("name", own_tools.SOURCES)
def test_every_source_has_fifty_requests_and_every_operation_is_asked_for(name: str) -> None:
    source = own_tools.SOURCES[name]
    rows = read_document(source.requests)
    assert len({row["request"] for row in rows}) == len(rows) >= 50
    assert sum(row.get("split") == "dev" for row in rows) >= 12
    assert {key for row in rows for key in row} == {"request", "split", "calls", "none", "missing"}
    called = {call["name"] for row in rows for call in row.get("calls", ())}
    assert called == set(source.only) or not source.only


@pytest.mark.parametrize("name", HERE)
def test_requests_fit_their_tools(name: str) -> None:
    source, tools = own_tools.SOURCES[name], tools_of(name)
    assert len(tools) == len(source.only) or not source.only
    rows = read_document(source.requests)
    for split in ("dev", "test"):
        found = written_requests(source.requests, UserToolParams(), split, 0, tools)
        assert len(found) == sum(row.get("split", "test") == split for row in rows)
    called = {call["name"] for row in rows for call in row.get("calls", ())}
    assert called == {tool.name for tool in tools}


@pytest.mark.parametrize("name", HERE)
def test_a_request_says_the_arguments_of_its_calls(name: str) -> None:
    """A text must stand in the request as it is; numbers, dates and choices may be said in other words."""
    schemas = {tool.name: tool.parameters for tool in tools_of(name)}
    for row in read_document(own_tools.SOURCES[name].requests):
        for call in row.get("calls", ()):
            for text in free_texts(call["arguments"], schemas[call["name"]]):
                assert text in row["request"], row["request"]


def free_texts(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from free_texts(member, schema["properties"][key])
    elif isinstance(value, list):
        for member in value:
            yield from free_texts(member, schema.get("items", {}))
    elif isinstance(value, str) and "enum" not in schema:
        yield value[:4] if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", value) else value


def test_a_call_that_a_tool_does_not_take_is_found(tmp_path: Path) -> None:
    wrong = (BENCHMARKS / "own_tools" / "parcels.yaml").read_text().replace("KP40028811}", "KP4002881}")
    (tmp_path / "wrong.yaml").write_text(wrong)
    with pytest.raises(DataError, match="KP4002881"):
        written_requests(tmp_path / "wrong.yaml", UserToolParams(), "test", 0, tools_of("parcels"))


@pytest.mark.parametrize(
    "words", [["--source", "s3", "some.json"], ["--source", "github"], ["--source", "s4"]]
)
def test_a_document_is_for_github_and_github_needs_one(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_tools.py", "--output", "run", *words])
    with pytest.raises(SystemExit, match="2"):
        own_tools.main()


def test_the_timesheet_is_a_server_that_works(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    from mcp import Client, StdioServerParameters, stdio_client

    script = str(BENCHMARKS / "own_tools" / "timesheet.py")
    command = StdioServerParameters(command=sys.executable, args=[script, str(tmp_path / "hours.sqlite")])

    async def work() -> list[Any]:
        async with Client(stdio_client(command)) as client:
            day = {"project": "Harbour", "minutes": 90, "day": "2026-11-03"}
            return [
                await client.call_tool(name, arguments)
                for name, arguments in (
                    ("log_time", day),
                    ("add_project", {"name": "Harbour", "client": "Tidepool", "hourly_rate": 80}),
                    ("start_timer", {"project": "Harbour"}),
                    ("stop_timer", {}),
                    ("log_time", day),
                    ("summarise", {"since": "2026-11-03", "until": "2026-11-03", "group_by": "client"}),
                    ("delete_entry", {"entry_id": 1}),
                    ("create_invoice", {"client": "Tidepool", "month": "2026-11"}),
                    ("list_entries", {"until": "2026-11-02"}),
                )
            ]

    unknown, *done, summary, deleted, invoice, none = asyncio.run(work())
    assert unknown.is_error
    assert not any(answer.is_error for answer in (*done, deleted))
    assert summary.structured_content["result"] == [{"client": "Tidepool", "hours": 1.5, "euros": 120}]
    assert invoice.structured_content["euros"] == 120
    assert none.structured_content["result"] == []
