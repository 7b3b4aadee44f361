"""What answers fail by: cases by hand, agreement with the evaluators, nearest valid values, sums, hostile answers."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compliance_cases import CALLS, ORDER, VALUES, Case
from eval_examples import example, light, make_examples
from eval_runs import Counting, perfect, run, shown

from agentlora.core.schema import errors, is_valid
from agentlora.core.schema_errors import findings
from agentlora.core.types import Example, Expected, Output, ToolCall
from agentlora.eval.cache import AnswerCache
from agentlora.eval.calls import render_calls
from agentlora.eval.compliance import Compliance, judge
from agentlora.eval.compliance_summary import Answered, side_by_side
from agentlora.eval.conditions import BASELINES, Condition, constrained_pairs, default_conditions, in_hermes
from agentlora.eval.nearest import LEFT_OUT, closest, edits, given_and_nearest
from agentlora.eval.record import Record
from agentlora.eval.report import html, markdown
from agentlora.eval.scorers import ToolCallEvaluator, render_answer
from agentlora.tasks.structured_output.scoring import JsonFields

CONSTRAINED = Condition("base + schema", "constrained")


def asked(case: Case) -> Example:
    if case.schema is not None:
        messages = ({"role": "user", "content": "?"},)
        return Example(case.name, messages, Expected(value={}), schema=case.schema)
    return example(case.name, "?", *([light("hall")] if case.wanted else []))


def judged(case: Case) -> Compliance:
    output = Output(case.name, case.answer, "length" if case.cut else "stop")
    found = judge(asked(case), output, array=case.array)
    assert found is not None
    return found


def told(found: Compliance) -> list[tuple[str, str]]:
    return [
        (("" if p.counts else "!") + p.keyword + (f" › {p.branch}" if p.branch else ""), p.path)
        for p in found.problems
    ]


@pytest.mark.parametrize("case", [*VALUES, *CALLS], ids=lambda case: case.name)
def test_faults_are_attributed_as_a_person_would(case: Case) -> None:
    found = judged(case)
    assert found.undecided is None
    assert sorted(told(found)) == sorted(case.faults), case.why
    assert found.valid is case.valid, case.why


@pytest.mark.parametrize("case", [*VALUES, *CALLS], ids=lambda case: case.name)
def test_an_answer_is_valid_exactly_where_the_evaluators_say_so(case: Case) -> None:
    output = Output(case.name, case.answer)
    if case.schema is not None:
        score = JsonFields().score(asked(case), output)
    else:
        read = in_hermes(output, asked(case), CONSTRAINED) if case.array else output
        score = ToolCallEvaluator().score(asked(case), read)
    valid = judged(case).valid
    assert score.metrics["schema_valid"] == (None if valid is None else float(valid))


def damaged(text: str, rng: random.Random) -> str:
    """A text with one to three of its pieces lost, doubled or changed."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        text = rng.choice(
            [
                text[:at] + text[at + rng.randint(1, 9) :],
                text[:at] + rng.choice('{}[]",:\\ 0ae\n') + text[at:],
                text[:at],
                text.replace(rng.choice('":,{'), "", 1),
                f"Well. {text}",
                text.replace("room", "rom").replace("20", '"20"'),
            ]
        )
    return text


def test_damaged_answers_are_judged_as_the_evaluators_judge_them() -> None:
    rng = random.Random(7)
    verdicts = {True: 0, False: 0, None: 0}
    tools, fields = ToolCallEvaluator(), JsonFields()
    order: Any = {"id": "AB-1234", "unit": "kg", "items": [{"name": "tea", "price": 2.5}]}
    value = Example("v", ({"role": "user", "content": "?"},), Expected(value=order), schema=ORDER)
    for _ in range(400):
        for e in (*make_examples(1), value):
            text = damaged(json.dumps(order) if e is value else render_answer(e.expected), rng)
            output = Output(e.id, text)
            score = (fields if e is value else tools).score(e, output)
            found = judge(e, output)
            assert found is not None
            expected = score.metrics["schema_valid"]
            assert found.valid == (None if expected is None else bool(expected)), text
            assert (found.valid is not False) or any(p.counts for p in found.problems)
            verdicts[found.valid] += 1
    assert min(verdicts.values()) > 50


