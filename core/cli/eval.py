"""``agentlora eval TARGET``."""

from __future__ import annotations

from typing import Literal

import click

from agentlora.core.cli.options import show_json
from agentlora.core.types import Split


def _print_schema(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    import json

    from agentlora.eval.schemas import SCHEMAS

    click.echo(json.dumps(SCHEMAS[value](), indent=2, ensure_ascii=False))
    context.exit()


def _probes(context: click.Context, option: click.Parameter, text: str | None) -> int | Literal["all"] | None:
    if text is None or text == "all":
        return "all" if text else None
    if not text.isdecimal():
        raise click.BadParameter("give a number of probes, all, or 0 for none.")
    return int(text)


@click.command()
@click.argument("target")
@click.option(
    "--schema",
    type=click.Choice(["record", "sample"]),
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of record.json, or of a line of samples.jsonl, and do nothing else.",
)
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Attach to a running engine at this address instead of starting one.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Examples, taken evenly from the slices.")
@click.option("--constrained", is_flag=True, help="The adapter with and without a grammar; decides nothing.")
@click.option(
    "--probes",
    metavar="N|all",
    callback=_probes,
    help="General-ability probes to ask; 0: none.  [default: eval.probes]",
)
@click.option(
    "--evaluator",
    "evaluators",
    multiple=True,
    help="Judges beside the run's own: a name, or {name: NAME, params: {…}}. Can be given several times.",
)
@show_json
def eval(
    target: str,
    engine: str | None,
    url: str | None,
    split: str,
    limit: int | None,
    constrained: bool,
    probes: int | Literal["all"] | None,
    evaluators: tuple[str, ...],
    as_json: bool,
) -> None:
    """Evaluate TARGET (a run's id or directory, or `last`) against its baselines.

    An evaluation that was ended before it was whole goes on where it was: give the same command again.

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
        record = evaluate(
            run,
            plugins,
            engine_name=engine,
            split=chosen,
            limit=limit,
            options=options,
            constrained=constrained,
            probes=probes,
            evaluators=evaluators,
        )
    if as_json:
        click.echo(json.dumps(record.to_dict(), indent=2))
        return
    from rich.console import Console

    from agentlora.eval.report import terminal_table

    Console().print(terminal_table(record))
    click.echo(f"Report: {run.directory / eval_folder(chosen) / 'report.html'}")
    if split == "test":
        click.echo(f"Next: agentlora publish {target}")
