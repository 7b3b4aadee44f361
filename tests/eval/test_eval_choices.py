"""How likely given answers are: the transformers engine against one row at a time, and what fails alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_examples import TOOLS

from agentlora.core.types import ChoiceRequest, EngineSpec, GenerateRequest, ScoresChoices
from agentlora.eval.engines import choices as scoring
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory

SAID = ("Hi", "Turn on the light in the kitchen, please, and be quick about it", "What now?")
CHOICES = ("light", "the kitchen light is on", "d", "dark\n- and")


def ask(name: str, text: str, *choices: str, **more: Any) -> ChoiceRequest:
    return ChoiceRequest(name, ({"role": "user", "content": text},), choices or CHOICES, **more)


@pytest.fixture(scope="module")
def adapter_dirs(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LoRA, and the two kinds with virtual tokens, with weights large enough to change every figure."""
    import torch
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    kinds = {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "down_proj"]),
        "prompt": PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
        "prefix": PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    }
    found = {}
    for name, config in kinds.items():
        torch.manual_seed(1)
        peft = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), config)
        for weight in peft.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=1.0)
        found[name] = tmp_path_factory.mktemp(name)
        peft.save_pretrained(found[name])
    return found


def opened(directory: Path, **adapters: Path) -> TransformersEngine:
    template = (directory / "chat_template.jinja").read_text(encoding="utf-8")
    spec = EngineSpec(directory, template, options={"device": "cpu", "batch_size": 2})
    found = TransformersFactory().open(spec)
    for name, adapter in adapters.items():
        found.add_adapter(name, adapter)
    return found


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path, adapter_dirs: dict[str, Path]) -> Iterator[TransformersEngine]:
    with opened(tiny_model_dir, lora=adapter_dirs["lora"]) as found:
        yield found


