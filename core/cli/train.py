"""``agentlora train TASK``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agentlora.core.cli.options import config_options, show_json

# option → the configuration key that it sets
KEYS = {
    "model": "model",
    "method": "method.name",
    "preset": "preset",
    "data": "data.params.path",
    "rank": "method.params.r",
    "alpha": "method.params.alpha",
    "dropout": "method.params.dropout",
    "target": "method.params.target",
    "lr": "training.lr",
    "batch_size": "training.batch_size",
    "grad_accum": "training.grad_accum",
    "epochs": "training.epochs",
    "max_steps": "training.max_steps",
    "max_len": "training.max_len",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "dtype": "training.dtype",
    "seed": "seed",
    "serve_on": "serve_on",
}


@click.command()
@click.argument("task")
@click.option("--model", help="A registered base model, a directory, or a hub id.")
@click.option("--method", help="A PEFT method.")
@click.option("--preset", help="A named set of settings, for example demo or starter.")
@click.option("--data", help="A JSONL file to train on instead of the task's own data.")
@click.option("--rank", type=int, help="Rank of the adapter.")
@click.option("--alpha", type=float, help="Scale of the adapter: alpha / rank.")
@click.option("--dropout", type=float)
@click.option("--target", help="all-linear, attention, minimal, or layer names with commas.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--batch-size", type=int, help="Examples an update.")
@click.option("--grad-accum", type=int, help="Forward passes an update.")
@click.option("--epochs", type=float)
@click.option("--max-steps", type=int, help="Updates; overrides --epochs.")
@click.option("--max-len", type=int, help="Tokens an example; longer ones are left out.")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory, more time.")
@click.option("--dtype", help="Of the frozen base: auto, float32, bfloat16.")
@click.option("--seed", type=int)
@click.option("--serve-on", help="Where it will be served: vllm, transformers, none.")
@click.option("--output", type=click.Path(path_type=Path), help="Run directory; default: under the home.")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@config_options
@show_json
def train(
    task: str,
    output: Path | None,
    dry_run: bool,
    config: dict[str, Any],
    sets: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Train a skill for TASK: build the data, fit the adapter, leave a run directory."""
    from agentlora.core.cli.progress import show
    from agentlora.core.config import merge
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import build_data, resolve_config
    from agentlora.core.pipeline import train as fit
    from agentlora.core.run import create_run
    from agentlora.plugins.bases.resolve import check_model, resolve_base

    plugins = default_plugins()
    given = [_nested(KEYS[name], value) for name, value in options.items() if value is not None]
    if options.get("data") is not None:
        given.append({"data": {"builder": "jsonl"}})
    resolved = resolve_config(plugins, task, config, *given, sets)
    check_model(resolved.model, plugins)
    if dry_run:
        click.echo(resolved.model_dump_json(indent=2))
        return
    resolve_base(resolved.model, plugins, home())  # a model that is none is told before data is built
    with show(plugins, quiet=as_json) as emit:
        run = create_run(resolved, output, emit)
        try:
            build_data(run, plugins)
        except BaseException:
            run.remove()  # nothing is in it that the same command would not make again
            raise
        name = run.id if output is None else str(output)
        try:
            fit(run, plugins)
        except BaseException as exc:
            if not run.has_steps():
                run.remove()  # so that the same command can be given again, with the same --output
            elif isinstance(exc, KeyboardInterrupt):
                click.echo(f"What was trained is kept. Go on with: agentlora runs resume {name}", err=True)
            raise
    if as_json:
        import json

        click.echo(
            json.dumps({"run": run.id, "directory": str(run.directory), **merge(run.facts())}, indent=2)
        )
        return
    click.echo(f"Trained {run.config.task} → {run.adapter_dir}\nNext: agentlora eval {name}")


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value
