"""What reports say first: against the best baseline, against what is served, and what is surely worse."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from eval_examples import make_examples
from eval_runs import Counting, perfect, run, shown
from test_verdict_report import HOSTILE, VERDICT

from agentlora.eval.conditions import Condition, default_conditions
from agentlora.eval.first_view import views
from agentlora.eval.record import DifferenceRecord, Figure, ProbesRecord, Record
from agentlora.eval.report import html, markdown

SERVED = {"label": "calls@prod (v3)", "name": "calls", "alias": "prod", "digest": "c" * 64, "adapter": "d"}
ENDS = ("low", "mean", "high")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The adapter is always right, base and what is served never are."""
    examples = make_examples(8)
    engine = Counting(perfect(examples))
    engine.add_adapter("served", tmp_path)
    conditions = (*default_conditions("skill"), Condition("served", adapter="served", served=True))
    return run(engine, examples, tmp_path, conditions=conditions, served=SERVED).record


def changed(record: Record, ends: dict[tuple[str, str], tuple[float, float, float]]) -> Record:
    """With other differences (low, mean, high) against a baseline in a metric; the others are nothing."""

    def one(found: DifferenceRecord) -> DifferenceRecord:
        values = ends.get((found.baseline, found.metric), (-0.1, 0.0, 0.1))
        return found.model_copy(update=dict(zip(ENDS, values, strict=True)))

    slices = tuple(s.model_copy(update={"difference": one(s.difference)}) for s in record.slice_differences)
    update = {"differences": tuple(map(one, record.differences)), "slice_differences": slices}
    return record.model_copy(update=update)


def figure(mean: float) -> Figure:
    return Figure(n=2022, scored=2022, unscored=0, errored=0, mean=mean, low=mean - 0.02, high=mean + 0.02)


def unlearnt(record: Record, low: float, mean: float, high: float) -> Record:
    difference = record.differences[0].model_copy(
        update={"metric": "general", "low": low, "mean": mean, "high": high}
    )
    found = ProbesRecord(
        n=2022, available=2022, digest="e" * 64, base=figure(0.6), adapter=figure(0.3), difference=difference
    )
    return record.model_copy(update={"probes": found})


def firsts(record: Record) -> list[str]:
    """What HTML, Markdown and terminal say before anything else."""
    page, text = html(record), markdown(record).replace("\\", "").replace("**", "")
    lines = " ".join(shown(record).split())
    header = re.sub("<[^>]*>", " ", page[page.index("</h1>") : page.index('class="tiles"')])
    return [
        " ".join(unescape(header).split()),
        " ".join(text[: text.index("Per cent with")].split()),
        lines[lines.index(f"{views(record)[0].said}: ") :],
    ]


def test_what_is_served_and_far_better_is_said_right_after_the_headline(record: Record) -> None:
    bad = changed(
        record,
        {
            ("base", "exact_match"): (-0.02, 0.25, 0.5),
            ("served", "exact_match"): (-0.89, -0.75, -0.32),
            ("served", "false_call"): (0.05, 0.1, 0.2),  # of which lower is better
        },
    )
    for said in firsts(bad):
        order = [
            "Undecided, and worse elsewhere",
            "+25.0 points (−2.0 to +50.0) against the best baseline 'base'",
            "Worse than what is served now, calls@prod (v3) with 0.0 %",
            "−75.0 points (−89.0 to −32.0).",
            "Surely worse in: false calls +10.0 points (+5.0 to +20.0) against what is served",
        ]
        places = [said.index(part) for part in order]
        assert places == sorted(places), said
    page = html(bad)
    assert '<div class="verdict bad"><p class="said">Undecided, and worse elsewhere' in page
    assert '<div class="tile bad"><b>−75.0</b><span>points against what is served' in page
    assert "against what is served<" not in html(run_without_served(bad))


def run_without_served(record: Record) -> Record:
    kept = tuple(c for c in record.conditions if c.kind != "served")
    return record.model_copy(update={"conditions": kept, "served": None})


def test_general_ability_that_is_surely_lost_takes_the_green_from_a_better_headline(record: Record) -> None:
    better = changed(record, {("base", "exact_match"): (0.5, 0.75, 0.9)})
    assert [view.said for view in views(better)] == ["Better"]
    assert '<div class="tile good"><b>100.0 %' in html(better)
    lost = unlearnt(better, -0.33, -0.3, -0.27)
    for said in firsts(lost):
        assert "Better, but worse elsewhere" in said
        assert (
            "Surely worse in: general-ability probes 60.0 % → 30.0 %, −30.0 points (−33.0 to −27.0)" in said
        )
    page = html(lost)
    assert '<div class="verdict open">' in page
    assert 'class="verdict good"' not in page
    assert '<div class="tile"><b>100.0 %' in page  # the adapter's figure has the verdict's colour
    assert [view.kind for view in views(unlearnt(better, -0.33, -0.1, 0.01))] == ["good"]  # not surely


