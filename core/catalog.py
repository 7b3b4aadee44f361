"""The catalog: kind and name → object, with the owner of each name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from agentlora.core.errors import AgentLoraError, ConfigError, MissingExtra, PluginError, unknown

# hook name → (kind, what to call one of them in a message)
KINDS: dict[str, tuple[str, str]] = {
    "register_tasks": ("tasks", "task"),
    "register_dataset_builders": ("dataset_builders", "dataset builder"),
    "register_base_models": ("base_models", "base model"),
    "register_peft_methods": ("peft_methods", "method"),
    "register_trainers": ("trainers", "trainer"),
    "register_engines": ("engines", "engine"),
    "register_evaluators": ("evaluators", "evaluator"),
    "register_routers": ("routers", "router"),
}
_SINGULAR = dict(KINDS.values())


@dataclass
class Entry:
    """One registered thing: the object, or the ``module:attr`` it is imported from on first use."""

    thing: Any
    owner: str


@dataclass
class Catalog:
    """Everything that plugins registered, by kind and name."""

    entries: dict[str, dict[str, Entry]] = field(
        default_factory=lambda: {kind: {} for kind, _ in KINDS.values()}
    )

    def add(self, kind: str, name: str, thing: Any, owner: str) -> None:
        """Raises PluginError when `name` is taken, naming both owners."""
        known = self.entries[kind]
        if name in known:
            raise PluginError(
                f"{_SINGULAR[kind]} {name!r} is registered twice: by {known[name].owner!r} and by {owner!r}. "
                "Uninstall one of them, or leave one out with AGENTLORA_LOAD_PLUGINS."
            )
        known[name] = Entry(thing, owner)

    def names(self, kind: str) -> list[str]:
        return sorted(self.entries[kind])

    def get(self, kind: str, name: str) -> Any:
        """Import (on first use) and return the thing called `name`; a class is instantiated without arguments.

        Raises:
            ConfigError: there is no such name; the message lists the names and the nearest match.
            PluginError: the thing cannot be imported.
        """
        if name not in self.entries[kind]:
            raise ConfigError(unknown(_SINGULAR[kind], name, self.entries[kind]))
        entry = self.entries[kind][name]
        if isinstance(entry.thing, str):
            entry.thing = _load(entry, f"{_SINGULAR[kind]} {name!r}")
        if inspect.isclass(entry.thing):
            entry.thing = entry.thing()
        return entry.thing


def _load(entry: Entry, what: str) -> Any:
    module, _, attr = entry.thing.partition(":")
    try:
        return getattr(import_module(module), attr)
    except MissingExtra:
        raise
    except (ImportError, AttributeError, AgentLoraError) as exc:
        raise PluginError(
            f"{what}, registered by {entry.owner!r}, cannot be loaded from {entry.thing!r}: {exc}"
        ) from exc
