"""Plugin loading: built-ins and entry points go through the same hooks; a broken plugin is kept, not fatal."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from agentlora.core import hookspecs
from agentlora.core.catalog import KINDS, Catalog, check_name
from agentlora.core.errors import ConfigError, PluginError
from agentlora.core.types import RunEvent

GROUP = "agentlora"
ALLOW_LIST = "AGENTLORA_LOAD_PLUGINS"

BUILTIN = {
    "bases": "agentlora.plugins.bases.plugin",
    "datasets": "agentlora.plugins.datasets.plugin",
    "methods": "agentlora.plugins.methods.plugin",
    "trainers": "agentlora.plugins.trainers.plugin",
    "trackers": "agentlora.plugins.trackers.plugin",
    "tool-calling": "agentlora.tasks.tool_calling.plugin",
    "distillation": "agentlora.tasks.distillation.plugin",
    "structured-output": "agentlora.tasks.structured_output.plugin",
    "eval": "agentlora.eval.plugin",
    "runtime": "agentlora.runtime.plugin",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A plugin that did not load, and why."""

    name: str
    reason: str


@dataclass
class Plugins:
    """The loaded plugins: their hooks, what they registered, and what went wrong."""

    pm: pluggy.PluginManager
    catalog: Catalog = field(default_factory=Catalog)
    failures: list[Failure] = field(default_factory=list)

    def get(self, kind: str, name: str) -> Any:
        """Like `Catalog.get`; when the name is unknown, plugins that failed to load are named too.

        Raises:
            ConfigError: no such name.
            PluginError: the thing cannot be imported.
        """
        try:
            return self.catalog.get(kind, name)
        except ConfigError as exc:
            if not self.failures:
                raise
            failed = "; ".join(f"{f.name}: {f.reason}" for f in self.failures)
            raise ConfigError(f"{exc} Plugins that failed to load: {failed}") from exc

    def check(self, kind: str, name: str) -> None:
        """Raise ConfigError when there is no such name; nothing is imported."""
        if name not in self.catalog.names(kind):
            self.get(kind, name)

    def emit(self, event: RunEvent) -> None:
        """Tell every plugin; one that raises is logged and does not end the run."""
        for impl in self.pm.hook.on_run_event.get_hookimpls():
            try:
                impl.function(event)
            except (Exception, SystemExit):
                log.warning("plugin %s failed in on_run_event", impl.plugin_name, exc_info=True)


def load_plugins(builtin: dict[str, str] | None = None) -> Plugins:
    """Load the built-ins and every allowed entry point of the group ``agentlora``.

    `AGENTLORA_LOAD_PLUGINS` is a comma-separated allow-list of entry-point names (unset: all; empty: none);
    the built-ins always load.

    Raises:
        PluginError: two plugins register the same name.
    """
    pm = pluggy.PluginManager("agentlora")
    pm.add_hookspecs(hookspecs)
    plugins = Plugins(pm)
    for name, module in (BUILTIN if builtin is None else builtin).items():
        with _kept_as_failure(plugins, name):
            _add(plugins, name, import_module(module))
    for entry in _allowed_entry_points():
        if pm.has_plugin(entry.name):
            reason = (
                "a plugin of this name is loaded already; its package has to name its entry point differently"
            )
            plugins.failures.append(Failure(entry.name, reason))
            continue
        with _kept_as_failure(plugins, entry.name):
            _add(plugins, entry.name, entry.load())
    return plugins


@cache
def default_plugins() -> Plugins:
    """The plugins of this process, loaded once."""
    return load_plugins()


def _allowed_entry_points() -> Iterator[EntryPoint]:
    allow = os.environ.get(ALLOW_LIST)
    allowed = None if allow is None else {name.strip() for name in allow.split(",") if name.strip()}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        if allowed is None or entry.name in allowed:
            yield entry


@contextmanager
def _kept_as_failure(plugins: Plugins, name: str) -> Iterator[None]:
    """Keep whatever importing or registering a plugin raises; only a clash of names is raised at once."""
    try:
        yield
    except _Clash as exc:
        raise PluginError(str(exc)) from exc
    except (Exception, SystemExit) as exc:  # some modules end the process when a part is missing
        plugins.failures.append(Failure(name, f"{type(exc).__name__}: {exc}"))


class _Clash(Exception):
    pass


def _add(plugins: Plugins, name: str, module: Any) -> None:
    """Register all of a plugin or nothing of it: a hook that fails half-way leaves the catalog as it was."""
    pm = plugins.pm
    pm.register(module, name)
    staged: list[tuple[str, str, Any]] = []

    def stage(kind: str, thing_name: str, thing: Any) -> None:
        check_name(kind, thing_name, name)
        staged.append((kind, thing_name, thing))

    try:
        pm.check_pending()  # a misspelt hook is otherwise accepted silently
        for hook, (kind, _) in KINDS.items():
            for impl in getattr(pm.hook, hook).get_hookimpls():
                if impl.plugin is module:
                    impl.function(partial(stage, kind))
    except BaseException:
        pm.unregister(module)
        raise
    for kind, thing_name, thing in staged:
        try:
            plugins.catalog.add(kind, thing_name, thing, owner=name)
        except PluginError as exc:
            raise _Clash(str(exc)) from exc
