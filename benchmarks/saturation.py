"""Is a vLLM server kept busy? Our engine's tokens a second beside those of ``vllm.LLM.chat``, on the same prompts.

    .venv/bin/python benchmarks/saturation.py [--prompts 200] [--rounds 2] [--adapter DIR] [--json]

Every round opens the engine ``vllm`` (a server, requests over HTTP), answers the round's prompts, ends it, and opens
``vllm.LLM`` in a process of its own, with the same model, number format, context, prefix cache and room for adapters.
Prompts are those of an evaluation of tool calling: groups that share a list of tools stand next to each other, so that
their prefix is computed once. No prompt is asked twice in a round, and both sides are warmed up with others.

Our engine is asked as an evaluation asks it: all prompts are given to its ``stream``, and answers are taken as they
arrive. `vllm.LLM.chat` gets all of them in one call. A ratio of 0.9 is wanted.

On a CPU: ``agentlora setup cpu`` first, and nothing else beside it. Tools stand in the system message, because
``LLM.chat`` takes one list of tools for all prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentlora.core.provenance import this_machine
from agentlora.core.types import JSON, EngineSpec, GenerateRequest, Output
from agentlora.runtime.engine import IN_FLIGHT

WARM = 8  # prompts before the clock runs
SYSTEM = "You are a helpful assistant. You can call these tools:\n"
ADAPTER = "adapter"


def prompts(count: int) -> list[list[JSON]]:
    """Conversations of one turn, groups next to each other, as an evaluation puts them."""
    from agentlora.eval.asking import by_group
    from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests

    params = ToolRequestParams(
        examples=count, real_tools=0, catalogue_share=1, composed_share=0, requests_per_toolset=4
    )
    made = by_group(list(ToolRequests().build("train", params, 0)))
    return [
        [
            {"role": "system", "content": SYSTEM + "\n".join(json.dumps(tool) for tool in example.tools)},
            *(message for message in example.messages if message["role"] != "system"),
        ]
        for example in made
    ]


def base_of(model: str) -> Any:
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import resolve_base

    return resolve_base(model, default_plugins(), home())


def rate(outputs: Sequence[tuple[int, int]], seconds: float) -> JSON:
    """`outputs`: (prompt tokens, tokens written) of every answer."""
    written = sum(new for _, new in outputs)
    return {
        "answers": len(outputs),
        "seconds": round(seconds, 3),
        "prompt_tokens": sum(prompt for prompt, _ in outputs),
        "output_tokens": written,
        "output_tokens_per_s": round(written / seconds, 2),
    }


def ours(warm: Sequence[list[JSON]], asked: Sequence[list[JSON]], options: argparse.Namespace) -> JSON:
    """Our engine on a server of its own."""
    from agentlora.runtime.engine import VllmEngineFactory

    base = base_of(options.model)
    own = {"concurrency": options.concurrency, "kv_cache_gib": options.kv_cache_gib}
    if options.dtype:
        own["dtype"] = options.dtype
    spec = EngineSpec(
        base.model_dir,
        base.chat_template,
        base.tool_call_parser,
        max_len_tokens=options.max_len,
        max_lora_rank=options.max_lora_rank,
        options=own,
    )
    with VllmEngineFactory().open(spec) as engine:
        if options.adapter:
            engine.add_adapter(ADAPTER, Path(options.adapter))

        def answer(conversations: Sequence[list[JSON]]) -> list[Output]:
            requests = [
                GenerateRequest(
                    str(number),
                    tuple(conversation),
                    adapter=ADAPTER if options.adapter else None,
                    max_tokens=options.tokens,
                )
                for number, conversation in enumerate(conversations)
            ]
            return list(engine.stream(requests))

        answer(warm)
        outputs, seconds = timed(lambda: answer(asked))
    failed = [output.error for output in outputs if output.error]
    if failed:
        sys.exit(f"{len(failed)} of {len(outputs)} requests failed: {failed[0]}")
    return rate([(output.prompt_tokens, output.output_tokens) for output in outputs], seconds)


def theirs(warm: Sequence[list[JSON]], asked: Sequence[list[JSON]], options: argparse.Namespace) -> JSON:
    """``vllm.LLM.chat`` in this process, set up as `agentlora.runtime.backend` sets its server up."""
    from agentlora.runtime.backend import WIDE_LOGITS, ServerSettings, installed_build, lora_rank_limit

    base, build = base_of(options.model), installed_build()
    settings = ServerSettings(base.model_dir, base.chat_template)
    if build == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(options.kv_cache_gib))
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    llm = LLM(
        model=str(base.model_dir),
        dtype=options.dtype or ("bfloat16" if build == "cpu" else "auto"),
        max_model_len=options.max_len,
        enable_prefix_caching=True,
        enforce_eager=build == "cpu",
        enable_lora=True,
        max_loras=settings.max_loras,
        max_cpu_loras=settings.max_cpu_loras,
        max_lora_rank=lora_rank_limit(options.max_lora_rank),
        hf_overrides=WIDE_LOGITS,
    )
    adapter = LoRARequest(ADAPTER, 1, str(Path(options.adapter).absolute())) if options.adapter else None
    greedy = SamplingParams(temperature=0, max_tokens=options.tokens)

    def answer(conversations: Sequence[list[JSON]]) -> Any:
        return llm.chat(
            list(conversations),
            greedy,
            use_tqdm=False,
            lora_request=adapter,
            chat_template=base.chat_template,
        )

    answer(warm)
    outputs, seconds = timed(lambda: answer(asked))
    return rate([(len(o.prompt_token_ids), len(o.outputs[0].token_ids)) for o in outputs], seconds)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def measure(options: argparse.Namespace) -> JSON:
    every = prompts(WARM + options.prompts * options.rounds)
    rounds: list[JSON] = []
    for number in range(options.rounds):
        start = WARM + options.prompts * number
        asked = [every[:WARM], every[start : start + options.prompts]]
        sides = {side: in_own_process(side, asked) for side in ("ours", "theirs")}
        rounds.append({**sides, "ratio": ratio(sides)})
        print(f"round {number + 1} of {options.rounds}: {ratio(sides)}", file=sys.stderr)
    return {
        "prompts": options.prompts,
        "concurrency": options.concurrency,
        "adapter": options.adapter,
        "rounds": rounds,
        "ratio": statistics.median(found["ratio"] for found in rounds),
    }


def ratio(sides: dict[str, JSON]) -> float:
    """Our tokens a second over theirs."""
    return round(float(sides["ours"]["output_tokens_per_s"] / sides["theirs"]["output_tokens_per_s"]), 3)


def in_own_process(side: str, asked: list[list[list[JSON]]]) -> JSON:
    """A process that ends gives back all of its memory, the GPU's too. `asked`: prompts to warm up, and those timed."""
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder) / "asked.json", Path(folder) / "rate.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--files", str(given), str(told)]
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode or not told.is_file():
            sys.exit(f"{side} ended with {done.returncode}; its messages are above")
        found: JSON = json.loads(told.read_text(encoding="utf-8"))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter", help="A PEFT adapter's directory; without it the base answers.")
    parser.add_argument("--prompts", type=int, default=200, help="Of a round.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64, help="Of an answer.")
    parser.add_argument(
        "--concurrency", type=int, default=IN_FLIGHT, help="Of our engine: requests in flight."
    )
    parser.add_argument(
        "--dtype", default="", help="Of both; default: bfloat16 on a CPU, else the model's own."
    )
    parser.add_argument("--max-len", type=int, default=2048)
    parser.add_argument("--max-lora-rank", type=int, default=16)
    parser.add_argument("--kv-cache-gib", type=int, default=1, help="On a CPU.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        given, told = map(Path, options.files)
        run = ours if options.side == "ours" else theirs
        warm, asked = json.loads(given.read_text(encoding="utf-8"))
        told.write_text(json.dumps(run(warm, asked, options)), encoding="utf-8")
        return
    print(this_machine(), file=sys.stderr, flush=True)
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'output tokens/s':24}{'ours':>10}{'LLM.chat':>10}{'ratio':>8}")
    for number, sides in enumerate(found["rounds"], 1):
        mine, other = (sides[side]["output_tokens_per_s"] for side in ("ours", "theirs"))
        print(f"{f'round {number}':24}{mine:>10.1f}{other:>10.1f}{sides['ratio']:>8.2f}")
    middle = found["ratio"]
    print(f"{'median':44}{middle:>8.2f}{'' if middle >= 0.9 else '  (0.90 is wanted)'}")


if __name__ == "__main__":
    main()
