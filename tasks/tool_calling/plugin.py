"""The tool-calling task, through the same hooks as anybody's."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_tasks(register: Register) -> None:
    register("tool-calling", "agentlora.tasks.tool_calling.task:TASK")


@hookimpl
def register_dataset_builders(register: Register) -> None:
    register("tool-requests", "agentlora.tasks.tool_calling.builder:ToolRequests")
    register("user-tools", "agentlora.tasks.tool_calling.user_tools:UserTools")
