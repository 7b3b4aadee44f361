"""The transformers engine on a tiny random model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from eval_examples import SET_LIGHT, make_examples, say

from agentlora.core.decoding import NEUTRAL
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.manager import load_plugins
from agentlora.core.schema import is_valid
from agentlora.core.types import EngineSpec, GenerateRequest, Output
from agentlora.eval.cache import answerer
from agentlora.eval.conditions import Condition, default_conditions
from agentlora.eval.engines import grammars
from agentlora.eval.engines.batching import halved
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory
from agentlora.eval.runner import evaluate
from agentlora.eval.scorers import ToolCallEvaluator

SAID = ("Hi", "Turn on the light in the kitchen, please, and be quick about it", "What now?")


def spec_of(directory: Path, **options: Any) -> EngineSpec:
    template = (directory / "chat_template.jinja").read_text(encoding="utf-8")
    return EngineSpec(directory, template, options=options)


def test_the_built_in_names_are_registered_and_load() -> None:
    plugins = load_plugins({"eval": "agentlora.eval.plugin"})
    assert plugins.catalog.names("engines") == ["echo", "openai", "transformers"]
    for name in plugins.catalog.names("engines"):
        assert callable(plugins.get("engines", name).open)
    assert plugins.get("evaluators", "tool-calls").metrics[0] == "parsed"


@pytest.fixture(scope="module")
def adapter_dirs(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters with weights large enough to change every answer, and one for other modules."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    found = []
    for seed in (1, 2):
        model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        peft = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
        torch.manual_seed(seed)
        for name, weight in peft.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=1.0)
        found.append(tmp_path_factory.mktemp(f"adapter{seed}"))
        peft.save_pretrained(found[-1])
    return found


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path, adapter_dirs: list[Path]) -> Iterator[TransformersEngine]:
    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu", batch_size=3)) as opened:
        for i, directory in enumerate(adapter_dirs):
            opened.add_adapter(f"skill@{i}.0", directory)
        yield opened


def reference(directory: Path, adapter: Path | None, text: str, tokens: int) -> tuple[str, int]:
    """Greedy decoding by hand: one prompt, no padding, no cache; (text, prompt length)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).eval()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + tokens:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                return tokenizer.decode(ids[start:-1]), start
    return tokenizer.decode(ids[start:]), start


def test_batches_answer_as_each_request_alone_does(
    engine: TransformersEngine, tiny_model_dir: Path, adapter_dirs: list[Path]
) -> None:
    systems = [(None, None), ("skill@0.0", adapter_dirs[0]), ("skill@1.0", adapter_dirs[1])]
    requests = [say(f"{name}/{i}", text, adapter=name) for i, text in enumerate(SAID) for name, _ in systems]
    outputs = engine.generate(requests)
    assert [o.id for o in outputs] == [r.id for r in requests]
    expected = [reference(tiny_model_dir, directory, text, 8) for text in SAID for _, directory in systems]
    assert [(o.text, o.prompt_tokens) for o in outputs] == expected
    assert len({o.text for o in outputs[:3]}) == 3  # the adapters do something


def test_the_length_limit_is_each_requests_own(engine: TransformersEngine) -> None:
    short, long = engine.generate([say("a", "Hi", max_tokens=2), say("b", "Hi", max_tokens=12)])
    assert (short.finish_reason, short.output_tokens) == ("length", 2)
    assert long.output_tokens > 2
    assert long.text.startswith(short.text)


def test_an_answer_ends_at_the_end_of_turn(tiny_model_dir: Path) -> None:
    import torch

    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu")) as opened:
        stop = opened._tokenizer.convert_tokens_to_ids("<|im_end|>")
        end = torch.nn.Linear(64, len(opened._tokenizer), bias=True)
        torch.nn.init.zeros_(end.weight)
        torch.nn.init.zeros_(end.bias)
        end.bias.data[stop] = 1.0
        opened._model.lm_head = end
        (output,) = opened.generate([say("a", "Hi")])
    assert (output.text, output.finish_reason, output.output_tokens) == ("", "stop", 1)


