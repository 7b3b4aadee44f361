"""Rows shared out over train, dev and test: what belongs together stays together, and which goes where is by hash.

There may be millions of rows, so that they are known by their numbers here, and little of each is in memory.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby

from agentlora.core.examples import Examples
from agentlora.core.files import sha256_json
from agentlora.core.types import Example, Split

GROUP_ROWS = 8
"""Members of an example's group at most: a group is also the unit of the bootstrap."""
ROWS_FOR_ALL_SPLITS = 10
"""From so many rows on, no split with a share stays empty."""


@dataclass(slots=True)
class Divided:
    """`rows`, and the numbers of those in each split, in order.

    By a row's number: `prefixes`, a digest of what it has in common with others of its group (8 bytes); `groups`, which
    of the groups with this prefix it is in; `tools`, a number that rows with the same list of tools share; `clusters`,
    a number that rows share which stayed together, 0 where a row is alone.
    """

    rows: Examples
    splits: dict[Split, Sequence[int]]
    prefixes: Sequence[int]
    groups: Sequence[int]
    tools: Sequence[int]
    clusters: Sequence[int]

    def examples(self, split: Split) -> Iterator[Example]:
        """The rows of a split with their groups, and a tag ``tools`` that is ``new`` when no training row has the same
        list of tools.

        A task may count new tools only: where dev or test has none, their rows are ``new`` all the same, since
        their requests are. Groups of dev and test are what statistics count: rows that stayed together are one there,
        whatever their tools.
        """
        trained = self.trained_tools()
        numbers = self.splits[split]
        requests_only = split != "train" and all(self.tools[number] in trained for number in numbers)
        for number in numbers:
            row = self.rows[number]
            new = requests_only or self.tools[number] not in trained
            together = self.clusters[number] if split != "train" else 0
            alike = f"{self.prefixes[number]:016x}-{split}-{self.groups[number]}"
            yield replace(
                row,
                group=f"{split}-{together}" if together else alike,
                tags={**row.tags, "tools": "new" if new else "trained"},
            )

    def trained_tools(self) -> set[int]:
        """The lists of tools that training rows have."""
        return {self.tools[number] for number in self.splits["train"]}


def divide(rows: Examples, test_share: float, dev_share: float, seed: int) -> Divided:
    """Rows of the same ``group``, and rows of the same messages, stay together; which go where is by hash.

    The examples' own groups become: rows of one split with the same system prompt and tools, `GROUP_ROWS` at
    most; in dev and test, those that had to stay together.
    """
    prefixes, tools = _prefixes_and_tools(rows)
    order, sizes = _clusters(rows, seed)
    least = 1 if len(rows) >= ROWS_FOR_ALL_SPLITS else 0
    wanted = [max(least, round(share * len(rows))) if share else 0 for share in (test_share, dev_share)]
    test, left = _take(range(len(sizes)), sizes, wanted[0])
    dev, train = _take(left, sizes, wanted[1])
    begins = array("q", [0])
    for size in sizes:
        begins.append(begins[-1] + size)
    groups, together = array("q", bytes(8 * len(rows))), array("q", bytes(8 * len(rows)))
    splits: dict[Split, Sequence[int]] = {}
    for split, clusters in (("train", train), ("dev", dev), ("test", test)):
        numbers = array("q")
        for cluster in clusters:
            members = order[begins[cluster] : begins[cluster + 1]]
            numbers += members
            for number in members if len(members) > 1 else ():
                together[number] = cluster + 1
        counts: Counter[int] = Counter()
        for number in numbers:
            groups[number] = counts[prefixes[number]] // GROUP_ROWS
            counts[prefixes[number]] += 1
        splits[split] = numbers  # type: ignore[index]
    return Divided(rows, splits, prefixes, groups, tools, together)