def test_the_adapters_figure_is_red_where_it_is_worse(record: Record) -> None:
    worse = changed(record, {("base", "exact_match"): (-0.9, -0.7, -0.5)})
    [view] = views(worse)
    assert (view.kind, view.said) == ("bad", "Worse")
    assert '<div class="tile bad"><b>100.0 %</b><span>Exact match, adapter' in html(worse)
    assert '<div class="tile"><b>100.0 %</b><span>Exact match, adapter' in html(changed(record, {}))


def test_of_many_slices_that_are_worse_four_are_named(record: Record) -> None:
    one = record.slice_differences[0]
    worse = one.difference.model_copy(update={"low": -0.5, "mean": -0.3, "high": -0.1})
    many = tuple(one.model_copy(update={"value": f"s{n}", "difference": worse}) for n in range(9))
    [view] = views(changed(record, {}).model_copy(update={"slice_differences": many}))
    assert view.worse[-2:] == ("slice 'S3' −30.0 points (−50.0 to −10.0)", "5 more slices")


# --- the gate -----------------------------------------------------------------------------------


def test_what_the_gate_says_stands_above_the_verdict_with_all_of_its_rules(record: Record) -> None:
    verdict = {**VERDICT, "skill": "calls", "alias": "prod"}
    page = html(record, (), verdict)
    order = ["The gate: refused", 'class="said">Better', "<h2>The gate</h2>", "At a glance"]
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    head = unescape(page[: page.index("</header>")])
    assert "as calls@prod" in head
    assert (
        "exact: better than the best baseline (undecided, missed by 3.0 points; about 7,654 examples" in head
    )
    assert "Undecided, and let pass:</b> false_call: not worse than what is served" in head
    table = page[page.index("<h2>The gate</h2>") : page.index("At a glance")]
    assert table.count('<th scope="row">') == len(VERDICT["rules"])
    assert re.findall('<td class="(up|down|)">([^<]*)', table) == [
        ("up", "pass"),
        ("down", "undecided: fails"),
        ("", "undecided: passes"),
        ("", "skipped"),
        ("up", "pass"),
    ]
    assert '<p class="note warn">✗ exact is 0.500' in table
    assert "<script>" not in page
    assert "[U+0000]" in table
    text = markdown(record, verdict)
    order = [
        "**The gate refused calls@prod:** exact: better than the best baseline (undecided, missed by 3.0 points",
        "**Better:**",
        "## calls@prod: the gate refused",
        "Per cent with",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert HOSTILE not in text
    assert "The gate" not in html(record) + markdown(record)


def test_a_version_that_passed_says_so(record: Record) -> None:
    verdict: dict[str, Any] = {"passed": True, "rules": VERDICT["rules"][:1]}
    page = html(record, (), verdict)
    assert '<div class="verdict good gate"><p class="said">The gate: passed <span>as this version' in page
    assert "Failed:" not in page


# --- expected answers that are not right --------------------------------------------------------


def test_expected_answers_that_their_own_evaluator_calls_wrong_are_told_at_the_top(record: Record) -> None:
    problems = {
        "": {"problems": 7, "first": ["x"], "examples": 5, "asked": 60, "why": "g0: match <i>0"},
        "regex": {"problems": 2, "first": ["g1: the gold answer with a letter more still scores 1"]},
    }
    told = record.model_copy(update={"provenance": {"evaluator_problems": problems}})
    page = html(told)
    said = [
        "By its own evaluator the expected answer of 5 of 60 examples is not right: g0: match <i>0",
        "What the evaluator 'regex' finds wrong with the examples: g1: the gold answer with a letter more",
    ]
    head = unescape(page[: page.index("</header>")])
    for report in (head, markdown(told).replace("\\", ""), " ".join(shown(told).split())):
        assert all(line in report for line in said), report
    assert '<p class="note warn">By its own evaluator' in page
    text = markdown(told)
    assert text.index("By its own evaluator") < text.index("Per cent with")
    assert text.count("By its own evaluator") == 1
    assert "<i>0" not in page
