"""Prefixes that prompts share are computed once, and every answer is what it is without."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from eval_examples import SET_LIGHT, TOOLS

from agentlora.core.types import EngineSpec, GenerateRequest
from agentlora.eval.engines import prefixes
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory
from agentlora.eval.engines.prompts import Prompt, batches

SMALL = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
TAKEN = {
    "llama": ("Llama", {}),
    "llama, eager": ("Llama", {"_attn_implementation": "eager"}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "gpt2": ("GPT2", {}),
    "opt": ("OPT", {"word_embed_proj_dim": 32, "ffn_dim": 64}),
    "gpt neo, which looks at 20 tokens only": (
        "GPTNeo",
        {"attention_types": [[["global", "local"], 1]], "window_size": 20, "num_layers": 2, "num_heads": 4},
    ),
}
NOT_TAKEN = {
    "mistral with a window": ("Mistral", {"sliding_window": 48}),
    "gemma3": ("Gemma3Text", MIXED | {"sliding_window": 48}),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"]}),
    "mamba": ("Mamba", {"state_size": 4}),
    "llama, stretched by length": (
        "Llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
}  # fmt: skip


def model_of(name: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | settings)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def some(n: int, rng: random.Random) -> list[int]:
    return [rng.randrange(3, 128) for _ in range(n)]


def groups(*sizes: tuple[int, Sequence[int]], start: int = 40, seed: int = 0) -> list[list[int]]:
    """Rows that share their first `start` tokens. Of each group: (tokens shared beside, own tokens of every row)."""
    rng = random.Random(seed)
    first, rows = some(start, rng), []
    for shared, own in sizes:
        prefix = first + some(shared, rng)
        rows += [prefix + some(n, rng) for n in own]
    rng.shuffle(rows)
    return rows


BATCHES = {
    "one group of one length": groups((60, (9, 9, 9))),
    "one group": groups((60, (5, 30, 1, 12))),
    "groups within a group": groups((90, (5, 7, 20)), (50, (3, 11)), (120, (8,))),
    "some that share nothing": [*groups((80, (6, 9))), some(7, random.Random(1)), some(90, random.Random(2))],
    "the same prompt, and its beginning": groups((60, (9,))) * 3 + [groups((60, (9,)))[0][:-20]],
}


def logits(model: Any, rows: list[list[int]], begun: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and logits of six greedy steps."""
    ids, mask = prefixes.padded(rows, 0, "cpu")
    more = {"past_key_values": begun} if begun is not None else {}
    with torch.inference_mode():
        found = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=6,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **more,
        )
    return found.sequences, torch.stack(found.logits)


def count_tokens(model: Any) -> list[int]:
    """Grows by the tokens of every pass, padding too."""
    seen: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    return seen


@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_begun_goes_on_as_if_computed_anew(name: str, rows: list[list[int]]) -> None:
    model = model_of(*TAKEN[name])
    assert prefixes.takes(model)
    seen = count_tokens(model)
    with torch.inference_mode():
        begun = prefixes.begun(model, rows, 0)
    assert begun.get_seq_length() >= prefixes.SHARED
    tokens, found = logits(model, rows, begun)
    computed = sum(seen)
    seen.clear()
    plain_tokens, plain = logits(model, rows, None)
    assert computed <= 0.75 * (sum(seen) - 5 * len(rows)) + 5 * len(rows)
    assert torch.equal(tokens, plain_tokens)
    assert torch.allclose(found, plain, atol=1e-4), (found - plain).abs().max()


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_other_caches_are_left_alone(name: str) -> None:
    assert not prefixes.takes(model_of(*NOT_TAKEN[name]))


# --- an order, and what is computed of a batch ---


