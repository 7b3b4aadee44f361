"""``agentlora sweep TASK``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agentlora.core.cli.options import KEYS, config_options, layers_of, show_json, training_options


@click.command()
@click.argument("task")
@click.option(
    "--grid",
    "grids",
    multiple=True,
    required=True,
    metavar="KEY=A,B,…",
    help="rank=8,16 or 'target=q_proj,v_proj;all-linear'.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Dev examples to compare on; default: all.")
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Evaluate on a running vLLM at this address.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory of the runs.")
@training_options
@config_options
@show_json
def sweep(
    task: str,
    grids: tuple[str, ...],
    limit: int | None,
    engine: str | None,
    url: str | None,
    output: Path,
    config: dict[str, Any],
    sets: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Train TASK with every combination of the grids' values and compare them, paired, on dev.

    The same command again goes on where it was. Test is not read: evaluate the one that you choose.
    """
    import json
    from dataclasses import asdict

    from agentlora.core.cli.progress import show
    from agentlora.core.errors import AgentLoraError, ConfigError, TrainError
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import check_training
    from agentlora.core.processes import process_count
    from agentlora.core.resolving import resolve_config
    from agentlora.core.sweep import combinations, members_of, run_member
    from agentlora.eval.standings import standings
    from agentlora.plugins.bases.resolve import check_model

    plugins = default_plugins()
    name = engine or ("vllm" if url else None)
    if name:
        plugins.check("engines", name)
    layers = (config, *layers_of(options), sets)
    resolved = [
        (label, resolve_config(plugins, task, *layers, layer)) for label, layer in combinations(grids, KEYS)
    ]
    if process_count() > 1:
        raise ConfigError(
            "a sweep trains one run after the other in one process; start it without a launcher."
        )
    for _, found in resolved:
        check_model(found.model, plugins)
        check_training(found, plugins)
    members = members_of(resolved, output.expanduser().absolute())
    done, failed = [], {}
    for number, member in enumerate(members, 1):
        if not as_json:
            click.echo(f"{number} of {len(members)}: {member.label}")
        try:
            with show(plugins, quiet=as_json) as emit:
                engine_options = {"url": url} if url else {}
                run = run_member(member, plugins, emit, engine_name=name, limit=limit, options=engine_options)
        except ConfigError:
            raise
        except AgentLoraError as exc:  # that a rate diverges is a result too
            failed[member.label] = str(exc)
            click.echo(f"{member.label} failed: {exc}", err=True)
        else:
            done.append((member.label, run))
    if not done:
        raise TrainError(f"none of the {len(members)} runs came to its end.")
    described = plugins.get("tasks", task)
    headline = described.headline
    judge = plugins.get("evaluators", described.evaluator)
    lower = headline in {*described.lower_is_better, *getattr(judge, "lower_is_better", ())}
    table = standings(done, headline, lower, members[0].config.seed)
    if as_json:
        click.echo(json.dumps({"runs": [asdict(row) for row in table], "failed": failed}, indent=2))
        return
    from rich.console import Console

    Console().print(_table(table, headline))
    click.echo(f"Next: agentlora eval {table[0].run}")


def _table(rows: Any, headline: str) -> Any:
    from rich.table import Table

    from agentlora.eval.wording import figure_text, gain, label

    table = Table(
        "", f"{label(headline)} on dev", "to the best", "trained", "minutes", box=None, header_style="bold"
    )
    for row in rows:
        beside = "best" if row is rows[0] else "other dev examples"
        if row.difference is not None:
            beside = gain(row.difference, row) + ("" if row.unbounded else " points")
        if row.diff_low is not None:
            beside += f" ({gain(row.diff_low, row)} to {gain(row.diff_high, row)})"
        share = "" if row.trainable_percent is None else f"{row.trainable_percent:.2f} %"
        table.add_row(row.label, figure_text(row), beside, share, f"{row.seconds / 60:.1f}")
    return table
