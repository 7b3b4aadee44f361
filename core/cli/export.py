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
    "--output",
    type=click.Path(path_type=Path),
    help="What to make; it must not exist. Needed without --push.",
)
@click.option(
    "--push",
    "push",
    metavar="OWNER/NAME",
    help="Upload it to the Hugging Face hub, with a model card. The token is read from HF_TOKEN.",
)
@click.option("--public", is_flag=True, help="With --push: for everybody to see; else it is private.")
def export(run: str, form: str, output: Path | None, push: str | None, public: bool) -> None:
    """Write what RUN (id, directory, or `last`) trained in a form that other programs load."""
    from agentlora.core.errors import ConfigError
    from agentlora.core.exports import export_run, push_run
    from agentlora.core.manager import default_plugins
    from agentlora.core.run import open_run

    if public and not push:
        raise ConfigError("--public says how to --push, and that is not given.")
    if push:
        url = push_run(open_run(run), default_plugins(), form, push, public=public, output=output)
        click.echo(f"Pushed to {url} ({'public' if public else 'private'}).")
    elif output:
        click.echo(f"Exported to {export_run(open_run(run), default_plugins(), form, output)}")
    else:
        raise ConfigError("say where to with --output, or --push OWNER/NAME.")
