"""Memory that runs out is told with what was in force and what needs less."""

from __future__ import annotations

import pytest
import torch

from agentlora.core.config import TrainingConfig, parse
from agentlora.core.errors import TrainError
from agentlora.core.oom import Setup, fitting, memory_explained, nearest_that_fits, that_needs_less


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
    with pytest.raises(TrainError) as told, memory_explained(lambda: Setup(training, 6)):
        raise exc
    said = str(told.value)
    assert said.startswith("memory ran out during training, with micro_batch_size=6, max_len=2048: ")
    assert said.endswith("Change training.micro_batch_size=4 (now 6), or --gradient-checkpointing.")
    assert "\n" not in said


def test_where_no_pass_is_smaller_examples_have_to_be() -> None:
    training = parse(TrainingConfig, {"max_len": 2048, "gradient_checkpointing": True})
    with (
        pytest.raises(TrainError, match=r"Change training\.max_len=1024 \(now 2048\)\.$"),
        memory_explained(lambda: Setup(training, 1)),
    ):
        raise MemoryError


def test_the_allocator_of_a_cpu_is_recognised() -> None:
    with (
        pytest.raises(TrainError, match="memory ran out"),
        memory_explained(lambda: Setup(TrainingConfig(), 1)),
    ):
        torch.empty(2**60)


def test_other_errors_stay_what_they_are() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        memory_explained(lambda: Setup(TrainingConfig(), 1)),
    ):
        raise RuntimeError("shapes differ")


def needs(training: TrainingConfig, micro: int) -> dict[str, int]:
    """8 GB of activations for 8 examples, a quarter of them with checkpointing."""
    gigabyte = 10**9
    return {
        "weights": gigabyte,
        "activations": micro * gigabyte // (4 if training.gradient_checkpointing else 1),
        "adapter": gigabyte // 1000,
    }


@pytest.mark.parametrize(
    ("limit", "change"),
    [
        (6, r"training\.micro_batch_size=4 \(now 8\), which is predicted to need 5\.00 GB"),
        (4, r"training\.micro_batch_size=2 \(now 8\), which is predicted to need 3\.00 GB"),
        (1.8, r"training\.micro_batch_size=2 \(now 8\) and --gradient-checkpointing, .* need 1\.50 GB"),
        (
            1,
            r"to a smaller --model: no setting is enough, and this one is predicted to need 1\.25 GB at least",
        ),
    ],
)
def test_the_nearest_settings_that_fit_are_named(limit: float, change: str) -> None:
    training = parse(TrainingConfig, {"batch_size": 8})
    told = memory_explained(lambda: Setup(training, 8), needs, lambda: int(limit * 10**9))
    match = rf"Predicted were 9\.00 GB \(activations 8\.00, weights 1\.00\) of {limit:.2f} GB\. Change {change}\.$"
    with pytest.raises(TrainError, match=match), told:
        raise MemoryError


def test_checkpointing_comes_before_nothing_and_once() -> None:
    training = parse(TrainingConfig, {"batch_size": 1})
    assert nearest_that_fits(Setup(training, 1), needs, int(1.3e9)).startswith(
        "--gradient-checkpointing, which"
    )
    never = Setup(training, 1, checkpointing=False)
    assert "to a smaller --model" in nearest_that_fits(never, needs, int(1.3e9))


def test_shorter_examples_are_advised_where_that_helps_alone() -> None:
    """Half of what the longest has, and not of what it might have."""

    def by_length(training: TrainingConfig, micro: int) -> dict[str, int]:
        return {"activations": micro * min(training.max_len, 220) * 10**7}

    lean = parse(TrainingConfig, {"batch_size": 2, "gradient_checkpointing": True})
    said = nearest_that_fits(Setup(lean, 2, 220), by_length, int(1.2e9))
    assert said.startswith(
        "training.micro_batch_size=1 (now 2) and training.max_len=110 (now 1024; the longest "
    )
    assert said.endswith("which is predicted to need 1.10 GB")
    assert "no setting is enough" in nearest_that_fits(Setup(lean, 2, 220), by_length, int(1e9))
    assert "no setting is enough" in nearest_that_fits(Setup(lean, 2), by_length, int(1.2e9))
    assert that_needs_less(Setup(lean, 1, 220)).startswith(
        "training.max_len=110 (now 1024; the longest example has 220"
    )


def asked_in_turn(setup: Setup, limit: int) -> tuple[tuple[int, bool, int] | None, int]:
    """What `fitting` is to find, and what it is to say that is needed least, with a prediction for every setting."""
    sizes = [
        micro for micro in range(setup.micro_batch_size, 0, -1) if setup.training.batch_size % micro == 0
    ]
    lean = setup.training.model_copy(update={"gradient_checkpointing": True})
    tried = [(setup.training, micro) for micro in sizes[1:]] + [(lean, micro) for micro in sizes]
    short = lean.model_copy(update={"max_len": 110})
    needed = {(s.gradient_checkpointing, s.max_len, m): sum(by_tokens(s, m).values()) for s, m in tried}
    least = min(needed.values())
    if least > limit:
        least = sum(by_tokens(short, 1).values())
        return ((1, True, 110) if least <= limit else None), least
    checkpointing, max_len, micro = next(key for key, size in needed.items() if size <= limit)
    return (micro, checkpointing, max_len), least


def by_tokens(training: TrainingConfig, micro: int) -> dict[str, int]:
    """A gigabyte that nothing saves, and activations by the tokens of a pass."""
    tokens = micro * min(training.max_len, 220)
    return {"weights": 10**9, "activations": tokens * 10**7 // (4 if training.gradient_checkpointing else 1)}


@pytest.mark.parametrize("fixed", [0, 10**9])
def test_what_follows_from_a_prediction_is_not_asked_for(fixed: int) -> None:
    """The same settings as by asking for all, at every limit."""
    setup, asked = Setup(parse(TrainingConfig, {"batch_size": 24}), 24, 220), []

    def counting(training: TrainingConfig, micro: int) -> dict[str, int]:
        asked.append((training.gradient_checkpointing, training.max_len, micro))
        return by_tokens(training, micro)

    for limit in range(9 * 10**8, 6 * 10**10, 9 * 10**7):
        asked.clear()
        said, least = fitting(setup, counting, limit, fixed)
        expected, needed = asked_in_turn(setup, limit)
        assert least == needed
        assert len(set(asked)) == len(asked)
        if expected is None:
            assert said is None
            assert len(asked) == (1 if fixed > limit else 2)
            continue
        micro, checkpointing, max_len = expected
        assert said is not None
        assert f"micro_batch_size={micro} " in said or micro == 24
        assert ("--gradient-checkpointing" in said) == checkpointing
        assert ("max_len=110" in said) == (max_len == 110)
        if checkpointing and micro == 24:  # the leanest, the same without checkpointing, this
            assert len(asked) == 3


def test_a_method_that_cannot_checkpoint_is_not_told_to() -> None:
    assert "checkpointing" in that_needs_less(Setup(TrainingConfig(), 4))
    assert "checkpointing" not in that_needs_less(Setup(TrainingConfig(), 4, checkpointing=False))


def test_a_prediction_that_fails_leaves_the_plain_message() -> None:
    def fails(training: TrainingConfig, micro: int) -> dict[str, int]:
        raise KeyError("no")

    told = memory_explained(lambda: Setup(parse(TrainingConfig, {}), 4), fails, lambda: 1)
    with pytest.raises(TrainError, match=r"MemoryError\. Change training\.micro_batch_size=2"), told:
        raise MemoryError
