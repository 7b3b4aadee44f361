"""A run names evaluators beside its task's own: in its configuration, and when it is evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_evaluating import run  # noqa: F401 - a fixture

from agentlora.core.config import EvalConfig, RunConfig, parse
from agentlora.core.errors import AgentLoraError, ConfigError, DataError
from agentlora.core.evaluating import evaluate
from agentlora.core.evaluators import evaluators_of, own_evaluator, wanted_by, with_evaluators
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run
from agentlora.core.types import Example, Expected, Output, Score
from agentlora.eval.gold import validated, wrong_gold
from agentlora.eval.judging import _sources
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.texts import Regex
from agentlora.plugins.datasets.files import RawRow
from agentlora.plugins.datasets.rows import parse_rows

PRICED = {"name": "cost", "params": {"price_in": 2}}


def config(*evaluators: Any, task: str = "tool-calling") -> RunConfig:
    return parse(RunConfig, {"task": task, "eval": {"evaluators": list(evaluators)}})


def test_names_and_settings() -> None:
    plugins = default_plugins()
    again = {"name": "regex", "label": "year", "params": {"pattern": "[0-9]{4}"}}
    own, others = evaluators_of(config("latency", PRICED, again), plugins)
    assert isinstance(own, ToolCallEvaluator)
    assert list(others) == ["latency", "cost", "year"]
    score = others["cost"].score(Example("", (), None), Output("", "", prompt_tokens=500))  # type: ignore[arg-type]
    assert score.metrics == {"per_1000": 1.0}
    assert evaluators_of(config(), plugins)[1] == {}


def test_the_tasks_own_is_set_by_its_name() -> None:
    exact, loose = (
        own_evaluator(made, default_plugins())
        for made in (config(), config({"name": "tool-calls", "params": {"number_tolerance": 0.01}}))
    )
    assert (exact.how.number_tolerance, loose.how.number_tolerance) == (0, 0.01)  # type: ignore[attr-defined]
    assert evaluators_of(config("tool-calls", "latency"), default_plugins())[1].keys() == {"latency"}


@pytest.mark.parametrize(
    ("evaluators", "why"),
    [
        (["latencyy"], "unknown evaluator 'latencyy'. Did you mean 'latency'"),
        ([{"name": "cost"}], r"eval\.evaluators\.cost\.params: price_in and price_out"),
        ([{"name": "regex", "params": {"patern": "x"}}], "unknown key. Did you mean 'pattern'"),
        ([{"name": "regex", "params": {"pattern": "("}}], "no regular expression"),
        ([{"name": "latency", "params": {"x": 1}}], "'latency' has no settings"),
        ([{"name": "latency", "param": {}}], "unknown key. Did you mean 'params'"),
        (["latency", "latency"], "two are called 'latency'"),
        ("latency", "list"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(evaluators: Any, why: str) -> None:
    layer = {"eval": {"evaluators": evaluators}}
    with pytest.raises(ConfigError, match=why):
        resolve_config(default_plugins(), "tool-calling", layer)


def test_a_command_line_adds_to_the_runs_own() -> None:
    plugins = default_plugins()
    made = with_evaluators(config("latency"), ["exact", "{name: cost, params: {price_in: 2}}"], plugins)
    assert [entry.name for entry in made.eval.evaluators] == ["latency", "exact", "cost"]
    assert parse(EvalConfig, json.loads(made.eval.model_dump_json())) == made.eval  # as a run's file keeps it
    with pytest.raises(ConfigError, match="Did you mean 'exact'"):
        with_evaluators(config(), ["exakt"], plugins)
    with pytest.raises(ConfigError, match="not valid YAML"):
        with_evaluators(config(), ["{name: "], plugins)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (["tool-calls"], "'tool-calls', which is the task's own"),
        (["latencyy"], "unknown evaluator 'latencyy'"),
        ([{"name": "cost"}], "price_in and price_out"),
        ([5], "evaluators"),
        (5, "TypeError"),
    ],
)
def test_what_data_brings_is_checked_when_it_is_built(entries: Any, why: str) -> None:
    class Builder:
        def evaluators(self, params: Any) -> Any:
            return entries

    with pytest.raises(AgentLoraError, match=why):
        wanted_by(Builder(), None, "tool-calling", default_plugins())
    assert wanted_by(object(), None, "tool-calling", default_plugins()) == []


def test_an_evaluation_has_them_in_record_and_report(run: Run) -> None:  # noqa: F811
    record = evaluate(
        run, default_plugins(), evaluators=["exact", "{name: contains, params: {excludes: [word]}}"]
    )
    assert record.headline == "agreement"
    figures = record.condition("adapter").metrics
    assert figures["exact.match"].mean == 1
    assert figures["contains.match"].mean == 0
    named = record.provenance["evaluators"]
    assert [entry["name"] for entry in named] == ["exact", "contains"]
    assert "Exact: match" in (run.eval_dir / "report.md").read_text()


def test_an_evaluator_that_does_not_agree_with_the_examples_is_told(
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(run, "note", lambda *args, **data: told.append(str(data.get("message"))))
    pattern = "{name: regex, params: {pattern: ^other$}}"
    record = evaluate(run, default_plugins(), evaluators=[pattern])
    problems = record.provenance["evaluator_problems"]["regex"]
    assert problems["problems"] == 3
    assert "the gold answer scores match 0" in problems["first"][0]
    assert (problems["examples"], problems["asked"]) == (3, 3)
    assert "match 0" in problems["why"]
    said = "By the evaluator 'regex' the expected answer of 3 of 3 examples is not right: "
    assert said in (run.eval_dir / "report.md").read_text().replace("\\", "")
    assert any("warning: the evaluator 'regex' and the examples do not agree" in message for message in told)


def test_only_expected_answers_that_are_judged_wrong_are_counted_as_such() -> None:
    """Not a wrong answer that is taken for right, and not a metric that no right answer has to have."""
    strict, lax, partial = (Regex().configured(Regex.Params(pattern=p)) for p in ("^yes", "^no", "e"))
    said = [Example(name, (), Expected(text=f"yes {name}")) for name in ("a", "b")]
    found = validated(lax, {"strict": strict, "partial": partial}, said)
    assert (found[""]["examples"], found[""]["asked"], found[""]["why"][:10]) == (2, 2, "a: match 0")
    takes_all = ToolCallEvaluator()
    assert validated(takes_all, {}, said) == {}

    class Short(Regex):
        metrics = ("match", "short")  # type: ignore[assignment]

        def score(self, example: Example, output: Output) -> Score:
            return Score({**super().score(example, output).metrics, "short": 0.2})

    assert validated(Short().configured(Regex.Params(pattern="^yes")), {}, said) == {}
    assert wrong_gold(Short().configured(Regex.Params(pattern="^no")), said[0]).startswith(
        "a: match 0, short 0.2"
    )

    class Broken(Regex):
        def score(self, example: Example, output: Output) -> Score:
            raise KeyError(example.id)

    assert validated(Broken(), {}, said)[""]["why"] == "a: KeyError: 'a'"


def test_rows_bring_what_they_accept() -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}], "expected": {"text": "x"}}
    (example,) = parse_rows([RawRow("good.jsonl:1", {**row, "accepts": {"texts": ["y"]}})]).examples
    assert example.accepts == {"texts": ["y"]}
    with pytest.raises(DataError, match=r"bad\.jsonl:1: accepts: unknown key 'text'. Did you mean 'texts'"):
        parse_rows([RawRow("bad.jsonl:1", {**row, "accepts": {"text": ["y"]}})])


def test_a_record_tells_settings_and_sources_of_judges_apart(run: Run) -> None:  # noqa: F811
    loose = "{name: tool-calls, params: {number_tolerance: 0.5}}"
    strict, other, beside = (
        evaluate(run, default_plugins(), evaluators=named) for named in ((), (loose,), ("latency",))
    )
    assert len({r.evaluator.digest for r in (strict, other, beside) if r.evaluator}) == 3
    assert "latency.seconds" in beside.lower_is_better
    assert set(strict.lower_is_better) <= set(beside.lower_is_better)
    sources = dict(
        _sources("agentlora.tasks.structured_output.scoring", "agentlora.tasks.distillation.agreement")
    )
    for name in (
        "eval.scorers.equality",
        "eval.scorers.texts",
        "tasks.structured_output.scoring",
        "eval.calls",
    ):
        assert f"agentlora.{name}" in sources  # what they judge with
