"""The files of an XML Schema, which all lie beside it, and the element that a document of it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from agentlora.core.errors import DataError, nearest
from agentlora.core.xml_text import parse_xml, read_xml_file
from agentlora.core.xml_values import XML

XSD = "http://www.w3.org/2001/XMLSchema"
MOST_FILES = 50
_OTHER_FILES = ("include", "import", "redefine")


def schema_files(main: Path) -> dict[str, str]:
    """The text of an XML Schema's file, and of all files that it includes or imports, by path from the folder of the
    first.
    """
    found: dict[str, str] = {}
    folder = main.parent.resolve()
    left = [PurePosixPath(main.name)]
    while left:
        name = left.pop(0)
        if str(name) in found:
            continue
        if len(found) >= MOST_FILES:
            raise DataError(f"{main} leads to more than {MOST_FILES} files")
        path = folder / name
        try:
            text = read_xml_file(path)
            tree = parse_xml(text)
        except ValueError as exc:
            raise DataError(f"{path}: {exc}") from exc
        if tree.tag != f"{{{XSD}}}schema":
            raise DataError(
                f"{path} is no XML Schema: its element is {tree.tag!r}, not 'schema' of the namespace {XSD}"
            )
        found[str(name)] = text
        for part in tree:
            if part.tag in {f"{{{XSD}}}{kind}" for kind in _OTHER_FILES}:
                left += _beside(part.get("schemaLocation"), part.get("namespace"), name, folder, path)
    return found


def _beside(
    location: str | None, namespace: str | None, within: PurePosixPath, folder: Path, path: Path
) -> Iterator[PurePosixPath]:
    """The file that an include or import names, if it names one."""
    if not location or namespace == XML:  # the schema of xml:lang is known
        return
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|//", location) or "\\" in location:
        raise DataError(
            f"{path}: {location!r} is elsewhere, and nothing is fetched. Save it beside the file and name it so."
        )
    where = (folder / within.parent / unquote(location)).resolve()
    if not where.is_relative_to(folder):
        raise DataError(f"{path}: {location!r} leads out of {folder.name}/, and no file elsewhere is read")
    yield PurePosixPath(where.relative_to(folder).as_posix())


def root_element(schema: Any, wanted: str, source: str) -> Any:
    elements = {str(element.local_name): element for element in schema.elements.values()}
    if wanted:
        if wanted not in elements:
            raise DataError(
                f"{source} has no element {wanted!r}.{nearest(wanted, elements)} There is: {', '.join(elements)}."
            )
        return elements[wanted]
    within = {
        part.ref.name for part in schema.maps.iter_components() if getattr(part, "ref", None) is not None
    }
    roots = [
        name for name, element in elements.items() if not element.abstract and element.name not in within
    ] or list(elements)  # of those that are all parts of others, any
    if len(roots) == 1:
        return elements[roots[0]]
    if not elements:
        raise DataError(f"{source} declares no element, only types; a document needs one.")
    raise DataError(
        f"{source} has several elements that a document can be: {', '.join(roots)}. Say which one: "
        f"{source}:{roots[0]}"
    )
