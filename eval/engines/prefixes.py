"""Prompts that begin alike: an order that brings them together, and what they share computed once.

A batch keeps the layout that it has without: rows of one width, padded at the left. Only where its keys and values come
from differs. Those of its first columns are copied from a few prefixes, each of which was computed once; the last
columns, as many in every row, are computed row by row. So nothing is padded within a row, and masks and positions stay
what they were.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SHARED = 32  # tokens: what fewer of them save, one more pass through the model costs
SAVED = 0.25  # of a batch's tokens, at least
LEVELS = 8  # of groups within groups: instruction, worked examples, tools, turns of a conversation

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a batch is computed. `of`: which of the `prefixes` each row begins with; the last `own` columns of the batch
    are computed row by row.
    """

    prefixes: list[list[int]]
    of: list[int]
    own: int

    @property
    def computed_tokens(self) -> int:
        """With padding."""
        return len(self.prefixes) * max(map(len, self.prefixes)) + len(self.of) * self.own


def by_prefix(rows: Sequence[Ids]) -> list[int]:
    """The places of the rows in an order for batches: the longest first, and behind it those that share half of it or
    more; among these in the same way, as to what they do not all share.
    """
    return list(_by_prefix(rows, range(len(rows)), 0, LEVELS))


def _by_prefix(rows: Sequence[Ids], places: Iterable[int], start: int, levels: int) -> Iterator[int]:
    """All share their first `start` tokens."""
    groups: list[list[int]] = []
    shared: list[int] = []  # tokens, by all of a group
    last: int | None = None
    for place in sorted(places, key=lambda place: rows[place]):
        common = 0 if last is None else _common(rows[last], rows[place])
        shorter = len(rows[place]) if last is None else min(len(rows[last]), len(rows[place]))
        if levels and common - start >= max(SHARED, (shorter - start) / 2):
            groups[-1].append(place)
            shared[-1] = min(shared[-1], common)
        else:
            groups.append([place])
            shared.append(len(rows[place]))
        last = place
    longest = [(-max(len(rows[place]) for place in group), min(group)) for group in groups]
    for _, group, common in sorted(zip(longest, groups, shared, strict=True)):
        yield from group if len(group) == 1 else _by_prefix(rows, group, common, levels - 1)


def plan(rows: Sequence[Ids]) -> Plan | None:
    """The cheapest way; None where rows share too little."""
    order = sorted(range(len(rows)), key=lambda place: rows[place])
    common = [
        min(_common(rows[one], rows[other]), len(rows[one]) - 1, len(rows[other]) - 1)
        for one, other in pairwise(order)
    ]  # each row keeps a token of its own, whose logits say how it goes on
    found = [_of_groups(rows, order, common, least) for least in sorted({n for n in common if n >= SHARED})]
    best = min(found, key=lambda plan: plan.computed_tokens, default=None)
    width = max(map(len, rows))
    enough = best is not None and best.computed_tokens <= (1 - SAVED) * len(rows) * width
    return best if enough else None


def _of_groups(rows: Sequence[Ids], order: Sequence[int], common: Sequence[int], least: int) -> Plan:
    """Neighbours in `order` with `least` tokens in common share a prefix. `common`: what each has with the next."""
    groups, shared = [[order[0]]], [len(rows[order[0]])]
    for place, tokens in zip(order[1:], common, strict=True):
        if tokens >= least:
            groups[-1].append(place)
            shared[-1] = min(shared[-1], tokens)
        else:
            groups.append([place])
            shared.append(len(rows[place]))
    own = max(
        len(rows[place]) - tokens
        for group, tokens in zip(groups, shared, strict=True)
        for place in group
        if len(group) > 1
    )
    of = [0] * len(rows)
    prefixes: list[list[int]] = []
    for group in groups:
        longest = max((rows[place] for place in group), key=len)
        if len(longest) > own:  # else there is nothing of it in the first columns
            for place in group:
                of[place] = len(prefixes)
            prefixes.append(longest[: len(longest) - own])
    return Plan(prefixes, of, own)


