"""What is said to save memory does, on the real starter model: peaks that were measured while it trained."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@cache
def peak(folder: Path, *options: str) -> int:
    """Bytes, of a training of two updates on our own catalogue."""
    directory = folder / "-".join(("run", *options)).replace("=", "_")
    data = [
        f"data.params.{setting}"
        for setting in ("real_tools=0", "examples=64", "test_examples=0", "dev_examples=0")
    ]
    sets = [part for setting in (*data, "training.micro_batch_size=16") for part in ("--set", setting)]
    words = ["train", "tool-calling", "--max-steps", "2", "--serve-on", "none", "--output", str(directory)]
    done = subprocess.run(
        [sys.executable, "-m", "agentlora", *words, *sets, *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads((directory / "run.json").read_text())["measured"]["peak"])


def test_an_adapter_needs_less_than_all_weights(folder: Path) -> None:
    assert peak(folder, "--method", "lora") < 0.75 * peak(folder, "--method", "full")


def test_a_larger_batch_fits_where_an_adapter_learns(folder: Path) -> None:
    more = peak(folder, "--method", "lora", "--batch-size", "24", "--set", "training.micro_batch_size=24")
    assert more < peak(folder, "--method", "full")  # with 16


def test_checkpointing_needs_less(folder: Path) -> None:
    assert peak(folder, "--method", "lora", "--gradient-checkpointing") < 0.9 * peak(
        folder, "--method", "lora"
    )


def test_eight_bit_states_need_less(folder: Path) -> None:
    # four passes an update: what a pass keeps is little beside the states, whichever requests it has
    full = ("--method", "full", "--set", "training.micro_batch_size=4")
    lean = peak(folder, *full, "--set", "training.optimizer=adamw-8bit")
    # 106 million weights, 6 bytes of 8 saved for each (embeddings keep theirs), less what an update needs on the way
    assert lean < peak(folder, *full) - 0.3e9
