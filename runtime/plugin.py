"""The runtime's plugin: the engine ``vllm`` and the router ``tfidf``, imported on first use."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_engines(register: Register) -> None:
    register("vllm", "agentlora.runtime.engine:VllmEngineFactory")


@hookimpl
def register_routers(register: Register) -> None:
    register("tfidf", "agentlora.runtime.router:TfidfRouter")
