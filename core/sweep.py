"""A sweep: one run for every combination of settings, compared on dev."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig, parse_sets
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import evaluate, take
from agentlora.core.files import read_json
from agentlora.core.libraries import free_memory
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import build, resume, train
from agentlora.core.run import Run, create_run, kept_if_begun, open_run
from agentlora.core.types import RunEvent

MOST = 64  # runs


@dataclass(frozen=True)
class Member:
    """A run of a sweep: what is its own (``rank=8 lr=0.001``) and where it lies."""

    label: str
    config: RunConfig
    directory: Path


def combinations(grids: Iterable[str], keys: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """(label, layer of the configuration) of every combination of ``["rank=8,16", "training.lr=1e-3,2e-3"]``. Where a
    grid has a semicolon, values end there and may have commas: ``target=q_proj,v_proj;all-linear``.

    Args:
        keys: short names of configuration keys.

    Raises:
        ConfigError: a grid without values, a key given twice, or more than 64 combinations.
    """
    axes: list[list[tuple[str, str, str]]] = []
    for grid in grids:
        key, equals, values = grid.partition("=")
        given = [value.strip() for value in values.removesuffix(";").split(";" if ";" in values else ",")]
        if not equals or not key or not all(given):
            raise ConfigError(
                f"--grid {grid!r}: write key=value,value, for example rank=8,16; values with commas end in semicolons: "
                "target=q_proj,v_proj;all-linear."
            )
        full = keys.get(key.replace("-", "_"), key)
        if full in (axis[0][1] for axis in axes):
            raise ConfigError(f"--grid {grid!r}: {full} has a grid already; give its values in one.")
        axes.append([(key, full, value) for value in dict.fromkeys(given)])
    found = list(product(*axes))
    if len(found) > MOST:
        raise ConfigError(
            f"the grids have {len(found)} combinations, and a sweep trains at most {MOST}. Give fewer values."
        )
    return [
        (
            " ".join(f"{key}={value}" for key, _, value in chosen),
            parse_sets([f"{full}={value}" for _, full, value in chosen]),
        )
        for chosen in found
    ]


def members_of(resolved: Iterable[tuple[str, RunConfig]], output: Path) -> list[Member]:
    """The runs of a sweep under `output`, numbered in the order of the grid."""
    return [
        Member(label, config, output / f"{number:02d}-{label.replace(' ', '-').replace('/', '-')}")
        for number, (label, config) in enumerate(resolved, 1)
    ]


def run_member(
    member: Member,
    plugins: Plugins,
    emit: Callable[[RunEvent], None],
    *,
    engine_name: str | None = None,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Train and evaluate a member on dev; what an earlier, interrupted sweep has done of it is kept.

    Raises:
        ConfigError: the directory holds a run of other settings.
        TrainError, EvalError: as `train` and `evaluate`.
    """
    if (member.directory / "run.json").is_file():
        run = open_run(str(member.directory), emit)
        if run.config.model_dump(exclude={"eval"}) != member.config.model_dump(exclude={"eval"}):
            raise ConfigError(
                f"{str(member.directory)!r} holds a run of other settings than {member.label}. Choose another --output."
            )
        if not run.adapter_dir.is_dir():
            resume(run, plugins)
    else:
        run = create_run(member.config, member.directory, emit)
        with kept_if_begun(run):
            build(run, plugins)
            train(run, plugins)
    free_memory()
    wanted = len(take(run.examples("dev"), limit or run.config.eval.limit))
    if _record(run).get("n_all") != wanted:
        evaluate(run, plugins, engine_name=engine_name, split="dev", limit=limit, probes=0, options=options)
    return run


def _record(run: Run) -> dict[str, Any]:
    file = run.directory / "eval-dev" / "record.json"
    return read_json(file) if file.is_file() else {}
