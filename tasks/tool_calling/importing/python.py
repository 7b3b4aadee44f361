"""Tools from the functions of a Python file, read by its syntax tree: nothing in it is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError, nearest
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.classes import ENUMS, RECORDS, documented, schema_of
from agentlora.tasks.tool_calling.importing.fields import default_of, says_required
from agentlora.tasks.tool_calling.importing.hints import Class, Hints, Scope, expression, literal
from agentlora.tasks.tool_calling.importing.modules import Files
from agentlora.tasks.tool_calling.importing.schemas import References, without_null
from agentlora.tasks.tool_calling.importing.types import (
    MALFORMED,
    Collector,
    Imported,
    ImportedTool,
    Unusable,
)


def import_python(path: Path) -> Imported:
    """The public functions of a file: signature, type hints and docstring.

    A class that is an enumeration, a dataclass, a pydantic model, a typed dict or a named tuple, in this file or in one
    beside it that it imports from, becomes a schema as well. Private functions, methods and what ``__all__`` does not
    name are no tools.

    Raises:
        DataError: it cannot be read, or is no Python of this version.
        MissingExtra: there is no reader of docstrings.
    """
    reader, collected = _Reader(path), Collector()
    functions = {node.name: node for node in reader.module.tree.body
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip
    for name, node in functions.items():  # of several of one name, the last counts, as in Python
        if reader.public(name):
            collected.take(name, lambda: reader.tool(node, collected))  # noqa: B023
    for name, methods in reader.methods():
        why = f"its methods ({', '.join(methods)}) are no tools: functions outside of classes are taken"
        collected.note(name, [shorten(why, 200, placeholder=" …")])
    return Imported("python", tuple(collected.tools), tuple(collected.left_out), title=path.stem)


def import_class(path: Path, name: str) -> JSON:
    """The JSON Schema of a class of a file (``Order``, ``Order.Line``): a pydantic model, a dataclass, a typed dict or
    a named tuple. Classes that it names are looked for in the files beside it. One that contains itself stands under
    ``$defs``, as pydantic has it; all others stand where they are used.

    Raises:
        DataError: the file cannot be read, or has no such class.
    """
    reader = _Reader(path)
    try:
        found = reader.hints.find(expression(name), reader.scope)
        if not isinstance(found, Class):
            raise DataError(f"{path} has no class {name!r}.{nearest(name, reader.module.classes)}")
        schema = reader.hints.class_(found, [], 0)
    except (Unusable, *MALFORMED) as exc:
        raise DataError(f"{path}: {name}: {exc}") from exc
    about = " ".join((ast.get_docstring(found.node) or "").split())
    parts = {"$defs": reader.hints.parts} if reader.hints.parts else {}
    return {"title": found.name, **({"description": about} if about else {}), **schema, **parts}


class _Reader:
    def __init__(self, path: Path) -> None:
        files = Files()
        self.module = files.add(path)
        self.hints = Hints(files, schema_of)
        self.scope = Scope(self.module)
        listed = self.module.aliases.get("__all__")
        names = literal(listed) if listed is not None else None
        self.listed = {n for n in names if isinstance(n, str)} if isinstance(names, list | tuple) else None

    def public(self, name: str) -> bool:
        return name in self.listed if self.listed is not None else not name.startswith("_")

    def methods(self) -> Iterator[tuple[str, list[str]]]:
        """The public methods of public classes, but for those that stand for values."""
        for name, node in self.module.classes.items():
            heads = [part.func if isinstance(part, ast.Call) else part for part in node.decorator_list]
            heads += [part.value if isinstance(part, ast.Subscript) else part for part in node.bases]
            kinds = {ast.unparse(head).rpartition(".")[2] for head in heads}
            functions = [
                part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            methods = [part.name for part in functions if not part.name.startswith("_")]
            if methods and self.public(name) and not kinds & {"dataclass", *RECORDS, *ENUMS}:
                yield name, methods

    def tool(self, node: ast.FunctionDef | ast.AsyncFunctionDef, collected: Collector) -> ImportedTool:
        about, of_params, types = documented(ast.get_docstring(node) or "")
        self.hints.unfolded = self.hints.steps = 0
        notes: list[str] = []
        properties: JSON = {}
        required: list[str] = []
        for argument, default in _arguments(node, notes):
            name = argument.arg
            schema = self._of_argument(argument, types.get(name, ""), notes)
            if isinstance(
                default, ast.Call
            ):  # q: str = Field(description="…"), as FastAPI and FastMCP write it
                schema = self.hints.beside(schema, [default], self.scope)
            if text := of_params.get(name):
                schema.setdefault("description", " ".join(text.split()))
            if default is None or says_required(default):
                required.append(name)
            else:
                given = default_of(default)
                value = literal(given)
                schema = without_null(schema) if value is None and isinstance(given, ast.Constant) else schema
                if isinstance(value, str | int | float | bool):
                    schema["default"] = value
            properties[name] = schema
        parameters: JSON = {"type": "object", "properties": properties}
        if required:
            parameters["required"] = required
        if self.hints.parts:  # a class that contains itself, which is an object from there on
            whole = {**parameters, "$defs": self.hints.parts}
            parameters = References(whole).unfolded(whole, notes=notes)
        if problems := json_schema.check_schema(parameters):
            raise Unusable(problems[0])
        collected.note(node.name, notes)
        return ImportedTool(node.name, about, parameters, node.name)

    def _of_argument(self, argument: ast.arg, documented: str, notes: list[str]) -> JSON:
        name = argument.arg
        try:
            annotation = argument.annotation or (expression(documented) if documented else None)
            if annotation is None:
                notes.append(f"parameter {name!r} has no type: any value is taken")
                return {}
            return dict(self.hints.schema(annotation, self.scope))
        except Unusable as exc:
            notes.append(f"parameter {name!r}: {exc}: any value is taken")
            return {}


def _arguments(
    node: ast.FunctionDef | ast.AsyncFunctionDef, notes: list[str]
) -> list[tuple[ast.arg, ast.expr | None]]:
    """Parameters that can be named, each with its default."""
    args = node.args
    if args.posonlyargs:
        notes.append("its positional-only parameters are taken by name")
    if args.vararg:
        notes.append(f"*{args.vararg.arg} is left out: a call has named arguments")
    if args.kwarg:
        notes.append(f"**{args.kwarg.arg} is left out: it says nothing about what it takes")
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    pairs = list(zip(positional, [*defaults, *args.defaults], strict=True))
    pairs += list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    return [(a, d) for a, d in pairs if a.arg not in ("self", "cls")]
