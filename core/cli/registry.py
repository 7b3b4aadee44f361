"""`agentlora registry`: look at versions and move aliases. Everything heavy is imported on use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from agentlora.core.errors import RegistryError

if TYPE_CHECKING:
    from agentlora.registry.store import Registry, Version

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group()
def registry() -> None:
    """Look at published skills and move their aliases."""


@registry.command("list")
@as_json
def list_skills(as_json: bool) -> None:
    """List the skills with their newest version and aliases."""
    with _open() as store:
        rows = [_overview(store, name) for name in store.skills()]
    if as_json:
        _echo_json(rows)
    elif not rows:
        click.echo(
            "No skill is published yet. `agentlora train TASK` makes one, `agentlora publish RUN` adds it."
        )
    else:
        columns = ("skill", "kind", "newest", "aliases", "method", "headline")
        _echo_table(columns, [[_cell(row[column]) for column in columns] for row in rows])


@registry.command()
@click.argument("ref")
@as_json
def show(ref: str, as_json: bool) -> None:
    """Show the version that REF names: its card, its files, its skill's versions and its alias moves."""
    with _open() as store:
        version = store.resolve(ref)
        shown = _describe(version) | {
            "versions": [_brief(other) for other in store.versions(version.name)],
            "aliases": {alias: _brief(other) for alias, other in store.aliases(version.name).items()},
            "history": _history(store, version.name),
        }
    if as_json:
        _echo_json(shown)
        return
    _echo_table(("", version.served_name), _card_rows(version, shown))
    _echo_table(
        ("version", "digest", "published", "aliases"),
        [_version_row(other, shown["aliases"]) for other in reversed(shown["versions"])],
    )


@registry.command()
@click.argument("ref")
@click.argument("alias")
@as_json
def alias(ref: str, alias: str, as_json: bool) -> None:
    """Point ALIAS to the version that REF names."""
    with _open() as store:
        version = store.resolve(ref)
        before = store.aliases(version.name).get(alias)
        store.set_alias(version.name, alias, version)
    _echo_move(version, alias, before, as_json)


@registry.command()
@click.argument("skill")
@click.option("--alias", default="prod", show_default=True, help="The alias to move back.")
@as_json
def rollback(skill: str, alias: str, as_json: bool) -> None:
    """Point an alias of SKILL back to the version before; again goes back one more."""
    with _open() as store:
        before = store.aliases(skill).get(alias)
        version = store.rollback(skill, alias)
    _echo_move(version, alias, before, as_json)


@registry.command()
@click.argument("ref")
@as_json
def verify(ref: str, as_json: bool) -> None:
    """Read every byte of the version that REF names and compare it with its digest."""
    with _open() as store:
        version = store.resolve(ref)
        problems = store.verify(version)
    if as_json:
        _echo_json(_brief(version) | {"problems": problems})
    elif not problems:
        click.echo(
            f"{version.served_name} (v{version.number}): {len(version.files)} files, all as published."
        )
    if problems:
        raise RegistryError(
            f"{version.served_name} (v{version.number}) is damaged: {'; '.join(problems)}. Publishing its "
            "run again puts good copies in place."
        )


@contextmanager
def _open() -> Iterator[Registry]:
    from agentlora.registry.store import open_registry

    store = open_registry()
    try:
        yield store
    finally:
        store.close()


# --- what is shown ---


def _brief(version: Version) -> dict[str, Any]:
    return {
        "skill": version.name,
        "version": f"v{version.number}",
        "digest": f"sha256:{version.digest}",
        "served_name": version.served_name,
        "created_at": version.created_at,
    }


def _describe(version: Version) -> dict[str, Any]:
    files = {
        name: {"digest": f"sha256:{d}", "bytes": version.sizes[name]} for name, d in version.files.items()
    }
    return _brief(version) | {"card": version.card.model_dump(mode="json"), "files": files}