def test_findings_are_there_exactly_where_the_validator_finds_something() -> None:
    rng = random.Random(3)
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        2.5,
        "",
        "kg",
        "AB-1234",
        [],
        ["x"],
        {},
        {"kind": "dog"},
        [{"price": 1}],
    ]
    schemas = [case.schema for case in VALUES if case.schema]
    seen = {True: 0, False: 0}
    for schema in schemas:
        named = list(schema.get("properties") or ("kind", "lives"))
        for _ in range(60):
            value = rng.choice([rng.choice(odd), {k: rng.choice(odd) for k in named if rng.random() < 0.7}])
            found = findings(schema, value)
            assert bool(found) == bool(errors(schema, value))
            for finding in found:
                given, nearest = given_and_nearest(schema, value, finding)
                assert nearest is None or given is not None
            seen[bool(found)] += 1
    assert min(seen.values()) > 100


# --- the nearest valid value --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "given", "nearest"),
    [
        ({"enum": ["celsius", "fahrenheit"]}, "Celcius", "celsius"),
        ({"enum": ["in_progress", "done"]}, "In Progress", "in_progress"),
        ({"enum": [1, 2, 5]}, 4, 5),
        ({"enum": [1, 2, 5]}, "2", 2),
        ({"const": "v1"}, "v2", "v1"),
        ({"type": "integer"}, "20", 20),
        ({"type": "integer"}, " -3 ", -3),
        ({"type": "integer"}, "007", None),  # its zeros would be lost
        ({"type": "integer"}, 2.5, None),
        ({"type": "number"}, "1,000", None),  # a thousand, or one
        ({"type": "number"}, "2.50", 2.5),
        ({"type": "string"}, 5, "5"),
        ({"type": "string"}, True, "true"),
        ({"type": "boolean"}, "False", False),
        ({"type": "boolean"}, "yes", None),
        ({"type": "array", "items": {"type": "string"}}, "a", ["a"]),
        ({"type": "array", "items": {"type": "integer"}}, "a", None),  # an array of it would not fit
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "integer"}, [3], 3),
        ({"type": "integer", "minimum": 10}, "5", None),  # as a number it is still too small
        ({"minimum": 10}, 5, 10),
        ({"type": "integer", "exclusiveMinimum": 10}, 5, 11),
        ({"multipleOf": 0.05}, 0.07, 0.05),
        ({"maxLength": 3}, "abcd", "abc"),
        ({"uniqueItems": True}, [1, 2, 1], [1, 2]),
        ({"pattern": "^[A-Z]{3}$"}, " eur", "EUR"),
        ({"pattern": "^[A-Z]{3}$"}, "euro", None),
        ({"anyOf": [{"type": "number"}, {"enum": ["auto"]}]}, "5", 5),
        ({"anyOf": [{"type": "number"}, {"enum": ["auto"]}]}, "Auto", "auto"),
    ],
)
def test_the_nearest_valid_value_fits(schema: Any, given: Any, nearest: Any) -> None:
    nearest_text = None if nearest is None else json.dumps(nearest)
    whole = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    (finding,) = findings(whole, {"x": given})
    assert given_and_nearest(whole, {"x": given}, finding) == (json.dumps(given), nearest_text)
    if nearest_text is not None:
        assert is_valid(whole, {"x": json.loads(nearest_text)})


def test_the_nearest_key_is_the_one_that_is_spelt_most_alike() -> None:
    schema: Any = {
        "type": "object",
        "properties": {"start_date": {}, "title": {}},
        "required": ["title"],
        "additionalProperties": False,
    }

    def nearest(value: Any) -> dict[str, tuple[str | None, str | None]]:
        found = findings(schema, value)
        return {f"{f.keyword} {f.path}": given_and_nearest(schema, value, f) for f in found}

    assert nearest({"titel": "x"}) == {
        "required title": ('"titel"', '"title"'),
        "additionalProperties titel": ('"titel"', '"title"'),
    }
    assert nearest({"title": "x", "startDate": 1}) == {
        "additionalProperties startDate": ('"startDate"', '"start_date"')
    }
    assert nearest({"title": "x", "colour": 1}) == {"additionalProperties colour": ('"colour"', LEFT_OUT)}
    assert nearest({}) == {"required title": (None, None)}
    nothing: Any = {"properties": {"note": {"type": "string"}}}
    (finding,) = findings(nothing, {"note": None})
    assert given_and_nearest(nothing, {"note": None}, finding) == ("null", LEFT_OUT)


