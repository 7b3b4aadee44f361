"""Shared-prefix training is exact on every architecture that passes the check, and the check knows the others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.types import Example, Expected, ToolCall
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers import attention, sharing
from agentlora.plugins.trainers.attention import FLEX as FLEX_ATTENTION
from agentlora.plugins.trainers.attention import NAME as TREE_ATTENTION
from agentlora.plugins.trainers.attention import flex_learns
from agentlora.plugins.trainers.difficulty import difficulty
from agentlora.plugins.trainers.layout import forward_passes, items_at_once, lay_out, training_passes
from agentlora.plugins.trainers.loading import attention_for
from agentlora.plugins.trainers.loss import trained_positions_loss
from agentlora.plugins.trainers.rows import Row, encode
from agentlora.plugins.trainers.sharing import shares_prefixes

SMALL = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LONGEST = 48
WIDE, NARROW = {"sliding_window": LONGEST}, {"sliding_window": LONGEST - 1}
BOTH = {"layer_types": ["sliding_attention", "full_attention"]}
CAPPED = {"attn_logit_softcapping": 2.0, "head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
EXACT = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "qwen3 moe": ("Qwen3Moe", {"head_dim": 8, **EXPERTS}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2, scores capped": ("Gemma2", WIDE | BOTH | CAPPED),
    "gemma3": ("Gemma3Text", WIDE | BOTH | {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, wide window": ("Mistral", WIDE),
}
PLAIN = {
    "gemma2, narrow window": ("Gemma2", NARROW | BOTH | {"attn_logit_softcapping": None, "head_dim": 8}),
    "gemma3, narrow window": ("Gemma3Text", NARROW | BOTH | {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "mistral, narrow window": ("Mistral", NARROW),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"]}),
    "mamba": ("Mamba", {"state_size": 4}),
    "qwen3 next": (
        "Qwen3Next",
        {
            "layer_types": ["linear_attention", "full_attention"], "head_dim": 16, "linear_num_key_heads": 2,
            "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "shared_expert_intermediate_size": 32, **EXPERTS,
        },
    ),
}  # fmt: skip


def model_of(name: str, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | settings)
    capped = "attn_logit_softcapping" in settings
    kwargs = {"attn_implementation": "eager"} if capped else {}  # as the trainer's `attention_for` says
    return transformers.AutoModelForCausalLM.from_config(config, **kwargs).to(dtype).train()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Groups of three, of two, and two rows that share nothing; weights; up to 48 tokens."""
    rng = random.Random(0)

    def some(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(5, 128) for _ in range(n))

    made = []
    for group, size in (("a", 3), ("b", 2)):
        prefix = some(30)
        for i in range(size):
            made.append(Row(prefix + some(12 + i), 34 + i, group, 1.0 + i))
    made += [Row(some(LONGEST), 40, "alone", 0.5), Row(some(20), 5, "too", 2.0)]
    return made


