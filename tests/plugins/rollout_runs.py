"""Runs of trainers that learn from what the model writes, on the tiny model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import resume
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example
from agentlora.plugins.bases.resolve import resolve_base


def new_run(
    tiny: Path,
    examples: Sequence[Example],
    directory: Path,
    trainer: str,
    params: Any,
    more: Any = None,
    **training: Any,
) -> Run:
    settings = {"lr": 2e-2, "batch_size": 2, "max_steps": 6, "dtype": "float32", "save_steps": 2, **training}
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(tiny),
            "training": settings,
            "trainer": {"name": trainer, "params": params},
            "method": {"params": {"r": 4}},
            **(more or {}),
        },
    )
    run = create_run(config, directory)
    run.write_examples("train", examples)
    (run.directory / "data" / "card.json").write_text("{}")
    return run


def fit(run: Run, examples: Sequence[Example]) -> list[dict[str, Any]]:
    plugins = default_plugins()
    base = resolve_base(run.config.model, plugins, run.directory)
    trainer = plugins.get("trainers", run.config.trainer.name)
    trainer.fit(run, base, plugins.get("peft_methods", run.config.method.name), examples)
    return rows_of(run)


def learnt_by_heart(model_dir: Path, examples: Sequence[Example], directory: Path, updates: int) -> Run:
    """A run that has learnt the answers."""
    run = new_run(model_dir, examples, directory, "sft", {}, batch_size=4, max_steps=updates, lr=1e-2)
    fit(run, examples)
    return run


def fit_interrupted(run: Run, examples: Sequence[Example], step: int) -> list[dict[str, Any]]:
    """Ctrl-C after update `step`, and then a resume."""

    def interrupt(event: Any) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise KeyboardInterrupt

    run.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        fit(run, examples)
    run.emit = lambda event: None
    resume(run, default_plugins())
    assert f"going on after update {step - 1}" in (run.directory / "journal.jsonl").read_text()
    return rows_of(run)


def rows_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]
