"""What `agentlora plan` predicts beside what a training needs: peak memory and seconds an update, by size and method.

Every case is a training in a process of its own, on the starter model or on random weights of another size; prediction
and measurement are the ones that every run keeps in its ``run.json``.

    .venv/bin/python benchmarks/plan.py [--updates 4] [--json]
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
        "--set", "data.params.examples=400", "--set", "training.eval_steps=0", "--output", str(run), *options,
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
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
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
