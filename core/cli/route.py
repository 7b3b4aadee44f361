"""``agentlora route``: who would answer, and why, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("text")
@click.option(
    "--tools", "tools_file", type=click.Path(path_type=Path), help="JSON or YAML file: tools on offer."
)
@click.option("--router", default="tfidf", show_default=True, help="The router to ask.")
@show_json
def route(text: str, tools_file: Path | None, router: str, as_json: bool) -> None:
    """Say which published skill would answer TEXT with model "auto", and why."""
    import json
    from dataclasses import asdict

    from agentlora.core.errors import ConfigError
    from agentlora.core.manager import default_plugins
    from agentlora.registry.store import open_registry
    from agentlora.runtime.toolsfile import read_tools

    request: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if tools_file is not None:
        request["tools"] = read_tools(tools_file)
    registry, chooser = open_registry(), default_plugins().get("routers", router)
    versions = {name: registry.resolve(name) for name in registry.skills()}
    if not versions:
        raise ConfigError("nothing is published yet, so everything goes to the base. Publish a run first.")
    state = chooser.fit([{**v.card.router_profile, "skill": name} for name, v in versions.items()])
    decision = chooser.route(request, state)
    served = versions[decision.choice].served_name if decision.choice else "base"
    if as_json:
        click.echo(json.dumps({**asdict(decision), "served_name": served}, indent=2, ensure_ascii=False))
        return
    click.echo(f"{click.style(served, bold=True)}: {decision.why}")
    if decision.choice and versions[decision.choice].card.serve_on != "vllm":
        place = versions[decision.choice].card.serve_on
        click.echo(f"It is made for {place!r}: `agentlora serve` leaves it out.")
    if decision.runner_up:
        click.echo(f"runner-up: {decision.runner_up}, margin {decision.margin:.2f}")
