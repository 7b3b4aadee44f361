"""Rows of files, whatever they are stored as: JSON lines, a JSON list, CSV, Parquet, a folder of these, or the hub."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from agentlora.core.errors import DataError, needs_extra
from agentlora.core.files import loads_strict
from agentlora.core.types import JSON

HUB = "hf://"
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
STRUCTURED = (  # columns of CSV files that may hold JSON
    "messages", "tools", "conversations", "conversation", "expected", "rejected", "chosen", "prompt", "completion",
    "request", "response", "body", "schema", "tags", "trajectory", "steps", "intermediate_steps", "trace", "actions",
)  # fmt: skip
BATCH = 1000  # rows of a Parquet file that are read together
BLOCK = 1 << 20  # bytes
LONGEST = 1 << 27  # bytes of a line, and of a cell


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it is stored: a line of JSON, or what another kind of file has. `where`: for messages."""

    where: str
    content: bytes | JSON


@dataclass(frozen=True, slots=True)
class Source:
    """What ``--data`` names: files, or a split of a data set on the hub."""

    name: str
    files: tuple[Path, ...]

    def rows(self) -> Iterator[RawRow]:
        """Every row, in order. Raises DataError when a file cannot be read."""
        if self.name.startswith(HUB):
            yield from _hub_rows(self.name)
        for file in self.files:
            yield from _file_rows(file)

    def licence(self) -> str:
        """What the card of a data set on the hub says, where reading its rows has left the card on this machine; else
        empty.
        """
        return _hub_licence(self.name) if self.name.startswith(HUB) else ""

    def digest(self) -> str:
        """sha256 of all bytes; of a data set on the hub, of its rows."""
        found = hashlib.sha256()
        if self.name.startswith(HUB):
            for row in self.rows():
                found.update(json.dumps(row.content, sort_keys=True, default=str).encode())
        for file in self.files:
            for block in _read(file):
                found.update(block)
        return found.hexdigest()

    def stamp(self) -> tuple[Any, ...]:
        """Changes when a file does."""
        return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in self.files if f.exists())


def find_source(name: str) -> Source:
    """The source of a name: a file, a folder, or ``hf://owner/name:split``.

    Raises:
        DataError: there is no such file, or the folder holds none.
    """
    if name.startswith(HUB):
        return Source(name, ())
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            files = tuple(
                sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
            )
            if not files:
                raise DataError(f"{name!r} holds no file of {', '.join(SUFFIXES)}")
            return Source(name, files)
        path.stat()
    except (OSError, ValueError, RuntimeError) as exc:  # ValueError: a NUL in the name
        why = getattr(exc, "strerror", None) or str(exc)
        raise DataError(f"cannot read {name!r}: {why}. Give --data an existing file or folder.") from exc
    return Source(name, (path,))


# --- kinds of files -----------------------------------------------------------------------------


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as found:
            yield found
    except OSError as exc:
        raise DataError(f"cannot read {str(file)!r}: {exc.strerror}. Give --data an existing file.") from exc


def _read(file: Path) -> Iterator[bytes]:
    with _opened(file) as found:
        while block := found.read(BLOCK):
            yield block


def _file_rows(file: Path) -> Iterator[RawRow]:
    if file.suffix == ".parquet":
        yield from _numbered(file, _parquet(file))
    elif file.suffix in (".csv", ".tsv"):
        yield from _csv(file)
    elif file.suffix == ".json" and (rows := _list(file)) is not None:
        yield from _numbered(file, rows)
    else:
        for number, line in enumerate(_lines(file), 1):
            if line.strip():
                yield RawRow(f"{file}:{number}", line)


def _lines(file: Path) -> Iterator[bytes]:
    with _opened(file) as found:
        number, begin = 1, codecs.BOM_UTF8
        while line := found.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise DataError(
                    f"{file}:{number}: the line has more than {LONGEST:,} bytes. Give --data a file with one JSON "
                    "object a line."
                )
            yield line.removeprefix(begin)
            number, begin = number + 1, b""


def _numbered(file: Path, rows: Iterable[JSON]) -> Iterator[RawRow]:
    for number, row in enumerate(rows, 1):
        yield RawRow(f"{file}:{number}", row)


