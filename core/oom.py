"""Memory that ran out: how that is recognised, the settings that were in force, and the nearest ones that need less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import TrainError

VMSTAT = Path("/proc/vmstat")
# what torch says on a CPU, in CUDA and in cuBLAS; only CUDA's allocator has an exception of its own
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def ran_out(exc: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exc, RuntimeError) and any(sign in str(exc) for sign in _SIGNS)


@contextmanager
def memory_explained(training: TrainingConfig, micro_batch_size: Callable[[], int | None]) -> Iterator[None]:
    """Raises TrainError that names the settings in force, and what to change, where the block runs out of memory.

    Args:
        micro_batch_size: examples a forward pass, asked when memory ran out: it is chosen late.
    """
    try:
        yield
    except Exception as exc:
        if not ran_out(exc):
            raise
        micro = micro_batch_size() or training.batch_size
        said = str(exc).strip().partition("\n")[0].rstrip(".") or type(exc).__name__
        raise TrainError(
            f"memory ran out during training, with {in_force(training, micro)}: {said}. "
            f"Change {that_needs_less(training, micro)}."
        ) from exc


def in_force(training: TrainingConfig, micro_batch_size: int) -> str:
    """What a forward pass held."""
    return f"micro_batch_size={micro_batch_size}, max_len={training.max_len}" + (
        ", gradient_checkpointing" if training.gradient_checkpointing else ""
    )


def that_needs_less(training: TrainingConfig, micro_batch_size: int) -> str:
    """The settings to change: the next smaller pass that divides an update, else shorter examples."""
    smaller = smaller_micro_batch(training.batch_size, micro_batch_size)
    first = (
        f"training.micro_batch_size={smaller} (now {micro_batch_size})"
        if smaller
        else f"training.max_len={training.max_len // 2} (now {training.max_len})"
    )
    return first + ("" if training.gradient_checkpointing else ", or --gradient-checkpointing")


def smaller_micro_batch(batch_size: int, micro_batch_size: int) -> int:
    """The next smaller one that divides an update; 0 where there is none."""
    return max((m for m in range(1, micro_batch_size) if batch_size % m == 0), default=0)


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