def test_distances_are_those_of_the_textbook() -> None:
    assert [
        edits(*pair) for pair in (("kitten", "sitting"), ("titel", "title"), ("", "abc"), ("ca", "abc"))
    ] == [
        3,
        1,
        3,
        3,
    ]
    assert closest("set_lamp", ["set_light", "play"]) is None  # four letters of eight
    assert closest("setLight", ["play", "set_light"]) == "set_light"
    assert closest("x", ["y"]) is None  # nothing is left of it


# --- hostile answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"items": [' + ",".join('{"nam": 1}' for _ in range(60_000)) + "]}",
        "{" + ",".join(f'"k{i}": {i}' for i in range(60_000)) + "}",
        '{"id": "' + "A" * 1_000_000 + '"}',
        "{ " * 300_000,
        "<tool_call>" * 90_000,
        '{"id": "\\ud83d"}',
        '{"n": ' + "9" * 5000 + "}",
        "\x00" * 1000,
    ],
    ids=[
        "openers",
        "many faults",
        "many keys",
        "long",
        "braces",
        "marks",
        "half a character",
        "digits",
        "zeros",
    ],
)
def test_a_megabyte_of_anything_is_attributed_and_stays_small(text: str) -> None:
    for e in (
        Example("v", ({"role": "user", "content": "?"},), Expected(value={}), schema=ORDER),
        example("c", "?", light("hall")),
    ):
        found = judge(e, Output("x", text))
        assert found is not None
        assert found.valid is False
        assert len(json.dumps([p.with_nearest().to_dict() for p in found.problems])) < 50_000


def test_what_is_not_decided_is_no_fault() -> None:
    slow: Any = {"properties": {"x": {"type": "string", "pattern": "^(a|aa)+(?=b)$"}}}
    messages = ({"role": "user", "content": "?"},)
    found = judge(
        Example("v", messages, Expected(value={}), schema=slow), Output("v", json.dumps({"x": "a" * 5000}))
    )
    assert found is not None
    assert (found.valid, found.problems) == (None, ())
    assert "too many steps" in str(found.undecided)
    assert judge(Example("t", messages, Expected(text="x")), Output("t", "y")) is None


# --- in the record and in reports ---------------------------------------------------------------