def _overview(store: Registry, name: str) -> dict[str, Any]:
    versions = store.versions(name)
    newest = versions[-1]
    return {
        "skill": name,
        "versions": len(versions),
        "newest": f"v{newest.number}",
        "digest": f"sha256:{newest.digest}",
        "aliases": {alias: f"v{version.number}" for alias, version in store.aliases(name).items()},
        "kind": newest.card.kind,
        "method": newest.card.method,
        "headline": newest.card.headline,
    }


def _history(store: Registry, name: str) -> dict[str, list[dict[str, Any]]]:
    return {
        alias: [
            {"version": f"v{move.version.number}", "kind": move.kind, "moved_at": move.moved_at}
            for move in store.history(name, alias)
        ]
        for alias in store.aliases(name)
    }


def _card_rows(version: Version, shown: Mapping[str, Any]) -> list[list[str]]:
    card = version.card
    rows = {
        "version": f"v{version.number}, published {version.created_at}",
        "digest": f"sha256:{version.digest}",
        "summary": card.summary,
        "kind": "a model of its own" if card.kind == "model" else "adapter",
        "task": card.task,
        "base": f"{card.base.get('name', '?')} (sha256:{str(card.base.get('digest', '?'))[:12]})",
        "method": card.method if card.rank is None else f"{card.method}, rank {card.rank}",
        **({"made of": _parents(card.parents)} if card.parents else {}),
        "serve on": f"{card.serve_on}, parser {card.tool_call_parser}",
        "headline": _headline(card.headline),
        "files": ", ".join(f"{name} ({size:,} bytes)" for name, size in version.sizes.items()),
    }
    for alias, moves in shown["history"].items():
        rows[f"moves of {alias}"] = " → ".join(
            move["version"] + (" (rollback)" if move["kind"] == "rollback" else "") for move in moves
        )
    return [[key, value] for key, value in rows.items()]


def _parents(parents: Sequence[Mapping[str, Any]]) -> str:
    """`1 × sha256:1f0c…, 0.5 × sha256:9ab2… (cat)`."""
    shares = ", ".join(f"{parent['weight']:g} × sha256:{parent['adapter'][:12]}" for parent in parents)
    return f"{shares} ({parents[0]['how']})"


def _version_row(version: Mapping[str, Any], aliases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    here = [alias for alias, other in aliases.items() if other["digest"] == version["digest"]]
    return [version["version"], version["digest"][:19], version["created_at"], ", ".join(here)]


def _headline(headline: Mapping[str, Any]) -> str:
    """`exact_match 0.62 [0.52, 0.71], +0.41 [0.31, 0.50] over few_shot`; whatever the card has of it."""
    if not headline:
        return "none"
    text = f"{headline.get('metric')} {_figure(headline.get('value'))}"
    if headline.get("low") is not None:
        text += f" [{_figure(headline['low'])}, {_figure(headline.get('high'))}]"
    if headline.get("difference") is not None:
        text += f", {headline['difference']:+.3f} [{_figure(headline.get('diff_low'))}, "
        text += f"{_figure(headline.get('diff_high'))}] over {headline.get('best_baseline')}"
    return text


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "?"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return _headline(value) if "metric" in value else ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)


# --- how it is shown ---


def _echo_move(version: Version, alias: str, before: Version | None, as_json: bool) -> None:
    if as_json:
        _echo_json(_brief(version) | {"alias": alias, "before": before and _brief(before)})
    elif before is None:
        click.echo(f"{version.name}@{alias} points to v{version.number} ({version.served_name}).")
    elif before.digest == version.digest:
        click.echo(f"{version.name}@{alias} pointed to v{version.number} already.")
    else:
        click.echo(
            f"{version.name}@{alias} moved from v{before.number} to v{version.number} "
            f"({version.served_name})."
        )


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _echo_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal; in a pipe as wide as it needs, so that nothing is cut."""
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None)
    for column in columns:
        table.add_column(column, overflow="fold")  # a digest cut short cannot be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console() if terminal else Console(width=100_000)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
