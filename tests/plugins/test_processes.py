"""Two processes train as one does, and leave one run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from agentlora.core import journal
from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.files import write_json
from agentlora.core.processes import check_processes, left_alone, process_count, process_index, shadow
from agentlora.core.run import create_run
from agentlora.core.types import Example

TOGETHER = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "agentlora",
]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
# that accelerate's configuration asks for bfloat16 changes nothing: --dtype says it
BY_ACCELERATE = [
    *ACCELERATE,
    "--multi_gpu",
    "--main_process_port",
    "0",
    "--mixed_precision",
    "bf16",
    "-m",
    "agentlora",
]
RATES = ["--lr", "5e-3", "--dtype", "float32", "--set", "training.save_steps=2"]


@pytest.fixture(scope="module")
def data(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 rows in groups of 3 and of 4: an epoch is no multiple of the batch."""
    rows = []
    for i in range(26):
        example = examples[i % len(examples)]
        (call,) = example.expected.calls
        called = {"function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))}}
        asked = {"role": "user", "content": f"{example.messages[0]['content']} ({i})"}
        messages = [asked, {"role": "assistant", "tool_calls": [called]}]
        group = example.group + ("" if i < 12 else "+")
        rows.append({"messages": messages, "tools": list(example.tools), "group": group, "weight": 1 + i % 2})
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def alone(data: Path, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that one process has trained."""
    run = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTLORA_HOME", str(run.parent / "home"))
        done = CliRunner().invoke(cli, command(data, tiny_model_dir, run, "--epochs", "2"))
    assert done.exit_code == 0, done.output
    assert len(losses(run)) == 7  # 52 rows: the last update has four
    return run


def command(data: Path, tiny: Path, output: Path, *more: str) -> list[str]:
    shares = ["--set", "data.params.dev_share=0", "--set", "data.params.test_share=0"]
    words = ["train", "tool-calling", "--data", str(data), "--model", str(tiny), "--batch-size", "8"]
    return [*words, "--output", str(output), *shares, *RATES, *more]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LD_PRELOAD": ""}


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in journal.read(run / "metrics.jsonl") if "loss" in row]


def events(run: Path) -> list[str]:
    return [f"{e['stage']} {e['event']}" for e in journal.read(run / "journal.jsonl") if "stage" in e]


def assert_same_training(run: Path, alone: Path) -> None:
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
    weights, expected = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (run, alone))
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert (weights[name] - weight).norm() <= 1e-4 * weight.norm(), name


@pytest.mark.parametrize(
    "launcher",
    [pytest.param(TOGETHER, marks=pytest.mark.slow), BY_ACCELERATE],
    ids=["torchrun", "accelerate"],
)
def test_two_processes_train_as_one_and_write_as_one(
    launcher: list[str], alone: Path, data: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    words = [*launcher, *command(data, tiny_model_dir, both, "--epochs", "2")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_training(both, alone)
    seen, expected = (
        [row["computed_tokens"] for row in journal.read(run / "metrics.jsonl") if "loss" in row]
        for run in (both, alone)
    )
    assert all(0.5 < one / other < 2 for one, other in zip(seen, expected, strict=True))  # of both processes
    assert events(both).count("train started") == events(both).count("data built") == 1
    assert done.stderr.count("train: started") == done.stdout.count("Trained tool-calling") == 1
    assert {path.name for path in both.iterdir()} == {path.name for path in alone.iterdir()}
    assert (both / "checkpoints" / "checkpoint-6" / "proof.json").is_file()
    assert len(list((both / "checkpoints" / "checkpoint-6").glob("rng_state_?.pth"))) == 2


# Starts N processes as Open MPI's does: `mpirun --hostfile FILE --npernode N -n N --bind-to socket COMMAND…`
MPIRUN = """#!{python}
import os, subprocess, sys
if "--version" in sys.argv:
    sys.exit(print("mpirun (Open MPI) 5.0.11"))
count, words = sys.argv[sys.argv.index("-n") + 1], sys.argv[sys.argv.index("--bind-to") + 2 :]
def start(index):
    told = {{"RANK": index, "SIZE": count, "LOCAL_RANK": index, "LOCAL_SIZE": count}}
    return subprocess.Popen(words, env=os.environ | {{f"OMPI_COMM_WORLD_{{key}}": said for key, said in told.items()}})
started = [start(str(index)) for index in range(int(count))]
sys.exit(max(process.wait() for process in started))
"""


@pytest.mark.slow
def test_accelerate_starts_processes_on_cpus_by_mpirun(
    alone: Path, data: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    mpirun, both = tmp_path / "mpirun", tmp_path / "both"
    mpirun.write_text(MPIRUN.format(python=sys.executable))
    mpirun.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    by_mpi = ["--cpu", "--mpirun_hostfile", "hosts", "--main_process_port", port, "-m", "agentlora"]
    words = [*ACCELERATE, *by_mpi, *command(data, tiny_model_dir, both, "--epochs", "2")]
    env = environment() | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "AGENTLORA_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "over 2 processes" in done.stderr
    assert_same_training(both, alone)
    assert events(both).count("train started") == done.stdout.count("Trained tool-calling") == 1


def test_who_trains_is_told_by_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    assert (process_index(), process_count(), left_alone()) == (0, 1, "")  # a job of MPI's that is not ours
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert (process_index(), process_count(), left_alone()) == (1, 2, "")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert process_count() == 3
    for name in ("WORLD_SIZE", "PMI_RANK", "PMI_SIZE"):
        monkeypatch.delenv(name)
    assert (process_index(), process_count()) == (0, 1)
    assert "one process trains alone" in left_alone()


def test_one_that_accelerate_left_alone_trains_and_says_so(
    data: Path, alone: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("MASTER_PORT", "29500")
    done = CliRunner().invoke(cli, command(data, tiny_model_dir, tmp_path / "run", "--epochs", "2"))
    assert done.exit_code == 0, done.output
    assert "one process trains alone" in done.stderr
    assert_same_training(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_learn_from_pairs_as_one(
    examples: list[Example], tiny_model_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {
            "messages": [{"role": "user", "content": f"{example.messages[0]['content']} ({i})"}],
            "tools": list(example.tools),
            "expected": {
                "calls": [{"name": c.name, "arguments": dict(c.arguments)} for c in example.expected.calls]
            },
            "rejected": {"text": "No."},
            "group": example.group,
            "weight": 1 + i % 2,
        }
        for i, example in enumerate(examples)
    ]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    alone, both = tmp_path / "alone", tmp_path / "both"
    more = ("--trainer", "dpo", "--epochs", "3.25")  # 39 pairs: in the last update one process has nothing
    done = CliRunner().invoke(cli, command(file, tiny_model_dir, alone, *more))
    assert done.exit_code == 0, done.output
    words = [*TOGETHER, *command(file, tiny_model_dir, both, *more)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_training(both, alone)
    told = [
        [row["margin"] for row in journal.read(run / "metrics.jsonl") if "margin" in row]
        for run in (both, alone)
    ]
    assert told[0] == pytest.approx(told[1], rel=1e-3, abs=1e-4)


def process_of(launcher: int, index: int) -> int:
    """The id of a training's process, a child of its launcher."""
    for task in Path(f"/proc/{launcher}/task").iterdir():
        for child in (task / "children").read_text().split():
            if f"RANK={index}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
    raise LookupError(f"{launcher} has no process {index}")


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_one_that_is_killed_ends_all_and_they_go_on_together(
    index: int, data: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    done = CliRunner().invoke(cli, command(data, tiny_model_dir, alone, "--max-steps", "40"))
    assert done.exit_code == 0, done.output
    words = [*TOGETHER, *command(data, tiny_model_dir, killed, "--max-steps", "40")]
    with (tmp_path / "said").open("w") as said:
        launcher = subprocess.Popen(words, env=environment(), stdout=said, stderr=said)
        deadline = time.monotonic() + 600
        while not (killed / "checkpoints" / "checkpoint-4").exists() and time.monotonic() < deadline:
            assert launcher.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.005)
        os.kill(process_of(launcher.pid, index), signal.SIGKILL)
        assert launcher.wait() != 0
    assert not (killed / "adapter").exists()
    assert "another process of this training failed or was killed" in (tmp_path / "said").read_text()
    words = [*TOGETHER, "runs", "resume", str(killed)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("going on after update") == 1
    assert_same_training(killed, alone)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"batch_size": 9}, r"cannot be divided among 2 processes.*multiple of 2 \(--batch-size\)"),
        ({"batch_size": 6, "micro_batch_size": 6}, r"multiple of 12"),
        ({"batch_size": 6, "grad_accum": 3}, r"multiple of 2 \(--grad-accum\)"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    settings: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(RunConfig, {"task": "tool-calling", "training": settings})
    check_processes(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=what):
        check_processes(config)


def test_a_shadow_reads_the_run_and_leaves_it_as_it_is(tmp_path: Path, examples: list[Example]) -> None:
    run = create_run(parse(RunConfig, {"task": "tool-calling"}), tmp_path / "run")
    run.write_examples("train", examples)
    run.checkpoints_dir.mkdir()
    (tmp_path / "other").mkdir()
    other = shadow(run, tmp_path / "other")
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    assert other.id == run.id
    assert other.examples("train") == examples
    other.note("train", "started")
    other.add_facts(base="x")
    write_json(other.adapter_dir / "adapter_config.json", {})
    assert before == {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    (other.checkpoints_dir / "rng_state_1.pth").touch()  # but of the checkpoints each writes its part
    assert (run.checkpoints_dir / "rng_state_1.pth").is_file()
