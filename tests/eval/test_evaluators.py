"""Evaluators beside the task's own: their figures in a record, their checks of themselves, and what is not scored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eval_examples import example, light, make_examples
from eval_runs import Counting, perfect, run, shown

from agentlora.core.accepts import accepted
from agentlora.core.config import parse
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.manager import default_plugins
from agentlora.core.types import Evaluator, Example, Expected, GenerateRequest, Output, Score
from agentlora.eval.cache import AnswerCache
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.equality import Comparing
from agentlora.eval.scorers.resources import Cost, Latency, Perplexity, Prices
from agentlora.eval.scorers.schemas import SchemaValidity
from agentlora.eval.scorers.several import Several
from agentlora.eval.scorers.texts import Contains, Exact, Regex, TextAgreement
from agentlora.eval.wording import label
from agentlora.tasks.structured_output.scoring import JsonFields

NAMES = ("contains", "cost", "exact", "json-fields", "json-schema", "judge", "latency", "perplexity", "regex",
         "text-agreement", "tool-calls")  # fmt: skip


class Timed(Counting):
    """Answers that took two seconds and have ten tokens to a prompt of a hundred."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        return [
            dataclasses.replace(o, latency_s=2.0, prompt_tokens=100, output_tokens=10)
            for o in super().generate(requests)
        ]


def text_example(name: str, text: str, **more: Any) -> Example:
    return Example(name, ({"role": "user", "content": "?"},), Expected(text=text), group=name, **more)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_registered_and_whole(name: str) -> None:
    thing = default_plugins().get("evaluators", name)
    assert isinstance(thing, Evaluator)
    assert thing.metrics
    assert set(getattr(thing, "lower_is_better", ())) <= set(thing.metrics)
    assert thing.headline in thing.metrics


# --- several ------------------------------------------------------------------------------------


def test_the_tasks_own_decides_and_others_stand_beside_it(tmp_path: Path) -> None:
    examples = make_examples(3)
    both = Several(ToolCallEvaluator(), {"latency": Latency(), "cost": Cost().configured(Prices(price_in=5))})
    record, samples = run(Timed(perfect(examples)), examples, tmp_path, evaluator=both)
    alone, _ = run(Timed(perfect(examples)), examples, tmp_path / "..", evaluator=ToolCallEvaluator())
    assert record.headline == "exact_match"
    adapter, own = record.condition("adapter"), alone.condition("adapter")
    assert {name: adapter.metrics[name] for name in own.metrics} == own.metrics
    assert adapter.metrics["latency.seconds"].mean == 2
    assert adapter.metrics["latency.tokens_per_s"].mean == 5
    assert adapter.metrics["cost.per_1000"].mean == pytest.approx(1000 * 100 * 5 / 1e6)
    assert adapter.metrics["latency.seconds"].unbounded
    assert {"latency.seconds", "cost.per_1000", "false_call"} <= set(record.lower_is_better)
    assert samples[0]["scores"]["latency.seconds"] == 2
    assert "Latency: seconds" in shown(record)


def test_an_evaluator_that_cannot_score_leaves_only_its_own_metrics_unscored(tmp_path: Path) -> None:
    class Broken(Exact):
        def score(self, example: Example, output: Output) -> Score:
            raise (
                ValueError("half a \ud800 character")
                if example.id.endswith("one")
                else Score({"match": math.inf})
            )

    examples = make_examples(3)
    both = Several(ToolCallEvaluator(), {"latency": Latency(), "broken": Broken()})
    record, samples = run(Counting(perfect(examples)), examples, tmp_path, evaluator=both)
    metrics = record.condition("adapter").metrics
    assert metrics["exact_match"].mean == 1
    assert metrics["exact_match"].unscored == 0
    for name in ("latency.seconds", "broken.match"):
        figure = metrics[name]
        assert (figure.scored, figure.unscored, figure.mean) == (0, 12, None)
    reasons = samples[0]["unscored_metrics"]
    assert "this engine does not tell" in reasons["latency.seconds"]
    assert "the evaluator failed: ValueError: half a ? character" in reasons["broken.match"]
    assert record.difference("adapter", "base", "latency.seconds").n == 0  # type: ignore[union-attr]


def test_one_that_fails_before_it_scores_costs_only_itself(tmp_path: Path) -> None:
    class Away(Exact):
        def prepare(self, pairs: Any) -> None:
            raise OSError("nobody there")

        def facts(self) -> dict[str, Any]:
            raise OSError("still nobody there")

    examples = make_examples(2)
    both = Several(ToolCallEvaluator(), {"away": Away()})
    record, samples = run(Counting(perfect(examples)), examples, tmp_path, evaluator=both)
    metrics = record.condition("adapter").metrics
    assert (metrics["exact_match"].mean, metrics["away.match"].unscored) == (1, 8)
    assert samples[0]["unscored_metrics"]["away.match"] == "the evaluator failed: OSError: nobody there"
    assert record.provenance["judging"] == {"away": {"failed": "OSError: still nobody there"}}


def test_where_the_tasks_own_cannot_score_the_answer_is_unscored() -> None:
    class Lost(Exact):
        def score(self, example: Example, output: Output) -> Score:
            return Score(unscored="lost")

    both = Several(Lost(), {"exact": Exact()})
    assert both.score(text_example("a", "x"), Output("a", "x")) == Score(unscored="lost")


def test_notes_say_what_others_found_and_why_stays_the_tasks_own() -> None:
    both = Several(TextAgreement(), {"exact": Exact()})
    score = both.score(text_example("a", "Paris."), Output("a", "paris"))
    assert (score.why, score.metrics["exact.match"]) == ("", 0)
    assert "not the expected 'Paris.'" in score.notes["exact"]