def test_one_bad_request_does_not_spoil_the_others(engine: TransformersEngine) -> None:
    outputs = engine.generate(
        [
            say("good", "Hi"),
            say("long", "light " * 3000),
            say("schema", "Hi", json_schema={"type": "warlock"}),
            say("stranger", "Hi", adapter="nobody"),
            GenerateRequest("role", ({"role": "wizard", "content": "Hi"},)),
        ]
    )
    assert [o.error is None for o in outputs] == [True, False, False, False, False]
    for output, word in zip(outputs[1:], ("max_len_tokens", "warlock", "'nobody'", "wizard"), strict=True):
        assert word in str(output.error)
        assert output.finish_reason == "error"


def test_a_batch_that_does_not_fit_into_memory_is_halved(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.generate([say(str(i), text) for i, text in enumerate(SAID)])
    run = TransformersEngine._run

    def scarce(self: TransformersEngine, batch: Any) -> list[Output]:
        if len(batch) > 1:
            raise RuntimeError("can't allocate memory")
        if batch[0].request.id == "1":
            raise MemoryError("not even one")
        return run(self, batch)

    monkeypatch.setattr(TransformersEngine, "_run", scarce)
    parts = engine.generate([say(str(i), text) for i, text in enumerate(SAID)])
    assert (parts[0], parts[2]) == (whole[0], whole[2])
    assert "not even one" in str(parts[1].error)


def test_one_that_fails_for_whatever_reason_does_not_take_its_batch_along() -> None:
    seen = []

    def run(batch: Sequence[int]) -> list[int]:
        seen.append(list(batch))
        if 3 in batch:
            raise KeyError("three")
        return [10 * one for one in batch]

    assert halved([1, 2, 3, 4], run) == [10, 20, "KeyError: 'three'", 40]
    assert seen == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]


