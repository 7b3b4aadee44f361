"""Suites: other people's tasks, put to a skill and its base, in the record of the evaluation."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.suite_types import SuiteRequest, SuiteResult, SuiteSample
from agentlora.core.suites import add_suites
from agentlora.core.types import GenerateRequest, Output
from agentlora.eval.bfcl.data import example_of, for_models, gold, rows
from agentlora.eval.cache import AnswerCache
from agentlora.eval.calls import render_calls
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.engines.grammars import Grammars
from agentlora.eval.kept import FILE
from agentlora.eval.record import Record
from agentlora.eval.suites.figures import suite_record
from agentlora.plugins.bases.resolve import resolve_base

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

SYSTEMS: dict[str, str | None] = {"base": None, "adapter": "skill"}


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
    ours = [SuiteSample("1", {"acc": 1.0}), SuiteSample("2", {}, error="timeout at http://me:word@host")]
    theirs = [SuiteSample("1", {"acc": 1.0}), SuiteSample("2", {"acc": 0.0})]
    found = suite_record("x", result({"adapter": ours, "base": theirs}), SYSTEMS, "echo", 0)
    acc = found.systems["adapter"]["acc"]
    assert (acc.n, acc.scored, acc.errored, acc.mean) == (2, 1, 1, 1.0)
    assert found.first_error == "timeout at http://me:[redacted]@host"
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


def test_evaluating_again_keeps_what_suites_said(run: Run, counting: None) -> None:
    evaluate(run, default_plugins())
    before = add_suites(run, default_plugins(), ["counting:a"])
    assert evaluate(run, default_plugins()).suites == before.suites
    assert Record.load(run.eval_dir / "record.json").suites == before.suites
    (run.adapter_dir / "more.txt").write_text("another adapter")
    run.add_facts(adapter_digest=adapter_digest(run))
    assert evaluate(run, default_plugins()).suites == ()


def test_what_suites_said_outlives_an_evaluation_that_ends_while_it_is_written(
    run: Run, counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(run, default_plugins())
    before = add_suites(run, default_plugins(), ["counting:a"])
    with monkeypatch.context() as killed:
        killed.setattr(Record, "save", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            evaluate(run, default_plugins())
    assert evaluate(run, default_plugins()).suites == before.suites
    assert not list(run.eval_dir.glob("record.*.json"))


def test_a_suite_touches_no_other_evaluation(
    run: Run, counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that is under way, nor the record that is there, should the disk be full."""
    first = evaluate(run, default_plugins())
    part = run.eval_dir / FILE
    part.write_text("of an evaluation that was killed")
    samples = (run.eval_dir / "samples.jsonl").read_bytes()
    add_suites(run, default_plugins(), ["counting:a"])
    assert part.is_file()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Record, "save", full)
    with pytest.raises(OSError, match="No space"):
        add_suites(run, default_plugins(), ["counting:b"])
    kept = Record.load(run.eval_dir / "record.json")
    assert [suite.name for suite in kept.suites] == ["counting:a"]
    assert kept.model_copy(update={"suites": ()}) == first
    assert (run.eval_dir / "samples.jsonl").read_bytes() == samples


def test_options_about_examples_are_refused_where_only_suites_are_asked(run: Run, counting: None) -> None:
    evaluate(run, default_plugins())
    command = ["eval", str(run.directory), "--suite", "counting"]
    for more in (["--probes", "5"], ["--evaluator", "latency"], ["--temperature", "0.5", "--seeds", "2"]):
        done = CliRunner().invoke(cli, [*command, *more])
        assert done.exit_code == 2
        assert f"leave {more[0]}" in " ".join(done.output.split())
    done = CliRunner().invoke(cli, [*command, "--gate", "--recorded"])
    assert done.exit_code == 2
    assert "leave --suite out" in " ".join(done.output.split())


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
    assert all(r.strict_calls for r in engine.asked)
    assert found.settings["strict_calls"] is True
    unable = Knowing()
    unable.capabilities = replace(unable.capabilities, json_schema=False)
    again = suite.run(SuiteRequest("multiple", unable, base, SYSTEMS, tmp_path, limit=5))
    assert again.metrics == ("multiple",)
    assert not any(r.strict_calls for r in unable.asked)
    assert again.settings["strict_calls"] is False


def test_calls_can_be_held_to_every_tool_of_the_berkeley_data(tiny_model_dir: Path) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    pytest.importorskip("xgrammar", reason="xgrammar comes with vLLM")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    grammars = Grammars(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    for category in ("simple_python", "multiple", "irrelevance"):
        for row in for_models(category):
            example = example_of(row)
            asked = GenerateRequest(example.id, example.messages, example.tools, strict_calls=True)
            assert grammars.of(asked) is not None


class Ending(Knowing):
    """Is ended when it has answered so many requests to the adapter."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        if sum(bool(r.adapter) for r in self.asked) >= 8:
            raise KeyboardInterrupt
        return super().generate(requests)


def test_a_berkeley_suite_that_is_ended_asks_only_the_rest(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    monkeypatch.setattr("agentlora.eval.suites.bfcl.CHUNK", 4)
    suite = default_plugins().get("suites", "bfcl")
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    identity = {"base": {"digest": "b" * 64}, "adapter": "a" * 64, "engine": "echo"}

    def ask(engine: Knowing, **more: Any) -> SuiteResult:
        cache = AnswerCache(tmp_path / "cache")
        asked = SuiteRequest(
            "", engine, base, SYSTEMS, tmp_path, limit=5, cache=cache, identity=identity | more
        )
        found: SuiteResult = suite.run(asked)
        return found

    whole = suite.run(SuiteRequest("", Knowing(), base, SYSTEMS, tmp_path, limit=5))
    with pytest.raises(KeyboardInterrupt):
        ask(Ending())
    engine, other = Knowing(), Knowing()
    assert ask(engine) == whole
    assert [r.adapter for r in engine.asked] == ["skill"] * 7
    ask(other, adapter="c" * 64)
    assert [r.adapter for r in other.asked] == ["skill"] * 15


def test_a_suite_is_told_who_answers_and_where_answers_are_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.core.catalog import Entry

    told: list[SuiteRequest] = []

    class Told(Counting):
        def run(self, request: SuiteRequest) -> SuiteResult:
            told.append(request)
            return super().run(request)

    monkeypatch.setitem(default_plugins().catalog.entries["suites"], "counting", Entry(Told(), "test"))
    evaluate(run, default_plugins(), engine_name="echo", probes=0)
    record = add_suites(run, default_plugins(), ["counting"], engine_name="echo")
    (request,) = told
    assert isinstance(request.cache, AnswerCache)
    assert request.identity["base"]["digest"] == record.base["digest"]
    assert (request.identity["adapter"], request.identity["engine"]) == (adapter_digest(run), "echo")


def test_no_command_asks_a_model_what_stays_unseen(run: Run) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    for category in ("parallel", "live_simple", "multi_turn_base", "multiple,simple_java"):
        done = CliRunner().invoke(cli, ["eval", str(run.directory), "--suite", f"bfcl:{category}"])
        assert isinstance(done.exception, ConfigError)
        assert "stays unseen" in str(done.exception)
    assert not run.eval_dir.exists()
