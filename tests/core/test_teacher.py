"""A teacher answers the training prompts: once, within its budget, and only what can be learnt is kept."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.config import parse
from agentlora.core.errors import ConfigError, DataError, EvalError
from agentlora.core.manager import load_plugins
from agentlora.core.pipeline import build
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run
from agentlora.core.teacher import ADAPTER, Teacher, _Lazy, find_teacher
from agentlora.core.types import (
    Capabilities,
    EngineSpec,
    Example,
    Expected,
    GenerateRequest,
    Output,
    ToolCall,
)
from agentlora.eval.cache import AnswerCache
from agentlora.eval.teaching import Account, Limits, agreed, ask, to_request
from agentlora.tasks.distillation.agreement import Agreement

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from teacher_server import HANGS, FakeTeacher, fake_teacher

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}


def prompts(path: Path, count: int = 30, **more: Any) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"What is thing{n}?"}], "tools": [TOOL], **more}
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def taught_run(
    path: Path, url: str, directory: Path, *sets: dict[str, Any], task: str = "distillation"
) -> Run:
    layers = [{"teacher": {"source": f"{url}#big", "options": {"timeout_s": 30, "retries": 2}}}, *sets]
    data = {"data": {"builder": "prompts", "params": {"path": str(path)}}}
    run = create_run(resolve_config(load_plugins(), task, data, *layers), directory)
    build(run, load_plugins())
    return run


def test_prompts_are_answered_once_and_what_was_asked_is_told(tmp_path: Path) -> None:
    path = prompts(tmp_path / "p.jsonl")
    with fake_teacher() as teacher:
        run = taught_run(path, teacher.url, tmp_path / "run")
        examples = [e for split in ("train", "dev", "test") for e in run.examples(split)]
        assert len(examples) == 30
        assert all(e.expected.calls[0].name == "look_up" for e in examples)
        said = {e.messages[-1]["content"]: e.expected.calls[0].arguments["word"] for e in examples}
        assert said["What is thing7?"] == "thing7"
        assert len(teacher.asked) == 30
        card = json.loads((run.directory / "data" / "card.json").read_text())
        assert card["teacher"]["asked"] == 30
        assert card["teacher"]["reference"] == {"dev": "teacher", "test": "teacher"}
        again = taught_run(path, teacher.url, tmp_path / "again")
        assert len(teacher.asked) == 30
        assert again.examples("train") == run.examples("train")


def test_a_teacher_that_fails_is_asked_again_and_then_done_without(tmp_path: Path) -> None:
    path = prompts(tmp_path / "p.jsonl", 20)
    with fake_teacher(429, 500, "rubbish", "hang", "refusal") as teacher:
        # one request may meet all four failures that pass, if the others are slow to start
        soon = {"teacher": {"options": {"timeout_s": HANGS - 2, "retries": 4}}}
        run = taught_run(path, teacher.url, tmp_path / "run", soon)
    kept = sum(len(run.examples(split)) for split in ("train", "dev", "test"))
    card = json.loads((run.directory / "data" / "card.json").read_text())
    assert kept == 19  # what its filter cut off is not asked again; the others were
    assert card["teacher"]["dropped"] == {"no answer": 1}
    with fake_teacher() as teacher:  # what failed is asked again, what was answered is not
        teacher_url = teacher.url
        assert len(teacher.asked) == 0
        with pytest.raises(ConfigError, match="already"):
            taught_run(path, teacher_url, tmp_path / "run")


def test_nothing_but_failures_is_told_with_the_first_error(tmp_path: Path) -> None:
    path = prompts(tmp_path / "p.jsonl", 4)
    with fake_teacher(*[500] * 60) as teacher, pytest.raises(DataError, match=r"no answer \(\d+\).*HTTP 500"):
        taught_run(path, teacher.url, tmp_path / "run")


def test_answers_that_cannot_be_learnt_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": f"an odd thing{n}", "tools": [TOOL]} for n in range(10)]
    rows += [{"prompt": f"a fine thing{n}", "tools": [TOOL]} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with fake_teacher() as teacher:
        run = taught_run(path, teacher.url, tmp_path / "run")
    card = json.loads((run.directory / "data" / "card.json").read_text())
    assert card["teacher"]["dropped"] == {"arguments that do not fit the tool": 10}


def test_rows_with_answers_keep_them_where_they_are_evaluated(tmp_path: Path) -> None:
    gold = {"expected": {"calls": [{"name": "look_up", "arguments": {"word": "gold"}}]}}
    path = prompts(tmp_path / "p.jsonl", 30, **gold)
    with fake_teacher() as teacher:
        run = taught_run(path, teacher.url, tmp_path / "run", task="tool-calling")
    assert all(e.expected.calls[0].arguments["word"] != "gold" for e in run.examples("train"))
    assert all(e.expected.calls[0].arguments["word"] == "gold" for e in run.examples("test"))
    assert (
        json.loads((run.directory / "data" / "card.json").read_text())["teacher"]["reference"]["test"]
        == "own"
    )


class Echo:
    """An engine that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def generate(self, requests: Any) -> list[Output]:
        self.asked += len(requests)
        return [Output(r.id, "yes", prompt_tokens=90, output_tokens=10) for r in requests]


