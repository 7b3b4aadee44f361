"""``agentlora publish RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("run")
@click.option("--name", help="The skill's name; default: the task's.")
@click.option("--alias", default="prod", show_default=True, help="The alias to move to the new version.")
@click.option(
    "--policy", type=click.Path(dir_okay=False, path_type=Path), help="YAML file with the gate's rules."
)
@click.option(
    "--serve-on",
    type=click.Choice(["vllm", "transformers", "none"]),
    help="What the run is meant for from now on; where it does not run there, it becomes plain LoRA.",
)
@click.option(
    "--rank",
    type=click.IntRange(1, 512),
    help="Of every layer of what is converted; default: of each the least that is exact.",
)
@show_json
def publish(
    run: str,
    name: str | None,
    alias: str,
    policy: Path | None,
    serve_on: Any,
    rank: int | None,
    as_json: bool,
) -> None:
    """Put RUN's adapter (id, directory, or `last`) through the gate and into the registry.

    What cannot be served where it is to be (--serve-on vllm) is converted to plain LoRA first, as `agentlora convert`
    does it: above 0.02 nats a token from what was trained it is refused, and nothing is changed. Then it is evaluated
    anew, as it was before. It stays converted where the gate refuses it; what was trained stays in adapter-as-trained.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.publishing import gate_config
    from agentlora.core.publishing import publish as put
    from agentlora.core.run import open_run

    said: list[Any] = []
    plugins = default_plugins()
    try:
        with show(plugins, quiet=as_json) as emit:
            opened = open_run(run, emit)
            rules = gate_config(opened, plugins, policy)
            version = put(
                opened, plugins, name=name, alias=alias, policy=rules, serve_on=serve_on, rank=rank,
                on_verdict=said.append,
            )  # fmt: skip
    finally:
        if said and not as_json:
            _show(said[0].to_dict())
    if as_json:
        facts = {"name": version.name, "number": version.number, "digest": version.digest, "alias": alias}
        more = {"conversion": version.card.conversion} if version.card.conversion else {}
        gate = said[0].to_dict()
        click.echo(json.dumps({**facts, "existing": version.existing, **more, "gate": gate}, indent=2))
        return
    what = "was published before as" if version.existing else "is"
    click.echo(f"{version.name} v{version.number} {what} {version.served_name}; {alias} points to it.")
    served = version.card.serve_on == "vllm"
    click.echo("Next: agentlora serve" if served else f"Next: agentlora chat {version.name}")


def _show(verdict: Any) -> None:
    from rich.console import Console

    from agentlora.eval.verdict_report import verdict_table

    # the error says why it was refused
    Console().print(verdict_table(verdict, reasons=verdict["passed"]))