def test_groups_stand_together_and_the_longest_first() -> None:
    rows = groups((60, (5, 30)), (200, (7, 9, 8)), (90, (4, 4)))
    rng = random.Random(3)
    rows += [some(n, rng) for n in (3, 300, 120)]
    order = prefixes.by_prefix(rows)
    assert sorted(order) == list(range(len(rows)))
    kinds = [tuple(rows[place][:60]) for place in order]
    assert [len(rows[place]) for place in order] == [300, 249, 248, 247, 134, 134, 130, 105, 120, 3]
    assert sum(one != other for one, other in pairwise(kinds)) == len(set(kinds)) - 1


def test_without_anything_shared_the_order_is_that_of_lengths() -> None:
    rng = random.Random(3)
    rows = [some(n, rng) for n in (5, 90, 40, 90, 40, 7)]
    assert prefixes.by_prefix(rows) == [1, 3, 2, 4, 5, 0]
    assert prefixes.by_prefix([]) == []


def test_a_conversation_without_end_has_an_order_too() -> None:
    """Each row goes on where the one before ends, for longer than Python may call itself."""
    whole = some(40 * 1200, random.Random(0))
    rows = [whole[: 40 * n] for n in range(1, 1200)]
    assert sorted(prefixes.by_prefix(rows)) == list(range(len(rows)))


@pytest.mark.parametrize(
    "rows",
    [
        groups((0, (300, 310, 290))),  # 40 of 340
        groups((0, (5, 6, 7)), start=prefixes.SHARED - 5),
        groups((60, (9,))),
        [some(n, random.Random(n)) for n in (50, 60)],
    ],
    ids=["little of the whole", "too short", "a row alone", "nothing"],
)
def test_where_it_does_not_pay_nothing_is_planned(rows: list[list[int]]) -> None:
    assert prefixes.plan(rows) is None


@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES)
def test_a_plan_has_every_token_of_every_row(rows: list[list[int]]) -> None:
    plan = prefixes.plan(rows)
    assert plan is not None
    for row, of in zip(rows, plan.of, strict=True):
        known = max(0, len(row) - plan.own)
        assert plan.prefixes[of][:known] == row[:known]
        assert len(row) > known
    assert len(plan.prefixes) < len(rows)


def test_batches_count_prefixes_in_every_row_and_leave_sampled_ones_in_their_order() -> None:
    rows = groups((60, (5, 30, 6)), (70, (7, 18, 28)))

    def made(temperature: float, **more: Any) -> list[list[int]]:
        said = [GenerateRequest(str(i), (), max_tokens=10, temperature=temperature) for i in range(len(rows))]
        prompts = [Prompt(i, request, rows[i]) for i, request in enumerate(said)]
        return [[len(p.ids) for p in batch] for batch in batches(prompts, 3, 460, **more)]

    by_length = [[138, 130, 128], [117, 106, 105]]
    assert made(0.0) == by_length
    assert made(0.7, shares=lambda adapter: True) == by_length
    assert made(0.0, shares=lambda adapter: True) == [[138, 128, 117], [130, 106, 105]]
    assert made(0.0, shares=lambda adapter: adapter is not None) == by_length
    wide = [3 * (max(batch) + 10) for batch in made(0.0, shares=lambda adapter: True)]
    assert max(wide) <= 460


# --- the engine ---

INSTRUCTION = "You turn lights on and off. " * 12


def ask(name: str, text: str, instruction: str = INSTRUCTION, **more: Any) -> GenerateRequest:
    said = ({"role": "system", "content": instruction}, {"role": "user", "content": text})
    return GenerateRequest(name, said, **({"max_tokens": 8, "tools": TOOLS} | more))


def asked(**more: Any) -> list[GenerateRequest]:
    """Two groups of three, in turn."""
    texts = ("Hi", "Turn on the light in the kitchen, please", "What now?")
    return [
        ask(f"{place} {text}", text, instruction, **more)
        for text in texts
        for place, instruction in (("house", INSTRUCTION), ("boat", "On a boat. " * 30))
    ]


