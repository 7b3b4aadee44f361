"""Judging answers: every metric, its reason, and the evaluator's check of itself."""

from __future__ import annotations

import dataclasses

import pytest
from eval_examples import PLAY, example, light, make_examples

from agentlora.core.types import Evaluator, Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import render_calls
from agentlora.eval.scorers import ToolCallEvaluator, render_answer

ONE = example("one", "Dim the hall", light("hall", brightness=20))
TWO = example(
    "two", "Hall light and jazz", light("hall"), ToolCall("play", {"title": "jazz"}), case="two_calls"
)
NONE = example("none", "What is love?", case="none_fits")
ASK = example("ask", "Dim the light", case="missing")


def judge(wanted: Example, *calls: ToolCall, text: str = "") -> Score:
    return ToolCallEvaluator().score(wanted, Output(wanted.id, render_calls(calls) + text))


def values(score: Score) -> list[float | None]:
    return [score.metrics[name] for name in ToolCallEvaluator.metrics]


def test_it_is_an_evaluator() -> None:
    assert isinstance(ToolCallEvaluator(), Evaluator)


@pytest.mark.parametrize(
    ("score", "expected", "why"),
    [
        # parsed, schema_valid, right_name, right_arguments, exact_match, false_call, guessed_call, false_refusal,
        # right_answer
        (judge(ONE, light("hall", brightness=20.0)), [1, 1, 1, 1, 1, None, None, 0, 1], ""),
        (judge(ONE, light("hall", brightness=20), text="\nDone."), [1, 1, 1, 1, 1, None, None, 0, 1], ""),
        (judge(ONE, light("hall")), [1, 1, 1, 0.5, 0, None, None, 0, 0], "argument 'brightness' is missing"),
        (
            judge(ONE, light("Hall", brightness=20)),
            [1, 1, 1, 0.5, 0, None, None, 0, 0],
            'argument \'room\' is "Hall"; expected "hall"',
        ),
        (
            judge(ONE, light("hall", brightness=200)),
            [1, 0, 1, 0.5, 0, None, None, 0, 0],
            "argument 'brightness' is 200; expected 20 (does not fit the schema)",
        ),
        (
            judge(ONE, light("hall", brightness=20, extra=1)),
            [1, 0, 1, 1, 0, None, None, 0, 0],
            "argument 'extra' is not expected (does not fit the schema)",
        ),
        (
            judge(ONE, ToolCall("play", {"title": "x"})),
            [1, 1, 0, 0, 0, None, None, 0, 0],
            "called play; expected set_light",
        ),
        (
            judge(ONE, ToolCall("dim", {})),
            [1, 0, 0, 0, 0, None, None, 0, 0],
            "called dim; expected set_light",
        ),
        (judge(ONE, text="Sorry."), [0, 0, 0, 0, 0, None, None, 1, 0], "no call; expected set_light"),
        (judge(ONE, text="<tool_call>{"), [0, 0, 0, 0, 0, None, None, 0, 0], "a call that cannot be read"),
        (judge(TWO, *reversed(TWO.expected.calls)), [1, 1, 1, 1, 1, None, None, 0, 1], ""),
        (
            judge(TWO, light("hall")),
            [1, 1, 0, 0, 0, None, None, 0, 0],
            "called set_light; expected set_light, play",
        ),
        (
            judge(TWO, light("hall"), ToolCall("play", {"title": "rock"})),
            [1, 1, 1, 0.5, 0, None, None, 0, 0],
            'argument \'title\' is "rock"; expected "jazz"',
        ),
        (judge(NONE, text="No tool."), [1, None, None, None, None, 0, None, None, 1], ""),
        (judge(NONE), [1, None, None, None, None, 0, None, None, 0], "an empty answer"),
        (
            judge(NONE, light("hall")),
            [1, 1, None, None, None, 1, None, None, 0],
            "called set_light; expected no call",
        ),
        (
            judge(NONE, text="<tool_call>{"),
            [0, 0, None, None, None, 1, None, None, 0],
            "a call that cannot be read",
        ),
        (judge(ASK, text="Which room?"), [1, None, None, None, None, None, 0, None, 1], ""),
        (
            judge(ASK, light("hall")),
            [1, 1, None, None, None, None, 1, None, 0],
            "called set_light; expected no call",
        ),
    ],
)
def test_metrics_and_reason(score: Score, expected: list[float | None], why: str) -> None:
    assert (values(score), score.why) == (expected, why)


def test_the_same_call_twice_is_two_calls() -> None:
    assert judge(ONE, *ONE.expected.calls, *ONE.expected.calls).metrics["exact_match"] == 0


