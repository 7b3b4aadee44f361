"""The published format: schemas, samples, the three things that may become of an answer, and records from before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from eval_examples import example, light, make_examples
from eval_runs import IDENTITY, Counting, perfect, run, shown
from jsonschema import Draft202012Validator

from agentlora.core.cli.eval import eval as command
from agentlora.core.errors import EvalError
from agentlora.core.types import Example, Expected, Output, Score
from agentlora.eval.judging import evaluator_record
from agentlora.eval.record import Record, load_samples, save_samples
from agentlora.eval.report import html, markdown
from agentlora.eval.schemas import SCHEMAS
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.equality import Comparing
from agentlora.eval.scorers.resources import Cost, Prices
from agentlora.eval.scorers.schemas import SchemaParams, SchemaValidity
from agentlora.eval.scorers.several import Several

ROOT = Path(__file__).parents[2]
XML = {
    "x-xml": {"root": "a", "prefixes": {}, "files": {"a.xsd": "unused"}},
    "$ref": "#/$defs/a",
    "$defs": {
        "a": {"type": "object", "properties": {"b": {"type": "integer"}}, "x-xml": {"elements": {"b": "b"}}}
    },
}
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.mark.parametrize(("name", "file"), [("record", "record-2.json"), ("sample", "sample-1.json")])
def test_the_published_schemas_are_what_the_models_say(name: str, file: str) -> None:
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    published = ROOT / "docs" / "schemas" / file
    printed = CliRunner().invoke(command, ["--schema", name])
    assert printed.exit_code == 0
    assert json.loads(printed.output) == schema
    advice = f"the format changed: agentlora eval --schema {name} > docs/schemas/{file}"
    assert published.read_text(encoding="utf-8") == printed.output, advice


def without(*path: str) -> Callable[[Any], None]:
    """Removes what lies at `path`; a number is a place in an array."""

    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[int(part)] if part.isdigit() else raw[part]
        del raw[path[-1]]

    return change


def adding(*path: str) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[int(part)] if part.isdigit() else raw[part]
        raw[path[-1]] = {"no": "sense"}

    return change


def test_a_record_and_its_samples_fit_their_schemas_and_nothing_else_does(tmp_path: Path) -> None:
    examples = make_examples(2)
    record, samples = run(Counting(perfect(examples)), examples, tmp_path)
    fits = Draft202012Validator(SCHEMAS["record"]())
    fits.validate(record.to_dict())
    for change in (
        without("decoding"),
        without("evaluator"),
        without("conditions", "0", "statuses"),
        without("skipped"),
        adding("surprise"),
        adding("seed"),
        adding("format"),
        adding("conditions", "0", "metrics", "exact_match", "mean"),
        adding("base", "digest"),
        adding("provenance", "git"),
    ):
        raw = json.loads(json.dumps(record.to_dict()))
        change(raw)
        with pytest.raises(jsonschema.ValidationError):
            fits.validate(raw)
    fits = Draft202012Validator(SCHEMAS["sample"]())
    for sample in samples:
        fits.validate(sample)
    for name in ("status", "prompt_digest", "latency_s"):
        for change in (without(name), adding(name)):
            raw = json.loads(json.dumps(samples[0]))
            change(raw)
            with pytest.raises(jsonschema.ValidationError):
                fits.validate(raw)


def test_a_record_says_what_was_asked_and_who_answered(tmp_path: Path) -> None:
    template = IDENTITY | {"base": {"name": "tiny", "digest": "b" * 64, "template_digest": "d" * 64}}
    engine = Counting()
    engine.identity = "echo 2 at http://user:hunter22@host/"  # type: ignore[attr-defined]
    record, _ = run(engine, make_examples(1), tmp_path, identity=template, max_tokens=9, seed=3)
    assert record.decoding is not None
    assert record.decoding.model_dump() == {"temperature": 0, "seeds": 1, "max_tokens": 9, "max_calls": 2}
    assert (record.seed, record.template) == (3, "d" * 64)
    assert record.engine_version == "echo 2 at http://user:[redacted]@host/"
    assert record.evaluator == evaluator_record(ToolCallEvaluator())
    raw = record.to_dict()
    del raw["decoding"], raw["conditions"][0]["statuses"]
    with pytest.raises(ValueError, match=r"says also: decoding, conditions\.base\.statuses"):
        Record.model_validate(raw)


def test_an_evaluators_settings_are_part_of_who_judged() -> None:
    plain = evaluator_record(ToolCallEvaluator())
    assert plain == evaluator_record(ToolCallEvaluator().configured(Comparing()))
    assert plain.settings == {"number_tolerance": 0.0, "dates": "format", "sets": "unique"}
    near = ToolCallEvaluator().configured(Comparing(number_tolerance=0.1))
    other = evaluator_record(near)
    assert other.settings == {**plain.settings, "number_tolerance": 0.1}
    assert other.digest != plain.digest
    held, free = (evaluator_record(SchemaValidity().configured(SchemaParams(schema=s))) for s in ({}, None))
    assert (held.settings, free.settings) == ({"schema": {}}, {"schema": None})
    assert held.digest != free.digest
    several = Several(near, {"cost": Cost()})
    assert evaluator_record(several).settings == other.settings
    assert (
        evaluator_record(several).digest
        != evaluator_record(Several(near, {"cost": Cost().configured(Prices(price_in=1))})).digest
    )


class Moody(ToolCallEvaluator):
    """Cannot judge one example."""

    def score(self, example: Example, output: Output) -> Score:
        return Score(unscored="no idea") if example.id == "g0-two" else super().score(example, output)


def test_scored_unscored_and_errored_are_three_things(tmp_path: Path) -> None:
    examples = make_examples(5)
    engine = Counting(perfect(examples), {"g0-one": "timeout", "g1-one": "timeout"})
    record, samples = run(engine, examples, tmp_path, evaluator=Moody())
    for condition in record.conditions:
        assert condition.statuses is not None
        assert condition.statuses.model_dump() == {"scored": 17, "unscored": 1, "errored": 2}
    mine = {s["id"]: s for s in samples if s["condition"] == "adapter"}
    assert [mine[f"g0-{name}"]["status"] for name in ("one", "two", "none")] == [
        "errored",
        "unscored",
        "scored",
    ]
    assert (mine["g0-one"]["error"], mine["g0-one"]["scores"], mine["g0-one"]["parsed"]) == (
        "timeout",
        {},
        None,
    )
    assert (mine["g0-two"]["unscored"], mine["g0-two"]["scores"]) == ("no idea", {})
    assert mine["g0-two"]["parsed"]["malformed"] == 0  # it was read, and could not be judged
    for report in (markdown(record), html(record, samples), shown(record)):
        text = " ".join(report.replace("&#x27;", "'").replace("\\", "").split())
        assert "'adapter' 17 scored, 1 unscored, 2 errored." in text


class Quoting(ToolCallEvaluator):
    """Fails at one example, and beside others it says what no file can hold."""

    def score(self, example: Example, output: Output) -> Score:
        if example.id == "g0-two":
            raise OSError(REASON)
        return Score(super().score(example, output).metrics, why="half a \ud800 character")


class Telling(Quoting):
    def facts(self) -> Any:
        raise OSError(REASON)


REASON = "https://me:planted-password@host/v1 refused Authorization: Bearer planted-key-in-a-header, or planted-value"


def test_why_something_failed_is_told_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fails: the engine, the task's evaluator or one beside it."""
    monkeypatch.setenv("SOME_TOKEN", "planted-value")
    examples = make_examples(3)
    engine = Counting(perfect(examples), {"g0-one": REASON})
    both = Several(ToolCallEvaluator(), {"other": Telling()})
    for judge in (Quoting(), both):
        record, samples = run(engine, examples, tmp_path, evaluator=judge)
        told = json.dumps([record.to_dict(), samples])
        assert "planted" not in told
        assert "https://me:[redacted]@host/v1 refused" in str(record.condition("base").first_error)
        assert "the evaluator failed: OSError: https://me:[redacted]@host" in told
    assert record.provenance["judging"]["other"]["failed"].startswith("OSError: https://me:[redacted]@")
    assert samples[-1]["notes"] == {"other": "half a ? character"}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (OSError(REASON), "OSError: https://me:[redacted]@host/v1 refused"),
        ({"cost": float("nan")}, "ValueError: Out of range float values are not JSON compliant"),
        ({"who": "half a \ud800 character"}, "UnicodeEncodeError: "),
        ({"judge": object()}, "TypeError: Object of type object is not JSON serializable"),
    ],
    ids=["raises", "no number", "half a character", "no JSON"],
)
@pytest.mark.parametrize("beside", [False, True])
def test_what_an_evaluator_cannot_say_of_itself_costs_no_answer(
    told: Any, why: str, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "planted-value")

    class Silent(ToolCallEvaluator):
        def facts(self) -> Any:
            if isinstance(told, Exception):
                raise told
            return told

    examples = make_examples(3)
    judge: Any = Several(Silent(), {"other": ToolCallEvaluator()}) if beside else Silent()
    engine = Counting(perfect(examples))
    record, samples = run(engine, examples, tmp_path, evaluator=judge)
    facts = record.provenance["judging"]
    assert (facts[""] if beside else facts)["failed"].startswith(why)
    assert len(samples) == len(engine.asked) == len(record.conditions) * len(examples)
    assert record.condition("adapter").metrics["exact_match"].mean == 1
    record.save(tmp_path / "record.json")
    read = Record.load(tmp_path / "record.json")
    assert "planted" not in json.dumps(read.to_dict())
    for report in (markdown(read), html(read, samples), shown(read)):
        text = " ".join(report.replace("\\", "").split())
        assert f"the evaluator could not say how it judged: {why.split(':')[0]}" in text


