"""`agentlora publish --serve-on` converts what cannot be served there, evaluates it as before, and publishes that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import ConfigError, GateRefused
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import read_json, write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example
from agentlora.eval.record import Record
from agentlora.registry.servable import vllm_problems
from agentlora.registry.store import open_registry

ASKED = 3  # of four test examples


def trained(method: str, lr: float, tiny: Path, examples: list[Example], directory: Path) -> Run:
    raw = {
        "task": "tool-calling",
        "model": str(tiny),
        "training": {"lr": lr, "batch_size": 8, "max_steps": 4, "dtype": "float32", "eval_steps": 0},
        "method": {"name": method, "params": {} if method == "full" else {"r": 4}},
        "eval": {"engine": "transformers", "max_new_tokens": 4},
        "serve_on": "transformers",
    }
    run = create_run(parse(RunConfig, raw), directory)
    rows = [replace(example, tags={**example.tags, "tools": "new"}) for example in examples]
    splits: dict[Any, list[Example]] = {"train": rows[:4], "dev": rows[4:8], "test": rows[8:]}
    for split, some in splits.items():
        run.write_examples(split, some)
    digests = {split: split_digest(some) for split, some in splits.items()}
    write_json(run.directory / "data" / "card.json", {"digest": digests})
    train(run, default_plugins())
    return run


@pytest.fixture(scope="module")
def runs(
    tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """By method: a run that was trained."""
    place = tmp_path_factory.mktemp("trained")
    return {
        method: trained(method, lr, tiny_model_dir, examples, place / method).directory
        for method, lr in (("full", 1e-4), ("dora", 2e-2))
    }


@pytest.fixture
def evaluated(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """``evaluated(method)``: a copy of its run, evaluated in a way that its configuration does not say. The gate is not
    to ask whether it is better, which nothing so small is.
    """
    monkeypatch.setattr("agentlora.registry.gate._judge_figures", lambda *a: [])

    def _evaluated(method: str) -> Run:
        run = open_run(str(shutil.copytree(runs[method], tmp_path / method)))
        evaluate(run, default_plugins(), limit=ASKED, probes=6, evaluators=["latency"])
        return run

    return _evaluated


def publish(run: Run, *options: str) -> Result:
    return CliRunner().invoke(cli, ["publish", str(run.directory), "--json", *options])


def record_of(run: Run) -> Record:
    return Record.load(run.eval_dir / "record.json")


def test_a_model_of_its_own_is_published_as_lora_with_its_error(evaluated: Callable[[str], Run]) -> None:
    run = evaluated("full")
    before = record_of(run)
    assert run.kind == "model"
    done = publish(run, "--serve-on", "vllm")
    assert done.exit_code == 0, done.exception
    told = json.loads(done.stdout)
    again = open_run(str(run.directory))
    assert (again.kind, again.config.convert, again.config.serve_on) == ("adapter", True, "vllm")
    assert (again.directory / "adapter-as-trained" / "config.json").is_file()
    assert told["conversion"] == again.facts()["conversion"]
    assert 1e-9 < told["conversion"]["divergence"] < 0.02

    now = record_of(again)
    assert now.adapter == adapter_digest(again) != before.adapter
    assert (now.engine, now.n_all, now.probes and now.probes.n) == ("transformers", ASKED, 6)
    assert now.data["examples"] == before.data["examples"]
    assert now.provenance["evaluators"] == before.provenance["evaluators"]
    assert now.provenance["evaluators"][0]["name"] == "latency"
    assert [c.cached for c in now.conditions if c.adapter is None] == [
        ASKED
    ] * 3  # nobody asks the base again

    version = open_registry().resolve("tool-calling@prod")
    assert (version.card.kind, version.card.serve_on) == ("adapter", "vllm")
    assert version.card.conversion == told["conversion"]
    settings = read_json(open_registry().materialise(version) / "adapter_config.json")
    assert vllm_problems(settings) == []


def test_what_was_killed_before_it_was_evaluated_goes_on(
    evaluated: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated("dora")
    rank = ["--rank", "64"]

    def killed(*_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("agentlora.core.publishing.evaluate", killed)
        assert publish(run, "--serve-on", "vllm", *rank).exit_code != 0
    converted = open_run(str(run.directory))
    digest = adapter_digest(converted)
    assert (converted.config.convert, record_of(run).adapter == digest) == (True, False)

    plain = publish(run)  # nobody said that it is to be evaluated
    assert isinstance(plain.exception, GateRefused)
    assert "the weights changed after the evaluation" in str(plain.exception)
    other = publish(run, "--serve-on", "vllm", "--rank", "3")
    assert "'dora' was converted already" in str(other.exception)
    assert record_of(run).adapter != digest

    done = publish(run, "--serve-on", "vllm", *rank)
    assert done.exit_code == 0, done.exception
    assert record_of(run).adapter == digest == adapter_digest(converted)
    assert record_of(run).n_all == ASKED
    with monkeypatch.context() as patched:
        patched.setattr("agentlora.core.publishing.evaluate", killed)  # it has its record
        assert json.loads(publish(run, "--serve-on", "vllm").stdout)["existing"] is True


def test_what_the_gate_refuses_stays_converted(
    evaluated: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated("dora")
    monkeypatch.undo()  # nothing so small is better than its base
    monkeypatch.setenv("AGENTLORA_HOME", str(run.directory.parent / "home"))
    refused = publish(run, "--serve-on", "vllm")
    assert isinstance(refused.exception, GateRefused)
    again = open_run(str(run.directory))
    assert (again.config.convert, again.status()) == (True, "publish refused")
    assert (again.directory / "adapter-as-trained").is_dir()
    assert record_of(again).adapter == adapter_digest(again)


def test_above_the_bound_nothing_is_changed(evaluated: Callable[[str], Run]) -> None:
    run = evaluated("dora")
    files = {path: path.read_bytes() for path in (run.directory / "run.json", run.eval_dir / "record.json")}
    digest = adapter_digest(run)
    refused = publish(run, "--serve-on", "vllm", "--rank", "1")
    assert isinstance(refused.exception, ConfigError)
    assert "at most 0.02 may be lost: choose a higher --rank. Nothing was changed." in str(refused.exception)
    assert {path: path.read_bytes() for path in files} == files
    assert adapter_digest(run) == digest
    assert not (run.directory / "adapter-as-trained").exists()
    assert open_registry().aliases("tool-calling") == {}
