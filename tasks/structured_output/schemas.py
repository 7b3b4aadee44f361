"""The schema that answers have to fit: a JSON Schema in a file, or a class of a Python file, which is never run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.modules import module_file
from agentlora.tasks.tool_calling.importing.python import import_class
from agentlora.tasks.tool_calling.importing.schemas import References
from agentlora.tasks.tool_calling.importing.types import Unusable

AGAIN = (2, 1, 0)  # how often a schema that contains itself is followed into itself, where there is room
NOTES = ("$schema", "$id", "$comment")  # of the whole schema, which say nothing to a model
KNOWN = """
  FILE.json, FILE.yaml                 a JSON Schema
  FILE.py:CLASS, PACKAGE.MODULE:CLASS  a pydantic model, dataclass or typed dict; read, never run"""


@dataclass(frozen=True)
class Wanted:
    """A schema to be filled. `schema`: as answers are validated; `shown`: as a model is shown it. `unfolded`: its
    references in their places, as values are made from it. `digest`: of the schema, 12 digits.
    """

    name: str
    schema: JSON
    shown: JSON
    unfolded: JSON
    digest: str


@lru_cache(maxsize=8)
def read_schema(source: str) -> Wanted:
    """The schema that `source` names; see `KNOWN` for what that may be.

    Raises:
        ConfigError: no source is given.
        DataError: there is nothing there, it is no JSON Schema, or one of something else than an object or an array.
    """
    if not source:
        raise ConfigError("data.params.schema says which schema answers fit, and it is empty. Give --schema.")
    path, name, schema = _found(source)
    if not isinstance(schema, dict):
        raise DataError(f"{source} holds no JSON Schema. What can be given:{KNOWN}")
    unfolded = _unfolded(schema, path, source)
    if _leads_elsewhere(schema):
        schema = References(schema, path).unfolded(schema, read_only=True)
    if problems := json_schema.check_schema(schema):
        raise DataError(f"{source}: {problems[0]}")
    if not _is_compound(unfolded):
        raise DataError(f"{source} is the schema of neither an object nor an array; answers need one of them")
    title = unfolded.get("title")
    shown = {key: value for key, value in schema.items() if key not in NOTES}
    return Wanted(str(title or name), schema, shown, unfolded, sha256_json(schema)[:12])


def _leads_elsewhere(part: Any) -> bool:
    """Whether a reference in it leads to another file."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        return (isinstance(reference, str) and not reference.startswith("#")) or any(
            map(_leads_elsewhere, part.values())
        )
    return isinstance(part, list) and any(map(_leads_elsewhere, part))


def _unfolded(schema: JSON, path: Path | None, source: str) -> JSON:
    for again in AGAIN:
        try:
            return References(schema, path).unfolded(schema, again=again, end={"not": {}}, read_only=True)
        except Unusable as exc:
            problem = str(exc)
    raise DataError(f"{source}: {problem}")


def _found(source: str) -> tuple[Path | None, str, Any]:
    """(the file, a name for it, what it holds)"""
    where, colon, name = source.rpartition(":")
    if colon and all(part.isidentifier() for part in name.split(".")):
        file = Path(where).expanduser() if where.endswith(".py") else module_file(where)
        if file is None:
            raise DataError(f"no schema at {source!r}: there is no such module. What can be given:{KNOWN}")
        return None, name.rpartition(".")[2], import_class(file, name)
    path = Path(source).expanduser()
    if path.suffix == ".py":
        raise DataError(f"{source}: which class of it? Write {source}:CLASS")
    if not path.is_file():
        raise DataError(f"no schema at {source!r}: there is no such file. What can be given:{KNOWN}")
    return path, path.name.partition(".")[0], read_document(path)


def _is_compound(schema: Mapping[str, Any]) -> bool:
    """Whether its values are objects or arrays."""
    if schema.get("type") in ("object", "array") or "properties" in schema:
        return True
    for key, enough in (("anyOf", all), ("oneOf", all), ("allOf", any)):
        if isinstance(schema.get(key), list):
            return enough(isinstance(part, Mapping) and _is_compound(part) for part in schema[key])
    return False
