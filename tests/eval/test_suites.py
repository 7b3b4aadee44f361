"""Suites: other people's tasks, put to a skill and its base, in the record of the evaluation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from eval_examples import make_examples

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import ConfigError, EvalError, MissingExtra
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import adapter_digest, base_facts, evaluate
from agentlora.core.run import Run, create_run
from agentlora.core.suites import add_suites, parse_suites
from agentlora.core.types import Example, GenerateRequest, Output, SuiteRequest, SuiteResult, SuiteSample
from agentlora.eval.bfcl.data import gold, rows
from agentlora.eval.calls import render_calls
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.record import Record
from agentlora.eval.suites.figures import suite_record
from agentlora.plugins.bases.resolve import resolve_base

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

SYSTEMS: dict[str, str | None] = {"base": None, "adapter": "skill"}
NO_LM_EVAL = "lm-eval is not installed (pip install 'agentlora[suites]')"
NO_INSPECT = "Inspect AI is not installed (pip install 'agentlora[suites]')"


def asked() -> list[Example]:
    """Of tools that were not trained on, which are those that decide."""
    return [replace(e, tags={**e.tags, "tools": "new"}) for e in make_examples(3)]


@pytest.fixture(scope="module")
def adapter_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter whose answers differ from the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    folder = tmp_path_factory.mktemp("skill")
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def run(tiny_model_dir: Path, adapter_dir: Path, tmp_path: Path) -> Run:
    """A trained run that answers tool calls."""
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    config = {"task": "tool-calling", "model": str(tiny_model_dir), "eval": {"engine": "echo"}}
    made = create_run(parse(RunConfig, config), tmp_path / "run")
    splits: dict[Any, list[Example]] = {"train": [], "dev": asked(), "test": asked()}
    for split, some in splits.items():
        made.write_examples(split, some)
    write_json(
        made.directory / "data" / "card.json", {"digest": {s: split_digest(e) for s, e in splits.items()}}
    )
    made.adapter_dir.mkdir()
    for file in adapter_dir.iterdir():
        (made.adapter_dir / file.name).write_bytes(file.read_bytes())
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


# --- figures ------------------------------------------------------------------------------------


def result(samples: Mapping[str, Sequence[SuiteSample]], **more: Any) -> SuiteResult:
    return SuiteResult("lib", "1.2", ["acc", "loss"], samples, frozenset({"loss"}), **more)


def test_figures_have_intervals_and_are_paired() -> None:
    ours = [SuiteSample(str(n), {"acc": float(n > 2), "loss": n + 2.0}) for n in range(20)]
    theirs = [SuiteSample(str(n), {"acc": 0.0, "loss": n * 2.0}) for n in range(20)]
    found = suite_record("x:y", result({"adapter": ours, "base": theirs}), SYSTEMS, "echo", 0)
    acc = found.systems["adapter"]["acc"]
    assert (acc.mean, acc.scored) == (0.85, 20)
    assert acc.low is not None
    assert 0.6 < acc.low < 0.85
    assert found.systems["adapter"]["loss"].unbounded
    gains = {d.metric: d for d in found.differences}
    assert set(gains) == {"acc", "loss"}
    assert (gains["acc"].system, gains["acc"].baseline, gains["acc"].mean) == ("adapter", "base", 0.85)
    assert found.lower_is_better == ("loss",)
    assert (found.library, found.version, found.n) == ("lib", "1.2", 20)


def test_an_answer_that_failed_is_in_no_mean() -> None:
    ours = [SuiteSample("1", {"acc": 1.0}), SuiteSample("2", {}, error="timeout")]
    theirs = [SuiteSample("1", {"acc": 1.0}), SuiteSample("2", {"acc": 0.0})]
    found = suite_record("x", result({"adapter": ours, "base": theirs}), SYSTEMS, "echo", 0)
    acc = found.systems["adapter"]["acc"]
    assert (acc.n, acc.scored, acc.errored, acc.mean) == (2, 1, 1, 1.0)
    assert found.first_error == "timeout"
    assert next(d.n for d in found.differences if d.metric == "acc") == 1


def test_what_a_library_says_can_be_written(tmp_path: Path) -> None:
    """Numbers that are no JSON, half characters and objects of its own stand as text."""
    one = [SuiteSample("1", {"acc": 1.0}), SuiteSample("2", {}, error="half \ud83d")]
    odd = {"ppl": float("nan"), "of": [float("inf"), (1, None, True)], "at": Path("/x"), "said": "\ud83d"}
    found = suite_record("x", result({"adapter": one, "base": one}, reported=odd), SYSTEMS, "echo", 0)
    assert found.reported == {"ppl": "nan", "of": ["inf", [1, None, True]], "at": "/x", "said": "?"}
    write_json(tmp_path / "record.json", found.model_dump(mode="json"))
    assert json.loads((tmp_path / "record.json").read_text())["first_error"] == "half ?"


def test_samples_that_cannot_be_paired_are_refused() -> None:
    one = [SuiteSample("1", {"acc": 1.0})]
    with pytest.raises(EvalError, match="a sample of 'base' twice"):
        suite_record("x", result({"adapter": one, "base": one * 2}), SYSTEMS, "echo", 0)
    with pytest.raises(EvalError, match="no sample of 'base'"):
        suite_record("x", result({"adapter": one, "base": []}), SYSTEMS, "echo", 0)
    with pytest.raises(EvalError, match=r"all 1 answers of 'base' failed\..* because: timeout"):
        suite_record(
            "x", result({"adapter": one, "base": [SuiteSample("1", {}, error="timeout")]}), SYSTEMS, "echo", 0
        )


# --- in the record ------------------------------------------------------------------------------


class Counting:
    """A suite of two samples; the adapter is right on both."""

    def run(self, request: SuiteRequest) -> SuiteResult:
        values = {
            name: [SuiteSample(str(n), {"acc": float(bool(adapter))}) for n in range(2)]
            for name, adapter in request.systems.items()
        }
        return SuiteResult("counting", "7", ["acc"], values, settings={"what": request.what})


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentlora.core.catalog import Entry

    known = default_plugins().catalog.entries["suites"]
    monkeypatch.setitem(known, "counting", Entry(Counting(), "test"))


def test_a_suite_stands_in_the_record_and_in_every_report(run: Run, counting: None) -> None:
    plugins = default_plugins()
    first = evaluate(run, plugins)
    assert "suites" not in first.to_dict()  # older records keep their digest
    record = add_suites(run, plugins, ["counting:a|<b>"])
    assert Record.load(run.eval_dir / "record.json") == record
    assert (
        record.model_copy(update={"suites": ()}) == first
    )  # nothing else changed, and test was not read again
    (suite,) = record.suites
    assert (suite.name, suite.library, suite.version) == ("counting:a|<b>", "counting", "7")
    assert suite.systems["adapter"]["acc"].mean == 1.0
    text, page = ((run.eval_dir / f"report.{kind}").read_text() for kind in ("md", "html"))
    for report in (text, page):
        assert "2 samples, counting 7, engine echo" in report
        assert "100.0 %" in report
    assert "a|<b>" not in page
    assert "a|&lt;b&gt;" in page
    kept = [json.loads(line) for line in next((run.eval_dir / "suites").glob("*.jsonl")).open()]
    assert [(line["system"], line["id"]) for line in kept] == [
        ("base", "0"),
        ("base", "1"),
        ("adapter", "0"),
        ("adapter", "1"),
    ]


def test_a_suite_is_replaced_by_its_next_one(run: Run, counting: None) -> None:
    evaluate(run, default_plugins())
    add_suites(run, default_plugins(), ["counting:a", "counting:b"])
    record = add_suites(run, default_plugins(), ["counting:a"])
    assert [suite.name for suite in record.suites] == ["counting:b", "counting:a"]


def test_a_suite_needs_a_record_of_this_adapter(run: Run, counting: None) -> None:
    with pytest.raises(ConfigError, match="has no record of this adapter on test"):
        add_suites(run, default_plugins(), ["counting"])
    evaluate(run, default_plugins())
    (run.adapter_dir / "more.txt").write_text("another adapter")
    with pytest.raises(ConfigError, match="has no record of this adapter on test"):
        add_suites(run, default_plugins(), ["counting"])


def test_the_command_evaluates_once_and_asks_suites_alone_afterwards(run: Run, counting: None) -> None:
    command = ["eval", str(run.directory), "--suite", "counting", "--json"]
    for readings in (1, 1):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        record = json.loads(done.stdout)
        assert record["data"]["test_readings"] == readings
        assert [suite["name"] for suite in record["suites"]] == ["counting"]
    shown = CliRunner().invoke(cli, command[:-1])
    assert "counting: 2 samples, counting 7, engine echo" in " ".join(shown.output.split())


def test_an_unknown_suite_is_told_before_anything_is_asked(run: Run) -> None:
    done = CliRunner().invoke(cli, ["eval", str(run.directory), "--suite", "lm-evl:arc_easy"])
    assert isinstance(done.exception, ConfigError)
    assert "Did you mean 'lm-eval'?" in str(done.exception)
    assert not run.eval_dir.exists()


# --- bfcl ---------------------------------------------------------------------------------------


class Knowing(EchoEngine):
    """Answers the Berkeley data rightly as the adapter, and never calls as the base."""

    def __init__(self) -> None:
        super().__init__({}, {})
        self.asked: list[GenerateRequest] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        self.asked += requests
        known = {row.id: row for name in ("simple_python", "multiple", "irrelevance") for row in rows(name)}
        return [
            Output(r.id, render_calls(gold(known[r.id])) if r.adapter else "I cannot do that.")
            for r in requests
        ]


def test_the_berkeley_suite_asks_three_categories(tiny_model_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    engine, suite = Knowing(), default_plugins().get("suites", "bfcl")
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    found = suite.run(SuiteRequest("", engine, base, SYSTEMS, tmp_path, limit=5))
    record = suite_record("bfcl", found, SYSTEMS, "echo", 0)
    means = {
        system: {metric: figure.mean for metric, figure in figures.items()}
        for system, figures in record.systems.items()
    }
    assert means["adapter"] == {"simple_python": 1.0, "multiple": 1.0, "irrelevance": 1.0}
    assert means["base"] == {"simple_python": 0.0, "multiple": 0.0, "irrelevance": 1.0}
    assert record.n == 15
    assert record.systems["base"]["multiple"].scored == 5
    assert {r.id.rpartition("_")[0] for r in engine.asked} == {"simple_python", "multiple", "irrelevance"}
    again = suite.run(SuiteRequest("multiple", Knowing(), base, SYSTEMS, tmp_path, limit=5))
    assert again.metrics == ("multiple",)


def test_no_command_asks_a_model_what_stays_unseen(run: Run) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    for category in ("parallel", "live_simple", "multi_turn_base", "multiple,simple_java"):
        done = CliRunner().invoke(cli, ["eval", str(run.directory), "--suite", f"bfcl:{category}"])
        assert isinstance(done.exception, ConfigError)
        assert "stays unseen" in str(done.exception)
    assert not run.eval_dir.exists()


# --- lm-eval ------------------------------------------------------------------------------------

CHOICES = """task: colours
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 3
"""


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A task of lm-eval's own form, with its data beside it."""
    data = [
        {"question": f"turn on the light {n}", "choices": ["kitchen", "the room"], "answer": n % 2}
        for n in range(12)
    ]
    file = tmp_path / "colours.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in data))
    (tmp_path / "colours.yaml").write_text(CHOICES.format(data=file))
    return tmp_path / "colours.yaml"


