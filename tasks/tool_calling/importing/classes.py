"""Classes of Python files as JSON Schemas: pydantic models, dataclasses, typed dicts, named tuples, enumerations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pydantic.alias_generators import to_camel, to_pascal, to_snake

from agentlora.core.errors import needs_extra
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.fields import called, key_of, keyword, says_required
from agentlora.tasks.tool_calling.importing.hints import (
    Alias,
    Class,
    Hints,
    Scope,
    assigned,
    expression,
    members,
    of_values,
)
from agentlora.tasks.tool_calling.importing.types import Unusable

ENUMS = ("Enum", "StrEnum", "IntEnum")
RECORDS = ("BaseModel", "TypedDict", "NamedTuple", "SQLModel", "BaseSettings")
# bases that bring no fields
EMPTY = ("Generic", "Protocol", "object", "ABC", "RootModel", "str", "int", "float", "Hashable", "Exception")
CASES = {make.__name__: make for make in (to_pascal, to_camel, to_snake)}


@dataclass(frozen=True)
class Member:
    """A field: `key` in JSON, where the field says one."""

    schema: JSON
    required: bool
    key: str | None


@dataclass
class Record:
    """What a class and those that it inherits from say: fields by name, settings, and the schema of a `root`."""

    fields: dict[str, Member] = field(default_factory=dict)
    settings: dict[str, ast.expr] = field(default_factory=dict)
    known: bool = False
    root: JSON | None = None


def schema_of(found: Class, given: list[JSON], hints: Hints, depth: int) -> JSON:
    """The schema of a class. `given`: what its type variables stand for. Raises Unusable."""
    if _is_enum(found, hints):
        values = list(members(found.node).values())
        schema = of_values(values, found.name)
        return schema if "enum" in schema else {"type": schema["type"], "enum": [schema["const"]]}
    record = _record(found, given, hints, depth)
    if not record.known:
        raise Unusable(f"the class {found.name} is no enumeration, dataclass, pydantic model or typed dict")
    if record.root is not None:
        return dict(record.root)
    generator = record.settings.get("alias_generator")
    properties: JSON = {}
    required: list[str] = []
    for name, member in record.fields.items():
        key = member.key if member.key is not None else _renamed(name, generator, found, hints)
        properties[key] = member.schema
        required += [key] if member.required else []
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    extra = record.settings.get("extra")
    if extra is not None and (
        hints.value(extra, found.scope) == "forbid" or ast.unparse(extra).endswith(".forbid")
    ):
        schema["additionalProperties"] = False
    return schema


def _record(found: Class, given: list[JSON], hints: Hints, depth: int) -> Record:
    """A class's fields after those of its bases. The last base comes first, as in Python's order of attributes."""
    hints.step()
    node = found.node
    scope = replace(found.scope, types=_variables(found, given, hints, depth))
    around = replace(found.scope, classes=found.scope.classes[:-1])
    heads = [part.func if isinstance(part, ast.Call) else part for part in node.decorator_list]
    record = Record(known="dataclass" in [hints.find(head, around) for head in heads])
    named, unknown = [], []
    for base in reversed(node.bases):
        head, arguments = _applied(base)
        is_ = hints.find(head, around)
        if isinstance(is_, Class) and is_.node is not node:
            parts = [hints.schema(part, scope, depth + 1) for part in arguments]
            parent = _record(is_, parts, hints, _deeper(depth, found))
            record.fields |= parent.fields
            record.settings |= parent.settings
            record.known |= parent.known
            record.root = parent.root if parent.root is not None else record.root
        else:
            name = is_ if isinstance(is_, str) else ast.unparse(head)
            named.append(name)
            unknown += [name] if name not in (*RECORDS, *EMPTY) else []
            if name == "RootModel":
                record.known, record.root = (
                    True,
                    hints.schema(arguments[0], scope, depth + 1) if arguments else {},
                )
    record.known |= bool(set(named) & set(RECORDS))
    if unknown and record.known:
        raise Unusable(
            f"the class {node.name} inherits from {unknown[0]}, which stands in no file beside it: "
            "its fields are not known"
        )
    record.settings |= {k.arg: k.value for k in node.keywords if k.arg}
    for statement in node.body:
        record.settings |= _settings(statement)
    total = keyword(ast.Call(ast.Name(""), [], node.keywords), "total")
    optional = total is not None and hints.value(total, scope) is False
    _, texts, _ = documented(ast.get_docstring(node) or "")
    for name, annotation, default in _annotated(node):
        member = _member(annotation, default, optional, hints, scope, depth)
        if member is None:
            continue
        if name in texts:
            member.schema.setdefault("description", " ".join(texts[name].split()))
        if name == "root" and record.root is not None:
            record.root = member.schema
        else:
            record.fields[name] = member
    return record


def _deeper(depth: int, found: Class) -> int:
    if depth > 40:
        raise Unusable(f"the class {found.name} leads to too many others")
    return depth + 1


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    """(name, type, default) of each field that a class body has."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            name, annotation = part.target.id, part.annotation
            if name.startswith("_") or name == "model_config":
                continue
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                annotation = expression(annotation.value)
            if ast.unparse(_applied(annotation)[0]).rpartition(".")[2] == "ClassVar":
                continue
            yield name, annotation, part.value


