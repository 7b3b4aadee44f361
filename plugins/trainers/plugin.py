"""The built-in trainers."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_trainers(register: Register) -> None:
    register("sft", "agentlora.plugins.trainers.sft:SFT")
    register("dpo", "agentlora.plugins.trainers.preference:DPO")
    register("kto", "agentlora.plugins.trainers.preference:KTO")
    register("grpo", "agentlora.plugins.trainers.grpo:GRPO")
    register("on-policy", "agentlora.plugins.trainers.on_policy:OnPolicy")
