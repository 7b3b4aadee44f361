"""Attention over the shared-prefix layout that computes only what the mask would leave.

A dense mask makes every kernel score all pairs of tokens. Here a prefix attends to itself, and its suffixes attend
to the prefix and each to itself: the same result, for pairs that count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any

log = logging.getLogger(__name__)

# as attention implementations of transformers
NAME = "agentlora_tree"
FLEX = "agentlora_flex"

Span = tuple[int, int, tuple[int, ...]]
"""Where a tree begins, the length of its prefix, the length of each of its suffixes."""


class NarrowWindow(ValueError):
    """A layer attends to fewer tokens than a row has."""


def use_tree_attention(model: Any, flex: bool = False) -> None:
    """Let `model` compute attention with `tree_attention`, or `flex_tree_attention`, wherever its forward is given
    ``spans``.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    name = FLEX if flex else NAME
    AttentionInterface.register(name, partial(tree_attention, flex=flex))
    # without one of its own a model gets no mask at all where no spans are given, not even that of its window
    AttentionMaskInterface.register(name, sdpa_mask)
    model.set_attn_implementation(name)


def tree_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    spans: Sequence[Span] | None = None,
    sliding_window: int | None = None,
    flex: bool = False,
    **kwargs: Any,
) -> tuple[Any, None]:
    """An attention function of transformers: query [1, heads, length, size], key and value [1, kv heads, …].

    Without `spans` torch's own with the given mask. `flex`: by FlexAttention, where there is no dropout.

    Returns:
        [1, length, heads, size], None.

    Raises:
        NarrowWindow: `sliding_window` hides a part of a row; spans describe full attention.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if spans is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out, None
    longest = max(shared + max(lengths) for _, shared, lengths in spans)
    if sliding_window is not None and sliding_window < longest:
        raise NarrowWindow(f"a window of {sliding_window} tokens is narrower than a row of {longest}")
    if flex and not dropout:
        return flex_tree_attention(query, key.to(value.dtype), value, scaling, spans).transpose(1, 2), None
    if query.device.type == "cpu" and not dropout:
        from agentlora.plugins.trainers.fused import tree_attention as attend
    else:
        attend = partial(padded_tree_attention, dropout=dropout)
    scaling = scaling or query.shape[-1] ** -0.5
    # where all weights learn, rotary positions are float32 and autocast's projections are not
    query, key = query.to(value.dtype), key.to(value.dtype)
    parts = []
    for begin, shared, lengths in spans:
        tree = slice(begin, begin + shared + sum(lengths))
        parts.append(attend(query[0, :, tree], key[0, :, tree], value[0, :, tree], shared, lengths, scaling))
    return torch.cat(parts, 1).transpose(0, 1)[None].contiguous(), None


def flex_tree_attention(
    query: Any, key: Any, value: Any, scaling: float | None, spans: Sequence[Span]
) -> Any:
    """All trees in one call of torch's FlexAttention, compiled on a GPU. On a CPU it has no gradients.

    Args:
        query: [1, heads, length, size]. key, value: [1, kv heads, length, size].
    """
    from torch.nn.attention.flex_attention import flex_attention

    attend = _compiled() if query.device.type == "cuda" else flex_attention
    mask = _block_mask(tuple(spans), str(query.device))
    return attend(query.to(value.dtype), key, value, block_mask=mask, scale=scaling, enable_gqa=True)


def flex_learns(model: Any) -> bool:
    """Whether FlexAttention has gradients here for heads like this model's: never on a CPU; compiling needs a C
    compiler, and its kernels do not fit every GPU.
    """
    import torch

    if model.device.type != "cuda":
        return False
    try:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        counts = (heads, *[getattr(config, "num_key_value_heads", None) or heads] * 2)
        query, key, value = (
            torch.randn(1, n, 160, size, dtype=model.dtype, device=model.device, requires_grad=True)
            for n in counts
        )
        flex_tree_attention(query, key, value, None, ((0, 128, (20, 12)),)).square().sum().backward()
    except Exception as exc:  # a model without heads; the compiler's own have no common class
        log.info("no FlexAttention: %s", exc)
        return False
    return True


@cache
def _compiled() -> Any:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@lru_cache(maxsize=2)  # every layer asks for the same
def _block_mask(spans: tuple[Span, ...], device: str) -> Any:
    """See `_seen`."""
    from torch.nn.attention.flex_attention import create_block_mask

    length = sum(shared + sum(lengths) for _, shared, lengths in spans)
    return create_block_mask(_seen(spans, device), None, None, length, length, device=device)


def dense_mask(spans: Sequence[Span], device: Any) -> Any:
    """The same for attention of any kind: bool [1, 1, length, length], True where a query (row) may see a key."""
    import torch

    places = torch.arange(sum(shared + sum(lengths) for _, shared, lengths in spans), device=device)
    return _seen(spans, device)(0, 0, places[:, None], places)[None, None]


def _seen(spans: Sequence[Span], device: Any) -> Callable[[Any, Any, Any, Any], Any]:
    """Whether token q sees token k: what is before it, of its own row and of its tree's prefix."""
    import torch

    tree: list[int] = []
    row: list[int] = []  # in its tree; 0 is the prefix
    for number, (_, shared, lengths) in enumerate(spans):
        tree += [number] * (shared + sum(lengths))
        row += [0] * shared + [own for own, length in enumerate(lengths, 1) for _ in range(length)]
    of_tree, of_row = (torch.tensor(numbers, device=device) for numbers in (tree, row))

    def seen(batch: Any, head: Any, q: Any, k: Any) -> Any:
        same = (of_row[k] == 0) | (of_row[k] == of_row[q])
        return (k <= q) & (of_tree[k] == of_tree[q]) & same

    return seen


def padded_tree_attention(
    query: Any, key: Any, value: Any, shared: int, lengths: Sequence[int], scaling: float, dropout: float
) -> Any:
    """One tree by torch's fused kernel: a call for the prefix, a call for all suffixes, padded to one length.

    Args:
        query: [heads, length, size]. key, value: [kv heads, length, size].
    """
    import torch

    repeats = query.shape[0] // key.shape[0]
    key, value = key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0)
    attend = partial(torch.nn.functional.scaled_dot_product_attention, dropout_p=dropout, scale=scaling)
    (prefix_query, own_query), (prefix_key, own_key), (prefix_value, own_value) = (
        t.split([shared, sum(lengths)], 1) for t in (query, key, value)
    )
    parts = []
    if shared:
        parts.append(attend(prefix_query[None], prefix_key[None], prefix_value[None], is_causal=True)[0])
    own_query, own_key, own_value = (_batched(t, lengths) for t in (own_query, own_key, own_value))
    keys = torch.cat((prefix_key.expand(len(lengths), -1, -1, -1), own_key), 2)
    values = torch.cat((prefix_value.expand(len(lengths), -1, -1, -1), own_value), 2)
    longest = max(lengths)
    seen = torch.ones(longest, shared + longest, dtype=torch.bool, device=query.device).tril(shared)
    out = attend(own_query, keys, values, attn_mask=seen)
    parts += [row[:, :length] for row, length in zip(out, lengths, strict=True)]
    return torch.cat(parts, 1)


def _batched(tokens: Any, lengths: Sequence[int]) -> Any:
    """[heads, sum of lengths, size] as [suffixes, heads, longest, size], padded on the right.

    Padding stands behind every real token, so that a causal mask hides it.
    """
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence(list(tokens.transpose(0, 1).split(list(lengths))), batch_first=True).transpose(1, 2)
