"""Values of a JSON Schema that are written as XML, and read back from it, typed.

Such a schema says in ``x-xml`` how its values are written. The outermost one has, beside a ``$ref`` to the rest:

- ``root`` (the name of the document's element), ``prefixes`` (namespace → prefix; an empty one is the default), and
  ``files``: the XML Schema that a document has to fit, by file name, the main one first.

Within it, names are in Clark's notation (``{namespace}name``), an attribute's with ``@`` before it:

- of an object: ``elements`` and ``attributes`` (property → name; elements in the document's order), and ``text`` (the
  property that is the element's text).
- of an array that is one element around its entries: ``entry``, their name. The entries of another array stand in its
  place, one after the other.
- ``empty``: an element without content, which says what it has to say by being there. ``space``: ``preserve`` or
  ``replace`` where white space in a text counts; else its ends and double spaces do not. ``drawn``: a pattern of the
  texts that are made up for it, where nothing says what they look like.

All else is in plain JSON Schema: `null` is an element with ``xsi:nil``; ``default`` of an attribute is what its absence
means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from agentlora.core.types import JSON

KEY = "x-xml"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
XML = "http://www.w3.org/XML/1998/namespace"
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400  # characters
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def in_xml(schema: Any) -> bool:
    """Whether values of a schema are written as XML."""
    form = schema.get(KEY) if isinstance(schema, Mapping) else None
    if not isinstance(form, Mapping) or not isinstance(form.get("root"), str):
        return False
    return _of_texts(form.get("files")) and _of_texts(form.get("prefixes", {})) and bool(form["files"])


def _of_texts(names: Any) -> bool:
    return isinstance(names, Mapping) and all(
        isinstance(part, str) for item in names.items() for part in item
    )


def value_schema(schema: JSON) -> JSON:
    """The JSON Schema of the values alone, without the XML Schema."""
    return {key: part for key, part in schema.items() if key != KEY}


# --- writing ------------------------------------------------------------------------------------


def write_xml(schema: JSON, value: Any) -> str:
    """The XML document, on one line, that says `value`.

    Raises:
        ValueError: the value has a part that the schema does not name.
    """
    return _Writer(schema).document(value)


class Names:
    """Names as a document writes them. `used`: the namespaces of those that were asked for."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.prefixes: dict[str, str] = {XSI: "xsi", **prefixes, XML: "xml"}
        self.used: set[str] = set()

    def name(self, clark: str) -> str:
        uri, _, local = clark.rpartition("}")
        uri = uri.removeprefix("{")
        if not uri:
            return local
        self.used.add(uri)
        prefix = self.prefixes.get(uri, "")
        return f"{prefix}:{local}" if prefix else local

    def declared(self) -> list[str]:
        """The attributes that declare those that were used."""
        return [
            f"xmlns{':' if prefix else ''}{prefix}={quoteattr(uri)}"
            for uri, prefix in self.prefixes.items()
            if uri in self.used and uri != XML
        ]


class _Writer:
    def __init__(self, schema: JSON) -> None:
        self.schema, self.form = schema, schema[KEY]
        self.names = Names(self.form.get("prefixes", {}))

    def document(self, value: Any) -> str:
        whole = self.element(self.form["root"], self.schema, value)
        named = [f" {said}" for said in self.names.declared()]
        end = re.search(r"[\s/>]", whole)
        assert end is not None
        return whole[: end.start()] + "".join(named) + whole[end.start() :]

    def element(self, name: str, schema: Any, value: Any) -> str:
        tag, attributes, content = self.names.name(name), "", ""
        if value is None:
            self.names.used.add(XSI)
            return f'<{tag} xsi:nil="true"/>'
        part = alternative(self.schema, schema)
        form = part.get(KEY, {})
        if isinstance(value, list):
            if "entry" not in form:
                raise ValueError(f"<{tag}> stands for several values where one is expected")
            content = "".join(self.element(form["entry"], part.get("items", {}), entry) for entry in value)
        elif isinstance(value, Mapping):
            attributes, content = self.members(tag, part, form, value)
        elif form.get("empty"):
            if value is not True:
                raise ValueError(f"<{tag}> is there, or it is not; it holds nothing")
        else:
            content = escaped(value)
        return f"<{tag}{attributes}>{content}</{tag}>" if content else f"<{tag}{attributes}/>"

    def members(
        self, tag: str, part: Mapping[str, Any], form: Mapping[str, Any], value: Mapping[str, Any]
    ) -> tuple[str, str]:
        """(the attributes, the content) of an element with parts."""
        elements, attributes = form.get("elements", {}), form.get("attributes", {})
        known = {*elements, *attributes, form.get("text")}
        if strange := [key for key in value if key not in known]:
            raise ValueError(f"<{tag}> has no {strange[0]!r}")
        for key in attributes:
            if isinstance(value.get(key), Mapping | list):
                raise ValueError(f"the attribute {key!r} of <{tag}> is one value")
        said = "".join(
            f" {self.names.name(name)}={quoteattr(written(value[key]))}"
            for key, name in attributes.items()
            if key in value
        )
        content = escaped(value[form["text"]]) if form.get("text") in value else ""
        for key, name in elements.items():
            if key not in value:
                continue
            inner = member(part, key)
            listed = alternative(self.schema, inner)
            if isinstance(value[key], list) and "entry" not in listed.get(KEY, {}):
                content += "".join(self.element(name, listed.get("items", {}), entry) for entry in value[key])
            else:
                content += self.element(name, inner, value[key])
        return said, content