def test_without_lm_eval_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    for name in ("lm-eval:arc_easy", "inspect:package/name"):
        with pytest.raises(MissingExtra, match=r"pip install 'agentlora\[suites\]'"):
            parse_suites(default_plugins(), [name])


def test_a_task_of_lm_eval_in_process(run: Run, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    plugins = default_plugins()
    evaluate(run, plugins)
    record = add_suites(run, plugins, [f"lm-eval:{colours}"], engine_name="transformers", limit=10)
    (suite,) = record.suites
    assert suite.library == "lm-eval"
    assert suite.version[0].isdigit()
    assert suite.n == 10
    assert suite.metrics == ("acc", "acc_norm")
    for system in ("base", "adapter"):
        reported = suite.reported[system]["colours"]
        for metric in suite.metrics:
            figure = suite.systems[system][metric]
            assert figure.mean == pytest.approx(reported[f"{metric},none"])  # lm-eval's own figure
            assert figure.low is not None
            assert figure.scored == 10
    assert {d.metric for d in suite.differences} == {"acc", "acc_norm"}
    assert suite.settings["versions"] == {"colours": 3}


def test_a_server_says_what_the_model_in_process_says(
    tiny_model_dir: Path, adapter_dir: Path, colours: Path, tmp_path: Path
) -> None:
    """lm-eval's own client of ``/v1/completions`` against a real endpoint, with the same weights behind it."""
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    from completions_server import completions_app
    from openai_server import serving

    from agentlora.core.types import EngineSpec
    from agentlora.eval.engines.hf import TransformersFactory
    from agentlora.eval.suites.lm_eval import LmEvalSuite

    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)

    class Served:
        """What `VllmEngine.endpoint` offers."""

        def __init__(self, url: str) -> None:
            self.url = url

        def endpoint(self, adapter: str | None) -> tuple[str, str]:
            return f"{self.url}/v1", adapter or "base"

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), adapter_dir)
    with serving(completions_app({"base": plain.eval(), "skill": adapted.eval()})) as url:
        engine: Any = Served(url)
        over_http = LmEvalSuite().run(SuiteRequest(str(colours), engine, base, SYSTEMS, tmp_path))
    with TransformersFactory().open(EngineSpec(tiny_model_dir, base.chat_template)) as opened:
        opened.add_adapter("skill", adapter_dir)
        in_process = LmEvalSuite().run(SuiteRequest(str(colours), opened, base, SYSTEMS, tmp_path))
    assert over_http.samples.keys() == in_process.samples.keys()
    for system in SYSTEMS:
        ours = {s.id: dict(s.scores) for s in over_http.samples[system]}
        assert ours == {s.id: dict(s.scores) for s in in_process.samples[system]}
        assert len(ours) == 12
    # the texts of the answers hold log-probabilities: the adapter is another model, over HTTP too
    texts = [[s.text for s in over_http.samples[system]] for system in SYSTEMS]
    assert texts[0] != texts[1]


