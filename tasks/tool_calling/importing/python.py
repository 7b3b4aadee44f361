"""Tools from the functions of a Python file, read by its syntax tree: nothing in it is executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError, nearest, needs_extra
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool, Unusable

PLAIN: Mapping[str, JSON] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "Any": {},
    "object": {},
    "Decimal": {"type": "number"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "UUID": {"type": "string", "format": "uuid"},
    "Path": {"type": "string"},
    "EmailStr": {"type": "string", "format": "email"},
    "AnyUrl": {"type": "string", "format": "uri"},
    "HttpUrl": {"type": "string", "format": "uri"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "Mapping": {"type": "object"},
    "list": {"type": "array"},
    "List": {"type": "array"},
    "Sequence": {"type": "array"},
    "Iterable": {"type": "array"},
    "Collection": {"type": "array"},
    "tuple": {"type": "array"},
    "Tuple": {"type": "array"},
    "set": {"type": "array", "uniqueItems": True},
    "Set": {"type": "array", "uniqueItems": True},
    "frozenset": {"type": "array", "uniqueItems": True},
}
ENUMS = ("Enum", "StrEnum", "IntEnum")
RECORDS = ("BaseModel", "TypedDict", "NamedTuple")
# what pydantic's Field and annotated_types call a bound → what JSON Schema calls it
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "pattern": "pattern",
          "multiple_of": "multipleOf", "min_length": "minLength", "max_length": "maxLength"}  # fmt: skip
OF_ARRAYS = {"min_length": "minItems", "max_length": "maxItems"}
FIELDS = ("Field", "Query", "Body", "Path", "Param", "Form")
DEEPEST = 8
MOST_CLASSES = 200  # that one function may unfold to, each time that one is named counted


def import_python(path: Path) -> Imported:
    """The public functions of a file: signature, type hints and docstring.

    A class in the same file that is an enumeration, a dataclass, a pydantic model, a typed dict or a named tuple
    becomes a schema as well. Private functions, methods and what ``__all__`` does not name are no tools.

    Raises:
        DataError: it cannot be read, or is no Python of this version.
        MissingExtra: there is no reader of docstrings.
    """
    tree = _parsed(path)
    reader, collected = _Reader(tree), Collector()
    functions = {
        node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name, node in functions.items():  # of several of one name, the last counts, as in Python
        if reader.public(name):
            collected.take(name, lambda: reader.tool(node, collected))  # noqa: B023
    return Imported("python", tuple(collected.tools), tuple(collected.left_out), title=path.stem)


def import_class(path: Path, name: str) -> JSON:
    """The JSON Schema of a class of a file: a pydantic model, a dataclass, a typed dict or a named tuple.

    Raises:
        DataError: the file cannot be read, or has no such class.
    """
    reader = _Reader(_parsed(path))
    node = reader.classes.get(name)
    if node is None:
        raise DataError(f"{path} has no class {name!r}.{nearest(name, reader.classes)}")
    try:
        schema = reader.schema(ast.Name(name), 0)
    except Unusable as exc:
        raise DataError(f"{path}: {name}: {exc}") from exc
    about = " ".join((ast.get_docstring(node) or "").split())
    return {"title": name, **({"description": about} if about else {}), **schema}


def _parsed(path: Path) -> ast.Module:
    """A file's syntax tree. Raises DataError."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}") from exc
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        line = f" in line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
        raise DataError(
            f"{path} is no Python {sys.version_info.major}.{sys.version_info.minor}{line}: {exc}"
        ) from exc