def written(value: Any) -> str:
    """A text, number or truth value as XML Schema writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{Decimal(repr(value)).normalize():f}" if math.isfinite(value) else str(value)
    return str(value)


def escaped(value: Any) -> str:
    return escape(written(value), {"\r": "&#13;"})


# --- reading ------------------------------------------------------------------------------------


def read_value(schema: JSON, root: Element) -> Any:
    """The value that a document says, whether it fits or not: typed where a text is of the expected type, else as
    text. A part counts under its name wherever it stands (in another namespace or order, as an attribute in place of
    an element), and one that nobody expects too: whether all stands where it should is for `core.xml_schema`.
    """
    return _Reader(schema).element(schema, root)


class _Reader:
    def __init__(self, schema: JSON) -> None:
        self.schema = schema

    def element(self, schema: Any, element: Element) -> Any:
        if _nil(element) and not len(element) and not (element.text or "").strip():
            return None
        part = alternative(self.schema, schema)
        form = part.get(KEY, {})
        plain = not len(element) and not _attributes(element)
        if "entry" in form:
            return [self.element(part.get("items", {}), child) for child in element]
        if "elements" in form or "attributes" in form:
            return self.members(part, form, element)
        if form.get("empty"):
            return True if plain and not (element.text or "").strip() else _generic(element)
        if len(element):
            return _generic(element)
        text = element.text or ""
        return part["default"] if not text and "default" in part else typed(part, text)

    def members(self, part: Mapping[str, Any], form: Mapping[str, Any], element: Element) -> JSON:
        found: JSON = {}
        of_attributes = _by_name(form.get("attributes", {}))
        of_elements = _by_name(form.get("elements", {}))
        for name, text in _attributes(element).items():
            local = _local(name)
            key = of_attributes(name) or of_elements(local) or local
            _add(found, key, typed(alternative(self.schema, member(part, key)), text))
        for child in element:
            local = _local(child.tag)
            key = of_elements(child.tag) or of_attributes(local) or local
            inner = member(part, key)
            listed = alternative(self.schema, inner)
            if "items" in listed and "entry" not in listed.get(KEY, {}):
                entry = self.element(listed["items"], child)
                if not isinstance(found.get(key), list):
                    found[key] = _list(found.get(key))
                found[key].append(entry)
            else:
                _add(found, key, self.element(inner, child))
        if content := form.get("text"):
            _add(found, content, typed(alternative(self.schema, member(part, content)), element.text or ""))
        required = part.get("required", ())
        for key in form.get("attributes", {}):
            default = member(part, key).get("default")
            if key in found and key not in required and default is not None and found[key] == default:
                del found[key]
        return found


def _by_name(names: Mapping[str, str]) -> Callable[[str], str | None]:
    """Finds the key of a name; of one in another namespace by its local part."""
    whole = {name: key for key, name in names.items()}
    local = {_local(name): key for key, name in names.items()}
    return lambda name: whole.get(name) or local.get(_local(name))


def _attributes(element: Element) -> dict[str, str]:
    return {key: text for key, text in element.attrib.items() if not key.startswith(f"{{{XSI}}}")}


def _nil(element: Element) -> bool:
    return element.get(f"{{{XSI}}}nil", "").strip() in ("true", "1")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _add(found: JSON, key: str, value: Any) -> None:
    if key not in found:
        found[key] = value
    elif isinstance(found[key], list):
        found[key].append(value)
    else:
        found[key] = [*_list(found[key]), value]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _generic(element: Element) -> Any:
    """What stands in an element that nobody expects: a text, or its parts by name."""
    if not len(element) and not _attributes(element):
        return (element.text or "").strip()
    found: JSON = {_local(name): text for name, text in _attributes(element).items()}
    for child in element:
        _add(found, _local(child.tag), _generic(child))
    if text := (element.text or "").strip():
        _add(found, _local(element.tag), text)
    return found


def typed(part: Mapping[str, Any], text: str) -> Any:
    """The value of a text under the schema of a part; the text itself where it is of another type."""
    space = part.get(KEY, {}).get("space")
    if space != "preserve":
        text = re.sub(r"[\t\r\n]", " ", text) if space else re.sub(r"[ \t\r\n]+", " ", text).strip(" ")
    kinds = _kinds(part)
    if "boolean" in kinds and text in _BOOLEANS:
        return _BOOLEANS[text]
    if {"integer", "number"} & kinds and len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        if re.fullmatch(r"[+-]?[0-9]+", text):
            return int(text)
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _kinds(part: Mapping[str, Any]) -> set[str]:
    """The types of JSON that a value of it can have."""
    if "const" in part or isinstance(part.get("enum"), list):
        values = part.get("enum") or [part.get("const")]
        names = {bool: "boolean", int: "integer", float: "number"}
        return {names.get(type(value), "string") for value in values}
    kind = part.get("type")
    return {kind} if isinstance(kind, str) else set(kind or ())


# --- schemas ------------------------------------------------------------------------------------


def resolved(schema: JSON, part: Any) -> Mapping[str, Any]:
    """`part`, or what it refers to within `schema`."""
    for _ in range(8):
        if not isinstance(part, Mapping) or "$ref" not in part:
            break
        part = schema.get("$defs", {}).get(str(part["$ref"]).removeprefix("#/$defs/"), {})
    return part if isinstance(part, Mapping) else {}


def alternative(schema: JSON, part: Any) -> Mapping[str, Any]:
    """`part` resolved; of one that may be null, what it is when it is not."""
    found = resolved(schema, part)
    if KEY not in found and isinstance(found.get("anyOf"), list):
        others = [one for one in found["anyOf"] if one != {"type": "null"}]
        return resolved(schema, others[0]) if len(others) == 1 else found
    return found


def member(part: Mapping[str, Any], key: str) -> JSON:
    """The schema of a property, which may stand in one of several alternatives."""
    for place in (part, *part.get("oneOf", ())):
        if key in place.get("properties", {}):
            inner: JSON = place["properties"][key]
            return inner
    return {}
