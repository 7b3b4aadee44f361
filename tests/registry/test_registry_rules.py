"""Rules that compare: margins, what is undecided, policies. Records are those of `test_registry_gate`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_registry_gate import ADAPTER, TASK, condition, difference, figure, only_reason, record, verdict

from agentlora.core.config import GateConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.eval.record import ProbesRecord
from agentlora.registry.rules import GENERAL, Rule, check_policy, policy_of
from agentlora.registry.verdict import Ruling, Verdict

GUARDED = replace(TASK, guards={"false_calls": 0.02})
GUARD = "false_calls: not worse than the best baseline"
SERVED = {"label": "calls@prod (v3)", "digest": "5e" * 32, "adapter": "0d" * 32}


SAMPLED = {"temperature": 0.7, "seeds": 2, "max_tokens": 64, "max_calls": 2}


def policy(**rules: Any) -> Any:
    return policy_of(GUARDED, parse(GateConfig, {"rules": rules}))


def ruled(found: Verdict, rule: str) -> Ruling:
    return next(r for r in found.rulings if r.rule == rule)


def worse(mean: float, low: float, high: float) -> dict[str, Any]:
    """The record of a clear gain whose false calls are `mean` more than the best baseline's."""
    gain = difference("few-shot", "exact", 0.4, 0.3, 0.5)
    return record(differences=(gain, difference("few-shot", "false_calls", mean, low, high)))


@pytest.mark.parametrize(
    ("mean", "low", "high", "outcome", "passed"),
    [
        (-0.35, -0.4, -0.3, "pass", True),
        (0.0, -0.01, 0.019, "pass", True),  # no better, and surely within the margin
        (0.0, -0.05, 0.05, "undecided", True),
        (0.02, -0.05, 0.09, "undecided", True),  # the margin itself is allowed
        (0.021, -0.05, 0.09, "undecided", False),
        (0.06, 0.03, 0.09, "fail", False),
    ],
)
def test_a_guard_may_be_at_most_its_margin_worse(
    mean: float, low: float, high: float, outcome: str, passed: bool
) -> None:
    found = verdict(worse(mean, low, high), task=GUARDED)
    assert (ruled(found, GUARD).outcome, found.passed) == (outcome, passed)
    assert ("goes by the difference itself" in ruled(found, GUARD).text) is (outcome == "undecided")


def test_what_is_undecided_fails_or_passes_as_the_policy_says() -> None:
    raw = worse(0.01, -0.05, 0.07)
    for undecided, passed in (("fail", False), ("estimate", True), ("pass", True)):
        found = verdict(raw, task=GUARDED, policy=policy(false_calls={"undecided": undecided}))
        assert (ruled(found, GUARD).outcome, found.passed) == ("undecided", passed)
    beyond = verdict(worse(0.05, -0.05, 0.15), task=GUARDED, policy=policy(false_calls={"undecided": "pass"}))
    assert beyond.passed
    assert any("the policy lets that pass" in remark for remark in beyond.remarks)
    surely = verdict(worse(0.06, 0.03, 0.09), task=GUARDED, policy=policy(false_calls={"undecided": "pass"}))
    assert not surely.passed  # what is decided is not undecided


def test_it_says_how_many_examples_would_decide() -> None:
    """An interval of ±0.10 on 100 examples is an error of 0.051; 0.05 is shown by (2.80 · 0.051 / 0.05)² times them."""
    raw = record(differences=(difference("few-shot", "exact", 0.05, -0.05, 0.15),))
    ruling = ruled(verdict(raw), "exact: better than the best baseline")
    needed = 100 * (2.8016 * (0.1 / 1.95996) / 0.05) ** 2
    assert ruling.figures["needed"] == pytest.approx(needed, rel=1e-3)
    assert f"about {ruling.figures['needed']:,} such examples" in ruling.text
    assert ruling.figures["short"] == pytest.approx(0.05)
    at_margin = record(differences=(difference("few-shot", "exact", 0.0, -0.1, 0.1),))
    assert "No number of examples would decide" in only_reason(verdict(at_margin))


def test_a_failure_says_by_how_much_it_is_missed() -> None:
    ruling = ruled(verdict(worse(0.06, 0.03, 0.09), task=GUARDED), GUARD)
    assert ruling.figures["short"] == pytest.approx(0.04)
    floor = ruled(verdict(record(condition("adapter", "skill", 0.6, 0.13))), "false_calls: floor")
    assert (floor.outcome, floor.figures["short"]) == ("fail", pytest.approx(0.03))


def test_a_margin_below_zero_asks_for_more_than_better() -> None:
    assert verdict(policy=policy(headline={"margin": -0.29}, false_calls=None)).passed
    reason = only_reason(verdict(policy=policy(headline={"margin": -0.31}, false_calls=None)))
    assert "does not show that it is more than 0.31 better" in reason


