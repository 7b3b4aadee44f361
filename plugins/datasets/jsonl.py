"""Examples from files (``--data FILE``), divided into splits so that no request is in two of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Example, Split
from agentlora.plugins.datasets.files import HUB, Source, find_source
from agentlora.plugins.datasets.near import near
from agentlora.plugins.datasets.rows import Rows, parse_rows

GROUP_ROWS = 8
"""Members of an example's group at most: a group is also the unit of the bootstrap."""
MOST_TOLD = 100
"""Broken rows that the data card tells of."""
ROWS_FOR_ALL_SPLITS = 10
"""From so many rows on, no split with a share stays empty."""


class JsonlParams(Strict):
    """Which file, and how much of it is held out."""

    path: str
    """A file (.jsonl, .json, .csv, .tsv, .parquet), a folder of such, or ``hf://owner/name:split``."""
    strict: bool = False
    """Refuse the whole file where a row is broken; else broken rows are left out, and told."""
    dev_share: float = Field(0.1, ge=0, le=0.5)
    test_share: float = Field(0.1, ge=0, le=0.5)
    near_duplicates: float = Field(0.85, gt=0, le=1)
    """Training rows are left out that ask so nearly what a row of dev or test asks, and have the same answer; 1: none
    (see `near`)."""
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class _Divided:
    digest: str
    splits: Mapping[Split, Sequence[Example]]
    notes: str
    bad: Sequence[str] = ()
    formats: Mapping[str, int] = field(default_factory=dict)


class Jsonl:
    """The dataset builder ``jsonl``. A row's ``group``, where given, keeps rows in one split; see `divide`."""

    Params = JsonlParams
    answers: ClassVar[bool] = True
    """Whether every row has to bring its answer."""

    def __init__(self) -> None:
        self._last: tuple[object, int, _Divided] | None = None

    def build(self, split: Split, params: JsonlParams, seed: int) -> Iterator[Example]:
        """The rows of one split; a row that repeats another is dropped.

        Raises:
            DataError: the file cannot be read or is empty, or a row is broken; names file and line.
        """
        yield from self._divided(params, seed).splits[split]

    def card(self, params: JsonlParams) -> JSON:
        """The file by name and digest; the notes are about the splits last built. Raises DataError as `build`."""
        divided = self._divided(params, None)
        version = f"sha256:{divided.digest}"
        name = params.path if params.path.startswith(HUB) else Path(params.path).name
        bad = {"quarantined": list(divided.bad[:MOST_TOLD])} if divided.bad else {}
        return {
            "sources": [{"name": name, "licence": params.licence, "version": version}],
            "notes": divided.notes,
            "formats": dict(divided.formats),
            **bad,
        }

    def _divided(self, params: JsonlParams, seed: int | None) -> _Divided:
        """Parsed once for all splits; without a `seed`, the one that was used last."""
        source = find_source(params.path)
        key = (source.name, source.stamp(), params.model_dump_json())
        if self._last and self._last[0] == key and seed in (None, self._last[1]):
            return self._last[2]
        divided = _read(source, params, seed or 0, self.answers)
        self._last = (key, seed or 0, divided)
        return divided


class Prompts(Jsonl):
    """The dataset builder ``prompts``: rows that somebody else answers (``messages`` that end with the user's turn, or
    ``prompt``). Rows with an answer keep it where they are evaluated.
    """

    answers: ClassVar[bool] = False


def _read(source: Source, params: JsonlParams, seed: int, answers: bool) -> _Divided:
    found = parse_rows(source.rows(), answers=answers, strict=params.strict)
    if not found.examples:
        raise DataError(f"{source.name!r} holds no row. Give --data a file with one JSON object a line.")
    splits = divide(found.examples, params, seed)
    nearly = _without_near(splits, params.near_duplicates)
    splits = _tag(splits)
    return _Divided(source.digest(), splits, _notes(splits, found, nearly), found.bad, found.formats)


def _without_near(splits: dict[Split, list[Example]], least: float) -> int:
    """Take out of train what is nearly a row of dev or test; returns how many. Raises DataError if nothing is left."""
    if least >= 1 or not splits["train"]:
        return 0
    gone = near(splits["train"], [*splits["dev"], *splits["test"]], least)
    if gone and len(gone) == len(splits["train"]):
        raise DataError(
            f"all {len(gone)} training rows ask nearly what rows of dev or test ask, and have the same answers. Bring "
            "more different rows, or keep them with data.params.near_duplicates=1."
        )
    splits["train"] = [row for number, row in enumerate(splits["train"]) if number not in gone]
    return len(gone)


# --- dividing -----------------------------------------------------------------------------------


