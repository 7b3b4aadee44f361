"""The Berkeley data: our verdicts are bfcl-eval's own, on right answers and on corruptions of every category."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bfcl_reference import RAISES, Reference, reference
from test_evaluator_cases import Case, cases, check, sheet, written

from agentlora.core.errors import ConfigError, DataError
from agentlora.core.types import Example, Expected, Output, ToolCall
from agentlora.eval.bfcl.answers import answers
from agentlora.eval.bfcl.check import verdict
from agentlora.eval.bfcl.data import (
    CATEGORIES,
    SEEN,
    WITHOUT_ANSWER,
    Conversation,
    Row,
    conversations,
    example_of,
    for_models,
    gold,
    rows,
)
from agentlora.eval.bfcl.evaluator import BfclEvaluator
from agentlora.eval.bfcl.literals import read
from agentlora.eval.bfcl.turns import calls_of
from agentlora.eval.bfcl.turns import verdict as turns_verdict
from agentlora.eval.calls import OPEN, parse_answer, render_calls

SINGLE = [name for name, (kind, _) in CATEGORIES.items() if kind != "turns"]
# In the fast tests every so manieth row of the large categories: still more than 80,000 comparisons.
STEPS = {"live_multiple": 5, "parallel": 2, "parallel_multiple": 3}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    with reference(tmp_path_factory.mktemp("bfcl")) as found:
        yield found


@pytest.fixture
def data() -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")


# --- equal verdicts -----------------------------------------------------------------------------


@pytest.mark.parametrize("category", SINGLE)
def test_verdicts_are_those_of_the_leaderboards_own_checker(theirs: Reference, category: str) -> None:
    compare(theirs, category, STEPS.get(category, 1))


@pytest.mark.slow
@pytest.mark.parametrize("category", STEPS)
def test_verdicts_are_those_of_its_own_checker_on_all_rows(theirs: Reference, category: str) -> None:
    compare(theirs, category, 1)


def compare(theirs: Reference, category: str, step: int) -> None:
    ids, mine = theirs.rows(category), rows(category)
    assert [row.id for row in mine] == ids
    compared: Counter[bool] = Counter()
    for row in mine[::step]:
        for label, calls, _ in answers(row):
            why = verdict(row, calls)
            assert theirs.single(row, calls) == (not why), (row.id, label, calls, why)
            compared[not why] += 1
    n = len(mine[::step])
    assert compared.total() >= (30 if CATEGORIES[category][0] in ("one", "several") else 3) * n
    assert min(compared[True], compared[False]) >= n  # it is not that nothing is ever right


def test_verdicts_on_turns_are_those_of_the_leaderboards_own_checker(theirs: Reference) -> None:
    compare_turns(theirs, 4)


@pytest.mark.slow
def test_verdicts_on_turns_are_those_of_its_own_checker_on_all_rows(theirs: Reference) -> None:
    compare_turns(theirs, 1)


def compare_turns(theirs: Reference, step: int) -> None:
    ids = theirs.rows("multi_turn_base")
    assert [c.id for c in conversations()] == ids
    compared: Counter[bool] = Counter()
    for conversation in conversations()[::step]:
        for label, turns in sequences(conversation):
            why = turns_verdict(conversation, turns)
            assert theirs.turns(conversation, turns) == (not why), (conversation.id, label, turns, why)
            assert (label != "right") or not why
            compared[not why] += 1
    n = len(conversations()[::step])
    assert compared.total() >= 15 * n
    assert min(compared.values()) >= 2 * n


def sequences(conversation: Conversation) -> Iterator[tuple[str, list[list[ToolCall]]]]:
    """Right calls of all turns, and corruptions of them."""
    right = [list(calls) for calls in calls_of(conversation)]
    rng = random.Random(conversation.id)
    yield "right", right
    yield "a turn too few", right[:-1]
    yield "no call", [[] for _ in right]
    yield "turns reversed", right[::-1]
    turn = rng.choice([n for n, calls in enumerate(right) if calls])
    number = rng.randrange(len(right[turn]))
    call = right[turn][number]
    other = ToolCall("no_such_tool", {"a": 1})

    def with_turn(calls: list[ToolCall]) -> list[list[ToolCall]]:
        return [*right[:turn], calls, *right[turn + 1 :]]

    calls = right[turn]
    yield "a call less", with_turn([*calls[:number], *calls[number + 1 :]])
    yield "a call twice", with_turn([*calls, call])
    yield "calls reordered", with_turn(calls[::-1])
    yield "an unknown call more", with_turn([*calls, other])
    yield "an unknown call instead", with_turn([other])
    if turn + 1 < len(right):
        later = [list(c) for c in right]
        later[turn + 1] = [later[turn].pop(number), *later[turn + 1]]
        yield "a call later", later
    if turn:
        sooner = [list(c) for c in right]
        sooner[turn - 1].append(sooner[turn].pop(number))
        yield "a call sooner", sooner
    for label, arguments in corrupted(dict(call.arguments)):
        changed = replace(call, arguments=arguments)
        yield label, with_turn([*calls[:number], changed, *calls[number + 1 :]])


def corrupted(arguments: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "an argument more", {**arguments, "xyzzy": 1}
    for name, value in arguments.items():
        yield "an argument less", {n: v for n, v in arguments.items() if n != name}
        for other in (None, "xyzzy", 7, [value], str(value), f"{value}".swapcase()):
            yield f"{name} is {other!r}", {**arguments, name: other}


def test_where_the_other_checker_breaks_a_call_is_wrong(theirs: Reference) -> None:
    """Its exceptions end its whole evaluation; found by hand, since no corruption of the data comes there."""
    theirs.rows("live_multiple")
    theirs.rows("multiple")
    row = next(r for r in rows("multiple") if any(f["type"] == "float" for f in properties(r)))
    name = next(n for n, p in parameters(row).items() if p["type"] == "float")
    (call,) = gold(row)
    huge = replace(call, arguments={**call.arguments, name: 10**400})
    assert theirs.single(row, [huge]) == RAISES
    assert verdict(row, [huge]) == "wrong value"


def parameters(row: Row) -> dict[str, Any]:
    function = row.function(gold(row)[0].name)
    assert function is not None
    return {n: p for n, p in function["parameters"]["properties"].items() if n in gold(row)[0].arguments}


def properties(row: Row) -> list[dict[str, Any]]:
    return list(parameters(row).values())


def test_hostile_source_is_read_in_a_moment() -> None:
    """The same text as the value, in a time that a pattern with nested repetitions would need years for."""
    for text in (
        "[" + "[a]," * 900 + "[x",
        "new Array(" + "[a] , " * 600,
        "new ArrayList<>() {{" + " " * 3900,
        "new HashMap<>(){ " * 230,
        "{a" + ":" * 3000 + "}",
    ):
        for kind, language in (("array", "javascript"), ("dict", "javascript"), ("HashMap", "java")):
            read(text, kind, "any", language)
        read(text, "ArrayList", "any", "java")
    assert read("[[1, 2], [3]]", "array", "any", "javascript") == [[1, 2], [3]]
    assert read("[" + "1," * 3000 + "1]", "array", "integer", "javascript") == "[" + "1," * 3000 + "1]"


# --- cases that were checked by hand -------------------------------------------------------------


def row_of(case: Case) -> Row:
    expected = case.get("allowed", [])
    names = case.get("offered", dict.fromkeys(name for call in expected for name in call))
    functions = (
        {"name": n, "description": n, "parameters": {"type": "dict", **sheet("bfcl")["functions"][n]}}
        for n in names
    )
    asked = ({"role": "user", "content": "Please."},)
    return Row("of the sheet", case.get("of", "simple_python"), asked, tuple(functions), tuple(expected))


def answer_of(case: Case) -> str:
    made = [ToolCall(name, given) for call in case.get("made", ()) for name, given in call.items()]
    return render_calls(made) + written(case.get("text", ""))


@pytest.mark.parametrize("case", cases("bfcl"))
def test_bfcl_judges_as_the_sheet(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentlora.core.manager import default_plugins

    row = row_of(case)
    monkeypatch.setattr("agentlora.eval.bfcl.evaluator._by_id", {row.category: {row.id: row}}.__getitem__)
    output = Output(row.id, answer_of(case), finish_reason=case.get("ended", "stop"))
    score = default_plugins().get("evaluators", "bfcl").score(example_of(row), output)
    check(case, score, {"right": case["right"]})
    assert score.why == case.get("why", "")


@pytest.mark.parametrize("case", cases("bfcl"))
def test_the_leaderboards_own_checker_judges_as_the_sheet(theirs: Reference, case: Case) -> None:
    row, text = row_of(case), answer_of(case)
    theirs.take(row)
    answer = parse_answer(text)
    said = theirs.single(row, text if answer.malformed else answer.calls)
    assert said == case.get("theirs", case["right"])


# --- rows ---------------------------------------------------------------------------------------


def test_every_row_has_an_answer_but_those_that_are_listed(data: None) -> None:
    wrong = {row.id for name in SINGLE for row in rows(name) if row.truth and verdict(row, gold(row))}
    assert wrong == set(WITHOUT_ANSWER)


def test_examples_are_what_everything_else_takes(data: None) -> None:
    from jsonschema import Draft202012Validator

    for name in SINGLE:
        for row in rows(name)[::31]:
            example = example_of(row)
            assert Example.from_dict(example.to_dict()).id == row.id
            for tool in example.tools:
                Draft202012Validator.check_schema(tool["function"]["parameters"])
                if row.language != "python":
                    parts = tool["function"]["parameters"]["properties"].values()
                    assert all(part["type"] == "string" for part in parts)


def test_an_unknown_category_names_the_nearest(data: None) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'simple_python'"):
        rows("simple_pyton")
    with pytest.raises(ConfigError, match="several turns"):
        rows("multi_turn_base")
    with pytest.raises(ConfigError, match="one turn"):
        conversations("multiple")


@pytest.mark.parametrize("category", sorted(set(CATEGORIES) - set(SEEN)))
def test_models_are_asked_nothing_of_what_stays_unseen(category: str) -> None:
    """Three categories and no other: scores on the others would no longer say anything once somebody looked."""
    assert SEEN == ("simple_python", "multiple", "irrelevance")
    with pytest.raises(ConfigError, match="stays unseen"):
        for_models(category)


# --- the evaluator ------------------------------------------------------------------------------


def test_the_evaluator_validates_on_all_data(data: None) -> None:
    evaluator = BfclEvaluator()
    for name in SINGLE:
        some = rows(name)[::7]
        assert evaluator.validate([example_of(row) for row in some]) == []


def test_the_evaluator_finds_what_is_wrong_with_it(data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that lets everything, or nothing, pass does not validate."""
    from agentlora.eval.bfcl import evaluator

    example = example_of(rows("multiple")[0])
    for said in ("", "wrong value"):
        monkeypatch.setattr(evaluator, "verdict", lambda row, calls, said=said: said)
        assert BfclEvaluator().validate([example])


