"""Examples from files (``--data FILE``), divided into splits so that no request is in two of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.types import JSON, Example, Split
from agentlora.plugins.datasets.dividing import Divided, about_tools, divide
from agentlora.plugins.datasets.files import HUB, Source, find_source
from agentlora.plugins.datasets.near import near
from agentlora.plugins.datasets.rows import Rows, parse_rows


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
    """For the data card; of a data set on the hub, what its own card says where nothing is given."""


@dataclass(frozen=True, slots=True)
class _Read:
    digest: str
    divided: Divided
    notes: str
    rows: int
    broken: int
    bad: Sequence[str] = ()
    formats: Mapping[str, int] = field(default_factory=dict)


class Jsonl:
    """The dataset builder ``jsonl``. A row's ``group``, where given, keeps rows in one split; see `divide`."""

    Params = JsonlParams
    answers: ClassVar[bool] = True
    """Whether every row has to bring its answer."""

    def __init__(self) -> None:
        self._last: tuple[object, int, _Read] | None = None

    def check(self, params: JsonlParams) -> None:
        """Raises DataError where there is no such file or folder."""
        find_source(params.path)

    def build(self, split: Split, params: JsonlParams, seed: int) -> Iterator[Example]:
        """The rows of one split; a row that repeats another is dropped.

        Raises:
            DataError: the file cannot be read or is empty, or a row is broken; names file and line.
        """
        yield from self._rows(params, seed).divided.examples(split)

    def card(self, params: JsonlParams) -> JSON:
        """The file by name and digest; the notes are about the splits last built. Raises DataError as `build`."""
        read = self._rows(params, None)
        version = f"sha256:{read.digest}"
        name = params.path if params.path.startswith(HUB) else Path(params.path).name
        bad = {"rows": read.rows, "broken": read.broken, "quarantined": list(read.bad)} if read.bad else {}
        given = "licence" in params.model_fields_set
        licence = params.licence if given else find_source(params.path).licence() or params.licence
        return {
            "sources": [{"name": name, "licence": licence, "version": version}],
            "notes": read.notes,
            "formats": dict(read.formats),
            **bad,
        }

    def _rows(self, params: JsonlParams, seed: int | None) -> _Read:
        """Read once for all splits; without a `seed`, the one that was used last."""
        source = find_source(params.path)
        key = (source.name, source.stamp(), params.model_dump_json())
        if self._last and self._last[0] == key and seed in (None, self._last[1]):
            return self._last[2]
        self._last = None  # what is not asked for again need not be there beside the new rows
        read = _read(source, params, seed or 0, self.answers)
        self._last = (key, seed or 0, read)
        return read


class Prompts(Jsonl):
    """The dataset builder ``prompts``: rows that somebody else answers (``messages`` that end with the user's turn, or
    ``prompt``). Rows with an answer keep it where they are evaluated.
    """

    answers: ClassVar[bool] = False


def _read(source: Source, params: JsonlParams, seed: int, answers: bool) -> _Read:
    found = parse_rows(source.rows(), answers=answers, strict=params.strict)
    if not found.examples:
        raise DataError(f"{source.name!r} holds no row. Give --data a file with one JSON object a line.")
    divided = divide(found.examples, params.test_share, params.dev_share, seed)
    nearly = _without_near(divided, params.near_duplicates)
    notes = _notes(divided, found, nearly)
    return _Read(source.digest(), divided, notes, found.read, found.broken, found.bad, found.formats)


def _without_near(divided: Divided, least: float) -> int:
    """Take out of train what is nearly a row of dev or test; returns how many. Raises DataError if nothing is left."""
    splits, rows = divided.splits, divided.rows
    if least >= 1 or not splits["train"]:
        return 0
    gone = near(rows.chosen(splits["train"]), rows.chosen([*splits["dev"], *splits["test"]]), least)
    if gone and len(gone) == len(splits["train"]):
        raise DataError(
            f"all {len(gone)} training rows ask nearly what rows of dev or test ask, and have the same answers. Bring "
            "more different rows, or keep them with data.params.near_duplicates=1."
        )
    splits["train"] = array("q", (row for number, row in enumerate(splits["train"]) if number not in gone))
    return len(gone)


def _notes(divided: Divided, found: Rows, nearly: int) -> str:
    left_out = f"{found.repeated} rows that repeat another are left out." if found.repeated else ""
    failed = f"{found.unsuccessful:,} runs that did not succeed are left out." if found.unsuccessful else ""
    broken = f"{found.broken:,} broken rows are left out." if found.broken else ""
    alike = f"{nearly:,} training rows that are nearly one of dev or test are left out." if nearly else ""
    return " ".join(filter(None, (broken, failed, left_out, alike, about_tools(divided))))
