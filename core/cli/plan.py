"""``agentlora plan TASK``."""

from __future__ import annotations

from typing import Any

import click

from agentlora.core.cli.options import config_options, layers_of, show_json, task_of, training_options


@click.command()
@click.argument("task")
@training_options
@click.option("--task", "of", help="With distillation: the task whose prompts the teacher answers.")
@config_options
@show_json
def plan(
    task: str, of: str | None, config: dict[str, Any], sets: dict[str, Any], as_json: bool, **options: Any
) -> None:
    """Explain a training of TASK before it begins: parameters, memory, time, serving, advice.

    Takes what `train` takes. Nothing is computed and no weight is read; the model may be larger than this machine.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins
    from agentlora.core.planning import make_plan
    from agentlora.core.resolving import resolve_config

    plugins = default_plugins()
    task = task_of(task, of)
    resolved = resolve_config(plugins, task, config, *layers_of(options), sets)
    prepare_libraries()
    made = make_plan(resolved, plugins)
    if as_json:
        import json

        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    from rich.console import Console

    console = Console()
    for part in _shown(made):
        console.print(part)


def _shown(plan: Any) -> list[Any]:
    """The plan for a terminal, a part at a time."""
    from rich.padding import Padding
    from rich.text import Text

    found, config = plan.prediction, plan.config
    left = f"; shared prefixes leave {found.computed_tokens / found.tokens:.0%} of the tokens"
    lines = [
        f"{config.task}: {config.method.name} on {config.model}",
        "",
        _data(plan),
        f"{found.updates:,} updates of {config.training.batch_size}, {found.micro_batch} a forward pass"
        + (left if found.sharing else ""),
        _time(found),
        _serving(plan),
        *([_teacher(plan)] if plan.teacher else []),
    ]
    parts: list[Any] = [Text("\n".join(lines)), "", _parameters(found), "", _memory(found)]
    for row in plan.advice:
        said = Text.assemble(
            (f"{row.about}: ", "bold red" if row.urgent else "bold"), f"{row.seen}.\n",
            f"{row.change}\n", (f"{row.why} ({row.source})", "dim"),
        )  # fmt: skip
        parts += ["", Padding(said, (0, 0, 0, 2))]
    return [*parts, "", Text(f"Next: agentlora train {config.task} … with the same options")]


def _data(plan: Any) -> str:
    data = plan.data
    looked = "" if data["tokenized"] == data["examples"] else f", by {data['tokenized']:,} of them"
    return f"{data['examples']:,} examples, longest {data['longest']:,} tokens, {data['too_long']:,} too long{looked}"


def _time(found: Any) -> str:
    if found.seconds is None:
        return "time: unknown, since this model cannot be run without its values"
    minutes = found.seconds / 60
    return f"about {minutes:,.0f} minutes" if minutes < 180 else f"about {minutes / 60:,.0f} hours"


def _serving(plan: Any) -> str:
    serving = plan.serving
    can = f" (it could be on: {', '.join(serving['can'])})" if serving["can"] else ""
    if serving["serve_on"] == "none":
        return f"will not be served{can}"
    return f"will be served on {serving['serve_on']}{can}"


def _teacher(plan: Any) -> str:
    found, budget = plan.teacher, plan.config.teacher
    known = f" ({found.known:,} of them known)" if found.known else ""
    cost = "" if found.cost is None else f", which cost {found.cost:,.2f} at most"
    ends = "" if found.enough else "; the budget may end before that"
    if budget.max_cost is not None and found.cost is not None:
        cost += f" of {budget.max_cost:,.2f}"
    return (
        f"teacher {found.teacher}: {found.requests:,} requests{known}, about {found.prompt_tokens:,} tokens of "
        f"prompts and at most {found.output_tokens:,} of answers{cost}{ends}"
    )


def _parameters(found: Any) -> Any:
    from rich.table import Table

    table = Table("trained parameters", "", "of all", box=None, header_style="bold")
    table.columns[1].justify = table.columns[2].justify = "right"
    for module, count in found.per_module.items():
        table.add_row(module, f"{count:,}", f"{100 * count / found.parameters:.2f} %")
    table.add_row(
        "together", f"{found.trainable:,}", f"{100 * found.trainable / found.parameters:.2f} %", style="bold"
    )
    return table


def _memory(found: Any) -> Any:
    from rich.table import Table

    table = Table("memory at its peak", "", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for what, size in found.memory.items():
        table.add_row(what, f"{size / 1e9:,.2f} GB")
    table.add_row("together", f"{found.peak / 1e9:,.2f} GB", style="bold")
    return table