def test_an_adapter_that_does_not_fit_is_refused_and_the_engine_goes_on(
    engine: TransformersEngine, adapter_dirs: list[Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    before = engine.generate([say("a", "Hi"), say("b", "Hi", adapter="skill@0.0")])
    (tmp_path / "adapter_config.json").write_text((adapter_dirs[0] / "adapter_config.json").read_text())
    weights = load_file(adapter_dirs[0] / "adapter_model.safetensors")
    renamed = {name.replace("layers.1", "layers.7"): w for name, w in weights.items()}
    save_file(renamed, tmp_path / "adapter_model.safetensors")
    with pytest.raises(EvalError, match="does not fit this base"):
        engine.add_adapter("foreign", tmp_path)
    after = engine.generate(
        [say("a", "Hi"), say("b", "Hi", adapter="skill@0.0"), say("c", "Hi", adapter="foreign")]
    )
    assert after[:2] == before
    assert "unknown adapter" in str(after[2].error)


def test_a_name_never_changes_its_bytes(engine: TransformersEngine, adapter_dirs: list[Path]) -> None:
    engine.add_adapter("skill@0.0", adapter_dirs[0])
    with pytest.raises(ConfigError, match="already"):
        engine.add_adapter("skill@0.0", adapter_dirs[1])


@pytest.mark.parametrize(
    ("options", "message"), [({"dtype": "float8"}, "float8"), ({"batchsize": 1}, "Did you mean 'batch_size'")]
)
def test_bad_options_are_refused(tiny_model_dir: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformersFactory().open(spec_of(tiny_model_dir, **options))


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model"):
        TransformersFactory().open(EngineSpec(tmp_path, ""))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="loading the model"):
        TransformersFactory().open(EngineSpec(tmp_path, ""))


def test_an_answer_is_held_to_its_schema_and_its_neighbours_are_free(engine: TransformersEngine) -> None:
    """Of values that have no place for white space, which a model of random weights would write without end."""
    pytest.importorskip("xgrammar")
    assert engine.capabilities.json_schema
    rooms = {"enum": ["kitchen", "hall", "cellar"]}
    free = say("free", "Hi", max_tokens=40)
    requests = [
        say("room", "Hi", json_schema=rooms, max_tokens=40),
        free,
        say("number", "Hi", json_schema={"const": 5077}, max_tokens=40),
        say("adapter", "Hi", json_schema=rooms, adapter="skill@0.0", max_tokens=40),
    ]
    room, beside, number, adapted = engine.generate(requests)
    assert {o.finish_reason for o in (room, number, adapted)} == {"stop"}
    assert [is_valid(rooms, json.loads(o.text)) for o in (room, adapted)] == [True, True]
    assert number.text == "5077"
    assert beside.text == engine.generate([free])[0].text
    assert beside.text != room.text


def test_a_call_that_is_begun_is_held_to_its_tool(engine: TransformersEngine) -> None:
    """A model of random weights begins none, so that a grammar is asked what it lets follow."""
    xgrammar = pytest.importorskip("xgrammar")
    request = say("call", "Hi", tools=(SET_LIGHT,), strict_calls=True)
    matcher = xgrammar.GrammarMatcher(engine._grammars.of(request))
    assert matcher.accept_string("I dim it.\n<tool_call>\n")
    assert matcher.accept_string('{"name": "set_light", "arguments": {"room": "hall", "brightness": ')
    assert not matcher.accept_string('"20"')
    assert matcher.accept_string("20}}\n</tool_call>")
    assert engine._grammars.of(say("free", "Hi", tools=(SET_LIGHT,))) is None


def test_without_xgrammar_answers_are_free_only(
    engine: TransformersEngine, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammars, "available", lambda: False)
    held, free = engine.generate([say("held", "Hi", json_schema={"const": 1}), say("free", "Hi")])
    assert "comes with vLLM" in str(held.error)
    assert free.error is None
    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu")) as other:
        assert not other.capabilities.json_schema


def test_an_evaluation_on_a_real_model(engine: TransformersEngine) -> None:
    record, samples = evaluate(
        engine=engine,
        evaluator=ToolCallEvaluator(),
        task_name="tool-calling",
        examples=make_examples(1),
        conditions=default_conditions("skill@0.0"),
        max_tokens=4,
        identity={"engine": "transformers"},
    )
    assert set(record.skipped) == {"base + 3 examples"}
    base, constrained, adapter = record.conditions
    assert base.prompt_tokens == adapter.prompt_tokens > 4 * 100
    assert constrained.prompt_tokens > 4 * 100
    assert len(samples) == 12
    assert all(s["error"] is None for s in samples)


def test_answers_come_batch_by_batch_with_their_seconds(engine: TransformersEngine) -> None:
    requests = [say(str(n), text) for n, text in enumerate((*SAID, "{{ too much }}" * 4000))]
    arrived = list(engine.stream(requests))
    assert arrived[0].id == "3"  # it fits nowhere, which is known first
    assert arrived[0].error is not None
    assert sorted(arrived, key=lambda o: o.id) == engine.generate(requests)
    assert all(o.latency_s is not None and o.latency_s > 0 for o in arrived[1:])


def test_an_ended_evaluation_of_a_real_model_goes_on(engine: TransformersEngine, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "engine": engine,
        "evaluator": ToolCallEvaluator(),
        "task_name": "tool-calling",
        "examples": make_examples(5),  # of two batches
        "conditions": (Condition("adapter", adapter="skill@0.0"),),
        "max_tokens": 4,
        "identity": {"engine": "transformers"},
    }
    whole = evaluate(**settings)

    def ended(condition: str, done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    begun: list[int] = []

    def begin(kept: int, changed: Any) -> dict[str, int]:
        begun.append(kept)
        return {"test_readings": kept}

    kept_in = tmp_path / "part.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(**settings, keep_in=kept_in, on_begin=begin, on_progress=ended)
    record, samples = evaluate(**settings, keep_in=kept_in, on_begin=begin)
    assert begun == [0, 17]
    assert record.data["test_readings"] == 17
    unequal = {"latency_s": None}
    assert [s | unequal for s in samples] == [s | unequal for s in whole.samples]
    assert record.conditions == whole.record.conditions
    assert all(s["latency_s"] > 0 for s in samples)


def test_another_number_format_is_another_answerer(engine: TransformersEngine, tiny_model_dir: Path) -> None:
    """Else the answers of a base in float32 would stand beside an adapter's in bfloat16."""
    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu", dtype="bfloat16")) as other:
        assert other.identity != engine.identity
        assert other.identity == engine.identity.replace("float32", "bfloat16 logits float32")
    for part in (
        "torch.float32",
        "cpu",
        f"torch {version('torch')}",
        f"transformers {version('transformers')}",
    ):
        assert part in engine.identity


def test_a_choice_in_bfloat16_is_by_logits_in_float32(tiny_model_dir: Path, adapter_dirs: list[Path]) -> None:
    """In bfloat16 two words that are not equally likely would be, with the base and with an adapter."""
    import torch

    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu", dtype="bfloat16")) as opened:
        opened.add_adapter("skill@0.0", adapter_dirs[0])
        for adapter in (None, "skill@0.0"):
            with opened.in_process(adapter) as (model, _), torch.inference_mode():
                said = model(torch.tensor([[5, 77, 300, 12]])).logits
            assert said.dtype == torch.float32
            (trace,) = opened.trace([say("a", "Hi", adapter=adapter)])
            steps = [a - b for likeliest in trace.likeliest for a, b in pairwise(likeliest.values())]
            # logits from 4 on come in steps of 1/32 in bfloat16, and those of 2 to 4 in steps of 1/64
            assert sum(abs(64 * step - round(64 * step)) > 0.02 for step in steps) > len(steps) / 2


ODD_DECODING = {
    "repetition_penalty": 50.0,
    "no_repeat_ngram_size": 1,
    "top_k": 1,
    "top_p": 0.01,
    "min_p": 0.99,
    "do_sample": True,
    "temperature": 0.1,
    "max_new_tokens": 2,
    "min_new_tokens": 7,
}


@pytest.fixture(scope="module")
def odd_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a generation config that changes every answer: also by what cannot be said otherwise than
    by leaving it out.
    """
    directory = tmp_path_factory.mktemp("odd") / "model"
    shutil.copytree(tiny_model_dir, directory)
    file = directory / "generation_config.json"
    config = json.loads(file.read_text()) | ODD_DECODING
    with TransformersFactory().open(spec_of(tiny_model_dir, device="cpu")) as plain:
        (output,) = plain.trace([say("a", "Hi")])
    config |= {"suppress_tokens": list(output.ids[:3]), "forced_bos_token_id": 5, "forced_eos_token_id": 6}
    file.write_text(json.dumps(config))
    return directory


def test_a_models_own_decoding_is_left_out(
    engine: TransformersEngine, odd_dir: Path, adapter_dirs: list[Path]
) -> None:
    requests = [
        say(f"{name}/{i}", text, adapter=name) for i, text in enumerate(SAID) for name in (None, "skill@0.0")
    ]
    with TransformersFactory().open(spec_of(odd_dir, device="cpu", batch_size=3)) as opened:
        opened.add_adapter("skill@0.0", adapter_dirs[0])
        assert opened.generate(requests) == engine.generate(requests)
        assert opened.trace(requests[:1]) == engine.trace(requests[:1])
        with opened.in_process("skill@0.0") as (model, _):  # as suites take it
            assert model.generation_config.repetition_penalty is None
            assert model.generation_config.eos_token_id is not None


def test_an_answer_is_drawn_from_all_tokens(engine: TransformersEngine, odd_dir: Path) -> None:
    """Not from the 50 likeliest, as transformers has it, nor from the one that the model's config asks for."""
    requests = [say("a", "Hi", temperature=1.0, seed=seed, max_tokens=12) for seed in range(4)]
    with TransformersFactory().open(spec_of(odd_dir, device="cpu", batch_size=1)) as opened:
        found = [opened.generate([request])[0].text for request in requests]
    assert found == [engine.generate([request])[0].text for request in requests]
    assert len(set(found)) > 1
    hot = [say(str(n), "Hi", temperature=50.0, seed=n, max_tokens=1) for n in range(120)]
    assert (
        len({trace.ids for trace in engine.trace(hot)}) > 60
    )  # at this heat all tokens are nearly as likely


def test_where_an_answer_ends_is_the_models_own_and_known_to_cache_and_record(
    engine: TransformersEngine, tiny_model_dir: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_model_dir, directory)
    (trace,) = engine.trace([say("a", "Hi")])
    file = directory / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": trace.ids[2]}))
    with TransformersFactory().open(spec_of(directory, device="cpu")) as opened:
        (output,) = opened.generate([say("a", "Hi")])
        record, _ = evaluate(
            engine=opened,
            evaluator=ToolCallEvaluator(),
            task_name="tool-calling",
            examples=make_examples(1),
            conditions=(Condition("base"),),
            max_tokens=2,
            identity={"engine": "transformers"},
        )
        assert answerer("transformers", opened) != answerer("transformers", engine)
    assert (output.finish_reason, output.output_tokens) == ("stop", trace.ids.index(trace.ids[2]) + 1)
    assert record.decoding is not None
    assert record.decoding.fixed == {**NEUTRAL, "eos_token_id": trace.ids[2]}
    assert record.to_dict()["decoding"]["fixed"]["top_p"] == 1.0
