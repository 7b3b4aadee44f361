"""Rows of tokens on disk: what they are made into is the same, and they are never all in memory."""

from __future__ import annotations

import random
import tracemalloc
from itertools import chain
from pathlib import Path

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.run import create_run
from agentlora.core.types import Example
from agentlora.plugins.trainers import sharing
from agentlora.plugins.trainers.layout import computed_tokens, items_at_once, training_passes
from agentlora.plugins.trainers.memory import heaviest
from agentlora.plugins.trainers.rows import Row, StoredRows, flat

TOKENS = 400


def made(count: int, seed: int = 0) -> list[Row]:
    """Groups of eight that share a prefix; ids as large as those of a large vocabulary."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        shared = range(1000 * (number // 8), 1000 * (number // 8) + TOKENS // 2)
        own = rng.choices(range(150_000), k=TOKENS // 2 - number % 7)
        rows.append(Row((*shared, *own), TOKENS - 30, f"g{number // 8}", 0.5 + number % 2, float(number % 5)))
    return rows


def stored(rows: list[Row]) -> StoredRows:
    found = StoredRows()
    for row in rows:
        found.append(row)
    return found


def test_they_are_the_rows_that_were_put_there() -> None:
    rows = made(50)
    found = stored(rows)
    assert len(found) == 50
    assert [*found] == rows
    assert (found[0], found[-1], found[3:40:7]) == (rows[0], rows[-1], (*rows[3:40:7],))
    with pytest.raises(IndexError):
        found[50]
    for order in ("shuffled", "easy-first"):
        assert training_passes(found, 16, 4, 3, 96, order) == training_passes(rows, 16, 4, 3, 96, order)
    assert computed_tokens(found) == computed_tokens(rows)
    found.append(rows[0])
    assert found[50] == rows[0]


def test_the_tried_rows_are_a_long_and_a_short_one_each_with_one_of_its_group() -> None:
    rows = made(40)
    rows += [Row((7,) * TOKENS, 9, "long"), Row((8,) * TOKENS, 9, "long"), Row((9, 9), 1, "short")]
    by_length = sorted(rows, key=lambda row: len(row.ids))
    found = sharing._sample(lambda: chain(stored(rows[:30]), rows[30:]))
    assert found == [rows[41], rows[40], by_length[0]]
    alone = made(3)
    assert sharing._sample(lambda: iter(alone)) == sorted(alone, key=lambda row: -len(row.ids))[:2]


def test_planning_a_training_holds_few_of_them() -> None:
    count = 1200
    rows = stored(made(count))
    as_tuples = count * TOKENS * 8  # their ids as numbers not counted
    tracemalloc.start()
    try:
        passes = training_passes(rows, 16, 4, 0, count)
        assert items_at_once(rows) == 8
        parts = ([rows[i] for i in members] for members in passes)
        assert len(heaviest(parts, Config, 4, False, True)) == 4
        assert sum(len(row.ids) for members in passes for row in flat([rows[i] for i in members])) > count
        assert len(sharing._sample(lambda: iter(rows))) == 4
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < as_tuples / 4


class Config:
    hidden_size, num_hidden_layers, intermediate_size, vocab_size = 64, 2, 128, 600


def test_a_training_on_them_is_that_on_rows_in_memory(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapter(name: str) -> bytes:
        training = {"lr": 5e-3, "batch_size": 4, "max_steps": 3, "dtype": "float32"}
        config = parse(
            RunConfig, {"task": "tool-calling", "model": str(tiny_model_dir), "training": training}
        )
        run = create_run(config, tmp_path / name)
        run.write_examples("train", examples)
        return (train(run, default_plugins()) / "adapter_model.safetensors").read_bytes()

    on_disk = adapter("disk")
    monkeypatch.setattr("agentlora.plugins.trainers.rows.StoredRows", list)
    assert adapter("memory") == on_disk
