"""Python files as their syntax trees: classes, aliases, and where imported names come from. Nothing is executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing.types import Unusable

MOST_FILES = 60  # that one file may lead to
LARGEST = 5_000_000  # bytes of one file


@dataclass(frozen=True, eq=False)
class Module:
    """A file. `imports`: name → (the module that it comes from, its name there, empty for the module itself);
    `stars`: modules of which everything is imported.
    """

    path: Path
    tree: ast.Module
    classes: dict[str, ast.ClassDef]
    aliases: dict[str, ast.expr]
    imports: dict[str, tuple[str, str]]
    stars: tuple[str, ...]


def parsed(path: Path) -> Module:
    """A file's classes and names. Raises DataError."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than {LARGEST:,} bytes, and is not read as Python")
        tree = ast.parse(path.read_bytes(), str(path))
        body = list(_statements(tree.body))
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}") from exc
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        line = f" in line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
        raise DataError(
            f"{path} is no Python {sys.version_info.major}.{sys.version_info.minor}{line}: {exc}"
        ) from exc
    classes: dict[str, ast.ClassDef] = {}
    aliases: dict[str, ast.expr] = {}
    imports: dict[str, tuple[str, str]] = {}
    stars: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            aliases[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            aliases[node.target.id] = node.value
        elif type(node).__name__ == "TypeAlias":  # type Name = …, of Python 3.12
            aliases[node.name.id] = node.value  # type: ignore[attr-defined]
        elif isinstance(node, ast.Import):
            for name in node.names:
                imports[name.asname or name.name.partition(".")[0]] = (name.name, "")
        elif isinstance(node, ast.ImportFrom):
            where = "." * node.level + (node.module or "")
            stars += [where for name in node.names if name.name == "*"]
            imports |= {name.asname or name.name: (where, name.name) for name in node.names}
    return Module(path, tree, classes, aliases, imports, tuple(dict.fromkeys(stars))[:MOST_FILES])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What a module says, also under ``if TYPE_CHECKING:`` and ``try:``."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            handlers = [part for h in getattr(node, "handlers", ()) for part in h.body]
            yield from _statements([*handlers, *node.orelse])
            yield from _statements(node.body)  # of two that give a name, the first counts
        else:
            yield node


def module_file(name: str) -> Path | None:
    """The file of a module by its dotted name, on ``sys.path`` and here; nothing is imported to find it."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in (".", *sys.path):
        if found := _file(Path(root or "."), parts):
            return found
    return None


def _file(root: Path, parts: list[str]) -> Path | None:
    place = root.joinpath(*parts)
    for file in (*([place.with_suffix(".py")] if parts else []), place / "__init__.py"):
        with suppress(OSError):  # a name that is too long, a folder that is closed
            if file.is_file():
                return file
    return None


class Files:
    """The files that one leads to by its imports: those of its folder and of the package that it belongs to."""

    def __init__(self) -> None:
        self._modules: dict[Path, Module] = {}

    def add(self, path: Path) -> Module:
        """Raises DataError: it cannot be read. Unusable: there were too many before."""
        path = path.resolve()
        if path not in self._modules:
            if len(self._modules) >= MOST_FILES:
                raise Unusable(f"its file leads to more than {MOST_FILES} others")
            self._modules[path] = parsed(path)
        return self._modules[path]

    def imported(self, dotted: str, by: Module) -> Module | None:
        """The module that `by` calls `dotted` (``.models``, ``shop.models``), if it is one beside it.

        Raises:
            Unusable: it cannot be read.
        """
        folders = _folders(by.path)
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted.lstrip(".").split(".") if part]
        if not all(part.isidentifier() for part in parts):
            return None
        for folder in folders[level - 1 : level] if level else folders:
            if file := _file(folder, parts):
                try:
                    return self.add(file)
                except DataError as exc:
                    raise Unusable(str(exc)) from exc
        return None

    def origin(
        self, name: str, module: Module, seen: set[tuple[Path, str]] | None = None
    ) -> tuple[Module | None, str]:
        """Where `name` is said what it is: (that module, its name there); (None, the name that it was imported by)
        for what comes from elsewhere. The name is empty where a module itself is meant.
        """
        seen = set() if seen is None else seen
        if name in module.classes or name in module.aliases:
            return module, name
        if (module.path, name) in seen:
            return None, name
        seen.add((module.path, name))
        if name in module.imports:
            where, inner = module.imports[name]
            other = self.imported(where, module)
            if other is not None and inner:
                found = self.origin(inner, other, seen)
                if found[0] is not None:
                    return found
            elif other is not None:
                return other, ""
            if inner and (sub := self.imported(f"{where.rstrip('.')}.{inner}" if where.strip(".") else
                                               f"{where}{inner}", module)):  # fmt: skip
                return sub, ""
            return None, inner or name
        for where in module.stars:
            other = self.imported(where, module)
            if other is not None and other is not module:
                found = self.origin(name, other, seen)
                if found[0] is not None and found[1]:
                    return found
        return None, name


def _folders(path: Path) -> list[Path]:
    """A file's folder, and those above it as far as they are packages, and the one that holds the package."""
    found = [path.parent]
    while (found[-1] / "__init__.py").is_file() and found[-1].parent != found[-1]:
        found.append(found[-1].parent)
    return found
