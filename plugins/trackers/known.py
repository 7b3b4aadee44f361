"""The trackers by name, and what each of them has to be able to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias

from agentlora.core.errors import ConfigError, MissingExtra, unknown
from agentlora.core.run import Run

End: TypeAlias = Literal["finished", "failed", "interrupted"]


class TrackedRun(Protocol):
    """A run in a tracker, open. `id` is what the tracker knows it by."""

    id: str

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Show figures (``train/loss``, ``dev/loss``, ``test/exact_match`` …) after update `step`."""
        ...

    def finish(self, end: End) -> None: ...


class Tracker(Protocol):
    """Opens runs. `package` is what has to be installed, `module` what that is imported as."""

    package: str
    module: str

    def open(
        self, run: Run, settings: Mapping[str, Any], known_id: str | None, again_from: int | None
    ) -> TrackedRun:
        """Begin a run, or go on in the one that the tracker knows by `known_id`.

        Args:
            settings: configuration, method and provenance, flat and without secrets.
            again_from: the first update of a resumed training: it and those after it may have been shown before.
        """
        ...


TRACKERS: dict[str, str] = {
    "mlflow": "agentlora.plugins.trackers.mlflow:MLflow",
    "tensorboard": "agentlora.plugins.trackers.tensorboard:TensorBoard",
    "trackio": "agentlora.plugins.trackers.wandb:Trackio",
    "wandb": "agentlora.plugins.trackers.wandb:Wandb",
}


def tracker(name: str) -> Tracker:
    """The tracker called `name`; its library is not imported yet.

    Raises:
        ConfigError: there is no such tracker.
        MissingExtra: its package is not installed.
    """
    if name not in TRACKERS:
        raise ConfigError(f"trackers: {unknown('tracker', name, TRACKERS)}")
    module, _, attribute = TRACKERS[name].partition(":")
    found: Tracker = getattr(import_module(module), attribute)()
    if find_spec(found.module) is None:
        raise MissingExtra(
            f"tracker {name!r} needs {found.package!r}, which is not installed here. Run: pip install {found.package}"
        )
    return found


def check_trackers(names: Iterable[str]) -> None:
    """Raises what `tracker` raises, for every name."""
    for name in names:
        tracker(name)
