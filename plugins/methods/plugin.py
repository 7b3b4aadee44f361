"""The built-in PEFT methods, one file each."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_peft_methods(register: Register) -> None:
    register("lora", "agentlora.plugins.methods.lora:Lora")
