"""``agentlora eval TARGET``."""

from __future__ import annotations

import click

from agentlora.core.cli.options import show_json
from agentlora.core.types import Split


@click.command()
@click.argument("target")
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Attach to a running engine at this address instead of starting one.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Examples, taken evenly from the slices.")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME[:TASKS]",
    help="Other people's tasks, put into the record too (repeatable): bfcl, lm-eval:TASK, inspect:FILE.py@TASK.",
)
@show_json
def eval(
    target: str,
    engine: str | None,
    url: str | None,
    split: str,
    limit: int | None,
    suites: tuple[str, ...],
    as_json: bool,
) -> None:
    """Evaluate TARGET (a run's id or directory, or `last`) against its baselines.

    dev is for looking and tuning; test decides, and every reading of it is counted in the record. With --suite, an
    adapter that has its record already is asked the suites alone; --limit then counts the examples of each task.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import eval_folder, evaluate
    from agentlora.core.run import open_run
    from agentlora.core.suites import add_suites, has_record, parse_suites

    plugins = default_plugins()
    with show(plugins, quiet=as_json) as emit:
        run = open_run(target, emit)
        options = {"url": url} if url else {}
        chosen: Split = "test" if split == "test" else "dev"
        parse_suites(plugins, suites)  # what is wrong with them is told before minutes are spent
        if not suites or not has_record(run, chosen):
            record = evaluate(run, plugins, engine_name=engine, split=chosen, limit=limit, options=options)
        if suites:
            record = add_suites(
                run, plugins, suites, engine_name=engine, split=chosen, limit=limit, options=options
            )
    if as_json:
        click.echo(json.dumps(record.to_dict(), indent=2))
        return
    from rich.console import Console

    from agentlora.eval.report import terminal_table

    Console().print(terminal_table(record))
    click.echo(f"Report: {run.directory / eval_folder(chosen) / 'report.html'}")
    if split == "test":
        click.echo(f"Next: agentlora publish {target}")
