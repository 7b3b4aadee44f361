"""Lists of elements: what an XML document may hold, one element a line, for people to write and for models to read.

What stands after ``#`` describes an element; here it explains the form.

::

    order xmlns=urn:example:shop     # the document; its namespace, where it has one
      @number text                   # an attribute
      customer                       # an element with parts: they stand under it, further right
        name text
        email? text                  # may be absent
      item+                          # once or more; item* any number, item{2,5} so many
        product text ..80            # at most 80 characters
        quantity integer 1..99
        unit? piece | kg | box       # one of these
        price number >0
          @currency EUR | USD        # an attribute of an element with a text
      express? empty                 # says what it says by being there
      either:                        # the parts of one of the two (or more); either?: or of none
        card text /[0-9]{4}/         # as this regular expression
      or:
        invoice text
      part*
        name text
        part* like part              # has the same parts as that element
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from agentlora.core.errors import DataError, nearest
from agentlora.core.xml_text import read_xml_file

TYPES = {
    "text": "token",
    "integer": "integer",
    "number": "decimal",
    "boolean": "boolean",
    "date": "date",
    "time": "time",
    "datetime": "dateTime",
    "uri": "anyURI",
}
SUFFIXES = (".elements", ".txt")
MOST_LINES, MOST_LEVELS = 2000, 30
_LINE = re.compile(
    r"(?P<attribute>@)?(?P<name>[^\W\d][\w.-]*)(?P<occurs>[?*+]|\{\d{1,4}(?:,\d{0,4})?\})?(?:\s+(?P<rest>.*))?"
)
_EITHER = re.compile(r"(either|or)(\?)?:")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)?\.\.(-?\d+(?:\.\d+)?)?")
_LIMIT = re.compile(r"([<>])(-?\d+(?:\.\d+)?)")


@dataclass
class Part:
    """One line of a list with the lines under it. `kind`: element, attribute, either, or."""

    kind: str
    name: str
    line: int
    least: int = 1
    most: int | None = 1
    type: str = ""  # of XML Schema
    choices: list[str] = field(default_factory=list)
    facets: list[tuple[str, str]] = field(default_factory=list)
    like: str = ""
    nil: bool = False
    empty: bool = False
    about: str = ""
    parts: list[Part] = field(default_factory=list)


def read_elements(path: Path) -> str:
    """The XML Schema of the list in a file.

    Raises:
        DataError: it cannot be read, or a line of it is wrong; the line is named.
    """
    try:
        text = read_xml_file(path)
    except ValueError as exc:
        raise DataError(f"{path}: {exc}") from exc
    return xsd_of(text, str(path))


def xsd_of(text: str, source: str = "the list") -> str:
    """The XML Schema of a list of elements. Raises DataError."""
    try:
        root, namespace = _tree(text)
        return _Schema(root, namespace).text()
    except _WrongError as exc:
        raise DataError(f"{source}, line {exc.line}: {exc}") from None


class _WrongError(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


# --- reading ------------------------------------------------------------------------------------


def _tree(text: str) -> tuple[Part, str]:
    """(the document's element, its namespace)"""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        raise _WrongError(MOST_LINES, f"the list has {len(lines):,} lines; at most {MOST_LINES:,} are read")
    open_: list[tuple[int, Part]] = []
    root: Part | None = None
    namespace = ""
    for number, raw in enumerate(lines, 1):
        line, _, about = _without_comment(raw.expandtabs(8))
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        while open_ and open_[-1][0] >= indent:
            left = open_.pop()
            if left[0] > indent and (not open_ or open_[-1][0] < indent):
                raise _WrongError(
                    number, "it stands between two levels: begin it below an element of its level"
                )
        said = line.strip()
        if root is None:
            said, namespace = _namespace(said, number)
        part = _part(said, number)
        part.about = about.strip()
        if root is None:
            root = part
            if part.kind != "element" or part.least != 1 or part.most != 1:
                raise _WrongError(
                    number, "the first line is the document's element, which is there once: order"
                )
        elif not open_:
            raise _WrongError(
                number, f"a document has one element, {root.name!r}; write its parts further right"
            )
        else:
            _put(open_[-1][1], part, number)
        if len(open_) >= MOST_LEVELS:
            raise _WrongError(number, f"it is nested more than {MOST_LEVELS} deep")
        open_.append((indent, part))
    if root is None:
        raise _WrongError(1, "the list is empty")
    return root, namespace


def _without_comment(line: str) -> tuple[str, str, str]:
    found = re.search(r"(^|\s)#(\s|$)", line)
    return (line[: found.start()], "#", line[found.end() :]) if found else (line, "", "")


def _namespace(said: str, number: int) -> tuple[str, str]:
    found = re.search(r"\s+xmlns=(\S+)", said)
    if not found:
        return said, ""
    return said[: found.start()] + said[found.end() :], found[1].strip("\"'")


def _put(under: Part, part: Part, number: int) -> None:
    if under.kind == "attribute":
        raise _WrongError(number, f"the attribute {under.name!r} has no parts")
    if part.kind == "attribute":
        if under.kind != "element" or under.like or under.empty:
            raise _WrongError(number, "an attribute stands under the element that it belongs to")
        if any(other.kind == "attribute" and other.name == part.name for other in under.parts):
            raise _WrongError(number, f"the attribute {part.name!r} stands twice")
    elif under.type or under.choices or under.like or under.empty:
        raise _WrongError(
            number, f"{under.name!r} is of a type, so that it has attributes only (@{part.name})"
        )
    if part.kind == "or" and (not under.parts or under.parts[-1].kind not in ("either", "or")):
        raise _WrongError(number, "'or:' stands right after the parts of 'either:'")
    under.parts.append(part)


def _part(said: str, number: int) -> Part:
    if either := _EITHER.fullmatch(said):
        if either[1] == "or" and either[2]:
            raise _WrongError(number, "write the question mark after 'either'")
        return Part(either[1], "", number, least=0 if either[2] else 1)
    found = _LINE.fullmatch(said)
    if not found:
        raise _WrongError(
            number, f"{said[:60]!r} is no element: a name, ?, * or + after it, and its type: price? number"
        )
    part = Part("attribute" if found["attribute"] else "element", found["name"], number)
    part.least, part.most = _occurs(found["occurs"] or "")
    if part.kind == "attribute" and part.most != 1:
        raise _WrongError(number, "an attribute is there once, or may be absent (?)")
    _of_type(part, (found["rest"] or "").strip())
    if part.kind == "attribute" and (part.like or part.nil or part.empty):
        raise _WrongError(number, "an attribute is of a simple type: text, integer, a | b")
    if part.kind == "attribute" and not (part.type or part.choices):
        part.type = "token"
    return part


def _occurs(mark: str) -> tuple[int, int | None]:
    if mark.startswith("{"):
        least, comma, most = mark.strip("{}").partition(",")
        return int(least), (int(most) if most else None) if comma else int(least)
    return {"": (1, 1), "?": (0, 1), "*": (0, None), "+": (1, None)}[mark]


def _of_type(part: Part, said: str) -> None:
    """What stands after a name."""
    if found := re.fullmatch(r"nil(?:\s+(.*))?", said):
        part.nil, said = True, (found[1] or "").strip()
    if found := re.fullmatch(r"like\s+(\S+)", said):
        part.like = found[1]
        return
    if said == "empty":
        part.empty = True
        return
    if re.search(r"\s\|\s", said) and not (said.split()[0] in TYPES and said.endswith("/")):
        part.choices = [choice.strip() for choice in re.split(r"\s\|\s", said)]
        if "" in part.choices or len(set(part.choices)) < len(part.choices):
            raise _WrongError(part.line, f"{said[:60]!r}: each of the values is a text of its own: a | b | c")
        return
    if not said:
        return
    kind, _, rest = said.partition(" ")
    if kind not in TYPES:
        known = [*TYPES, "empty", "like NAME"]
        raise _WrongError(
            part.line,
            f"unknown type {kind[:40]!r}.{nearest(kind, known)} There is: {', '.join(known)}, a | b | c.",
        )
    part.type = TYPES[kind]
    part.facets = list(_facets(kind, rest.strip(), part.line))


def _facets(kind: str, said: str, line: int) -> Iterator[tuple[str, str]]:
    if found := re.search(r"(^|\s)/(.+)/$", said):
        if kind not in ("text", "uri"):
            raise _WrongError(line, f"a pattern is for text, not for {kind}")
        try:
            re.compile(found[2])
        except re.error as exc:
            raise _WrongError(line, f"the pattern /{found[2][:60]}/ is none: {exc}") from None
        if found[2].startswith("^") or re.search(r"(?<!\\)\$$", found[2]):
            raise _WrongError(line, "a pattern is of the whole text: write it without ^ and $")
        yield "pattern", found[2]
        said = said[: found.start()]
    for word in said.split():
        bounds, limit = _RANGE.fullmatch(word), _LIMIT.fullmatch(word)
        if bounds and word != ".." and kind == "text" and not re.search(r"-|\d\.\d", word):
            yield from ((n, v) for n, v in zip(("minLength", "maxLength"), bounds.groups(), strict=True) if v)
        elif bounds and word != ".." and kind in ("integer", "number"):
            names = ("minInclusive", "maxInclusive")
            yield from ((n, v) for n, v in zip(names, bounds.groups(), strict=True) if v)
        elif limit and kind in ("integer", "number"):
            yield ("minExclusive" if limit[1] == ">" else "maxExclusive"), limit[2]
        else:
            raise _WrongError(
                line, f"{word[:40]!r} after {kind!r} says nothing: 1..99, >0 (numbers), ..80, /[A-Z]+/ (text)"
            )


# --- writing ------------------------------------------------------------------------------------


class _Schema:
    """A list as an XML Schema. Each element with parts gets a type of its own, which `like` names again."""

    def __init__(self, root: Part, namespace: str) -> None:
        self.root, self.namespace = root, namespace
        self.types: list[str] = []
        self._named: dict[str, str] = {}  # the element's name → the type of the last one that was begun

    def text(self) -> str:
        space = f' xmlns:x="{_XSD}" xmlns:t={quoteattr(self.namespace)} targetNamespace={quoteattr(self.namespace)}'
        head = space if self.namespace else f' xmlns:x="{_XSD}"'
        element = self.element(self.root, outermost=True)
        return f'<x:schema{head} elementFormDefault="qualified">{element}{"".join(self.types)}</x:schema>'

    def element(self, part: Part, outermost: bool = False) -> str:
        most = "unbounded" if part.most is None else str(part.most)
        occurs = (
            ""
            if outermost or (part.least, most) == (1, "1")
            else f' minOccurs="{part.least}" maxOccurs="{most}"'
        )
        nil = ' nillable="true"' if part.nil else ""
        head = f"<x:element name={quoteattr(part.name)}{occurs}{nil}"
        about = _about(part)
        if part.like:
            if part.like not in self._named:
                raise _WrongError(
                    part.line,
                    f"there is no element {part.like!r} with parts above.{nearest(part.like, self._named)}",
                )
            return f'{head} type="{self._named[part.like]}">{about}</x:element>'
        attributes = "".join(self.attribute(inner) for inner in part.parts if inner.kind == "attribute")
        inner = [one for one in part.parts if one.kind != "attribute"]
        if part.empty or attributes or inner:
            name = f"T{len(self.types) + 1}"
            known = f"t:{name}" if self.namespace else name
            self._named[part.name] = known
            self.types.append("")
            place = len(self.types) - 1
            self.types[place] = (
                f'<x:complexType name="{name}">{self.content(part, inner, attributes)}</x:complexType>'
            )
            self._named[part.name] = known
            return f'{head} type="{known}">{about}</x:element>'
        return f"{head}>{about}{self.simple(part)}</x:element>"

    def content(self, part: Part, inner: list[Part], attributes: str) -> str:
        if inner:
            return f"<x:sequence>{self.group(inner)}</x:sequence>{attributes}"
        if part.type or part.choices:
            name = f"T{len(self.types) + 1}"
            known = f"t:{name}" if self.namespace else name
            self.types.append(self.simple(part).replace("<x:simpleType>", f'<x:simpleType name="{name}">', 1))
            return (
                f'<x:simpleContent><x:extension base="{known}">{attributes}</x:extension></x:simpleContent>'
            )
        return attributes

    def group(self, parts: list[Part]) -> str:
        found, ways = "", list[Part]()
        for part in [*parts, Part("end", "", 0)]:
            if ways and part.kind != "or":
                optional = ' minOccurs="0"' if ways[0].least == 0 else ""
                if len(ways) == 1:
                    raise _WrongError(ways[0].line, "'either:' has no 'or:' after it")
                inner = "".join(f"<x:sequence>{self.group(way.parts)}</x:sequence>" for way in ways)
                found += f"<x:choice{optional}>{inner}</x:choice>"
                ways = []
            if part.kind in ("either", "or"):
                if not part.parts:
                    raise _WrongError(part.line, f"'{part.kind}:' has no elements under it")
                ways.append(part)
            elif part.kind == "element":
                found += self.element(part)
        return found

    def attribute(self, part: Part) -> str:
        use = ' use="required"' if part.least else ""
        return (
            f"<x:attribute name={quoteattr(part.name)}{use}>{_about(part)}{self.simple(part)}</x:attribute>"
        )

    def simple(self, part: Part) -> str:
        facets = [("enumeration", choice) for choice in part.choices] or part.facets
        inner = "".join(f"<x:{facet} value={quoteattr(value)}/>" for facet, value in facets)
        return f'<x:simpleType><x:restriction base="x:{part.type or "token"}">{inner}</x:restriction></x:simpleType>'


_XSD = "http://www.w3.org/2001/XMLSchema"


def _about(part: Part) -> str:
    if not part.about:
        return ""
    text = part.about.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<x:annotation><x:documentation>{text}</x:documentation></x:annotation>"
