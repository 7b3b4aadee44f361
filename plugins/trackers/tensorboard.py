"""TensorBoard: event files in the run's directory, ``tensorboard/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentlora.core.run import Run
from agentlora.plugins.trackers.known import End


class TensorBoard:
    """See `agentlora.plugins.trackers.known.Tracker`. Look with ``tensorboard --logdir RUNS``."""

    package = module = "tensorboard"

    def open(
        self, run: Run, settings: Mapping[str, Any], known_id: str | None, again_from: int | None
    ) -> _Open:
        opened = _Open(run.directory / "tensorboard", again_from if known_id else None)
        if not known_id:
            rows = "".join(f"| {key} | {value} |\n" for key, value in settings.items())
            opened.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)
        return opened


class _Open:
    def __init__(self, directory: Path, again_from: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = directory.name
        # what was shown of these updates before the interruption is shown once
        self.writer = SummaryWriter(str(directory), purge_step=again_from)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def finish(self, end: End) -> None:
        self.writer.add_text("ended", end)
        self.writer.close()
