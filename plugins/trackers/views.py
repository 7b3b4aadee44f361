"""From the events of runs to the trackers that their configurations name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agentlora.core import journal
from agentlora.core.provenance import redact
from agentlora.core.run import STAGE_MARKS, Run, open_run
from agentlora.core.types import RunEvent
from agentlora.plugins.trackers.known import End, TrackedRun, tracker

STAGES = ("train", "eval")
FIGURES = ("loss", "lr", "tokens_per_s")  # of an update

log = logging.getLogger(__name__)


class Views:
    """The open views of every run that this process is at work on."""

    def __init__(self) -> None:
        self._open: dict[Path, list[_View]] = {}

    def see(self, event: RunEvent) -> None:
        """Show an event wherever its run is shown."""
        directory = event.directory
        if directory is None or event.stage not in STAGES:
            return
        what = event.data.get("what")
        if event.kind == "stage" and what == "started":
            run = open_run(str(directory))
            self._open[directory] = [_View(run, name) for name in dict.fromkeys(run.config.trackers)]
        for view in self._open.get(directory, ()):
            view.see(event)
        if event.kind == "stage" and what in STAGE_MARKS[1:]:
            for view in self._open.pop(directory, ()):
                view.close(_end(event))


class _View:
    """A run in one tracker; opened with the first figures. What the tracker raises ends the view and nothing else."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name = run, name
        self._shown: TrackedRun | None = None
        self._broken = False

    def see(self, event: RunEvent) -> None:
        figures, step = _figures(event), event.data.get("step")
        if figures:
            at = int(step) if step is not None else _last_step(self._run)
            self._guarded(lambda: self._log(figures, at, again_from=step))

    def close(self, end: End) -> None:
        shown = self._shown
        if shown is not None:
            self._guarded(lambda: shown.finish(end))

    def _log(self, figures: Mapping[str, float], step: int, again_from: int | None) -> None:
        if self._shown is None:
            known = self._run.facts().get("trackers", {})
            self._shown = tracker(self._name).open(
                self._run, settings(self._run), known.get(self._name), again_from
            )
            self._run.add_facts(trackers={**known, self._name: self._shown.id})
        self._shown.log(figures, step)

    def _guarded(self, do: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            do()
        except (Exception, SystemExit) as exc:
            self._broken = True
            log.warning(
                "tracker %s failed, and the run goes on without it: %s: %s",
                self._name,
                type(exc).__name__,
                exc,
            )


def settings(run: Run) -> dict[str, Any]:
    """What a tracker shows of a run beside its figures: the head of its metrics, configuration and provenance, flat and
    without secrets.
    """
    head = next(iter(journal.read(run.metrics_file)), {})
    facts = run.facts()
    whole = {
        **{key: value for key, value in head.items() if key != "step"},
        "config": run.config.model_dump(mode="json"),
        "base": facts.get("base", {}),
        "provenance": facts.get("provenance", {}),
    }
    return dict(_flat(redact(whole)))


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif value is not None:
        yield key, value if isinstance(value, bool | int | float) else str(value)


def _figures(event: RunEvent) -> dict[str, float]:
    """The figures of an update, of a look at dev, or of an evaluation, by the names under which trackers show them."""
    data = event.data
    if event.stage == "train" and event.kind == "step":
        figures = {f"train/{key}": data[key] for key in FIGURES if key in data}
        return figures | ({"dev/loss": data["dev_loss"]} if "dev_loss" in data else {})
    if event.stage == "eval" and data.get("what") == "recorded":
        return {f"{data['split']}/{key}": value for key, value in data["figures"].items()}
    return {}


def _last_step(run: Run) -> int:
    return max((int(row.get("step", 0)) for row in journal.read(run.metrics_file)), default=0)


def _end(event: RunEvent) -> End:
    if event.data.get("what") == "finished":
        return "finished"
    return "interrupted" if str(event.data.get("reason")).startswith("KeyboardInterrupt") else "failed"
