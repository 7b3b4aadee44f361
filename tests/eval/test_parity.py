"""Two engines side by side: what is equal, where answers part, and how near the choice was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agentlora.core import manager
from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.evaluating import adapter_digest
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.parity import check_parity
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import EngineSpec, Example, Expected, GenerateRequest, Output, Trace
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory
from agentlora.eval.parity import Mismatch, Parity, compare
from agentlora.plugins.bases.resolve import resolve_base

ASKED = [
    "Hi",
    "Turn on the light in the kitchen, please, and be quick about it",
    "What now?",
    "kitchen",
    "a" * 40,
]


@pytest.fixture(scope="module")
def adapter_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    peft = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(1)
    for name, weight in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    directory = tmp_path_factory.mktemp("adapter")
    peft.save_pretrained(directory)
    return directory


@pytest.fixture
def run(tiny_model_dir: Path, adapter_dir: Path, tmp_path: Path) -> Run:
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    made = create_run(
        parse(RunConfig, {"task": "distillation", "model": str(tiny_model_dir)}), tmp_path / "run"
    )
    asked = [
        Example(str(n), ({"role": "user", "content": text},), Expected(text=text))
        for n, text in enumerate(ASKED)
    ]
    for split, rows in {"train": [], "dev": asked, "test": []}.items():
        made.write_examples(split, rows)  # type: ignore[arg-type]  # a key of the mapping is a str
    write_json(made.directory / "data" / "card.json", {})
    made.adapter_dir.mkdir()
    for file in adapter_dir.iterdir():
        (made.adapter_dir / file.name).write_bytes(file.read_bytes())
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


class Shaky:
    """Opens transformers with an adapter that weighs `times` as much, or under a template that says more."""

    def __init__(self, times: float = 1.0, template: str = "") -> None:
        self.times, self.template = times, template

    def open(self, spec: EngineSpec) -> TransformersEngine:
        engine = TransformersFactory().open(replace(spec, chat_template=self.template + spec.chat_template))
        honest, times = engine.add_adapter, self.times

        def add_adapter(name: str, directory: Path) -> None:
            honest(name, directory)
            for key, weight in engine._model.named_parameters():
                if ".lora_B." in key:
                    weight.data *= times

        engine.add_adapter = add_adapter  # type: ignore[method-assign]
        return engine


@pytest.fixture
def with_engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``with_engine(factory)``: the command line knows it as the engine ``shaky``."""

    def register(factory: Any) -> None:
        plugins = manager.load_plugins()
        plugins.catalog.add("engines", "shaky", factory, "a test")
        monkeypatch.setattr(manager, "default_plugins", lambda: plugins)

    return register


def asked_of(run: Run, *options: str) -> Result:
    given = ["eval", "parity", str(run.directory), "--tokens", "12", *options]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_agrees_with_itself(run: Run, dtype: str) -> None:
    done = asked_of(run, "--engine", "transformers", "--dtype", dtype, "--json")
    report = json.loads(done.stdout)
    (parity,) = report["parity"]
    assert (done.exit_code, report["holds"], parity["equal"], parity["n"]) == (0, True, 5, 5)
    assert parity["rate"]["low"] < 0.6  # five answers prove little
    assert (parity["dtype"], parity["mismatches"], parity["gap_nat"]) == (dtype, [], None)


def test_another_adapter_is_seen_token_by_token(run: Run, with_engine: Any) -> None:
    with_engine(Shaky(times=3.0))
    done = asked_of(run, "--engine", "shaky", "--dtype", "float32", "--json")
    (parity,) = json.loads(done.stdout)["parity"]
    assert done.exit_code == 1
    assert parity["equal"] < 3
    assert "answers are equal; 98% are wanted" in parity["problems"][0]
    engine = TransformersFactory().open(spec_of(run))
    engine.add_adapter("a", run.adapter_dir)
    requests = [request(n, text, adapter="a", max_tokens=12) for n, text in enumerate(ASKED)]
    honest = {trace.output.id: trace for trace in engine.trace(requests)}
    for one in parity["mismatches"]:
        trace = honest[one["id"]]
        own, other = (one[side][one["place"] - one["start"]] for side in ("right", "left"))
        assert [step["id"] for step in one["right"]] == list(trace.ids)[one["start"] : one["place"] + 5]
        assert one["left"][: one["place"] - one["start"]] != [] or one["place"] == 0
        assert own["text"] == engine.spell(own["id"])
        assert own["logprob"] == pytest.approx(trace.likeliest[one["place"]][own["id"]], abs=1e-4)
        weighed = engine.next_logprobs(
            requests[int(one["id"])], trace.ids[: one["place"]], [own["id"], other["id"]]
        )
        assert one["gap"] == pytest.approx(
            weighed[0] - weighed[1], abs=1e-4
        )  # the honest side took the likelier one
    assert parity["gap_nat"]["most"] > 0.1
    assert parity["most_gap"] == 0.1


