"""What `agentlora plan` predicts beside what a training needs: peak memory and seconds an update, by size and method.

Every case is a training in a process of its own, on the starter model or on random weights of another size; prediction
and measurement are the ones that every run keeps in its ``run.json``.

    .venv/bin/python benchmarks/plan.py [--updates 4] [--json]

``--published``: no training, but what is predicted for GPUs beside what others have published for them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# name → hidden, intermediate, layers, heads, key heads
SIZES = {"38M": (384, 1024, 12, 6, 2), "starter, 135M": None, "360M": (960, 2560, 32, 15, 5)}
CASES = [
    ("38M", "lora", []),
    ("38M", "full", []),
    ("starter, 135M", "lora", []),
    ("starter, 135M", "lora", ["--dtype", "float32"]),
    ("starter, 135M", "lora", ["--gradient-checkpointing"]),
    ("starter, 135M", "lora", ["--set", "training.shared_prefix=false"]),
    ("starter, 135M", "dora", []),
    ("starter, 135M", "ia3", []),
    ("starter, 135M", "bottleneck", []),
    ("starter, 135M", "qlora", []),
    ("starter, 135M", "galore", []),
    ("starter, 135M", "full", []),
    ("360M", "lora", []),
]

LLAMA = {"rms_norm_eps": 1e-5, "dtype": "bfloat16"}
LLAMA_3B = {**LLAMA, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
            "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 128256,
            "tie_word_embeddings": True}  # fmt: skip
LLAMA_7B = {**LLAMA, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 32000}  # fmt: skip
LLAMA_13B = {**LLAMA_7B, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
             "num_attention_heads": 40}  # fmt: skip
LLAMA_70B = {**LLAMA_7B, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
             "num_attention_heads": 64, "num_key_value_heads": 8}  # fmt: skip
ONE = {"batch_size": 1, "gradient_checkpointing": True}
MATH = {"batch_size": 4}
# PEFT's comparison of methods (MetaMathQA, Llama-3.2-3B, bfloat16, 4 examples of at most 768 tokens, logits everywhere,
# an L40S): the peak is that of the longest batch, the mean that of 4 examples of 210 tokens (4.2 million for 20,000).
# case, model, method, its settings, training, tokens an example, published GB, what is in it
PUBLISHED: list[tuple[str, dict[str, Any], str, dict[str, Any], dict[str, Any], int, float, str]] = [
    ("3B, lora r=32 on q and v, 4 × 768", LLAMA_3B, "lora", {"r": 32, "alpha": 64, "target": "q_proj,v_proj"},
     MATH, 768, 22.3, "peak, PEFT's comparison"),
    ("3B, lora r=32 on q and v, 4 × 210", LLAMA_3B, "lora", {"r": 32, "alpha": 64, "target": "q_proj,v_proj"},
     MATH, 210, 11.9, "mean reserved, PEFT's comparison"),
    ("3B, rslora r=64 on q and v, 4 × 768", LLAMA_3B, "rslora", {"r": 64, "target": "q_proj,v_proj"},
     MATH, 768, 22.6, "peak, PEFT's comparison"),
    ("3B, dora r=32 on q and v, 4 × 768", LLAMA_3B, "dora", {"r": 32, "target": "q_proj,v_proj"},
     MATH, 768, 24.5, "peak, PEFT's comparison"),
    ("3B, full, 4 × 768", LLAMA_3B, "full", {}, MATH, 768, 37.2 + 8 * 3.2127,
     "peak, PEFT's comparison: 37.2, and 8 bytes a weight that bfloat16 weights, gradients and states save there"),
    ("7B, qlora r=16, 1 × 512", LLAMA_7B, "qlora", {"r": 16}, ONE, 512, 6.0, "guides: about 6"),
    ("13B, qlora r=16, 1 × 512", LLAMA_13B, "qlora", {"r": 16}, ONE, 512, 10.0, "guides: about 10"),
    ("70B, qlora r=16, 1 × 512", LLAMA_70B, "qlora", {"r": 16}, ONE, 512, 48.0, "guides: about 48, a card of 48"),
]  # fmt: skip


def published(folder: Path) -> list[dict[str, Any]]:
    """Predictions beside published figures; nothing is trained."""
    from transformers import LlamaConfig

    from agentlora.core.config import RunConfig, parse
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.trainers.prediction import predict
    from agentlora.plugins.trainers.rows import Row

    table = []
    for case, shape, name, settings, training, tokens, gb, source in PUBLISHED:
        LlamaConfig(**shape).save_pretrained(folder)
        method = default_plugins().get("peft_methods", name)
        raw = {"dtype": "bfloat16", "shared_prefix": False, **training}
        config = parse(
            RunConfig, {"task": "tool-calling", "method": {"name": name, "params": settings}, "training": raw}
        )
        rows = [Row((i, *range(1, tokens)), 1, str(i)) for i in range(config.training.batch_size)]
        params = parse(method.Params, settings, "method.params")
        found = predict(folder, config, method, params, rows, False, len(rows), process=0)
        table.append(
            {
                "case": case,
                "predicted_gb": found.peak / 1e9,
                "published_gb": gb,
                "ratio": found.peak / 1e9 / gb,
                "memory": {part: round(size / 1e9, 2) for part, size in found.memory.items() if size},
                "source": source,
            }
        )
    return table


def model_of(size: str, folder: Path) -> str:
    """The starter model's name, or a directory with random weights."""
    shape = SIZES[size]
    if shape is None:
        return "smollm2-135m"
    directory = folder / size
    if directory.is_dir():
        return str(directory)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import resolve_base

    base = resolve_base("smollm2-135m", default_plugins(), home()).model_dir
    shutil.copytree(base, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(base)
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    for name, value in zip(names, shape, strict=True):
        setattr(config, name, value)
    config.head_dim = shape[0] // shape[3]
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(directory)
    return str(directory)


def one(case: tuple[str, str, list[str]], updates: int, folder: Path) -> dict[str, Any]:
    size, method, options = case
    run = folder / "run"
    command = [
        sys.executable, "-m", "agentlora", "train", "tool-calling", "--preset", "starter", "--method", method,
        "--serve-on", "none", "--model", model_of(size, folder), "--max-steps", str(updates), "--batch-size", "8",
        "--set", "data.params.examples=400", "--set", "data.replay=0", "--set", "training.eval_steps=0",
        "--output", str(run), *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    facts = json.loads((run / "run.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()[1:]]
    shutil.rmtree(run)
    predicted, measured = facts["predicted"], facts["measured"]
    mean = sum(row["seconds"] for row in rows[1:]) / (len(rows) - 1)
    return {
        "case": f"{size}, {method}{' ' if options else ''}{' '.join(options)}",
        "predicted_gb": predicted["peak"] / 1e9,
        "measured_gb": measured["peak"] / 1e9,
        "memory_ratio": predicted["peak"] / measured["peak"],
        "predicted_s": predicted["seconds"] / updates if predicted["seconds"] else None,
        "measured_s": mean,
        "time_ratio": predicted["seconds"] / updates / mean if predicted["seconds"] else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--only", help="cases whose name has this in it")
    parser.add_argument(
        "--published", action="store_true", help="only compare with what others have published"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        if args.published:
            table = published(Path(folder))
            for row in [] if args.json else table:
                figures = f"{row['predicted_gb']:6.1f} GB predicted {row['published_gb']:6.1f} published"
                print(f"{row['case']:40} {figures} {row['ratio']:5.2f}   {row['source']}")
                print(f"{'':40} {row['memory']}")
        for case in () if args.published else CASES:
            if args.only and args.only not in f"{case[0]}, {case[1]} {' '.join(case[2])}":
                continue
            table.append(row := one(case, args.updates, Path(folder)))
            if not args.json:
                time = "" if row["time_ratio"] is None else f"{row['time_ratio']:5.2f}"
                print(
                    f"{row['case']:58} {row['predicted_gb']:6.2f} GB predicted {row['measured_gb']:6.2f} measured "
                    f"{row['memory_ratio']:5.2f}   {row['measured_s']:6.2f} s an update, predicted {time} of that",
                    flush=True,
                )
    if args.json:
        print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
