"""An evaluation as a stage of a run: it is alone, it is counted, and what it replaces stays until it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example, Expected, GenerateRequest, Output
from agentlora.eval.engines.echo import EchoEngine
from agentlora.plugins.bases.resolve import resolve_base


@pytest.fixture
def run(tiny_model_dir: Path, tmp_path: Path) -> Run:
    """A run with an adapter, which the engine ``echo`` never looks into, and three test examples."""
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    config = {"task": "distillation", "model": str(tiny_model_dir), "eval": {"engine": "echo", "probes": 12}}
    made = create_run(parse(RunConfig, config), tmp_path / "run")
    asked = [
        Example(str(n), ({"role": "user", "content": f"word {n}"},), Expected(text=f"word {n}"))
        for n in range(3)
    ]
    for split, rows in {"train": [], "dev": [], "test": asked}.items():
        made.write_examples(split, rows)  # type: ignore[arg-type]  # a key of the mapping is a str
    digests = {split: split_digest(rows) for split, rows in {"train": [], "dev": [], "test": asked}.items()}
    write_json(made.directory / "data" / "card.json", {"digest": digests})
    made.adapter_dir.mkdir()
    (made.adapter_dir / "adapter_config.json").write_text("{}")
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


def test_a_reading_of_test_that_is_killed_was_a_reading(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: EchoEngine, requests: Sequence[GenerateRequest]) -> list[Output]:
        raise KeyboardInterrupt

    plugins = default_plugins()
    assert evaluate(run, plugins).data["test_readings"] == 1
    with monkeypatch.context() as patched:
        patched.setattr(EchoEngine, "generate", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(run, plugins)
    assert evaluate(run, plugins).data["test_readings"] == 2  # it goes on, and reads what it read
    assert evaluate(run, plugins).data["test_readings"] == 3


def test_two_evaluations_of_a_run_do_not_mix(run: Run) -> None:
    with open_run(str(run.directory)).alone(), pytest.raises(ConfigError, match="another process is at work"):
        evaluate(run, default_plugins())
    assert not run.eval_dir.exists()


def test_the_old_record_stays_where_the_new_one_cannot_be_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = default_plugins()
    old = evaluate(run, plugins)

    def broken(*args: Any) -> str:
        raise RuntimeError("no report today")

    monkeypatch.setattr("agentlora.eval.report.markdown", broken)
    with pytest.raises(RuntimeError, match="no report today"):
        evaluate(run, plugins)
    assert json.loads((run.eval_dir / "record.json").read_text()) == old.to_dict()


def test_probes_are_asked_recorded_and_written(run: Run) -> None:
    plugins = default_plugins()
    record = evaluate(run, plugins)
    assert record.probes is not None
    assert (record.probes.n, record.probes.unscored) == (12, None)
    assert record.probes.difference.mean == 0  # the echo does not listen to its adapters
    lines = [json.loads(line) for line in (run.eval_dir / "probes.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    for line in lines:
        assert len(line["base"]["log_probs"]) == len(line["choices"])
    for name in ("report.html", "report.md"):
        assert "General-ability probes (12 of " in (run.eval_dir / name).read_text()
    more = evaluate(run, plugins, probes=20)
    assert more.probes is not None
    assert more.probes.n == 20
    assert evaluate(run, plugins, probes=0).probes is None
    assert (run.eval_dir / "probes.jsonl").read_text() == ""


def test_the_command_line_says_how_many_probes(run: Run) -> None:
    where = str(run.directory)
    told = CliRunner().invoke(cli, ["eval", where, "--probes", "15", "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["probes"]["n"] == 15
    told = CliRunner().invoke(cli, ["eval", where], catch_exceptions=False)
    assert "General-ability probes (12 of " in told.stdout
    told = CliRunner().invoke(cli, ["eval", where, "--probes", "many"], catch_exceptions=False)
    assert told.exit_code == 2
    assert "'--probes': give a number of probes, all, or 0 for none." in " ".join(told.output.split())
