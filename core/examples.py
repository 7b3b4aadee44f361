"""Examples that lie in a file and are read when they are asked for: in memory is only where each of them ends."""

from __future__ import annotations

import io
import json
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from agentlora.core.errors import DataError
from agentlora.core.files import file_atomic
from agentlora.core.home import home
from agentlora.core.types import Example

WRITTEN_AT_ONCE = 1 << 20  # bytes


class Records:
    """Byte strings, one behind the other in a file. Eight bytes of memory for each, whatever its length."""

    def __init__(self, file: io.FileIO, ends: array[int]) -> None:
        self._file, self._ends = file, ends
        self._written = ends[-1] if ends else 0
        self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> bytes:
        """The record of this number, from 0. Raises OSError (the file cannot be read)."""
        begin, end = self._ends[number - 1] if number else 0, self._ends[number]
        if end > self._written:
            self._write()
        return os.pread(self._file.fileno(), end - begin, begin)

    def append(self, record: bytes) -> None:
        """Put one behind the others. Raises OSError (disk full)."""
        self._waiting += record
        self._ends.append(self._written + len(self._waiting))
        if len(self._waiting) >= WRITTEN_AT_ONCE:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            done = self._file.write(self._waiting) or 0
            self._written += done
            del self._waiting[:done]

    def __del__(self) -> None:
        self._file.close()


def unnamed_records() -> Records:
    """No record yet, in a file without a name under the home: it is gone with the last that uses it, however that ends.

    Raises:
        OSError: there is no room, or no permission.
    """
    folder = home() / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the records close it
    return Records(file, array("q"))


class Examples(Sequence[Example]):
    """Examples, read one at a time; a part of them is a view. Those of `append` are there at once.

    Reading one raises DataError where its line is none; names file and line.
    """

    def __init__(self, records: Records, numbers: Sequence[int] | None = None, name: str = "") -> None:
        self._records, self._numbers, self._name = records, numbers, name

    def __len__(self) -> int:
        return len(self._records if self._numbers is None else self._numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        numbers = self._all()
        if isinstance(index, slice):
            return Examples(self._records, numbers[index], self._name)
        return self._read(numbers[index])

    def __iter__(self) -> Iterator[Example]:
        return map(self._read, self._all())

    def __eq__(self, other: object) -> bool:
        """To any sequence of the same examples."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == its for one, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def append(self, example: Example) -> None:
        """Put one behind all others; not of a view. Raises OSError (disk full)."""
        self._records.append(f"{example.to_json()}\n".encode())

    def lines(self) -> Iterator[bytes]:
        """The examples as they are stored, each a line of JSON."""
        return map(self._records.__getitem__, self._all())

    def chosen(self, numbers: Sequence[int]) -> Examples:
        """A view of those with these numbers, in their order."""
        return Examples(self._records, array("q", map(self._all().__getitem__, numbers)), self._name)

    def _all(self) -> Sequence[int]:
        return range(len(self._records)) if self._numbers is None else self._numbers

    def _read(self, number: int) -> Example:
        return _example(self._records[number], self._name, number + 1)


def evenly(examples: Sequence[Example], most: int = 20_000) -> Sequence[Example]:
    """`examples`, or of more than `most` so many of them at most."""
    return examples[:: -(-len(examples) // most) or 1]


def kept(examples: Iterable[Example]) -> Examples:
    """`examples` on disk. Raises OSError (disk full)."""
    found = Examples(unnamed_records())
    for example in examples:
        found.append(example)
    return found


def read_examples(path: Path) -> Examples:
    """Examples from a JSONL file. A line that is not an example raises DataError when it is read.

    Raises:
        DataError: no such file.
    """
    try:
        ends, end = array("q"), 0
        file = io.FileIO(path)  # one file for both looks: the path may soon name another
        with io.BufferedReader(io.FileIO(os.dup(file.fileno())), WRITTEN_AT_ONCE) as lines:
            for line in lines:
                end += len(line)
                ends.append(end)
    except OSError as exc:
        raise DataError(
            f"cannot read {str(path)!r}: {exc.strerror}. Bring it back, or build the data again with `agentlora train`."
        ) from exc
    return Examples(Records(file, ends), name=str(path))


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Replace `path` by a JSONL file of `examples`, or leave it as it was. Raises OSError (disk full)."""
    with file_atomic(path) as file:
        if isinstance(examples, Examples):
            file.writelines(examples.lines())
        else:
            file.writelines(f"{example.to_json()}\n".encode() for example in examples)


def _example(line: bytes, name: str, number: int) -> Example:
    where = f"{name}:{number}"
    try:
        return Example.from_dict(json.loads(line.decode()))
    except UnicodeDecodeError as exc:
        raise DataError(f"{where}: not UTF-8 text: {exc}. Mend it, or build the data again.") from exc
    except json.JSONDecodeError as exc:
        raise DataError(
            f"{where}: broken JSON: {exc.msg} at column {exc.colno}. Mend or remove the line."
        ) from exc
    except (KeyError, TypeError, AttributeError) as exc:
        raise DataError(f"{where}: not an example: {type(exc).__name__}: {exc}.") from exc
