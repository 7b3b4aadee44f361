"""Run events on the screen: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from agentlora.core.manager import Plugins
from agentlora.core.types import RunEvent

LINE_EVERY_S = 15.0


@contextmanager
def show(plugins: Plugins, quiet: bool = False) -> Iterator[Callable[[RunEvent], None]]:
    """A callback for `Run.emit` that tells the plugins and, unless `quiet`, the user."""
    view = _Quiet() if quiet else _Bar() if sys.stderr.isatty() else _Lines()

    def emit(event: RunEvent) -> None:
        plugins.emit(event)
        view.see(event)

    with view:
        yield emit


def describe(event: RunEvent) -> str | None:
    """One line for the event of a stage or a note; None when it is not worth one."""
    if event.kind not in ("stage", "note"):
        return None
    data = dict(event.data)
    if "message" in data:
        return f"{event.stage}: {data['message']}"
    if data.get("what") == "started":
        return f"{event.stage}: started"
    if data.get("what") == "built":
        counts = ", ".join(f"{data[split]} {split}" for split in ("train", "dev", "test"))
        return f"data: {counts} examples"
    return None


def remaining(step: int, total: int, started: float) -> float:
    """Seconds left at the mean pace so far."""
    return (time.monotonic() - started) / max(step, 1) * (total - step)


class _Quiet:
    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def see(self, event: RunEvent) -> None:
        pass


class _Lines(_Quiet):
    def __init__(self) -> None:
        self._stage = ""
        self._started = self._last = 0.0

    def see(self, event: RunEvent) -> None:
        if event.kind != "step":
            if line := describe(event):
                click.echo(line, err=True)
            return
        now = time.monotonic()
        step, total = event.data["step"], event.data["total_steps"]
        if event.stage != self._stage:
            self._stage, self._last = event.stage, 0.0
            self._started = now - event.data.get("seconds", 0.0)
        if now - self._last >= LINE_EVERY_S or step in (1, total) or "dev_loss" in event.data:
            self._last = now
            click.echo(
                f"{event.stage}: {_figures(event.data)}, {_clock(remaining(step, total, self._started))} left",
                err=True,
            )


class _Bar(_Quiet):
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._seen: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def see(self, event: RunEvent) -> None:
        if event.kind == "step":
            task = self._tasks.get(event.stage)
            if task is None:
                task = self._progress.add_task(event.stage, total=event.data["total_steps"], figures="")
                self._tasks[event.stage] = task
            # a look at dev stays in sight until the next one, beside the figures of the updates
            seen = self._seen.setdefault(event.stage, {})
            seen.update(event.data)
            self._progress.update(task, completed=event.data["step"], figures=_figures(seen))
        elif line := describe(event):
            self._progress.console.print(line, highlight=False)


def _figures(data: Any) -> str:
    parts = [f"{data['step']}/{data['total_steps']}"]
    if "loss" in data:
        parts.append(f"loss {data['loss']:.3f}")
    if "reward" in data:
        parts.append(f"reward {data['reward']:.3f}")
    if "dev_loss" in data:
        parts.append(f"dev loss {data['dev_loss']:.3f}")
    if "tokens_per_s" in data:
        parts.append(f"{data['tokens_per_s']:,.0f} tokens/s")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"
