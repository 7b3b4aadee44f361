"""The structured-output task, through the same hooks as anybody's."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_tasks(register: Register) -> None:
    register("structured-output", "agentlora.tasks.structured_output.task:TASK")


@hookimpl
def register_dataset_builders(register: Register) -> None:
    register("schema-texts", "agentlora.tasks.structured_output.builder:SchemaTexts")


@hookimpl
def register_evaluators(register: Register) -> None:
    register("json-fields", "agentlora.tasks.structured_output.scoring:JsonFields")