def divide(rows: Sequence[Example], params: JsonlParams, seed: int) -> dict[Split, list[Example]]:
    """Rows of the same ``group``, and rows of the same messages, stay together; which go where is by hash.

    The examples' own groups become: rows of one split with the same system prompt and tools, `GROUP_ROWS` at
    most.
    """
    clusters = _clusters(rows)
    left = [clusters[key] for key in sorted(clusters, key=lambda key: sha256_json([seed, key]))]
    least = 1 if len(rows) >= ROWS_FOR_ALL_SPLITS else 0
    wanted = [max(least, round(s * len(rows))) if s else 0 for s in (params.test_share, params.dev_share)]
    test, left = _take(left, wanted[0])
    dev, left = _take(left, wanted[1])
    return {"train": _grouped("train", left), "dev": _grouped("dev", dev), "test": _grouped("test", test)}


_Clusters: TypeAlias = list[list[Example]]


def _take(clusters: _Clusters, wanted: int) -> tuple[_Clusters, _Clusters]:
    """Part off `wanted` rows, or as many fewer as whole clusters ask for; returns those and what is left.

    When the smallest cluster is too large already, it is taken all the same, unless nothing were left.
    """
    taken: _Clusters = []
    left: _Clusters = []
    room = wanted
    for cluster in clusters:
        fits = len(cluster) <= room
        (taken if fits else left).append(cluster)
        room -= len(cluster) if fits else 0
    if wanted and not taken and len(left) > 1:
        taken.append(left.pop(min(range(len(left)), key=lambda i: len(left[i]))))
    return taken, left


def _clusters(rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Rows joined by a shared group or by the same messages, keyed by the least of what joins them."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    keys = ["messages " + sha256_json(row.messages) for row in rows]
    for row, key in zip(rows, keys, strict=True):
        for other in (f"group {row.group}" if row.group else "", _near(row)):
            if other:
                low, high = sorted((root(key), root(other)))
                parent[high] = low
    clusters: dict[str, list[Example]] = {}
    for row, key in zip(rows, keys, strict=True):
        clusters.setdefault(root(key), []).append(row)
    return clusters


def _near(row: Example) -> str:
    """What rows share that ask nearly the same: their turns without case, punctuation and spaces."""
    said = [
        re.sub(r"[\W_]+", " ", str(m.get("content") or "")).strip().lower()
        for m in row.messages
        if m["role"] != "system"
    ]
    return "near " + sha256_json(said) if any(said) else ""


def _grouped(split: Split, clusters: Iterable[Sequence[Example]]) -> list[Example]:
    counts: Counter[str] = Counter()
    rows = []
    for row in (row for cluster in clusters for row in cluster):
        system = [message for message in row.messages[:1] if message["role"] == "system"]
        prefix = sha256_json([system, row.tools])[:16]
        rows.append(replace(row, group=f"{prefix}-{split}-{counts[prefix] // GROUP_ROWS}"))
        counts[prefix] += 1
    return rows


# --- tagging ------------------------------------------------------------------------------------


def _toolset(row: Example) -> frozenset[str]:
    return frozenset(map(sha256_json, row.tools))


def _tag(splits: Mapping[Split, Sequence[Example]]) -> dict[Split, list[Example]]:
    """Tag ``tools``: ``new`` when no training row has the same list of tools.

    A task may count new tools only: where dev or test has none, their rows are ``new`` all the same, since
    their requests are; `_notes` says so.
    """
    trained = {_toolset(row) for row in splits["train"]}
    tagged: dict[Split, list[Example]] = {}
    for split, rows in splits.items():
        requests_only = split != "train" and all(_toolset(row) in trained for row in rows)
        tagged[split] = [
            replace(
                row,
                tags={
                    **row.tags,
                    "tools": "new" if requests_only or _toolset(row) not in trained else "trained",
                },
            )
            for row in rows
        ]
    return tagged


def _notes(splits: Mapping[Split, Sequence[Example]], found: Rows, nearly: int) -> str:
    left_out = f"{found.repeated} rows that repeat another are left out." if found.repeated else ""
    failed = f"{found.unsuccessful:,} runs that did not succeed are left out." if found.unsuccessful else ""
    broken = f"{len(found.bad):,} broken rows are left out." if found.bad else ""
    alike = f"{nearly:,} training rows that are nearly one of dev or test are left out." if nearly else ""
    return " ".join(filter(None, (broken, failed, left_out, alike, _about_tools(splits))))


def _about_tools(splits: Mapping[Split, Sequence[Example]]) -> str:
    test, trained = splits["test"], {_toolset(row) for row in splits["train"]}
    new = sum(_toolset(row) not in trained for row in test)
    if not test or new == len(test):
        return ""
    if not new:
        return "The tools of the test rows were trained on; their requests were not."
    return (
        f"Of {len(test)} test rows, {new} offer tools that were not trained on; where a task decides on new "
        "tools, only they count. To hold out whole tool lists, give the rows of each list a 'group' of its own."
    )
