"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
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


def show_json(function: F) -> F:
    """``--json``, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _read(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any]:
    from agentlora.core.config import read_yaml

    return read_yaml(Path(value)) if value else {}


def _sets(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    from agentlora.core.config import parse_sets

    return parse_sets(value) if value else {}