def opened(model: Path, adapters: dict[str, Any], directory: Path) -> TransformersEngine:
    """With adapters whose weights are large enough to change every answer."""
    from peft import get_peft_model

    template = (model / "chat_template.jinja").read_text(encoding="utf-8")
    found = TransformersFactory().open(EngineSpec(model, template, options={"device": "cpu"}))
    for seed, (name, config) in enumerate(adapters.items()):
        torch.manual_seed(seed)
        peft = get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(model), config)
        for weight in peft.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=1.0)
        peft.save_pretrained(directory / name)
        found.add_adapter(name, directory / name)
    return found


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersEngine]:
    from peft import LoraConfig

    kinds = {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "k_proj", "down_proj"]),
        "other": LoraConfig(r=4, target_modules=["v_proj"]),
    }
    with opened(tiny_model_dir, kinds, tmp_path_factory.mktemp("adapters")) as found:
        yield found


def both(
    engine: TransformersEngine, requests: list[GenerateRequest], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[str], int]:
    """(texts, texts without shared prefixes, passes that began one)."""
    begun: list[Any] = []
    real = prefixes.begun
    with monkeypatch.context() as patched:
        patched.setattr(prefixes, "begun", lambda *given: begun.append(real(*given)) or begun[-1])
        outputs = engine.generate(requests)
    with monkeypatch.context() as patched:
        patched.setattr(prefixes, "takes", lambda model: False)
        plain = engine.generate(requests)
    assert [o.error for o in (*outputs, *plain)] == [None] * 2 * len(requests)
    assert [o.prompt_tokens for o in outputs] == [o.prompt_tokens for o in plain]
    return [o.text for o in outputs], [o.text for o in plain], sum(cache is not None for cache in begun)


def test_base_and_adapters_answer_as_without(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same prompts for all: a prefix of one would show in the other's answers."""
    requests = [r for name in (None, "lora", "other") for r in asked(adapter=name)]
    texts, plain, begun = both(engine, requests, monkeypatch)
    assert texts == plain
    assert begun == 3
    assert len({tuple(texts[start : start + 6]) for start in (0, 6, 12)}) == 3
    assert engine.generate(requests[::-1])[::-1] == engine.generate(requests)


def test_virtual_tokens_stand_before_whole_prompts(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PrefixTuningConfig

    virtual = {"virtual": PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")}
    with opened(tiny_model_dir, virtual, tmp_path) as engine:
        texts, plain, begun = both(engine, asked(adapter="virtual"), monkeypatch)
        assert (texts == plain, begun) == (True, 0)
        texts, plain, begun = both(engine, asked(), monkeypatch)
        assert (texts == plain, begun) == (True, 1)


def test_sampled_answers_are_drawn_as_without(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, plain, begun = both(engine, asked(temperature=0.8, seed=5), monkeypatch)
    assert (texts == plain, begun) == (True, 1)
    assert texts != both(engine, asked(temperature=0.8, seed=6), monkeypatch)[0]


def test_answers_are_held_to_their_schemas_as_without(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xgrammar")
    rooms = {"enum": ["kitchen", "hall", "cellar"]}
    requests = asked(json_schema=rooms, max_tokens=12)[:4] + asked(strict_calls=True, tools=(SET_LIGHT,))
    texts, plain, begun = both(engine, requests, monkeypatch)
    assert texts == plain
    assert set(texts[:4]) <= {'"kitchen"', '"hall"', '"cellar"'}
    assert begun


def test_what_was_likeliest_is_told_as_without(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = engine.trace(asked(adapter="lora"))
    monkeypatch.setattr(prefixes, "takes", lambda model: False)
    for one, other in zip(found, engine.trace(asked(adapter="lora")), strict=True):
        assert (one.output.text, one.ids) == (other.output.text, other.ids)
        for here, there in zip(one.likeliest, other.likeliest, strict=True):
            assert here == pytest.approx(there, abs=1e-3)
