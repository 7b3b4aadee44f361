"""The shared-prefix layout gives the loss and the gradients of plain training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from agentlora.core.errors import DataError
from agentlora.core.types import Example
from agentlora.plugins.bases.templates import chatml_tools
from agentlora.plugins.trainers.attention import NAME as TREE_ATTENTION
from agentlora.plugins.trainers.attention import use_tree_attention
from agentlora.plugins.trainers.layout import (
    IGNORE,
    common_prefix,
    computed_tokens,
    forward_passes,
    lay_out,
    pad,
)
from agentlora.plugins.trainers.loss import trained_positions_loss
from agentlora.plugins.trainers.rows import Row, encode
from agentlora.plugins.trainers.sharing import shares_prefixes, shares_prefixes_exactly


@pytest.fixture(scope="module")
def rows(tiny_model_dir: Path, examples: list[Example]) -> tuple[Row, ...]:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    return encode(examples, tokenizer, chatml_tools(), 1024).items


def models(tiny_model_dir: Path) -> dict[str, torch.nn.Module]:
    torch.manual_seed(1)
    qwen = Qwen2Config(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return {"llama": AutoModelForCausalLM.from_pretrained(tiny_model_dir), "qwen2": Qwen2ForCausalLM(qwen)}


@pytest.mark.parametrize("layout", ["shared", "plain", "plain, all logits"])
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_loss_and_gradients_equal_the_models_own(
    name: str, layout: str, tiny_model_dir: Path, rows: tuple[Row, ...]
) -> None:
    model = models(tiny_model_dir)[name]
    batch = rows[:8]  # two groups
    if layout == "plain, all logits":  # as models do that know no logits_to_keep
        forward = model.forward
        model.forward = lambda input_ids, attention_mask, use_cache: forward(input_ids, attention_mask)
    found = trained_positions_loss(model, lay_out(batch) if layout == "shared" else pad(batch, 0), None)
    found.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    inputs = pad(batch, 0)
    logits = type(model).forward(model, inputs["input_ids"], inputs["attention_mask"]).logits[:, :-1]
    labels = inputs["labels"][:, 1:]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE
    )
    expected.backward()

    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for n, p in model.named_parameters():
        if p.grad is not None:
            scale = p.grad.abs().max().item()
            assert (p.grad - gradients[n]).abs().max().item() <= 1e-4 * max(scale, 1e-6), n


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_tree_attention_equals_a_dense_mask(name: str, tiny_model_dir: Path, rows: tuple[Row, ...]) -> None:
    """Groups of several sizes, and rows that share nothing, in one sequence."""
    model = models(tiny_model_dir)[name]
    lonely = [dataclasses.replace(row, group=f"alone-{i}") for i, row in enumerate(rows[8:10])]
    batch = lay_out([*rows[:4], *rows[4:7], *lonely])
    assert [len(lengths) for _, _, lengths in batch["spans"]] == [4, 3, 1, 1]

    def loss_and_gradients() -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = trained_positions_loss(model, batch, None)
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    dense, expected = loss_and_gradients()
    use_tree_attention(model)
    tree, gradients = loss_and_gradients()
    assert tree == pytest.approx(dense, rel=1e-5)
    for n, gradient in gradients.items():
        scale = max(expected[n].abs().max().item(), 1e-6)
        assert (gradient - expected[n]).abs().max().item() <= 1e-4 * scale, n


def test_a_model_without_a_replaceable_attention_keeps_its_own(
    tiny_model_dir: Path, rows: tuple[Row, ...]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, attn_implementation="sdpa")
    assert shares_prefixes(model, rows)
    assert model.config._attn_implementation == TREE_ATTENTION
    stubborn = AutoModelForCausalLM.from_pretrained(tiny_model_dir, attn_implementation="sdpa")
    forward = stubborn.forward
    stubborn.forward = lambda *args, spans=None, **kwargs: forward(
        *args, **kwargs | ({"attention_mask": None} if spans else {})
    )
    assert shares_prefixes(stubborn, rows)
    assert stubborn.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("window", "shared"), [(16, False), (4096, True)])
def test_a_window_narrower_than_a_row_is_noticed(
    window: int, shared: bool, rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window,
    )  # fmt: skip
    model = MistralForCausalLM(config)
    model.set_attn_implementation("sdpa")
    before = model(torch.tensor([rows[0].ids])).logits
    assert shares_prefixes(model, rows) is shared
    torch.testing.assert_close(model(torch.tensor([rows[0].ids])).logits, before)


def test_a_wrong_mask_is_noticed(tiny_model_dir: Path, rows: tuple[Row, ...]) -> None:
    """The check before training is one that can fail: a model that ignores the mask does not pass it."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert shares_prefixes_exactly(model, rows)
    forward = model.forward
    model.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, **kwargs)
    assert not shares_prefixes_exactly(model, rows)