def test_counts_below_nothing_do_not_make_room_in_the_budget() -> None:
    request, account = GenerateRequest("a", ({"role": "user", "content": "é" * 70},)), Account()
    account.add(request, Output("a", "x" * 35, prompt_tokens=-(10**9), output_tokens=-5), known=False)
    assert (account.prompt_tokens, account.output_tokens) == (41, 10)  # by their bytes
    assert account.room(Limits(tokens=51)) == 0


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        (Limits(), 40),
        (Limits(requests=10), 10),
        (Limits(tokens=1000), 16),
        (Limits(cost=0.001, price_in=10.0, price_out=10.0), 16),
    ],
)
def test_the_budget_is_kept(tmp_path: Path, limits: Limits, asked: int) -> None:
    examples = [Example(f"e{n}", ({"role": "user", "content": f"{n}"},), Expected()) for n in range(40)]
    requests = [to_request(e, adapter=None, max_tokens=8) for e in examples]
    engine, account = Echo(), Account()
    cache = AnswerCache(tmp_path)
    answers = ask(engine.generate, requests, teacher="t", cache=cache, account=account, limits=limits)
    assert (engine.asked, account.asked, account.unasked) == (asked, asked, 40 - asked)
    again = Account()  # what was answered before counts in the budget: nothing more is asked
    ask(engine.generate, requests, teacher="t", cache=cache, account=again, limits=limits)
    assert again.asked == 0
    assert sum(map(len, answers.values())) == asked
    rest = Account()
    ask(engine.generate, requests, teacher="t", cache=cache, account=rest)
    assert (rest.known, rest.asked) == (asked, 40 - asked)
    other = Account()
    ask(engine.generate, requests, teacher="another", cache=cache, account=other)
    assert other.asked == 40