def test_a_record_counts_by_keyword_and_path(tmp_path: Path) -> None:
    examples = make_examples(6)
    wrong = {
        f"skill/g{g}-one": render_calls([ToolCall("set_light", {"room": "hall", "brightness": "20"})])
        for g in range(3)
    }
    wrong |= {"skill/g3-one": render_calls([ToolCall("set_light", {"rooom": "<b>hall</b>"})])}
    record, samples = run(Counting(perfect(examples) | wrong), examples, tmp_path)
    found = record.condition("adapter").compliance
    assert found is not None
    assert (found.valid.scored, found.valid.not_applicable, found.faulty) == (12, 12, 4)
    assert found.valid.mean == pytest.approx(8 / 12)
    assert found.valid.low is not None
    assert [(k.keyword, k.answers, k.paths) for k in found.keywords] == [
        ("type", 3, 1),
        ("additionalProperties", 1, 1),
        ("required", 1, 1),
    ]
    worst = found.paths[0]
    assert (worst.path, worst.answers, worst.given, worst.nearest) == (
        "set_light(brightness)",
        3,
        '"20"',
        "20",
    )
    assert worst.samples == ("g0-one", "g1-one", "g2-one")
    assert "brightness" in worst.output
    assert [p.nearest for p in found.paths[1:]] == ['"room"', '"room"']
    refused = record.condition("base").compliance
    assert refused is not None
    assert [(k.keyword, k.answers) for k in refused.keywords] == [("no_call", 12)]
    (sample,) = [s for s in samples if s["condition"] == "adapter" and s["id"] == "g0-one"]
    assert [(p["keyword"], p["path"]) for p in sample["problems"]] == [("type", "set_light(brightness)")]
    record.save(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json") == record
    page, text, table = html(record, samples), markdown(record), shown(record)
    for report in (page, text, table):
        assert "Schema compliance" in report
        assert "additionalProperties" in report
        assert "set" in report
        assert "66.7 %" in report
    assert "<b>hall" not in page
    assert '<code>"20"</code>, nearest valid <code>20</code>'.replace('"', "&quot;") in page


def test_free_and_constrained_decoding_stand_side_by_side(tmp_path: Path) -> None:
    """Under the grammar the base always calls, rightly where a call is wanted, and takes twice the tokens."""
    examples = make_examples(8)

    class Held(Counting):
        def generate(self, requests: Any) -> list[Output]:
            said = {e.id: e.expected.calls for e in examples}
            outputs = []
            for request in requests:
                calls = said[request.id] or (light("hall"),)
                text = json.dumps([{"name": c.name, "arguments": dict(c.arguments)} for c in calls])
                held = request.json_schema is not None
                seconds, tokens = (3.0, 20) if held else (1.0 + len(request.id) / 100, 10)
                outputs.append(
                    Output(request.id, text if held else "No.", output_tokens=tokens, latency_s=seconds)
                )
            return outputs

    record, samples = run(Held(), examples, tmp_path, conditions=[BASELINES[0], CONSTRAINED])
    (pair,) = record.constraints
    assert (pair.free, pair.constrained) == ("base", "base + schema")
    rows = {row.metric: row for row in pair.rows}
    assert (rows["valid"].free.mean, rows["valid"].constrained.mean) == (0, 1)
    assert (rows["right"].free.mean, rows["right"].constrained.mean) == (0.5, 0.5)
    assert rows["right"].difference.mean == 0
    assert rows["output_tokens"].difference.mean == 10
    assert rows["seconds"].constrained.mean == 3
    assert rows["seconds"].difference.mean == pytest.approx(2 - 0.06, abs=0.01)
    for report in (html(record, samples), markdown(record), shown(record)):
        assert "Seconds an answer" in report
    surely = {"low": 0.5, "high": 3.0}
    more = [r.model_copy(update={"difference": r.difference.model_copy(update=surely)}) for r in pair.rows]
    page = html(record.model_copy(update={"constraints": (pair.model_copy(update={"rows": tuple(more)}),)}))
    table = page[page.index("Free and constrained decoding") :]
    found = re.findall(r'<th scope="row">([^<]*)</th><td>.*?<td class="(\w+)"', table)
    assert found[:4] == [
        ("Fits its schema", "up"),
        ("Right (exact match)", "up"),
        ("Tokens an answer", "down"),  # of which fewer are better
        ("Seconds an answer", "down"),
    ]


@pytest.mark.parametrize(("batch", "clusters"), [(4, 4), (3, 2), (5, 1), (16, 1), (1, 4)])
def test_answers_of_one_batch_share_its_time(batch: int, clusters: int) -> None:
    """Sixteen examples in groups of four. In batches of four a group is a batch; others chain the batches on the other
    side together; a batch of all has no interval; of answers made one by one groups count.
    """

    def asked(size: int, slower: float) -> list[Answered]:
        return [
            Answered(
                example(f"e{n}", "?", light("hall"), group=f"g{n // 4}"),
                Output(f"e{n}", "", output_tokens=4 + n % 3, latency_s=slower + (n // size) ** 1.5),
                None,
                1.0,
                False,
            )
            for n in range(16)
        ]

    answers = {"base": asked(4, 1.0), "base + schema": asked(batch, 2.0)}
    (pair,) = side_by_side([BASELINES[0], CONSTRAINED], answers, False)
    seconds = next(row for row in pair.rows if row.metric == "seconds")
    tokens = next(row for row in pair.rows if row.metric == "output_tokens")
    assert seconds.difference.groups == clusters
    assert (seconds.difference.low is None) == (clusters == 1 or batch == 4)
    assert (seconds.constrained.low is None) == (batch == 16)
    assert tokens.difference.groups == 4
    assert tokens.free.low is not None


def test_reports_say_why_seconds_have_no_interval(tmp_path: Path) -> None:
    examples = make_examples(8)

    class Batch(Counting):
        def generate(self, requests: Any) -> list[Output]:
            return [replace(o, latency_s=2.0) for o in super().generate(requests)]

    both = [BASELINES[0], CONSTRAINED]
    record, _ = run(Batch(), examples, tmp_path, conditions=both)
    for report in (html(record), markdown(record), " ".join(shown(record).split())):
        assert "Seconds have no interval where all answers share the time of one batch" in report
    cache = AnswerCache(tmp_path / "cache")
    run(Batch(), examples, tmp_path, conditions=both[:1], cache=cache)
    record, _ = run(Batch(), examples, tmp_path, conditions=both, cache=cache)
    for report in (html(record), markdown(record), " ".join(shown(record).split())):
        assert "Answers that were known from before took no time" in report


def test_the_adapter_is_asked_the_other_way_too_and_that_decides_nothing(tmp_path: Path) -> None:
    examples = make_examples(8)
    conditions = default_conditions("skill", strict=True, again="calls")
    record, samples = run(Counting(perfect(examples)), examples, tmp_path, conditions=conditions)
    plain, _ = run(Counting(perfect(examples)), examples, tmp_path, conditions=conditions[:-1])
    assert [c.name for c in record.conditions if c.aside] == ["adapter, free"]
    assert record.differences == plain.differences
    assert record.slice_differences == plain.slice_differences
    assert record.best_baseline == plain.best_baseline
    assert ("adapter, free", "adapter") in [(p.free, p.constrained) for p in record.constraints]
    assert "adapter, free" in html(record, samples)
    assert "aside" not in json.dumps(plain.to_dict())  # so that the digests of other records stay
    held = default_conditions("skill", strict=True, values=True, again="values")
    assert (held[-1].name, held[-1].kind, held[-1].aside) == ("adapter + schema", "constrained", True)
    pairs = [(a.name, b.name) for a, b in constrained_pairs(held, calls=False)]
    assert pairs == [
        ("base", "base + schema"),
        ("base + 3 examples", "base + both"),
        ("adapter", "adapter + schema"),
    ]


def test_an_evaluation_without_schemas_has_no_such_section(tmp_path: Path) -> None:
    examples = [Example(f"t{i}", ({"role": "user", "content": "?"},), Expected(text="yes")) for i in range(4)]
    record, samples = run(Counting(), examples, tmp_path, conditions=[BASELINES[0]])
    assert record.conditions[0].compliance is None
    assert "compliance" not in json.dumps(record.to_dict())
    assert "Schema compliance" not in html(record, samples) + markdown(record) + shown(record)


def test_a_tool_that_is_changed_is_looked_at_again() -> None:
    """What is known of tools and schemas goes by what they say, not by which objects they are."""
    asked_of = example("a", "?", light("hall"))
    parameters = json.loads(json.dumps(asked_of.tools[0]["function"]["parameters"]))
    tool = {"type": "function", "function": {"name": "set_light", "parameters": parameters}}
    changed = replace(asked_of, tools=(tool,))
    answer = Output("a", render_calls([light("hall")]))

    def valid() -> bool | None:
        found = judge(changed, answer)
        assert found is not None
        return found.valid

    assert valid() is True
    parameters["properties"]["room"] = {"type": "integer"}
    assert valid() is False
    parameters["properties"]["room"] = {"type": "nothing"}
    assert valid() is None
    parameters["properties"]["room"] = {"type": "string", "format": "date"}
    found = judge(changed, answer)
    assert found is not None
    assert told(found) == [("!format", "set_light(room)")]


def test_a_name_that_is_not_offered_is_told_with_the_nearest() -> None:
    found = judge(example("a", "?", light("hall")), Output("a", render_calls([ToolCall("set_lihgt", {})])))
    assert found is not None
    (problem,) = (p.with_nearest() for p in found.problems)
    assert (problem.keyword, problem.given, problem.nearest) == ("unknown_tool", "set_lihgt", "set_light")


def test_calls_that_nobody_wanted_are_named_as_far_as_they_can_be_read() -> None:
    read, text = render_calls([light("hall")]), '<tool_call>so {"name": "b", "arguments": {}}</tool_call>'
    as_text = '<tool_call>{"name": "c", "arguments": "{}"}</tool_call>'
    found = judge(example("a", "?"), Output("a", f"{read} {text} {as_text} <tool_call>"))
    assert found is not None
    assert [p.given for p in found.problems if p.keyword == "unwanted_call"] == ["set_light, c"]
