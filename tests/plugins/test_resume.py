"""A training that was interrupted, by -9 too, ends as if it had not been; what would not is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from dtypes import DTYPES
from torch.utils._pytree import tree_leaves

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import resume, train
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example, RunEvent
from agentlora.plugins.trainers.checkpoints import PROOF, is_whole, last_whole

STEPS = 9


def new_run(
    tiny: Path,
    examples: list[Example],
    directory: Path,
    method: dict[str, object] | None = None,
    **settings: object,
) -> Run:
    training = {"lr": 5e-3, "batch_size": 8, "max_steps": STEPS, "dtype": "float32", "save_steps": 2}
    training |= settings
    method = method or {"params": {"r": 4, "dropout": 0.1}}  # dropout, so that the random state matters
    config = parse(
        RunConfig, {"task": "tool-calling", "model": str(tiny), "training": training, "method": method}
    )
    run = create_run(config, directory)
    run.write_examples("train", examples)
    (run.directory / "data" / "card.json").write_text("{}")
    return run


def train_until_the_seventh(run: Run) -> None:
    """Interrupted in the seventh update, whose first pass proved checkpoint 6."""

    def interrupt(event: RunEvent) -> None:
        if event.kind == "step" and event.data["step"] == 7:
            raise KeyboardInterrupt

    run.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        train(run, default_plugins())


def rows(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


def adapter(run: Run) -> bytes:
    (weights,) = run.adapter_dir.glob("*.safetensors")
    return weights.read_bytes()


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
    run = new_run(tiny_model_dir, examples, tmp_path_factory.mktemp("interrupted") / "run")
    train_until_the_seventh(run)
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


@pytest.mark.parametrize(
    "method",
    [
        {"name": "adalora", "params": {"r": 2, "initial_r": 4}},  # importances, and ranks taken away
        {"name": "lora-plus", "params": {"r": 4}},  # groups with rates of their own
        {"name": "pissa", "params": {"r": 4}},  # a base that was changed
        {"name": "galore", "params": {"r": 8, "update_every": 4}},  # projections
        {"name": "bottleneck", "params": {"size": 8}},  # not PEFT's
        {"name": "vera", "params": {"r": 16, "dropout": 0.1}},  # random matrices
        {"name": "full"},
        {"name": "ia3"},
        {"name": "prompt-tuning"},  # in the plain layout
    ],
    ids=lambda method: method["name"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_method_goes_on_exactly(
    method: dict[str, object], dtype: str, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    whole = new_run(tiny_model_dir, examples, tmp_path / "whole", method, dtype=dtype)
    train(whole, default_plugins())
    run = new_run(tiny_model_dir, examples, tmp_path / "run", method, dtype=dtype)
    train_until_the_seventh(run)
    resume(open_run(str(run.directory)), default_plugins())
    assert '"step": 6' in (run.directory / "journal.jsonl").read_text()
    assert_same_end(run, whole)


def test_a_disk_that_is_full_while_saving_leaves_the_last_good_checkpoint(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run")
    save = torch.save

    def full(what: object, file: object, *args: object, **kwargs: object) -> None:
        if "checkpoint-6" in str(file):
            Path(str(file)).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(what, file, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(TrainError, match="no space is left on the disk"):
            train(run, default_plugins())
    assert last_whole(run.checkpoints_dir) == run.checkpoints_dir / "checkpoint-4"
    assert (run.directory / "loss.svg").is_file()
    resume(open_run(str(run.directory)), default_plugins())
    assert_same_end(run, whole)


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


def test_a_trained_run_is_merged_by_the_command(whole: Run, examples: list[Example], tmp_path: Path) -> None:
    whole.write_examples("dev", examples[:2])
    target = tmp_path / "merged"
    done = CliRunner().invoke(cli, ["merge", str(whole.directory), "--output", str(target), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["divergence"] < 1e-6
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in target.iterdir()
    }
    again = CliRunner().invoke(cli, ["merge", str(whole.directory), "--output", str(target)])
    assert isinstance(again.exception, ConfigError)
    assert "exists already" in str(again.exception)


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


def edit_settings(run: Run, part: str = "training", **settings: object) -> None:
    told = json.loads((run.directory / "run.json").read_text())
    told["config"][part] |= settings
    (run.directory / "run.json").write_text(json.dumps(told))


def edit_data(run: Run) -> None:
    """The last row alone, which the next update need not have."""
    *rows, last = (run.directory / "data" / "train.jsonl").read_text().splitlines(keepends=True)
    (run.directory / "data" / "train.jsonl").write_text("".join([*rows, last.replace("light", "lamp")]))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edit_data, r"data/train\.jsonl was changed\. Bring that back"),
        (lambda run: edit_settings(run, lr=0.05), r"training\.lr is 0\.05 and was 0\.005"),
        (
            lambda run: edit_settings(run, max_steps=20, weight_decay=0.5),
            r"training\.max_steps is 20 and was 9; training\.weight_decay is 0\.5 and was 0\.0",
        ),
        (lambda run: edit_settings(run, grad_accum=2), r"training\.grad_accum is 2 and was None"),
        (
            lambda run: edit_settings(run, "method", params={"r": 4, "dropout": 0.1, "alpha": 64}),
            r"method\.params\.alpha is 64 and was None",
        ),
    ],
    ids=["data", "rate", "two settings", "one that was not set", "one of the method's"],
)
def test_other_data_or_settings_are_refused(
    edit: Callable[[Run], None], said: str, interrupted: Run, whole: Run
) -> None:
    edit(interrupted)
    with pytest.raises(
        TrainError, match=f"cannot go on from checkpoint-6, which another one saved: .*{said}"
    ):
        resume(open_run(str(interrupted.directory)), default_plugins())
    assert not interrupted.adapter_dir.exists()


def test_a_checkpoint_that_says_nothing_of_its_settings_goes_on(interrupted: Run) -> None:
    """As older versions wrote it."""
    proof = interrupted.checkpoints_dir / "checkpoint-6" / PROOF
    said = json.loads(proof.read_text())
    assert said["made_of"]["method.params.r"] == 4
    del said["made_of"]
    proof.write_text(json.dumps(said))
    edit_settings(interrupted, max_steps=8)
    resume(open_run(str(interrupted.directory)), default_plugins())
    assert [row["step"] for row in rows(interrupted)[1:]] == list(range(1, 9))


def test_what_else_lies_there_stops_no_resumption(interrupted: Run, whole: Run) -> None:
    (interrupted.checkpoints_dir / "checkpoint-best1").mkdir()
    with interrupted.metrics_file.open("ab") as file:
        file.write(b"\0" * 100 + b"\xff\n[7]\n")  # as a disk that failed leaves it
    resume(interrupted, default_plugins())
    assert_same_end(interrupted, whole)


@pytest.mark.parametrize(("key", "value"), [("micro_batch_size", None), ("loss", None), ("threads", "four")])
def test_a_proof_that_lacks_something_is_none(key: str, value: object, interrupted: Run) -> None:
    proof = interrupted.checkpoints_dir / "checkpoint-6" / PROOF
    proof.write_text(json.dumps(json.loads(proof.read_text()) | {key: value}))
    assert last_whole(interrupted.checkpoints_dir) == interrupted.checkpoints_dir / "checkpoint-4"


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


def test_eight_bit_states_are_restored(tiny_model_dir: Path, examples: list[Example], tmp_path: Path) -> None:
    method: dict[str, object] = {"params": {"r": 64}}  # small tensors keep their states in float32
    settings = {"method": method, "optimizer": "adamw-8bit"}
    whole = new_run(tiny_model_dir, examples, tmp_path / "whole", **settings)
    train(whole, default_plugins())
    torn = new_run(tiny_model_dir, examples, tmp_path / "torn", **settings)
    train_until_the_seventh(torn)
    state = torch.load(torn.checkpoints_dir / "checkpoint-6" / "optimizer.pt", weights_only=False)["state"]
    kinds = {leaf.dtype for leaf in tree_leaves(dict(state)) if isinstance(leaf, torch.Tensor)}
    assert torch.uint8 in kinds
    resume(open_run(str(torn.directory)), default_plugins())
    assert_same_end(torn, whole)


def test_a_training_from_easy_to_hard_goes_on_exactly(
    tiny_model_dir: Path, examples: list[Example], whole: Run, tmp_path: Path
) -> None:
    ordered = new_run(tiny_model_dir, examples, tmp_path / "whole", order="easy-first")
    train(ordered, default_plugins())
    assert adapter(ordered) != adapter(whole)
    run = new_run(tiny_model_dir, examples, tmp_path / "run", order="easy-first")
    train_until_the_seventh(run)
    resume(open_run(str(run.directory)), default_plugins())
    assert_same_end(run, ordered)
