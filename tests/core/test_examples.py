"""Examples in a file: read by number, one at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlora.core.data import split_digest
from agentlora.core.errors import DataError
from agentlora.core.examples import evenly, kept, read_examples, write_examples
from agentlora.core.files import sha256_json
from agentlora.core.types import Example, Expected, ToolCall


def example(number: int) -> Example:
    expected = Expected(calls=(ToolCall("f", {"é": [number, {"b": None}]}),), value={"x": 1.5})
    return Example(
        f"{number}", ({"role": "user", "content": "é" * number},), expected, rejected=Expected(text="no")
    )


MADE = [example(number) for number in range(20)]


def test_they_are_a_sequence(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    write_examples(file, MADE)
    for found in (read_examples(file), kept(MADE)):
        assert found == MADE
        assert found == MADE
        assert found != MADE[1:]
        assert found[1:] != MADE[:-1]
        assert (found[3], found[-1], len(found)) == (MADE[3], MADE[-1], 20)
        assert found[2:15:3] == MADE[2:15:3]
        assert found[2:15:3][1:] == MADE[5:15:3]
        assert found.chosen([5, 1])[::-1] == [MADE[1], MADE[5]]
        assert found[10:].chosen([0, 2]) == [MADE[10], MADE[12]]
        assert [*reversed(found)] == MADE[::-1]
        assert (MADE[7] in found, example(30) in found) == (True, False)
        assert evenly(found, 7) == MADE[::3]
        assert evenly(found) == MADE
        with pytest.raises(IndexError):
            found[20]
    assert not kept([])
    assert evenly(kept([])) == []


def test_what_is_put_behind_them_is_there_at_once() -> None:
    found = kept([])
    for number, one in enumerate(MADE):
        found.append(one)
        assert found[number] == one
    assert found == MADE


def test_they_are_copied_as_they_are_stored(tmp_path: Path) -> None:
    file, copy = tmp_path / "examples.jsonl", tmp_path / "copy.jsonl"
    write_examples(file, MADE)
    write_examples(copy, read_examples(file)[3:])
    assert copy.read_text() == "".join(f"{one.to_json()}\n" for one in MADE[3:])
    write_examples(file, read_examples(file)[::2])  # into the file that they are read from
    assert read_examples(file) == MADE[::2]


def test_a_broken_line_is_told_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_bytes(f"{example(1).to_json()}\n".encode() + b'{"\xff"}\n[]\n')
    found = read_examples(file)
    assert found[0] == example(1)
    with pytest.raises(DataError, match=r"examples\.jsonl:2: not UTF-8 text"):
        found[1]
    with pytest.raises(DataError, match=r"examples\.jsonl:3: not an example"):
        found[1:][1]
    with pytest.raises(DataError, match=r"cannot read .*Bring it back"):
        read_examples(tmp_path / "none.jsonl")


def test_a_file_that_is_not_written_to_its_end_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    write_examples(file, MADE)

    def interrupted() -> Iterator[Example]:
        yield MADE[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(file, interrupted())
    assert read_examples(file) == MADE
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["examples.jsonl"]


def test_the_digest_is_that_of_a_list() -> None:
    assert split_digest(kept(MADE)) == sha256_json([one.to_dict() for one in MADE])
    assert split_digest([]) == sha256_json([])