def test_a_mismatch_is_shown(run: Run, with_engine: Any) -> None:
    with_engine(Shaky(times=3.0))
    done = asked_of(run, "--engine", "shaky", "--show", "1")
    assert done.exit_code == 1
    shown = " ".join(done.stdout.split())
    assert "float32: " in shown
    assert "bfloat16: " in shown
    assert "does not hold: " in shown
    assert "parts at token" in shown
    assert "log-prob." in shown
    assert "more in --json" in shown


def test_prompts_that_differ_are_told_before_answers(run: Run, with_engine: Any) -> None:
    with_engine(Shaky(template="{{ 'Psst. ' }}"))
    done = asked_of(run, "--engine", "shaky", "--dtype", "bfloat16", "--json")
    (parity,) = json.loads(done.stdout)["parity"]
    assert done.exit_code == 1
    assert {one["kind"] for one in parity["mismatches"]} == {"prompt"}
    assert parity["problems"] == ["5 of 5 prompts were put differently"]
    assert "token 0 of the prompt is 'P' for shaky" in parity["mismatches"][0]["why"]


def test_answers_in_batches_are_traced_as_alone(run: Run) -> None:
    """Padding, the prompt's end and the end of turn: every log-probability is what one pass over the text gives."""
    with TransformersFactory().open(spec_of(run, batch_size=3)) as engine:
        engine.add_adapter("a", run.adapter_dir)
        requests = [
            request(n, text, adapter=adapter, max_tokens=3 + n)
            for n, text in enumerate(ASKED)
            for adapter in ("a", None)
        ]
        traces = engine.trace(requests)
        assert [trace.output for trace in traces] == engine.generate(requests)
        for asked, trace in zip(requests, traces, strict=True):
            assert len(trace.ids) == len(trace.likeliest) == trace.output.output_tokens
            assert len(trace.prompt_ids) == trace.output.prompt_tokens
            for place, (token, likeliest) in enumerate(zip(trace.ids, trace.likeliest, strict=True)):
                assert max(likeliest, key=likeliest.__getitem__) == token
                alone = engine.next_logprobs(asked, trace.ids[:place], list(likeliest))
                assert alone == pytest.approx(list(likeliest.values()), abs=1e-4)
        (failed,) = engine.trace([request(9, "light " * 3000)])
        assert "max_len_tokens" in str(failed.output.error)
        assert (failed.ids, failed.likeliest) == ((), ())


def test_an_engine_that_tells_no_tokens_is_refused(run: Run, with_engine: Any) -> None:
    class Mute(Shaky):
        def open(self, spec: EngineSpec) -> Any:
            class Engine:
                generate = add_adapter = None

                def __enter__(self) -> Any:
                    return self

                def __exit__(self, *exc: object) -> None:
                    pass

            return Engine()

    with_engine(Mute())
    with pytest.raises(ConfigError, match="does not tell the tokens"):
        asked_of(run, "--engine", "shaky")


def test_an_engine_that_answers_nothing_is_no_parity(run: Run, with_engine: Any) -> None:
    with_engine(Shaky(template="{{ raise_exception('no') }}"))
    with pytest.raises(EvalError, match="answered none of 5 requests"):
        asked_of(run, "--engine", "shaky")


def test_what_cannot_be_compared_is_told(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"'train' .* is empty"):
        asked_of(run, "--split", "train", "--engine", "transformers")
    done = CliRunner().invoke(cli, ["eval", "parity", str(run.directory), "--url", "http://127.0.0.1:1"])
    assert (done.exit_code, "--dtype" in done.output) == (2, True)
    unservable = parse(RunConfig, {**run.config.model_dump(), "method": {"name": "ia3"}, "serve_on": "none"})
    write_json(run.directory / "run.json", {**json.loads((run.directory / "run.json").read_text()),
                                            "config": unservable.model_dump()})  # fmt: skip
    with pytest.raises(ConfigError, match="cannot be served on vLLM"):
        check_parity(open_run(str(run.directory)), default_plugins())


