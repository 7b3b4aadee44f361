"""``benchmarks/skill.py`` trains, evaluates and asks the gate, and prints what a finished run's files say."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.errors import ConfigError
from agentlora.core.provenance import machine_text

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ROWS = 40


@pytest.fixture(scope="module")
def skill() -> Iterator[ModuleType]:
    """The script; the commands that it gives run in this process, which has imported torch once and for all."""
    spec = importlib.util.spec_from_file_location("skill_benchmark", BENCHMARKS / "skill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    def run(command: list[str], stdout: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", "agentlora"]
        done = CliRunner().invoke(cli, command[3:])
        assert done.exit_code in (0, 3), done.output
        return subprocess.CompletedProcess(command, done.exit_code)

    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(BENCHMARKS)  # where the script finds its neighbours
        spec.loader.exec_module(module)
        patched.setattr(module, "subprocess", SimpleNamespace(run=run))
        yield module


def printed(skill: ModuleType, *words: str) -> str:
    """What the script prints, for it ends well."""
    out = StringIO()
    with redirect_stdout(out), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["skill.py", *words])
        assert skill.main() == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def made(
    skill: ModuleType, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """(a run that the script made of the tiny model, what it printed). The engine ``echo`` calls the first tool without
    arguments, as half of the rows expect.
    """
    folder = tmp_path_factory.mktemp("skill")
    tool = {
        "type": "function",
        "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}},
    }
    asked = [
        {
            "messages": [{"role": "user", "content": f"ring {n}"}],
            "tools": [tool],
            "expected": {"calls": [{"name": "ring", "arguments": {}}]}
            if n % 2
            else {"text": f"No bell {n}."},
        }
        for n in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, asked)))
    settings = {
        "model": tiny_model_dir,
        "data.builder": "jsonl",
        "data.params": json.dumps({"path": str(folder / "rows.jsonl"), "dev_share": 0.1, "test_share": 0.5}),
        "training": json.dumps({"max_steps": 2, "batch_size": 4, "eval_steps": 1}),
        "eval": json.dumps({"engine": "echo", "probes": 0}),
        "serve_on": "none",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AGENTLORA_HOME", str(folder / "home"))
        said = printed(skill, "tool-calling", "--preset", "balanced", "--output", str(folder / "run"), *words)
    return folder / "run", said


@pytest.fixture
def copy(made: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


def test_what_is_printed_is_what_the_files_say(made: tuple[Path, str], skill: ModuleType) -> None:
    directory, said = made
    facts, record = (json.loads((directory / name).read_text()) for name in ("run.json", "eval/record.json"))
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    found: dict[str, Any] = json.loads(printed(skill, "--run", str(directory), "--json"))
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before

    assert (found["task"], found["preset"], found["method"]) == ("tool-calling", "balanced", "lora")
    assert found["trained_on"].startswith(machine_text(facts["provenance"]))
    assert found["trained_on"] in said

    training, measured, predicted = found["training"], facts["measured"], facts["predicted"]
    built = json.loads((directory / "data" / "card.json").read_text())["counts"]["train"]
    assert (training["updates"], training["batch_size"], training["examples"]) == (2, 4, built)
    assert (training["seconds"], training["peak_bytes"]) == (measured["seconds"], measured["peak"])
    assert training["peak_bytes_predicted"] == predicted["peak"]
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert training["dev_loss"] == rows[-1]["dev_loss"]
    assert f"| GB at the peak | {measured['peak'] / 1e9:.2f} | {predicted['peak'] / 1e9:.2f} |" in said

    asked = found["evaluation"]
    assert asked["examples"] == record["n"] > 10
    conditions = {c["name"]: c for c in record["conditions"]}
    assert list(asked["systems"]) == list(conditions)
    base, held = (conditions[name]["metrics"]["right_answer"] for name in ("base", "base + schema"))
    assert base["mean"] != held["mean"]
    assert asked["systems"]["base"]["right_answer"] == {
        "n": base["scored"], "mean": base["mean"], "low": base["low"], "high": base["high"]
    }  # fmt: skip
    exact = conditions["base"]["metrics"]["exact_match"]
    assert asked["systems"]["base"]["exact_match"]["n"] == exact["scored"] < exact["n"]
    row = next(line for line in said.splitlines() if line.startswith("| Right answers "))
    cells = [f"{100 * f['mean']:.1f} % ({100 * f['low']:.0f}–{100 * f['high']:.0f})" for f in (base, held)]
    columns = row.split(" | ")
    assert columns[1] == f"{cells[0]} of {base['scored']}"
    assert columns[3] == f"{cells[1]} of {held['scored']}"
    assert {d["baseline"] for d in asked["differences"]} == {
        name for name, condition in conditions.items() if not condition["adapter"]
    }
    assert found["gate"]["passed"] is False  # it takes nothing from this engine
    assert "the gate refused" in said


def test_the_command_is_told_without_where_the_run_lies(made: tuple[Path, str], skill: ModuleType) -> None:
    words = ["train", "tool-calling", "--output", "/some/where", "--preset", "demo"]
    assert skill.command(words) == "agentlora train tool-calling --preset demo"


def test_a_verdict_on_another_record_is_not_told(copy: Path, skill: ModuleType) -> None:
    gate = copy / "eval" / "gate.json"
    assert skill.figures(copy)[0]["gate"] is not None
    gate.write_text(json.dumps(json.loads(gate.read_text()) | {"record": "0" * 64}))
    found, record, verdict = skill.figures(copy)
    assert found["gate"] is None
    assert "The gate was not asked." in skill.markdown(found, record, verdict)


@pytest.mark.parametrize(
    ("fact", "value", "why"),
    [("measured", None, "no training of run"), ("adapter_digest", "0" * 64, "is of another adapter")],
)
def test_a_run_that_is_not_finished_has_no_figures(
    fact: str, value: Any, why: str, copy: Path, skill: ModuleType
) -> None:
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(facts | {fact: value}))
    with pytest.raises(ConfigError, match=why):
        skill.figures(copy)


def test_without_an_evaluation_there_are_no_figures(copy: Path, skill: ModuleType) -> None:
    shutil.rmtree(copy / "eval")
    with pytest.raises(ConfigError, match="was not evaluated: agentlora eval"):
        skill.figures(copy)


@pytest.mark.parametrize("words", [["--run", "last", "--output", "x"], ["tool-calling"]])
def test_a_run_is_read_or_made_not_both(
    words: list[str], skill: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["skill.py", *words])
    with pytest.raises(SystemExit) as ended:
        skill.main()
    assert ended.value.code == 2
