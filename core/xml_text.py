"""Reading XML that somebody else wrote: bounded in size and depth, without a document type, so without entities."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.parsers import expat

MOST_CHARS = 1 << 20  # of an answer
MOST_BYTES = 1 << 20  # of a schema's file
DEEPEST = 64
MOST_ELEMENTS = 50_000
_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>", re.IGNORECASE)
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


def parse_xml(text: str) -> Element:
    """The root element of an XML document; comments and processing instructions are left out.

    An encoding that it declares is of no account, as `text` is decoded already.

    Raises:
        ValueError: it is no well-formed XML, is too large or too deep, or has a document type (which could define
            entities that stand for gigabytes, or for files).
    """
    if len(text) > MOST_CHARS:
        raise ValueError(f"it has {len(text):,} characters; at most {MOST_CHARS:,} are read")
    builder = _Builder()
    try:
        builder.parser.Parse(text, True)
    except expat.ExpatError as exc:
        raise ValueError(f"it is no well-formed XML: {exc}") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    assert builder.root is not None  # a document without one is not well formed
    return builder.root


class _Builder:
    """Makes elements of what the parser finds, names in Clark's notation (``{namespace}name``)."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def _doctype(self, *_: object) -> None:
        raise ValueError("it has a document type (<!DOCTYPE …>), which is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS:
            raise ValueError(f"it has more than {MOST_ELEMENTS:,} elements")
        if len(self._open) >= DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        element = Element(_clark(name), {_clark(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _data(self, text: str) -> None:
        inner = self._open[-1]
        if len(inner):
            inner[-1].tail = (inner[-1].tail or "") + text
        else:
            inner.text = (inner.text or "") + text


def _clark(name: str) -> str:
    return f"{{{name}" if "}" in name else name


def read_xml_file(path: Path) -> str:
    """The text of an XML file in the encoding that it declares, without the declaration; not yet parsed.

    Raises:
        ValueError: it cannot be read, is too large, or is of no encoding that is known.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"it has {size >> 10} KB; at most {MOST_BYTES >> 10} KB are read")
        raw = path.read_bytes()
    except OSError as exc:
        raise ValueError(f"it cannot be read: {exc.strerror}") from exc
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        found = _ENCODING.match(raw.removeprefix(codecs.BOM_UTF8))
        encoding = found[1].decode() if found else "utf-8"
    try:
        text = raw.decode("utf-8-sig" if encoding.lower().replace("-", "") == "utf8" else encoding)
    except (LookupError, UnicodeError) as exc:
        raise ValueError(f"it is not in the encoding {encoding!r}: {exc}") from exc
    return _DECLARATION.sub("", text, count=1)


def without_notes(text: str, namespace: str, name: str) -> str:
    """A well-formed document without comments, elements of this name and the white space between tags."""
    raw, cuts, since = text.encode(), list[tuple[int, int]](), list[int]()
    parser = expat.ParserCreate(namespace_separator="}")
    noted = f"{namespace}}}{name}"

    def start(found: str, _: object) -> None:
        if found == noted or since:
            since.append(parser.CurrentByteIndex)

    def end(found: str) -> None:
        if since:
            begun = since.pop()
            if not since:
                at = parser.CurrentByteIndex  # of an empty element: behind it
                empty = raw.endswith(b"/>", begun, at) and raw.count(b"<", begun, at) == 1
                cuts.append((begun, at if empty else raw.index(b">", at) + 1))

    def comment(_: str) -> None:
        if not since:
            cuts.append((parser.CurrentByteIndex, raw.index(b"-->", parser.CurrentByteIndex) + 3))

    parser.StartElementHandler, parser.EndElementHandler, parser.CommentHandler = start, end, comment
    parser.Parse(raw, True)
    kept, last = [], 0
    for begun, ended in cuts:
        kept.append(raw[last:begun])
        last = ended
    return re.sub(r">\s+<", "><", b"".join([*kept, raw[last:]]).decode().strip())
