"""Type hints of Python files as JSON Schemas, as pydantic reads them. Nothing is executed."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.fields import (
    called,
    described,
    is_ellipsis,
    keyword,
)
from agentlora.tasks.tool_calling.importing.modules import Files, Module
from agentlora.tasks.tool_calling.importing.plain import MADE, PLAIN
from agentlora.tasks.tool_calling.importing.types import Unusable

AS_THEIR_FIRST = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar", "InitVar", "SkipValidation",
                  "SerializeAsAny", "OnErrorOmit", "FailFast", "Unpack")  # fmt: skip
DEEPEST = 40
MOST_CLASSES = 200  # that one function may unfold to, each time that one is named counted
MOST_STEPS = 20_000  # types and bases of classes that are looked at for one function
LARGEST = 20_000  # characters of what a type variable stands for
PARTS = "#/$defs/"


@dataclass(frozen=True)
class Scope:
    """Where a type hint stands: its module, the classes around it, and what its type variables stand for."""

    module: Module
    classes: tuple[ast.ClassDef, ...] = ()
    types: Mapping[str, JSON] | None = None


@dataclass(frozen=True)
class Class:
    """A class: `scope` is that of its body."""

    node: ast.ClassDef
    scope: Scope

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True)
class Alias:
    """An expression that a name stands for."""

    node: ast.expr
    scope: Scope


OfClass: TypeAlias = Callable[[Class, list[JSON], "Hints", int], JSON]
"""What gives the schema of a class: of the class, what its type variables stand for, the hints, how deep it stands."""


class Hints:
    """Schemas of the type hints of one file. `parts`: the classes that contain themselves, which stand in the other
    schemas as ``{"$ref": "#/$defs/NAME"}``.
    """

    def __init__(self, files: Files, of_class: OfClass) -> None:
        self.files, self._of_class = files, of_class
        self.parts: JSON = {}
        self.unfolded = self.steps = 0
        self._open: list[str] = []
        self._named: dict[str, str] = {}

    def schema(self, node: ast.expr, scope: Scope, depth: int = 0) -> JSON:
        """The JSON Schema of a type hint; a new one each time. Raises Unusable for one that is not known."""
        self.step()
        if depth > DEEPEST:
            raise Unusable("its type is nested too deeply")
        if isinstance(node, ast.Constant) and node.value is None:
            return {"type": "null"}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.schema(expression(node.value), scope, depth + 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self._union([node.left, node.right], scope, depth)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._named_type(node, scope, depth)
        if isinstance(node, ast.Subscript):
            return self._generic(node, scope, depth)
        if isinstance(node, ast.Call):
            return self._made(node, scope, depth)
        raise Unusable(f"the type {ast.unparse(node)} is not known")

    def step(self) -> None:
        """Count one more part. Raises Unusable: names of names can stand for more than there is memory."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unusable(f"its types unfold to more than {MOST_STEPS:,} parts")

    # --- names ----------------------------------------------------------------------------------

    def find(self, node: ast.expr, scope: Scope) -> Class | Alias | str:
        """What a name stands for: a class, an expression, or what it is called elsewhere."""
        if isinstance(node, ast.Attribute):
            outer = self._module_of(node.value, scope) or self.find(node.value, scope)
            if isinstance(outer, Class):
                return _inner(outer, node.attr) or node.attr
            if isinstance(outer, Module):
                return self.find(ast.Name(node.attr), Scope(outer))
            return node.attr
        if not isinstance(node, ast.Name):
            return ""
        for depth in range(len(scope.classes), 0, -1):
            around = Class(scope.classes[depth - 1], replace(scope, classes=scope.classes[:depth]))
            if found := _inner(around, node.id):
                return found
        module, name = self.files.origin(node.id, scope.module)
        if module is None or not name:
            return name or node.id
        if name in module.classes:
            return Class(module.classes[name], Scope(module, (module.classes[name],)))
        return Alias(module.aliases[name], Scope(module)) if name in module.aliases else name

    def _module_of(self, node: ast.expr, scope: Scope) -> Module | None:
        """The module that ``models`` or ``shop.models`` stands for, if it is one beside this file."""
        if isinstance(node, ast.Name):
            module, name = self.files.origin(node.id, scope.module)
            return module if not name else None
        if isinstance(node, ast.Attribute):
            return self.files.imported(ast.unparse(node), scope.module)
        return None

    def _named_type(self, node: ast.Name | ast.Attribute, scope: Scope, depth: int) -> JSON:
        if isinstance(node, ast.Name) and scope.types and node.id in scope.types:
            return dict(scope.types[node.id])
        found = self.find(node, scope)
        if isinstance(found, Class):
            return self.class_(found, [], depth)
        if isinstance(found, Alias):
            return self.schema(found.node, found.scope, depth + 1)
        if found == "Self" and scope.classes:
            return self.class_(Class(scope.classes[-1], scope), list((scope.types or {}).values()), depth)
        if found in PLAIN:
            return dict(PLAIN[found])
        raise Unusable(f"the type {ast.unparse(node)} is not known")

    # --- types ----------------------------------------------------------------------------------

    def _generic(self, node: ast.Subscript, scope: Scope, depth: int) -> JSON:
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        found = self.find(node.value, scope)
        if isinstance(found, Class):
            return self.class_(found, [self.schema(part, scope, depth + 1) for part in inner], depth)
        if isinstance(found, Alias):  # Pair = tuple[T, T]; Pair[int]
            return self._generic_alias(found, inner, scope, depth)
        if found == "Literal":
            return of_values(self._literals(inner, scope), ast.unparse(node))
        if found == "Annotated":
            return self._annotated(inner, scope, depth)
        if found == "Optional":
            return self._union([inner[0], ast.Constant(None)], scope, depth)
        if found == "Union":
            return self._union(inner, scope, depth)
        if found in AS_THEIR_FIRST:
            return self.schema(inner[0], scope, depth + 1)
        of_name = PLAIN.get(found, {})
        if of_name.get("type") == "object":
            return self._mapping(of_name, inner, scope, depth)
        if of_name.get("type") != "array":
            raise Unusable(f"the type {ast.unparse(node)} is not known")
        if found in ("tuple", "Tuple") and not (len(inner) == 2 and is_ellipsis(inner[1])):
            parts = [self.schema(part, scope, depth + 1) for part in inner]
            filled = {"prefixItems": parts} if parts else {}
            return {**of_name, **filled, "minItems": len(parts), "maxItems": len(parts)}
        return {**of_name, "items": self.schema(inner[0], scope, depth + 1)}

    def _mapping(self, of_name: JSON, inner: Sequence[ast.expr], scope: Scope, depth: int) -> JSON:
        """``dict[str, int]``; what its keys are asked to be is said of the names."""
        values = of_name.get("additionalProperties") or self.schema(inner[-1], scope, depth + 1)
        keys = self.schema(inner[0], scope, depth + 1)
        if isinstance(keys.get("pattern"), str) and not keys.keys() - {"type", "pattern"}:
            return {"type": "object", "patternProperties": {keys["pattern"]: values}}
        asked = {k: v for k, v in keys.items() if k not in ("type", "format", "description")}
        if keys.get("type") != "string" or not asked:
            return {"type": "object", "additionalProperties": values}
        return {"type": "object", "propertyNames": asked, "additionalProperties": values}

    def _annotated(self, inner: Sequence[ast.expr], scope: Scope, depth: int) -> JSON:
        of_type = self.schema(inner[0], scope, depth + 1)
        return self.beside(of_type, inner[1:], scope)

    def beside(self, of_type: JSON, notes: Sequence[ast.expr], scope: Scope) -> JSON:
        """A type's schema with what ``Annotated`` or ``Field`` says beside it."""
        apart = any(
            called(note) == "Discriminator"
            or (isinstance(note, ast.Call) and keyword(note, "discriminator") is not None)
            for note in notes
        )
        if apart and "anyOf" in of_type:
            of_type = {("oneOf" if key == "anyOf" else key): part for key, part in of_type.items()}
        return described(of_type, notes, lambda node: self.value(node, scope))

    def _generic_alias(self, alias: Alias, inner: Sequence[ast.expr], scope: Scope, depth: int) -> JSON:
        names = [
            part.id
            for part in ast.walk(alias.node)
            if isinstance(part, ast.Name) and self._is_variable(part, alias.scope)
        ]
        given = [self.schema(part, scope, depth + 1) for part in inner]
        _check_size(given)
        types = dict(zip(dict.fromkeys(names), given, strict=False))
        return self.schema(alias.node, replace(alias.scope, types=types), depth + 1)

    def _is_variable(self, node: ast.Name, scope: Scope) -> bool:
        found = self.find(node, scope)
        return isinstance(found, Alias) and called(found.node) == "TypeVar"

    def _made(self, node: ast.Call, scope: Scope, depth: int) -> JSON:
        """Of a call that makes a type: ``conint(ge=1)``, ``NewType("Id", int)``, ``TypeVar("T", bound=Item)``."""
        name = called(node)
        if name in MADE:
            of_type = dict(MADE[name])
            items = keyword(node, "item_type") or (
                node.args[0] if node.args and "items" not in of_type else None
            )
            if of_type["type"] == "array" and items is not None:
                of_type["items"] = self.schema(items, scope, depth + 1)
            return self.beside(of_type, [ast.Call(node.func, [], node.keywords)], scope)
        if name in ("NewType", "TypeAliasType") and len(node.args) > 1:
            return self.schema(node.args[1], scope, depth + 1)
        if name in ("TypeVar", "ParamSpec"):
            bound = keyword(node, "default") or keyword(node, "bound")
            if bound is not None:
                return self.schema(bound, scope, depth + 1)
            return self._union(node.args[1:], scope, depth) if node.args[1:] else {}
        raise Unusable(f"the type {ast.unparse(node)[:60]} is not known")

    def _union(self, nodes: Sequence[ast.expr], scope: Scope, depth: int) -> JSON:
        parts = [self.schema(node, scope, depth + 1) for node in nodes]
        if len(parts) == 1:
            return parts[0]
        if all(part.keys() == {"type"} for part in parts):
            listed = [[p["type"]] if isinstance(p["type"], str) else p["type"] for p in parts]
            kinds = list(dict.fromkeys(kind for part in listed for kind in part))
            return {"type": kinds if len(kinds) > 1 else kinds[0]}
        flat = [inner for part in parts for inner in (part["anyOf"] if part.keys() == {"anyOf"} else [part])]
        return {"anyOf": flat}

    # --- values ---------------------------------------------------------------------------------

    def value(self, node: ast.expr, scope: Scope, depth: int = 0) -> Any:
        """The value of an expression that is written out, a member of an enumeration or a name of such; else None."""
        if isinstance(node, ast.Attribute) and node.attr == "value":
            return self.value(node.value, scope, depth)
        if isinstance(node, ast.Attribute):
            found = self.find(node.value, scope)
            if isinstance(found, Class):
                return members(found.node).get(node.attr)
        if isinstance(node, ast.Name | ast.Attribute) and depth < DEEPEST:
            found = self.find(node, scope)
            return self.value(found.node, found.scope, depth + 1) if isinstance(found, Alias) else None
        if called(node) == "Decimal" and isinstance(node, ast.Call) and node.args:
            try:
                return float(literal(node.args[0]))
            except (TypeError, ValueError):
                return None
        return literal(node)

    def _literals(self, nodes: Sequence[ast.expr], scope: Scope, depth: int = 0) -> list[Any]:
        """The values of ``Literal[…]``, of which some may be such again."""
        found: list[Any] = []
        for node in nodes:
            self.step()
            named = self.find(node, scope) if isinstance(node, ast.Name) else None
            node = named.node if isinstance(named, Alias) else node
            if isinstance(node, ast.Subscript) and depth < DEEPEST:
                inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
                where = named.scope if isinstance(named, Alias) else scope
                found += self._literals(inner, where, depth + 1)
            elif isinstance(node, ast.Constant) and node.value is None:
                found.append(None)
            else:
                value = self.value(node, scope)
                found.append(
                    value if value is not None else node
                )  # not written out: refused as it is no value
        return found

    # --- classes --------------------------------------------------------------------------------

    def class_(self, found: Class, given: list[JSON], depth: int) -> JSON:
        """The schema of a class; of one that is being read already, a reference to it. `given`: what its type
        variables stand for.
        """
        _check_size(given)
        key = json.dumps([str(found.scope.module.path), [c.name for c in found.scope.classes], given])
        if key in self._named or key in self._open:
            if key not in self._named:
                self._named[key] = self._free(found.name)
            return {"$ref": PARTS + self._named[key]}
        self.unfolded += 1
        if depth > DEEPEST or self.unfolded > MOST_CLASSES:
            raise Unusable(f"the class {found.name} leads to too many others")
        self._open.append(key)
        try:
            schema = self._of_class(found, given, self, depth)
        finally:
            self._open.pop()
        if key not in self._named:
            return schema
        self.parts[self._named[key]] = schema
        return {"$ref": PARTS + self._named[key]}

    def _free(self, name: str) -> str:
        taken = set(self._named.values())
        return next(n for n in (name, *(f"{name}_{i}" for i in range(2, MOST_CLASSES * 2))) if n not in taken)