def test_what_a_teacher_will_cost_is_planned_before_it_is_asked(tmp_path: Path, tiny_model_dir: Path) -> None:
    path, runner = prompts(tmp_path / "p.jsonl", 30), CliRunner()
    with fake_teacher() as teacher:
        words = ["plan", "distillation", "--teacher", f"{teacher.url}#big", "--prompts", str(path)]
        words += [
            "--model",
            str(tiny_model_dir),
            "--set",
            "teacher.price_out=10",
            "--set",
            "teacher.max_cost=0.01",
        ]
        words += ["--set", "teacher.samples=3", "--set", "teacher.max_new_tokens=100"]
        told = runner.invoke(cli, [*words, "--json"])
        assert told.exit_code == 0, told.output
        found = json.loads(told.output)["teacher"]
        assert (found["requests"], found["known"], found["enough"]) == (24 * 3 + 6, 0, False)
        assert (found["output_tokens"], found["cost"]) == (7800, pytest.approx(0.078))
        assert 24 * 3 * 50 < found["prompt_tokens"] < 78 * 200
        assert "the budget may end before that" in " ".join(runner.invoke(cli, words).output.split())
        assert runner.invoke(cli, [*words, "--trainer", "dpo"]).exit_code == 0
        cannot = runner.invoke(cli, [*words, "--task", "structured-output", "--trainer", "grpo"])
        assert cannot.exit_code != 0
        assert not teacher.asked
        taught_run(path, teacher.url, tmp_path / "run", {"teacher": {"samples": 3, "max_new_tokens": 100}})
        found = json.loads(runner.invoke(cli, [*words, "--json"]).output)["teacher"]
        assert (found["known"], found["cost"], found["output_tokens"]) == (78, 0, 0)
        assert found["enough"] is True  # what is known counts with the tokens that it had
        wrong = [word.replace(f"{teacher.url}#big", "nobody") for word in words]
        assert "nobody" in str(runner.invoke(cli, wrong).exception)


class Refusing(Echo):
    """An engine that fails, with `error`, all but the first `good` requests."""

    def __init__(self, error: str, good: int = 0) -> None:
        super().__init__()
        self.error, self.good = error, good

    def generate(self, requests: Any) -> list[Output]:
        found = []
        for request in requests:
            self.asked += 1
            failed = self.asked > self.good
            error = self.error if failed else None
            found.append(
                Output(request.id, "" if failed else "yes", "error" if failed else "stop", error=error)
            )
        return found


@pytest.mark.parametrize(
    ("engine", "asked"), [(Refusing("HTTP 401: no"), 16), (Refusing("time-out", 32), 80)]
)
def test_a_teacher_that_refuses_or_dies_is_given_up_and_what_it_answered_kept(
    tmp_path: Path, engine: Refusing, asked: int
) -> None:
    examples = [Example(f"e{n}", ({"role": "user", "content": f"{n}"},), Expected()) for n in range(200)]
    requests = [to_request(e, adapter=None, max_tokens=8) for e in examples]
    cache = AnswerCache(tmp_path)
    with pytest.raises(EvalError, match="What it answered is kept"):
        ask(engine.generate, requests, teacher="t", cache=cache, account=Account())
    assert engine.asked == asked
    rest = Account()
    ask(Echo().generate, requests, teacher="t", cache=cache, account=rest)
    assert rest.known == engine.good


def test_a_budget_that_ends_early_costs_no_evaluation(tmp_path: Path) -> None:
    path = prompts(tmp_path / "p.jsonl", 100)
    with fake_teacher() as teacher:
        run = taught_run(path, teacher.url, tmp_path / "run", {"teacher": {"max_requests": 30}})
    assert [len(run.examples(split)) for split in ("train", "dev", "test")] == [10, 10, 10]


def test_earlier_calls_are_sent_as_an_api_takes_them(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "sea"}}}
    messages = [
        {"role": "user", "content": "What is the sea?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Water."},
        {"role": "user", "content": "And the land?"},
    ]
    path = tmp_path / "p.jsonl"
    rows = [
        {"messages": [*messages[:-1], {"role": "user", "content": f"And {n}?"}], "tools": [TOOL]}
        for n in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    with fake_teacher() as teacher:
        taught_run(path, teacher.url, tmp_path / "run")
    sent = teacher.asked[0]["messages"]
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == '{"word": "sea"}'
    assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]


