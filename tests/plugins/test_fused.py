"""The hand-written gradients are autograd's."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from agentlora.plugins.trainers import fused
from agentlora.plugins.trainers.fused import cross_entropies, fused_lora, lora_linear, tree_attention


@pytest.mark.parametrize("biased", [False, True])
def test_lora_linear_is_the_formula_and_its_gradients_are_exact(biased: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 5, dtype=torch.double)
    bias = torch.randn(4, dtype=torch.double) if biased else None
    down = torch.randn(2, 5, dtype=torch.double, requires_grad=True)
    up = torch.randn(4, 2, dtype=torch.double, requires_grad=True)
    expected = torch.nn.functional.linear(x, weight, bias) + 1.5 * (x @ down.T) @ up.T
    torch.testing.assert_close(lora_linear(x, weight, bias, down, up, 1.5), expected)
    assert torch.autograd.gradcheck(
        lambda *args: lora_linear(args[0], weight, bias, *args[1:], 1.5), (x, down, up)
    )


@pytest.mark.parametrize("at_once", [1, 30, 10**6])  # rows one by one, in threes, all
def test_cross_entropies_are_torchs(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "SCORES_AT_ONCE", at_once)
    torch.manual_seed(0)
    logits = (8 * torch.randn(7, 10)).requires_grad_()
    labels, weights = torch.randint(10, (7,)), torch.rand(7) + 0.5
    expected = (torch.nn.functional.cross_entropy(logits, labels, reduction="none") * weights).sum()
    (gradient,) = torch.autograd.grad(3 * expected, logits)
    given = logits.clone()
    total = (cross_entropies(logits, labels) * weights).sum()
    torch.testing.assert_close(logits, given, rtol=0, atol=0)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * total, logits)[0], gradient)


@pytest.mark.parametrize("kept", [0, 512])  # the prefix by torch's kernel, and by ours
@pytest.mark.parametrize("shared", [0, 4])
def test_tree_attention_is_attention_under_the_trees_mask(
    shared: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "KEPT_SCORES", kept)
    torch.manual_seed(0)
    lengths = (3, 1, 4)
    n = shared + sum(lengths)
    mask = torch.zeros(n, n, dtype=torch.bool)
    mask[:, :shared] = True
    mask[:shared, :shared] = torch.ones(shared, shared).tril()
    for begin, length in zip((shared, shared + 3, shared + 4), lengths, strict=True):
        mask[begin : begin + length, begin : begin + length] = torch.ones(length, length).tril()
    query, key, value = (
        torch.randn(heads, n, size, dtype=torch.double, requires_grad=True)
        for heads, size in ((6, 5), (2, 5), (2, 3))  # three query heads a key head
    )

    def expected(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=mask, scale=0.3, enable_gqa=True
        )[0]

    found = tree_attention(query, key, value, shared, lengths, 0.3)
    torch.testing.assert_close(found, expected(query, key, value))
    weights = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), (query, key, value)),
        torch.autograd.grad((expected(query, key, value) * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def tiny_peft_model(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        attention_bias=True,
    )  # fmt: skip
    lora = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False, **options)
    return get_peft_model(LlamaForCausalLM(config), lora)


def loss_and_gradients(model: torch.nn.Module) -> tuple[float, dict[str, torch.Tensor]]:
    ids = torch.arange(20)[None] % 7
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_fused_model_learns_the_same(checkpointing: bool) -> None:
    model = tiny_peft_model()
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    model.train()
    loss, gradients = loss_and_gradients(model)
    with fused_lora(model) as layers:
        assert layers == 14
        fused_loss, fused_gradients = loss_and_gradients(model)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert fused_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-4, atol=1e-6)
    assert all("forward" not in vars(module) for module in model.modules())  # PEFT's own again


@pytest.mark.parametrize("options", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_what_is_not_plain_lora_is_left_to_peft(options: dict[str, object]) -> None:
    with fused_lora(tiny_peft_model(**options)) as layers:
        assert layers == 0
