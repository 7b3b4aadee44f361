"""Weights & Biases, and trackio, which has the same functions and keeps everything on this machine."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from agentlora.core.run import Run
from agentlora.plugins.trackers.known import End

PROJECT = "agentlora"
EXIT_CODE: dict[End, int] = {"finished": 0, "failed": 1, "interrupted": 130}


class Wandb:
    """See `agentlora.plugins.trackers.known.Tracker`. WANDB_PROJECT, WANDB_MODE … are read by the library."""

    package = module = "wandb"

    def open(
        self, run: Run, settings: Mapping[str, Any], known_id: str | None, again_from: int | None
    ) -> _OpenWandb:
        import wandb

        run_id = known_id or secrets.token_hex(4)
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.id,
            id=run_id,
            resume="allow",
            config=dict(settings),
            dir=str(run.directory),
            settings=wandb.Settings(console="off", silent=True),  # the terminal is ours
        )
        return _OpenWandb(opened, run_id)


class _OpenWandb:
    def __init__(self, opened: Any, run_id: str) -> None:
        self.id = run_id
        self._opened = opened

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._opened.log(dict(figures), step=step)

    def finish(self, end: End) -> None:
        self._opened.finish(exit_code=EXIT_CODE[end])


class Trackio:
    """See `agentlora.plugins.trackers.known.Tracker`. Look with ``trackio show --project agentlora``."""

    package = module = "trackio"

    def open(
        self, run: Run, settings: Mapping[str, Any], known_id: str | None, again_from: int | None
    ) -> _OpenTrackio:
        import trackio

        name = known_id or f"{run.id}-{secrets.token_hex(2)}"  # its name is what a run is known by
        with redirect_stdout(io.StringIO()):  # what it prints would get into the output of --json
            opened = trackio.init(
                project=PROJECT, name=name, resume="allow", config=dict(settings), embed=False
            )
        return _OpenTrackio(opened, name)


class _OpenTrackio:
    def __init__(self, opened: Any, name: str) -> None:
        self.id = name
        self._opened = opened

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._opened.log(dict(figures), step=step)

    def finish(self, end: End) -> None:
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()
