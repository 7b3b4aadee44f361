"""Several processes of one training, as ``torchrun`` and ``accelerate launch`` start them.

The first does everything that is done once: configuration, data, the run directory. Then it tells the others where the
run is, and all train. What another process writes goes into a shadow of the run that vanishes with it, so that a run
has one writer and everybody the same code; only the checkpoints' folder is the run's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError, TrainError
from agentlora.core.files import write_atomic
from agentlora.core.run import Run, open_run

LONGEST_WAIT = timedelta(hours=6)  # for the first process to build the data
# what mpirun sets, which `accelerate launch --cpu` starts processes by: Intel MPI and MPICH, Open MPI, MVAPICH
MPI_INDEX = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
MPI_COUNT = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def process_index() -> int:
    """Which of the training's processes this is, from 0; 0 where it is alone."""
    return _from_environment("RANK", MPI_INDEX, 0)


def process_count() -> int:
    """How many processes train together."""
    return _from_environment("WORLD_SIZE", MPI_COUNT, 1)


def left_alone() -> str:
    """What to tell where ``accelerate launch --cpu`` was asked for several processes and started one; else nothing.
    It leaves their address in the environment then (accelerate 1.15).
    """
    if not _launched_on_cpus() or "MASTER_PORT" not in os.environ or process_count() > 1:
        return ""
    return (
        "one process trains alone: `accelerate launch --cpu` starts no other without --mpirun_hostfile. Say "
        "--multi_gpu in place of --cpu, on CPUs too, or use torchrun"
    )


def _launched_on_cpus() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"


def _from_environment(by_torchrun: str, by_mpi: Sequence[str], alone: int) -> int:
    names = (by_torchrun, *by_mpi) if _launched_on_cpus() else (by_torchrun,)
    return next((int(os.environ[name]) for name in names if name in os.environ), alone)


def check_processes(config: RunConfig) -> None:
    """Raises ConfigError when the forward passes of an update cannot be shared out evenly."""
    count, training = process_count(), config.training
    micro = training.micro_batch_size or 1
    if training.batch_size % (count * micro):
        each = f" of {micro} examples (micro_batch_size)" if training.micro_batch_size else ""
        raise ConfigError(
            f"batch_size is {training.batch_size}, the examples of an update, and cannot be divided among {count} "
            f"processes into forward passes{each}. Choose a multiple of {count * micro} (--batch-size)."
        )
    if training.grad_accum and training.grad_accum % count:
        raise ConfigError(
            f"grad_accum is {training.grad_accum}, the forward passes of an update over all processes, and cannot be "
            f"divided among {count}. Choose a multiple of {count} (--grad-accum)."
        )


def start_others(run: Run) -> None:
    """Let the other processes train `run` too; nothing where there are none."""
    if process_count() > 1:
        run.checkpoints_dir.mkdir(exist_ok=True)
        from_first(str(run.directory))


@contextmanager
def follow_first() -> Iterator[Run]:
    """In another process than the first: wait for the run, and yield its shadow to train."""
    original = open_run(from_first(None))
    with TemporaryDirectory(prefix=f"agentlora-process-{process_index()}-") as folder:
        yield shadow(original, Path(folder))


def shadow(run: Run, folder: Path) -> Run:
    """`run` with a directory of its own: it reads the same data and checkpoints, and writes where nobody looks."""
    directory = folder / run.id
    directory.mkdir()
    for name in ("data", "checkpoints"):
        (directory / name).symlink_to(run.directory / name, target_is_directory=True)
    for name in ("run.json", "metrics.jsonl"):
        if (run.directory / name).is_file():
            write_atomic(directory / name, (run.directory / name).read_bytes())
    return Run(directory, run.config)


@contextmanager
def together() -> Iterator[None]:
    """What goes wrong in it because another process ended is told as that.

    Raises:
        TrainError: another process failed or was killed.
    """
    if process_count() == 1:
        yield
        return

    def told_to_end(*_: Any) -> None:
        raise TrainError(_ANOTHER_ENDED)

    before = signal.signal(signal.SIGTERM, told_to_end)  # the launcher ends all when one has ended
    try:
        yield
    except TrainError as exc:
        if any(sign in str(exc) for sign in ("gloo", "NCCL", "DistBackendError")):
            raise TrainError(_ANOTHER_ENDED) from exc
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


_ANOTHER_ENDED = (
    "another process of this training failed or was killed, and with it ends this one. See what that said, then go on "
    "from the last checkpoint: the same launcher with `agentlora runs resume`"
)


def from_first(value: Any) -> Any:
    """`value` as the first process has it. All processes have to call it; alone, it is the value."""
    if process_count() == 1:
        return value
    from agentlora.core.libraries import prepare_libraries

    prepare_libraries()
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    return broadcast_object_list([value])[0]
