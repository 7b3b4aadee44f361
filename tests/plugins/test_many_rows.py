"""``--data`` with many rows: memory holds little of them, and what comes out is what it always was."""

from __future__ import annotations

import itertools
import json
import random
import resource
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.data import build_data
from agentlora.core.errors import DataError
from agentlora.core.files import sha256_file
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, Expected
from agentlora.plugins.datasets.bands import Bands
from agentlora.plugins.datasets.files import find_source
from agentlora.plugins.datasets.near import near

LARGE = 6_000  # characters of a request


def mixed(count: int, large: int = 0) -> Iterator[str]:
    """Rows with and without groups and tools of their own; some broken, some the same, some nearly the same."""
    rng = random.Random(7)
    asked = ""
    for n in range(count):
        words = " ".join(f"w{rng.randrange(5000)}" for _ in range(25)) + "x" * large
        asked = f"{asked}, please" if n % 11 == 5 else words
        function = {"name": f"tool_{n % 9}", "parameters": {"type": "object"}}
        row: dict[str, Any] = {
            "messages": [{"role": "user", "content": asked}],
            "tools": [{"type": "function", "function": function}],
            "expected": {"calls": [{"name": function["name"], "arguments": {"n": n // 11}}]},
        }
        if n % 11 in (4, 5):  # nearly the same, with the same answer
            row["tools"][0]["function"] = {"name": "same"}
            row["expected"] = {"calls": [{"name": "same", "arguments": {}}]}
        if n % 5 == 0:
            row["group"] = f"g{n // 20}"
        if n % 13 == 0:
            row["messages"].insert(0, {"role": "system", "content": f"Be {n % 3}."})
        line = json.dumps(row)
        yield line[:-9] if n % 97 == 50 else line
        if n % 40 == 1:
            yield line


def new_run(folder: Path, **params: Any) -> Run:
    data = {"builder": "jsonl", "params": {"path": str(folder / "rows.jsonl"), **params}}
    return create_run(parse(RunConfig, {"task": "tool-calling", "data": data}), folder / "run")


def write(folder: Path, count: int, large: int = 0) -> None:
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(f"{line}\n" for line in mixed(count, large))


def test_the_bytes_are_those_of_rows_that_were_all_in_memory(tmp_path: Path) -> None:
    """The digests are of files that were written when examples, groups and signatures were lists and dicts; dev's and
    test's since the groups there are what had to stay together.
    """
    write(tmp_path, 600)
    run = new_run(tmp_path)
    card = build_data(run, default_plugins())
    assert card["notes"].startswith(
        "6 broken rows are left out. 15 rows that repeat another are left out. 19 training rows that are nearly one"
    )
    assert {
        split: sha256_file(run.directory / "data" / f"{split}.jsonl")[:16] for split in card["counts"]
    } == {
        "train": "cd0a9c3190a4a156",
        "dev": "ffe13037ddf1cabb",
        "test": "5bb36e62e4ffc74e",
    }
    assert {split: digest[:16] for split, digest in card["digest"].items()} == {
        "train": "7663131b140b8fe9",
        "dev": "f9ca3b3c2e3ef00e",
        "test": "431a103ec76c8db1",
    }


def test_memory_holds_little_of_the_rows(tmp_path: Path) -> None:
    count = 1500
    write(tmp_path, count, LARGE)
    run, plugins = new_run(tmp_path, near_duplicates=1), default_plugins()
    build_data(new_run_of_few(tmp_path / "before"), plugins)  # imports what is needed
    tracemalloc.start()
    try:
        card = build_data(run, plugins)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        train = run.examples("train")
        assert sum(len(example.messages[-1]["content"]) for example in train) > LARGE * len(train)
        _, reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert card["counts"]["train"] == len(train) > 0.75 * count
    assert "broken rows are left out" in card["notes"]
    assert peak < 4e6 < count * LARGE / 2
    assert reading < 4e6


def new_run_of_few(folder: Path) -> Run:
    folder.mkdir()
    write(folder, 20)
    return new_run(folder, near_duplicates=1)


class Texts(Sequence[Example]):
    """Rows that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if number >= self._count:
            raise IndexError
        said = " ".join(f"w{n}" for n in random.Random(number).choices(range(400), k=20))
        return Example(f"{number}", ({"role": "user", "content": said},), Expected(text="Yes."))


def test_looking_for_near_duplicates_holds_signatures_of_what_is_evaluated_and_no_text() -> None:
    rows, evaluated = Texts(400), Texts(300)
    near(Texts(3), Texts(3), 0.85)
    tracemalloc.start()
    try:
        assert near(rows, evaluated, 0.85) == set(range(300))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # what counts runs of characters sees all texts of so few: here 400 words, and what follows what
    assert peak < 20e6


def test_an_index_of_bands_finds_what_datasketch_finds() -> None:
    from datasketch import MinHash, MinHashLSH

    def signature(words: list[int]) -> MinHash:
        found = MinHash(num_perm=64)
        found.update_batch([f"{word}".encode() for word in words])
        return found

    rng = random.Random(0)
    sets = [rng.sample(range(60), 30) for _ in range(120)]
    sets += [[*words[:27], 99] for words in sets[:60]]
    signed = [signature(words) for words in sets]
    theirs = MinHashLSH(threshold=0.6, num_perm=64)
    for number, one in enumerate(signed[:120]):
        theirs.insert(number, one)
    ours = Bands(0.6, ((number, one, b"same") for number, one in enumerate(signed[:120])))
    found = [ours.candidates(one, b"same") for one in signed]
    assert found == [set(theirs.query(one)) for one in signed]
    assert sum(map(len, found)) > 180
    assert ours.candidates(signed[0], b"other") == set()
    assert ours.candidates(None, b"same") == set()


@pytest.mark.parametrize("when", ["reading", "writing"])
def test_what_is_interrupted_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from agentlora.core import examples
    from agentlora.plugins.datasets import rows

    write(tmp_path, 200)
    run = new_run(tmp_path)
    asked = iter(range(150))

    def interrupted(*args: Any) -> Any:
        if next(asked, None) is None:
            raise KeyboardInterrupt
        return whole(*args)

    owner, name = (rows, "_examples") if when == "reading" else (examples.Records, "__getitem__")
    whole = getattr(owner, name)
    monkeypatch.setattr(owner, name, interrupted)
    if when == "writing":
        kept = examples.write_examples
        monkeypatch.setattr(owner, name, whole)

        def late(path: Path, rows: Any) -> None:
            monkeypatch.setattr(owner, name, interrupted)
            kept(path, rows)

        monkeypatch.setattr("agentlora.core.run.write_examples", late)
    with pytest.raises(KeyboardInterrupt):
        build_data(run, default_plugins())
    monkeypatch.undo()
    assert left(run) in ([], ["train.jsonl"])
    assert not (run.directory / "data" / "card.json").exists()  # what says that data is there


def left(run: Run) -> list[str]:
    return sorted(path.name for path in (run.directory / "data").glob("*"))


@pytest.mark.parametrize("limit", [20_000, 120_000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, limit: int) -> None:
    """Files may not grow beyond `limit`: first those without a name, then the run's."""
    write(tmp_path, 600)
    run, plugins = new_run(tmp_path, near_duplicates=1), default_plugins()
    plugins.get("dataset_builders", "jsonl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises((DataError, OSError), match="too large"):
            build_data(run, plugins)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(run) == []
    assert not [path for path in (tmp_path / "home" / "cache").glob("*") if path.is_file()]
    build_data(run, plugins)  # and once there is room, it is made
    assert left(run) == ["card.json", "dev.jsonl", "test.jsonl", "train.jsonl"]


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentlora.plugins.datasets.files.LONGEST", 1000)
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' + "x" * 2000)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the line has more than 1,000 bytes"):
        list(find_source(str(tmp_path / "rows.jsonl")).rows())


def test_json_lines_under_another_name_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    row = {"a": "x" * 1000}
    for text, count in (
        ("\n".join([json.dumps(row)] * 3000), 3000),
        (json.dumps([row] * 5), 5),
        (json.dumps({"rows": [row] * 5}), 5),
        (json.dumps({"rows": [row] * 5}, indent=1), 5),
        (json.dumps(row), 1),
    ):
        file.write_text(text)
        tracemalloc.start()
        try:
            assert sum(1 for _ in find_source(str(file)).rows()) == count
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1.5e6  # of three


def test_the_last_rows_of_a_csv_file_are_not_in_memory_with_the_first(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,completion\n" + '"a\nb","c"\r\n' + f"{'x' * 1000},y\n" * 3000)
    source = find_source(str(file))
    tracemalloc.start()
    try:
        rows = [row.content for row in itertools.islice(source.rows(), 2)]
        assert sum(1 for _ in source.rows()) == 3001
        assert len(source.digest()) == 64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows[0] == {"prompt": "a\nb", "completion": "c"}
    assert peak < 3e6 - 5e5