def test_answers_are_read_and_the_reason_is_said(data: None) -> None:
    row = rows("simple_python")[0]
    example, (call,) = example_of(row), gold(row)
    none = example_of(rows("irrelevance")[0])
    more = replace(call, arguments={**call.arguments, "colour": "red"})

    def why(example: Example, text: str, finish: Any = "stop") -> str:
        score = BfclEvaluator().score(example, Output(example.id, text, finish_reason=finish))
        assert score.metrics["right"] == float(not score.why)
        return score.why

    assert why(example, f"Sure.\n{render_calls([call])}") == ""
    assert why(example, "Sure.") == "no call"
    assert why(example, render_calls([call, call])) == "too many calls"
    assert why(example, render_calls([replace(call, name="other")])) == "wrong name"
    assert why(example, render_calls([more])) == "unknown argument"
    assert why(example, render_calls([replace(call, arguments={})])) == "missing argument"
    assert why(example, OPEN + '{"name": ') == "unreadable call"
    assert why(example, OPEN + '{"name": ', "length") == "cut off"
    assert why(none, "None of the tools fits.") == ""
    assert why(none, render_calls([call])) == "called"
    assert why(none, OPEN) == "unreadable call"


def test_what_is_no_row_is_refused() -> None:
    example = Example("1", ({"role": "user", "content": "Hi"},), Expected(text="Hi"))
    with pytest.raises(DataError, match="no row of the Berkeley data"):
        BfclEvaluator().score(example, Output("1", "Hi"))
    with pytest.raises(DataError, match="no row of the Berkeley data"):
        BfclEvaluator().score(replace(example, tags={"slice": "multi_turn_base"}), Output("1", "Hi"))


def test_the_evaluator_is_offered_by_name() -> None:
    from agentlora.core.manager import default_plugins

    assert isinstance(default_plugins().get("evaluators", "bfcl"), BfclEvaluator)
