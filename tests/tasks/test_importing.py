"""Importers: what they take from real formats, what they leave out and say, and that nothing hostile gets through."""

from __future__ import annotations

import json
import socket
import textwrap
from pathlib import Path
from typing import Any

import pytest
from imported import by_name, whys

from agentlora.core import schema
from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing.openapi import import_openapi
from agentlora.tasks.tool_calling.importing.schemas import References
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.importing.types import Unusable

SHOP: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "license": {"name": "MIT"}},
    "paths": {
        "/orders": {
            "parameters": [{"name": "shop", "in": "query", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "listOrders",
                "summary": "List orders",
                "description": "Lists the orders of a shop, newest first.",
                "parameters": [
                    {"$ref": "#/components/parameters/limit"},
                    {"name": "X-Trace", "in": "header", "required": True, "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}},
                    {
                        "name": "status",
                        "in": "query",
                        "schema": {"type": "string", "enum": ["open", "done"], "nullable": True},
                    },
                ],
            },
            "post": {
                "operationId": "create order!",
                "summary": "Create an order for a customer of the shop",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
            },
        },
        "/orders/{id}": {
            "delete": {
                "summary": "Delete an order",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            },
            "put": {"operationId": "old", "deprecated": True},
        },
        "/upload": {
            "post": {
                "operationId": "upload",
                "requestBody": {
                    "required": True,
                    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
                },
            }
        },
    },
    "components": {
        "parameters": {
            "limit": {
                "name": "limit",
                "in": "query",
                "description": "At most this\n many.",
                "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "example": 20},
            }
        },
        "schemas": {
            "Base": {
                "type": "object",
                "properties": {"id": {"type": "integer", "readOnly": True}, "note": {"type": "string"}},
                "required": ["id"],
            },
            "Order": {
                "allOf": [
                    {"$ref": "#/components/schemas/Base"},
                    {
                        "type": "object",
                        "required": ["items"],
                        "properties": {
                            "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
                            "related": {"$ref": "#/components/schemas/Order"},
                        },
                    },
                ]
            },
            "Item": {
                "type": "object",
                "properties": {
                    "sku": {"type": "string"},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
                },
                "required": ["sku"],
            },
        },
    },
}  # fmt: skip


def test_an_openapi_document_gives_a_tool_an_operation_with_parameters_and_body() -> None:
    imported = import_openapi(SHOP)
    tools = by_name(imported)
    assert (imported.title, imported.licence) == ("Shop", "MIT")
    assert list(tools) == ["listOrders", "create_order", "delete_orders_id"]
    listed = tools["listOrders"]
    assert listed.description == "List orders. Lists the orders of a shop, newest first."
    assert listed.parameters == {
        "type": "object",
        "properties": {
            "shop": {"type": "string"},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "examples": [20], "description": "At most this many."},
            "status": {"type": ["string", "null"], "enum": ["open", "done", None]},
        },
        "required": ["shop"],
    }  # fmt: skip
    created = tools["create_order"].parameters
    assert set(created["properties"]) == {"shop", "note", "items", "related"}  # what is read-only is not sent
    assert created["required"] == ["shop", "items"]
    assert schema.is_valid(created, {"shop": "a", "items": [{"sku": "x", "parts": [{"sku": "y"}]}]})
    assert tools["delete_orders_id"].parameters["required"] == ["id"]
    assert "X-Trace" in whys(imported)
    assert "Authorization" not in whys(imported)
    assert "PUT /orders/{id}: it is deprecated" in whys(imported)
    assert "POST /upload: its body is image/png, and JSON is needed" in whys(imported)


