"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def config_options(function: F) -> F:
    """``--config FILE`` and ``--set key=value``, as the mappings `config` and `sets`."""
    function = click.option(
        "--config", "config", callback=_read, metavar="FILE", help="YAML file with settings.", default=None
    )(function)
    return click.option(
        "--set",
        "sets",
        multiple=True,
        callback=_sets,
        metavar="KEY=VALUE",
        help="Any setting: training.save_steps=3.",
    )(function)


# option → the configuration key that it sets
KEYS = {
    "model": "model",
    "method": "method.name",
    "trainer": "trainer.name",
    "preset": "preset",
    "data": "data.params.path",
    "tools": "data.params.tools",
    "schema": "data.params.schema",
    "prompts": "data.params.path",
    "strict": "data.params.strict",
    "teacher": "teacher.source",
    "rewriter": "rewriter.source",
    "rank": "method.params.r",
    "alpha": "method.params.alpha",
    "dropout": "method.params.dropout",
    "target": "method.params.target",
    "lr": "training.lr",
    "batch_size": "training.batch_size",
    "grad_accum": "training.grad_accum",
    "epochs": "training.epochs",
    "max_steps": "training.max_steps",
    "max_len": "training.max_len",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "start_from": "training.start_from",
    "dtype": "training.dtype",
    "seed": "seed",
    "serve_on": "serve_on",
    "convert": "convert",
}


# option → the dataset builder that it is for; the first that is given counts
BUILDERS = {"schema": "schema-texts", "tools": "user-tools", "data": "jsonl", "prompts": "prompts"}

_TRAINING = (
    click.option("--model", help="A registered base model, a directory, or a hub id."),
    click.option("--method", help="A PEFT method."),
    click.option(
        "--trainer",
        help="sft; dpo or kto of pairs; grpo of the task's score; on-policy of a teacher's words.",
    ),
    click.option("--preset", help="Named settings: demo, starter, balanced, demo+adaptive, …"),
    click.option(
        "--data", help="A JSONL file to train on instead of the task's own data; with --schema, beside it."
    ),
    click.option(
        "--tools", help="Your own tools (agentlora data import --help): OpenAPI, Python, MCP, JSON."
    ),
    click.option(
        "--schema",
        help="Your own schema, for structured-output: FILE.json, FILE.yaml, FILE.py:CLASS; FILE.xsd, FILE.elements.",
    ),
    click.option(
        "--teacher", help="Who answers the training prompts: http://host/v1#MODEL, a run, or a model."
    ),
    click.option(
        "--rewriter",
        help="Who says training requests in other words: http://host/v1#MODEL, a run, or a model.",
    ),
    click.option("--prompts", help="A JSONL file of prompts for a teacher."),
    click.option(
        "--strict", is_flag=True, default=None, help="Refuse data with a broken row; else rows are left out."
    ),
    click.option("--rank", type=int, help="Rank of the adapter."),
    click.option("--alpha", type=float, help="Scale of the adapter: alpha / rank."),
    click.option("--dropout", type=float),
    click.option("--target", help="all-linear, attention, minimal, or layer names with commas."),
    click.option("--start-from", metavar="RUN", help="Go on from what this run's adapter has learnt."),
    click.option("--lr", type=float, help="Peak learning rate."),
    click.option("--batch-size", type=int, help="Examples an update."),
    click.option("--grad-accum", type=int, help="Forward passes an update."),
    click.option("--epochs", type=float),
    click.option("--max-steps", type=int, help="Updates; overrides --epochs."),
    click.option("--max-len", type=int, help="Tokens an example; longer ones are left out."),
    click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory, more time."),
    click.option("--dtype", help="Of the frozen base: auto, float32, bfloat16."),
    click.option("--seed", type=int),
    click.option("--serve-on", help="Where it will be served: vllm, transformers, none."),
    click.option(
        "--convert", is_flag=True, default=None, help="Turn what the method trains into plain LoRA."
    ),
)


def training_options(function: F) -> F:
    """Every option that is a key of the configuration (`KEYS`), by its name."""
    for option in reversed(_TRAINING):
        function = option(function)
    return function


def layers_of(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options that were given, as layers of the configuration."""
    given = {name: value for name, value in options.items() if value is not None}
    if "data" in given and "tools" in given:
        raise click.UsageError("--data brings its own tools with every row: give --data or --tools.")
    if "prompts" in given and {"data", "tools", "schema"} & given.keys():
        raise click.UsageError("--prompts are all the data there is: leave --data, --tools and --schema out.")
    if "tools" in given and "schema" in given:
        raise click.UsageError(
            "--tools is for tool-calling, --schema for structured-output: give one of them."
        )
    keys = KEYS | ({"data": "data.params.pairs"} if "schema" in given else {})
    layers = [nested(keys[name], value) for name, value in given.items()]
    builder = next((BUILDERS[name] for name in BUILDERS if name in given), None)
    return [*layers, {"data": {"builder": builder}}] if builder else layers


def nested(key: str, value: Any) -> dict[str, Any]:
    """``training.lr`` and a value as ``{"training": {"lr": value}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def show_json(function: F) -> F:
    """``--json``, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _read(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any]:
    from agentlora.core.config import read_yaml

    return read_yaml(Path(value)) if value else {}


def _sets(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    from agentlora.core.config import parse_sets

    return parse_sets(value) if value else {}


def task_of(task: str, of: str | None) -> str:
    """The task that is trained: of a distillation, the one whose prompts are answered, where one is named."""
    if of is not None and task != "distillation":
        raise click.UsageError("--task says what a distillation is of: distillation --task TASK.")
    return of or task
