"""``agentlora eval diff A B``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentlora.core.cli.options import show_json

if TYPE_CHECKING:
    from agentlora.eval.diff import Side


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--split", type=click.Choice(["test", "dev"]), default="test", show_default=True, help="Of runs."
)
@click.option("--of-a", metavar="CONDITION", help="Whose answers of A: default, the adapter's.")
@click.option("--of-b", metavar="CONDITION", help="Whose answers of B: default, the adapter's.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write it as Markdown, for CI."
)
@show_json
def diff(
    a: str,
    b: str,
    split: str,
    of_a: str | None,
    of_b: str | None,
    page: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Show which samples flipped from evaluation A to evaluation B.

    A and B are runs (id, directory, `last`) or records (record.json, or the folder that it lies in) of the same
    examples. They may be one and the same with other conditions: eval diff last last --of-a base.
    """
    import json

    from agentlora.core.files import write_atomic
    from agentlora.eval.diff import compare
    from agentlora.eval.diff_report import diff_html, diff_markdown, diff_table

    for option, file in (("--html", page), ("--markdown", markdown)):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.UsageError(
                f"{option}: {str(file.parent)!r} is no directory. Make it, or name another."
            )
    found = compare(_side(a, split, of_a), _side(b, split, of_b))
    if page is not None:
        write_atomic(page, diff_html(found))
    if markdown is not None:
        write_atomic(markdown, diff_markdown(found))
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    from rich.console import Console

    Console().print(diff_table(found))
    if page is not None:
        click.echo(f"Page: {page}")


def _side(target: str, split: str, condition: str | None) -> Side:
    from agentlora.core.evaluating import eval_folder
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
