"""``agentlora convert RUN``."""

from __future__ import annotations

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("run")
@click.option(
    "--rank",
    type=click.IntRange(1, 512),
    help="Of every layer; default: of each the least that is exact.",
)
@click.option(
    "--serve-on",
    type=click.Choice(["vllm", "transformers", "none"]),
    default="vllm",
    show_default=True,
    help="What the run is meant for from now on.",
)
@show_json
def convert(run: str, rank: int | None, serve_on: str, as_json: bool) -> None:
    """Turn what RUN (id, directory, or `last`) trained into plain LoRA, which vLLM serves.

    What was trained stays beside it in adapter-as-trained. The result is evaluated anew before it can be published.
    """
    import json
    from typing import Any

    from agentlora.core.converting import convert_run
    from agentlora.core.manager import default_plugins
    from agentlora.core.run import open_run

    served_on: Any = serve_on  # click has looked at it
    found = convert_run(open_run(run), default_plugins(), rank=rank, serve_on=served_on)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(
        f"LoRA of rank {found['rank']}; it answers {found['divergence']:.2g} nats a token away from what was trained.\n"
        f"Next: agentlora eval {run}"
    )
