"""What was drawn for a schema, part by part, and the words of the parts' names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentlora.core.types import JSON
from agentlora.tasks.structured_output.keys import Key
from agentlora.tasks.tool_calling.api_sources import singular, split_words


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is said in one go. `said` is empty where a text says nothing of it; `phrase` says a yes or a no in
    other words (``without a wiki``).
    """

    path: tuple[str, ...]
    said: str
    value: Any
    schema: JSON
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An object: its members in the schema's order."""

    path: tuple[str, ...]
    members: tuple[tuple[str, Node], ...]
    schema: JSON


@dataclass(frozen=True, slots=True)
class Entries:
    """An array."""

    path: tuple[str, ...]
    entries: tuple[Node, ...]
    schema: JSON


Node: TypeAlias = Leaf | Record | Entries


def value_of(node: Node) -> Any:
    """The JSON value of what was drawn."""
    if isinstance(node, Record):
        return {name: value_of(member) for name, member in node.members}
    if isinstance(node, Entries):
        return [value_of(entry) for entry in node.entries]
    return node.value


def place(path: Sequence[str]) -> tuple[str, ...]:
    """A path without the keys that were drawn: all members of such an object are of one kind."""
    return tuple("" if isinstance(part, Key) else part for part in path)


def named(path: Sequence[str]) -> str:
    """A path in words: ``lines.[].count``."""
    return ".".join(part or "[]" for part in place(path)) or "(all of it)"


def filled(node: Node) -> Iterator[str]:
    """The names (`named`) of the parts that have a value of their own: no null, nothing empty."""
    if isinstance(node, Leaf) and node.value in (None, [], {}):
        return
    yield named(node.path)
    inner = [part for _, part in node.members] if isinstance(node, Record) else ()
    for part in node.entries if isinstance(node, Entries) else inner:
        yield from filled(part)


def words_of_path(path: Sequence[str]) -> tuple[str, ...]:
    """The words of its last name; of an array's entry, those of the array in the singular."""
    for depth, name in enumerate(reversed(path)):
        if name and not isinstance(name, Key):
            words = words_in(name)
            return singular(words) if depth else words
    return ()


def words_in(name: str) -> tuple[str, ...]:
    """The words of a name; of one that has other letters than English, as it is written."""
    words = split_words(name) if name.isascii() else ()
    return words or tuple(re.split(r"[\s_-]+", name.strip().lower())) or (name,)
