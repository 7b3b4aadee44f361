"""``agentlora eval TARGET``, and the commands below it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from agentlora.core.cli.options import show_json
from agentlora.core.types import Split

BELOW = {"parity": "agentlora.core.cli.parity"}
"""Command below ``eval`` → its module, where it has its name; any other word is what is evaluated."""


class _WithCommands(click.Command):
    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not args or args[0] not in BELOW:
            return super().make_context(info_name, args, parent, **extra)
        command: click.Command = getattr(import_module(BELOW[args[0]]), args[0])
        return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


@click.command(
    cls=_WithCommands,
    epilog="Below it: agentlora eval parity RUN compares what vLLM and transformers answer.",
)
@click.argument("target")
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Attach to a running engine at this address instead of starting one.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Examples, taken evenly from the slices.")
@show_json
def eval(
    target: str, engine: str | None, url: str | None, split: str, limit: int | None, as_json: bool
) -> None:
    """Evaluate TARGET (a run's id or directory, or `last`) against its baselines.

    dev is for looking and tuning; test decides, and every reading of it is counted in the record.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import eval_folder, evaluate
    from agentlora.core.run import open_run

    plugins = default_plugins()
    with show(plugins, quiet=as_json) as emit:
        run = open_run(target, emit)
        options = {"url": url} if url else {}
        chosen: Split = "test" if split == "test" else "dev"
        record = evaluate(run, plugins, engine_name=engine, split=chosen, limit=limit, options=options)
    if as_json:
        click.echo(json.dumps(record.to_dict(), indent=2))
        return
    from rich.console import Console

    from agentlora.eval.report import terminal_table

    Console().print(terminal_table(record))
    click.echo(f"Report: {run.directory / eval_folder(chosen) / 'report.html'}")
    if split == "test":
        click.echo(f"Next: agentlora publish {target}")
