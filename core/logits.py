"""Logits in float32, of a model that computes in 16 bits.

In bfloat16 numbers from 32 to 64 come in steps of 0.25: a greedy answer takes one of two words that are 0.2 nat apart
as it happens. A head's product is added up in float32 anyway; it only has to be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Numbers of the head's weight that a CPU converts at a time: 2 MB in float32, which stay in its cache. The whole
# weight at once takes ten times as long for one row (docs/experiments.md).
AT_A_TIME = 2**19


def wide_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``hidden weightᵀ + bias`` in float32, all three in one 16-bit format.

    hidden [..., in], weight [words, in], bias [words] → [..., words]
    """
    import torch

    rows = hidden.reshape(-1, hidden.shape[-1])
    if hidden.is_cuda:
        logits = torch.mm(rows, weight.T, out_dtype=torch.float32)
    else:
        exact = rows.float()
        parts = torch.split(weight, max(1, AT_A_TIME // weight.shape[1]))
        logits = torch.cat([exact @ part.float().T for part in parts], dim=-1)
    if bias is not None:
        logits += bias.float()
    return logits.reshape(*hidden.shape[:-1], -1)


def with_wide_logits(model: Any) -> Any:
    """The model, whose head gives float32 from now on. A head that is no plain linear layer in 16 bits, a quantised one
    for example, stays as it is.
    """
    import torch

    find = getattr(model, "get_output_embeddings", None)
    head: Any = find() if find else None
    plain = type(head) is torch.nn.Linear
    if plain and head.weight.dtype in (torch.bfloat16, torch.float16):
        head.forward = lambda hidden: wide_logits(hidden, head.weight, head.bias)
    return model
