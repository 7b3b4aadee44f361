"""``agentlora eval parity RUN``."""

from __future__ import annotations

from typing import Any

import click

from agentlora.core.cli.options import show_json
from agentlora.core.types import Split

DTYPES = ("float32", "bfloat16")


@click.command()
@click.argument("target", metavar="RUN")
@click.option("--n", default=100, show_default=True, type=click.IntRange(min=1), help="Prompts.")
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(min=1), help="Of an answer.")
@click.option(
    "--dtype",
    type=click.Choice([*DTYPES, "both"]),
    default="both",
    show_default=True,
    help="Of both engines.",
)
@click.option(
    "--most-gap",
    default=0.1,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Nat that two tokens may differ by where answers part.",
)
@click.option("--split", type=click.Choice(["dev", "train"]), default="dev", show_default=True)
@click.option("--engine", default="vllm", show_default=True, help="What is compared with transformers.")
@click.option("--url", help="Attach to a running engine that computes in --dtype instead of starting one.")
@click.option("--show", "shown", default=3, show_default=True, type=click.IntRange(min=0), help="Mismatches.")
@show_json
def parity(
    target: str,
    n: int,
    tokens: int,
    dtype: str,
    most_gap: float,
    split: str,
    engine: str,
    url: str | None,
    shown: int,
    as_json: bool,
) -> None:
    """Compare the greedy answers of RUN's adapter on vLLM and on transformers.

    In float32 at least 98 % are to be equal. In bfloat16 answers differ, and wherever they part the two tokens are to
    be nearly as likely: within --most-gap, weighed in float32. Exit code 1 where that does not hold.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.manager import default_plugins
    from agentlora.core.parity import check_parity
    from agentlora.core.run import open_run

    if url and dtype == "both":
        raise click.UsageError(
            "--url is of a server that computes in one number format: say which with --dtype."
        )
    plugins = default_plugins()
    chosen: Split = "train" if split == "train" else "dev"
    options: dict[str, Any] = {"url": url} if url else {}
    found = []
    with show(plugins, quiet=as_json) as emit:
        run = open_run(target, emit)
        for number_format in DTYPES if dtype == "both" else (dtype,):
            found.append(
                check_parity(
                    run,
                    plugins,
                    dtype=number_format,
                    n=n,
                    max_tokens=tokens,
                    most_gap=most_gap,
                    split=chosen,
                    engine_name=engine,
                    options=options,
                )
            )
    holds = not any(one.problems() for one in found)
    if as_json:
        report = {"run": run.id, "split": split, "holds": holds, "parity": [one.to_dict() for one in found]}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        from agentlora.eval.parity_report import terminal

        for one in found:
            Console().print(terminal(one, shown))
    if not holds:
        click.get_current_context().exit(1)
