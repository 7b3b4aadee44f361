"""Importers of what runs elsewhere: Python functions, MCP servers, the descriptions in installed packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from imported import by_name, whys

from agentlora.core import schema
from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing import services
from agentlora.tasks.tool_calling.importing.source import import_tools

PYTHON = '''
import datetime
import enum
import subprocess
from dataclasses import dataclass
from typing import Annotated, Literal, Optional, TypedDict
from pydantic import BaseModel, Field

raise RuntimeError("this file was run")

class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"

@dataclass
class Place:
    """A place.

    Attributes:
        city: Name of the city.
    """
    city: str
    zip: str | None = None

class Guest(BaseModel):
    name: str = Field(..., description="Full name", min_length=2)
    age: int = Field(default=30, ge=0)

class Options(TypedDict, total=False):
    fast: bool

Pair = tuple[float, float]

def forecast(where: Place, day: datetime.date, unit: Unit = Unit.METRIC,
             hours: Annotated[int, Field(ge=1, le=48)] = 24, *args, **kwargs) -> str:
    """Forecast the weather.

    Longer text.

    Args:
        where: The place
            that is meant.
        day: The day.
    """

async def invite(guests: list[Guest], at: Optional[datetime.datetime] = None,
                 how: Literal["mail", "phone"] = "mail", options: "Options | None" = None, near: Pair = (0, 0)) -> None:
    """Invite people.

    :param guests: Who comes.
    :param how: How they are told.
    """

def old(x, n: Unknown = 3):
    """Does it.

    Parameters
    ----------
    x : int
        A number.
    """

def _private(): ...

def search(q: str = Field(description="What to look for", min_length=1),
           tags: Annotated[list[str], Field(min_length=2)] = ["a", "b"]):
    """Search."""

class Order(base.Order): ...

def place(order: Order, matrix):
    """Place it.

    Parameters
    ----------
    matrix : array of float
    """

class Service:
    def method(self): ...
'''


def test_python_functions_are_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(PYTHON)
    imported = import_tools(str(tmp_path / "tools.py"))
    tools = by_name(imported)
    assert list(tools) == ["forecast", "invite", "old", "search", "place"]
    assert tools["search"].parameters["required"] == ["q"]
    assert tools["search"].parameters["properties"]["q"]["description"] == "What to look for"
    assert tools["search"].parameters["properties"]["tags"]["minItems"] == 2
    assert tools["place"].parameters["properties"] == {"order": {}, "matrix": {}}
    place = {"type": "object", "properties": {"city": {"type": "string", "description": "Name of the city."},
             "zip": {"type": ["string", "null"]}}, "required": ["city"]}  # fmt: skip
    assert tools["forecast"].description == "Forecast the weather. Longer text."
    assert tools["forecast"].parameters == {
        "type": "object",
        "properties": {
            "where": {**place, "description": "The place that is meant."},
            "day": {"type": "string", "format": "date", "description": "The day."},
            "unit": {"type": "string", "enum": ["metric", "imperial"]},
            "hours": {"type": "integer", "minimum": 1, "maximum": 48, "default": 24},
        },
        "required": ["where", "day"],
    }
    invite = tools["invite"].parameters["properties"]
    assert invite["guests"]["description"] == "Who comes."
    assert invite["guests"]["items"]["properties"]["name"] == {
        "type": "string", "description": "Full name", "minLength": 2}  # fmt: skip
    assert invite["guests"]["items"]["required"] == ["name"]
    assert invite["at"] == {"type": "string", "format": "date-time"}
    assert invite["how"] == {"type": "string", "enum": ["mail", "phone"], "default": "mail",
                             "description": "How they are told."}  # fmt: skip
    assert invite["options"] == {"type": "object", "properties": {"fast": {"type": "boolean"}}}
    assert invite["near"]["prefixItems"] == [{"type": "number"}] * 2
    assert tools["old"].parameters["properties"]["x"] == {"type": "integer", "description": "A number."}
    text = whys(imported)
    assert "*args is left out" in text
    assert "**kwargs is left out" in text
    assert "parameter 'n': the type Unknown is not known" in text
    for tool in imported.tools:
        assert schema.check_schema(tool.parameters) == []


def test_a_module_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "pack" / "mine.py").write_text(
        '__all__ = ["_open"]\ndef _open(name: str):\n    "Opens."\ndef no(): ...'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(by_name(import_tools("pack.mine"))) == ["_open"]
    (tmp_path / "bad.py").write_text("def f(:")
    with pytest.raises(DataError, match=r"is no Python 3\.\d+ in line 1"):
        import_tools(str(tmp_path / "bad.py"))


SERVER = """
import json, sys
from mcp.server import MCPServer
server = MCPServer("shelf")