def test_names_of_metrics_read_as_what_they_are() -> None:
    assert label("latency.tokens_per_s") == "Latency: tokens per s"
    assert label("exact_match") == "Exact match"


# --- what answers take --------------------------------------------------------------------------


def test_a_kept_answer_took_no_time_that_says_something(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.put({"k": Output("a", "x", latency_s=2.0, nats=1.0, prompt_tokens=3)})
    found = cache.get(["k"])["k"]
    assert (found.text, found.prompt_tokens, found.latency_s, found.nats) == ("x", 3, None, None)
    assert Latency().score(text_example("a", "x"), found).unscored


def test_what_nobody_tells_is_unscored() -> None:
    asked, priced = text_example("a", "x"), Cost().configured(Prices(price_out=1))
    assert "price_in and price_out" in str(Cost().score(asked, Output("a", "x", prompt_tokens=1)).unscored)
    assert "does not tell" in str(priced.score(asked, Output("a", "x")).unscored)
    assert Perplexity().score(asked, Output("a", "x", no_nats="it cannot")).unscored == "it cannot"
    assert Latency().score(asked, Output("a", "", latency_s=1.0)).metrics == {
        "seconds": 1.0,
        "tokens_per_s": None,
    }
    with pytest.raises(ConfigError, match="what a million tokens cost"):
        parse(Prices, {})


# --- checks of themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("thing", [Latency(), Cost(), Perplexity()])
def test_arithmetic_is_validated(thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert thing.validate([]) == []
    score = type(thing).score

    def off(self: Any, example: Example, output: Output) -> Score:
        found = score(self, example, output)
        return Score({name: 1 + (value or 0) for name, value in found.metrics.items()})

    monkeypatch.setattr(type(thing), "score", off)
    assert len(thing.validate([])) == 1


@pytest.mark.parametrize("thing", [Exact(), TextAgreement(), Contains()])
def test_a_lenient_text_evaluator_is_found_out(thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [text_example("a", "Paris", accepts={"texts": ["City of Light"]}), text_example("b", "5")]
    assert thing.validate(examples) == []
    monkeypatch.setattr(type(thing), "score", lambda *_: Score(dict.fromkeys(thing.metrics, 1.0)))
    assert any("still scores 1" in problem for problem in thing.validate(examples))


@pytest.mark.parametrize("thing", [Exact(), TextAgreement(), Contains()])
def test_a_strict_text_evaluator_is_found_out(thing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = Score(dict.fromkeys(thing.metrics, 0.0), why="no")
    monkeypatch.setattr(type(thing), "score", lambda *_: zero)
    assert "the gold answer scores" in thing.validate([text_example("a", "Paris")])[0]


def test_a_pattern_that_takes_anything_or_not_the_gold_answer_is_found_out() -> None:
    examples = [text_example("a", "2026")]
    made = {
        p: Regex().configured(Regex.Params(pattern=p)).validate(examples) for p in (r"^\d+$", ".*", "^x$")
    }
    assert made[r"^\d+$"] == []
    assert "the wrong answer '' still scores 1" in made[".*"][0]
    assert "the gold answer scores match 0" in made["^x$"][0]


def test_a_schema_evaluator_is_validated_on_gold_and_corruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    good = Example("a", (), Expected(value={"a": 1}), schema=schema)
    bad = Example("b", (), Expected(value={"a": "1"}), schema=schema)
    assert SchemaValidity().validate([good]) == []
    assert "b: the gold answer does not fit its schema" in SchemaValidity().validate([bad])[0]
    monkeypatch.setattr(SchemaValidity, "score", lambda *_: Score({"parsed": 1.0, "valid": 1.0}))
    problems = SchemaValidity().validate([good])
    assert any("'a' left out" in problem for problem in problems)
    assert any("a value of the type array" in problem for problem in problems)


def test_calls_are_validated_with_what_is_accepted_and_tolerated() -> None:
    tolerant = ToolCallEvaluator().configured(Comparing(number_tolerance=0.9, dates="any"))
    listed = {"equivalents": {"room": [["hall", "hallx"]]}, "optional": ["room"]}
    asked = example("x", "Dim it", light("attic", brightness=20))
    assert tolerant.validate([asked, *make_examples(2)]) == []
    assert tolerant.validate([dataclasses.replace(asked, accepts=listed)]) == []
    value = Example("v", (), Expected(value={"n": 1e308, "s": "2026-03-01"}), schema={})
    assert JsonFields().configured(Comparing(number_tolerance=0.9, dates="any")).validate([value]) == []


# --- what an example accepts --------------------------------------------------------------------


def test_what_an_example_accepts_is_checked() -> None:
    assert accepted({"texts": ["a"], "mine": 5}).texts == ["a"]  # a plugin's evaluator may have its own
    with pytest.raises(DataError, match=r"accepts\.contains"):
        accepted({"contains": "a"})
    with pytest.raises(DataError, match="Did you mean 'equivalents'"):
        accepted({"equivalent": {}})


def test_an_example_without_it_is_stored_as_ever() -> None:
    """Digests of data that was built before hold."""
    plain = text_example("a", "x")
    assert "accepts" not in plain.to_dict()
    assert "accepts" not in plain.to_json()
    listed = text_example("a", "x", accepts={"texts": ["y"]})
    assert listed.to_dict()["accepts"] == {"texts": ["y"]}
    assert Example.from_dict(listed.to_dict()) == listed
