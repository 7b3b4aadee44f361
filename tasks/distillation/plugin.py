"""The distillation task, through the same hooks as anybody's."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_tasks(register: Register) -> None:
    register("distillation", "agentlora.tasks.distillation.task:TASK")


@hookimpl
def register_evaluators(register: Register) -> None:
    register("agreement", "agentlora.tasks.distillation.agreement:Agreement")