def one_by_one(model: Any, rows: Sequence[Row]) -> Any:
    """The weighted loss of an update, by the model's own forward and torch's cross-entropy."""
    total, trained = torch.zeros(()), 0
    for row in rows:
        logits = model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1]
        labels = torch.tensor(row.ids[row.start :])
        total = total + row.weight * torch.nn.functional.cross_entropy(
            logits.float(), labels, reduction="sum"
        )
        trained += len(labels)
    return total / trained


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_same(found: tuple[float, dict[str, Any]], expected: tuple[float, dict[str, Any]]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(gradient.abs().max().item(), 1e-6)
        assert (found[1][name] - gradient).abs().max().item() <= 1e-4 * scale, name


def shared_update(model: Any, rows: Sequence[Row], most: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one update over `rows`, accumulated over forward passes of `most` rows."""
    passes = [[rows[i] for i in members] for members in forward_passes(rows, most)]
    trained, total = sum(len(row.ids) - row.start for row in rows), 0.0
    for members in passes:
        loss = trained_positions_loss(model, lay_out(members), trained)
        loss.backward()
        total += loss.item()
    return total, gradients_of(model)


@pytest.mark.parametrize("name", EXACT)
def test_loss_and_gradients_are_those_of_rows_one_by_one(name: str, rows: list[Row]) -> None:
    model = model_of(*EXACT[name])
    loss = one_by_one(model, rows)
    loss.backward()
    expected = loss.item(), gradients_of(model)
    assert shares_prefixes(model, rows)
    assert_same(shared_update(model, rows, most=len(rows)), expected)
    assert_same(shared_update(model, rows, most=3), expected)  # accumulated; a group is divided
    model.gradient_checkpointing_enable()
    assert_same(shared_update(model, rows, most=3), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PLAIN)
def test_what_would_not_be_exact_is_recognised(name: str, dtype: torch.dtype, rows: list[Row]) -> None:
    model = model_of(*PLAIN[name], dtype).eval()
    before = model(torch.tensor([rows[0].ids])).logits
    assert not shares_prefixes(model, rows)
    torch.testing.assert_close(model(torch.tensor([rows[0].ids])).logits, before)


@pytest.mark.parametrize("name", ["llama", "qwen3 moe", "gemma2, scores capped"])
def test_bfloat16_passes_the_check(name: str, rows: list[Row]) -> None:
    assert shares_prefixes(model_of(*EXACT[name], torch.bfloat16), rows)


def test_capped_scores_are_computed_by_the_attention_that_caps_them(rows: list[Row], tmp_path: Path) -> None:
    """torch's leaves the cap out; the model that is trained must not be another one."""
    model = model_of(*EXACT["gemma2, scores capped"]).eval()
    ids = torch.tensor([rows[0].ids])
    capped = model(ids).logits
    model.set_attn_implementation("sdpa")
    assert (model(ids).logits - capped).abs().max() > 0.01
    assert not shares_prefixes(model_of("Gemma2", NARROW | BOTH | CAPPED), rows)
    model.set_attn_implementation("eager")
    assert shares_prefixes(model, rows)
    assert model.config._attn_implementation == "eager"
    model.save_pretrained(tmp_path)
    assert attention_for(tmp_path, TrainingConfig()) == "eager"
    with pytest.raises(ConfigError, match="'sdpa' leaves out the soft-capping"):
        attention_for(tmp_path, TrainingConfig(attention="sdpa"))


@pytest.mark.parametrize(("wanted", "used"), [("eager", "eager"), ("sdpa", "sdpa"), ("flex", FLEX_ATTENTION)])
def test_an_attention_can_be_chosen(wanted: str, used: str, rows: list[Row]) -> None:
    """FlexAttention has no gradients on a CPU; what it computes there is what it would on a GPU."""
    model = model_of(*EXACT["qwen3"])
    expected = one_by_one(model, rows)
    model.set_attn_implementation("eager" if wanted == "eager" else "sdpa")
    with torch.no_grad():
        assert shares_prefixes(model, rows, wanted)
        assert model.config._attn_implementation == used
        trained = sum(len(row.ids) - row.start for row in rows)
        loss = trained_positions_loss(model, lay_out(rows), trained)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("setting", "method", "message"),
    [
        ({"attention": "flex"}, "lora", "'flex' needs a GPU"),
        ({"activation_offloading": True}, "lora", "there is no GPU"),
        ({"optimizer": "paged-adamw"}, "lora", "'paged-adamw' moves .* there is no GPU"),
        ({"optimizer": "adamw-8bit"}, "galore", "method 'galore' brings an optimizer of its own"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    setting: dict[str, Any], method: str, message: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    plugins = default_plugins()
    settings = {
        "model": str(tiny_model_dir),
        "training": setting,
        "method": {"name": method},
        "serve_on": "none",
    }
    config = resolve_config(plugins, "tool-calling", settings)
    base = resolve_base(config.model, plugins, tmp_path)
    with pytest.raises(ConfigError, match=message):
        plugins.get("trainers", "sft").check(config, base, plugins.get("peft_methods", method))


def test_the_tree_attention_is_used_where_it_can_be(rows: list[Row]) -> None:
    model = model_of(*EXACT["gemma3"])
    assert shares_prefixes(model, rows)
    assert model.config._attn_implementation == TREE_ATTENTION


@pytest.mark.parametrize("exact", [True, False])
def test_a_gpu_takes_flex_attention_where_it_is_exact(
    exact: bool, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(query: Any, key: Any, value: Any, *args: Any) -> Any:
        return torch.zeros_like(query)

    model = model_of(*EXACT["qwen3"])
    assert not flex_learns(model)  # on a CPU
    monkeypatch.setattr(sharing, "flex_learns", lambda model: True)
    if not exact:
        monkeypatch.setattr(attention, "flex_tree_attention", wrong)
    with torch.no_grad():
        assert sharing.shares_prefixes(model, rows)
    assert model.config._attn_implementation == (FLEX_ATTENTION if exact else TREE_ATTENTION)


def test_a_model_without_heads_has_no_flex_attention() -> None:
    config = transformers.MambaConfig()
    model = SimpleNamespace(config=config, dtype=torch.float32, device=SimpleNamespace(type="cuda"))
    assert not flex_learns(model)


def test_conversations_of_several_turns(tiny_model_dir: Path, examples: list[Example]) -> None:
    """They share what they have in common, turns included, and only the last answer is trained."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model_dir)
    told = (
        {"role": "user", "content": "Is it dark in the hall?"},
        {"role": "assistant", "content": "Yes, it is."},
    )
    talks = [
        Example(
            str(i),
            (*told, {"role": "user", "content": said}),
            Expected(text=f"As you wish: {said}"),
            tools=examples[0].tools,
            group="hall",
        )
        for i, said in enumerate(("Light it.", "Leave it dark.", "Light it, then."))
    ]
    rows = encode(talks, tokenizer, tokenizer.chat_template, 1024).items
    ((_, shared, _),) = lay_out(rows)["spans"]
    assert "Yes, it is." in tokenizer.decode(rows[0].ids[:shared])
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    loss = one_by_one(model, rows)
    loss.backward()
    expected = loss.item(), gradients_of(model)
    assert shares_prefixes(model, rows)
    assert_same(shared_update(model, rows, most=3), expected)


def test_rows_that_share_nothing_are_packed_and_blind_to_each_other(rows: list[Row]) -> None:
    alone = [Row(row.ids, row.start, str(i)) for i, row in enumerate(rows)]
    assert items_at_once(alone) >= len(alone)  # short ones make up one forward pass
    long = [Row(tuple(range(2000)), 1990, str(i)) for i in range(3)]
    assert items_at_once(long) == 1
    model = model_of(*EXACT["llama"]).eval()
    assert shares_prefixes(model, alone)

    def losses(packed: Sequence[Row]) -> list[float]:
        """Of each row, in the company of the others: its tokens weigh 1, all others 0."""
        weighted = [[Row(r.ids, r.start, r.group, float(r is row)) for r in packed] for row in packed]
        return [trained_positions_loss(model, lay_out(members), 1).item() for members in weighted]

    other = [Row(tuple(reversed(row.ids)), row.start, row.group) for row in alone[1:]]
    assert losses([alone[0], *other])[0] == pytest.approx(losses(alone)[0], rel=1e-6)
    assert losses([*other, alone[0]])[-1] == pytest.approx(losses(alone)[0], rel=1e-6)


UNEVEN = [
    Row((group, i), 1, str(group))
    for group, size in enumerate((1, 3, 4, 5, 8, 2, 7, 1, 4, 9))
    for i in range(size)
]  # 44


@pytest.mark.parametrize("micro", [1, 4, 8])
def test_every_update_has_its_batch_and_every_row_comes_once_an_epoch(micro: int) -> None:
    passes = training_passes(UNEVEN, 8, micro, seed=3, total=2 * len(UNEVEN))
    a_pass = 8 // micro
    whole = [sorted(i for p in passes[u : u + a_pass] for i in p) for u in range(0, len(passes), a_pass)]
    assert [len(update) for update in whole] == [8] * 11
    assert all(len(members) == micro for members in passes)
    seen = [i for update in whole for i in update]
    assert sorted(seen) == sorted([*range(44)] * 2)
    assert len(set(seen[:40])) == 40  # none twice before all came once
    # what an update holds is the same however it is divided
    one_by_one = training_passes(UNEVEN, 8, 1, seed=3, total=88)
    assert whole == [sorted(i for p in one_by_one[u : u + 8] for i in p) for u in range(0, 88, 8)]
    assert passes == training_passes(UNEVEN, 8, micro, seed=3, total=88)
    assert passes != training_passes(UNEVEN, 8, micro, seed=4, total=88)


@pytest.mark.parametrize("micro", [1, 4])
def test_easy_examples_come_first_in_every_epoch_and_each_once(micro: int) -> None:
    rng = random.Random(0)
    rows = [Row(row.ids, 1, row.group, 1.0, rng.random() + int(row.group)) for row in UNEVEN]
    passes = training_passes(rows, 8, micro, 3, 2 * len(rows), "easy-first")
    a_pass = 8 // micro
    whole = [sorted(i for p in passes[u : u + a_pass] for i in p) for u in range(0, len(passes), a_pass)]
    assert [len(update) for update in whole] == [8] * 11
    seen = [i for update in whole for i in update]
    assert sorted(seen) == sorted([*range(44)] * 2)
    assert len(set(seen[:40])) == 40
    hardness = [sum(rows[i].difficulty for i in update) / 8 for update in whole]
    for epoch in (
        hardness[:5],
        hardness[6:],
    ):  # one update has the end of the first and the beginning of the second
        assert epoch == sorted(epoch)
        assert epoch[-1] > 2 * epoch[0]
    assert whole == [
        sorted(i for p in one[u : u + 8] for i in p)
        for one in [training_passes(rows, 8, 1, 3, 88, "easy-first")]
        for u in range(0, 88, 8)
    ]
    # of a group that is divided the easy ones come first, and of equal ones another order for another seed
    divided = [i for update in whole for i in update if rows[i].group == "9"][:9]
    assert max(rows[i].difficulty for i in divided[:4]) < min(rows[i].difficulty for i in divided[5:])
    assert training_passes(UNEVEN, 8, 4, 3, 44, "easy-first") != training_passes(
        UNEVEN, 8, 4, 4, 44, "easy-first"
    )


def test_difficulty_is_in_tools_optional_arguments_calls_and_steps() -> None:
    def example(tools: int, *calls: ToolCall, text: str | None = None, answered: bool = False) -> Example:
        rules = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]}
        offered = [
            {"type": "function", "function": {"name": f"t{i}", "parameters": rules}} for i in range(tools)
        ]
        turns = ({"role": "user", "content": "x"}, *([{"role": "tool", "content": "1"}] if answered else []))
        return Example("i", turns, Expected(text=text, calls=calls), tuple(offered))

    one, other = ToolCall("t0", {"a": 1}), ToolCall("t0", {"a": 2})
    ascending = [
        example(0, text="yes"),
        example(1, one),
        example(1, ToolCall("t0", {"a": 1, "b": 2})),
        example(1, text="none"),
        example(4, one),
        example(12, one),
        example(12, one, other),
        example(12, one, other, answered=True),
    ]
    found = [difficulty(e) for e in ascending]
    assert found == sorted(set(found))


def test_an_epoch_that_no_batch_divides_ends_with_a_smaller_update() -> None:
    passes = training_passes(UNEVEN, 16, 4, seed=0, total=44)
    assert [len(members) for members in passes] == [4] * 11
    assert sorted(i for members in passes for i in members) == list(range(44))
    few = training_passes(UNEVEN[:5], 8, 4, seed=0, total=12)  # more than two epochs in two updates
    assert sorted(map(len, few)) == [4, 4, 4]


@pytest.mark.parametrize("size", [4, 8, 16])
def test_an_update_has_more_than_one_group(size: int) -> None:
    rows = [Row((group, i), 1, str(group)) for group in range(6) for i in range(size)]
    passes = training_passes(rows, 8, 8, seed=0, total=len(rows))
    assert [len({rows[i].group for i in members}) > 1 for members in passes].count(False) <= 1  # by chance


def test_groups_that_divide_a_batch_stay_whole() -> None:
    rows = [row for row in UNEVEN if len([r for r in UNEVEN if r.group == row.group]) in (1, 2, 4, 8)]
    passes = training_passes(rows, 16, 8, seed=0, total=len(rows))
    of_group = {
        row.group: [p for p, m in enumerate(passes) if any(rows[i].group == row.group for i in m)]
        for row in rows
    }
    assert all(len(found) == 1 for found in of_group.values())


def test_items_without_company_come_beside_groups() -> None:
    group_of = [f"list {n // 10}" for n in range(400)] + [f"alone {n}" for n in range(40)]
    rows = [Row((1, 2, 3, 4), 2, group=group) for group in group_of]
    passes = training_passes(rows, 20, 20, seed=0, total=len(rows))
    alone = [sum(i >= 400 for i in update) for update in passes]
    assert sum(alone) == 40
    assert alone.count(10) > 0
    groups = [len({group_of[i] for i in update if i < 400}) for update in passes]
    assert [20 - 10 * n for n in groups] == alone  # and these stay whole
