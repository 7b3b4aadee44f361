"""``agentlora export RUN``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "form",
    type=click.Choice(["peft", "merged", "gguf", "gguf-merged"]),
    default="peft",
    show_default=True,
    help="peft, merged: a directory; gguf (the adapter), gguf-merged: a file.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="What to make; it must not exist."
)
def export(run: str, form: str, output: Path) -> None:
    """Write what RUN (id, directory, or `last`) trained in a form that other programs load."""
    from agentlora.core.exports import export_run
    from agentlora.core.manager import default_plugins
    from agentlora.core.run import open_run

    click.echo(f"Exported to {export_run(open_run(run), default_plugins(), form, output)}")