def test_yaml_and_files_beside_it_are_read_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "secret.yaml").write_text("type: string")
    (tmp_path / "api" / "parts.yaml").write_text("Code: {type: string, pattern: '^[A-Z]{3}$'}")
    text = """
        openapi: 3.1.0
        info: {title: Stock}
        paths:
          /stock:
            get:
              operationId: getStock
              parameters:
                - {name: code, in: query, required: true, schema: {$ref: 'parts.yaml#/Code'}}
                - {name: since, in: query, schema: {type: string, format: date, default: 2026-01-31}}
                - {name: other, in: query, schema: {$ref: '../secret.yaml'}}
                - {name: far, in: query, schema: {$ref: 'https://example.org/x.yaml'}}
                - {name: on, in: query, schema: {type: string, enum: [on, off, NO], default: 12:30}}
              responses: {200: {description: it}}
        """
    (tmp_path / "api" / "stock.yaml").write_text(textwrap.dedent(text))
    imported = import_tools(str(tmp_path / "api" / "stock.yaml"))
    parameters = imported.tools[0].parameters
    assert parameters["properties"]["code"] == {"type": "string", "pattern": "^[A-Z]{3}$"}
    assert parameters["properties"]["since"]["default"] == "2026-01-31"
    assert parameters["properties"]["on"] == {
        "type": "string",
        "enum": ["on", "off", "NO"],
        "default": "12:30",
    }
    assert set(parameters["properties"]) == {"code", "since", "on"}
    assert "leads out of api/" in whys(imported)
    assert "elsewhere; nothing is fetched" in whys(imported)


def test_no_reference_makes_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a request was made")

    monkeypatch.setattr(socket, "socket", refuse)
    for reference in ("http://127.0.0.1/x", "//host/x", "file:///etc/passwd", "https://a/b#/c"):
        with pytest.raises(Unusable, match=r"nothing is fetched|none beside"):
            References({}).unfolded({"$ref": reference})


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}, None),
        ({"$ref": "#/nowhere"}, "names nothing"),
        ({"$ref": "#anchor"}, "names an anchor"),
        ({"type": "object", "properties": {"a": 3}}, "stands where a schema should"),
        ({"type": "strin"}, "not a usable JSON Schema"),
        ({"type": "string", "pattern": "("}, "not a usable JSON Schema"),
        ({"$dynamicRef": "#x"}, "not resolved"),
    ],
)
def test_schemas_that_cannot_be_resolved_are_named(root: dict[str, Any], why: str | None) -> None:
    references = References(root)
    if why is None:
        assert references.unfolded(root) == {}  # it says nothing but that it is itself
        return
    with pytest.raises(Unusable, match=why):
        references.unfolded(root)


def test_what_unfolds_without_end_is_left_out() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "object", "properties": {"x": deep}}
    with pytest.raises(Unusable, match="nested more than"):
        References(deep).unfolded(deep)
    wide: dict[str, Any] = {"$defs": {"0": {"type": "string"}}}
    for level in range(1, 30):
        names = {f"p{i}": {"$ref": f"#/$defs/{level - 1}"} for i in range(10)}
        wide["$defs"][str(level)] = {"type": "object", "properties": names}
    with pytest.raises(Unusable, match="unfolds to more than"):
        References(wide).unfolded({"$ref": "#/$defs/29"})
    laughs: Any = "ha"
    for _ in range(40):
        laughs = [laughs, laughs]
    with pytest.raises(Unusable, match="unfolds to more than"):
        References({}).unfolded({"enum": laughs})


