"""``agentlora eval TARGET`` and ``agentlora eval diff A B``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentlora.core.cli.options import show_json
from agentlora.core.types import Split

if TYPE_CHECKING:
    from agentlora.eval.diff import Side


class _WithCommands(click.Group):
    """The command `_evaluate` with others beside it: a first word that is none of theirs is an argument of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        named = args and args[0] in (*self.commands, "-h", "--help")
        own = super().make_context if named else _evaluate.make_context
        return own(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _evaluate.format_help(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_WithCommands)
def eval() -> None:
    """Evaluate runs, and compare evaluations."""


@click.command("eval")
@click.argument("target")
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Attach to a running engine at this address instead of starting one.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Examples, taken evenly from the slices.")
@show_json
def _evaluate(
    target: str, engine: str | None, url: str | None, split: str, limit: int | None, as_json: bool
) -> None:
    """Evaluate TARGET (a run's id or directory, or `last`) against its baselines.

    dev is for looking and tuning; test decides, and every reading of it is counted in the record.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import eval_folder, evaluate
    from agentlora.core.run import open_run

    plugins = default_plugins()
    with show(plugins, quiet=as_json) as emit:
        run = open_run(target, emit)
        options = {"url": url} if url else {}
        chosen: Split = "test" if split == "test" else "dev"
        record = evaluate(run, plugins, engine_name=engine, split=chosen, limit=limit, options=options)
    if as_json:
        click.echo(json.dumps(record.to_dict(), indent=2))
        return
    from rich.console import Console

    from agentlora.eval.report import terminal_table

    Console().print(terminal_table(record))
    click.echo(f"Report: {run.directory / eval_folder(chosen) / 'report.html'}")
    if split == "test":
        click.echo(f"Next: agentlora publish {target}")


@eval.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--split", type=click.Choice(["test", "dev"]), default="test", show_default=True, help="Of runs."
)
@click.option("--of-a", metavar="CONDITION", help="Whose answers of A: default, the adapter's.")
@click.option("--of-b", metavar="CONDITION", help="Whose answers of B: default, the adapter's.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here.")
@show_json
def diff(
    a: str, b: str, split: str, of_a: str | None, of_b: str | None, page: Path | None, as_json: bool
) -> None:
    """Show which samples flipped from evaluation A to evaluation B.

    A and B are runs (id, directory, `last`) or records (record.json, or the folder that it lies in) of the same
    examples. They may be one and the same with other conditions: eval diff last last --of-a base.
    """
    import json

    from agentlora.core.files import write_atomic
    from agentlora.eval.diff import compare
    from agentlora.eval.diff_report import diff_html, diff_table

    found = compare(_side(a, split, of_a), _side(b, split, of_b))
    if page is not None:
        write_atomic(page, diff_html(found))
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    from rich.console import Console

    Console().print(diff_table(found))
    if page is not None:
        click.echo(f"Page: {page}")


def _side(target: str, split: str, condition: str | None) -> Side:
    from agentlora.core.pipeline import eval_folder
    from agentlora.core.run import find_run
    from agentlora.eval.diff import load_side

    place = Path(target).expanduser()
    if place.is_file() or (place / "record.json").is_file():
        return load_side(place, target, condition)
    folder = find_run(target) / eval_folder("test" if split == "test" else "dev")
    if not (folder / "record.json").is_file():
        from agentlora.core.errors import ConfigError

        option = "" if split == "test" else " --split dev"
        raise ConfigError(
            f"run {target!r} has no evaluation on {split}. Evaluate it first: agentlora eval {target}{option}"
        )
    return load_side(folder, target, condition)
