"""A whole evaluation on the echo engine: conditions, failures, cache."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eval_examples import example, light, make_examples
from eval_runs import IDENTITY, SHOTS, Counting, perfect, run, shown

from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.types import (
    Capabilities,
    EngineSpec,
    Example,
    GenerateRequest,
    Output,
    Score,
    ToolCall,
)
from agentlora.eval.calls import render_calls
from agentlora.eval.conditions import (
    BASELINES,
    Condition,
    choose_shots,
    default_conditions,
    in_hermes,
    to_request,
)
from agentlora.eval.engines.echo import EchoFactory
from agentlora.eval.report import html, markdown
from agentlora.eval.runner import AnswerCache
from agentlora.eval.scorers import ToolCallEvaluator, render_answer

# --- conditions ---------------------------------------------------------------------------------


def test_all_few_shot_requests_begin_alike_and_look_like_the_worked_turns() -> None:
    condition = BASELINES[1]
    shots = choose_shots(SHOTS)
    assert [len(s.expected.calls) for s in shots] == [2, 0, 1]
    one, other = (to_request(e, condition, shots) for e in make_examples(2)[::4])
    assert one.messages[:-1] == other.messages[:-1]
    assert [m["role"] for m in one.messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert one.tools == ()
    head = one.messages[1]["content"].split("</tools>")[0]
    assert one.messages[-1]["content"].startswith(head)
    assert one.messages[-1]["content"].endswith("Dim room 0")
    assert one.messages[2]["content"] == render_answer(shots[0].expected)


def test_a_system_message_of_the_example_is_kept_in_every_condition() -> None:
    asked = example("a", "Dim it", light("hall"))
    asked = dataclasses.replace(asked, messages=({"role": "system", "content": "Be terse."}, *asked.messages))
    for condition in default_conditions("skill"):
        request = to_request(asked, condition, SHOTS)
        assert "Be terse." in json.dumps(request.messages)
        assert "set_light" in json.dumps([request.messages, request.tools])
        assert sum(m["role"] == "system" for m in request.messages) == 1


def test_a_constrained_answer_is_read_as_calls() -> None:
    asked, condition = example("a", "Dim it", light("hall")), BASELINES[2]
    assert to_request(asked, condition).json_schema is not None
    evaluator = ToolCallEvaluator()

    def exact(wanted: Example, text: str) -> float | None:
        score = evaluator.score(wanted, in_hermes(Output("a", text), wanted, condition))
        return score.metrics["right_answer"]

    assert exact(asked, '[{"name": "set_light", "arguments": {"room": "hall"}}]') == 1
    assert exact(asked, "[]") == 0
    assert exact(asked, '[{"name": "set_light", "arguments": {"room": "hall"}}') == 0
    assert exact(asked, render_calls(asked.expected.calls)) == 0
    assert exact(example("n", "Why?", case="none_fits"), "[]") == 1
    assert exact(example("n", "Why?", case="none_fits"), "[") == 0


# --- the run ------------------------------------------------------------------------------------


def test_a_perfect_adapter_beats_a_refusing_base(tmp_path: Path) -> None:
    examples = make_examples(10)
    record, samples = run(Counting(perfect(examples)), examples, tmp_path)
    assert record.n == 40
    assert record.groups == 10
    assert record.condition("adapter").metrics["exact_match"].mean == 1
    base = record.condition("base").metrics
    assert base["exact_match"].mean == 0  # it never calls
    assert base["right_answer"].mean == 0.5  # and is right where no call is
    assert (base["false_refusal"].mean, base["false_call"].mean) == (1, 0)
    assert base["false_call"].not_applicable == 30
    found = record.difference("adapter", "base")
    assert found is not None
    assert (found.n, found.mean, found.higher, found.lower) == (20, 1, 20, 0)
    case = record.condition("base").slices["case"]
    assert (case["none_fits"].mean, case["two_calls"].mean) == (1, 0)
    assert record.condition("adapter").slices["case"]["two_calls"].n == 10
    assert record.skipped == {}
    assert len(samples) == 4 * 40
    assert {s["condition"] for s in samples} == {c.name for c in default_conditions("skill")}


def test_groups_stay_together_and_progress_is_told(tmp_path: Path) -> None:
    examples = make_examples(5)
    engine, told = Counting(perfect(examples)), []
    run(
        engine,
        examples[::2] + examples[1::2],
        tmp_path,
        conditions=[BASELINES[0]],
        chunk=8,
        on_progress=lambda *event: told.append(event),
    )
    assert [r.id.split("-")[0] for r in engine.asked] == [f"g{g}" for g in range(5) for _ in range(4)]
    assert told == [("base", 8, 20), ("base", 16, 20), ("base", 20, 20)]


def test_what_an_engine_cannot_do_is_skipped_with_a_reason(tmp_path: Path) -> None:
    examples, engine = make_examples(2), Counting()
    engine.capabilities = Capabilities(adapters=True, json_schema=False)
    record, _ = run(engine, examples, tmp_path, shots=())
    assert set(record.skipped) == {"base + schema", "base + 3 examples"}
    assert "JSON schema" in record.skipped["base + schema"]
    engine.capabilities = Capabilities()
    with pytest.raises(ConfigError, match="serves no adapters"):
        run(engine, examples, tmp_path)


def test_a_failed_request_is_counted_and_is_in_no_mean(tmp_path: Path) -> None:
    examples = make_examples(3)
    engine = Counting(perfect(examples), {examples[0].id: "server on fire"})
    record, samples = run(engine, examples, tmp_path)
    figure = record.condition("adapter").metrics["exact_match"]
    assert (figure.n, figure.scored, figure.not_applicable, figure.errored, figure.mean) == (12, 5, 6, 1, 1)
    assert record.condition("adapter").first_error == "server on fire"
    found = record.difference("adapter", "base")
    assert found is not None
    assert found.n == 5
    assert [s["id"] for s in samples if s["error"]] == [examples[0].id] * 4
    for text in (markdown(record), html(record, samples), shown(record)):
        assert "server on fire" in text


def test_when_everything_fails_the_first_error_is_raised(tmp_path: Path) -> None:
    examples = make_examples(1)
    errors = {e.id: f"no luck with {e.id}" for e in examples}
    with pytest.raises(
        EvalError, match=r"4 of the 4 answers of condition 'base' failed.*no luck with g0-one"
    ):
        run(Counting(errors=errors), examples, tmp_path)


class Fragile(ToolCallEvaluator):
    """Fails on some answers, and knows no figure for others."""

    def __init__(self, *failing: str, odd: float = 1.0) -> None:
        self.failing, self.odd = failing, odd

    def score(self, example: Example, output: Output) -> Score:
        found = super().score(example, output)
        if example.id in self.failing:
            raise RecursionError("too deep")
        return Score(dict(found.metrics) | {"parsed": self.odd}) if example.id == "g0-two" else found


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), "high"])
def test_an_answer_that_breaks_the_evaluator_is_unscored_with_its_reason(tmp_path: Path, odd: Any) -> None:
    examples = make_examples(3)
    engine = Counting(perfect(examples))
    record, samples = run(engine, examples, tmp_path, evaluator=Fragile("g0-one", odd=odd))
    figure = record.condition("adapter").metrics["exact_match"]
    assert (figure.unscored, figure.scored, figure.errored, figure.mean) == (2, 4, 0, 1)
    why = {s["id"]: s["unscored"] for s in samples if s["condition"] == "adapter" and s["unscored"]}
    assert "RecursionError: too deep" in why["g0-one"]
    assert f"parsed is {odd!r}" in why["g0-two"]
    record.save(tmp_path / "record.json")
    for text in (markdown(record), html(record, samples), shown(record)):
        assert "could not be judged" in " ".join(text.split())


def test_an_evaluator_that_breaks_on_everything_ends_the_evaluation(tmp_path: Path) -> None:
    examples = make_examples(3)
    broken = Fragile(*(e.id for e in examples))
    with pytest.raises(EvalError, match=r"12 of the 12 answers of condition 'base'.*RecursionError"):
        run(Counting(perfect(examples)), examples, tmp_path, evaluator=broken)


def test_a_baseline_that_fails_wholly_spoils_no_other_condition(tmp_path: Path) -> None:
    class NoSchema(Counting):
        def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
            outputs = super().generate(requests)
            return [
                Output(o.id, "", "error", error="no grammar") if r.json_schema else o
                for o, r in zip(outputs, requests, strict=True)
            ]

    class NoAdapter(Counting):
        def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
            outputs = super().generate(requests)
            return [
                Output(o.id, "", "error", error="no luck") if r.adapter else o
                for o, r in zip(outputs, requests, strict=True)
            ]

    examples = make_examples(3)
    record, _ = run(NoSchema(perfect(examples)), examples, tmp_path)
    failed = record.condition("base + schema")
    assert (failed.metrics["exact_match"].errored, failed.first_error) == (12, "no grammar")
    assert record.best_baseline == "base"
    assert record.condition("adapter").metrics["exact_match"].mean == 1
    with pytest.raises(EvalError, match=r"12 of the 12 answers of condition 'adapter'.*no luck"):
        run(NoAdapter(perfect(examples)), examples, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": []}, "nothing to evaluate"),
        ({"conditions": [Condition("x"), Condition("x", "few_shot")]}, "same name"),
        ({"shots": make_examples(1)}, "take it from train"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(Counting(), make_examples(2), tmp_path, **change)
    with pytest.raises(ConfigError, match="two examples have the id 'g0-one'"):
        run(Counting(), [*make_examples(1), *make_examples(1)], tmp_path)


def test_an_engine_that_loses_an_answer_is_refused(tmp_path: Path) -> None:
    class Losing(Counting):
        def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
            return super().generate(requests)[1:]

    with pytest.raises(EvalError, match="answered 3"):
        run(Losing(), make_examples(1), tmp_path)


# --- the cache ----------------------------------------------------------------------------------


def test_only_the_base_is_asked_once_and_the_figures_are_the_same(tmp_path: Path) -> None:
    examples, cache = make_examples(3), AnswerCache(tmp_path / "cache")
    first, again = Counting(perfect(examples)), Counting(perfect(examples))
    one, _ = run(first, examples, tmp_path, cache=cache)
    two, _ = run(again, examples, tmp_path, cache=cache)
    assert len(first.asked) == 48
    assert {r.adapter for r in again.asked} == {"skill"}
    assert len(again.asked) == 12
    assert [c.metrics for c in one.conditions] == [c.metrics for c in two.conditions]
    assert [c.cached for c in two.conditions] == [12, 12, 12, 0]


def test_another_base_engine_or_length_is_not_the_same_answer(tmp_path: Path) -> None:
    examples, cache = make_examples(1), AnswerCache(tmp_path / "cache")
    plain = {"conditions": [BASELINES[0]], "cache": cache}
    run(Counting(), examples, tmp_path, **plain)
    other_base = IDENTITY | {"base": {"name": "tiny", "digest": "c" * 64}}
    for change in ({"identity": other_base}, {"identity": IDENTITY | {"engine": "x"}}, {"max_tokens": 65}):
        engine = Counting()
        run(engine, examples, tmp_path, **plain, **change)
        assert len(engine.asked) == 4


def test_failures_are_not_cached_and_a_killed_run_keeps_what_it_had(tmp_path: Path) -> None:
    examples, cache = make_examples(2), AnswerCache(tmp_path / "cache")

    class Dying(Counting):
        def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
            if self.asked:
                raise KeyboardInterrupt
            return super().generate(requests)

    plain = {"conditions": [BASELINES[0]], "cache": cache, "chunk": 4}
    with pytest.raises(KeyboardInterrupt):
        run(Dying(errors={"g0-one": "late"}), examples, tmp_path, **plain)
    engine = Counting()
    run(engine, examples, tmp_path, **plain)
    # g1-ask is the same request as g0-ask, word for word
    assert sorted(r.id for r in engine.asked) == ["g0-one", "g1-none", "g1-one", "g1-two"]


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    cache.path.write_text("not a database, but long enough to look at. " * 40)
    with pytest.raises(EvalError, match=r"answers\.sqlite.*Move it away"):
        cache.put({"k": Output("x", "y")})
    cache.path.unlink()
    cache.put({"k": Output("x", "y\x00ü", prompt_tokens=3)})
    assert cache.get(["k", "l"]) == {"k": Output("", "y\x00ü", prompt_tokens=3)}
    with sqlite3.connect(cache.path) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (1,)


# --- the echo engine ----------------------------------------------------------------------------


def test_the_echo_engine_calls_the_first_tool_by_default(tmp_path: Path) -> None:
    spec = EngineSpec(tmp_path, "", options={"answers": {"Hello": "Hi"}, "errors": {"bad": "no"}})
    asked = example("a", "Dim it", light("hall"))
    with EchoFactory().open(spec) as engine:
        hello = ({"role": "user", "content": "Hello"},)
        outputs = engine.generate(
            [
                to_request(asked, Condition("x")),
                GenerateRequest("b", hello),
                GenerateRequest("bad", hello),
                GenerateRequest("c", hello, adapter="nobody"),
            ]
        )
    assert outputs[0].text == render_calls([ToolCall("set_light", {})])
    assert outputs[1].text == "Hi"
    assert [o.error for o in outputs[2:]] == ["no", "unknown adapter 'nobody'"]
    with pytest.raises(ConfigError, match="Did you mean 'answers'"):
        EchoFactory().open(EngineSpec(tmp_path, "", options={"answer": {}}))
    with pytest.raises(ConfigError, match="not a directory"):
        engine.add_adapter("x", tmp_path / "absent")


# --- sampled answers ----------------------------------------------------------------------------


def test_every_sampled_answer_has_a_seed_of_its_own_and_the_same_one_again(tmp_path: Path) -> None:
    examples = make_examples(3)
    first, again = Counting(), Counting()
    for engine in (first, again):
        run(engine, examples, tmp_path, temperature=0.8, seeds=2, seed=5)
    assert [r.seed for r in first.asked] == [r.seed for r in again.asked]
    mine = [r for r in first.asked if r.adapter]
    assert {r.temperature for r in mine} == {0.8}
    assert len({r.seed for r in mine}) == len({r.id for r in mine}) == 2 * len(examples)
    greedy = Counting()
    run(greedy, examples, tmp_path)
    assert {(r.temperature, r.seed) for r in greedy.asked} == {(0.0, None)}


def test_answers_that_agree_tell_no_more_than_one(tmp_path: Path) -> None:
    """Three times the same answer: the intervals are about those of one; were they taken for others, they would be
    narrower by the root of three.
    """
    examples = [dataclasses.replace(e, group="") for e in make_examples(30)]
    answers = {f"skill/{e.id}": render_answer(e.expected) for e in examples[::2]}
    thrice = answers | {f"{key}#{n}": text for key, text in answers.items() for n in (2, 3)}
    one = run(Counting(answers), examples, tmp_path).record
    three = run(Counting(thrice), examples, tmp_path, temperature=0.5, seeds=3).record
    figures = [r.condition("adapter").metrics["right_answer"] for r in (one, three)]
    assert figures[0].mean == figures[1].mean
    widths = [f.high - f.low for f in figures if f.high is not None and f.low is not None]
    assert widths[1] == pytest.approx(widths[0], rel=0.02)
    gains = [r.difference("adapter", "base", "right_answer") for r in (one, three)]
    assert gains[0] is not None
    assert gains[1] is not None
    assert gains[1].detectable == pytest.approx(gains[0].detectable, rel=0.02)
    assert gains[1].p_value == pytest.approx(gains[0].p_value, rel=1e-6)


def test_an_evaluator_begins_with_every_example_once(tmp_path: Path) -> None:
    begun: list[str] = []

    class Beginning(ToolCallEvaluator):
        def begin(self, examples: Sequence[Example]) -> None:
            begun.extend(e.id for e in examples)

    examples = make_examples(2)
    run(Counting(perfect(examples)), examples, tmp_path, evaluator=Beginning(), temperature=0.5, seeds=3)
    assert sorted(begun) == sorted(e.id for e in examples)
