"""``agentlora runs``: what was trained here."""

from __future__ import annotations

from typing import Any

import click

from agentlora.core.cli.options import show_json


@click.group()
def runs() -> None:
    """List and show runs."""


@runs.command("list")
@show_json
def list_(as_json: bool) -> None:
    """Every run known here, oldest first."""
    import json

    from agentlora.core.run import list_runs, open_run

    rows: list[dict[str, Any]] = []
    for directory in list_runs():
        run = open_run(str(directory))
        rows.append(
            {
                "id": run.id,
                "task": run.config.task,
                "model": run.config.model,
                "method": run.config.method.name,
                "status": run.status(),
                "directory": str(directory),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "task", "model", "method", "status", box=None, header_style="bold")
    for row in rows:
        table.add_row(*(row[key] for key in ("id", "task", "model", "method", "status")))
    Console().print(table if rows else "no runs yet. Start with: agentlora train tool-calling --preset demo")


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
    for event in events:
        extra = {k: v for k, v in event.items() if k not in ("at", "event", "stage")}
        click.echo(
            f"{event['at']}  {event['stage']:6} {event['event']}  {json.dumps(extra) if extra else ''}".rstrip()
        )
