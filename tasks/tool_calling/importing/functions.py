"""Tools in OpenAI's function format, or in those of its neighbours, from JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.schemas import References, as_object
from agentlora.tasks.tool_calling.importing.services import format_of
from agentlora.tasks.tool_calling.importing.types import Collector, Imported, ImportedTool, LeftOut, Unusable

# a function's schema is under the first of these that it has: OpenAI's, Anthropic's, MCP's
SCHEMAS = ("parameters", "input_schema", "inputSchema")


def import_folder(folder: Path) -> Imported:
    """All functions in the ``.json``, ``.yaml`` and ``.yml`` files of a directory, by file name.

    Raises:
        DataError: it has no such files.
    """
    files = sorted(f for f in folder.rglob("*") if f.suffix in (".json", ".yaml", ".yml") and f.is_file())
    if not files:
        raise DataError(f"{folder} holds no .json or .yaml files with functions")
    collected = Collector()
    for file in files:
        name = str(file.relative_to(folder))
        try:
            document = read_document(file)
        except DataError as exc:
            collected.left_out.append(LeftOut(name, str(exc)))
            continue
        if described := format_of(document):
            why = f"it is an API description as {described} has them: give the file itself"
            collected.left_out.append(LeftOut(name, why))
        elif any(_with_a_schema(part) for part in _parts(document)):
            _collect(document, name, collected)
        else:
            collected.left_out.append(LeftOut(name, "it holds no functions"))
    return Imported("functions", tuple(collected.tools), tuple(collected.left_out), title=folder.name)


def import_functions(document: Any, name: str) -> Imported:
    """The functions of one document: one, a list of them, or ``{"tools": [...]}``."""
    collected = Collector()
    _collect(document, name, collected)
    return Imported("functions", tuple(collected.tools), tuple(collected.left_out), title=name)


def is_functions(document: Any) -> bool:
    """Whether a document holds functions in a known format."""
    return any(_named(part) for part in _parts(document))


def _collect(document: Any, name: str, collected: Collector) -> None:
    found = False
    for number, part in enumerate(_parts(document), 1):
        found = True
        origin = f"{name}, {_named(part) or f'entry {number}'}"
        collected.take(origin, lambda: _tool(part, origin, collected))  # noqa: B023
    if not found:
        collected.left_out.append(LeftOut(name, "it holds no functions"))


def _parts(document: Any) -> Iterator[Any]:
    if isinstance(document, Mapping) and isinstance(document.get("tools"), list):
        document = document["tools"]
    for part in document if isinstance(document, list) else [document]:
        yield part.get("function", part) if isinstance(part, Mapping) else part


def _with_a_schema(part: Any) -> bool:
    """In a folder there are other files too, and a package.json has a name and a description."""
    return bool(_named(part)) and (
        any(key in part for key in SCHEMAS) or part.keys() <= {"name", "description"}
    )


def _named(part: Any) -> str:
    if not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
        return ""
    return part["name"] if "description" in part or any(key in part for key in SCHEMAS) else ""


def _tool(part: Any, origin: str, collected: Collector) -> ImportedTool:
    name = _named(part)
    if not name:
        raise Unusable("it has no name with a description or parameters: no function")
    raw = next(
        (part[key] for key in SCHEMAS if part.get(key) is not None), {"type": "object", "properties": {}}
    )
    notes: list[str] = []
    parameters = as_object(References(raw).unfolded(raw, notes=notes), "its schema")
    collected.note(origin, notes)
    return ImportedTool(name, " ".join(str(part.get("description") or "").split()), parameters, origin)