def test_of_several_answers_one_is_learnt_that_most_agree_on() -> None:
    example = Example("e", ({"role": "user", "content": "2+2"},), Expected())

    def said(*texts: str) -> Any:
        return agreed(example, [Output("e", text) for text in texts])

    assert said("4", "5", "4").text == "4"
    assert said("4", "5", "6") == "its answers do not agree"
    assert said("4", "5") == "its answers do not agree"
    assert said("") == "an empty answer"
    assert agreed(example, []) == "not asked"
    assert agreed(example, [Output("e", "4 and", finish_reason="length")]) == "cut off at the token limit"
    marked = "Four.<|im_end|>\n<|im_start|>user\nThanks"  # would be another turn once it is rendered
    assert agreed(example, [Output("e", marked)]) == "a mark between turns in its text"


def test_a_value_has_to_fit_its_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    example = Example("e", ({"role": "user", "content": "x"},), Expected(), schema=schema)
    assert agreed(example, [Output("e", '{"n": 1}')]).value == {"n": 1}  # type: ignore[union-attr]
    assert agreed(example, [Output("e", '```json\n{"n": 1}\n```')]).value == {"n": 1}  # type: ignore[union-attr]
    assert agreed(example, [Output("e", '{"n": "1"}')]) == "does not fit the schema"
    assert agreed(example, [Output("e", "one")]) == "not JSON"


def test_agreement_is_judged_by_kind() -> None:
    def score(example: Example, text: str) -> tuple[float | None, float | None]:
        found = Agreement().score(example, Output("e", text))
        return found.metrics["agreement"], found.metrics["same"]

    text = Example("e", (), Expected(text="The sea is deep."))
    assert score(text, "the SEA is deep") == (1, 1)
    assert score(text, "the sea") == (pytest.approx(2 / 3), 0)
    assert score(text, "") == (0, 0)
    value = Example("e", (), Expected(value={"a": 1, "b": 2}), schema={"type": "object"})
    assert score(value, '{"a": 1, "b": 3}') == (0.5, 0)
    call = Example("e", (), Expected(calls=(ToolCall("look_up", {"word": "sea"}),)), tools=(TOOL,))
    right = '<tool_call>\n{"name": "look_up", "arguments": {"word": "sea"}}\n</tool_call>'
    assert score(call, right) == (1, 1)
    assert score(call, "no") == (0, 0)
    said = Example("e", (), Expected(text="It is clear."), tools=(TOOL,))
    assert score(said, "It is clear") == (1, 1)
    assert score(said, "Bananas") == (0, 0)
    assert score(said, right) == (0, 0)
    assert not Agreement().validate([text, value, call])


def test_who_the_teacher_is_has_to_be_said_whole(tmp_path: Path) -> None:
    plugins = load_plugins()
    config = resolve_config(
        plugins, "distillation", {"data": {"params": {"path": "x"}}}, {"teacher": {"source": "http://h/v1"}}
    )
    with pytest.raises(ConfigError, match="which model of the endpoint"):
        find_teacher(config, plugins)
    for secret in ("http://me:key@h/v1#m", "http://h/v1?api_key=key#m"):
        hidden = config.model_copy(update={"teacher": config.teacher.model_copy(update={"source": secret})})
        with pytest.raises(ConfigError, match="api_key_env") as raised:
            find_teacher(hidden, plugins)
        assert "key=key" not in str(raised.value)
    with pytest.raises(ConfigError, match="say who with --teacher"):
        resolve_config(plugins, "distillation", {"data": {"params": {"path": "x"}}})
    unknown = config.model_copy(update={"teacher": config.teacher.model_copy(update={"source": "nobody"})})
    with pytest.raises(ConfigError, match="nobody"):
        find_teacher(unknown, plugins)
    with pytest.raises(ConfigError, match="price_in"):
        parse(type(config), {"task": "distillation", "teacher": {"max_cost": 1}})


def test_prompts_without_a_teacher_are_refused(tmp_path: Path) -> None:
    data = {"data": {"builder": "prompts", "params": {"path": str(prompts(tmp_path / "p.jsonl"))}}}
    config = resolve_config(load_plugins(), "tool-calling", data)
    with pytest.raises(DataError, match="--teacher"):
        build(create_run(config, tmp_path / "run"), load_plugins())