def _check_size(given: list[JSON]) -> None:
    if len(json.dumps(given)) > LARGEST:
        raise Unusable("what its type variables stand for is too large")


def _inner(around: Class, name: str) -> Class | Alias | None:
    """What a class calls `name` in its body."""
    for node in around.node.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Class(node, replace(around.scope, classes=(*around.scope.classes, node)))
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return Alias(node.value, around.scope)
    return None


def members(node: ast.ClassDef) -> dict[str, Any]:
    """The members of an enumeration, each with its value; None for one that is not written out."""
    found: dict[str, Any] = {}
    texts = any(isinstance(base, ast.Name | ast.Attribute) and ast.unparse(base).endswith("StrEnum")
                for base in node.bases)  # fmt: skip
    for part in node.body:
        name, value = assigned(part)
        if not name or name.startswith("_") or value is None:
            continue
        if called(value) == "auto":
            numbers = [known for known in found.values() if isinstance(known, int)]
            found[name] = name.lower() if texts else max(numbers, default=0) + 1
        else:
            found[name] = literal(value)
    return found


def assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """The name that a statement gives a value to, and that value; no name for what assigns none."""
    if isinstance(statement, ast.Assign):
        target: ast.expr | None = statement.targets[0]
    else:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    return (target.id, value) if isinstance(target, ast.Name) else ("", None)


def of_values(values: list[Any], what: str) -> JSON:
    """The schema of one of some written values."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    if not values or any(type(value) not in kinds for value in values):
        raise Unusable(f"the values of {what} are not written out as texts or numbers")
    found = {kinds[type(value)] for value in values}
    said: JSON = (
        {"const": values[0]} if len(values) == 1 else {"enum": list({repr(v): v for v in values}.values())}
    )
    return ({"type": found.pop()} if len(found) == 1 else {}) | said


def expression(text: str) -> ast.expr:
    """A type hint that is written as a text. Raises Unusable."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise Unusable(f"the type {text[:40]!r} is not known") from exc


def literal(node: ast.expr) -> Any:
    """The value of a constant expression; None of any other."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