def test_a_sample_shows_what_was_read(tmp_path: Path) -> None:
    asked = [
        example("calls", "Dim it", light("hall")),
        Example(
            "value", ({"role": "user", "content": "A number"},), Expected(value=1), schema={"type": "integer"}
        ),
        Example("null", ({"role": "user", "content": "Nothing"},), Expected(value=2), schema={}),
        Example("words", ({"role": "user", "content": "A number?"},), Expected(value=1), schema={}),
        Example("xml", ({"role": "user", "content": "XML"},), Expected(text="<a/>"), schema=XML),
        Example("torn", ({"role": "user", "content": "XML!"},), Expected(text="<a/>"), schema=XML),
        Example("text", ({"role": "user", "content": "Hi"},), Expected(text="Hi")),
    ]
    said = {
        "calls": 'Well: <tool_call>\n{"name": "x", "arguments": {"a": 1}}\n</tool_call><tool_call>{',
        "text": "Hi",
    }
    said |= {"xml": "```xml\n<a><b> 7 </b></a>\n```", "torn": "<a><b>"}
    said |= {"value": "```json\n7\n```", "null": "null", "words": "seven"}
    _, samples = run(Counting(said), asked, tmp_path)
    found = {s["id"]: s["parsed"] for s in samples if s["condition"] == "base"}
    assert found == {
        "calls": {"calls": [{"name": "x", "arguments": {"a": 1}}], "text": "Well:", "malformed": 1},
        "value": {"value": 7},
        "null": {"value": None},
        "words": None,
        "xml": {"value": {"b": 7}},
        "torn": None,
        "text": None,
    }


