"""``agentlora eval parity``: a run's adapter asked on two engines, and where their answers part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from agentlora.core.errors import ConfigError, EvalError, boundary
from agentlora.core.evaluating import adapter_digest, context_of, take
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import refuse_another_base
from agentlora.core.resolving import served_places
from agentlora.core.run import Run
from agentlora.core.teacher import rank_of
from agentlora.core.types import Engine, EngineSpec, GenerateRequest, Split, Trace
from agentlora.eval.parity import MOST_GAP, Parity, compare

REFERENCE = "transformers"
EXACT = "float32"


def check_parity(
    run: Run,
    plugins: Plugins,
    *,
    dtype: str = EXACT,
    n: int = 100,
    max_tokens: int = 64,
    most_gap: float = MOST_GAP,
    split: Split = "dev",
    engine_name: str = "vllm",
    options: Mapping[str, Any] | None = None,
) -> Parity:
    """Ask the run's adapter `n` requests of a split, greedily, on an engine and on transformers, both in `dtype`.

    Where the answers part, transformers weighs the two tokens in float32. One model is in memory at a time.

    Args:
        most_gap: what a gap has to be under, in nat; in float32 the number of equal answers counts instead.
        options: of `engine_name`, for example the ``url`` of a server that computes in `dtype`.

    Raises:
        ConfigError: the run has no adapter, the engine cannot take it or does not tell tokens, or the split is empty.
        EvalError: the engine answered nothing at all; the first reason is quoted.
    """
    from agentlora.plugins.bases.resolve import resolve_base

    config = run.config
    if engine_name == "vllm":
        method = plugins.get("peft_methods", config.method.name)
        if "vllm" not in served_places(config, method.card):
            raise ConfigError(
                f"what method {config.method.name!r} trains cannot be served on vLLM, so there are no two engines to "
                "compare."
            )
    name = f"{run.id.lower()}@{adapter_digest(run)[:12]}"
    examples = take(run.examples(split), n)
    if not examples:
        raise ConfigError(
            f"split {split!r} of run {run.id!r} is empty: there is nothing to ask. Name another --split."
        )
    requests = [
        GenerateRequest(e.id, e.messages, e.tools, adapter=name, max_tokens=max_tokens) for e in examples
    ]
    base = resolve_base(config.model, plugins, home())
    refuse_another_base(run, base)
    spec = EngineSpec(
        base.model_dir,
        base.chat_template,
        base.tool_call_parser,
        max_len_tokens=context_of(base, config),
        max_lora_rank=rank_of(run),
    )

    def opened(stack: ExitStack, engine: str, number_format: str, own: Mapping[str, Any]) -> Any:
        factory = plugins.get("engines", engine)
        asked = replace(spec, options={"dtype": number_format, **own})
        with boundary(EvalError, f"opening the engine {engine!r}"):
            made: Engine = stack.enter_context(factory.open(asked))
        if not hasattr(made, "trace"):
            raise ConfigError(
                f"engine {engine!r} does not tell the tokens of its answers (`trace`). Choose another --engine."
            )
        made.add_adapter(name, run.adapter_dir)
        return made

    def asking(engine: str) -> None:
        run.tell("note", "parity", {"message": f"{engine} answers {len(requests)} requests in {dtype}"})

    with ExitStack() as stack:
        asked = opened(stack, engine_name, dtype, options or {})
        asking(engine_name)
        left = asked.trace(requests)
    _refuse_failed(engine_name, left)
    with ExitStack() as stack:
        reference = opened(stack, REFERENCE, dtype, {})
        asking(REFERENCE)
        right = reference.trace(requests)
        judge = reference
        if dtype != EXACT:
            stack.close()
            judge = opened(stack, REFERENCE, EXACT, {})
        return compare(
            requests,
            left,
            right,
            dtype=dtype,
            sides=(engine_name, REFERENCE),
            judge=judge.next_logprobs,
            spell=judge.spell,
            most_gap=most_gap,
        )


def _refuse_failed(engine: str, traces: Sequence[Trace]) -> None:
    """Raises EvalError when there is nothing to compare."""
    if all(trace.output.error is not None for trace in traces):
        raise EvalError(
            f"the engine {engine!r} answered none of {len(traces)} requests: {traces[0].output.error}"
        )
