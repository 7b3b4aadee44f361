"""The two parts of a training step that are written here with their gradients: LoRA layers and the loss.

Imports torch; import it where training begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLayer
from torch import Tensor

SCORES_AT_ONCE = 2**22  # float32 scores that the loss holds at a time: 16 MB


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """``Σᵢ weightsᵢ · -log softmax(logitsᵢ)[labelsᵢ]``, computed in float32, a few rows at a time.

    The gradient is made in the same go and kept in the dtype of `logits`; autograd's way keeps the scores in
    float32 twice.

    Args:
        logits: [n, vocabulary]. labels: long [n]. weights: float [n].
    """
    return _WeightedCrossEntropy.apply(logits, labels, weights)  # type: ignore[no-any-return, no-untyped-call]


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        gradient = torch.empty_like(logits)
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        step = max(1, SCORES_AT_ONCE // logits.shape[-1])
        for begin in range(0, len(labels), step):
            part = slice(begin, begin + step)
            label, weight = labels[part, None], weights[part, None]
            scores = logits[part].float()
            scores -= scores.amax(1, keepdim=True)
            wanted = scores.gather(1, label)
            sums = scores.exp_().sum(1, keepdim=True)
            total += (weight * (sums.log() - wanted)).sum()
            gradient[part] = scores.mul_(weight / sums).scatter_add_(1, label, -weight)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None


@contextmanager
def fused_lora(model: torch.nn.Module) -> Iterator[int]:
    """Within it, the plain LoRA layers of a PEFT `model` compute with `lora_linear`; yields how many do.

    Left to PEFT: dropout, variants such as DoRA, quantized bases, several active adapters.
    """
    layers: list[Any] = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        (name,) = layer.active_adapters
        layer.forward = partial(
            lora_linear,
            weight=layer.base_layer.weight,
            bias=layer.base_layer.bias,
            down=layer.lora_A[name].weight,
            up=layer.lora_B[name].weight,
            scaling=layer.scaling[name],
        )
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(module: Any) -> bool:
    if type(module) is not LoraLayer or type(module.base_layer) is not torch.nn.Linear:
        return False
    if len(module.active_adapters) != 1 or module.merged or module.disable_adapters:
        return False
    (name,) = module.active_adapters
    return (
        name in module.lora_A
        and name not in module.lora_variant
        and not module.lora_bias[name]
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and not any(parameter.requires_grad for parameter in module.base_layer.parameters())
    )


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
) -> Tensor:
    """``x Wᵀ + bias + scaling · (x Aᵀ) Bᵀ`` in the dtype of `weight`, with gradients for x, A and B.

    PEFT computes the base's output, the update's, a scaled copy of that and their sum, and autograd the same
    backwards. Here the scale goes into B and the sums into the matrix products.

    Args:
        x: […, in]. weight: [out, in], frozen. bias: [out] or None, frozen. down (A): [r, in]. up (B): [out, r].
    """
    return _LoraLinear.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, weight, bias, down, up, scaling
    )


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        a, b = down.to(weight.dtype), (up * scaling).to(weight.dtype)
        inner = flat @ a.T
        out = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        out.addmm_(inner, b.T)
        ctx.save_for_backward(flat, weight, a, b, inner)
        ctx.scaling, ctx.x_shape, ctx.x_dtype, ctx.dtype = scaling, x.shape, x.dtype, up.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        flat, weight, a, b, inner = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])
        of_inner = gradient @ b
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(of_inner, a).view(ctx.x_shape).to(ctx.x_dtype)
        of_down = (of_inner.T @ flat).to(ctx.dtype)
        of_up = (gradient.T @ inner).to(ctx.dtype).mul_(ctx.scaling)
        return of_x, None, None, of_down, of_up, None
