"""The CPU operators that vLLM is given: each row its own adapter, and nothing for a row without one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from agentlora.runtime.vllm_plugin import bgmv_expand, bgmv_expand_slice, bgmv_shrink, head_in_pieces

INDICES = {"mixed": [2, -1, 0, 2, -1], "one": [1] * 5, "none": [-1] * 5}


def expected(inputs: torch.Tensor, weights: torch.Tensor, indices: list[int]) -> torch.Tensor:
    rows = [
        inputs[i] @ weights[slot, 0].T if slot >= 0 else torch.zeros(weights.shape[2])
        for i, slot in enumerate(indices)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("kind", INDICES)
def test_every_row_gets_its_own_adapter_and_base_rows_nothing(kind: str) -> None:
    torch.manual_seed(0)
    indices = INDICES[kind]
    slots = torch.tensor(indices)
    x, a, b = torch.randn(5, 12), torch.randn(3, 1, 4, 12), torch.randn(3, 1, 6, 4)

    low = torch.full((5, 4), 7.0)
    bgmv_shrink(x, a, low, slots, 0.5)
    assert torch.allclose(low, 0.5 * expected(x, a, indices), atol=1e-6)

    before = torch.randn(5, 10)
    y = before.clone()
    bgmv_expand_slice(low, b, y, slots, 3, 6)
    assert torch.allclose(y[:, 3:9], before[:, 3:9] + expected(low, b, indices), atol=1e-6)
    assert torch.equal(y[:, [0, 1, 2, 9]], before[:, [0, 1, 2, 9]])

    y = before.clone()
    bgmv_expand(low, b[:, 0], y, slots)  # three dimensions are taken, too
    assert torch.allclose(y[:, :6], before[:, :6] + expected(low, b, indices), atol=1e-6)
    bgmv_expand(low, b, y, slots, add_inputs=False)
    assert torch.allclose(y[:, :6], expected(low, b, indices), atol=1e-6)


def test_the_shrunk_values_are_computed_in_the_buffers_precision() -> None:
    x = torch.full((1, 4096), 1.0, dtype=torch.bfloat16)
    a = torch.full((1, 1, 1, 4096), 0.01, dtype=torch.bfloat16)
    out = torch.zeros(1, 1)
    bgmv_shrink(x, a, out, torch.tensor([0]))
    assert out.item() == pytest.approx(4096 * a[0, 0, 0, 0].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("asked", "computes", "method", "ours"),
    [
        (torch.float32, torch.bfloat16, "plain", True),
        (torch.float32, torch.bfloat16, "quantised", False),  # which vLLM refuses
        (torch.float32, torch.float32, "plain", False),
        (torch.bfloat16, torch.bfloat16, "plain", False),
        (None, torch.bfloat16, "plain", False),
    ],
)
def test_only_a_plain_head_that_is_to_give_more_bits_is_ours(
    asked: torch.dtype | None, computes: torch.dtype, method: str, ours: bool
) -> None:
    class Plain:
        pass

    theirs = torch.zeros(1)
    weight, hidden = torch.randn(7, 4).to(computes), torch.randn(2, 4).to(computes)
    head = SimpleNamespace(quant_method=Plain() if method == "plain" else object(), weight=weight)
    apply = head_in_pieces(lambda *given: theirs, (Plain,))
    found = apply(SimpleNamespace(head_dtype=asked), head, hidden, None)
    if ours:
        assert found.dtype == torch.float32
        assert torch.allclose(found, hidden.float() @ weight.float().T, atol=1e-6)
    else:
        assert found is theirs
