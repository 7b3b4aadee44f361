"""``agentlora merge RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("run")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Directory to make; it must not exist."
)
@show_json
def merge(run: str, output: Path, as_json: bool) -> None:
    """Write RUN's adapter (id, directory, or `last`) and its base as one model."""
    import json

    from agentlora.core.exports import merge_adapter
    from agentlora.core.manager import default_plugins
    from agentlora.core.run import open_run

    directory, lost = merge_adapter(open_run(run), default_plugins(), output)
    if as_json:
        click.echo(json.dumps({"directory": str(directory), "divergence": lost}, indent=2))
        return
    click.echo(f"Merged into {directory}; it answers {lost:.2g} nats a token away from base and adapter.")
    click.echo("It is an ordinary model directory: any server loads it, and --model trains on it.")