def _member(
    annotation: ast.expr, default: ast.expr | None, optional: bool, hints: Hints, scope: Scope, depth: int
) -> Member | None:
    """A field; None for one that nobody gives when the object is made."""
    notes: list[ast.expr] = [default] if isinstance(default, ast.Call) else []
    head, inner = _applied(annotation)
    inside = annotation
    while ast.unparse(head).rpartition(".")[2] in ("Annotated", "ReadOnly") and inner:
        notes = [*inner[1:], *notes]
        inside = inner[0]
        head, inner = _applied(inside)
    marked = ast.unparse(head).rpartition(".")[2]
    if any(isinstance(note, ast.Call) and (says := keyword(note, "init")) is not None
           and hints.value(says, scope) is False for note in notes):  # fmt: skip
        return None
    schema = hints.schema(annotation, scope, depth + 1)
    if isinstance(default, ast.Call):  # Field(..., description="…")
        schema = hints.beside(schema, [default], scope)
    given = default is not None and not says_required(default)
    given |= default is None and any(called(note) == "Field" and not says_required(note) for note in notes)
    required = not given and marked != "NotRequired" and (not optional or marked == "Required")
    return Member(schema, required, key_of(notes, lambda node: hints.value(node, scope)))


def _settings(statement: ast.stmt) -> dict[str, ast.expr]:
    """The settings that ``model_config = ConfigDict(…)`` or a ``class Config`` gives."""
    if isinstance(statement, ast.ClassDef) and statement.name == "Config":
        return {part.targets[0].id: part.value for part in statement.body
                if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)}  # fmt: skip
    name, value = assigned(statement)
    if name != "model_config":
        return {}
    if isinstance(value, ast.Call):
        return {part.arg: part.value for part in value.keywords if part.arg}
    if isinstance(value, ast.Dict):
        return {str(key.value): part for key, part in zip(value.keys, value.values, strict=True)
                if isinstance(key, ast.Constant)}  # fmt: skip
    return {}


def _renamed(name: str, generator: ast.expr | None, found: Class, hints: Hints) -> str:
    """A field's key as the class's ``alias_generator`` makes it. Raises Unusable for a generator that is not known."""
    if generator is None or (isinstance(generator, ast.Constant) and generator.value is None):
        return name
    if isinstance(generator, ast.Call):
        chosen = keyword(generator, "validation_alias") or keyword(generator, "alias")
        return _renamed(name, chosen, found, hints)
    is_ = hints.find(generator, found.scope)
    if isinstance(is_, str) and is_ in CASES and is_ not in _functions(found):
        return CASES[is_](name)
    raise Unusable(
        f"the keys of the class {found.name} are made by {ast.unparse(generator)[:40]}, which is not run; known are "
        f"pydantic's {', '.join(CASES)}"
    )


def _functions(found: Class) -> set[str]:
    return {part.name for part in found.scope.module.tree.body if isinstance(part, ast.FunctionDef)}


def _variables(found: Class, given: list[JSON], hints: Hints, depth: int) -> dict[str, JSON]:
    """What a class's type variables stand for; of one that nothing is given for, its bound or anything."""
    names = [part.name for part in getattr(found.node, "type_params", ())]
    for base in found.node.bases:
        head, arguments = _applied(base)
        if ast.unparse(head).rpartition(".")[2] in ("Generic", "Protocol"):
            names += [part.id for part in arguments if isinstance(part, ast.Name)]
    types = dict(zip(names, given, strict=False))
    for name in names[len(given) :]:
        is_ = hints.find(ast.Name(name), replace(found.scope, types=None))
        types[name] = hints.schema(is_.node, is_.scope, depth + 1) if isinstance(is_, Alias) else {}
    return types


def _applied(node: ast.expr) -> tuple[ast.expr, list[ast.expr]]:
    """``Page[Item]`` as (``Page``, [``Item``])."""
    if not isinstance(node, ast.Subscript):
        return node, []
    return node.value, list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _is_enum(found: Class, hints: Hints) -> bool:
    """Whether it is an enumeration, or inherits from one."""
    left, seen = [found], {found.node}
    while left:
        one = left.pop()
        for base in one.node.bases:
            is_ = hints.find(base, replace(one.scope, classes=one.scope.classes[:-1]))
            if is_ in ENUMS:
                return True
            if isinstance(is_, Class) and is_.node not in seen:
                seen.add(is_.node)
                left.append(is_)
    return False


def documented(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """(what it does, parameter → description, parameter → type) of a docstring in any usual style."""
    with needs_extra("train", "reading docstrings"):
        from docstring_parser import ParseError, parse
    try:
        parsed_ = parse(text)
    except ParseError:
        return " ".join(text.split()), {}, {}
    about = " ".join((parsed_.description or "").split())
    described = {p.arg_name: p.description or "" for p in parsed_.params}
    return about, described, {p.arg_name: p.type_name or "" for p in parsed_.params}