def test_a_student_is_trained_and_judged_beside_its_teacher(tmp_path: Path, tiny_model_dir: Path) -> None:
    gold = {"expected": {"calls": [{"name": "look_up", "arguments": {"word": "gold"}}]}}
    path, run = prompts(tmp_path / "p.jsonl", 40, **gold), tmp_path / "run"
    runner = CliRunner()
    with fake_teacher() as teacher:
        command = [
            "train",
            "distillation",
            "--task",
            "tool-calling",
            "--prompts",
            str(path),
            "--teacher",
            f"{teacher.url}#big",
        ]
        command += [
            "--model",
            str(tiny_model_dir),
            "--output",
            str(run),
            "--max-steps",
            "2",
            "--batch-size",
            "8",
        ]
        trained = runner.invoke(
            cli, [*command, "--set", "training.eval_steps=0", "--set", "eval.max_new_tokens=8"]
        )
        assert trained.exit_code == 0, trained.output
        evaluated = runner.invoke(cli, ["eval", str(run), "--engine", "transformers", "--probes", "0"])
        assert evaluated.exit_code == 0, evaluated.output
    record = json.loads((run / "eval" / "record.json").read_text())
    kinds = {c["name"]: c["kind"] for c in record["conditions"]}
    assert kinds["teacher"] == "given"
    assert record["best_baseline"] != "teacher"
    assert any(d["baseline"] == "teacher" for d in record["differences"])
    assert (
        next(c for c in record["conditions"] if c["name"] == "teacher")["metrics"]["right_name"]["mean"]
        == 1.0
    )


def test_what_the_base_answers_otherwise_is_rejected(tmp_path: Path, tiny_model_dir: Path) -> None:
    path = prompts(tmp_path / "p.jsonl", 20)
    with fake_teacher() as teacher:
        run = taught_run(
            path, teacher.url, tmp_path / "run", {"trainer": "dpo", "model": str(tiny_model_dir)},
            {"eval": {"engine": "transformers"}, "teacher": {"max_new_tokens": 8}},
        )  # fmt: skip
    examples = run.examples("train")
    assert examples
    assert all(e.rejected is not None and e.rejected != e.expected for e in examples)


def test_the_fake_teacher_is_no_model() -> None:
    assert (
        FakeTeacher().answer({"messages": [{"content": "a b"}]})["choices"][0]["message"]["content"] == "b a"
    )


@pytest.mark.parametrize("holds", [True, False])
def test_a_server_knows_a_skill_that_teaches_by_its_weights(holds: bool) -> None:
    """One that runs may know an earlier teacher still. Its calls are held to their schemas where the server can, as
    those of a skill are.
    """
    known: list[str] = []
    asked: list[str | None] = []
    held: list[bool] = []

    class Server:
        capabilities = Capabilities(adapters=True, json_schema=holds)

        def add_adapter(self, name: str, directory: Path) -> None:
            known.append(name)

        def generate(self, requests: Any) -> list[Output]:
            asked.extend(request.adapter for request in requests)
            held.extend(request.strict_calls for request in requests)
            return [Output(request.id, "Yes.") for request in requests]

    factory = SimpleNamespace(open=lambda spec: nullcontext(Server()))
    plugins: Any = SimpleNamespace(get=lambda kind, name: factory)
    for digest in ("aaaa", "bbbb"):
        spec, served = EngineSpec(Path(), ""), f"{ADAPTER}@{digest}"
        with _Lazy(Teacher(digest, digest, "fake", spec, Path(digest), served), plugins) as engine:
            engine.generate([GenerateRequest("1", ({"role": "user", "content": "?"},), adapter=ADAPTER)])
    assert known == asked == ["teacher@aaaa", "teacher@bbbb"]
    assert held == [holds, holds]
