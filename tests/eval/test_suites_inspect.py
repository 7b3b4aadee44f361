"""Tasks of Inspect AI on our engines, and our data under Inspect's own command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from eval_examples import deciding

from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import evaluate
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.suites import add_suites, parse_suites
from agentlora.core.types import GenerateRequest, Output
from agentlora.eval.engines.echo import EchoEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

NO_INSPECT = "Inspect AI is not installed (pip install 'agentlora[suites]')"

TASKS = """from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate


@task
def words():
    samples = [Sample(input=f"word {n}", target=f"word {n}", id=f"s{n}") for n in range(6)]
    return Task(dataset=samples, solver=generate(), scorer=[match(), includes()], version=2)


@task
def broken():
    return Task(dataset=[Sample(input="break", target="x")], solver=generate(), scorer=match())
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    (tmp_path / "words.py").write_text(TASKS)
    return tmp_path / "words.py"


def test_a_task_of_inspect_is_put_to_adapter_and_base(
    run: Run, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("inspect_ai", reason=NO_INSPECT)
    plugins = default_plugins()
    evaluate(run, plugins)
    echo = EchoEngine.generate

    def poorly(self: EchoEngine, requests: Sequence[GenerateRequest]) -> list[Output]:
        if requests[0].adapter is None and requests[0].messages[-1]["content"] in ("word 1", "word 2"):
            return [Output(r.id, "no idea") for r in requests]
        return echo(self, requests)

    monkeypatch.setattr(EchoEngine, "generate", poorly)
    record = add_suites(run, plugins, [f"inspect:{words}@words"], limit=4)
    (suite,) = record.suites
    assert suite.library == "inspect-ai"
    assert suite.version[0].isdigit()
    assert (suite.n, set(suite.metrics)) == (4, {"match", "includes"})
    assert suite.systems["adapter"]["match"].mean == 1.0
    assert suite.systems["base"]["match"].mean == 0.5
    assert suite.reported["base"]["words/match"]["accuracy"] == 0.5  # Inspect's own figure
    gain = next(d for d in suite.differences if d.metric == "match")
    assert (gain.n, gain.mean, gain.higher) == (4, 0.5, 2)
    assert suite.settings["task_versions"] == ["2"]
    assert list((run.eval_dir / "suites" / "inspect-logs").glob("*.eval"))


def test_an_engine_that_fails_one_sample_fails_no_other(
    run: Run, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("inspect_ai", reason=NO_INSPECT)
    plugins = default_plugins()
    evaluate(run, plugins)
    monkeypatch.setattr(
        EchoEngine,
        "generate",
        lambda self, requests: [
            Output(r.id, "", "error", error="out of memory")
            if "word 1" in r.messages[-1]["content"]
            else Output(r.id, r.messages[-1]["content"])
            for r in requests
        ],
    )
    (suite,) = add_suites(run, plugins, [f"inspect:{words}@words"]).suites
    figure = suite.systems["adapter"]["match"]
    assert (figure.n, figure.scored, figure.errored, figure.mean) == (6, 5, 1, 1.0)
    assert "out of memory" in str(suite.first_error)


def test_what_inspect_cannot_do_is_told(run: Run, words: Path) -> None:
    pytest.importorskip("inspect_ai", reason=NO_INSPECT)
    with pytest.raises(ConfigError, match="say which"):
        parse_suites(default_plugins(), ["inspect"])
    with pytest.raises(ConfigError, match=r"no file 'gone\.py'"):
        parse_suites(default_plugins(), ["inspect:gone.py@task"])
    evaluate(run, default_plugins())
    for what in ("no_such/task", f"{words}@no_such"):
        with pytest.raises(ConfigError, match="no_such"):
            add_suites(run, default_plugins(), [f"inspect:{what}"])


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """Our gateway, before a server that calls the first tool with the request's text."""
    pytest.importorskip("inspect_ai", reason=NO_INSPECT)
    from openai_server import FakeVllm, serving

    from agentlora.registry.store import Registry
    from agentlora.runtime.client import VllmClient
    from agentlora.runtime.gateway import Gateway
    from agentlora.runtime.router import TfidfRouter
    from agentlora.runtime.shelf import Pool, Shelf

    fake = FakeVllm()
    registry = Registry(tmp_path / "registry")
    with serving(fake.app()) as backend:
        shelf = Shelf(
            registry, VllmClient(backend), Pool("tiny", "b" * 64, "t" * 64, "hermes", 16), TfidfRouter()
        )
        with serving(Gateway(shelf, backend).app()) as url:
            fake.url = url
            yield url
    registry.close()
    assert fake.chats
    # the tools came as the examples have them, with what Inspect's own description has no word for
    tools = [chat["tools"] for chat in fake.chats if "tools" in chat]
    assert tools
    wanted = [list(e.tools) for e in deciding()]
    assert all(some in wanted for some in tools)


def test_inspects_own_command_judges_our_data_over_our_gateway(
    run: Run, gateway: str, tmp_path: Path
) -> None:
    """``inspect eval agentlora/skill`` in a process of its own, against a real HTTP endpoint."""
    import os
    import subprocess

    command = [sys.executable, "-m", "inspect_ai", "eval", "agentlora/skill", "-T", f"run={run.directory}"]
    command += ["--model", "openai-api/agentlora/base", "--model-base-url", f"{gateway}/v1"]
    command += ["--log-dir", str(tmp_path / "logs"), "--log-format", "json", "--display", "none"]
    env = os.environ | {"AGENTLORA_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = [json.loads(path.read_text()) for path in (tmp_path / "logs").glob("*.json")]
    assert log["status"] == "success", log.get("error")
    scores = {s["id"]: s["scores"]["judged"] for s in log["samples"]}
    assert set(scores) == {e.id for e in deciding()}
    from agentlora.eval.scorers import ToolCallEvaluator

    for example in deciding():
        found = scores[example.id]
        score = ToolCallEvaluator().score(example, Output(example.id, found["answer"]))
        assert found["explanation"] == score.why
        told = {name: value for name, value in score.metrics.items() if value is not None}
        assert {name: found["value"][name] for name in told} == told
        if example.tools:
            assert "<tool_call>" in found["answer"]  # the server's calls arrived as calls
