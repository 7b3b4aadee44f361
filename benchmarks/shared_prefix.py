"""Examples a second and peak memory of training: stock TRL against ours, on the same examples in the same updates.

Stock is TRL's own SFTTrainer on token rows with labels (loss on the answers only), or its DPOTrainer on token rows with
the reference computed before; its LoRA by PEFT, no checkpointing. An update has two forward passes of eight examples.
Every variant runs in a process of its own (peak RSS; on a GPU what torch held there), in turn for a few rounds, so that
a machine whose speed drifts slows all of them. Quote the ratios.

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

BATCH, PASS = 16, 8
# name → tools offered, requests that share their list, trainer
CASES = {
    "8 tools, shared": (8, 8, "sft"),
    "2 tools, shared": (2, 8, "sft"),
    "4 tools, nothing shared": (4, 1, "sft"),
    "2 tools, pairs": (2, 8, "dpo"),
    "4 tools, pairs, no list shared": (4, 1, "dpo"),
}
# name → settings of our training, or TRL's own
VARIANTS: dict[str, dict[str, Any]] = {
    "stock TRL": {"bf16": False},
    "stock TRL, bfloat16": {"bf16": True},  # TRL's default
    "ours": {"dtype": "float32"},
    "ours, bfloat16": {"dtype": "bfloat16"},
    "ours, bfloat16, nothing fused": {"dtype": "bfloat16"},
}
ON_A_GPU = "stock TRL, bfloat16"


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
                    rejected=Expected(calls=(ToolCall(spec.name, {**arguments, "note": text}),)),
                    tools=tuple(s.openai() for s in tools),
                    group=str(len(made) // sharing),
                )
            )
    return made


def stock(base: Any, rows: Any, updates: int, bf16: bool) -> list[dict[str, float]]:
    """TRL's trainer on `rows` in the order in which ours takes them; seconds and loss of every update."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from agentlora.plugins.trainers.layout import IGNORE, training_passes
    from agentlora.plugins.trainers.rows import Pair

    order = [rows[i] for part in training_passes(rows, BATCH, PASS, 0, updates * BATCH) for i in part]
    pairs = isinstance(rows[0], Pair)
    columns = (
        {
            "prompt_ids": [list(pair.chosen.ids[: pair.chosen.start]) for pair in order],
            "chosen_ids": [list(pair.chosen.ids[pair.chosen.start :]) for pair in order],
            "rejected_ids": [list(pair.rejected.ids[pair.rejected.start :]) for pair in order],
        }
        if pairs
        else {
            "input_ids": [list(row.ids) for row in order],
            "labels": [[IGNORE] * row.start + list(row.ids[row.start :]) for row in order],
        }
    )
    data = Dataset.from_dict(columns)
    found: list[dict[str, float]] = []

    class Times(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = time.monotonic()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            found.append({"seconds": time.monotonic() - self.began})

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in (logs or {}):
                found[-1]["loss"] = logs["loss"]

    class InOrder(DPOTrainer if pairs else SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset  # tokens already

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as directory:
        arguments = (partial(DPOConfig, precompute_ref_log_probs=True) if pairs else SFTConfig)(
            output_dir=directory, per_device_train_batch_size=PASS, gradient_accumulation_steps=BATCH // PASS,
            max_steps=updates, learning_rate=1e-3,
            use_cpu=not torch.cuda.is_available(), bf16=bf16, gradient_checkpointing=False, max_length=None,
            save_strategy="no", logging_steps=1, disable_tqdm=True, report_to=[],
        )  # fmt: skip
        InOrder(
            model=model, args=arguments, train_dataset=data, callbacks=[Times()], peft_config=adapter,
            processing_class=AutoTokenizer.from_pretrained(base.model_dir),
        ).train()  # fmt: skip
    return found


def ours(
    base: Any, made: Any, updates: int, trainer: str, settings: dict[str, Any]
) -> list[dict[str, float]]:
    from agentlora.core.manager import default_plugins
    from agentlora.core.resolving import resolve_config
    from agentlora.core.run import create_run

    plugins = default_plugins()
    training = {"max_steps": updates, "batch_size": BATCH, "lr": 1e-3, "micro_batch_size": PASS, **settings}
    config = resolve_config(plugins, "tool-calling", {"training": training, "trainer": trainer})
    with tempfile.TemporaryDirectory() as directory:
        run = create_run(config, Path(directory) / "run")
        plugins.get("trainers", trainer).fit(run, base, plugins.get("peft_methods", "lora"), made)
        return [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]


def unfuse() -> None:
    """PEFT's LoRA layers, torch's attention and cross-entropy in place of ours (`agentlora.plugins.trainers.fused`)."""
    import torch

    from agentlora.plugins.trainers import attention, fused

    def cross_entropies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")

    fused.cross_entropies = cross_entropies
    fused.fused_lora = nullcontext
    fused.tree_attention = partial(attention.padded_tree_attention, dropout=0.0)


def one(case: str, variant: str, updates: int) -> None:
    """Run a variant and print a JSON line: seconds and loss of every update, peak memory in bytes."""
    import torch

    from agentlora.core.home import home
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.trainers.rows import encode, encode_pairs

    prepare_libraries()
    offered, sharing, trainer = CASES[case]
    made = examples(offered, sharing, updates * BATCH)
    base = resolve_base("smollm2-135m", default_plugins(), home())
    settings = VARIANTS[variant]
    if "bf16" in settings:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        encoded = encode if trainer == "sft" else encode_pairs
        rows = encoded(made, tokenizer, base.chat_template, 4096).items
        found = stock(base, rows, updates, **settings)
    else:
        if variant.endswith("nothing fused"):
            unfuse()
        found = ours(base, made, updates, trainer, {**settings, "max_len": 4096})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
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
                    "last_loss": found[0]["updates"][-1]["loss"],
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
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    import torch

    here = [name for name in VARIANTS if torch.cuda.is_available() or name != ON_A_GPU]
    variants = ["stock TRL", args.variant] if args.variant else here
    table = measure([args.case] if args.case else list(CASES), variants, args.rounds, args.updates)
    if args.json:
        print(json.dumps(table, indent=2))
        return
    for row in table:
        print(
            f"{row['case']:24} {row['variant']:30} {row['seconds']:6.2f} s an update {row['times_stock']:6.2f}x  "
            f"peak {row['peak_gb']:5.2f} GB ({row['of_stocks_peak']:.2f})  "
            f"loss {row['first_loss']:.6f} to {row['last_loss']:.4f}"
        )


if __name__ == "__main__":
    main()
