"""``agentlora config``: the configuration as a JSON Schema, for editors."""

from __future__ import annotations

import click


@click.group()
def config() -> None:
    """Print the configuration's JSON Schema."""


@config.command()
def schema() -> None:
    """The JSON Schema of a run's configuration (what --config and --set take)."""
    import json

    from agentlora.core.config import RunConfig

    click.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
