"""The catalog: kind and name → object, with the owner of each name."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from agentlora.core import suite_types, types
from agentlora.core.errors import ConfigError, MissingExtra, PluginError, unknown

# hook name → (kind, what to call one of them in a message)
KINDS: dict[str, tuple[str, str]] = {
    "register_tasks": ("tasks", "task"),
    "register_dataset_builders": ("dataset_builders", "dataset builder"),
    "register_base_models": ("base_models", "base model"),
    "register_peft_methods": ("peft_methods", "method"),
    "register_trainers": ("trainers", "trainer"),
    "register_engines": ("engines", "engine"),
    "register_evaluators": ("evaluators", "evaluator"),
    "register_suites": ("suites", "suite"),
    "register_routers": ("routers", "router"),
}
_SINGULAR = dict(KINDS.values())
_CONTRACTS: dict[str, type] = {
    "tasks": types.Task,
    "dataset_builders": types.DatasetBuilder,
    "base_models": types.BaseModel,
    "peft_methods": types.Method,
    "trainers": types.Trainer,
    "engines": types.EngineFactory,
    "evaluators": types.Evaluator,
    "suites": suite_types.Suite,
    "routers": types.Router,
}
_PART = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")  # design, decision 11


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
        """Raises PluginError when `name` is none, or is taken; names the owners."""
        check_name(kind, name, owner)
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
            PluginError: the thing cannot be imported or made, or is not of its kind.
            MissingExtra: it needs a package that is not installed.
        """
        if name not in self.entries[kind]:
            raise ConfigError(unknown(_SINGULAR[kind], name, self.entries[kind]))
        entry = self.entries[kind][name]
        if isinstance(entry.thing, str) or inspect.isclass(entry.thing):
            entry.thing = _load(entry, f"{_SINGULAR[kind]} {name!r}")
        _check_contract(kind, name, entry)
        return entry.thing


def check_name(kind: str, name: Any, owner: str) -> None:
    """Raises PluginError when `name` could not be a file, an OCI repository and a metric label at once."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(
            f"plugin {owner!r} registers {name!r}, which cannot be a {_SINGULAR[kind]}'s name: use small letters "
            "and digits, joined by '.', '_' or '-', and at most one '/' (namespace/name)."
        )


def _check_contract(kind: str, name: str, entry: Entry) -> None:
    """Raises PluginError that names what the thing lacks of its kind's contract."""
    contract = _CONTRACTS[kind]
    if isinstance(entry.thing, contract):
        return
    members = (*vars(contract), *contract.__annotations__)
    lacks = sorted({m for m in members if not m.startswith("_") and not hasattr(entry.thing, m)})
    raise PluginError(
        f"{_SINGULAR[kind]} {name!r}, registered by {entry.owner!r}, is a {type(entry.thing).__name__}, which is no "
        f"agentlora.core.types.{contract.__name__}" + (f": it lacks {', '.join(lacks)}." if lacks else ".")
    )


def _load(entry: Entry, what: str) -> Any:
    """Import and, if it is a class, instantiate; both run a plugin's code, which may raise anything."""
    thing = entry.thing
    try:
        if isinstance(thing, str):
            module, _, attr = thing.partition(":")
            thing = getattr(import_module(module), attr)
        return thing() if inspect.isclass(thing) else thing
    except MissingExtra:
        raise
    except (Exception, SystemExit) as exc:
        origin = entry.thing if isinstance(entry.thing, str) else f"{thing.__module__}:{thing.__qualname__}"
        raise PluginError(
            f"{what}, registered by {entry.owner!r}, cannot be loaded from {origin!r}: {type(exc).__name__}: {exc}"
        ) from exc