def test_an_unusable_tool_schema_is_unscored_whatever_was_answered() -> None:
    broken = {"type": "function", "function": {"name": "x", "parameters": {"type": "dict"}}}
    score = judge(dataclasses.replace(NONE, tools=(broken,)), text="No.")
    assert score.unscored is not None
    assert "'x'" in score.unscored
    assert score.metrics == {}


def test_a_cut_off_call_says_so() -> None:
    score = ToolCallEvaluator().score(ONE, Output("one", "<tool_call>{", finish_reason="length"))
    assert "token limit" in score.why


def test_validate_passes_sound_examples() -> None:
    assert ToolCallEvaluator().validate(make_examples(3)) == []


def test_validate_finds_a_gold_answer_that_is_not_right() -> None:
    bad = example("bad", "Dim", light("hall", brightness=500))
    stranger = example("stranger", "Go", ToolCall("go", {}))
    problems = ToolCallEvaluator().validate([bad, stranger, ONE])
    assert {p.split(":")[0] for p in problems} == {"bad", "stranger"}


def test_validate_finds_a_corruption_that_scores() -> None:
    class Lenient(ToolCallEvaluator):
        def score(self, example: Example, output: Output) -> Score:
            return Score({name: float(name not in self.lower_is_better) for name in self.metrics})

    problems = Lenient().validate([ONE])
    for label in ("required argument 'room' left out", "a wrong name", "an extra argument", "broken JSON"):
        assert any(label in p for p in problems)
    assert any("text instead of a call" in p for p in problems)


def test_the_gold_answer_of_every_kind_can_be_said() -> None:
    assert render_answer(Expected(text="Hi")) == "Hi"
    assert render_answer(Expected()) != ""
    assert render_answer(ONE.expected) == render_calls(ONE.expected.calls)
    assert PLAY["function"]["name"] in render_answer(TWO.expected)


def test_a_schema_that_decides_nothing_leaves_the_answer_unscored() -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {"type": "object", "properties": {"word": {"pattern": r"(a*)*\1b"}}},
        },
    }
    asked = dataclasses.replace(example("x", "Find it", ToolCall("find", {"word": "b"})), tools=(tool,))
    assert judge(asked, ToolCall("find", {"word": "b"})).metrics["exact_match"] == 1
    assert "too many steps" in str(judge(asked, ToolCall("find", {"word": "a" * 30})).unscored)


def test_what_an_evaluator_remembers_of_an_example_is_said_of_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when it has to forget, and when an example is gone whose place in memory another takes."""
    monkeypatch.setattr("agentlora.eval.scorers.tool_calls.REMEMBERED", 3)
    evaluator = ToolCallEvaluator()
    for number in range(40):
        room = f"room {number % 7}"
        asked = example(str(number), "Dim it", *([light(room)] if number % 2 else []))
        said = Output(asked.id, render_calls([light(f"room {number % 5}")]))
        assert evaluator.score(asked, said) == ToolCallEvaluator().score(asked, said)
        assert evaluator.score(asked, said).metrics["right_answer"] == (
            number % 2 and number % 7 == number % 5
        )


def test_what_is_nearly_the_expected_call_does_not_get_its_score() -> None:
    """The score of calls that are the expected ones to the byte is remembered."""
    tool = {"type": "function", "function": {"name": "put", "parameters": {"type": "object"}}}

    def exact(gold: object, *made: object) -> list[float | None]:
        asked = dataclasses.replace(
            example("x", "Put it", ToolCall("put", {"a": gold, "b": 2})), tools=(tool,)
        )
        scores = [judge(asked, ToolCall("put", {"a": value, "b": 2})) for value in (gold, gold, *made)]
        return [score.metrics["exact_match"] for score in scores]

    assert exact(1, 1.0, True, "1", [1]) == [1, 1, 1, 0, 0, 0]
    assert exact(True, 1, 1.0, False) == [1, 1, 0, 0, 0]
    assert exact({"x": [0, None]}, {"x": [0.0, None]}, {"x": [False, None]}, {"x": [None, 0]}) == [
        1,
        1,
        1,
        0,
        0,
    ]
    assert values(judge(NONE, text="Love is.")) == values(judge(NONE, text="Love is.")) != values(judge(NONE))
    both = render_calls([light("hall", brightness=20)])
    assert judge(ONE, text=both).metrics["right_answer"] == 1
    assert judge(ONE, text=f"{both}<tool_call>").metrics["right_answer"] == 0


def test_a_class_with_other_metrics_remembers_for_itself() -> None:
    class More(ToolCallEvaluator):
        metrics = (*ToolCallEvaluator.metrics, "more")

    for evaluator in (ToolCallEvaluator(), More(), ToolCallEvaluator()):
        score = evaluator.score(ONE, Output("one", render_answer(ONE.expected)))
        assert list(score.metrics) == list(evaluator.metrics)
