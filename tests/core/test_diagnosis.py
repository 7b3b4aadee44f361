"""`runs diagnose`: each fault is named with its evidence and the setting to change, and a sound run has none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core import journal, oom
from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.diagnosis import diagnose
from agentlora.core.errors import ConfigError
from agentlora.core.findings import Finding
from agentlora.core.run import Run, create_run, open_run

CONFIG = parse(RunConfig, {"task": "x", "training": {"lr": 1e-3, "epochs": 3.0}})
BUILT = {"event": "built", "stage": "data", "train": 1000}


def rows(losses: list[float]) -> list[dict[str, Any]]:
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses, 1)]


def falling(to: float = 0.2, n: int = 100) -> list[float]:
    return [to + 2 * math.exp(-i / 15) for i in range(n)]


def findings(losses: list[float], status: str = "train finished", *events: dict[str, Any]) -> list[Finding]:
    return diagnose(CONFIG, status, [BUILT, *events], rows(losses))


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_a_sound_run_has_no_findings() -> None:
    assert findings(falling()) == []
    assert findings([2.0, 1.9]) == []  # too short to judge
    assert findings(falling(), "train finished", {"event": "data", "too_long": 10}) == []


def test_a_flat_loss_asks_for_a_higher_rate() -> None:
    found = only(findings([2.0 + 0.05 * (-1) ** i for i in range(60)]))
    assert found.problem == "not learning"
    assert found.change.startswith("training.lr=0.003 (now 0.001)")


def test_a_jump_asks_for_a_lower_rate() -> None:
    losses = falling()
    losses[60:64] = [9.0, 8.0, 0.5, 7.0]
    found = only(findings(losses))
    assert (found.problem, found.change) == ("unstable", "training.lr=0.0005 (now 0.001)")
    assert "from update 61" in found.seen


def test_one_update_of_other_examples_is_no_jump() -> None:
    losses = falling()
    losses[60] = losses[70] = 9.0
    assert findings(losses) == []


def test_examples_known_by_heart_are_overfitting() -> None:
    assert only(findings(falling(to=0.001))).problem == "overfitting"


@pytest.mark.parametrize(
    ("dev", "overfits"),
    [
        ([1.0, 0.8, 0.9, 1.0], True),
        ([1.0, 0.8, 0.9, 0.82], False),  # the last look is nearly the best again
        ([1.0, 0.8, 0.7, 0.9], False),  # risen once only
        ([1.0, 0.9, 0.8, 0.7], False),
    ],
)
def test_a_loss_on_dev_that_rises_is_overfitting(dev: list[float], overfits: bool) -> None:
    looks = [{"step": 25 * i, "dev_loss": loss} for i, loss in enumerate(dev, 1)]
    found = diagnose(CONFIG, "train finished", [BUILT], rows(falling(to=0.001)) + looks)
    assert [finding.problem for finding in found] == ["overfitting"] * overfits
    if found:
        assert "was 0.8 at update 50 and is 1 at update 100" in found[0].seen
        assert found[0].change == "training.max_steps=50, or more examples"
    # of a training that does not fall either, that is no overfitting
    assert [f.problem for f in diagnose(CONFIG, "x", [], rows([2.0] * 100) + looks)] == ["not learning"]


def test_a_gradient_that_was_missed_is_kept_in_the_journal() -> None:
    warned = {"event": "warning", "problem": "no gradient", "seen": "a", "change": "b", "why": "c"}
    assert findings(falling(), "train finished", warned) == [Finding("no gradient", "a", "b", "c")]


@pytest.mark.parametrize(
    ("reason", "problem", "change"),
    [
        ("TrainError: the loss became nan at update 4.", "unstable", "training.lr=0.0003"),
        (
            "TrainError: the loss is nan before the first update. Change method.params.alpha to less (now 9000).",
            "unstable",
            "method.params.alpha to less",
        ),
        ("TrainError: memory ran out during training", "out of memory", "training.micro_batch_size=8"),
        ("TrainError: no token is left", "failed", "what the reason names"),
        ("KeyboardInterrupt: ", "interrupted", "agentlora runs resume"),
    ],
)
def test_a_failure_is_explained(reason: str, problem: str, change: str) -> None:
    event = {"event": "failed", "stage": "train", "reason": reason}
    found = only(findings([2.0] * 4, "train failed", event))
    assert found.problem == problem
    assert change in found.change
    assert problem == "interrupted" or found.seen == reason


@pytest.mark.parametrize(("micro", "smaller"), [(4, 2), (3, 2), (1, 0)])
def test_a_lack_of_memory_asks_for_the_next_pass_that_divides_an_update(micro: int, smaller: int) -> None:
    layout = {"event": "layout", "stage": "train", "micro_batch_size": micro}
    event = {"event": "failed", "stage": "train", "reason": "TrainError: memory ran out during training"}
    found = only(findings([2.0] * 4, "train failed", layout, event))
    wanted = f"training.micro_batch_size={smaller}" if smaller else "training.max_len=512"
    assert found.change.startswith(wanted)


def test_the_length_that_examples_have_is_halved_and_not_the_one_they_may_have() -> None:
    layout = {"event": "layout", "stage": "train", "micro_batch_size": 1}
    data = {"event": "data", "stage": "train", "too_long": 0, "longest": 220}
    event = {"event": "failed", "stage": "train", "reason": "TrainError: memory ran out during training"}
    found = only(findings([2.0] * 4, "train failed", data, layout, event))
    assert found.change.startswith("training.max_len=110 (now 1024; the longest example has 220 tokens")


def test_a_killed_training_and_long_examples_are_named() -> None:
    killed, dropped = findings([2.0] * 5, "train interrupted", {"event": "data", "too_long": 370})
    assert killed.problem == "interrupted"
    assert "after 5 updates" in killed.seen
    assert dropped.seen == "370 of 1,000 examples are longer than 1024 tokens"


def test_data_that_was_begun_and_is_not_there_is_named() -> None:
    found = only(findings([], "data interrupted"))
    assert found.problem == "interrupted"
    assert "agentlora runs resume" in found.change
    assert findings([], "data running") == []


def test_what_the_system_killed_for_memory_is_told_apart_from_other_kills(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layout = {"event": "layout", "micro_batch_size": 4}
    found = only(diagnose(CONFIG, "train interrupted", [layout], rows([2.0] * 5), kills=1))
    assert found.problem == "out of memory"
    assert "it had micro_batch_size=4, max_len=1024" in found.seen
    assert found.change.startswith("training.micro_batch_size=2 (now 4)")
    predicted = {"weights": 2 * 10**9, "activations": 6 * 10**9}
    found = only(diagnose(CONFIG, "train interrupted", [layout], rows([2.0] * 5), kills=1, memory=predicted))
    assert found.seen.endswith("Predicted were 8.00 GB (activations 6.00, weights 2.00)")

    monkeypatch.setattr(oom, "VMSTAT", tmp_path / "vmstat")
    assert oom.kills_since(3) == 0  # a system that does not say
    oom.VMSTAT.write_text("nr_free_pages 7\noom_kill 5\n")
    assert (oom.kills_since(3), oom.kills_since(5), oom.kills_since(9), oom.kills_since(None)) == (2, 0, 0, 0)
    run.add_facts(oom_kills=3)
    journal.append(run.directory / "journal.jsonl", "started", stage="train")  # and no end of it
    shown = CliRunner().invoke(cli, ["runs", "diagnose", str(run.directory)])
    assert "the system has ended 2 process(es) for lack of memory" in shown.output


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create_run(CONFIG, tmp_path / "run")
    with run.stage("train"):
        for row in rows([2.0] * 30):
            journal.append(run.metrics_file, "step", **row)
    return run


def test_the_command_shows_findings(run: Run) -> None:
    shown = CliRunner().invoke(cli, ["runs", "diagnose", str(run.directory)])
    assert shown.exit_code == 0, shown.output
    assert "not learning: the loss was 2 in the first 5 updates and 2 in the last." in shown.output


def test_a_run_is_removed_unless_it_is_at_work(run: Run) -> None:
    with run.alone():
        refused = CliRunner().invoke(cli, ["runs", "rm", "last", "--yes"])
    assert isinstance(refused.exception, ConfigError)
    assert run.directory.is_dir()
    kept = CliRunner().invoke(cli, ["runs", "rm", "last"], input="n\n")
    assert kept.exit_code == 0
    assert run.directory.is_dir()
    unknown = CliRunner().invoke(cli, ["runs", "rm", "last", "runn", "--yes"])
    assert isinstance(unknown.exception, ConfigError)
    assert run.directory.is_dir()  # nothing is deleted where one is unknown
    assert CliRunner().invoke(cli, ["runs", "rm", "last", "--yes"]).exit_code == 0
    assert not run.directory.exists()
    with pytest.raises(ConfigError):
        open_run("last")
