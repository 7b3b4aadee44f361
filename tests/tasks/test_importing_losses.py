"""What importers take otherwise than it stands there, or not at all, is said, with where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imported import by_name, whys

from agentlora.tasks.tool_calling.importing.functions import import_functions
from agentlora.tasks.tool_calling.importing.openapi import import_openapi
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.importing.types import Imported

SCHEMAS: dict[str, Any] = {
    "A": {"$ref": "#/components/schemas/B"},
    "B": {"$ref": "#/components/schemas/A"},
    "Category": {"type": "object", "properties": {
        "name": {"type": "string"}, "child": {"$ref": "#/components/schemas/Category"}}},
    "Thing": {"type": "object", "properties": {"size": {"type": "integer"}, "a": {"$ref": "#/components/schemas/A"}}},
}  # fmt: skip


def of_paths(paths: dict[str, Any]) -> Imported:
    return import_openapi({"openapi": "3.1.0", "paths": paths, "components": {"schemas": SCHEMAS}})


def of_body(name: str) -> Imported:
    schema = {"$ref": f"#/components/schemas/{name}"}
    body = {"content": {"application/json": {"schema": schema}}}
    return of_paths({"/t": {"post": {"operationId": "make", "requestBody": body}}})


def test_a_body_that_refers_to_itself_only_is_no_tool_without_parameters() -> None:
    imported = of_body("A")
    assert imported.tools == ()
    assert whys(imported) == "POST /t: a $ref leads back to itself"
    thing = of_body("Thing")
    assert thing.tools[0].parameters["properties"] == {"size": {"type": "integer"}, "a": {}}
    assert whys(thing) == "POST /t: 'A' refers to nothing but itself: any value is taken for it"
    parameter = {"name": "a", "in": "query", "schema": {"$ref": "#/components/schemas/A"}}
    optional = of_paths({"/t": {"get": {"operationId": "t", "parameters": [parameter]}}})
    assert optional.tools[0].parameters["properties"] == {}
    assert "the parameter 'a' is left out: a $ref leads back to itself" in whys(optional)


def test_a_schema_that_contains_itself_is_said_to(tmp_path: Path) -> None:
    said = "'Category' contains itself: inside of it, it is taken as an object of which no more is said"
    imported = of_body("Category")
    assert imported.tools[0].parameters["properties"]["child"] == {"type": "object"}
    assert whys(imported) == f"POST /t: {said}"
    category = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Category"}}}
    parameters = {"properties": {"top": {"$ref": "#/$defs/Category"}}, "$defs": {"Category": category}}
    function = {"name": "add", "description": "Adds a category.", "parameters": parameters}
    assert whys(import_functions(function, "f.json")) == f"f.json, add: {said}"
    file = tmp_path / "tools.py"
    file.write_text(
        "from typing import TypedDict\nclass Category(TypedDict):\n    child: 'Category'\n"
        "def add(top: Category):\n    'Adds a category.'\n"
    )
    assert whys(import_tools(str(file))) == f"add: {said}"


def test_parameters_of_a_path_that_nobody_describes_are_required_texts() -> None:
    listed = [{"name": "owner", "in": "path", "schema": {"type": "integer"}}]
    imported = of_paths(
        {
            "/a/{id}": {"get": {"operationId": "a", "parameters": {"a": 1}}},
            "/b/{id}": {"get": {"operationId": "b", "parameters": None}},
            "/c/{owner}/{repo}": {"parameters": listed, "get": {"operationId": "c"}},
            "/d/{owner}/{+rest*}": {"get": {"operationId": "e", "parameters": listed}},
            "/d/{owner}": {"get": {"operationId": "d", "parameters": listed}},
        }
    )
    tools = by_name(imported)
    for name in "ab":
        assert tools[name].parameters["properties"] == {"id": {"type": "string"}}
        assert tools[name].parameters["required"] == ["id"]
    assert tools["c"].parameters["properties"] == {"owner": {"type": "integer"}, "repo": {"type": "string"}}
    assert tools["c"].parameters["required"] == ["owner", "repo"]
    said = "of its path is described nowhere, and is taken as a required text"
    assert whys(imported).split("\n") == [
        "GET /a/{id}: 'parameters' is an object and no list: none of them is taken",
        f"GET /a/{{id}}: {{id}} {said}",
        "GET /b/{id}: 'parameters' is null and no list: none of them is taken",
        f"GET /b/{{id}}: {{id}} {said}",
        f"GET /c/{{owner}}/{{repo}}: {{repo}} {said}",
        f"GET /d/{{owner}}/{{+rest*}}: {{rest}} {said}",
    ]


def test_a_parameter_of_a_path_that_cannot_be_taken_costs_the_operation() -> None:
    """Nobody can call it without, whether or not it says that it is required."""
    parameter = {"name": "id", "in": "path", "schema": {"$ref": "#/nowhere"}}
    imported = of_paths({"/a/{id}": {"get": {"operationId": "a", "parameters": [parameter]}}})
    assert imported.tools == ()
    assert "parameter 'id': $ref '#/nowhere' names nothing" in whys(imported)


def test_methods_of_classes_are_said_to_be_no_tools(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "import enum\nfrom dataclasses import dataclass\nfrom pydantic import BaseModel\n"
        "class Post:\n    def __init__(self): ...\n    def send(self, to: str): ...\n    async def stop(self): ...\n"
        "class _Hidden:\n    def no(self): ...\n"
        "class Empty:\n    x = 1\n"
        "class Size(enum.Enum):\n    S = 's'\n    def label(self): ...\n"
        "@dataclass(frozen=True)\nclass Place:\n    x: int\n    def far(self): ...\n"
        "class Guest(BaseModel):\n    def name(self): ...\n"
        "def ring(times: int):\n    'Rings the bell.'\n"
    )
    imported = import_tools(str(tmp_path / "tools.py"))
    assert list(by_name(imported)) == ["ring"]
    said = "its methods (send, stop) are no tools: functions outside of classes are taken"
    assert whys(imported) == f"Post: {said}"


def test_what_is_said_is_bounded(tmp_path: Path) -> None:
    methods = "".join(f"    def method_{i}(self): ...\n" for i in range(500))
    (tmp_path / "tools.py").write_text(f"class Post:\n{methods}def ring(times: int):\n    'Rings.'\n")
    assert len(whys(import_tools(str(tmp_path / "tools.py")))) < 300
    assert len(whys(of_paths({"/a": {"get": {"operationId": "a", "parameters": "y " * 10_000}}}))) < 200
    anchors = "".join(f"  l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}}}\n" for n in range(1, 60))
    (tmp_path / "bomb.yaml").write_text(
        f"openapi: 3.1.0\nx-all:\n  l0: &l0 {{a: 1}}\n{anchors}"
        "paths:\n  /a:\n    get: {operationId: ring, parameters: *l59}\n"
    )
    assert len(whys(import_tools(str(tmp_path / "bomb.yaml")))) < 200