def _prefixes_and_tools(rows: Examples) -> tuple[array[int], array[int]]:
    prefixes, tools = array("Q"), array("q")
    lists: dict[bytes, int] = {}
    for row in rows:
        system = [message for message in row.messages[:1] if message["role"] == "system"]
        prefixes.append(int(sha256_json([system, row.tools])[:16], 16))
        of_each = sorted({sha256_json(tool) for tool in row.tools})
        tools.append(lists.setdefault(sha256("".join(of_each).encode()).digest()[:16], len(lists)))
    return prefixes, tools


def _clusters(rows: Examples, seed: int) -> tuple[array[int], array[int]]:
    """The numbers of all rows, cluster behind cluster in an order by hash; and how many each cluster has.

    Rows are joined by a shared group or by the same messages; what joins a cluster is hashed by the least of its names.
    """
    joined = _Joined()
    own = bytearray()
    for row in rows:
        messages = bytes.fromhex(sha256_json(row.messages))
        own += messages
        for other in (_GROUP + row.group.encode() if row.group else b"", _nearly(row)):
            if other:
                joined.join(_MESSAGES + messages, other)
    hashes = [_hash(seed, joined.least(_MESSAGES + own[32 * n : 32 * n + 32])) for n in range(len(rows))]
    order = array("q", sorted(range(len(rows)), key=hashes.__getitem__))
    sizes = array("q", (sum(1 for _ in members) for _, members in groupby(order, hashes.__getitem__)))
    return order, sizes


# in this order: a group names its cluster, and then messages do
_GROUP, _MESSAGES, _NEARLY = b"g", b"m", b"n"


class _Joined:
    """Names, some of which are known to mean the same; each as few bytes as it can be."""

    def __init__(self) -> None:
        self._parent: dict[bytes, bytes] = {}

    def least(self, name: bytes) -> bytes:
        """The least of the names that mean the same."""
        parent = self._parent
        while (found := parent.get(name, name)) != name:
            parent[name] = name = parent.get(found, found)
        return name

    def join(self, one: bytes, other: bytes) -> None:
        low, high = sorted((self.least(one), self.least(other)))
        if low != high:
            self._parent[high] = low


def _hash(seed: int, name: bytes) -> bytes:
    said = f"group {name[1:].decode()}" if name[:1] == _GROUP else f"messages {name[1:].hex()}"
    return bytes.fromhex(sha256_json([seed, said]))


def _nearly(row: Example) -> bytes:
    """What rows share that ask nearly the same: their turns without case, punctuation and spaces."""
    said = [
        re.sub(r"[\W_]+", " ", str(m.get("content") or "")).strip().lower()
        for m in row.messages
        if m["role"] != "system"
    ]
    return _NEARLY + bytes.fromhex(sha256_json(said))[:16] if any(said) else b""


def _take(clusters: Sequence[int], sizes: Sequence[int], wanted: int) -> tuple[Sequence[int], Sequence[int]]:
    """Part off `wanted` rows, or as many fewer as whole clusters ask for; returns those and what is left.

    When the smallest cluster is too large already, it is taken all the same, unless nothing were left.
    """
    taken, left = array("q"), array("q")
    room = wanted
    for cluster in clusters:
        fits = sizes[cluster] <= room
        (taken if fits else left).append(cluster)
        room -= sizes[cluster] if fits else 0
    if wanted and not taken and len(left) > 1:
        taken.append(left.pop(min(range(len(left)), key=lambda i: sizes[left[i]])))
    return taken, left


def about_tools(divided: Divided) -> str:
    """What the card says of test's tools."""
    test, trained = divided.splits["test"], divided.trained_tools()
    new = sum(divided.tools[number] not in trained for number in test)
    if not test or new == len(test):
        return ""
    if not new:
        return "The tools of the test rows were trained on; their requests were not."
    return (
        f"Of {len(test)} test rows, {new} offer tools that were not trained on; where a task decides on new "
        "tools, only they count. To hold out whole tool lists, give the rows of each list a 'group' of its own."
    )
