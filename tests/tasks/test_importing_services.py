"""API descriptions in files of one's own, as Google and Amazon write them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from imported import by_name, whys

from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing import documents
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.user_tools import read_tools, unspoken


def method(about: str, *required: str, **more: Any) -> dict[str, Any]:
    parameters = {name: {"type": "string", "required": True, "location": "path"} for name in required}
    return {"description": about, "parameters": parameters, **more}


DISCOVERY: dict[str, Any] = {
    "kind": "discovery#restDescription",
    "name": "library",
    "title": "Library API",
    "description": "Lends books.",
    "parameters": {"alt": {"type": "string"}},
    "schemas": {
        "Loan": {"properties": {"days": {"type": "integer", "description": "Required. For how long."}}}
    },
    "methods": {"search": method("Searches the whole library.", "words", id="library.search")},
    "resources": {
        "books": {
            "methods": {
                "lend": method("Lends a book.", "bookId", request={"$ref": "Loan"}, id="library.books.lend"),
                "burn": method("Burns a book.", deprecated=True),
                "broken": ["no method"],
            },
            "resources": {"pages": {"methods": {"get": method("Gets a page.", "bookId", "number")}}},
        },
        "bad": 7,
    },
}
SERVICE: dict[str, Any] = {
    "metadata": {"serviceFullName": "Amazing Lamp Service", "apiVersion": "2026-01-01"},
    "operations": {
        "SwitchLamp": {"input": {"shape": "Switch"}, "documentation": "<p>Switches a lamp. And more.</p>"},
        "LoseLamp": {"input": {"shape": "Lost"}, "documentation": "<p>Loses a lamp.</p>"},
    },
    "shapes": {
        "Switch": {"type": "structure", "required": ["LampName"], "members": {
            "LampName": {"shape": "Name"}, "Level": {"shape": "Level"}}},
        "Lost": {"type": "structure", "members": {"Where": {"shape": "Nowhere"}}},
        "Name": {"type": "string"},
        "Level": {"type": "integer", "min": 0, "max": 100},
    },
}  # fmt: skip


def test_a_discovery_document_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "library.json").write_text(json.dumps(DISCOVERY))
    imported = import_tools(str(tmp_path / "library.json"))
    assert (imported.kind, imported.title, imported.licence) == ("google", "Library API", "")
    tools = by_name(imported)
    assert list(tools) == ["search_library", "lend_book", "get_page"]
    assert tools["lend_book"].parameters == {
        "type": "object",
        "properties": {
            "bookId": {"type": "string"},
            "days": {"type": "integer", "description": "For how long."},
        },
        "required": ["bookId", "days"],
    }
    assert tools["get_page"].origin == "pages.get"
    text = whys(imported)
    assert "books.burn: it is deprecated" in text
    assert "books.broken: it is not what its format asks for" in text
    assert "bad.bad: it is not what its format asks for" in text
    assert not unspoken(read_tools(str(tmp_path / "library.json"), 250), 0)


@pytest.mark.parametrize("packed", [False, True])
def test_a_description_as_botocore_has_them_is_read(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / ("service-2.json.gz" if packed else "service-2.json")
    raw = json.dumps(SERVICE).encode()
    file.write_bytes(gzip.compress(raw) if packed else raw)
    imported = import_tools(str(file))
    assert (imported.kind, imported.title) == ("botocore", "Amazing Lamp Service")
    (tool,) = imported.tools
    assert (tool.name, tool.description) == ("switch_lamp", "Switches a lamp.")
    assert tool.parameters["properties"]["Level"] == {"type": "integer", "minimum": 0, "maximum": 100}
    assert tool.parameters["required"] == ["LampName"]
    assert whys(imported) == "LoseLamp: it is not what its format asks for (KeyError: 'Nowhere')"


def test_descriptions_of_installed_packages_say_the_same_as_files(tmp_path: Path) -> None:
    pytest.importorskip("botocore")
    pytest.importorskip("googleapiclient")
    from agentlora.tasks.tool_calling.api_sources import service_files

    for source in ("botocore:sqs", "google:calendar"):
        kind, _, service = source.partition(":")
        path = service_files(kind)[service]  # type: ignore[arg-type]
        file = tmp_path / path.name
        file.write_bytes(path.read_bytes())
        own, installed = import_tools(str(file)), import_tools(source)
        assert own.tools == installed.tools
        assert own.left_out == installed.left_out
        assert own.kind == installed.kind


def test_a_folder_of_functions_takes_no_description_for_a_function(tmp_path: Path) -> None:
    (tmp_path / "library.json").write_text(json.dumps(DISCOVERY))
    (tmp_path / "ring.json").write_text('{"name": "ring", "description": "Rings a bell."}')
    imported = import_tools(str(tmp_path))
    assert list(by_name(imported)) == ["ring"]
    assert whys(imported) == "library.json: it is an API description as google has them: give the file itself"


def test_hostile_descriptions_are_refused_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested: dict[str, Any] = {"methods": {"get": method("Gets it all.", "x")}}
    for _ in range(150):
        nested = {"resources": {"part": nested}}
    (tmp_path / "deep.json").write_text(json.dumps({"kind": "discovery#restDescription", **nested}))
    assert list(by_name(import_tools(str(tmp_path / "deep.json")))) == ["get_part"]
    for number, change in enumerate(({"schemas": 3}, {"resources": [1]}, {"methods": None, "resources": {}})):
        file = tmp_path / f"wrong{number}.json"
        file.write_text(json.dumps({"kind": "discovery#restDescription", **nested, **change}))
        with pytest.raises(DataError, match="no tool that can be used"):
            import_tools(str(file))
    monkeypatch.setattr(documents, "MOST_JSON", 1000)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 5000))
    with pytest.raises(DataError, match="unpacks to more than"):
        import_tools(str(tmp_path / "bomb.json.gz"))
    (tmp_path / "half.json.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(DataError, match="no whole gzip file"):
        import_tools(str(tmp_path / "half.json.gz"))
    (tmp_path / "none.json.gz").write_bytes(b"{}")
    with pytest.raises(DataError, match="no whole gzip file"):
        import_tools(str(tmp_path / "none.json.gz"))
