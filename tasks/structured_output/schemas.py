"""The schema that answers have to fit: a JSON Schema, a class of a Python file, which is never run, or one of XML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Expected
from agentlora.core.xml_schema import problems_in
from agentlora.core.xml_values import KEY, in_xml, value_schema, write_xml
from agentlora.tasks.structured_output.elements import SUFFIXES, read_elements
from agentlora.tasks.structured_output.elements_shown import shown_elements
from agentlora.tasks.structured_output.xsd import read_xsd, schema_of
from agentlora.tasks.tool_calling.bounds import contradiction
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.modules import module_file
from agentlora.tasks.tool_calling.importing.python import import_class
from agentlora.tasks.tool_calling.importing.schemas import References
from agentlora.tasks.tool_calling.importing.types import Unusable

AGAIN = (2, 1, 0)  # how often a schema that contains itself is followed into itself, where there is room
NOTES = ("$schema", "$id", "$comment")  # of the whole schema, which say nothing to a model
KNOWN = """
  FILE.json, FILE.yaml                 a JSON Schema
  FILE.py:CLASS, PACKAGE.MODULE:CLASS  a pydantic model, dataclass or typed dict; read, never run
  FILE.xsd, FILE.xsd:ELEMENT           an XML Schema: answers are XML documents
  FILE.elements, FILE.txt              a list of elements (docs/your-schema.md): the same"""


@dataclass(frozen=True)
class Wanted:
    """A schema to be filled. `schema`: as answers are validated; `shown`: as a model is shown it. `unfolded`: its
    references in their places, as values are made from it. `digest`: of the schema, 12 digits. `left_out`: parts of an
    XML Schema that are in no value → why.
    """

    name: str
    schema: JSON
    shown: str
    unfolded: JSON
    digest: str
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_xml(self) -> bool:
        """Whether answers are XML documents."""
        return in_xml(self.schema)

    def expected(self, value: Any) -> Expected:
        """The answer that says `value`. Raises ValueError where the schema has no place for a part of it."""
        return Expected(text=write_xml(self.schema, value)) if self.in_xml else Expected(value=value)

    def problems(self, value: Any) -> list[str]:
        """Why a value is no answer; empty where it is one."""
        if not self.in_xml:
            return json_schema.errors(self.schema, value)
        try:
            return problems_in(self.schema, write_xml(self.schema, value))
        except ValueError as exc:
            return [str(exc)]


@lru_cache(maxsize=8)
def read_schema(source: str) -> Wanted:
    """The schema that `source` names; see `KNOWN` for what that may be.

    Raises:
        ConfigError: no source is given, or no value can fit the schema.
        DataError: there is nothing there, it is no JSON Schema, or one of something else than an object or an array.
    """
    if not source:
        raise ConfigError("data.params.schema says which schema answers fit, and it is empty. Give --schema.")
    found = _xml(source) or _json(source)
    if why := contradiction(found.unfolded):
        raise ConfigError(f"nothing fits the schema {source}: {why}. Mend it there.")
    return found


def _json(source: str) -> Wanted:
    path, name, schema = _found(source)
    if not isinstance(schema, dict):
        raise DataError(f"{source} holds no JSON Schema. What can be given:{KNOWN}")
    unfolded = _unfolded(schema, path, source)
    if _leads_elsewhere(schema):
        schema = References(schema, path).unfolded(schema, read_only=True)
    if problems := json_schema.check_schema(schema):
        raise DataError(f"{source}: {problems[0]}")
    if not _is_compound(unfolded):
        try:
            References(schema, path).resolved(schema, path.resolve() if path else None)
        except Unusable as exc:
            raise DataError(f"{source}: {exc}, and stands for no schema") from exc
        raise DataError(f"{source} is the schema of neither an object nor an array; answers need one of them")
    title = unfolded.get("title")
    shown = json.dumps({key: value for key, value in schema.items() if key not in NOTES}, ensure_ascii=False)
    return Wanted(str(title or name), schema, shown, unfolded, sha256_json(schema)[:12])


def _xml(source: str) -> Wanted | None:
    """The schema of XML documents, where `source` names one."""
    listed = source.endswith(SUFFIXES)
    named = re.fullmatch(r"(.+\.xsd)(?::([^:/\\]+))?", source)
    if not listed and not named:
        return None
    path = Path(named[1] if named else source).expanduser()
    if not path.is_file():
        raise DataError(f"no schema at {source!r}: there is no such file. What can be given:{KNOWN}")
    if named:
        name, schema, left_out = read_xsd(path, named[2] or "")
    else:
        name, schema, left_out = schema_of({"list.xsd": read_elements(path)}, "", source)
    unfolded = _unfolded(_for_drawing(value_schema(schema)), None, source)
    if not _is_compound(unfolded):
        raise DataError(
            f"{source}: <{name}> has neither elements nor attributes; a document needs some of them"
        )
    return Wanted(name, schema, shown_elements(schema), unfolded, sha256_json(schema)[:12], left_out)


def _for_drawing(part: Any) -> Any:
    """A schema of values in XML with patterns for texts that are made up."""
    if isinstance(part, list):
        return [_for_drawing(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    drawn = part.get(KEY, {}).get("drawn") if part.get("type") == "string" else None
    found = {key: _for_drawing(inner) for key, inner in part.items()}
    return found | ({"pattern": drawn} if drawn and "pattern" not in found else {})


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
