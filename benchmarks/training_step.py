"""Seconds and peak memory of an optimizer step: stock TRL against the shared-prefix layout, in one run.

Each variant runs in a process of its own (peak RSS), the variants in turn for a few rounds, so that a
machine whose speed drifts slows all of them. Quote the ratios.

    .venv/bin/python benchmarks/training_step.py --rounds 3 --steps 4
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

VARIANTS = {
    "stock TRL": {"shared_prefix": False},
    "shared prefix": {"shared_prefix": True},
    "shared prefix, bfloat16": {"shared_prefix": True, "dtype": "bfloat16"},
    "the same, nothing fused": {"shared_prefix": True, "dtype": "bfloat16"},
}


def examples(tools_offered: int) -> list:
    from agentlora.core.types import Example, Expected, ToolCall
    from agentlora.tasks.tool_calling.toolspec import load_catalogue, render

    rng = random.Random(0)
    specs = [spec for spec in load_catalogue() if spec.split == "train"]
    made = []
    for g in range(40):
        offered = rng.sample(specs, tools_offered)
        for i in range(8):
            spec = rng.choice(offered)
            text, arguments = render(spec, rng.choice(spec.phrasings), rng)
            made.append(
                Example(
                    id=f"{g}-{i}",
                    messages=({"role": "user", "content": text},),
                    expected=Expected(calls=(ToolCall(spec.name, arguments),)),
                    tools=tuple(s.openai() for s in offered),
                    group=str(g),
                )
            )
    return made


def unfuse() -> None:
    """PEFT's LoRA layers, torch's attention and cross-entropy in place of ours (`agentlora.plugins.trainers.fused`)."""
    import torch

    from agentlora.plugins.trainers import attention, fused

    def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none") * weights).sum()

    fused.weighted_cross_entropy = cross_entropy
    fused.fused_lora = nullcontext
    fused.tree_attention = partial(attention.padded_tree_attention, dropout=0.0)


def stock() -> None:
    """TRL's loss: the model's own, over the logits of every position."""
    from agentlora.plugins.trainers import sft

    def loss(model: Any, batch: dict, num_items_in_batch: Any) -> Any:
        names = ("input_ids", "attention_mask", "labels")
        inputs = {name: batch[name] for name in names}
        return model(**inputs, num_items_in_batch=num_items_in_batch, use_cache=False).loss

    sft.trained_positions_loss = loss


def one(variant: str, steps: int, tools: int, batch: int) -> None:
    """Run a variant and print a JSON line: seconds of every step but the first, peak RSS in GB."""
    from agentlora.core.config import parse
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import resolve_config
    from agentlora.core.run import create_run
    from agentlora.plugins.bases.resolve import resolve_base

    if variant in ("stock TRL", "the same, nothing fused"):
        unfuse()
    if variant == "stock TRL":
        stock()
    plugins = default_plugins()
    training = {"max_steps": steps, "batch_size": batch, **VARIANTS[variant]}
    config = resolve_config(plugins, "tool-calling", {"training": training})
    with tempfile.TemporaryDirectory() as directory:
        run = create_run(config, Path(directory) / "run")
        method = plugins.get("peft_methods", "lora")
        parse(method.Params, {})
        base = resolve_base(config.model, plugins, home())
        plugins.get("trainers", "sft").fit(run, base, method, examples(tools))
        rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": [r["seconds"] for r in rows[1:]], "loss": rows[0]["loss"], "peak_gb": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tools", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--variant", choices=VARIANTS)
    args = parser.parse_args()
    if args.variant:
        one(args.variant, args.steps, args.tools, args.batch)
        return
    results: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    for _ in range(args.rounds):
        for name in VARIANTS:
            command = [sys.executable, __file__, "--variant", name]
            for option in ("steps", "tools", "batch"):
                command += [f"--{option}", str(getattr(args, option))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    reference = statistics.median(s for r in results["stock TRL"] for s in r["seconds"])
    print(f"{args.tools} tools offered, {args.batch} examples an update, {args.rounds} rounds")
    for name, runs in results.items():
        median = statistics.median(s for r in runs for s in r["seconds"])
        peak = max(r["peak_gb"] for r in runs)
        print(
            f"{name:26} {median:6.2f} s/step  {reference / median:5.2f}x  peak {peak:5.2f} GB"
            f"  first loss {runs[0]['loss']:.6f}"
        )


if __name__ == "__main__":
    main()
