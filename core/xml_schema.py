"""XML Schema: whether a document fits one. Nothing is fetched, and patterns take linear time."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from agentlora.core.errors import DataError, needs_extra
from agentlora.core.types import JSON
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import KEY

if TYPE_CHECKING:
    from xmlschema import XMLSchema


def problems_of(schema: JSON, root: Element) -> list[str]:
    """The first thing in a document that does not fit the XML Schema, as ``path: problem``; empty where all fits.

    Raises:
        DataError: the XML Schema itself cannot be used.
        MissingExtra: xmlschema is not installed.
    """
    form = schema[KEY]
    if root.tag != form["root"]:
        return [f"the document is <{_shown(root.tag)}>, not <{_shown(form['root'])}>"]
    found = xml_schema(tuple(form["files"].items()))
    for error in found.iter_errors(root, use_location_hints=False):
        path = re.sub(r"\{[^}]*\}", "", error.path or "")
        return [f"{path}: {str(error.reason).partition(chr(10))[0]}"]
    return []


def problems_in(schema: JSON, text: str) -> list[str]:
    """The first thing that is wrong with a document's text."""
    try:
        return problems_of(schema, parse_xml(text))
    except ValueError as exc:
        return [str(exc)]


def _shown(name: str) -> str:
    uri, _, local = name.rpartition("}")
    return f"{local} xmlns={quoteattr(uri.removeprefix('{'))}" if uri else local


@lru_cache(maxsize=16)
def xml_schema(files: tuple[tuple[str, str], ...]) -> XMLSchema:
    """The XML Schema in `files` (name, text), the main one first. Nothing else is opened, and nothing fetched.

    Raises:
        DataError: it is no XML Schema that can be used.
    """
    with needs_extra("train", "XML answers"):
        import xmlschema
    try:
        with tempfile.TemporaryDirectory(prefix="agentlora-xsd-") as folder:
            for name, text in files:
                path = (Path(folder) / name).resolve()
                if not path.is_relative_to(Path(folder).resolve()):
                    raise DataError(f"the file {name!r} of an XML Schema is outside its folder")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            main = str(Path(folder) / files[0][0])
            found = xmlschema.XMLSchema(main, base_url=folder, allow="sandbox", defuse="always")
    except (xmlschema.XMLSchemaException, SyntaxError, ValueError, OSError, RecursionError) as exc:
        said = getattr(exc, "message", None) or str(exc).strip().partition("\n")[0]
        raise DataError(f"not a usable XML Schema: {str(said).rstrip(':')}") from exc
    for part in _patterned(found):
        part.patterns = [_Pattern(pattern.pattern) for pattern in part.patterns]
    return found


def _patterned(schema: XMLSchema) -> Iterator[Any]:
    """The pattern facets of a schema's own types, each once."""
    from xmlschema.names import XSD_NAMESPACE
    from xmlschema.validators.facets import XsdPatternFacets

    found = {}
    for part in schema.maps.iter_components():
        facets = getattr(part, "patterns", None)
        if isinstance(facets, XsdPatternFacets):
            owner = str(getattr(facets.parent, "name", None) or "")
            if not owner.startswith(f"{{{XSD_NAMESPACE}}}"):
                found[id(facets)] = facets
    yield from found.values()


class _Pattern:
    """A pattern in linear time. Python's own may take for ever: ``([A-Z]+ ?)+`` on forty letters and a full stop.

    Raises DataError for one that needs more than that.
    """

    def __init__(self, pattern: str) -> None:
        import jsonschema_rs

        self.pattern = pattern.removesuffix(r"(?!\n\Z)")
        try:
            rule = {"type": "string", "pattern": self.pattern}
            self._rule = jsonschema_rs.validator_for(rule, pattern_options=jsonschema_rs.RegexOptions())
        except Exception as exc:  # jsonschema_rs raises several unrelated classes here
            raise DataError(
                f"not a usable XML Schema: the pattern {pattern[:80]!r} is of no known form"
            ) from exc

    def match(self, text: str) -> bool | None:
        """None where `text` does not match, as `re.Pattern.match`."""
        return True if self._rule.is_valid(text) else None
