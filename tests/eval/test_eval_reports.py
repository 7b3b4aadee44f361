"""What an evaluation is written down as: records and reports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from eval_examples import example, light, make_examples
from eval_runs import IDENTITY, Counting, perfect, run, shown
from report_pages import data_in
from rich.console import Console

from agentlora.core.errors import EvalError
from agentlora.core.types import (
    Example,
    Output,
    Score,
    ToolCall,
)
from agentlora.eval.asking import drawn
from agentlora.eval.calls import render_calls
from agentlora.eval.cells import difference_cell
from agentlora.eval.conditions import Condition, default_conditions
from agentlora.eval.record import DifferenceRecord, Record, load_samples, save_samples
from agentlora.eval.report import html, markdown, terminal_table
from agentlora.eval.runner import AnswerCache
from agentlora.eval.scorers import ToolCallEvaluator, render_answer
from agentlora.eval.wording import direction


def test_a_record_is_written_and_read_back(tmp_path: Path) -> None:
    examples = make_examples(2)
    record, samples = run(Counting(perfect(examples)), examples, tmp_path)
    record.save(tmp_path / "record.json")
    again = Record.load(tmp_path / "record.json")
    assert again == record
    assert again.digest == record.digest
    assert json.loads((tmp_path / "record.json").read_text())["format"] == "agentlora.record/2"
    save_samples(tmp_path / "samples.jsonl", samples)
    assert list(load_samples(tmp_path / "samples.jsonl")) == samples


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw | {"format": "agentlora.record/3"}, "record/3.*newer"),
        (lambda raw: raw | {"surprise": 1}, "surprise"),
        (lambda raw: {k: v for k, v in raw.items() if k != "task"}, "task"),
    ],
)
def test_what_is_no_record_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    record, _ = run(Counting(), make_examples(1), tmp_path)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(change(record.to_dict())))
    with pytest.raises(EvalError, match=message):
        Record.load(path)
    path.write_text("{")
    with pytest.raises(EvalError, match=r"record\.json"):
        Record.load(path)
    with pytest.raises(EvalError, match="cannot be read"):
        Record.load(tmp_path / "absent.json")


def test_the_reports_say_the_figures_and_escape_what_models_write(tmp_path: Path) -> None:
    examples = make_examples(10)
    evil = "<script>alert('x')</script>"
    answers = perfect(examples) | {"skill/g0-one": render_calls([ToolCall("set_light", {"room": evil})])}
    record, samples = run(Counting(answers), examples, tmp_path)
    page, text, table = html(record, samples), markdown(record), shown(record)
    for report in (page, text, table):
        assert "95.0 %" in report
        assert "76–99" in report
        assert "+95.0" in report
    assert evil not in page
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")  # self-contained: nothing is fetched
    assert "Two calls" in page
    assert "Two calls" in text


class Slow(ToolCallEvaluator):
    """Also says how many seconds an answer took, under a name that is markup."""

    metrics = (*ToolCallEvaluator.metrics, "<i>seconds")
    lower_is_better = ToolCallEvaluator.lower_is_better | {"<i>seconds"}

    def score(self, example: Example, output: Output) -> Score:
        found = super().score(example, output)
        return Score(dict(found.metrics) | {"<i>seconds": 7.0 + len(output.text) / 10}, why=found.why)


def test_a_metric_need_not_be_a_share(tmp_path: Path) -> None:
    examples = make_examples(8)
    answers = {e.id: "No. " * n for n, e in enumerate(examples)}
    record, samples = run(Counting(perfect(examples) | answers), examples, tmp_path, evaluator=Slow())
    figure = record.condition("base").metrics["<i>seconds"]
    assert figure.unbounded
    assert figure.low is not None
    assert figure.high is not None
    assert figure.mean == pytest.approx(7 + 4 * 15.5 / 10)
    assert 7 < figure.low < figure.mean < figure.high < 20
    record.save(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json") == record
    raw = record.to_dict()["conditions"][0]["metrics"]
    assert "unbounded" not in raw["exact_match"]  # so that the digest of a record from before stays
    page, text, table = html(record, samples), markdown(record), shown(record)
    for report in (page, text, table):
        assert "13.2" in report
        assert "1320" not in report  # no per cent
    assert "<i>seconds" not in page.lower()


def test_a_mean_of_groups_that_answer_alike_has_a_wider_interval(tmp_path: Path) -> None:
    """The base is right on all of every other group, so that 20 examples that decide tell about as much as 10."""
    examples = make_examples(10)
    answers = {e.id: render_answer(e.expected) for e in examples if int(e.group[1:]) % 2}
    record, _ = run(Counting(perfect(examples) | answers), examples, tmp_path)
    figure = record.condition("base").metrics["exact_match"]
    assert (figure.scored, figure.mean) == (20, 0.5)
    assert (figure.low, figure.high) == pytest.approx((0.226, 0.774), abs=0.01)  # Wilson's of 20 * 9 / 19


def found(low: float, mean: float, high: float, **more: Any) -> dict[str, Any]:
    return {"low": low, "mean": mean, "high": high} | more


def test_what_is_undecided_is_not_coloured_and_what_is_small_keeps_its_sign(tmp_path: Path) -> None:
    examples = make_examples(8)
    record, samples = run(Counting(perfect(examples)), examples, tmp_path)

    def with_difference(**values: float) -> Record:
        changed = tuple(d.model_copy(update=values) for d in record.differences)
        return record.model_copy(update={"differences": changed})

    undecided = with_difference(**found(-0.004, 0.05, 0.104))
    assert '<div class="tile"><b>+5.0</b>' in html(undecided, samples)
    assert '<div class="tile bad"><b>−5.0</b>' in html(with_difference(**found(-0.1, -0.05, -0.01)), samples)
    assert '<div class="tile good"><b>+5.0</b>' in html(with_difference(**found(0.01, 0.05, 0.1)), samples)
    assert "−0.4 to +10.4" in " ".join(shown(undecided).split())
    tiny = with_difference(**found(-0.0004, 0.0, 0.104))
    for report in (markdown(tiny), html(tiny)):
        assert "−0.0 to +10.4" in report


def test_every_report_says_what_is_to_be_known_beside_the_figures(tmp_path: Path) -> None:
    examples = drawn(make_examples(8), 2)
    answers = perfect(examples)
    conditions = (*default_conditions("skill"), Condition("served", adapter="served", served=True))
    judging = {
        "": {"gave_up": "the judge <b>answers</b> no more"},
        "judge": {
            "agreement": {
                **{"n": 40, "accuracy": 0.9, "accuracy_low": 0.77, "accuracy_high": 0.96},
                **{"kappa": 0.8, "kappa_low": 0.6, "kappa_high": 0.97},
            }
        },
    }
    served = {
        "label": "calls@prod (v3)",
        "name": "calls",
        "alias": "prod",
        "digest": "c" * 64,
        "adapter": "d",
    }
    engine = Counting(answers, {"g0-one": "server <on> fire"})
    engine.add_adapter("served", tmp_path)
    record, samples = run(
        engine,
        make_examples(8),
        tmp_path,
        conditions=conditions,
        temperature=0.7,
        seeds=2,
        served=served,
        identity=IDENTITY | {"provenance": {"judging": judging, "seed": 5}},
        seed=5,
    )
    cut = record.conditions[0].model_copy(update={"truncated": 3})
    asked = record.model_copy(update={"conditions": (cut, *record.conditions[1:])})
    said = [
        "2 answers to every example, sampled at temperature 0.7.",
        "'served' is calls@prod (v3), as the alias had it when this was evaluated.",
        "'adapter': 1 of 64 requests failed, in no mean: server <on> fire",
        "'base': 3 answers were cut off at",
        "judge agrees with 90.0 % (77–96) of 40 verdicts of people; Cohen's kappa 0.80 (0.60 to 0.97).",
        "a true difference in exact match under",
    ]
    page = html(asked, samples)
    head = page[: page.index("</header>")]
    for report in (unescape(head), markdown(asked).replace("\\", ""), " ".join(shown(asked).split())):
        for line in [*said, "the evaluator gave up: the judge <b>answers</b> no more"]:
            assert line in report, (line, report)
    assert "<b>answers" not in page
    assert '<p class="note warn">the evaluator gave up' in page
    away = served | {"why": "it belongs to another base"}
    record = record.model_copy(update={"served": away, "conditions": record.conditions[:-1]})
    for report in (html(record), markdown(record), " ".join(shown(record).split())):
        assert "What is served now, calls@prod (v3), was not asked: it belongs to another base." in report


def test_the_page_says_how_and_by_whom_its_answers_were_judged(tmp_path: Path) -> None:
    record, samples = run(
        Counting(),
        make_examples(2),
        tmp_path,
        seed=7,
        identity=IDENTITY | {"provenance": {"seed": 7, "python": "3.13.1"}},
    )
    record = record.model_copy(update={"engine_version": "echo 1.2, float32"})
    page = html(record, samples)
    facts = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page[page.index("Where this comes from") :]))
    assert record.evaluator is not None
    assert facts["Evaluator"] == f"{record.evaluator.name} {record.evaluator.digest}"
    assert json.loads(unescape(facts["Decoding"])) == {
        **{"temperature": 0.0, "seeds": 1, "max_tokens": record.max_tokens},
        "max_calls": record.decoding and record.decoding.max_calls,
    }
    assert (facts["Seed"], facts["Engine, version"], facts["python"]) == ("7", "echo 1.2, float32", "3.13.1")
    assert "seed" not in facts  # once


def test_an_adapter_that_stands_aside_has_no_verdict_of_its_own(tmp_path: Path) -> None:
    examples = make_examples(8)
    conditions = default_conditions("skill", strict=True, again="calls")
    record, samples = run(Counting(perfect(examples)), examples, tmp_path, conditions=conditions)
    turned = record.model_copy(update={"conditions": record.conditions[::-1]})  # it comes first now
    assert turned.conditions[0].aside
    assert [c.name for c in turned.conditions if c.decides] == ["adapter"]
    page = html(turned, samples)
    data = data_in(page)
    assert data["systems"][data["start"]["of"]]["name"] == "adapter"
    assert page.count('class="verdict') == 1
    head = page[: page.index("</header>")]
    assert "Exact match, adapter<br>" in head
    assert "adapter, free<br>" not in head


@pytest.mark.parametrize(
    ("low", "high", "lower", "kind"),
    [
        (0.1, 0.3, False, "up"),
        (0.1, 0.3, True, "down"),
        (-0.3, -0.1, False, "down"),
        (-0.3, -0.1, True, "up"),
        (-0.1, 0.1, False, ""),
        (0.0, 0.1, False, ""),
        (None, None, True, ""),
    ],
)
def test_a_difference_is_coloured_where_its_interval_leaves_out_zero(
    low: float | None, high: float | None, lower: bool, kind: str
) -> None:
    difference = DifferenceRecord(
        metric="m",
        system="a",
        baseline="<b>",
        n=20,
        groups=10,
        mean=0.2,
        low=low,
        high=high,
        higher=5,
        lower=1,
    )
    assert direction(difference, lower) == kind
    cell = difference_cell(difference, lower)
    assert re.findall('class="(.*?)"', cell) == ([kind] if kind else [])
    assert 'title="+20.0 points' in cell
    assert "(↑5 ↓1 of 20)</small></td>" in cell
    assert difference_cell(None, lower) == "<td>–</td>"


def test_names_cannot_end_the_code_that_they_stand_in(tmp_path: Path) -> None:
    name = "tiny`<img src=x>`"
    record, samples = run(
        Counting(), make_examples(2), tmp_path, identity=IDENTITY | {"base": {"name": name}, "engine": "a`b"}
    )
    assert f"Base `` {name} ``" in markdown(record)
    assert "engine `` a`b ``" in markdown(record)
    assert "<img" not in html(record, samples)


def test_a_constrained_answer_has_room_for_all_calls_that_are_expected(tmp_path: Path) -> None:
    many = example("many", "Light everywhere", *(light(f"room {n}") for n in range(4)))
    examples = [*make_examples(2), many]
    engine = Counting(perfect(examples))
    run(engine, examples, tmp_path)
    room = {r.json_schema["maxItems"] for r in engine.asked if r.json_schema}
    assert room == {4}  # the same for every example: none is told its own number


def test_a_half_character_of_a_model_can_be_written(tmp_path: Path) -> None:
    examples = make_examples(1)
    answers, errors = {e.id: "\ud83d cut" for e in examples}, {examples[1].id: "half \ud83d"}
    _, samples = run(Counting(answers, errors), examples, tmp_path, cache=AnswerCache(tmp_path / "cache"))
    save_samples(tmp_path / "samples.jsonl", samples)
    assert next(load_samples(tmp_path / "samples.jsonl"))["text"] == "? cut"


def test_what_cannot_be_seen_is_named_in_a_terminal_and_in_markdown(tmp_path: Path) -> None:
    """An answer may steer neither the terminal nor the summary of somebody's CI."""
    steering = "\x1b[31mred\x1b]0;pwned\x07 \u202eabc"
    examples = make_examples(2)
    odd = render_calls([ToolCall(steering, {"room": "hall"})])  # a tool that is not offered
    answers = perfect(examples) | {f"skill/{e.id}": odd for e in examples[:2]}
    record, _ = run(Counting(answers), examples, tmp_path)
    console = Console(width=200, record=True, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(terminal_table(record))
    for said in (capture.get(), markdown(record)):
        assert not {"\x1b", "\x07", "\u202e"} & set(said)
        assert "U+001B" in said
