"""The built-in base models. A local directory or hub id needs no plugin: see `resolve`."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_base_models(register: Register) -> None:
    register("smollm2-135m", "agentlora.plugins.bases.smollm2:SmolLM2")
