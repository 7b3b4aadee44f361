"""What stands beside a type in Python (``Field``, ``Annotated``, ``field``), as keywords of JSON Schema."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.types import Unusable

OF_NUMBERS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
              "multiple_of": "multipleOf"}  # fmt: skip
OF_TEXTS = {"pattern": "pattern", "regex": "pattern", "min_length": "minLength", "max_length": "maxLength"}
OF_ARRAYS = {
    "min_length": "minItems",
    "max_length": "maxItems",
    "min_items": "minItems",
    "max_items": "maxItems",
}
OF_OBJECTS = {"min_length": "minProperties", "max_length": "maxProperties"}
# type of JSON Schema → what pydantic's Field and annotated_types call a bound of it → what JSON Schema calls it
BOUNDS: Mapping[str, Mapping[str, str]] = {
    "integer": OF_NUMBERS, "number": OF_NUMBERS, "string": OF_TEXTS, "array": OF_ARRAYS, "object": OF_OBJECTS,
}  # fmt: skip
NAMES = {*OF_NUMBERS, *OF_TEXTS, *OF_ARRAYS}
FIELDS = ("Field", "field", "Query", "Body", "Path", "Param", "Form", "PrivateAttr", "Option", "Argument")
# annotated_types' classes → the bounds that their arguments are
MARKS = {"Ge": ("ge",), "Gt": ("gt",), "Le": ("le",), "Lt": ("lt",), "MultipleOf": ("multiple_of",),
         "MinLen": ("min_length",), "MaxLen": ("max_length",), "Len": ("min_length", "max_length"),
         "Interval": (), "StringConstraints": (), "constr": (), "Strict": ()}  # fmt: skip

Value: TypeAlias = Callable[[ast.expr], Any]
"""The value of an expression, or None where it is not written out."""


def called(node: ast.AST) -> str:
    """The last name of what is called: ``Field`` of ``pydantic.Field(…)``; empty of anything else."""
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def keyword(node: ast.Call, name: str) -> ast.expr | None:
    """The expression that is given for a keyword."""
    return next((k.value for k in node.keywords if k.arg == name), None)


def says_required(default: ast.expr) -> bool:
    """Whether a default is ``...`` or a ``Field(...)`` without one."""
    if called(default) not in FIELDS or not isinstance(default, ast.Call):
        return is_ellipsis(default)
    given = [default.args[0]] if default.args else []
    given += [k.value for k in default.keywords if k.arg == "default"]
    if any(k.arg in ("default_factory", "factory") for k in default.keywords):
        return False
    return not given or is_ellipsis(given[0])


def default_of(default: ast.expr) -> ast.expr:
    """The default that ``Field(3)`` or ``Option(None)`` gives; any other expression is one itself."""
    if called(default) not in FIELDS or not isinstance(default, ast.Call):
        return default
    return default.args[0] if default.args else keyword(default, "default") or default


def is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def key_of(nodes: Sequence[ast.expr], value: Value) -> str | None:
    """The key of a field in JSON, where it is another than its name. Raises Unusable: it is not written out."""
    found = None
    for node in nodes:
        for name in ("alias", "validation_alias"):  # the second counts
            given = keyword(node, name) if isinstance(node, ast.Call) else None
            if given is None:
                continue
            if called(given) in ("AliasChoices", "AliasPath") and isinstance(given, ast.Call) and given.args:
                given = given.args[0]
            said = value(given)
            if isinstance(given, ast.Constant) and given.value is None:
                continue
            if not isinstance(said, str):
                raise Unusable(f"the alias {ast.unparse(given)[:40]} is not written out")
            found = said
    return found


def described(schema: JSON, nodes: Sequence[ast.expr], value: Value) -> JSON:
    """`schema` with what ``Annotated`` or ``Field`` say beside the type: a description, examples, bounds."""
    bounds: dict[str, Any] = {}
    about: JSON = {}
    for node in nodes:
        text = value(node)
        if isinstance(text, str):
            about.setdefault("description", " ".join(text.split()))
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        given = [value(argument) for argument in node.args]
        if name == "WithJsonSchema" and given and isinstance(given[0], dict):
            schema = given[0]
        if name == "Doc" and given and isinstance(given[0], str):
            about["description"] = " ".join(given[0].split())
        bounds |= {key: v for key, v in zip(MARKS.get(name, ()), given, strict=False) if v is not None}
        for part in node.keywords:
            said = value(part.value)
            if part.arg in ("description", "help") and isinstance(said, str):  # help: of typer
                about["description"] = " ".join(said.split())
            elif part.arg == "examples" and isinstance(said, list):
                about["examples"] = said
            elif part.arg == "json_schema_extra" and isinstance(said, dict):
                about |= said
            elif part.arg in NAMES and said is not None:
                bounds[part.arg] = said
    return {**bounded(schema, bounds), **about}


def bounded(schema: JSON, bounds: Mapping[str, Any]) -> JSON:
    """`schema` with bounds, each where it means something: of a union, in the parts that have such a bound."""
    if not bounds:
        return schema
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return {**schema, key: [bounded(part, bounds) for part in schema[key]]}
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    names: dict[str, str] = {}
    for kind in kinds:
        names |= BOUNDS.get(str(kind), {})
    found = {names[name]: bound for name, bound in bounds.items() if name in names}
    if "object" in kinds and "pattern" in found:
        del found["pattern"]
    return {**schema, **found}
