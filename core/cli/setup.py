"""`agentlora setup`: install what pip alone cannot express."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import BinaryIO

import click

from agentlora.core.errors import AgentLoraError
from agentlora.core.home import home
from agentlora.core.setup import steps
from agentlora.core.setup.steps import Step


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="[cpu|gpu] [starter]")
@click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the commands' output goes (default: setup.log in $AGENTLORA_HOME).",
)
def setup(targets: tuple[str, ...], dry_run: bool, log: Path | None) -> None:
    """Install what pip alone cannot express.

    \b
    cpu      torch, the training packages, and vLLM for a machine without a GPU
    gpu      the training packages and vLLM for NVIDIA GPUs
    starter  SmolLM2-135M, the model that works everywhere, converted once

    What is already there is not touched; running it again continues where it stopped.
    """
    if dry_run:
        _print_commands(targets)
        return
    steps.require_pip()
    steps.plan(targets)  # refuses what cannot be done before anything is
    with steps.log_held(log or home() / "setup.log", on_wait=_say_waiting) as file:
        for name in steps.repair():
            click.echo(f"installing {name} again: its last installation was cut off")
        notes = [note for target in dict.fromkeys(targets) for note in _set_up(target, file)]
    for note in notes:
        click.secho(note, fg="yellow")


def _print_commands(targets: tuple[str, ...]) -> None:
    todo = steps.plan(targets)
    for step in todo.steps:
        click.echo(step.shell())
    for note in todo.notes:
        click.echo(f"# {note}")


def _set_up(target: str, log: BinaryIO) -> tuple[str, ...]:
    """Carry out a target's plan, then plan again: an installation may have brought what has to go.

    Returns what only the user can do.

    Raises:
        AgentLoraError: a step failed, or two rounds were not enough.
    """
    todo = steps.plan((target,))
    if not todo.steps:
        click.echo(f"[{target}] nothing to do, all of it is there")
    for _ in range(2):
        _run_all(target, todo.steps, log)
        importlib.invalidate_caches()
        todo = steps.plan((target,))
        if not todo.steps:
            return todo.notes
    left = "\n".join(f"  {step.title}: {step.shell()}" for step in todo.steps)
    raise AgentLoraError(
        f"setup {target} ran without an error, and yet this is still to do:\n{left}\nSee {log.name}"
    )


def _run_all(target: str, todo: tuple[Step, ...], log: BinaryIO) -> None:
    for number, step in enumerate(todo, start=1):
        about = f" (about {step.seconds} s)" if step.seconds else ""
        click.echo(f"[{target} {number}/{len(todo)}] {step.title}{about} ... ", nl=False)
        began = time.monotonic()
        try:
            steps.run(step, log)
        except BaseException:
            click.echo("stopped")
            raise
        click.echo(f"{time.monotonic() - began:.0f} s")


def _say_waiting() -> None:
    click.echo("another set-up is still at work here; waiting for it to end ...")