def module_file(name: str) -> Path | None:
    """The file of a module by its dotted name, on ``sys.path`` and here; nothing is imported to find it."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in (".", *sys.path):
        place = Path(root or ".", *parts)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.aliases = {node.targets[0].id: node.value for node in tree.body
                        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}  # fmt: skip
        self.unfolded = 0
        listed = self.aliases.get("__all__")
        names = _literal(listed) if listed is not None else None
        self.listed = set(names) if isinstance(names, list | tuple) else None

    def public(self, name: str) -> bool:
        return name in self.listed if self.listed is not None else not name.startswith("_")

    def tool(self, node: ast.FunctionDef | ast.AsyncFunctionDef, collected: Collector) -> ImportedTool:
        about, of_params, types = _documented(ast.get_docstring(node) or "")
        self.unfolded = 0
        notes: list[str] = []
        properties: JSON = {}
        required: list[str] = []
        for argument, default in _arguments(node, notes):
            name = argument.arg
            schema = self._of_argument(argument, types.get(name, ""), notes)
            if isinstance(
                default, ast.Call
            ):  # q: str = Field(description="…"), as FastAPI and FastMCP write it
                schema |= _annotations([default], schema)
            if text := of_params.get(name):
                schema.setdefault("description", " ".join(text.split()))
            if default is None or _says_required(default):
                required.append(name)
            else:
                value = _literal(default)
                schema = (
                    _without_null(schema) if value is None and isinstance(default, ast.Constant) else schema
                )
                if isinstance(value, str | int | float | bool):
                    schema["default"] = value
            properties[name] = schema
        parameters: JSON = {"type": "object", "properties": properties}
        if required:
            parameters["required"] = required
        if problems := json_schema.check_schema(parameters):
            raise Unusable(problems[0])
        collected.note(node.name, notes)
        return ImportedTool(node.name, about, parameters, node.name)

    def _of_argument(self, argument: ast.arg, documented: str, notes: list[str]) -> JSON:
        name = argument.arg
        try:
            annotation = argument.annotation or (_expression(documented) if documented else None)
            if annotation is None:
                notes.append(f"parameter {name!r} has no type: any value is taken")
                return {}
            return dict(self.schema(annotation, 0))
        except Unusable as exc:
            notes.append(f"parameter {name!r}: {exc}: any value is taken")
            return {}

    def schema(self, node: ast.expr, depth: int) -> JSON:
        """The JSON Schema of a type hint. Raises Unusable for one that is not known."""
        if depth > DEEPEST:
            raise Unusable("its type is nested too deeply")
        if isinstance(node, ast.Constant):
            if node.value is None:
                return {"type": "null"}
            if isinstance(node.value, str):
                return self.schema(_expression(node.value), depth + 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self._union([node.left, node.right], depth)
        if isinstance(node, ast.Attribute):  # datetime.date
            return self._named(node.attr, depth)
        if isinstance(node, ast.Name):
            return self._named(node.id, depth)
        if isinstance(node, ast.Subscript):
            return self._generic(node, depth)
        raise Unusable(f"the type {ast.unparse(node)} is not known")

    def _named(self, name: str, depth: int) -> JSON:
        if name in self.classes:
            return self._class(self.classes[name], depth)
        if name in PLAIN:
            return dict(PLAIN[name])
        if name in self.aliases:
            return self.schema(self.aliases[name], depth + 1)
        raise Unusable(f"the type {name} is not known")

    def _generic(self, node: ast.Subscript, depth: int) -> JSON:
        name = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return _of_values([_literal(part) for part in inner], ast.unparse(node))
        if name == "Annotated":
            of_type = self.schema(inner[0], depth + 1)
            return of_type | _annotations(inner[1:], of_type)
        if name == "Optional":
            return self._union([inner[0], ast.Constant(None)], depth)
        if name == "Union":
            return self._union(inner, depth)
        if name in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar"):
            return self.schema(inner[0], depth + 1)
        of_name = PLAIN.get(name, {})
        if of_name.get("type") not in ("array", "object"):
            raise Unusable(f"the type {ast.unparse(node)} is not known")
        if of_name["type"] == "object":
            return {**of_name, "additionalProperties": self.schema(inner[-1], depth + 1)}
        if name in ("tuple", "Tuple") and not (len(inner) == 2 and _is_ellipsis(inner[1])):
            parts = [self.schema(part, depth + 1) for part in inner]
            return {**of_name, "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
        return {**of_name, "items": self.schema(inner[0], depth + 1)}

    def _union(self, nodes: list[ast.expr], depth: int) -> JSON:
        parts = [self.schema(node, depth + 1) for node in nodes]
        if all(part.keys() == {"type"} for part in parts):
            listed = [[p["type"]] if isinstance(p["type"], str) else p["type"] for p in parts]
            kinds = list(dict.fromkeys(kind for part in listed for kind in part))
            return {"type": kinds if len(kinds) > 1 else kinds[0]}
        flat = [inner for part in parts for inner in (part["anyOf"] if part.keys() == {"anyOf"} else [part])]
        return {"anyOf": flat}

    def _class(self, node: ast.ClassDef, depth: int) -> JSON:
        self.unfolded += 1
        if depth > DEEPEST or self.unfolded > MOST_CLASSES:
            raise Unusable(f"the class {node.name} leads to too many others")
        named = (b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "") for b in node.bases)
        bases = [name for name in dict.fromkeys(named) if name != node.name]
        if set(bases) & set(ENUMS):
            return _of_values([_literal(p.value) for p in node.body if isinstance(p, ast.Assign)], node.name)
        decorators = {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list}
        inherited = [self._class(self.classes[base], depth + 1) for base in bases if base in self.classes]
        if not (set(bases) & set(RECORDS) or "dataclass" in decorators or inherited):
            raise Unusable(
                f"the class {node.name} is no enumeration, dataclass, pydantic model or typed dict"
            )
        properties: JSON = {}
        required: list[str] = []
        for parent in inherited:
            properties |= parent.get("properties", {})
            required += parent.get("required", [])
        total = not any(k.arg == "total" and _literal(k.value) is False for k in node.keywords)
        _, texts, _ = _documented(ast.get_docstring(node) or "")
        for part in node.body:
            if not (isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)):
                continue
            if part.target.id.startswith("_") or ast.unparse(part.annotation).startswith("ClassVar"):
                continue
            name = part.target.id
            rule, has_default = self.schema(part.annotation, depth + 1), part.value is not None
            if isinstance(part.value, ast.Call):  # Field(..., description="…")
                rule = rule | _annotations([part.value], rule)
                has_default = not _says_required(part.value)
                alias = next((_literal(k.value) for k in part.value.keywords if k.arg == "alias"), None)
                name = alias if isinstance(alias, str) else name
            if name in texts:
                rule.setdefault("description", " ".join(texts[name].split()))
            properties[name] = rule
            optional = has_default or not total or ast.unparse(part.annotation).startswith("NotRequired")
            required += [name] if not optional and name not in required else []
        schema: JSON = {"type": "object", "properties": properties}
        return schema | ({"required": required} if required else {})


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


def _says_required(default: ast.expr) -> bool:
    """Whether a default is ``...`` or a ``Field(...)`` without one."""
    if not isinstance(default, ast.Call):
        return _is_ellipsis(default)
    if ast.unparse(default.func).rpartition(".")[2] not in FIELDS:
        return False
    given = {keyword.arg for keyword in default.keywords} & {"default", "default_factory"}
    return not given and not (default.args and not _is_ellipsis(default.args[0]))


def _of_values(values: list[Any], what: str) -> JSON:
    """The schema of one of some written values."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if not values or any(type(value) not in kinds for value in values):
        raise Unusable(f"the values of {what} are not written out as texts or numbers")
    found = {kinds[type(value)] for value in values}
    return ({"type": found.pop()} if len(found) == 1 else {}) | {"enum": values}