def test_what_lm_eval_cannot_do_is_told(run: Run, colours: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    plugins = default_plugins()
    evaluate(run, plugins)
    with pytest.raises(ConfigError, match="--engine transformers"):
        add_suites(run, plugins, [f"lm-eval:{colours}"])  # the echo engine has no log-probabilities
    with pytest.raises(ConfigError, match="lm-eval has no task 'no_such_task'"):
        add_suites(run, plugins, ["lm-eval:no_such_task"], engine_name="transformers")
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE=0"):
        add_suites(run, plugins, ["lm-eval:arc_easy"], engine_name="transformers", limit=1)
    (tmp_path / "other.yaml").write_text("a: 1\n")
    for what, said in (
        ("", "say which"),
        (str(tmp_path / "other.yaml"), "names no task"),
        ("gone.yaml", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_suites(plugins, [f"lm-eval:{what}"])
    assert Record.load(run.eval_dir / "record.json").suites == ()


# --- Inspect AI ---------------------------------------------------------------------------------

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
    wanted = [list(e.tools) for e in asked()]
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
    assert set(scores) == {e.id for e in asked()}
    from agentlora.eval.scorers import ToolCallEvaluator

    for example in asked():
        found = scores[example.id]
        score = ToolCallEvaluator().score(example, Output(example.id, found["answer"]))
        assert found["explanation"] == score.why
        told = {name: value for name, value in score.metrics.items() if value is not None}
        assert {name: found["value"][name] for name in told} == told
        if example.tools:
            assert "<tool_call>" in found["answer"]  # the server's calls arrived as calls