def served_record(exact: tuple[float, float, float] | None, **more: Any) -> dict[str, Any]:
    """As `record`, with what calls@prod serves beside it; `exact` is the difference to that."""
    conditions = (condition("base", None, 0.1, 0.5), condition("few-shot", None, 0.2, 0.4))
    adapter = condition("adapter", "skill", 0.6, 0.05)
    beside = condition("served", None, 0.7, 0.05).model_copy(update={"kind": "served"})
    found = () if exact is None else (difference("served", "exact", *exact),)
    return record(
        conditions=(*conditions, adapter, *(() if exact is None else (beside,))),
        differences=(difference("few-shot", "exact", 0.4, 0.3, 0.5), *found),
        served=SERVED | more,
    )


def test_what_is_served_has_to_be_beaten_and_is_no_baseline() -> None:
    rule = "exact: better than what is served"
    for exact, outcome in (
        ((0.1, 0.02, 0.2), "pass"),
        ((0.1, -0.02, 0.2), "undecided"),
        ((-0.1, -0.2, -0.01), "fail"),
    ):
        found = verdict(served_record(exact), served=SERVED)
        assert ruled(found, rule).outcome == outcome
        assert found.facts["headline"]["best_baseline"] == "few-shot"  # though served is better than it
        assert found.passed is (outcome == "pass")
    assert verdict(served_record((-0.1, -0.2, -0.01)), served=None).passed  # the alias points to nothing


def test_what_is_served_and_failed_to_answer_was_not_beaten() -> None:
    raw = served_record((0.4, 0.3, 0.5))
    beside = raw["conditions"][-1]
    beside["metrics"]["exact"] |= {"scored": 80, "errored": 20}
    beside["first_error"] = "no memory"
    assert "20 of the 100 answers of calls@prod (v3)" in only_reason(verdict(raw, served=SERVED))
    assert "no memory" in only_reason(verdict(raw, served=SERVED))


def test_a_record_of_another_time_does_not_compare_with_what_is_served_now() -> None:
    later = SERVED | {"label": "calls@prod (v4)", "digest": "6f" * 32}
    assert "does not compare it with calls@prod (v4)" in only_reason(
        verdict(served_record((0.1, 0.02, 0.2)), served=later)
    )
    assert "does not compare" in only_reason(verdict(served=SERVED))
    why = verdict(served_record(None, why="it belongs to another base"), served=SERVED)
    assert "it belongs to another base" in only_reason(why)
    against = policy(headline={"against": ["best-baseline"]}, false_calls=None)
    assert verdict(served_record(None, why="x"), served=SERVED, policy=against).passed
    assert verdict(served=SERVED | {"adapter": ADAPTER}).passed  # it is served already


def test_general_ability_is_held_against_the_base() -> None:
    assert any("not measured" in remark for remark in verdict().remarks)
    raw = record()
    for c in raw["conditions"]:
        c["metrics"][GENERAL] = figure(0.5).model_dump()
    for mean, low, high, outcome in (
        (-0.005, -0.015, 0.005, "pass"),
        (-0.005, -0.025, 0.015, "undecided"),
        (-0.05, -0.07, -0.03, "fail"),
    ):
        raw["differences"] = [
            *record()["differences"],
            difference("base", GENERAL, mean, low, high).model_dump(),
        ]
        found = verdict(raw)
        assert ruled(found, "general: not worse than the base").outcome == outcome
        assert found.passed is (outcome == "pass")  # there are enough probes to decide
    assert "data.replay" in ruled(found, "general: not worse than the base").text


@pytest.mark.parametrize(("mean", "passed"), [(-0.05, True), (-0.12, False)])
def test_a_task_may_allow_more_of_general_ability_to_be_lost(mean: float, passed: bool) -> None:
    task = replace(TASK, guards={GENERAL: 0.1})
    lost = difference("base", GENERAL, mean, mean - 0.04, mean + 0.04)
    probes = ProbesRecord(
        n=300,
        available=2000,
        digest="d",
        base=figure(0.6),
        adapter=figure(0.6 + mean),
        difference=lost.model_copy(update={"metric": "right"}),
    )
    found = verdict(record(probes=probes), task=task)
    assert ruled(found, "general: not worse than the base").figures["value"] == pytest.approx(0.6 + mean)
    assert found.passed is passed
    strict = verdict(record(probes=probes), task=TASK)
    assert not strict.passed
    assert any("general" in reason for reason in strict.reasons)


def test_a_guard_about_no_example_of_the_split_says_nothing() -> None:
    adapter = condition("adapter", "skill", 0.6, 0.05)
    nothing = figure(None, scored=0, not_applicable=100)
    adapter = adapter.model_copy(update={"metrics": {**adapter.metrics, "false_calls": nothing}})
    found = verdict(record(adapter), task=GUARDED)
    assert ruled(found, "false_calls").outcome == "skipped"
    assert found.passed


