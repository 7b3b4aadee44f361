"""Cases that people can check by hand: what is scored how, and why. Each file has at least fifty of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.types import Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import render_calls

FOLDER = Path(__file__).with_name("cases")
LEAST = 50
VERDICTS = ("right", "valid", "match", "same")
FIGURES = ("latency", "cost", "perplexity", "judge")
Case = dict[str, Any]


@cache
def sheet(name: str) -> Case:
    found: Case = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def cases(name: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{number}-{case['because'][:60]}")
        for number, case in enumerate(sheet(name)["cases"], 1)
    ]


def judge(evaluator: str, case: Case, example: Example, answer: str) -> Score:
    thing = default_plugins().get("evaluators", evaluator)
    if "settings" in case:
        thing = thing.configured(parse(thing.Params, case["settings"], "settings"))
    score: Score = thing.score(example, Output(example.id, answer))
    return score


def written(raw: Any) -> str:
    """A text, or one that is too long for a sheet."""
    if isinstance(raw, str):
        return raw
    middle = raw["repeat"] * raw["times"] + raw.get("close", "") * raw["times"]
    return str(raw.get("before", "") + middle + raw.get("after", ""))


def number(raw: Any) -> float:
    return float(Fraction(raw)) if isinstance(raw, str) else float(raw)


def check(case: Case, score: Score, wanted: dict[str, Any]) -> None:
    if "unscored" in case:
        assert case["unscored"] in str(score.unscored), score
        return
    assert score.unscored is None, score
    for metric, value in {**wanted, **case.get("scores", {})}.items():
        assert score.metrics[metric] == pytest.approx(number(value), rel=1e-3), (metric, score)
    headline = next(iter(wanted))
    assert bool(score.why) == (score.metrics[headline] != 1), (
        score
    )  # what is wrong has a reason, and only that
    assert len(score.why) < 500


# --- tool calls ---------------------------------------------------------------------------------


def _tools(of: str = "tool_calls") -> Iterator[dict[str, Any]]:
    for name, properties in sheet(of)["tools"].items():
        parameters = {
            "type": "object",
            "properties": properties,
            "$defs": {"moment": {"type": "string", "format": "date-time"}},
        }
        yield {"type": "function", "function": {"name": name, "parameters": parameters}}


def _calls(raw: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name, arguments) for call in raw for name, arguments in call.items())


@pytest.mark.parametrize("case", cases("tool_calls"))
def test_tool_calls(case: Case) -> None:
    wanted = _calls(case["wanted"])
    expected = Expected(calls=wanted, text=None if wanted else "None fits.")
    example = Example("x", (), expected, tools=tuple(_tools()), accepts=case.get("accepts"))
    answer = render_calls(_calls(case.get("made", []))) + written(case.get("text", ""))
    check(case, judge("tool-calls", case, example, answer), {"right_answer": case.get("right")})


@pytest.mark.parametrize("case", cases("source_schema"))
def test_source_schema(case: Case) -> None:
    offered, source = (
        [
            {"type": "function", "function": {"name": n, "parameters": p}}
            for n, p in sheet("source_schema")[of].items()
        ]
        for of in ("offered", "source")
    )
    example = Example("x", (), Expected(text="None fits."), tools=tuple(offered))
    answer = render_calls(_calls(case.get("made", []))) + written(case.get("text", ""))
    score = judge("source-schema", {"settings": {"tools": source}}, example, answer)
    if case.get("valid", False) is None:
        assert score == Score({"valid": None})
    else:
        check(case, score, {"valid": case.get("valid")})
    assert case.get("why", "") in score.why
    if "as_offered" in case:
        beside = judge("tool-calls", {}, example, answer)
        assert beside.metrics["schema_valid"] == case["as_offered"], beside


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("json_fields"))
def test_json_fields(case: Case) -> None:
    expected = Expected(value=case["wanted"])
    schema = sheet("json_fields")["schema"]
    example = Example("x", (), expected, schema=schema, accepts=case.get("accepts"))
    answer = written(case["text"]) if "text" in case else json.dumps(case["value"])
    right = case.get("right")
    wanted = {"exact_match": right, "field_accuracy": case.get("share", right)}
    check(case, judge("json-fields", case, example, answer), wanted)


@pytest.mark.parametrize("case", cases("json_schema"))
def test_json_schema(case: Case) -> None:
    example = Example("x", (), Expected(), schema=case["schema"])
    answer = written(case["text"]) if "text" in case else json.dumps(case["value"])
    wanted = {"valid": case.get("valid"), "parsed": case.get("parsed", True)}
    check(case, judge("json-schema", case, example, answer), wanted)


# --- texts --------------------------------------------------------------------------------------


def check_text(evaluator: str, case: Case) -> None:
    if "refused" in case:
        with pytest.raises(ConfigError, match=case["refused"]):
            judge(evaluator, case, Example("x", (), Expected()), "")
        return
    text = written(case["wanted"]) if case.get("wanted") is not None else None
    example = Example("x", (), Expected(text=text), accepts=case.get("accepts"))
    wanted = {"match": case.get("match"), **({"share": case["share"]} if "share" in case else {})}
    check(case, judge(evaluator, case, example, written(case["answer"])), wanted)


@pytest.mark.parametrize("case", cases("exact"))
def test_exact(case: Case) -> None:
    check_text("exact", case)


@pytest.mark.parametrize("case", cases("regex"))
def test_regex(case: Case) -> None:
    check_text("regex", case)


@pytest.mark.parametrize("case", cases("contains"))
def test_contains(case: Case) -> None:
    check_text("contains", case)


@pytest.mark.parametrize("case", cases("text_agreement"))
def test_text_agreement(case: Case) -> None:
    example = Example("x", (), Expected(text=case["wanted"]), accepts=case.get("accepts"))
    score = judge("text-agreement", case, example, written(case["answer"]))
    check(case, score, {"same": case.get("same"), "words": case.get("words")})


# --- each by its kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("agreement"))
def test_agreement(case: Case) -> None:
    calls, text, value = _calls(case.get("calls", [])), case.get("wanted"), case.get("value")
    offered = tuple(_tools("agreement")) if case.get("tools", bool(calls)) else ()
    schema = None if value is None else sheet("agreement")["schema"]
    expected = Expected(calls=calls, text=text, value=value)
    example = Example("x", (), expected, tools=offered, schema=schema, accepts=case.get("accepts"))
    made = render_calls(_calls(case.get("made", [])))
    said = json.dumps(case["said"]) if "said" in case else written(case.get("text", ""))
    score = judge("agreement", case, example, made + said)
    check(case, score, {"same": case.get("same"), "agreement": case.get("agreement")})
    if "unscored" not in case:
        assert score.metrics["schema_valid"] == case.get("fits"), score


# --- the sheets themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_a_sheet_has_fifty_different_cases_with_reasons_of_both_kinds(name: str) -> None:
    found = sheet(name)["cases"]
    assert len(found) >= LEAST
    bare = [json.dumps({key: part for key, part in case.items() if key != "because"}) for case in found]
    assert len(set(bare)) == len(bare)
    assert all(len(case["because"].split()) >= 3 for case in found)
    verdict: Callable[[Case], Any] = lambda case: next(  # noqa: E731
        (case[key] for key in VERDICTS if key in case), "unscored" in case and None
    )
    verdicts = [verdict(case) for case in found]
    if name in FIGURES:  # there is no right or wrong in them
        verdicts = [not {"unscored", "errored", "refused"} & {*case} for case in found]
    assert min(verdicts.count(True), verdicts.count(False)) >= LEAST / 5
    assert name == "bfcl" or any("unscored" in case for case in found)  # bfcl scores every answer
    long = [case.get(key) for case in found for key in ("text", "answer", "wanted", "says", "tokens")]
    assert any(isinstance(text, dict) and "times" in text for text in long)


def test_every_evaluator_has_a_sheet() -> None:
    sheets = {path.stem.replace("_", "-") for path in FOLDER.glob("*.yaml")}
    assert sheets == {*default_plugins().catalog.names("evaluators")}
