"""Memory that runs out is told with what was in force and what needs less."""

from __future__ import annotations

import pytest
import torch

from agentlora.core.config import TrainingConfig, parse
from agentlora.core.errors import TrainError
from agentlora.core.oom import memory_explained


@pytest.mark.parametrize(
    "exc",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["cuda", "python", "cpu", "cublas"],
)
def test_it_names_what_was_in_force_and_the_next_smaller_pass(exc: Exception) -> None:
    training = parse(TrainingConfig, {"batch_size": 12, "max_len": 2048})
    with pytest.raises(TrainError) as told, memory_explained(training, lambda: 6):
        raise exc
    said = str(told.value)
    assert said.startswith("memory ran out during training, with micro_batch_size=6, max_len=2048: ")
    assert said.endswith("Change training.micro_batch_size=4 (now 6), or --gradient-checkpointing.")
    assert "\n" not in said


def test_where_no_pass_is_smaller_examples_have_to_be() -> None:
    training = parse(TrainingConfig, {"max_len": 2048, "gradient_checkpointing": True})
    with (
        pytest.raises(TrainError, match=r"Change training\.max_len=1024 \(now 2048\)\.$"),
        memory_explained(training, lambda: 1),
    ):
        raise MemoryError


def test_the_allocator_of_a_cpu_is_recognised() -> None:
    with pytest.raises(TrainError, match="memory ran out"), memory_explained(TrainingConfig(), lambda: 1):
        torch.empty(2**60)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_explained(TrainingConfig(), lambda: 1):
        raise RuntimeError("shapes differ")
