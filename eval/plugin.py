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
    """Names only: what judges is imported when it is used."""
    register("tool-calls", "agentlora.eval.scorers:ToolCallEvaluator")
    register("text-agreement", "agentlora.eval.scorers.texts:TextAgreement")
    register("exact", "agentlora.eval.scorers.texts:Exact")
    register("regex", "agentlora.eval.scorers.texts:Regex")
    register("contains", "agentlora.eval.scorers.texts:Contains")
    register("json-schema", "agentlora.eval.scorers.schemas:SchemaValidity")
    register("source-schema", "agentlora.eval.scorers.source_schema:SourceSchema")
    register("latency", "agentlora.eval.scorers.resources:Latency")
    register("cost", "agentlora.eval.scorers.resources:Cost")
    register("perplexity", "agentlora.eval.scorers.resources:Perplexity")
    register("judge", "agentlora.eval.scorers.judge:Judge")
    register("bfcl", "agentlora.eval.bfcl.evaluator:BfclEvaluator")


@hookimpl
def register_suites(register: Register) -> None:
    """Other people's tasks; the libraries are imported when one is asked for."""
    register("bfcl", "agentlora.eval.suites.bfcl:BfclSuite")
    register("lm-eval", "agentlora.eval.suites.lm_eval:LmEvalSuite")
    register("inspect", "agentlora.eval.suites.inspect:InspectSuite")
