"""Attention over the shared-prefix layout that computes only what the mask would leave.

A dense mask makes every kernel score all pairs of tokens. Here a prefix attends to itself, and all its suffixes,
padded to one length, attend to the prefix and to themselves in one batch: the same result, for pairs that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NAME = "agentlora_tree"  # as an attention implementation of transformers

Span = tuple[int, int, tuple[int, ...]]
"""Where a tree begins, the length of its prefix, the length of each of its suffixes."""


def use_tree_attention(model: Any) -> None:
    """Let `model` compute attention with `tree_attention` wherever its forward is given ``spans``."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, tree_attention)
    model.set_attn_implementation(NAME)


def tree_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    spans: Sequence[Span] | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """An attention function of transformers: query [1, heads, length, size], key and value [1, kv heads, …].

    Without `spans`, or with a kind of attention that spans do not describe, torch's own with the given mask.

    Returns:
        [1, length, heads, size], None.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if spans is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out, None
    repeats = query.shape[1] // key.shape[1]
    query, key, value = query[0], key[0].repeat_interleave(repeats, 0), value[0].repeat_interleave(repeats, 0)
    attend = torch.nn.functional.scaled_dot_product_attention
    parts = []
    for begin, shared, lengths in spans:
        middle, end = begin + shared, begin + shared + sum(lengths)
        prefix_key, prefix_value = key[:, begin:middle], value[:, begin:middle]
        if shared:
            parts.append(
                attend(
                    query[None, :, begin:middle],
                    prefix_key[None],
                    prefix_value[None],
                    is_causal=True,
                    dropout_p=dropout,
                    scale=scaling,
                )[0]
            )
        own_query, own_key, own_value = (_batched(t[:, middle:end], lengths) for t in (query, key, value))
        keys = torch.cat((prefix_key.expand(len(lengths), -1, -1, -1), own_key), 2)
        values = torch.cat((prefix_value.expand(len(lengths), -1, -1, -1), own_value), 2)
        longest = max(lengths)
        seen = torch.ones(longest, shared + longest, dtype=torch.bool, device=query.device).tril(shared)
        if query.device.type == "cpu" and not dropout:
            out = _masked_attention(own_query, keys, values, seen, scaling)
        else:
            out = attend(own_query, keys, values, attn_mask=seen, dropout_p=dropout, scale=scaling)
        parts += [row[:, :length] for row, length in zip(out, lengths, strict=True)]
    return torch.cat(parts, 1).transpose(0, 1)[None].contiguous(), None


def _masked_attention(query: Any, key: Any, value: Any, seen: Any, scaling: float | None) -> Any:
    """softmax(scaling · QKᵀ)V by plain matrix products: on CPUs, for batches of short sequences, twice as fast
    as torch's fused kernel (docs/experiments.md).
    """
    import torch

    bias = torch.zeros(seen.shape, dtype=query.dtype, device=query.device).masked_fill(~seen, float("-inf"))
    scores = torch.matmul(query * (scaling or query.shape[-1] ** -0.5), key.transpose(-1, -2)) + bias
    return torch.matmul(scores.softmax(-1), value)


def _batched(tokens: Any, lengths: Sequence[int]) -> Any:
    """[heads, sum of lengths, size] as [suffixes, heads, longest, size], padded on the right.

    Padding stands behind every real token, so that a causal mask hides it.
    """
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence(list(tokens.transpose(0, 1).split(list(lengths))), batch_first=True).transpose(1, 2)
