"""Loaded by vLLM in each of its processes (entry-point group ``vllm.general_plugins``): mends LoRA and heads on a CPU.

vLLM's CPU operators (0.32) copy an adapter's matrix for every single token of a batch and multiply the copies:
two thirds of the time of a skill's answer (docs/experiments.md). These multiply once for each adapter in the batch.

They also index the stacked adapters with -1, vLLM's mark of a token without adapter, so that in a batch of base
and adapter requests the base answers with the adapter in the *last* slot, as soon as all ``max_loras`` slots are
filled (vLLM pull requests 48421 and 49656, open). Here, as in the GPU's kernels, such a token gets nothing added.

Where logits are asked for in float32 (`agentlora.runtime.backend`), vLLM on a CPU converts the whole head at every
step: as long again as the rest of a step with one request. Here it is converted piece by piece.
"""

from __future__ import annotations

import sys
from typing import Any

_HOLDERS = (
    "vllm.lora.ops.torch_ops.lora_ops",
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",
)


def register() -> None:
    """Put our operators in the place of vLLM's; on a GPU, or when called again, nothing happens."""
    from agentlora.runtime.backend import installed_build

    if installed_build() != "cpu":
        return
    import vllm.lora.ops.torch_ops.lora_ops as operators

    # the sgmv_ operators call these
    for ours in (bgmv_shrink, bgmv_expand, bgmv_expand_slice):
        theirs = getattr(operators, ours.__name__)
        for holder in _HOLDERS:
            module = sys.modules.get(holder)
            if module is not None and getattr(module, ours.__name__, None) is theirs:
                setattr(module, ours.__name__, ours)
    _widen_heads()


def _widen_heads() -> None:
    """Put our product with the head in the place of vLLM's."""
    from vllm.model_executor.layers import logits_processor as module

    theirs = module.LogitsProcessor._apply_head
    if theirs.__module__ == module.__name__:  # not ours already
        plain = (module.UnquantizedEmbeddingMethod, module.UnquantizedLinearMethod)
        module.LogitsProcessor._apply_head = head_in_pieces(theirs, plain)


def head_in_pieces(theirs: Any, plain: tuple[type, ...]) -> Any:
    """A ``LogitsProcessor._apply_head`` that does what `theirs` does, and converts a head piece by piece where it is to
    give float32 of 16 bits. `plain`: the classes of what multiplies with an unquantised head.
    """
    import torch

    from agentlora.core.logits import wide_logits

    def apply_head(self: Any, lm_head: Any, hidden_states: Any, embedding_bias: Any) -> Any:
        widens = self.head_dtype == torch.float32 and hidden_states.dtype != torch.float32
        if widens and isinstance(lm_head.quant_method, plain):
            return wide_logits(hidden_states, lm_head.weight, embedding_bias)
        return theirs(self, lm_head, hidden_states, embedding_bias)

    return apply_head


def bgmv_shrink(
    inputs: Any, lora_b_weights: Any, output_tensor: Any, lora_indices_tensor: Any, scaling: float = 1.0
) -> None:
    """``output[:, :rank] = scaling · inputs Aᵀ`` with each row's adapter (names as in vLLM).

    inputs [rows, in], weights [slots, 1, rank, in] or [slots, rank, in], indices [rows] with -1 for none.
    """
    outputs = _products(inputs.to(output_tensor.dtype), lora_b_weights, lora_indices_tensor)
    output_tensor[:, : outputs.shape[1]] = outputs * scaling


def bgmv_expand(
    inputs: Any,
    lora_b_weights: Any,
    output_tensor: Any,
    lora_indices_tensor: Any,
    add_inputs: bool = True,
) -> None:
    """``output (+)= inputs Bᵀ`` with each row's adapter, over the columns that both have."""
    outputs = _products(inputs.to(output_tensor.dtype), lora_b_weights, lora_indices_tensor)
    width = min(outputs.shape[1], output_tensor.shape[1])
    rows = outputs[: 1 if len(outputs) == 1 else len(output_tensor), :width]
    if add_inputs:
        output_tensor[:, :width] += rows
    else:
        output_tensor[:, :width] = rows


def bgmv_expand_slice(
    inputs: Any,
    lora_b_weights: Any,
    output_tensor: Any,
    lora_indices_tensor: Any,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """`bgmv_expand` into `slice_size` columns from `slice_offset` on."""
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    bgmv_expand(inputs, lora_b_weights, columns, lora_indices_tensor, add_inputs)


def _products(inputs: Any, weights: Any, indices: Any) -> Any:
    """[rows, out]: each row of `inputs` times the transposed matrix of its adapter; zeros where it has none."""
    weights = weights.squeeze(1) if weights.dim() == 4 else weights
    indices = indices[: len(inputs)]
    first = int(indices[0]) if len(indices) else -1
    if bool((indices == first).all()):  # the usual batch, without a gather
        if first < 0:
            return inputs.new_zeros(len(inputs), weights.shape[1])
        return inputs @ weights[first].to(inputs.dtype).T
    outputs = inputs.new_zeros(len(inputs), weights.shape[1])
    for slot in indices.unique().tolist():
        if slot >= 0:
            rows = (indices == slot).nonzero().squeeze(1)
            outputs[rows] = inputs[rows] @ weights[slot].to(inputs.dtype).T
    return outputs
