"""An endpoint beside an adapter: what it is asked, where its answers are shown, and that they decide nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import test_gating
from click.testing import CliRunner
from test_gating import COUNT, evaluated, gated, own

from agentlora.core.cli import cli
from agentlora.core.data import split_digest
from agentlora.core.errors import ConfigError
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run
from agentlora.core.types import Expected, ToolCall

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from json_server import json_server

KEY = "sk-planted-0123456789abcdef"
run = test_gating.run  # the fixture
TOOL = {
    "type": "function",
    "function": {
        "name": "say",
        "parameters": {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]},
    },
}


@dataclass
class Endpoint:
    """Always right: it calls ``say`` where that is offered, else it says what is expected."""

    url: str = ""
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def answer(self, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.asked.append(body)
        self.keys.append(headers["authorization"])
        number = body["messages"][-1]["content"].removeprefix("say ")
        message: dict[str, Any] = {"content": f"yes indeed {number}"}
        if body.get("tools"):
            call = {"name": "say", "arguments": json.dumps({"n": number})}
            message = {"content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]}
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        choice = {"message": message, "finish_reason": "stop"}
        return self.status, json.dumps({"choices": [choice], "usage": usage, "quoted": KEY}).encode()


@contextmanager
def endpoint(status: int = 200) -> Iterator[Endpoint]:
    found = Endpoint(status=status)
    with json_server(found.answer) as url:
        found.url = f"{url}/v1"
        yield found


def with_tools(run: Run) -> None:
    """The run's test examples ask for calls now."""
    asked = [
        replace(e, tools=(TOOL,), expected=Expected(calls=(ToolCall("say", {"n": e.id}),)))
        for e in run.examples("test")
    ]
    run.write_examples("test", asked)
    digests = {"train": split_digest([]), "dev": split_digest([]), "test": split_digest(asked)}
    write_json(run.directory / "data" / "card.json", {"digest": digests})


def test_an_endpoint_answers_the_same_examples_and_is_shown_everywhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_tools(run)
    monkeypatch.setenv("TODAY_KEY", KEY)
    with endpoint() as today:
        entry = f"{{endpoint: {today.url}#org/big-1, options: {{api_key_env: TODAY_KEY, concurrency: 2}}}}"
        words = ["eval", str(run.directory), "--beside", entry, "--evaluator", "latency"]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        assert "big-1" in done.output
        assert len(today.asked) == COUNT
        assert set(today.keys) == {f"Bearer {KEY}"}
        body = next(b for b in today.asked if b["messages"] == [{"role": "user", "content": "say 7"}])
        assert (body["model"], body["tools"], body["temperature"]) == ("org/big-1", [TOOL], 0.0)
        record = json.loads((run.eval_dir / "record.json").read_text())
        assert CliRunner().invoke(cli, words).exit_code == 0
        assert len(today.asked) == COUNT  # what it said is known
    condition = next(c for c in record["conditions"] if c["name"] == "big-1")
    assert condition["kind"] == "given"
    assert condition["metrics"]["same"]["mean"] == 1.0  # its calls are judged as the adapter's are
    assert condition["metrics"]["schema_valid"]["mean"] == 1.0
    assert (condition["cached"], condition["metrics"]["latency.seconds"]["scored"]) == (0, COUNT)
    found = next(d for d in record["differences"] if (d["baseline"], d["metric"]) == ("big-1", "agreement"))
    assert (found["system"], found["n"], found["mean"]) == ("adapter", COUNT, -1.0)
    assert record["best_baseline"] != "big-1"
    assert record["provenance"]["beside"] == {"big-1": f"{today.url}#org/big-1"}
    for file in ("report.md", "report.html"):
        assert "big-1" in (run.eval_dir / file).read_text()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in content for content in files)
    again = json.loads((run.eval_dir / "record.json").read_text())
    known = next(c for c in again["conditions"] if c["name"] == "big-1")
    assert (known["cached"], known["metrics"]["latency.seconds"]["unscored"]) == (COUNT, COUNT)


def test_it_is_no_baseline_of_the_gate(run: Run) -> None:
    right = {own(run): COUNT}
    with endpoint() as today:
        record = evaluated(run, right, beside=[f"{today.url}#big"])
        assert record.condition("big").metrics["agreement"].mean == 1.0
        assert record.difference("adapter", "big").mean == 0.0
        assert gated(run).exit_code == 0  # no better than the endpoint, and better than the base
        record = evaluated(
            run, {}, beside=[f"{today.url}#big", f"{{endpoint: {today.url}#big, label: today}}"]
        )
        assert [c.name for c in record.conditions][-2:] == ["big", "today"]
        assert len(today.asked) == COUNT


def test_sampled_answers_of_an_adapter_stand_beside_one_of_an_endpoint(run: Run) -> None:
    with endpoint() as today:
        record = evaluated(run, {own(run): COUNT}, beside=[f"{today.url}#big"], temperature=0.7, seeds=3)
        assert len(today.asked) == COUNT
    found = record.difference("adapter", "big")
    assert (found.n, found.groups) == (3 * COUNT, COUNT)


def test_an_endpoint_that_refuses_costs_itself_and_not_the_evaluation(run: Run) -> None:
    with endpoint(401) as today:
        record = evaluated(run, {own(run): COUNT}, beside=[f"{today.url}#big"])
    assert "big" not in [c.name for c in record.conditions]
    assert "refuses: HTTP 401" in record.skipped["big"]
    assert record.condition("adapter").metrics["agreement"].mean == 1.0
    assert gated(run).exit_code == 0


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("localhost:8000#m", "is no address"),
        ("http://host/v1", "which model of the endpoint"),
        ("http://me:secret@host/v1#m", "holds no name, key or query"),
        ("http://host/v1#org/adapter", "two conditions would be called 'adapter'.*label: today"),
        ("{endpoint: http://host/v1#m, options: {api_key_env: NOT_SET_ANYWHERE}}", "NOT_SET_ANYWHERE"),
        ("{endpoint: http://host/v1#m, options: {retry: 1}}", "retries"),
        ("{endpoint: http://host/v1#m, lable: x}", "Did you mean 'label'"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is(run: Run, entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluated(run, {}, beside=[entry])
    assert not run.eval_dir.exists()


def test_two_of_one_name_are_refused_and_a_configuration_may_name_them_too(run: Run) -> None:
    twice = ["http://a/v1#m", "http://b/v1#m"]
    with pytest.raises(ConfigError, match=r"beside\[1\]: two conditions would be called 'm'"):
        evaluated(run, {}, beside=twice)
    with pytest.raises(ConfigError, match=r"beside\[1\]: two conditions"):
        resolve_config(default_plugins(), "tool-calling", {"eval": {"beside": twice}})
    found = resolve_config(default_plugins(), "tool-calling", {"eval": {"beside": twice[:1]}})
    assert found.eval.beside[0].endpoint == twice[0]
    refused = CliRunner().invoke(
        cli, ["eval", str(run.directory), "--gate", "--recorded", "--beside", twice[0]]
    )
    assert "leave --beside out" in " ".join(refused.output.split())