def _common(one: Ids, other: Ids) -> int:
    """How many tokens the two begin with alike; slices are compared faster than tokens."""
    known, least = 0, min(len(one), len(other))
    while known < least:
        middle = (known + least + 1) // 2
        if one[known:middle] == other[known:middle]:
            known = middle
        else:
            least = middle - 1
    return known


# --- with a model ---


def padded(rows: Sequence[Ids], pad: int, device: Any) -> tuple[Any, Any]:
    """(ids, mask), both [rows, width], padded at the left."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def takes(model: Any) -> bool:
    """Whether a part of the model's cache can be copied into another one: it keeps all keys and values and nothing
    else, and a token's depend on nothing that comes after it. Windows that slide and recurrent layers keep less;
    rotations that are chosen by the length of the whole prompt depend on it.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    usual = getattr(inner, "_supports_default_dynamic_cache", None)
    if usual is None or not usual() or getattr(inner, "_is_stateful", False):
        return False
    settings, config = inner.generation_config, inner.config.get_text_config(decoder=True)
    own_way = settings.cache_implementation or settings.prefill_chunk_size or settings.use_cache is False
    named = {"position_ids", "past_key_values"} <= set(inspect.signature(inner.forward).parameters)
    if own_way or not named or _stretches(config):
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def _stretches(config: Any) -> bool:
    """`rope_parameters` has the settings, or those of each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    parts = [part for part in (found, *found.values()) if isinstance(part, dict)]
    return any(str(part.get("rope_type")) in ("dynamic", "longrope") for part in parts)


def begun(model: Any, rows: Sequence[Ids], pad: int) -> Any:
    """A cache with the first columns of `rows`, padded at the left, of a model that `takes` it; None where they share
    too little. Its memory is a part of what the batch takes without.
    """
    if (found := plan(rows)) is None:
        return None
    cache = _computed(model, found.prefixes, pad)
    return None if cache is None else _spread(cache, found, rows)


def _computed(model: Any, rows: Sequence[Ids], pad: int) -> Any:
    """A cache with all of the rows, padded at the left; None where the model has not filled it. What they share among
    each other is computed once too.
    """
    from transformers import DynamicCache

    cache = begun(model, rows, pad) or DynamicCache(config=model.config.get_text_config(decoder=True))
    known = cache.get_seq_length()
    ids, mask = padded(rows, pad, model.device)
    keeps = getattr(model, "_supports_logits_to_keep", None)
    last = {"logits_to_keep": 1} if keeps is not None and keeps() else {}
    model(
        input_ids=ids[:, known:],
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, known:],
        past_key_values=cache,
        use_cache=True,
        **last,
    )
    filled = cache.layers and all(layer.get_seq_length() == ids.shape[1] for layer in cache.layers)
    return cache if filled else None


def _spread(cache: Any, plan: Plan, rows: Sequence[Ids]) -> Any:
    """The cache of the prefixes as that of the rows' first columns. Padding has some token's, which no row looks at."""
    import torch

    known, width = cache.get_seq_length(), max(map(len, rows))
    of = torch.tensor(plan.of)
    ends = torch.tensor(
        [width - len(row) + len(plan.prefixes[i]) for i, row in zip(plan.of, rows, strict=True)]
    )
    columns = (torch.arange(width - plan.own) + known - ends[:, None]).clamp(min=0)  # [rows, width - own]
    for layer in cache.layers:  # one after the other, so that both are there of one layer only
        device = layer.keys.device
        where = of[:, None].to(device), columns.to(device)
        layer.keys = layer.keys.transpose(1, 2)[where].transpose(1, 2)  # [rows, heads, width - own, head]
        layer.values = layer.values.transpose(1, 2)[where].transpose(1, 2)
    return cache