def test_a_guard_about_nothing_is_no_matter_of_an_answer_that_failed() -> None:
    nothing = figure(None, scored=0, not_applicable=99, errored=1)
    floored = replace(GUARDED, floor={"exact": 0.3, "false_calls": 0.1})
    conditions = [
        it.model_copy(update={"metrics": {**it.metrics, "false_calls": nothing}})
        for it in (condition("base", None, 0.1, 0), condition("adapter", "skill", 0.6, 0))
    ]
    found = verdict(record(conditions=conditions), task=floored)
    assert ruled(found, "false_calls").outcome == "skipped"
    assert ruled(found, "false_calls: floor").outcome == "skipped"
    assert found.passed
    # the base's tell that there are such examples: all of the adapter's failed
    conditions[0] = condition("base", None, 0.1, 0.5)
    assert not verdict(record(conditions=conditions), task=floored).passed


def test_general_ability_that_could_not_be_measured_is_undecided() -> None:
    why = "40 of 300 failed for the adapter"
    probes = ProbesRecord(n=300, available=2022, digest="d" * 64, unscored=why, failed=40)
    strict, lenient = (
        verdict(
            record(probes=probes), policy=policy_of(TASK, GateConfig(rules={"general": {"undecided": how}}))
        )
        for how in ("fail", "estimate")
    )
    assert "could not be measured: 40 of 300 failed" in only_reason(strict)
    assert lenient.passed
    assert ruled(lenient, "general").outcome == "undecided"
    # an engine that cannot say how likely answers are is no failure
    cannot = probes.model_copy(update={"failed": 0})
    assert ruled(verdict(record(probes=cannot)), "general").outcome == "skipped"


def test_a_headline_that_only_the_evaluator_calls_lower_is_better() -> None:
    """The best baseline is then the one with the least, and a floor a ceiling."""
    task = replace(TASK, lower_is_better=frozenset(), floor={"exact": 0.15})
    said = {"lower_is_better": ("exact", "false_calls")}
    better = condition("adapter", "skill", 0.05, 0.05)
    won = (
        difference("base", "exact", -0.05, -0.08, -0.02),
        difference("few-shot", "exact", -0.15, -0.2, -0.1),
    )
    found = verdict(record(better, differences=won, **said), task=task)
    assert found.passed
    assert found.facts["headline"]["best_baseline"] == "base"
    worse = condition("adapter", "skill", 0.15, 0.05)
    lost = (
        difference("base", "exact", 0.05, 0.02, 0.08),
        difference("few-shot", "exact", -0.05, -0.08, -0.02),
    )
    assert "0.150 and 0.100" in only_reason(verdict(record(worse, differences=lost, **said), task=task))


def test_a_baseline_that_hardly_answered_is_not_beaten() -> None:
    few = difference("few-shot", "exact", 0.4, 0.3, 0.5).model_copy(update={"n": 15})
    raw = record(differences=(difference("base", "exact", 0.5, 0.4, 0.6), few))
    assert "Only 15 examples were answered by the adapter and by the best baseline" in only_reason(
        verdict(raw)
    )
    least = replace(TASK, min_examples=100)  # as many as there are: one that was lost is no reason
    for n, passed in ((99, True), (90, True), (89, False)):
        few = few.model_copy(update={"n": n})
        raw = record(differences=(difference("base", "exact", 0.5, 0.4, 0.6), few))
        assert verdict(raw, task=least).passed is passed


def test_settings_that_judge_more_easily_do_not_decide() -> None:
    easier = [{"name": TASK.evaluator, "label": None, "params": {"number_tolerance": 5}}]
    raw = record(provenance={"evaluators": easier})
    assert "number_tolerance" in only_reason(verdict(raw, settings={}))
    assert verdict(raw, settings={"number_tolerance": 5}).passed
    assert verdict(record(), settings={}).passed


def test_a_policy_is_laid_over_the_default() -> None:
    found = policy(headline={"margin": 0.01}, schema_valid={"margin": 0.03}, general=None)
    assert found.rules == (
        Rule("exact", 0.01, "fail", ("best-baseline", "served")),
        Rule("false_calls", 0.02, "estimate", ("best-baseline", "served")),
        Rule("schema_valid", 0.03, "fail", ("best-baseline", "served")),
    )
    alone = policy_of(TASK, GateConfig(served=False))
    assert not alone.asks_served
    assert found.asks_served
    assert verdict(served=SERVED, policy=alone).passed
    floors = policy_of(TASK, GateConfig(floors={"exact": 0.7})).floors
    assert floors == {"exact": 0.7, "false_calls": 0.1}
    reason = only_reason(verdict(policy=policy_of(TASK, GateConfig(floors={"exact": 0.7}))))
    assert "at least 0.7" in reason


