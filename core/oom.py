"""Memory that ran out: how that is recognised, the settings that were in force, and the nearest ones that need less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import AgentLoraError, TrainError
from agentlora.core.processes import process_count

VMSTAT = Path("/proc/vmstat")
Predict: TypeAlias = Callable[[TrainingConfig, int], Mapping[str, int]]
"""Settings and examples a forward pass → bytes by what holds them."""
# what torch says on a CPU, in CUDA and in cuBLAS; only CUDA's allocator has an exception of its own
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained with: the settings, and `micro_batch_size` examples a forward pass.

    `longest`: tokens of the longest example, where that is known; only less than that can need less. `checkpointing`:
    whether the method can be trained with gradient checkpointing.
    """

    training: TrainingConfig
    micro_batch_size: int
    longest: int | None = None
    checkpointing: bool = True


def ran_out(exc: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exc, RuntimeError) and any(sign in str(exc) for sign in _SIGNS)


@contextmanager
def memory_explained(
    setup: Callable[[], Setup], predict: Predict | None = None, usable: Callable[[], int] | None = None
) -> Iterator[None]:
    """Raises TrainError that names the settings in force, what held the memory, and the nearest settings that fit,
    where the block runs out of memory.

    Args:
        setup: asked when memory ran out: the examples of a forward pass are chosen late.
        predict, usable: what a training needs, and how many bytes it may have.
    """
    try:
        yield
    except Exception as exc:
        if not ran_out(exc):
            raise
        now = setup()
        said = str(exc).strip().partition("\n")[0].rstrip(".") or type(exc).__name__
        why, change = f"{said}. ", that_needs_less(now)
        if predict and usable:
            with suppress(Exception):  # a prediction that fails leaves what was said without it
                limit = usable()
                why += f"{by_holder(predict(now.training, now.micro_batch_size), limit)}. "
                change = nearest_that_fits(now, predict, limit)
        held = in_force(now.training, now.micro_batch_size)
        raise TrainError(f"memory ran out during training, with {held}: {why}Change {change}.") from exc


def by_holder(memory: Mapping[str, int], limit: int | None = None) -> str:
    """What holds the memory, the most first; what is under a hundredth of it is left out."""
    peak = sum(memory.values())
    parts = sorted(memory.items(), key=lambda part: -part[1])
    said = ", ".join(f"{what} {size / 1e9:.2f}" for what, size in parts if size >= peak / 100)
    return f"Predicted were {peak / 1e9:.2f} GB ({said})" + (f" of {limit / 1e9:.2f} GB" if limit else "")


def nearest_that_fits(setup: Setup, predict: Predict, limit: int) -> str:
    """What to change, so that no more than `limit` bytes are needed: see `fitting`; where nothing is enough, that."""
    found, least = fitting(setup, predict, limit)
    return found or (
        f"to a smaller --model: no setting is enough, and this one is predicted to need {least / 1e9:.2f} GB at least"
    )


def fitting(setup: Setup, predict: Predict, limit: int, fixed: int = 0) -> tuple[str | None, int]:
    """The nearest settings that need no more than `limit` bytes, in words, and the fewest bytes that were predicted for
    any. First smaller passes, which take the least time more, then gradient checkpointing, then both, at last shorter
    examples too.

    A prediction takes seconds, so that none is asked for that follows from another: what has smaller passes or shorter
    examples, and is otherwise the same, needs less.

    Args:
        fixed: bytes that are needed whatever these settings are, as far as that is known.
    """
    training, now = setup.training, setup.micro_batch_size
    smaller = smaller_micro_batches(training, now)
    with_leaner = setup.checkpointing and not training.gradient_checkpointing
    leanest = training.model_copy(update={"gradient_checkpointing": True}) if with_leaner else training
    single = smaller[-1] if smaller else now
    least = None if fixed > limit and setup.longest else _needed(predict, leanest, single)
    if least is None or least > limit:  # then nothing before it fits either
        return _shorter_that_fits(setup, predict, limit, leanest, single, least)
    known = {(leanest.gradient_checkpointing, single): least}

    def needs(settings: TrainingConfig, micro: int) -> int:
        key = settings.gradient_checkpointing, micro
        if key not in known:
            known[key] = _needed(predict, settings, micro)
        return known[key]

    for settings, sizes in ((training, smaller), (leanest, [now, *smaller] if with_leaner else [])):
        if not sizes or needs(settings, sizes[-1]) > limit:
            continue
        fits = next(micro for micro in sizes if needs(settings, micro) <= limit)
        return _said_of(setup, settings, fits, needs(settings, fits)), least
    return None, least


def _shorter_that_fits(
    setup: Setup, predict: Predict, limit: int, leanest: TrainingConfig, single: int, least: int | None
) -> tuple[str | None, int]:
    """As `fitting`, where `leanest` with `single` examples a pass does not fit; `least`: what it needs, if known."""
    shorter = leanest.model_copy(update={"max_len": half_as_long(setup)})
    if setup.longest:
        with suppress(AgentLoraError, ValueError):  # no example is that short
            found = _needed(predict, shorter, single)
            least = found if least is None else min(least, found)
    if least is None:
        least = _needed(predict, leanest, single)
    return _said_of(setup, shorter, single, least) if least <= limit else None, least


def _said_of(setup: Setup, settings: TrainingConfig, micro: int, needs: int) -> str:
    """How `settings` with passes of `micro` differ from what is trained with, and what they need."""
    training, now = setup.training, setup.micro_batch_size
    changes = [passes_of(training, micro, now)] * (micro != now)
    changes += ["--gradient-checkpointing"] * (
        settings.gradient_checkpointing and not training.gradient_checkpointing
    )
    changes += [shorter_examples(setup)] * (settings.max_len != training.max_len)
    return f"{' and '.join(changes)}, which is predicted to need {needs / 1e9:.2f} GB"


def _needed(predict: Predict, training: TrainingConfig, micro_batch_size: int) -> int:
    return sum(predict(training, micro_batch_size).values())


def in_force(training: TrainingConfig, micro_batch_size: int) -> str:
    """What a forward pass held."""
    return f"micro_batch_size={micro_batch_size}, max_len={training.max_len}" + (
        ", gradient_checkpointing" if training.gradient_checkpointing else ""
    )


def that_needs_less(setup: Setup) -> str:
    """The settings to change: the next smaller pass that divides an update, else shorter examples. See `fitting`."""
    training, now = setup.training, setup.micro_batch_size
    smaller = smaller_micro_batches(training, now)
    first = passes_of(training, smaller[0], now) if smaller else shorter_examples(setup)
    return first + ", or --gradient-checkpointing" * (
        setup.checkpointing and not training.gradient_checkpointing
    )


def half_as_long(setup: Setup) -> int:
    """A ``max_len`` of half of what examples have, and not of what they might have."""
    most = setup.training.max_len
    return max(16, min(most, setup.longest or most) // 2)


def shorter_examples(setup: Setup) -> str:
    """The setting that leaves out examples of more than half the length."""
    longest = setup.longest
    has = f"; the longest example has {longest} tokens, and longer ones are left out" if longest else ""
    return f"training.max_len={half_as_long(setup)} (now {setup.training.max_len}{has})"


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
