"""``agentlora runs``: what was trained here."""

from __future__ import annotations

from pathlib import Path

import click

from agentlora.core.cli.options import show_json


@click.group()
def runs() -> None:
    """List, show, resume, diagnose and remove runs."""


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
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(
        Column("run", overflow="fold"), "task", "model", "method", "status", box=None, header_style="bold"
    )
    for row in rows:
        table.add_row(*(Text(row[key]) for key in ("id", "task", "model", "method", "status")))
    Console().print(table if rows else "no runs yet. Start with: agentlora train tool-calling --preset demo")


def _row(directory: Path) -> dict[str, str]:
    """One run in a few words; why one cannot be read, `show` says."""
    from agentlora.core.errors import ConfigError
    from agentlora.core.run import open_run

    try:
        run = open_run(str(directory))
    except ConfigError:
        facts = {"task": "-", "model": "-", "method": "-", "status": "cannot be read"}
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
    from agentlora.core.pipeline import train_along
    from agentlora.core.processes import process_index
    from agentlora.core.run import open_run

    plugins = default_plugins()
    if process_index():
        train_along(plugins)
        return
    with show(plugins) as emit:
        opened = open_run(run, emit)
        directory = go_on(opened, plugins)
    click.echo(f"Trained {opened.config.task} → {directory}\nNext: agentlora eval {run}")


@runs.command("diagnose")
@click.argument("run")
@show_json
def diagnose(run: str, as_json: bool) -> None:
    """Say what went wrong in RUN's training, and which setting to change."""
    import json
    from dataclasses import asdict

    from agentlora.core import journal
    from agentlora.core.diagnosis import diagnose as look
    from agentlora.core.oom import kills_since
    from agentlora.core.run import open_run

    opened = open_run(run)
    events = list(journal.read(opened.directory / "journal.jsonl"))
    rows = [row for row in journal.read(opened.metrics_file) if "step" in row]
    kills = kills_since(opened.facts().get("oom_kills"))
    memory = (opened.facts().get("predicted") or {}).get("memory")
    findings = look(opened.config, opened.status(), events, rows, kills, memory)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    if not findings:
        updates = sum("loss" in row for row in rows)
        click.echo(f"{opened.id}: {opened.status()}, {updates} updates. Nothing looks wrong.")
    for finding in findings:
        click.echo(f"{finding.problem}: {finding.seen}.\n  change  {finding.change}\n  why     {finding.why}")


@runs.command("rm")
@click.argument("runs", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(runs: tuple[str, ...], yes: bool) -> None:
    """Delete RUNS with all that is in them; what was published stays in the registry."""
    from agentlora.core.run import find_run

    directories = dict.fromkeys([find_run(ref) for ref in runs])  # all are there before one is deleted
    for directory in directories:
        if yes or click.confirm(f"Delete {directory}?"):
            _remove(directory)
            click.echo(f"Deleted {directory}")


def _remove(directory: Path) -> None:
    """Also what this version cannot read; refused while a training is at work in it."""
    import shutil

    from agentlora.core.run import held_alone

    with held_alone(directory):
        shutil.rmtree(directory)