def test_the_prefix_is_computed_once(rows: tuple[Row, ...]) -> None:
    group = rows[:4]
    prefix = common_prefix(group)
    assert len(prefix) > 50  # system prompt and tools
    plain = sum(len(row.ids) for row in group)
    assert computed_tokens(group) == plain - 3 * len(prefix)
    batch = lay_out(group)
    assert batch["input_ids"].shape == (1, computed_tokens(group))
    assert int((batch["labels"] != IGNORE).sum()) == sum(len(row.ids) - row.start for row in group)
    assert max(batch["position_ids"][0].tolist()) == max(len(row.ids) for row in group) - 1


def test_a_prefix_never_reaches_a_trained_token() -> None:
    same = [Row(ids=(1, 2, 3, 4, 5), start=3, group="g")] * 2
    assert common_prefix(same) == (1, 2)


def test_rows_without_a_group_share_nothing(rows: tuple[Row, ...]) -> None:
    alone = [Row(row.ids, row.start, str(i)) for i, row in enumerate(rows[:3])]
    assert computed_tokens(alone) == sum(len(row.ids) for row in alone)


def test_a_forward_pass_takes_whole_groups(rows: tuple[Row, ...]) -> None:
    uneven = [row for i, row in enumerate(rows) if i != 5]  # groups of 4, one of 3
    for most in (3, 4, 8):
        passes = forward_passes(uneven, most)
        assert sorted(i for members in passes for i in members) == list(range(len(uneven)))
        assert max(map(len, passes)) <= most
    divided = [{uneven[i].group for i in members} for members in forward_passes(uneven, 4)]
    assert all(len(groups) == 1 for groups in divided)


def test_answers_end_with_the_end_of_turn_mark(tiny_model_dir: Path, rows: tuple[Row, ...]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    answer = tokenizer.decode(rows[0].ids[rows[0].start :])
    assert (
        answer
        == '<tool_call>\n{"name": "set_light", "arguments": {"room": "kitchen"}}\n</tool_call><|im_end|>'
    )


def test_trained_tokens_are_those_that_the_template_marks(
    tiny_model_dir: Path, examples: list[Example]
) -> None:
    from agentlora.core.messages import answer_message

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    for example in examples[:3]:
        row = encode([example], tokenizer, chatml_tools(), 1024).items[0]
        marked = tokenizer.apply_chat_template(
            [*example.messages, answer_message(example.expected)],
            tools=list(example.tools), tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        )  # fmt: skip
        expected = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
        assert list(row.ids[row.start :]) == expected


def test_too_long_examples_are_counted_not_cut(tiny_model_dir: Path, examples: list[Example]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    lengths = sorted(len(row.ids) for row in encode(examples, tokenizer, chatml_tools(), 4096).items)
    encoded = encode(examples, tokenizer, chatml_tools(), lengths[5])
    assert len(encoded.items) == 6 or lengths[5] == lengths[6]
    assert encoded.too_long == len(examples) - len(encoded.items) > 0
    assert encoded.longest == lengths[-1]
    with pytest.raises(DataError, match="longer than max_len"):
        encode(examples, tokenizer, chatml_tools(), 16)
