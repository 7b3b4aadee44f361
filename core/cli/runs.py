"""``agentlora runs``: what was trained here."""

from __future__ import annotations

from pathlib import Path

import click

from agentlora.core.cli.options import show_json


@click.group()
def runs() -> None:
    """List, show and resume runs."""


@runs.command("list")
@show_json
def list_(as_json: bool) -> None:
    """Every run known here, oldest first."""
    import json

    from agentlora.core.run import list_runs

    rows = [_row(directory) for directory in list_runs()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "task", "model", "method", "status", box=None, header_style="bold")
    for row in rows:
        table.add_row(*(Text(row[key]) for key in ("id", "task", "model", "method", "status")))
    Console().print(table if rows else "no runs yet. Start with: agentlora train tool-calling --preset demo")


def _row(directory: Path) -> dict[str, str]:
    """One run in a few words; one that this version cannot read is told as damaged, and `show` says why."""
    from agentlora.core.errors import ConfigError
    from agentlora.core.run import open_run

    try:
        run = open_run(str(directory))
    except ConfigError:
        facts = {"task": "-", "model": "-", "method": "-", "status": "damaged"}
    else:
        config = run.config
        facts = {
            "task": config.task,
            "model": config.model,
            "method": config.method.name,
            "status": run.status(),
        }
    return {"id": directory.name, **facts, "directory": str(directory)}


@runs.command("show")
@click.argument("run")
@show_json
def show(run: str, as_json: bool) -> None:
    """One run, by id, directory or `last`: configuration, provenance, journal."""
    import json

    from agentlora.core import journal
    from agentlora.core.run import open_run

    opened = open_run(run)
    events = list(journal.read(opened.directory / "journal.jsonl"))
    if as_json:
        whole = {"config": opened.config.model_dump(mode="json"), **opened.facts(), "journal": events}
        click.echo(json.dumps(whole, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(opened.config.model_dump(mode="json"), sort_keys=False).rstrip())
    click.echo(f"directory: {opened.directory}\n")
    facts = {key: value for key, value in opened.facts().items() if key not in ("format", "id")}
    click.echo(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))
    for event in events:
        at, stage, what = (str(event.get(key, "-")) for key in ("at", "stage", "event"))
        extra = {k: v for k, v in event.items() if k not in ("at", "event", "stage")}
        click.echo(f"{at}  {stage:7} {what}  {json.dumps(extra) if extra else ''}".rstrip())


@runs.command("resume")
@click.argument("run")
def resume(run: str) -> None:
    """Train RUN (id, directory or `last`) to its end, from its last checkpoint on.

    It goes on exactly where it was: what differs from what was saved ends it.
    """
    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import resume as go_on
    from agentlora.core.run import open_run

    plugins = default_plugins()
    with show(plugins) as emit:
        opened = open_run(run, emit)
        directory = go_on(opened, plugins)
    click.echo(f"Trained {opened.config.task} → {directory}\nNext: agentlora eval {run}")
