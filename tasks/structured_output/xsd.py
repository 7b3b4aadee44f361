"""An XML Schema as the JSON Schema of its documents' values, which says how they are written (`core.xml_values`)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.types import JSON
from agentlora.core.xml_schema import xml_schema
from agentlora.core.xml_text import without_notes
from agentlora.core.xml_values import KEY, XML
from agentlora.tasks.structured_output.xsd_files import XSD, root_element, schema_files
from agentlora.tasks.structured_output.xsd_types import Untaken, simple_schema

MOST_CARRIED = 256 << 10  # characters: every example has the schema with it
MOST_CHOSEN = 24  # combinations of the alternatives of one element
MOST_DEEP = 60
MOST_REQUIRED = 50  # entries of one list
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def read_xsd(path: Path, root: str = "") -> tuple[str, JSON, dict[str, str]]:
    """(the document's element, the schema of its value, what of it is never in a value → why) of an ``.xsd`` file.

    Args:
        root: the global element that a document is; where it is empty, the only one that is part of no other.

    Raises:
        DataError: the file, or one that it includes or imports, cannot be read or is none; or no document of it has a
            value.
    """
    files = schema_files(path)
    return schema_of(files, root, str(path))


def schema_of(files: dict[str, str], root: str, source: str) -> tuple[str, JSON, dict[str, str]]:
    """As `read_xsd`, of the texts of files, the main one first. `source`: what errors call it."""
    try:
        found = xml_schema(tuple(files.items()))
    except DataError as exc:
        raise DataError(f"{source}: {exc}") from exc
    element = root_element(found, root, source)
    carried = {name: without_notes(text, XSD, "annotation") for name, text in files.items()}
    if (size := sum(map(len, carried.values()))) > MOST_CARRIED:
        raise DataError(
            f"{source} has {size >> 10} KB without its notes, and every example carries it; at most "
            f"{MOST_CARRIED >> 10} KB are taken. Cut out the parts that <{element.local_name}> has no need of."
        )
    translation = _Translation(found)
    try:
        body = translation.element(element, (), 0)
    except Untaken as exc:
        raise DataError(f"{source}: <{element.local_name}> cannot be taken: {exc}") from exc
    except RecursionError as exc:
        raise DataError(f"{source}: its types are nested too deeply") from exc
    form = {
        "root": element.name,
        "prefixes": translation.prefixes(element.target_namespace, source),
        "files": carried,
    }
    return (
        str(element.local_name),
        {**body, "$defs": translation.definitions, KEY: form},
        translation.left_out,
    )


# --- translation --------------------------------------------------------------------------------


class _Translation:
    """Turns the parts of one XML Schema into JSON Schema.

    `definitions`: those of elements with parts, by name. `left_out`: optional parts that cannot be taken → why.
    """

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.definitions: JSON = {}
        self.left_out: dict[str, str] = {}
        self._known: dict[tuple[int, str], str] = {}
        self._failed: dict[tuple[int, str], str] = {}
        self._elements: set[str] = set()  # names that documents can have
        self._attributes: set[str] = set()

    def prefixes(self, namespace: str, source: str) -> dict[str, str]:
        """Namespace → prefix of all names that are used: none for the root's where every name can do without."""
        spaces = [_space(name) for name in sorted(self._elements)]
        bare = "" not in spaces and namespace not in map(_space, self._attributes)
        found = {namespace: ""} if namespace and bare else {}
        taken = {"xs", "xsi", "xml"}
        given = {uri: prefix for prefix, uri in self.schema.namespaces.items() if _PREFIX.fullmatch(prefix)}
        for uri in dict.fromkeys([namespace, *spaces, *map(_space, sorted(self._attributes))]):
            if uri in ("", XML) or uri in found:
                continue
            names = itertools.chain([given.get(uri, "ns")], (f"ns{i}" for i in itertools.count(2)))
            found[uri] = next(name for name in names if name not in taken)
            taken.add(found[uri])
        return found

    def element(self, element: Any, path: tuple[str, ...], depth: int) -> JSON:
        """The schema of one element's value."""
        where = (*path, str(element.local_name))
        if depth > MOST_DEEP:
            raise Untaken("its types are nested too deeply")
        if element.abstract:
            raise Untaken("it is abstract: another stands in its place (a substitution group)")
        if self.schema.maps.substitution_groups.get(element.name):
            self._note(where, "others may stand in its place (a substitution group), and are never written")
        found = self.type(element.type, where, depth)
        about = _documentation(element)
        if not element.type.is_simple():
            pass
        elif element.fixed is not None:
            found = {"const": simple_schema(element.type, [element.fixed])["enum"][0]}
        elif element.default is not None:
            found = {**found, "default": simple_schema(element.type, [element.default])["enum"][0]}
        if about:
            found = {**found, "description": about}
        self._elements.add(element.name)
        return {"anyOf": [found, {"type": "null"}]} if element.nillable else found

    def type(self, type_: Any, path: tuple[str, ...], depth: int) -> JSON:
        if type_.is_simple():
            return simple_schema(type_)
        # the text of an element with attributes is called as the element
        known_as = (id(type_), path[-1] if type_.has_simple_content() else "")
        if known_as in self._failed:
            raise Untaken(self._failed[known_as])
        if known_as not in self._known:
            before = set(self.definitions)
            known = dict(self._known)
            name = self._name(type_, path)
            self._known[known_as] = name
            self.definitions[name] = {}
            try:
                self.definitions[name] = self.complex(type_, path, depth)
            except Untaken as exc:
                self._failed[known_as] = str(exc)
                self.definitions = {key: part for key, part in self.definitions.items() if key in before}
                self._known = known
                raise
        return {"$ref": f"#/$defs/{self._known[known_as]}"}

    def _name(self, type_: Any, path: tuple[str, ...]) -> str:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(type_.local_name or path[-1]))
        names = itertools.chain([name], (f"{name}.{i}" for i in itertools.count(2)))
        return next(one for one in names if one not in self.definitions)

    def complex(self, type_: Any, path: tuple[str, ...], depth: int) -> JSON:
        """The schema of an element with attributes or parts."""
        if type_.abstract:
            raise Untaken("its type is abstract: documents name another (xsi:type)")
        if str(type_.name) == f"{{{XSD}}}anyType":
            raise Untaken("it has no type, so that anything may stand in it")
        if type_.mixed:
            raise Untaken("text and elements stand mixed in it")
        attributes = dict(self.attributes(type_, path))
        form: JSON = {}
        if attributes:
            form["attributes"] = {key: name for key, (name, _, _) in attributes.items()}
            self._attributes |= {name for name, _, _ in attributes.values()}
        properties = {key: part for key, (_, part, _) in attributes.items()}
        required = [key for key, (_, _, needed) in attributes.items() if needed]
        if type_.has_simple_content():
            if not attributes:
                return simple_schema(type_.content)
            key = next(name for name in (path[-1], "value", "text", "content") if name not in properties)
            form["text"] = key
            properties[key] = simple_schema(type_.content)
            return _object(properties, [*required, key], form)
        content = type_.content
        ways = list(self.group(content, path, depth)) if content is not None and len(content) else [_Way()]
        names = _in_order(ways)
        for key in (key for key in names if key in properties):
            if key in required:
                raise Untaken(f"{key!r} is both an attribute and an element of it")
            self._note((*path, f"@{key}"), "an element beside it is called so too")
            del properties[key], attributes[key], form["attributes"][key]
        if not names and not properties:
            return {"enum": [True], KEY: {"empty": True}}
        form["elements"] = {key: next(way.names[key] for way in ways if key in way.names) for key in names}
        if not attributes and len(ways) == 1 and len(names) == 1 and "items" in ways[0].parts[names[0]]:
            wrapped = ways[0].parts[names[0]]  # an element around the entries of a list is the list
            if KEY not in wrapped:
                least = wrapped["minItems"] if names[0] in ways[0].required else 0
                return {**wrapped, "minItems": least, KEY: {"entry": form["elements"][names[0]]}}
        if len(ways) == 1:
            return _object(properties | ways[0].parts, required + ways[0].required, form)
        common = [key for key in names if all(way.parts.get(key) == ways[0].parts.get(key) for way in ways)]
        always = [key for key in common if all(key in way.required for way in ways)]
        shared = [key for key in common if key in always or not any(key in way.required for way in ways)]
        whole = _object(properties | {key: ways[0].parts[key] for key in shared}, required + always, form)
        whole["oneOf"] = [
            _object({key: part for key, part in way.parts.items() if key not in shared},
                    [key for key in way.required if key not in shared])
            for way in ways
        ]  # fmt: skip
        return whole

    def attributes(self, type_: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, JSON, bool]]]:
        """(property, (name, schema, whether it is required)) of each attribute."""
        seen: set[str] = set()
        for name, attribute in type_.attributes.items():
            if name is None:
                self._note((*path, "@*"), "attributes of any name are never written")
                continue
            if attribute.use == "prohibited":
                continue
            where = (*path, f"@{attribute.local_name}")
            if attribute.local_name in seen:  # in two namespaces
                if attribute.is_required():
                    raise Untaken(f"two attributes of it are called {attribute.local_name!r}")
                self._note(where, "another attribute is called so too")
                continue
            seen.add(attribute.local_name)
            try:
                part = simple_schema(attribute.type)
                given = attribute.fixed if attribute.fixed is not None else attribute.default
                if given is not None:
                    value = simple_schema(attribute.type, [given])["enum"][0]
                    part = {"const": value} if attribute.fixed is not None else dict(part)
                    part |= {} if attribute.is_required() else {"default": value}
            except Untaken as exc:
                if attribute.is_required():
                    raise Untaken(f"its attribute {attribute.local_name!r} is required: {exc}") from exc
                self._note(where, str(exc))
                continue
            about = _documentation(attribute)
            yield (
                str(attribute.local_name),
                (name, part | ({"description": about} if about else {}), attribute.is_required()),
            )

    def group(self, group: Any, path: tuple[str, ...], depth: int) -> Iterator[_Way]:
        """Every way in which a group of elements can be there."""
        optional = group.min_occurs == 0
        repeated = group.max_occurs is None or group.max_occurs > 1
        if group.max_occurs == 0:
            yield _Way()
            return
        if repeated and (group.model != "choice" or any(not _is_element(part) for part in group)):
            raise Untaken("a group of elements is repeated, whose order says what belongs together")
        parts = [list(self._particle(part, path, depth, repeated)) for part in group]
        if repeated:  # a list of each, in the schema's order
            ways = [_Way.joined([_Way.optional(way) for found in parts for way in found])]
        elif group.model == "choice":
            ways = [way for found in parts for way in found]
            if not ways:
                raise Untaken("none of the elements of a choice can be taken")
        else:
            if (count := _product(map(len, parts))) > MOST_CHOSEN:
                raise Untaken(f"its choices can be combined in {count} ways; at most {MOST_CHOSEN} are taken")
            ways = [_Way.joined(list(chosen)) for chosen in itertools.product(*parts)]
        if optional and not repeated and all(way.required for way in ways):
            ways.append(_Way())
        yield from _different(ways)

    def _particle(self, part: Any, path: tuple[str, ...], depth: int, repeated: bool) -> Iterator[_Way]:
        """The ways of one part of a group. What cannot be taken is left out where it may be absent."""
        of_choice = part.parent is not None and getattr(part.parent, "model", "") == "choice"
        try:
            if _is_element(part):
                yield self._of_element(part, path, depth, repeated)
            elif hasattr(part, "model"):
                yield from list(self.group(part, path, depth))
            else:
                raise Untaken("any element can stand there (xs:any)")
        except Untaken as exc:
            if part.min_occurs > 0 and not of_choice:
                what = f"<{part.local_name}>: " if _is_element(part) else ""
                raise Untaken(f"{what}{exc}") from exc
            self._note((*path, str(getattr(part, "local_name", None) or "*")), str(exc))
            if not of_choice:
                yield _Way()

    def _of_element(self, element: Any, path: tuple[str, ...], depth: int, repeated: bool) -> _Way:
        if element.max_occurs == 0:
            return _Way()
        if element.min_occurs > MOST_REQUIRED:
            raise Untaken(
                f"it has to be there {element.min_occurs} times; at most {MOST_REQUIRED} are written"
            )
        key = str(element.local_name)
        found = self.element(element, path, depth + 1)
        most = element.max_occurs
        if repeated or most is None or most > 1:
            found = {
                "type": "array",
                "items": found,
                "minItems": 1 if repeated else max(1, element.min_occurs),
            }
            if most is not None and not repeated:
                found["maxItems"] = most
        needed = [key] if element.min_occurs > 0 else []
        return _Way({key: found}, {key: element.name}, needed)

    def _note(self, path: tuple[str, ...], why: str) -> None:
        self.left_out.setdefault("/".join(path), why)


