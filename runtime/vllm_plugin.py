"""Loaded by vLLM in each of its processes (entry-point group ``vllm.general_plugins``): mends LoRA on a CPU.

vLLM marks a token without adapter by index -1. Its CPU operators (0.32) index the stacked adapters with that
number, so that in a batch of base and adapter requests the base answers with the adapter in the *last* slot,
as soon as all ``max_loras`` slots are filled (vLLM pull requests 48421 and 49656, open). The GPU's kernels skip
such tokens. The operators are linear in their input: zeroing the input of those rows zeroes what they add.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

_OPERATORS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")  # the sgmv_ ones call these
_HOLDERS = (
    "vllm.lora.ops.torch_ops.lora_ops",
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",
)


def register() -> None:
    """Mend the CPU operators; on a GPU, or when called again, nothing happens."""
    from agentlora.runtime.backend import installed_build

    if installed_build() != "cpu":
        return
    import vllm.lora.ops.torch_ops.lora_ops as operators

    for name in _OPERATORS:
        original = getattr(operators, name)
        if getattr(original, "_agentlora", False):
            continue
        mended = skip_rows_without_adapter(original)
        for holder in _HOLDERS:
            module = sys.modules.get(holder)
            if module is not None and getattr(module, name, None) is original:
                setattr(module, name, mended)


def skip_rows_without_adapter(operator: Callable[..., None]) -> Callable[..., None]:
    """`operator` for ``(inputs [tokens, dim], weights, output, indices [tokens], …)``: rows of index -1 add 0."""

    @wraps(operator)
    def mended(
        inputs: Any, weights: Any, output_tensor: Any, lora_indices_tensor: Any, *args: Any, **kwargs: Any
    ) -> None:
        without = lora_indices_tensor < 0
        inputs = inputs.masked_fill(without[: inputs.shape[0], None], 0)
        operator(inputs, weights, output_tensor, lora_indices_tensor.clamp(min=0), *args, **kwargs)

    mended._agentlora = True  # type: ignore[attr-defined]
    return mended
