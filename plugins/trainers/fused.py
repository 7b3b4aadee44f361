"""The parts of a training step that are written here with their gradients: LoRA layers, attention on CPUs, the loss.

Imports torch; import it where training begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLayer
from torch import Tensor

KEPT_SCORES = 512  # a prefix of up to this many tokens keeps its attention scores; they grow with the square
SCORES_AT_ONCE = 2**22  # float32 scores that the loss holds at a time: 16 MB


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log softmax(logitsᵢ)[labelsᵢ]`` for every i: float32 [n], computed a few rows at a time.

    The gradient is made in the same go and kept in the dtype of `logits`; autograd's way keeps the scores in
    float32 twice.

    Args:
        logits: [n, vocabulary]. labels: long [n].
    """
    return _CrossEntropies.apply(logits, labels)  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        losses = torch.empty(len(labels), dtype=torch.float32, device=logits.device)
        for part in _parts(logits):
            label = labels[part, None]
            scores = logits[part].float()
            scores = scores - scores.amax(1, keepdim=True)  # a copy, also where float() made none
            wanted = scores.gather(1, label)
            sums = scores.exp_().sum(1, keepdim=True)
            losses[part] = (sums.log() - wanted)[:, 0]
            if gradient is not None:
                gradient[part] = scores.div_(sums).scatter_add_(1, label, -torch.ones_like(sums))
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        of_logits = torch.empty_like(gradient)
        for part in _parts(gradient):
            of_logits[part] = gradients[0][part, None] * gradient[part]  # in float32, then rounded
        return of_logits, None


def _parts(logits: Tensor) -> Iterator[slice]:
    """Rows that are looked at together."""
    step = max(1, SCORES_AT_ONCE // logits.shape[-1])
    for begin in range(0, len(logits), step):
        yield slice(begin, begin + step)


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


def tree_attention(
    query: Tensor, key: Tensor, value: Tensor, shared: int, lengths: Sequence[int], scaling: float
) -> Tensor:
    """Causal attention of a prefix and of the suffixes that follow it, each blind to the others.

    For CPUs, whose kernels are slow on many short sequences. The queries of all suffixes meet the prefix in one
    product for each head of `key`, so that no key is copied for a suffix or a query head (docs/experiments.md).

    Args:
        query: [heads, length, size]. key, value: [kv heads, length, size].
        shared: tokens of the prefix. lengths: of each suffix.

    Returns:
        [heads, length, size of value].
    """
    (prefix_query, own_query), (prefix_key, own_key), (prefix_value, own_value) = (
        torch.split(t, [shared, sum(lengths)], 1) for t in (query, key, value)
    )
    suffixes = _Attention.apply(  # type: ignore[no-untyped-call]
        own_query, prefix_key, prefix_value, own_key, own_value, tuple(lengths), scaling
    )
    if not shared:
        return suffixes  # type: ignore[no-any-return]
    if shared <= KEPT_SCORES:
        nothing = prefix_key[:, :0], prefix_value[:, :0]
        prefix = _Attention.apply(  # type: ignore[no-untyped-call]
            prefix_query, *nothing, prefix_key, prefix_value, (shared,), scaling
        )
    else:
        prefix = torch.nn.functional.scaled_dot_product_attention(
            prefix_query[None],
            prefix_key[None],
            prefix_value[None],
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        )[0]
    return torch.cat((prefix, suffixes), 1)


class _Attention(torch.autograd.Function):
    """softmax(scaling · QKᵀ)V of sequences side by side, each of which sees a common prefix and itself causally.

    Inside, the query heads of a key head are rows beside each other: [kv heads, length · group, size].
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        prefix_key: Tensor,
        prefix_value: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
    ) -> Tensor:
        group = len(query) // len(key)
        shared, longest = prefix_key.shape[1], max(lengths)
        with torch.autocast(query.device.type, enabled=False):
            q = _rows(query * scaling, len(key))
            prefix_k, prefix_v, k, v = (t.contiguous() for t in (prefix_key, prefix_value, key, value))
            scores = q.new_empty(*q.shape[:2], shared + longest)
            scores[..., :shared] = q @ prefix_k.transpose(1, 2)
            scores[..., shared:] = float("-inf")
            future = q.new_full((longest, longest), float("-inf")).triu_(1).repeat_interleave(group, 0)
            for rows, own, size in _each(lengths, group):
                scores[:, rows, shared : shared + size] = (q[:, rows] @ k[:, own].transpose(1, 2)).add_(
                    future[: size * group, :size]
                )
            scores = scores.softmax(-1)
            of_prefix = scores[..., :shared].contiguous()
            of_own = [
                scores[:, rows, shared : shared + size].contiguous()
                for rows, _, size in _each(lengths, group)
            ]
            out = of_prefix @ prefix_v
            for part, (rows, own, _) in zip(of_own, _each(lengths, group), strict=True):
                out[:, rows] += part @ v[:, own]
        ctx.save_for_backward(q, prefix_k, prefix_v, k, v, out, of_prefix, *of_own)
        ctx.lengths, ctx.group, ctx.scaling = lengths, group, scaling
        return _heads(out, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        q, prefix_k, prefix_v, k, v, out, of_prefix, *of_own = ctx.saved_tensors
        of_out = _rows(gradients[0], len(k))
        mean = (of_out * out).sum(-1, keepdim=True)
        of_scores = (of_out @ prefix_v.transpose(1, 2)).sub_(mean).mul_(of_prefix)
        of_q = of_scores @ prefix_k
        of_prefix_k = of_scores.transpose(1, 2) @ q
        of_prefix_v = of_prefix.transpose(1, 2) @ of_out
        of_k, of_v = torch.empty_like(k), torch.empty_like(v)
        for part, (rows, own, _) in zip(of_own, _each(ctx.lengths, ctx.group), strict=True):
            of_scores = (of_out[:, rows] @ v[:, own].transpose(1, 2)).sub_(mean[:, rows]).mul_(part)
            of_q[:, rows] += of_scores @ k[:, own]
            of_k[:, own] = of_scores.transpose(1, 2) @ q[:, rows]
            of_v[:, own] = part.transpose(1, 2) @ of_out[:, rows]
        return _heads(of_q.mul_(ctx.scaling), ctx.group), of_prefix_k, of_prefix_v, of_k, of_v, None, None


def _each(lengths: Sequence[int], group: int) -> Iterator[tuple[slice, slice, int]]:
    """Of every sequence: its rows of queries, its keys, its length."""
    at = 0
    for length in lengths:
        yield slice(at * group, (at + length) * group), slice(at, at + length), length
        at += length


def _rows(x: Tensor, kv_heads: int) -> Tensor:
    """[heads, length, size] as [kv heads, length · group, size]."""
    return x.reshape(kv_heads, -1, *x.shape[1:]).transpose(1, 2).flatten(1, 2)


def _heads(x: Tensor, group: int) -> Tensor:
    """The way back of `_rows`."""
    return x.reshape(len(x), -1, group, x.shape[2]).transpose(1, 2).flatten(0, 1)