def _list(file: Path) -> list[JSON] | None:
    """The rows of a file that is one JSON list; None where it is JSON lines under another name. A list is in memory as
    a whole.
    """
    if _begins_with_rows(file):
        return None
    try:
        value = loads_strict(b"".join(_read(file)).removeprefix(codecs.BOM_UTF8))
    except ValueError:
        return None
    if isinstance(value, dict):
        inner = [part for part in value.values() if isinstance(part, list)]
        return inner[0] if len(value) == 1 and inner else None
    return value if isinstance(value, list) else None


def _begins_with_rows(file: Path) -> bool:
    """Whether the first line is a whole object, and not the last."""
    try:
        said = list(islice((line for line in _lines(file) if line.strip()), 2))
        return len(said) == 2 and isinstance(loads_strict(said[0]), dict)
    except (ValueError, DataError):
        return False


def _csv(file: Path) -> Iterator[RawRow]:
    """A row for each record, named by the line that it begins in; cells that hold JSON are read, empty ones left out.
    What is not UTF-8 stays bytes, for who says so of the row.
    """
    csv.field_size_limit(LONGEST)
    with _opened(file) as found:
        text = io.TextIOWrapper(found, "utf-8-sig", "surrogateescape", newline="")
        reader = csv.DictReader(text, delimiter="\t" if file.suffix == ".tsv" else ",")
        try:
            for row in reader:
                told = [
                    cell for value in row.values() for cell in (value if isinstance(value, list) else [value])
                ]
                begin = reader.line_num - sum(len(_BREAK.findall(cell)) for cell in told if cell)
                whole = ",".join(cell or "" for cell in told)
                cells = {
                    key: value for key, value in row.items() if key is not None and value not in ("", None)
                }
                content = {key: _cell(key, value) for key, value in cells.items()}
                yield RawRow(
                    f"{file}:{begin}",
                    whole.encode(errors="surrogateescape") if _BYTES.search(whole) else content,
                )
        except csv.Error as exc:
            raise DataError(f"{file}:{reader.line_num}: {exc}") from exc


_BREAK = re.compile(r"\r\n|\r|\n")
_BYTES = re.compile("[\udc80-\udcff]")  # what bytes become that are not UTF-8


def _cell(key: str, value: Any) -> Any:
    if key in STRUCTURED and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return loads_strict(value)
        except ValueError:
            return value
    return value


def _parquet(file: Path) -> Iterator[JSON]:
    """Rows without the nulls that its columns fill in where an object lacks a key that another one has."""
    with needs_extra("train", "reading Parquet files"):
        import pyarrow
        import pyarrow.parquet
    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(BATCH):
            for row in batch.to_pylist():
                yield without_nulls(row)
    except (OSError, pyarrow.ArrowException) as exc:
        raise DataError(f"{file} cannot be read as Parquet: {exc}") from exc


def _hub_rows(name: str) -> Iterator[RawRow]:
    """Of ``hf://owner/name:split`` or ``hf://owner/name/config:split``; the split is train when none is said."""
    repository, config, split = _hub_parts(name)
    with needs_extra("train", f"reading {name}"):
        from datasets import load_dataset
    try:
        rows = load_dataset(repository, config or None, split=split or "train", streaming=True)
        for number, row in enumerate(rows, 1):
            yield RawRow(f"{name}:{number}", without_nulls(row))
    except Exception as exc:  # the library raises of many kinds: not found, gated, offline
        raise DataError(f"{name} cannot be read from the hub: {exc}") from exc


def _hub_parts(name: str) -> tuple[str, str, str]:
    """(owner/name, configuration, split); the latter two may be empty."""
    repository, _, split = name.removeprefix(HUB).partition(":")
    owner, _, rest = repository.partition("/")
    repository, _, config = rest.partition("/")
    return f"{owner}/{repository}", config, split


def _hub_licence(name: str) -> str:
    try:
        from huggingface_hub import DatasetCard, try_to_load_from_cache

        card = try_to_load_from_cache(_hub_parts(name)[0], "README.md", repo_type="dataset")
        said = DatasetCard.load(card).data.get("license") if isinstance(card, str) else None
    except Exception:  # no library, no card, or one that is none: then nothing is stated
        return ""
    return ", ".join(str(part) for part in (said if isinstance(said, list) else [said]) if part)[:200]


def without_nulls(value: Any) -> Any:
    """`value` without members that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value
