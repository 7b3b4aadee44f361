"""`agentlora eval diff`: which samples flipped between two evaluations."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from eval_examples import make_examples
from eval_runs import IDENTITY, Counting, perfect, run
from report_pages import data_in

from agentlora.core.cli.eval import eval as command
from agentlora.core.errors import AgentLoraError, ConfigError, EvalError
from agentlora.core.types import Example
from agentlora.eval.asking import drawn
from agentlora.eval.conditions import default_conditions
from agentlora.eval.diff import _natural, compare, load_side
from agentlora.eval.diff_report import diff_html, summary
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.record import Record, save_samples
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.equality import Comparing
from agentlora.eval.scorers.resources import Cost, Prices
from agentlora.eval.scorers.several import Several
from agentlora.eval.wording import figure_text


def evaluated(
    where: Path,
    wrong: set[str],
    errors: set[str] = frozenset(),
    examples: list[Example] | None = None,
    **more: Any,
) -> Path:
    """A folder with an evaluation whose adapter is wrong on these examples and cannot answer those."""
    where.mkdir()
    examples = examples or make_examples(6)
    answers = perfect(drawn(examples, more.get("seeds", 1))) | {
        f"skill/{name}": "<tool_call>" for name in wrong
    }
    record, samples = run(Counting(answers, dict.fromkeys(errors, "down")), examples, where, **more)
    record.save(where / "record.json")
    save_samples(where / "samples.jsonl", samples)
    return where


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    before = evaluated(tmp_path / "a", {"g0-one", "g1-one", "g2-one", "g2-two", "g3-none"}, {"g5-ask"})
    return before, evaluated(tmp_path / "b", {"g0-one", "g4-none"}, {"g5-two"})


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        # each flip in a group of its own: mid-p of the binomial, all patterns further off and half of those as far
        ((), (), 1.0),
        (("g0-one",), (), 2 * (1 / 2) / 2),
        (("g0-one", "g1-one", "g2-one"), ("g3-one",), 2 * (1 + 4 / 2) / 2**4),
        # in one group they cancel, or count as one that is twice as large
        (("g0-one",), ("g0-two",), 1.0),
        (("g0-one", "g0-two"), (), 2 * (1 / 2) / 2),
        # gains of 2, 1 and −1: of the eight sums two are 4, four are 2 off, two are none
        (("g0-one", "g0-two", "g1-one"), ("g2-one",), (2 + 4 / 2) / 8),
    ],
)
def test_the_paired_test_takes_groups_as_one(
    tmp_path: Path, gained: tuple[str, ...], lost: tuple[str, ...], p: float
) -> None:
    a, b = evaluated(tmp_path / "a", set(gained)), evaluated(tmp_path / "b", set(lost))
    diff = compare(load_side(a, "a"), load_side(b, "b"))
    assert (diff.gained, diff.lost) == (gained, lost)
    assert diff.total.p == diff.difference.p_value == pytest.approx(p)
    assert compare(diff.b, diff.a).total.p == diff.total.p


def test_the_samples_that_flipped_are_found_and_counted(two: tuple[Path, Path]) -> None:
    a, b = two
    diff = compare(load_side(a, "before"), load_side(b, "after"))
    assert diff.gained == ("g1-one", "g2-one", "g2-two", "g3-none")
    assert diff.lost == ("g4-none",)
    total = diff.total
    assert (total.n, total.right_a, total.right_b, total.gained, total.lost) == (22, 17, 20, 4, 1)
    assert total.p == (2 + 6 / 2) / 16  # gains of 1, 2, 1 and −1: of 16 sums, 2 are 5 off and 6 are 3 off
    assert diff.unjudged == 2
    assert diff.difference.mean == pytest.approx(3 / 22)
    assert diff.difference.low is not None
    assert diff.difference.low < 3 / 22
    cases = {value: (f.n, f.gained, f.lost) for value, f in diff.slices["case"].items()}
    assert cases == {"call": (6, 2, 0), "none_fits": (6, 1, 1), "two_calls": (5, 1, 0), "missing": (5, 0, 0)}
    assert diff.slices["case"]["call"].p == 2 / 2 / 4  # one each in two groups
    assert list(cases)[-1] == "missing"  # where most flipped comes first
    assert {v: (f.gained, f.lost) for v, f in diff.slices["tool"].items()} == {
        "set_light": (3, 0),
        "(no call)": (1, 1),
        "play": (1, 0),
    }
    assert compare(diff.b, diff.a).gained == diff.lost


def test_a_record_can_be_compared_with_itself_by_condition(two: tuple[Path, Path]) -> None:
    a, _ = two
    diff = compare(load_side(a, "a", "base"), load_side(a / "record.json", "a"))
    assert diff.lost == ("g3-none",)  # where the base, which always refuses, is right
    assert len(diff.gained) == 12 - 4


def test_an_adapter_that_stands_aside_is_not_compared_unless_it_is_named(tmp_path: Path) -> None:
    a = evaluated(tmp_path / "a", set(), conditions=default_conditions("skill", strict=True, again="calls"))
    record = Record.load(a / "record.json")
    record.model_copy(update={"conditions": record.conditions[::-1]}).save(a / "record.json")
    assert load_side(a, "a").condition == "adapter"
    assert load_side(a, "a", "adapter, free").condition == "adapter, free"


def test_what_cannot_be_compared_is_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = two
    fewer = evaluated(tmp_path / "fewer", set(), examples=make_examples(5))
    with pytest.raises(
        ConfigError, match=r"'a' \(24 examples .* and 'f' \(20 examples .* different examples.*--limit"
    ):
        compare(load_side(a, "a"), load_side(fewer, "f"))
    other = evaluated(tmp_path / "other", set(), task_name="answers")
    with pytest.raises(ConfigError, match="'tool-calling' and 'o' one of 'answers'"):
        compare(load_side(a, "a"), load_side(other, "o"))
    by = evaluated(tmp_path / "by", set(), headline="right_answer")
    with pytest.raises(ConfigError, match="judged by 'exact_match' and 'b' by 'right_answer'"):
        compare(load_side(a, "a"), load_side(by, "b"))
    with pytest.raises(ConfigError, match="Did you mean 'adapter'"):
        load_side(a, "a", "adaptor")
    lines = (b / "samples.jsonl").read_text().splitlines(keepends=True)
    (b / "samples.jsonl").write_text("".join(lines[:-1]))  # of the same data, and one answer is lost
    with pytest.raises(ConfigError, match="different examples"):
        compare(load_side(a, "a"), load_side(b, "b"))
    (b / "samples.jsonl").unlink()
    with pytest.raises(EvalError, match=r"samples\.jsonl"):
        load_side(b, "b")
    with pytest.raises(EvalError, match=r"record\.json"):
        load_side(tmp_path, "none")


def test_the_command_shows_prints_and_writes(two: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(str, two)
    page = tmp_path / "diff.html"
    shown = CliRunner().invoke(command, ["diff", a, b, "--html", str(page)], catch_exceptions=False)
    assert shown.exit_code == 0
    said = " ".join(shown.output.split())
    assert "B is right on 4 that A got wrong, and wrong on 1 that A got right, of 22 examples" in said
    assert "2 examples are not compared" in said
    assert "Lost (1): g4-none: B " in said
    assert "), p = 0.312." in said
    raw = CliRunner().invoke(command, ["diff", b, a, "--json"], catch_exceptions=False)
    found = json.loads(raw.output)
    assert (found["lost"], found["gained"]) == (["g1-one", "g2-one", "g2-two", "g3-none"], ["g4-none"])
    assert found["total"]["p"] == found["difference"]["p_value"] == 0.3125
    data = data_in(page.read_text(encoding="utf-8"))
    assert [s["name"] for s in data["systems"]] == ["A: adapter", "B: adapter"]
    assert data["start"] == {"of": 1, "against": 0, "outcome": "changed"}
    assert "Flips by case" in page.read_text(encoding="utf-8")
    assert "<td>p = 0.250</td>" in page.read_text(encoding="utf-8")
    assert "p = 0.312." in page.read_text(encoding="utf-8")


def everywhere(a: Path, b: Path) -> list[str]:
    """What terminal, page, Markdown and JSON say, each in one line."""
    page, text = a.parent / "diff.html", a.parent / "diff.md"
    files = ["--html", str(page), "--markdown", str(text)]
    said = [
        CliRunner().invoke(command, ["diff", str(a), str(b), *more], catch_exceptions=False).output
        for more in (files, ["--json"])
    ]
    said += [unescape(page.read_text(encoding="utf-8")), text.read_text(encoding="utf-8").replace("\\", "")]
    return [" ".join(each.split()) for each in said]


def test_every_share_has_its_interval_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    a = evaluated(tmp_path / "a", {"g0-one", "g0-two", "g1-one", "g2-two"})
    b = evaluated(tmp_path / "b", {"g4-none"})
    diff = compare(load_side(a, "a"), load_side(b, "b"))
    for side, share in ((diff.a, diff.total.share_a), (diff.b, diff.total.share_b)):
        figure = side.record.condition("adapter").metrics["right_answer"]  # as the evaluation itself has it
        assert (share.mean, share.low, share.high) == (figure.mean, figure.low, figure.high)
        assert share.low is not None
        assert share.low < share.mean < share.high  # type: ignore[operator]
    calls = diff.slices["case"]["call"]
    assert (calls.share_a.mean, calls.share_b.mean) == (4 / 6, 1.0)
    for said in (text for text in everywhere(a, b) if not text.startswith("{")):
        for share in (diff.total.share_a, diff.total.share_b, calls.share_a, calls.share_b):
            assert figure_text(share) in said
            assert "–" in figure_text(share)


def test_what_was_judged_by_other_settings_is_not_compared(tmp_path: Path) -> None:
    plain = evaluated(tmp_path / "plain", set())
    near = ToolCallEvaluator().configured(Comparing(number_tolerance=0.1))
    tolerant = evaluated(tmp_path / "tolerant", set(), evaluator=near)
    with pytest.raises(
        ConfigError, match=r"other settings \(number_tolerance: 0\.0 and 0\.1\)\. .*--evaluator"
    ):
        compare(load_side(plain, "a"), load_side(tolerant, "b"))
    same = evaluated(tmp_path / "same", set(), evaluator=ToolCallEvaluator().configured(Comparing()))
    beside = Several(ToolCallEvaluator(), {"cost": Cost().configured(Prices(price_in=1))}, "cost")
    for other in (same, evaluated(tmp_path / "beside", set(), evaluator=beside)):
        assert compare(load_side(plain, "a"), load_side(other, "b")).notes == ()
    both = evaluated(tmp_path / "both", set(), evaluator=Several(near, {"cost": Cost()}, "cost"))
    assert compare(load_side(tolerant, "a"), load_side(both, "b")).notes == ()


def test_records_of_before_say_their_settings_where_the_run_was_told_them(tmp_path: Path) -> None:
    a, b = evaluated(tmp_path / "a", set()), evaluated(tmp_path / "b", set())
    for place, tolerance, price in ((a, 0.0, 1), (b, 0.1, 2)):
        record = Record.load(place / "record.json")
        assert record.evaluator is not None
        told = [
            {"name": "cost", "label": None, "params": {"price_in": price}},
            {"name": "tool-calls", "label": None, "params": {"number_tolerance": tolerance}},
        ]
        update = {
            "evaluator": record.evaluator.model_copy(update={"settings": None}),
            "provenance": {"evaluators": told},
            "metrics": (*record.metrics, "cost.per_1000"),
        }
        record.model_copy(update=update).save(place / "record.json")
    with pytest.raises(ConfigError, match=r"other settings \(number_tolerance: 0\.0 and 0\.1\)"):
        compare(load_side(a, "a"), load_side(b, "b"))


def test_answers_that_were_written_in_another_way_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    plain = evaluated(tmp_path / "plain", set())
    assert compare(load_side(plain, "a"), load_side(plain, "b", "base")).notes == ()
    longer = evaluated(tmp_path / "longer", set(), max_tokens=9, temperature=0.5)
    for said in everywhere(plain, longer):
        assert "decoded in different ways" in said
        assert "max_tokens 64 in A and 9 in B; temperature 0.0 in A and 0.5 in B." in said
    other = evaluated(tmp_path / "other", set(), identity=IDENTITY | {"engine": "vllm"})
    for said in everywhere(plain, other):
        assert "answered by the engine 'echo' and B by 'vllm'" in said
    for name, version, top_p in (("one", "0.1", 1.0), ("two", "0.2", 0.9), ("old", "", None)):
        monkeypatch.setattr(EchoEngine, "identity", version, raising=False)
        monkeypatch.setattr(EchoEngine, "decoding", {"top_p": top_p} if top_p else {}, raising=False)
        evaluated(tmp_path / name, set())
    for said in everywhere(tmp_path / "one", tmp_path / "two"):
        assert "The engine 'echo' was not the same" in said
        assert "0.1 in A and 0.2 in B" in said
        assert "top_p 1.0 in A and 0.9 in B" in said
    assert (
        compare(load_side(tmp_path / "one", "a"), load_side(tmp_path / "old", "b")).notes == ()
    )  # not known


def test_several_answers_to_an_example_are_compared_one_by_one(tmp_path: Path) -> None:
    sampled: dict[str, Any] = {"examples": make_examples(2), "temperature": 0.7}
    a = evaluated(tmp_path / "a", {"g0-one", "g0-one#2"}, {"g1-two"}, seeds=2, **sampled)
    b = evaluated(tmp_path / "b", {"g1-ask#2"}, seeds=2, **sampled)
    diff = compare(load_side(a, "a"), load_side(b, "b"))
    assert (diff.gained, diff.lost) == (("g0-one", "g0-one#2"), ("g1-ask#2",))
    assert diff.total.p == (2 + 2 / 2) / 4  # gains of 2 and −1: two sums are 3 off and two are 1 off
    said = summary(diff)
    assert "of 15 answers" in said
    assert "1 answers are not compared" in diff_html(diff)
    once = evaluated(tmp_path / "once", set(), seeds=1, **sampled)
    with pytest.raises(
        ConfigError, match=r"'a' has 2 and 'once' has 1 answers to every example.*same --seeds"
    ) as no:
        compare(load_side(a, "a"), load_side(once, "once"))
    assert "--limit" not in str(no.value)


def test_a_target_is_evaluated_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path))
    runner = CliRunner()
    with pytest.raises(AgentLoraError, match="there is no run 'nothing'"):
        runner.invoke(command, ["--split", "dev", "nothing"], catch_exceptions=False)
    with pytest.raises(AgentLoraError, match="there is no run 'nothing'"):
        runner.invoke(command, ["diff", "nothing", "nothing"], catch_exceptions=False)
    shown = runner.invoke(command, ["--help"]).output
    assert "TARGET" in shown
    assert "--limit" in shown
    assert "diff" in shown
    assert "Usage: eval [OPTIONS] TARGET" in runner.invoke(command, []).output


def test_slices_that_flipped_alike_stand_in_the_order_of_their_numbers() -> None:
    values = ["1,014–1,132", "295–396", "9–12", "call"]
    assert sorted(values, key=_natural) == ["call", "9–12", "295–396", "1,014–1,132"]