def by_hand(directory: Path, adapter: Path | None, request: ChoiceRequest) -> list[float]:
    """One row at a time, without padding or a cache."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    model = PeftModel.from_pretrained(model, adapter).eval() if adapter else model
    prompt = tokenizer.apply_chat_template(
        list(request.messages), tools=list(request.tools) or None, add_generation_prompt=True, tokenize=False
    )
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    found = []
    for choice in request.choices:
        ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + ids])).logits[0].log_softmax(-1)[-len(ids) - 1 : -1]
        found.append(sum(float(row[token]) for row, token in zip(logits, ids, strict=True)))
    return found


def requests(adapter: str | None = None) -> list[ChoiceRequest]:
    return [ask(text, text, adapter=adapter, tools=TOOLS if text == "Hi" else ()) for text in SAID]


@pytest.mark.parametrize("name", [None, "lora"])
def test_batches_score_as_each_choice_alone_does(
    engine: TransformersEngine, tiny_model_dir: Path, adapter_dirs: dict[str, Path], name: str | None
) -> None:
    outputs = engine.score_choices(requests(name))
    assert [o.id for o in outputs] == list(SAID)
    for request, output in zip(requests(), outputs, strict=True):
        expected = by_hand(tiny_model_dir, adapter_dirs[name] if name else None, request)
        assert output.log_probs == pytest.approx(expected, abs=1e-3), output.error


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_virtual_tokens_count_too(tiny_model_dir: Path, adapter_dirs: dict[str, Path], name: str) -> None:
    with opened(tiny_model_dir, **{name: adapter_dirs[name]}) as engine:
        outputs = engine.score_choices(requests(name))
        base = engine.score_choices(requests())
    for request, output, plain in zip(requests(), outputs, base, strict=True):
        expected = by_hand(tiny_model_dir, adapter_dirs[name], request)
        assert output.log_probs == pytest.approx(expected, abs=1e-3), output.error
        assert output.log_probs != pytest.approx(plain.log_probs, abs=1e-1)


@pytest.mark.parametrize("name", ["lora", "prompt", "prefix"])
def test_an_expected_answer_is_the_mean_of_a_choice_with_its_end_of_turn(
    tiny_model_dir: Path, adapter_dirs: dict[str, Path], name: str
) -> None:
    from transformers import AutoTokenizer

    said = "Dim the hall"
    (row,) = by_hand(tiny_model_dir, adapter_dirs[name], ask("x", said, "light on<|im_end|>"))
    length = len(AutoTokenizer.from_pretrained(tiny_model_dir)("light on<|im_end|>")["input_ids"])
    asked = [
        GenerateRequest(text, ({"role": "user", "content": text},), adapter=name) for text in (*SAID, said)
    ]
    with opened(tiny_model_dir, **{name: adapter_dirs[name]}) as engine:
        found = engine.answer_nats(asked, [{"role": "assistant", "content": "light on"}] * len(asked))
    assert found[-1] == pytest.approx(-row / length, abs=1e-4)


def test_adapters_and_base_do_not_mix(engine: TransformersEngine) -> None:
    names = [None, "lora", None, "lora"]
    outputs = engine.score_choices([ask(str(i), "Hi", adapter=name) for i, name in enumerate(names)])
    figures = [o.log_probs for o in outputs]
    assert figures[0] == pytest.approx(figures[2], abs=1e-4)
    assert figures[1] == pytest.approx(figures[3], abs=1e-4)
    assert figures[0] != pytest.approx(figures[1], abs=1e-1)


def test_a_cache_that_cannot_be_copied_is_done_without(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.cache_utils import DynamicLayer

    shared = engine.score_choices(requests())
    monkeypatch.delattr(DynamicLayer, "batch_select_indices")
    whole = engine.score_choices(requests())
    for one, other in zip(shared, whole, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-3)


def test_a_model_that_takes_no_positions_reads_whole_rows(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = engine.score_choices(requests())
    forward = type(engine._model).forward

    def without(self: Any, input_ids: Any, attention_mask: Any) -> Any:
        return forward(self, input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(type(engine._model), "forward", without)
    for one, other in zip(shared, engine.score_choices(requests()), strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-3), other.error


def test_one_bad_request_does_not_spoil_the_others(engine: TransformersEngine) -> None:
    outputs = engine.score_choices(
        [
            ask("good", "Hi"),
            ask("long", "light " * 3000),
            ask("stranger", "Hi", adapter="nobody"),
            ask("empty", "Hi", "light", ""),
            ChoiceRequest("role", ({"role": "wizard", "content": "Hi"},), CHOICES),
        ]
    )
    assert [o.error is None for o in outputs] == [True, False, False, False, False]
    for output, word in zip(outputs[1:], ("max_len_tokens", "'nobody'", "no tokens", "wizard"), strict=True):
        assert word in str(output.error)
        assert output.log_probs == ()


def test_what_does_not_fit_into_memory_is_halved(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.score_choices([ask(text, text) for text in SAID])
    real = scoring.log_probs

    def scarce(model: Any, batch: Any, pad: int, *, shared: bool) -> Any:
        if len(batch) > 1:
            raise RuntimeError("can't allocate memory")
        if batch[0].place == 1:
            raise MemoryError("not even one")
        return real(model, batch, pad, shared=shared)

    monkeypatch.setattr(scoring, "log_probs", scarce)
    parts = engine.score_choices([ask(text, text) for text in SAID])
    for i in (0, 2):
        assert parts[i].log_probs == pytest.approx(whole[i].log_probs, abs=1e-3)
    assert "not even one" in str(parts[1].error)


def test_batches_keep_their_limits() -> None:
    asked = [scoring.Asked(i, None, [0] * (10 + i), [[1] * 3, [2] * 4]) for i in range(30)]
    found = list(scoring.batches(asked, size=7, tokens=400))
    assert sorted(a.place for batch in found for a in batch) == list(range(30))
    assert max(map(len, found)) > 1
    for batch in found:
        assert len(batch) <= 7
        assert 2 * len(batch) * (max(len(a.prompt) for a in batch) + 4) <= 400
    wide = [scoring.Asked(i, None, [0], [[1] * 300] * 2) for i in range(4)]
    assert [len(batch) for batch in scoring.batches(wide, size=7, tokens=10**6)] == [1, 1, 1, 1]


def test_the_echo_is_certain_of_its_answer() -> None:
    engine = EchoEngine({"a": "yes"}, {"b": "no model"})
    assert isinstance(engine, ScoresChoices)
    good, bad = engine.score_choices([ask("a", "Hi", "yes", "no"), ask("b", "Hi", "yes", "no")])
    assert good.log_probs == (0.0, -2.0)
    assert bad.error == "no model"
