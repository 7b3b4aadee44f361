"""``agentlora plugins``: what is installed, what each offers, what failed."""

from __future__ import annotations

import click

from agentlora.core.cli.options import show_json


@click.group()
def plugins() -> None:
    """List plugins and what they offer."""


@plugins.command("list")
@show_json
def list_(as_json: bool) -> None:
    """Every registered name with its owner, and the plugins that failed to load."""
    import json

    from agentlora.core.manager import default_plugins

    loaded = default_plugins()
    offers = {
        kind: {name: entry.owner for name, entry in sorted(entries.items())}
        for kind, entries in loaded.catalog.entries.items()
    }
    failures = {failure.name: failure.reason for failure in loaded.failures}
    if as_json:
        click.echo(json.dumps({"offers": offers, "failures": failures}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "name", "from plugin", box=None, header_style="bold")
    for kind, names in offers.items():
        for index, (name, owner) in enumerate(names.items()):
            table.add_row(kind.replace("_", " ") if index == 0 else "", Text(name), Text(owner))
    console = Console()
    console.print(table)
    for name, reason in failures.items():
        # Text, because a reason such as "needs pkg[extra]" is no markup
        console.print(Text.assemble(("failed", "red"), f" {name}: {reason}"))
