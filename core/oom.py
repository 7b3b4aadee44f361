"""Memory that ran out: how that is recognised, the settings that were in force, and the nearest ones that need less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import TrainError
from agentlora.core.processes import process_count

VMSTAT = Path("/proc/vmstat")
Predict: TypeAlias = Callable[[TrainingConfig, int], Mapping[str, int]]
"""Settings and examples a forward pass → bytes by what holds them."""
# what torch says on a CPU, in CUDA and in cuBLAS; only CUDA's allocator has an exception of its own
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def ran_out(exc: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exc, RuntimeError) and any(sign in str(exc) for sign in _SIGNS)


@contextmanager
def memory_explained(
    training: TrainingConfig,
    micro_batch_size: Callable[[], int | None],
    predict: Predict | None = None,
    usable: Callable[[], int] | None = None,
) -> Iterator[None]:
    """Raises TrainError that names the settings in force, what held the memory, and the nearest settings that fit,
    where the block runs out of memory.

    Args:
        micro_batch_size: examples a forward pass, asked when memory ran out: it is chosen late.
        predict, usable: what a training needs, and how many bytes it may have.
    """
    try:
        yield
    except Exception as exc:
        if not ran_out(exc):
            raise
        micro = micro_batch_size() or training.batch_size
        said = str(exc).strip().partition("\n")[0].rstrip(".") or type(exc).__name__
        why, change = f"{said}. ", that_needs_less(training, micro)
        if predict and usable:
            with suppress(Exception):  # a prediction that fails leaves what was said without it
                limit = usable()
                why += f"{by_holder(predict(training, micro), limit)}. "
                change = nearest_that_fits(training, micro, predict, limit)
        raise TrainError(
            f"memory ran out during training, with {in_force(training, micro)}: {why}Change {change}."
        ) from exc


def by_holder(memory: Mapping[str, int], limit: int | None = None) -> str:
    """What holds the memory, the most first; what is under a hundredth of it is left out."""
    peak = sum(memory.values())
    parts = sorted(memory.items(), key=lambda part: -part[1])
    said = ", ".join(f"{what} {size / 1e9:.2f}" for what, size in parts if size >= peak / 100)
    return f"Predicted were {peak / 1e9:.2f} GB ({said})" + (f" of {limit / 1e9:.2f} GB" if limit else "")


def nearest_that_fits(training: TrainingConfig, micro_batch_size: int, predict: Predict, limit: int) -> str:
    """The settings to change, so that no more than `limit` bytes are needed: first smaller passes, which take the least
    time more, then gradient checkpointing, then both.
    """
    smaller = smaller_micro_batches(training, micro_batch_size)
    leaner = training.model_copy(update={"gradient_checkpointing": True})
    tried = [(training, m) for m in smaller]
    if not training.gradient_checkpointing:
        tried += [(leaner, m) for m in (micro_batch_size, *smaller)]
    needs = 0
    for settings, micro in tried:
        needs = sum(predict(settings, micro).values())
        if needs > limit:
            continue
        changes = [passes_of(training, micro, micro_batch_size)] * (micro != micro_batch_size)
        changes += ["--gradient-checkpointing"] * (settings is not training)
        return f"{' and '.join(changes)}, which is predicted to need {needs / 1e9:.2f} GB"
    least = f"training.max_len={training.max_len // 2} (now {training.max_len}), or choose a smaller --model"
    return f"{least}: single examples are predicted to need {needs / 1e9:.2f} GB" if tried else least


def in_force(training: TrainingConfig, micro_batch_size: int) -> str:
    """What a forward pass held."""
    return f"micro_batch_size={micro_batch_size}, max_len={training.max_len}" + (
        ", gradient_checkpointing" if training.gradient_checkpointing else ""
    )


def that_needs_less(training: TrainingConfig, micro_batch_size: int) -> str:
    """The settings to change: the next smaller pass that divides an update, else shorter examples."""
    smaller = smaller_micro_batches(training, micro_batch_size)
    first = (
        passes_of(training, smaller[0], micro_batch_size)
        if smaller
        else f"training.max_len={training.max_len // 2} (now {training.max_len})"
    )
    return first + ("" if training.gradient_checkpointing else ", or --gradient-checkpointing")


def smaller_micro_batches(training: TrainingConfig, micro_batch_size: int) -> list[int]:
    """The smaller ones that divide an update among all processes, the largest first."""
    of_process = training.batch_size // process_count()
    return [m for m in range(micro_batch_size - 1, 0, -1) if of_process % m == 0]


def passes_of(training: TrainingConfig, micro_batch_size: int, now: int) -> str:
    """The settings that make forward passes of `micro_batch_size`."""
    changes = []
    if training.grad_accum:
        passes = training.batch_size // micro_batch_size
        changes.append(f"training.grad_accum={passes} (now {training.grad_accum})")
    if training.micro_batch_size or not training.grad_accum:
        changes.append(f"training.micro_batch_size={micro_batch_size} (now {now})")
    return " and ".join(changes)


def oom_kills() -> int | None:
    """How many processes Linux has ended for lack of memory since it started; None where it does not say."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def kills_since(then: int | None) -> int:
    """How many since `oom_kills` said `then`."""
    now = oom_kills()
    return max(0, now - then) if now is not None and then is not None else 0