@server.tool()
def find_book(title: str, copies: int = 1) -> str:
    "Find a book by its title."
    raise SystemExit("a tool was called")

server.run()
"""


def test_an_mcp_server_is_asked_for_its_tools_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "server.py").write_text(SERVER)
    imported = import_tools(f"mcp:{sys.executable} {tmp_path / 'server.py'}")
    assert imported.title == "shelf"
    (tool,) = imported.tools
    assert (tool.name, tool.description) == ("find_book", "Find a book by its title.")
    assert tool.parameters["required"] == ["title"]
    assert schema.is_valid(tool.parameters, {"title": "x", "copies": 2})


def test_an_mcp_server_that_is_none_is_said_to_be_so() -> None:
    pytest.importorskip("mcp")
    with pytest.raises(DataError, match="cannot be asked"):
        import_tools("mcp:no-such-command-here")
    with pytest.raises(DataError, match="is a command or a URL"):
        import_tools("mcp: ")
    with pytest.raises(DataError, match=r"cannot be asked|did not list"):
        import_tools("mcp:http://127.0.0.1:9/mcp")


def test_api_descriptions_of_installed_packages() -> None:
    pytest.importorskip("botocore")
    imported = import_tools("botocore:sqs")
    tools = by_name(imported)
    assert "create_queue" in tools
    assert tools["create_queue"].parameters["required"] == ["QueueName"]
    assert imported.left_out
    with pytest.raises(DataError, match="Did you mean 'sqs'"):
        import_tools("botocore:sqss")


def test_operations_with_short_descriptions_are_taken_and_others_told_why() -> None:
    pytest.importorskip("googleapiclient")
    pytest.importorskip("botocore")
    tools = by_name(import_tools("google:calendar"))
    assert {"insert_event", "delete_event", "update_event"} <= tools.keys()
    assert tools["insert_event"].description == "Creates an event."
    sns = import_tools("botocore:sns")
    assert "Message" in by_name(sns)["publish"].parameters["required"]  # a name of one word
    assert "ConfirmSubscription: it requires 'Token', which nobody says" in whys(sns)


def test_what_an_operation_s_description_lacks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = {"": "Nothing", "Warning!": "Warn", "Opens a door.": "Open", "This is deprecated.": "Old",
                 "Lists reserved rooms.": "List"}  # fmt: skip
    methods = {name.lower(): {"id": name, "description": text} for text, name in described.items()}
    methods["gone"] = {"id": "Gone", "description": "Closes a door.", "deprecated": True}
    path = tmp_path / "house.v1.json"
    path.write_text(json.dumps({"resources": {"doors": {"methods": methods}}}))
    monkeypatch.setattr(services, "service_files", lambda source: {"house": path})
    imported = services.import_service("google", "house")
    assert list(by_name(imported)) == ["open_door", "list_doors"]
    assert {row.what: row.why.partition(":")[0] for row in imported.left_out} == {
        "Nothing": "its description says nothing",
        "Warn": "its description says only 'Warning!'",
        "Old": "its description says 'is deprecated'",
        "Gone": "it is deprecated",
    }


GREETER = """
from typing import Annotated, Literal, Optional
import typer
from kinds import Level, Priority
from kinds import Warm as Hot
import kinds

def greet(name: Annotated[str, typer.Argument(help="Who is  greeted.")], level: Level, first: kinds.Priority,
          times: Annotated[int, typer.Option("--times", help="How often.")] = 1,
          how: Optional[Priority] = typer.Option(None, help="How urgently."),
          colour: Literal[Hot, "grey"] = "grey", where: str = typer.Argument(..., help="Where."),
          size: int = typer.Option(3, "--size")):
    "Greets somebody."
"""
KINDS = """
import enum
from typing import Annotated, Literal
from pydantic import Field

class Colour(enum.Enum):
    RED = "red"

Priority = Literal["low", "high"]
Level = Annotated[int, Field(ge=1, le=5)]
Warm = Literal[Colour.RED]
"""


def test_help_of_command_lines_and_aliases_of_other_modules_are_read(tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(GREETER)
    (tmp_path / "kinds.py").write_text(KINDS)
    imported = import_tools(str(tmp_path / "greeter.py"))
    (tool,) = imported.tools
    assert imported.left_out == ()
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Who is greeted."},
            "level": {"type": "integer", "minimum": 1, "maximum": 5},
            "first": {"type": "string", "enum": ["low", "high"]},
            "times": {"type": "integer", "description": "How often.", "default": 1},
            "how": {"type": "string", "enum": ["low", "high"], "description": "How urgently."},
            "colour": {"type": "string", "enum": ["red", "grey"], "default": "grey"},
            "where": {"type": "string", "description": "Where."},
            "size": {"type": "integer", "default": 3},
        },
        "required": ["name", "level", "first", "where"],
    }
