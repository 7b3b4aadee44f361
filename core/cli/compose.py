"""``agentlora compose RUN RUN…``."""

from __future__ import annotations

from pathlib import Path

import click

from agentlora.core.cli.options import show_json


@click.command()
@click.argument("parts", nargs=-1, required=True, metavar="RUN RUN…")
@click.option("--weights", required=True, metavar="W,W…", help="One for each part: 1,0.5.")
@click.option(
    "--how",
    type=click.Choice(["cat", "svd", "linear", "ties", "dare"]),
    default="cat",
    show_default=True,
    help="cat: the weighted sum, exactly; the others are of a smaller rank.",
)
@click.option("--density", type=float, help="Share of the values that ties and dare keep; default: 0.5.")
@click.option("--rank", type=int, help="Rank that svd, ties and dare cut the result to.")
@click.option("--task", help="Task to evaluate it on; default: the first part's.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Run directory to make; it must not exist.",
)
@show_json
def compose(
    parts: tuple[str, ...],
    weights: str,
    how: str,
    density: float | None,
    rank: int | None,
    task: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Make one adapter of several evaluated ones of the same base: runs (id or directory), or SKILL@ALIAS.

    The result is a run, which is evaluated and published like any other.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.composing import Recipe
    from agentlora.core.composing import compose as make
    from agentlora.core.manager import default_plugins

    plugins = default_plugins()
    with show(plugins, quiet=as_json) as emit:
        recipe = Recipe(_numbers(weights), how, density, rank)
        run = make(parts, recipe, plugins, output, task=task, emit=emit)
    made = run.facts()["composition"]
    if as_json:
        click.echo(json.dumps({"directory": str(run.directory), **made}, indent=2))
        return
    click.echo(f"Composed {len(parts)} adapters by {how} into {run.directory}, rank {made['rank']}.")
    click.echo(f"Next: agentlora eval {run.directory}")


def _numbers(text: str) -> tuple[float, ...]:
    from agentlora.core.errors import ConfigError

    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as exc:
        raise ConfigError(f"--weights {text!r}: write numbers with commas between them, like 1,0.5.") from exc
