"""Every hook of agentlora, in one file, in the order of a skill's life.

A plugin is a module (or object) with functions of these names marked ``@hookimpl``, named in the
entry-point group ``agentlora``. The ``register_*`` hooks receive ``register(name, thing)``, where `thing`
is an object or a string ``"module:attr"`` that is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

from agentlora.core.types import RunEvent

Register = Callable[[str, Any], None]

hookspec = pluggy.HookspecMarker("agentlora")
hookimpl = pluggy.HookimplMarker("agentlora")


# --- what to learn, and from what ---


@hookspec
def register_tasks(register: Register) -> None:
    """Offer tasks.

    Args:
        register: takes a name and a `Task`.
    """


@hookspec
def register_dataset_builders(register: Register) -> None:
    """Offer sources of examples.

    Args:
        register: takes a name and a `DatasetBuilder`.
    """


# --- how to train ---


@hookspec
def register_base_models(register: Register) -> None:
    """Offer base models that can be named with ``--model``.

    Args:
        register: takes a name and a `BaseModel`.
    """


@hookspec
def register_peft_methods(register: Register) -> None:
    """Offer PEFT methods.

    Args:
        register: takes a name and a `Method`.
    """


@hookspec
def register_trainers(register: Register) -> None:
    """Offer trainers.

    Args:
        register: takes a name and a `Trainer`.
    """


# --- how to judge ---


@hookspec
def register_engines(register: Register) -> None:
    """Offer things that generate text.

    Args:
        register: takes a name and an `EngineFactory`.
    """


@hookspec
def register_evaluators(register: Register) -> None:
    """Offer evaluators.

    Args:
        register: takes a name and an `Evaluator`.
    """


@hookspec
def register_suites(register: Register) -> None:
    """Offer other people's tasks, for ``--suite``.

    Args:
        register: takes a name and a `Suite`.
    """


# --- how to serve ---


@hookspec
def register_routers(register: Register) -> None:
    """Offer routers.

    Args:
        register: takes a name and a `Router`.
    """


# --- what happens meanwhile ---


@hookspec
def on_run_event(event: RunEvent) -> None:
    """See every stage, step and note of a run, for trackers and notifiers.

    An exception raised here is logged and does not end the run.
    """


@hookspec
def veto_publish(card: Mapping[str, Any], record: Mapping[str, Any] | None) -> str | None:
    """Refuse a publication that passed the gate.

    Args:
        card: the skill card about to be published.
        record: the evaluation record behind it, or None.

    Returns:
        The reason for refusing, or None.
    """
