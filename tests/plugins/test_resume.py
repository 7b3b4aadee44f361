"""A training that was interrupted, by -9 too, ends as if it had not been; what would not is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import resume, train
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example, RunEvent
from agentlora.plugins.trainers.checkpoints import PROOF, is_whole, last_whole

STEPS = 9


def new_run(tiny: Path, examples: list[Example], directory: Path) -> Run:
    training = {"lr": 5e-3, "batch_size": 8, "max_steps": STEPS, "dtype": "float32", "save_steps": 2}
    method = {"params": {"r": 4, "dropout": 0.1}}  # dropout, so that the random state matters
    config = parse(
        RunConfig, {"task": "tool-calling", "model": str(tiny), "training": training, "method": method}
    )
    run = create_run(config, directory)
    run.write_examples("train", examples)
    (run.directory / "data" / "card.json").write_text("{}")
    return run


def rows(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


def adapter(run: Run) -> bytes:
    return (run.adapter_dir / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained without an interruption."""
    run = new_run(tiny_model_dir, examples, tmp_path_factory.mktemp("whole") / "run")
    train(run, default_plugins())
    return run


@pytest.fixture(scope="module")
def interrupted_once(
    tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Interrupted in the seventh update, whose first pass proved checkpoint 6."""
    run = new_run(tiny_model_dir, examples, tmp_path_factory.mktemp("interrupted") / "run")

    def interrupt(event: RunEvent) -> None:
        if event.kind == "step" and event.data["step"] == 7:
            raise KeyboardInterrupt

    run.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        train(run, default_plugins())
    return run.directory


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Run:
    return open_run(str(shutil.copytree(interrupted_once, tmp_path / "run")))


def assert_same_end(run: Run, whole: Run) -> None:
    assert [row["step"] for row in rows(run)[1:]] == list(range(1, STEPS + 1))
    for one, other in zip(rows(run)[1:], rows(whole)[1:], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6, abs=1e-9)
        assert one["lr"] == other["lr"]
    assert adapter(run) == adapter(whole)


def test_an_interrupted_training_ends_like_a_whole_one(interrupted: Run, whole: Run) -> None:
    assert not interrupted.adapter_dir.exists()
    with interrupted.metrics_file.open("a") as file:
        file.write('{"step": 8, "lo')  # half a row, as a kill leaves it
    resume(interrupted, default_plugins())
    assert_same_end(interrupted, whole)
    assert '"step": 6' in (interrupted.directory / "journal.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"is trained\. Next: agentlora eval"):
        resume(interrupted, default_plugins())


@pytest.mark.parametrize("harm", ["no proof", "cut", "half a proof", "missing"])
def test_a_torn_checkpoint_is_passed_over(harm: str, interrupted: Run, whole: Run) -> None:
    last = interrupted.checkpoints_dir / "checkpoint-6"
    assert is_whole(last)
    if harm == "no proof":
        (last / PROOF).unlink()
    elif harm == "half a proof":
        (last / PROOF).write_bytes((last / PROOF).read_bytes()[:40])
    elif harm == "missing":
        (last / "scheduler.pt").unlink()
    else:
        os.truncate(last / "optimizer.pt", 1000)
    assert last_whole(interrupted.checkpoints_dir) == interrupted.checkpoints_dir / "checkpoint-4"
    if harm == "cut":
        resume(interrupted, default_plugins())
        assert_same_end(interrupted, whole)
        assert is_whole(interrupted.checkpoints_dir / "checkpoint-8")


def test_without_a_checkpoint_it_begins_anew(interrupted: Run, whole: Run) -> None:
    shutil.rmtree(interrupted.checkpoints_dir)
    resume(interrupted, default_plugins())
    assert_same_end(interrupted, whole)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("ids", "0" * 64, "next examples are not those"),
        ("loss", 0.5, "next loss is .* and was 0.5"),
        ("optimizer", "0" * 64, "optimizer differ from those that were saved"),
        ("parameters", "0" * 64, "parameters differ"),
    ],
)
def test_what_is_not_as_it_was_is_refused(key: str, value: object, what: str, interrupted: Run) -> None:
    proof = interrupted.checkpoints_dir / "checkpoint-6" / PROOF
    proof.write_text(json.dumps(json.loads(proof.read_text()) | {key: value}))
    before = (interrupted.checkpoints_dir / "checkpoint-6" / "optimizer.pt").read_bytes()
    with pytest.raises(TrainError, match=f"cannot be resumed exactly.*{what}"):
        resume(interrupted, default_plugins())
    assert not interrupted.adapter_dir.exists()
    assert (interrupted.checkpoints_dir / "checkpoint-6" / "optimizer.pt").read_bytes() == before


def test_another_base_is_refused(interrupted: Run, tmp_path: Path) -> None:
    facts = json.loads((interrupted.directory / "run.json").read_text())
    facts["base"]["weights"] = "0" * 64
    (interrupted.directory / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="its weights changed since"):
        resume(interrupted, default_plugins())


def test_a_run_is_trained_by_one_process_at_a_time(interrupted: Run) -> None:
    with interrupted.alone(), pytest.raises(ConfigError, match="another process is at work"):
        resume(interrupted, default_plugins())


def test_killed_with_9_and_resumed_from_the_command_line(
    whole: Run, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run")
    command = [sys.executable, "-m", "agentlora", "runs", "resume", str(run.directory)]
    env = os.environ | {"LD_PRELOAD": ""}  # the process that is killed is the one that trains
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (run.checkpoints_dir / "checkpoint-4").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not run.adapter_dir.exists()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on after update" in done.stderr
    assert_same_end(run, whole)
