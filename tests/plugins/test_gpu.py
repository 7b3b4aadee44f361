"""What only a GPU can run: settings that are refused without one, and the same learning as elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rollout_runs import fit, new_run

from agentlora.core.errors import TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.types import Example

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def losses(
    tiny: Path, examples: list[Example], directory: Path, more: Any = None, **settings: Any
) -> list[float]:
    settings = {"lr": 5e-3, "batch_size": 4, "max_steps": 12, **settings}
    run = new_run(tiny, examples, directory, "sft", {}, more, **settings)
    return [row["loss"] for row in fit(run, examples) if "loss" in row]


@pytest.fixture
def plain(tiny_model_dir: Path, examples: list[Example], tmp_path: Path) -> list[float]:
    """Losses of a training in float32 with nothing special."""
    found = losses(tiny_model_dir, examples, tmp_path / "plain")
    assert found[-1] < found[0] - 0.5
    return found


@pytest.mark.parametrize(
    ("settings", "near"),
    [
        ({"attention": "flex"}, 1e-2),
        ({"attention": "sdpa"}, 1e-2),
        ({"activation_offloading": True}, 1e-3),
        ({"gradient_checkpointing": True}, 1e-3),
        ({"optimizer": "paged-adamw"}, 1e-2),
        ({"shared_prefix": False}, 1e-2),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_changes_what_is_needed_and_not_what_is_learnt(
    settings: dict[str, Any], near: float, plain: list[float], tiny_model_dir: Path, examples: list[Example],
    tmp_path: Path,
) -> None:  # fmt: skip
    assert losses(tiny_model_dir, examples, tmp_path / "other", **settings) == pytest.approx(plain, abs=near)


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"optimizer": "adamw-8bit"},
                                      {"optimizer": "paged-adamw-8bit"}], ids=str)  # fmt: skip
def test_what_rounds_learns_too(
    settings: dict[str, Any],
    plain: list[float],
    tiny_model_dir: Path,
    examples: list[Example],
    tmp_path: Path,
) -> None:
    found = losses(tiny_model_dir, examples, tmp_path / "other", **settings)
    assert found[0] == pytest.approx(plain[0], abs=0.05)
    assert found[-1] < found[0] - 0.5


@pytest.mark.parametrize("params", [{}, {"bits": 8}], ids=["4 bits", "8 bits"])
def test_qlora_learns(
    params: dict[str, Any], tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    more = {"method": {"name": "qlora", "params": {"r": 4, **params}}}
    found = losses(
        tiny_model_dir, examples, tmp_path / "run", more, dtype="bfloat16", optimizer="paged-adamw"
    )
    assert found[-1] < found[0] - 0.5


@pytest.fixture
def little_memory() -> Iterator[None]:
    """48 MiB beyond what other tests hold: CUDA's allocator refuses the rest."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 48 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_memory_that_runs_out_is_explained(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    many = examples * 32
    run = new_run(tiny_model_dir, many, tmp_path / "run", "sft", {}, batch_size=384, micro_batch_size=384,
                  shared_prefix=False, max_steps=2)  # fmt: skip
    with pytest.raises(
        TrainError, match=r"memory ran out during training, with .*CUDA out of memory.*Change "
    ):
        train(run, default_plugins())
    assert run.status() == "train failed"


def test_the_run_says_where_it_was_trained(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run", "sft", {}, max_steps=2)
    train(run, default_plugins())
    assert torch.cuda.get_device_name(0) in (run.directory / "run.json").read_text()
    assert 0 < run.facts()["measured"]["peak"] < 1e9