def _annotations(nodes: list[ast.expr], of_type: JSON) -> JSON:
    """What ``Annotated`` or ``Field`` says beside the type: a description and bounds."""
    bounds = BOUNDS | (OF_ARRAYS if of_type.get("type") == "array" else {})
    found: JSON = {}
    for node in nodes:
        text = _literal(node)
        if isinstance(text, str):
            found.setdefault("description", " ".join(text.split()))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name == "Doc" and node.args and isinstance(_literal(node.args[0]), str):
                found["description"] = " ".join(_literal(node.args[0]).split())
            for keyword in node.keywords:
                value = _literal(keyword.value)
                if keyword.arg == "description" and isinstance(value, str):
                    found["description"] = " ".join(value.split())
                elif keyword.arg in bounds and value is not None:
                    found[bounds[keyword.arg]] = value
            key = bounds.get(name.lower())
            if key and node.args and _literal(node.args[0]) is not None:  # annotated_types.Ge(1)
                found[key] = _literal(node.args[0])
    return found


def _documented(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """(what it does, parameter → description, parameter → type) of a docstring in any usual style."""
    with needs_extra("train", "reading docstrings"):
        from docstring_parser import ParseError, parse
    try:
        parsed = parse(text)
    except ParseError:
        return " ".join(text.split()), {}, {}
    about = " ".join((parsed.description or "").split())
    described = {p.arg_name: p.description or "" for p in parsed.params}
    return about, described, {p.arg_name: p.type_name or "" for p in parsed.params}


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise Unusable(f"the type {text[:40]!r} is not known") from exc


def _literal(node: ast.expr) -> Any:
    """The value of a constant expression; None of any other."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _without_null(schema: JSON) -> JSON:
    """Who leaves a parameter out need not say null."""
    kind = schema.get("type")
    if isinstance(kind, list) and "null" in kind:
        rest = [k for k in kind if k != "null"]
        return {**schema, "type": rest[0] if len(rest) == 1 else rest}
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part != {"type": "null"}]
        others = {k: v for k, v in schema.items() if k != "anyOf"}
        return {**parts[0], **others} if len(parts) == 1 else {**others, "anyOf": parts}
    return schema
