"""`agentlora doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from agentlora.core.setup.checks import Check, all_checks

STYLES = {"ok": "green", "missing": "dim", "warning": "yellow", "broken": "bold red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Check the installation and the machine; exit code 1 when something is broken."""
    checks = all_checks()
    broken = [check for check in checks if check.status == "broken"]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show(checks)
        click.echo(f"{len(broken)} broken" if broken else "nothing is broken")
    raise SystemExit(1 if broken else 0)


def _show(checks: list[Check]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("part", "status", "found", box=box.SIMPLE)
    for check in checks:
        found = Text(check.found)  # Text: what was found may hold square brackets
        if check.advice:
            found.append(f"\n→ {check.advice}", style="bold" if check.status == "broken" else "")
        table.add_row(check.name, Text(check.status, style=STYLES[check.status]), found)
    Console().print(table)