def test_a_policy_about_a_metric_that_is_none_is_refused() -> None:
    metrics = ("exact", "false_calls")
    check_policy(parse(GateConfig, {"rules": {"headline": {}, "exact": None}}), TASK, metrics)
    with pytest.raises(ConfigError, match=r"rules: unknown metric 'false_call'\. Did you mean 'false_calls'"):
        check_policy(parse(GateConfig, {"rules": {"false_call": {}}}), TASK, metrics)
    with pytest.raises(ConfigError, match=r"gate\.floors"):
        check_policy(GateConfig(floors={"headline": 0.5}), TASK, metrics)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"rules": {"general": {"against": ["served"]}}},
            r"general\.against: the probes are asked of the version and",
        ),
        (
            {"rules": {"headline": {"against": ["served"]}}, "served": False},
            "nothing is left to compare with",
        ),
    ],
)
def test_a_rule_that_could_not_be_judged_is_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_policy(parse(GateConfig, raw), TASK, ("exact", "false_calls"))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"rules": {"headline": {"margin": 2}}},
            r"gate\.rules\.headline\.margin: exact is a share: 0\.02 is two points\..* Did you mean 0\.02\?",
        ),
        ({"rules": {"general": {"margin": 1}}}, r"general\.margin: general is a share.*Did you mean 0\.01\?"),
        ({"rules": {"false_calls": {"margin": -1}}}, r"false_calls\.margin: .* this is -1\."),
        (
            {"floors": {"exact": 30}},
            r"gate\.floors\.exact: exact is a share: 0\.3 is 30 %.*Did you mean 0\.3\?",
        ),
        ({"floors": {"false_calls": -0.1}}, r"A floor lies from 0 to 1, and this is -0\.1\."),
        ({"floors": {"exact": 300}}, r"this is 300\.$"),
    ],
)
def test_points_are_not_taken_for_shares(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_policy(parse(GateConfig, raw), TASK, ("exact", "false_calls"))


def test_a_share_has_all_of_its_range_and_another_metric_no_bounds() -> None:
    edges: dict[str, Any] = {
        "rules": {"headline": {"margin": -0.99}, "false_calls": {"margin": 0.99}},
        "floors": {"exact": 1, "false_calls": 0},
    }
    check_policy(parse(GateConfig, edges), TASK, ("exact", "false_calls"))
    slow: dict[str, Any] = {"rules": {"seconds": {"margin": 2}}, "floors": {"seconds": 30}}
    metrics = ("exact", "false_calls", "seconds")
    check_policy(parse(GateConfig, slow), TASK, metrics, ("seconds", "general"))
    with pytest.raises(ConfigError, match=r"seconds is a share(.|\n)*seconds is a share"):  # all at once
        check_policy(parse(GateConfig, slow), TASK, metrics)
    with pytest.raises(ConfigError, match="general is a share"):  # whatever the evaluator calls its own
        check_policy(parse(GateConfig, {"rules": {"general": {"margin": 2}}}), TASK, metrics, ("general",))


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"guards": {"false_calls": 2}}, r"guards\['false_calls'\]"),
        ({"floor": {"exact": 30}}, r"floor\['exact'\]"),
    ],
)
def test_nor_are_those_of_a_task(said: dict[str, Any], where: str) -> None:
    task = replace(TASK, **said)
    with pytest.raises(ConfigError, match=f"task 'calls', {where}: .* is a share"):
        check_policy(GateConfig(), task, ("exact", "false_calls"))


def test_probes_are_asked_once_whatever_the_seeds() -> None:
    probes = ProbesRecord(
        n=600, available=2000, digest="d", base=figure(0.6), adapter=figure(0.59),
        difference=difference("base", GENERAL, -0.01, -0.03, 0.01).model_copy(update={"n": 600}),
    )  # fmt: skip
    needed = [
        ruled(verdict(record(probes=probes, **more)), "general: not worse than the base").figures["needed"]
        for more in ({}, {"decoding": SAMPLED})
    ]
    assert needed[0] == needed[1]


def test_sampled_answers_of_few_examples_are_few() -> None:
    three = record(
        condition("adapter", "skill", 0.6, 0.05, n=120, scored=120), decoding=SAMPLED | {"seeds": 3}
    )
    assert "has 40 examples that decide" in only_reason(verdict(three))
    wide = difference("few-shot", "exact", 0.05, -0.05, 0.15)
    reasons = verdict(record(differences=(wide,), decoding=SAMPLED)).reasons
    alone = verdict(record(differences=(wide,)))
    needed = ruled(alone, "exact: better than the best baseline").figures["needed"]
    assert any(f"about {round(needed / 2):,} such examples" in reason for reason in reasons)