class _Way:
    """Elements that stand together: their schemas, their names, and which of them are required."""

    def __init__(
        self,
        parts: JSON | None = None,
        names: dict[str, str] | None = None,
        required: list[str] | None = None,
    ) -> None:
        self.parts, self.names, self.required = parts or {}, names or {}, required or []

    @classmethod
    def joined(cls, ways: list[_Way]) -> _Way:
        whole = cls()
        for way in ways:
            if twice := sorted(set(whole.parts) & set(way.parts)):
                raise Untaken(f"<{twice[0]}> stands in two places of it")
            whole = cls(whole.parts | way.parts, whole.names | way.names, [*whole.required, *way.required])
        return whole

    def optional(self) -> _Way:
        return _Way(self.parts, self.names, [])


def _different(ways: list[_Way]) -> Iterator[_Way]:
    seen: list[Any] = []
    for way in ways:
        if (way.parts, way.required) not in seen:
            seen.append((way.parts, way.required))
            yield way


def _in_order(ways: list[_Way]) -> list[str]:
    """All their elements, in an order that is right for each of them."""
    names: list[str] = []
    for way in ways:
        after = 0
        for key in way.parts:
            if key not in names:
                names.insert(after, key)
            after = names.index(key) + 1
    return names


def _is_element(part: Any) -> bool:
    return hasattr(part, "type") and hasattr(part, "nillable")


def _product(counts: Any) -> int:
    whole = 1
    for count in counts:
        whole *= count
    return whole


def _object(properties: JSON, required: list[str], form: JSON | None = None) -> JSON:
    found: JSON = {"type": "object", "properties": properties, "required": required}
    return found | ({KEY: form} if form else {})


def _space(name: str) -> str:
    return name.rpartition("}")[0].removeprefix("{")


def _documentation(part: Any) -> str:
    """What its first note says of it, on one line."""
    annotation = part.annotation
    texts = [str(note.text or "") for note in annotation.documentation] if annotation is not None else []
    return " ".join(texts[0].split())[:200] if texts else ""
