"""The built-in engines, evaluators and suites, offered through the public hooks."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl


@hookimpl
def register_engines(register: Register) -> None:
    """Names only: torch and httpx are imported when an engine is opened."""
    register("echo", "agentlora.eval.engines.echo:EchoFactory")
    register("transformers", "agentlora.eval.engines.hf:TransformersFactory")
    register("openai", "agentlora.eval.engines.openai_compat:OpenAIFactory")


@hookimpl
def register_evaluators(register: Register) -> None:
    """Judge tool calls, and answers to the Berkeley data."""
    register("tool-calls", "agentlora.eval.scorers:ToolCallEvaluator")
    register("bfcl", "agentlora.eval.bfcl.evaluator:BfclEvaluator")


@hookimpl
def register_suites(register: Register) -> None:
    """Other people's tasks; the libraries are imported when one is asked for."""
    register("bfcl", "agentlora.eval.suites.bfcl:BfclSuite")
    register("lm-eval", "agentlora.eval.suites.lm_eval:LmEvalSuite")
    register("inspect", "agentlora.eval.suites.inspect:InspectSuite")
