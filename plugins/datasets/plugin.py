"""The built-in sources of examples that belong to no task."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_dataset_builders(register: Register) -> None:
    register("jsonl", "agentlora.plugins.datasets.jsonl:Jsonl")
    register("prompts", "agentlora.plugins.datasets.jsonl:Prompts")
