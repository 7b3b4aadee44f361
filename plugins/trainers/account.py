"""What a training was predicted to need, beside what it needed: both are kept in ``run.json``."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agentlora.core.run import Run

log = logging.getLogger(__name__)
PROCESS = Path("/proc/self")


@contextmanager
def accounted(run: Run, predict: Callable[[], Any]) -> Iterator[None]:
    """Predict, let the block train, and keep prediction and measurement as the facts ``predicted`` and ``measured`` of
    the run. A prediction that fails costs itself, not the training.
    """
    import torch

    predicted = None
    try:
        # the training's dropout is the same, whatever was drawn for the prediction
        with torch.random.fork_rng():
            predicted = predict().to_dict()
    except Exception as exc:
        log.warning("what this training needs could not be predicted: %s: %s", type(exc).__name__, exc)
    run.add_facts(predicted=predicted)
    began = time.monotonic()
    forget_peak()
    yield
    peak, seconds = peak_bytes(), time.monotonic() - began
    run.add_facts(measured={"peak": peak, "seconds": round(seconds, 1)})
    run.note("train", "measured", message=_said(predicted, peak, seconds), peak=peak, seconds=seconds)


def _said(predicted: Any, peak: int | None, seconds: float) -> str:
    parts = [f"{seconds / 60:.1f} minutes"]
    if peak:
        parts.append(f"{peak / 1e9:.2f} GB at its peak")
    expected = predicted or {}
    if peak and expected.get("peak"):
        parts.append(f"{expected['peak'] / 1e9:.2f} GB were predicted")
    return ", ".join(parts)


def forget_peak() -> None:
    """Measure the peak from here on, where the device lets us."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")  # proc(5): the peak becomes what is resident now


def peak_bytes() -> int | None:
    """The most memory since `forget_peak`: the GPU's, or resident memory of this process; None where nobody says."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+)", (PROCESS / "status").read_text()):
            return int(found[1]) * 1024
    return None
