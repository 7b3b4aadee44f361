"""Texts in another structured form than the answer's: JSON with other keys, YAML, CSV with a header, dotted lines."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from agentlora.tasks.structured_output.keys import Key
from agentlora.tasks.structured_output.labels import pick
from agentlora.tasks.structured_output.nodes import Entries, Leaf, Node, Record, place
from agentlora.tasks.wording import Pair

# <t>: what a value of the schema is called, <d>: the data
FRAMES: Pair = (
    ("<d>", "<d>", "Convert this to a <t>:\n\n<d>", "Please turn this into a <t>:\n<d>", "From another system:\n\n<d>",
     "<d>\n\nMake a <t> of it."),
    ("Our old database has this:\n<d>", "Map these data to a <t>:\n\n<d>", "<d>\n\nThe same as a <t>, please."),
)  # fmt: skip
CASES: Pair = (("snake", "camel", "plain", "capital"), ("kebab", "shout"))
SHOWN_EMPTY = 0.5  # of the parts of which nothing is said: as null or an empty list, where the form has such


def convert(node: Node, title: str, label: Callable[[Node], str], held_out: bool, rng: random.Random) -> str:
    """What `node` holds, as another system would write it.

    Args:
        title: what a value of the schema is called.
        label: what a part is called.
        held_out: in the words of dev and test.
    """
    converter = _Converter(label, pick(CASES, held_out, rng), rng)
    ways = [converter.json, converter.yaml, converter.dotted]
    if _rows(node):
        ways += [converter.csv, converter.csv]
    data = rng.choice(ways)(node)
    return pick(FRAMES, held_out, rng).replace("<t>", title).replace("<d>", data) if data else ""


class _Converter:
    def __init__(self, label: Callable[[Node], str], case: str, rng: random.Random) -> None:
        self._label, self._case, self._rng = label, case, rng
        self._called: dict[tuple[str, ...], dict[str, str]] = {}

    def _keys(self, record: Record) -> list[tuple[str, Node]]:
        """Its members by other keys: entries of one list have the same."""
        known = self._called.setdefault(place(record.path), {})
        for name, member in record.members:
            if name not in known:
                label = self._label(member)
                key = label if isinstance(label, Key) else _cased(label, self._case)
                known[name] = name if key in known.values() else key
        return [(known[name], member) for name, member in record.members]

    # --- JSON and YAML --------------------------------------------------------------------------

    def json(self, node: Node) -> str:
        indent = self._rng.choice((None, 2, 2))
        return json.dumps(self._plain(node), indent=indent, ensure_ascii=False)

    def _plain(self, node: Node) -> Any:
        if isinstance(node, Record):
            return {key: self._plain(member) for key, member in self._keys(node) if self._is_shown(member)}
        if isinstance(node, Entries):
            return [self._plain(entry) for entry in node.entries]
        as_it_is = not node.said or isinstance(node.value, bool) or node.said == str(node.value)
        return node.value if as_it_is else node.said

    def _is_shown(self, node: Node) -> bool:
        if not isinstance(node, Leaf) or node.said:
            return True
        return (node.value is None or node.value in ([], {})) and self._rng.random() < SHOWN_EMPTY

    def yaml(self, node: Node) -> str:
        return "\n".join(self._lines(node))

    def _lines(self, node: Node) -> list[str]:
        lines: list[str] = []
        if isinstance(node, Record):
            for key, member in self._keys(node):
                inner = self._lines(member)
                if isinstance(member, Leaf):
                    lines += [f"{key}: {inner[0]}"] if inner else []
                else:
                    lines += [f"{key}:", *("  " + line for line in inner)]
            return lines
        if isinstance(node, Entries):
            for entry in node.entries:
                inner = self._lines(entry)
                lines += [("  " if i else "- ") + line for i, line in enumerate(inner)]
            return lines
        return [node.said] if node.said else []

    # --- lines of paths and values --------------------------------------------------------------

    def dotted(self, node: Node) -> str:
        separator, first = self._rng.choice((" = ", "=", ": ")), self._rng.choice((0, 1))
        found = self._paths(node, "", first)
        return "\n".join(f"{path}{separator}{said}" for path, said in found)

    def _paths(self, node: Node, path: str, first: int) -> list[tuple[str, str]]:
        if isinstance(node, Leaf):
            return [(path or "value", node.said)] if node.said else []
        if isinstance(node, Record):
            inner = [(f"{path}.{key}" if path else key, member) for key, member in self._keys(node)]
        else:
            inner = [(f"{path}[{i}]", entry) for i, entry in enumerate(node.entries, first)]
        return [pair for where, member in inner for pair in self._paths(member, where, first)]

    # --- rows -----------------------------------------------------------------------------------

    def csv(self, node: Node) -> str:
        rows = [dict(self._cells(record, "")) for record in _rows(node)]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._rng.choice((",", ",", ";", "\t")), lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[row.get(column, "") for column in columns] for row in rows])
        return text.getvalue().strip("\n") if columns else ""

    def _cells(self, record: Record, before: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for key, member in self._keys(record):
            column = f"{before}.{key}" if before else key
            if isinstance(member, Record):
                found += self._cells(member, column)
            elif isinstance(member, Entries):
                found.append((column, " | ".join(e.said for e in member.entries if isinstance(e, Leaf))))
            elif member.said:
                found.append((column, member.said))
        return found


def _rows(node: Node) -> Sequence[Record]:
    """The records that a table would have as its rows; none where there are lists of records in them."""
    rows = list(node.entries) if isinstance(node, Entries) else [node]
    return [row for row in rows if isinstance(row, Record)] if all(map(_is_flat, rows)) else []


def _is_flat(node: Node) -> bool:
    if isinstance(node, Record):
        return all(isinstance(m, Leaf) or (isinstance(m, Entries) and all(isinstance(e, Leaf) for e in m.entries))
                   or (isinstance(m, Record) and _is_flat(m)) for _, m in node.members)  # fmt: skip
    return False


def _cased(label: str, case: str) -> str:
    """A label as a key: ``unit_price``, ``unitPrice``, ``unit price``, ``Unit Price``, ``unit-price`` and so on."""
    words = [word for word in label.replace(".", "").replace(":", "").split() if word]
    if not words or case == "plain" or not label.isascii():
        return label
    if case == "camel":
        return words[0].lower() + "".join(word[:1].upper() + word[1:] for word in words[1:])
    if case == "capital":
        return " ".join(word[:1].upper() + word[1:] for word in words)
    if case == "shout":
        return "_".join(words).upper()
    return ("-" if case == "kebab" else "_").join(words).lower()
