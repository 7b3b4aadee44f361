"""Examples a second and peak memory of training: stock TRL against ours, on the same examples in the same updates.

Stock is TRL's own SFTTrainer on token rows with labels (loss on the answers only), its LoRA by PEFT, no checkpointing.
Every variant runs in a process of its own (peak RSS), in turn for a few rounds, so that a machine whose speed drifts
slows all of them. Quote the ratios.

    .venv/bin/python benchmarks/shared_prefix.py --rounds 2 --updates 3 [--json]
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
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

BATCH = 8
# name → tools offered, requests that share their list
CASES = {"8 tools, shared": (8, 8), "2 tools, shared": (2, 8), "4 tools, nothing shared": (4, 1)}
# name → settings of our training; None: TRL
VARIANTS: dict[str, dict[str, Any] | None] = {
    "stock TRL": None,
    "ours": {"dtype": "float32"},
    "ours, bfloat16": {"dtype": "bfloat16"},
    "ours, bfloat16, nothing fused": {"dtype": "bfloat16"},
}


def examples(offered: int, sharing: int, wanted: int) -> list[Any]:
    """`wanted` requests on the catalogue's tools, `sharing` of them to a list of `offered`."""
    from agentlora.core.types import Example, Expected, ToolCall
    from agentlora.tasks.tool_calling.toolspec import load_catalogue, render

    rng = random.Random(0)
    specs = [spec for spec in load_catalogue() if spec.split == "train"]
    made: list[Any] = []
    while len(made) < wanted:
        tools = rng.sample(specs, offered)
        for _ in range(sharing):
            spec = rng.choice(tools)
            text, arguments = render(spec, rng.choice(spec.phrasings), rng)
            made.append(
                Example(
                    id=str(len(made)),
                    messages=({"role": "user", "content": text},),
                    expected=Expected(calls=(ToolCall(spec.name, arguments),)),
                    tools=tuple(s.openai() for s in tools),
                    group=str(len(made) // sharing),
                )
            )
    return made


def stock(base: Any, rows: Any, updates: int) -> list[dict[str, float]]:
    """TRL's trainer on `rows` in the order in which ours takes them; seconds and loss of every update."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from agentlora.plugins.trainers.layout import IGNORE, training_passes

    order = [i for part in training_passes(rows, BATCH, BATCH, 0, updates * BATCH) for i in part]
    data = Dataset.from_dict(
        {
            "input_ids": [list(rows[i].ids) for i in order],
            "labels": [[IGNORE] * rows[i].start + list(rows[i].ids[rows[i].start :]) for i in order],
        }
    )
    found: list[dict[str, float]] = []

    class Times(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = time.monotonic()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            found.append({"seconds": time.monotonic() - self.began})

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in (logs or {}):
                found[-1]["loss"] = logs["loss"]

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    model = get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    with tempfile.TemporaryDirectory() as directory:
        arguments = SFTConfig(
            output_dir=directory, per_device_train_batch_size=BATCH, max_steps=updates, learning_rate=1e-3,
            use_cpu=not torch.cuda.is_available(), bf16=False, gradient_checkpointing=False, max_length=None,
            save_strategy="no", logging_steps=1, disable_tqdm=True, report_to=[],
        )  # fmt: skip
        InOrder(
            model=model, args=arguments, train_dataset=data, callbacks=[Times()],
            processing_class=AutoTokenizer.from_pretrained(base.model_dir),
        ).train()  # fmt: skip
    return found


def ours(base: Any, made: Any, updates: int, settings: dict[str, Any]) -> list[dict[str, float]]:
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import resolve_config
    from agentlora.core.run import create_run

    plugins = default_plugins()
    training = {"max_steps": updates, "batch_size": BATCH, "lr": 1e-3, "micro_batch_size": BATCH, **settings}
    config = resolve_config(plugins, "tool-calling", {"training": training})
    with tempfile.TemporaryDirectory() as directory:
        run = create_run(config, Path(directory) / "run")
        plugins.get("trainers", "sft").fit(run, base, plugins.get("peft_methods", "lora"), made)
        return [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]


def unfuse() -> None:
    """PEFT's LoRA layers, torch's attention and cross-entropy in place of ours (`agentlora.plugins.trainers.fused`)."""
    import torch

    from agentlora.plugins.trainers import attention, fused

    def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        return (losses * weights).sum()

    fused.weighted_cross_entropy = cross_entropy
    fused.fused_lora = nullcontext
    fused.tree_attention = partial(attention.padded_tree_attention, dropout=0.0)


def one(case: str, variant: str, updates: int) -> None:
    """Run a variant and print a JSON line: seconds and loss of every update, peak RSS in bytes."""
    from agentlora.core.home import home
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.trainers.rows import encode

    prepare_libraries()
    made = examples(*CASES[case], wanted=updates * BATCH)
    base = resolve_base("smollm2-135m", default_plugins(), home())
    settings = VARIANTS[variant]
    if settings is None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        rows = encode(made, tokenizer, base.chat_template, 4096).rows
        found = stock(base, rows, updates)
    else:
        if variant.endswith("nothing fused"):
            unfuse()
        found = ours(base, made, updates, {**settings, "max_len": 4096})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"updates": found, "peak": peak}))


def measure(cases: list[str], variants: list[str], rounds: int, updates: int) -> list[dict[str, Any]]:
    table = []
    for case in cases:
        runs: dict[str, list[Any]] = {variant: [] for variant in variants}
        for _ in range(rounds):
            for variant in variants:
                command = [
                    sys.executable,
                    __file__,
                    "--case",
                    case,
                    "--variant",
                    variant,
                    "--updates",
                    str(updates),
                ]
                done = subprocess.run([*command, "--one"], capture_output=True, text=True, check=True)
                runs[variant].append(json.loads(done.stdout.splitlines()[-1]))
        # the first update of a process is its slowest, whoever made it
        seconds = {
            v: statistics.median(u["seconds"] for r in found for u in r["updates"][1:])
            for v, found in runs.items()
        }
        peaks = {variant: max(run["peak"] for run in found) for variant, found in runs.items()}
        for variant, found in runs.items():
            table.append(
                {
                    "case": case,
                    "variant": variant,
                    "seconds": seconds[variant],
                    "times_stock": seconds["stock TRL"] / seconds[variant],
                    "peak_gb": peaks[variant] / 1e9,
                    "of_stocks_peak": peaks[variant] / peaks["stock TRL"],
                    "first_loss": found[0]["updates"][0]["loss"],
                }
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--variant", choices=VARIANTS, help="only this one, beside stock TRL")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.case, args.variant, args.updates)
        return
    variants = ["stock TRL", args.variant] if args.variant else list(VARIANTS)
    table = measure([args.case] if args.case else list(CASES), variants, args.rounds, args.updates)
    if args.json:
        print(json.dumps(table, indent=2))
        return
    for row in table:
        print(
            f"{row['case']:24} {row['variant']:30} {row['seconds']:6.2f} s an update {row['times_stock']:6.2f}x  "
            f"peak {row['peak_gb']:5.2f} GB ({row['of_stocks_peak']:.2f})  first loss {row['first_loss']:.6f}"
        )


if __name__ == "__main__":
    main()