# --- the rules ----------------------------------------------------------------------------------


def request(number: int, text: str, **more: Any) -> GenerateRequest:
    return GenerateRequest(str(number), ({"role": "user", "content": text},), **more)


def spec_of(run: Run, **options: Any) -> EngineSpec:
    directory = Path(run.config.model)
    return EngineSpec(directory, (directory / "chat_template.jinja").read_text(), options=options)


def trace(text: str, likeliest: Sequence[Mapping[int, float]] = (), error: str | None = None) -> Trace:
    """An answer of which every character is a token."""
    ids = tuple(map(ord, text))
    return Trace(Output("0", text, error=error), (1, 2), ids, tuple(likeliest) or ({},) * len(ids))


def compared(pairs: Sequence[tuple[Trace, Trace]], gap: float = 0.05, dtype: str = "bfloat16") -> Parity:
    asked = []

    def judge(said: GenerateRequest, ids: Sequence[int], among: Sequence[int]) -> list[float]:
        asked.append(bytes(ids).decode())
        return [-1.0, -1.0 - gap]

    return compare(
        [request(n, "x") for n in range(len(pairs))],
        *zip(*pairs, strict=True),
        dtype=dtype,
        sides=("one", "other"),
        judge=judge,
        spell=chr,
    )


SAME = (trace("abcdefgh"), trace("abcdefgh"))
OTHER = (trace("abcdeXgh"), trace("abcdefgh"))


@pytest.mark.parametrize(("others", "holds"), [(0, True), (2, True), (3, False)])
def test_in_float32_98_of_100_have_to_be_equal(others: int, holds: bool) -> None:
    parity = compared([SAME] * (100 - others) + [OTHER] * others, gap=0.5, dtype="float32")
    assert (parity.equal, not parity.problems()) == (100 - others, holds)


@pytest.mark.parametrize(("gap", "holds"), [(0.0, True), (0.0999, True), (0.1, False), (2.0, False)])
def test_in_bfloat16_the_choice_has_to_be_near(gap: float, holds: bool) -> None:
    parity = compared([OTHER, OTHER, SAME], gap)
    assert (parity.equal, not parity.problems()) == (1, holds)
    assert parity.gaps == pytest.approx([gap, gap])


def test_how_near_is_the_users_to_say() -> None:
    assert compared([OTHER], gap=0.2).problems()
    assert not replace(compared([OTHER], gap=0.2), most_gap=0.25).problems()


def test_where_one_answer_ends_there_are_no_two_tokens_to_weigh() -> None:
    (mismatch,) = compared([(trace("abc"), trace("abcd"))]).mismatches
    assert (mismatch.place, mismatch.gap, len(mismatch.left), len(mismatch.right)) == (3, None, 3, 4)
    assert "likelier by 0.1 nat" in compared([(trace("abc"), trace("abcd"))]).problems()[0]


def test_other_tokens_of_the_same_text_are_no_difference() -> None:
    a = trace("ab")
    assert compared([(a, replace(a, ids=(1000,)))]).equal == 1


def test_an_error_is_no_equal_answer() -> None:
    parity = compared([SAME] * 99 + [(trace("", error="gone"), trace(""))], dtype="float32")
    assert parity.problems() == ["1 of 100 prompts had no answer"]
    assert parity.mismatches[0].why == "one: gone"


def test_a_step_has_both_sides_log_probabilities() -> None:
    there = [{ord(c): -0.5} for c in "abcde"]
    left = trace("abcdeX", [*there, {ord("X"): -0.7, ord("f"): -0.72}])
    right = trace("abcdef", [*there, {ord("f"): -0.69}])
    (mismatch,) = compared([(left, right)]).mismatches
    assert isinstance(mismatch, Mismatch)
    assert mismatch.start == 1
    assert [(s.text, s.logprob, s.of_other) for s in mismatch.left[-2:]] == [
        ("e", -0.5, -0.5),
        ("X", -0.7, -0.72),
    ]
    assert [(s.text, s.logprob, s.of_other) for s in mismatch.right[-1:]] == [("f", -0.69, None)]
