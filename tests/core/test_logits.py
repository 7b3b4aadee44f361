"""Logits of 16-bit numbers, kept in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentlora.core.logits import AT_A_TIME, wide_logits, with_wide_logits


def numbers(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("words", [1, 600, 2 * AT_A_TIME // 64 + 3])
def test_nothing_is_rounded_to_16_bits(words: int, dtype: torch.dtype) -> None:
    hidden, weight, bias = 8 * numbers(2, 3, 64, dtype=dtype), numbers(words, 64, dtype=dtype), None
    if words == 600:
        bias = torch.linspace(-1, 1, words).to(dtype)
    found = wide_logits(hidden, weight, bias)
    exact = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, words))
    rounded = torch.nn.functional.linear(hidden, weight, bias)
    off, off_rounded = (float((logits - exact).abs().max()) for logits in (found, rounded))
    assert off < 1e-3
    assert off_rounded > 20 * off


def test_a_models_head_gives_float32_and_nothing_else_changes(tiny_model_dir: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[5, 77, 300, 12]])
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.bfloat16).eval()
    with torch.inference_mode():
        narrow = model(ids).logits
        wide = with_wide_logits(model)(ids).logits
    assert (narrow.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    assert torch.allclose(wide.bfloat16(), narrow, rtol=2**-7, atol=1e-3)
    assert not torch.equal(wide, narrow.float())
    assert all(weight.dtype == torch.bfloat16 for weight in model.parameters())


def test_what_is_no_plain_head_in_16_bits_is_left_alone() -> None:
    class Other(torch.nn.Linear):
        pass

    class Model(torch.nn.Module):
        def __init__(self, head: torch.nn.Module) -> None:
            super().__init__()
            self.head = head

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

    for head in (torch.nn.Linear(4, 6), Other(4, 6, dtype=torch.bfloat16)):
        assert "forward" not in vars(with_wide_logits(Model(head)).head)
    nothing = torch.nn.Module()
    assert with_wide_logits(nothing) is nothing
