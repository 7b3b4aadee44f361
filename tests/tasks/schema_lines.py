"""A small skill for a schema, trained and evaluated on the tiny model by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from agentlora.core.cli import cli

SETTINGS = {
    "data.params.examples": 16, "data.params.dev_examples": 4, "data.params.test_examples": 6,
    "training.max_steps": 2, "training.batch_size": 8, "training.eval_steps": 0, "eval.max_new_tokens": 8,
    "training.max_len": 4096, "data.replay": 0,
}  # fmt: skip


def trained_and_evaluated(source: str, model: Path, run: Path) -> tuple[str, dict[str, Any]]:
    """(what the training said, the record of the evaluation)"""
    command = ["train", "structured-output", "--schema", source, "--model", str(model), "--output", str(run)]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    runner = CliRunner()
    trained = runner.invoke(cli, command)
    assert trained.exit_code == 0, trained.output
    evaluated = runner.invoke(cli, ["eval", str(run), "--engine", "transformers", "--probes", "0"])
    assert evaluated.exit_code == 0, evaluated.output
    return trained.output, json.loads((run / "eval" / "record.json").read_text())
