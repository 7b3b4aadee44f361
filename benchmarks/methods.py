"""Every method and preset on the same data and the same updates: what it trains, needs, learns and forgets.

Dev is the loss on a sample of dev after the last update (nats a token); forgetting is what the loss on general text
(the Python reference that comes with Python) rose by. Each row is a training of the starter model in its own process,
on the same rows, those of the preset `demo`, which are built once. Memory is that of the process, or of the GPU where
there is one; seconds are at the pace of the fastest updates. 24 updates of all took 80 minutes of two slow cores:
with --keep FILE what is done stays done.

    .venv/bin/python benchmarks/methods.py [--updates 40] [--batch-size 16] [--only lora,full] [--data DIRECTORY]
        [--keep FILE] [--json]
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

# of each its usual rate: full fine-tuning takes a tenth of LoRA's, scalings and prompts take more
RATES = {"full": 1e-4, "galore": 1e-3, "ia3": 1e-2, "vera": 1e-2, "prompt-tuning": 3e-2, "prefix-tuning": 1e-2,
         "adaption-prompt": 1e-2}  # fmt: skip
PRESETS = ("budget", "efficient", "balanced", "high-quality", "adaptive")
TEXTS, TEXT_TOKENS = 12, 256  # of general text


def general_loss(model: Any, tokenizer: Any) -> float:
    """Nats a token on general text."""
    from pydoc_data.topics import topics

    import torch

    losses = []
    for name in sorted(topics, key=lambda name: -len(topics[name]))[:TEXTS]:
        ids = tokenizer(topics[name], return_tensors="pt")["input_ids"][:, :TEXT_TOKENS]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        logits = logits[-ids.shape[1] :]  # behind virtual tokens, where a method has any
        losses.append(float(torch.nn.functional.cross_entropy(logits[:-1].float(), ids[0, 1:])))
    return sum(losses) / len(losses)


def undisturbed(rows: list[dict[str, Any]]) -> float:
    """Seconds of a mean update at the pace, in seconds a computed token, of the fastest quarter of all updates: what
    else the machine does slows some of them.
    """
    updates = [row for row in rows if "seconds" in row]
    paces = sorted(row["seconds"] / row["computed_tokens"] for row in updates)
    fastest = paces[: max(1, len(paces) // 4)]
    return sum(fastest) / len(fastest) * sum(row["computed_tokens"] for row in updates) / len(updates)


def settings(name: str, updates: int, batch: int) -> list[dict[str, Any]]:
    """Layers of configuration of a method or a preset."""
    method = {} if name in PRESETS else {"method": {"name": name}}
    training: dict[str, Any] = {"max_steps": updates, "batch_size": batch, "eval_steps": updates}
    training |= {"lr": RATES[name]} if name in RATES else {}
    return [
        {"preset": f"demo+{name}" if name in PRESETS else "demo", "serve_on": "none", **method},
        {"data": {"params": {"examples": batch * updates}}, "eval": {"engine": "transformers"}},
        {"training": training},
    ]


def build(updates: int, batch: int, directory: Path) -> Path:
    """The rows that every method is trained on: a directory of splits."""
    from agentlora.core.data import build_data
    from agentlora.core.manager import default_plugins
    from agentlora.core.resolving import resolve_config
    from agentlora.core.run import create_run

    plugins = default_plugins()
    run = create_run(
        resolve_config(plugins, "tool-calling", *settings("lora", updates, batch)), directory / "run"
    )
    build_data(run, plugins)
    return run.directory / "data"


def one(name: str, updates: int, batch: int, data: Path) -> dict[str, Any]:
    """Train with a method or a preset, and measure."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from agentlora.core.home import home
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import train
    from agentlora.core.resolving import resolve_config
    from agentlora.core.run import create_run
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.merged import load_trained

    prepare_libraries()
    plugins = default_plugins()
    config = resolve_config(plugins, "tool-calling", *settings(name, updates, batch))
    with tempfile.TemporaryDirectory() as directory:
        run = create_run(config, Path(directory) / "run")
        shutil.copytree(data, run.directory / "data", dirs_exist_ok=True)
        train(run, plugins)
        rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
        base = resolve_base(config.model, plugins, home())
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        before = general_loss(
            AutoModelForCausalLM.from_pretrained(base.model_dir, dtype="float32").eval(), tokenizer
        )
        trained = load_trained(plugins.get("peft_methods", config.method.name), base, run.adapter_dir)
        return {
            "name": name,
            "trainable_percent": rows[0]["trainable_percent"],
            "peak_gb": run.facts()["measured"]["peak"] / 1e9,
            "seconds": undisturbed(rows[1:]),
            "dev_loss": next(row["dev_loss"] for row in reversed(rows) if "dev_loss" in row),
            "forgotten": general_loss(trained, tokenizer) - before,
            "megabytes": sum(file.stat().st_size for file in run.adapter_dir.glob("*.safetensors")) / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--only", help="methods and presets, with commas between")
    parser.add_argument(
        "--data", type=Path, help="`data` of a run of that preset, in place of rows built here"
    )
    parser.add_argument(
        "--keep", type=Path, help="a file of rows: it gets each one, and what it has is not trained again"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.updates, args.batch_size, args.data)))
        return
    from agentlora.core.manager import default_plugins
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    names = (
        args.only.split(",") if args.only else [*default_plugins().catalog.names("peft_methods"), *PRESETS]
    )
    kept = args.keep.read_text().splitlines() if args.keep and args.keep.exists() else []
    table: list[dict[str, Any]] = [json.loads(line) for line in kept]
    names = [name for name in names if name not in {row["name"] for row in table}]
    with tempfile.TemporaryDirectory() as directory:
        data = args.data or build(args.updates, args.batch_size, Path(directory))
        for name in sorted(names, key=lambda name: (name != "full", name in PRESETS, name)):
            command = [
                sys.executable,
                __file__,
                "--one",
                name,
                "--updates",
                str(args.updates),
                "--batch-size",
                str(args.batch_size),
                "--data",
                str(data),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
                continue
            table.append(row := json.loads(done.stdout.splitlines()[-1]))
            if args.keep:
                with args.keep.open("a") as file:
                    print(json.dumps(row), file=file)
            if not args.json:
                print(
                    f"{row['name']:16} {row['trainable_percent']:8.3f} % trained  {row['peak_gb']:5.2f} GB  "
                    f"{row['seconds']:6.2f} s an update  dev {row['dev_loss']:6.3f}  "
                    f"forgotten {row['forgotten']:+6.3f}  {row['megabytes']:7.1f} MB",
                    flush=True,
                )
    if args.json:
        print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