@pytest.mark.parametrize("odd", [float("nan"), {1, 2}, "no object", ValueError("cannot")])
def test_an_evaluator_says_what_it_reads(tmp_path: Path, odd: Any) -> None:
    class Reading(ToolCallEvaluator):
        def parse(self, example: Example, output: Output) -> Any:
            if example.id != "g0-one":
                return {"length": len(output.text)}
            if isinstance(odd, Exception):
                raise odd
            return odd if isinstance(odd, str) else {"odd": odd}

    examples = make_examples(1)
    _, samples = run(Counting(perfect(examples)), examples, tmp_path, evaluator=Reading())
    assert [s["parsed"] for s in samples[:2]] == [None, {"length": len("I cannot do that.")}]
    assert {s["status"] for s in samples} == {"scored"}
    save_samples(tmp_path / "samples.jsonl", samples)


def test_an_answer_of_any_depth_can_be_written(tmp_path: Path) -> None:
    examples = make_examples(1)
    deep = '{"name": "set_light", "arguments": {"room": %s}}' % ("[" * 190 + "]" * 190)
    said = {"g0-one": f"<tool_call>\n{deep}\n</tool_call>", "g0-two": "[" * 5000}

    class Deep(ToolCallEvaluator):
        def parse(self, example: Example, output: Output) -> Any:
            found: Any = 1
            for _ in range({"g0-none": 400, "g0-ask": 100_000}.get(example.id, 0)):
                found = [found]
            return {"found": found}

    for evaluator in (ToolCallEvaluator(), Deep()):
        _, samples = run(Counting(said), examples, tmp_path, evaluator=evaluator, keep_in=tmp_path / "part")
        save_samples(tmp_path / "samples.jsonl", samples)
        assert list(load_samples(tmp_path / "samples.jsonl")) == samples
    assert samples[0]["parsed"] == {"found": 1}
    assert [s["parsed"] is None for s in samples[:4]] == [False, False, False, True]


def test_digests_tell_examples_and_prompts_apart(tmp_path: Path) -> None:
    examples = make_examples(2)
    _, samples = run(Counting(), examples, tmp_path)
    prompts = {(s["condition"], s["id"]): s["prompt_digest"] for s in samples}
    assert prompts["base", "g0-ask"] == prompts["base", "g1-ask"]  # the same words
    assert prompts["base", "g0-one"] != prompts["base", "g1-one"]
    assert len({prompts[name, "g0-one"] for name in ("base", "base + 3 examples", "base + schema")}) == 3
    by_id = {s["id"]: s["example_digest"] for s in samples}
    assert len(set(by_id.values())) == len(samples) / 4 == len(examples)


# --- records from before ------------------------------------------------------------------------


def test_a_record_of_the_first_format_is_read_and_keeps_its_digest() -> None:
    record = Record.load(FIXTURES / "record_format_1.json")
    assert record.digest == "989d220e12c7062e4cc69d3395d3458e3d231b34ff05349db2027dcde3c975f4"
    assert (record.format, record.decoding, record.conditions[0].statuses) == (
        "agentlora.record/1",
        None,
        None,
    )
    samples = list(load_samples(FIXTURES / "samples_format_1.jsonl"))
    assert [s["status"] for s in samples] == ["errored", "scored", "scored"]
    assert samples[0]["latency_s"] is None
    for report in (markdown(record), html(record, samples), shown(record)):
        assert "late" in report
        assert " unscored," not in report


def test_samples_of_a_later_format_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text('{"id": "a"}\n{"format": "agentlora.sample/9"}\n')
    with pytest.raises(EvalError, match=r"line 2, is a sample of format 'agentlora.sample/9'.*newer"):
        list(load_samples(file))
    file.write_text("[]\n")
    with pytest.raises(EvalError, match="line 1, is no sample but a list"):
        list(load_samples(file))