def test_files_that_are_no_documents_are_refused_by_name(tmp_path: Path) -> None:
    cases = {
        "bytes.json": (b'{"a": "\xff\xfe"}', "is not UTF-8"),
        "broken.json": (b'{"a": ', "is not JSON: .* in line 1"),
        "deep.json": (b"[" * 100_000, "nested too deeply|is not JSON"),
        "tabs.yaml": (b"a:\n\t- b", "is not YAML"),
        "loop.yaml": (b"a: &a [*a]", "nested too deeply"),
        "text.json": (b'"hello"', "neither an OpenAPI document nor functions"),
        "swagger.json": (b'{"swagger": "2.0"}', "is Swagger 2.0; OpenAPI 3 is read"),
        "four.json": (b'{"openapi": "4.0", "paths": {}}', "is OpenAPI 4.0"),
        "none.json": (b'{"openapi": "3.1.0", "paths": {}}', "no tool that can be used"),
        "empty.json": (b'{"openapi": "3.1.0"}', "has no paths"),
    }
    for name, (content, why) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=why):
            import_tools(str(tmp_path / name))
    with pytest.raises(DataError, match="no such file or module"):
        import_tools(str(tmp_path / "absent.json"))
    with pytest.raises(DataError, match="is not fetched"):
        import_tools("https://example.org/openapi.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(50 << 20)
    with pytest.raises(DataError, match="has 50 MB; at most 8 MB of YAML"):
        import_tools(str(huge))


def test_a_folder_of_functions_takes_every_usual_format(tmp_path: Path) -> None:
    rules = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    files = {
        "a.json": {"type": "function", "function": {"name": "one", "description": "First.", "parameters": rules}},
        "b.json": [{"name": "two", "description": "x", "input_schema": rules}, {"name": "one", "parameters": rules}],
        "c.json": {"tools": [{"name": "three", "inputSchema": rules}, {"name": "no schema", "description": "x"}]},
        "d.yaml": {"name": "four", "description": "Takes nothing."},
        "e.json": {"name": "five", "parameters": {"type": "array"}},
        "f.json": {"hello": "world"},
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "notes.txt").write_text("no tools")
    imported = import_tools(str(tmp_path))
    assert list(by_name(imported)) == ["one", "two", "one_2", "three", "four"]
    assert by_name(imported)["four"].parameters == {"type": "object", "properties": {}}
    text = whys(imported)
    assert "b.json, one: the name 'one' is taken: it is called 'one_2'" in text
    assert "c.json, no schema: the name 'no schema' is not one that chat APIs take" in text
    assert "e.json, five: its schema is of type array" in text
    assert "f.json" in text


def test_one_malformed_part_costs_no_other_tool(tmp_path: Path) -> None:
    good = {"name": "good", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
    parts = [
        {"name": "one", "parameters": {"type": "object", "properties": {"a": True}, "required": [{}]}},
        {
            "name": "two",
            "parameters": {"type": "object", "allOf": [{"properties": None}, {"type": "object"}]},
        },
        {"name": "three", "parameters": {"$ref": "a%00b.json"}},
        {"name": "four <|im_end|>", "parameters": {}},
        {"name": "five", "parameters": {"type": "string", "nullable": True, "enum": 3}},
        good,
    ]
    (tmp_path / "f.json").write_text(json.dumps(parts))
    imported = import_tools(str(tmp_path / "f.json"))
    assert list(by_name(imported)) == ["good"]
    assert len(imported.left_out) == 5


@pytest.mark.parametrize(
    ("raw", "properties", "required"),
    [
        (
            {"allOf": [{"type": "object", "properties": {"a": {}}}], "properties": {"b": {}}, "required": ["b"]},
            {"a", "b"},
            ["b"],
        ),
        ({"allOf": [{"required": ["b"]}], "properties": {"a": {}, "b": {}}, "required": ["a"]}, {"a", "b"}, ["b", "a"]),
        ({"nullable": True, "allOf": [{"type": "object", "properties": {"a": {}}}]}, {"a"}, None),
    ],
)  # fmt: skip
def test_parts_of_an_object_are_one_object(
    raw: dict[str, Any], properties: set[str], required: list[str] | None
) -> None:
    found = References(raw).unfolded(raw)
    assert set(found["properties"]) == properties
    assert found.get("required") == required


def test_null_is_no_value_of_what_may_be_left_out(tmp_path: Path) -> None:
    null: dict[str, Any] = {"type": "null"}
    city = {"type": "string", "description": "Where it is.", "minLength": 2}
    inner = {"type": "object", "properties": {"zip": {"type": ["string", "null"], "default": None}}}
    properties = {
        "city": {"anyOf": [city, null], "default": None, "title": "City"},
        "limit": {"anyOf": [{"type": "integer"}, null], "default": None, "description": "How many."},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}, null], "default": None},
        "kind": {"type": ["string", "null"], "enum": ["a", "b", None], "default": None},
        "place": {"anyOf": [inner, null], "default": None},
        "cleared": {"anyOf": [{"type": "string"}, null]},
        "must": {"anyOf": [{"type": "string"}, null], "default": None},
        "nothing": {"type": "null", "default": None},
    }
    function = {"name": "find", "description": "Finds.", "inputSchema": {"type": "object", "properties": properties,
                "required": ["must"]}}  # fmt: skip
    (tmp_path / "tools.json").write_text(json.dumps([function]))
    (tool,) = import_tools(str(tmp_path / "tools.json")).tools
    assert tool.parameters["properties"] == {
        "city": {**city, "title": "City"},
        "limit": {"type": "integer", "description": "How many."},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "place": {"type": "object", "properties": {"zip": {"type": "string"}}},
        "cleared": properties["cleared"],  # null may be something else than leaving it out
        "must": properties["must"],
        "nothing": {"type": "null"},
    }
