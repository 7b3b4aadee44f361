"""``agentlora publish RUN``."""

from __future__ import annotations

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("run")
@click.option("--name", help="The skill's name; default: the task's.")
@click.option("--alias", default="prod", show_default=True, help="The alias to move to the new version.")
@show_json
def publish(run: str, name: str | None, alias: str, as_json: bool) -> None:
    """Put RUN's adapter (id, directory, or `last`) through the gate and into the registry."""
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.publishing import publish as put
    from agentlora.core.run import open_run

    plugins = default_plugins()
    with show(plugins, quiet=as_json) as emit:
        version = put(open_run(run, emit), plugins, name=name, alias=alias)
    if as_json:
        facts = {"name": version.name, "number": version.number, "digest": version.digest, "alias": alias}
        click.echo(json.dumps({**facts, "existing": version.existing}, indent=2))
        return
    what = "was published before as" if version.existing else "is"
    click.echo(f"{version.name} v{version.number} {what} {version.served_name}; {alias} points to it.")
    served = version.card.serve_on == "vllm"
    click.echo("Next: agentlora serve" if served else f"Next: agentlora chat {version.name}")
