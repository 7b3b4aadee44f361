"""``agentlora train TASK``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agentlora.core.cli.options import config_options, layers_of, show_json, task_of, training_options


@click.command()
@click.argument("task")
@training_options
@click.option("--task", "of", help="With distillation: the task whose prompts the teacher answers.")
@click.option("--output", type=click.Path(path_type=Path), help="Run directory; default: under the home.")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@config_options
@show_json
def train(
    task: str,
    of: str | None,
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
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import build, check_training, train_along
    from agentlora.core.pipeline import train as fit
    from agentlora.core.processes import process_index
    from agentlora.core.resolving import resolve_config
    from agentlora.core.run import create_run, kept_if_begun
    from agentlora.plugins.bases.resolve import check_model

    task = task_of(task, of)
    plugins = default_plugins()
    if process_index():
        if not dry_run:
            train_along(plugins)
        return
    resolved = resolve_config(plugins, task, config, *layers_of(options), sets)
    check_model(resolved.model, plugins)
    if dry_run:
        click.echo(resolved.model_dump_json(indent=2))
        return
    check_training(resolved, plugins)
    with show(plugins, quiet=as_json) as emit:
        run = create_run(resolved, output, emit)
        name = run.id if output is None else str(output)
        try:
            with kept_if_begun(run):
                build(run, plugins)
                fit(run, plugins)
        except KeyboardInterrupt:
            if run.has_steps():
                click.echo(f"What was trained is kept. Go on with: agentlora runs resume {name}", err=True)
            raise
    if as_json:
        import json

        click.echo(
            json.dumps({"run": run.id, "directory": str(run.directory), **merge(run.facts())}, indent=2)
        )
        return
    click.echo(f"Trained {run.config.task} → {run.adapter_dir}\nNext: agentlora eval {name}")
