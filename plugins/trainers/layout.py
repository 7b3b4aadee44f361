"""The shared-prefix layout: rows with a common token prefix become one sequence, exactly.

``prefix, suffix₁, suffix₂ …`` with position ids that restart after the prefix, and an attention mask in
which a suffix sees the prefix and itself. Rows that share nothing are packed side by side, blind to each
other. Loss and gradients equal those of the plain layout; the prefix is computed once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import fsum
from typing import Any

from agentlora.core.config import Order, TrainingConfig
from agentlora.plugins.trainers.attention import Span
from agentlora.plugins.trainers.rows import Item, Row, flat

IGNORE = -100
PASS_TOKENS = 1024  # a forward pass of fewer wastes a processor's time


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix (token ids) and the rows that begin with it. `prefix` ends before any trained token. `places`: where the
    rows stand among those that the tree is made from.
    """

    prefix: tuple[int, ...]
    rows: tuple[Row, ...]
    places: tuple[int, ...]

    @property
    def computed_tokens(self) -> int:
        return len(self.prefix) + sum(len(row.ids) - len(self.prefix) for row in self.rows)


def common_prefix(rows: Sequence[Row]) -> tuple[int, ...]:
    """The longest common prefix that leaves every row at least one untrained token of its own.

    That token predicts the row's first trained one, so a suffix never depends on its neighbour's end.
    """
    if len(rows) < 2:
        return ()
    limit = min(row.start - 1 for row in rows)
    first = rows[0].ids
    length = 0
    while length < limit and all(row.ids[length] == first[length] for row in rows):
        length += 1
    return first[:length]


def trees(items: Iterable[Item]) -> list[Tree]:
    """Their rows gathered by group, in order of appearance."""
    rows, forest = flat(items), []
    for places in _groups(rows):
        members = tuple(rows[i] for i in places)
        forest.append(Tree(common_prefix(members), members, tuple(places)))
    return forest


def training_passes(
    items: Sequence[Item], batch_size: int, micro_batch: int, seed: int, total: int, order: Order = "shuffled"
) -> list[list[int]]:
    """Which items (by index) go through the model together, forward pass after forward pass of a whole training.

    An update has `batch_size` items in passes of `micro_batch`, which divides it; only the last may have fewer, so that
    `total` are trained. What an update holds depends on neither the passes nor the processes that share them.
    """
    passes: list[list[int]] = []
    stream = updates(items, batch_size, seed, order)
    for done in range(0, total, batch_size):
        update = next(stream)[: total - done]
        of_update = forward_passes([items[i] for i in update], micro_batch)
        passes += [[update[i] for i in members] for members in of_update]
    return passes


def updates(
    items: Sequence[Item], batch_size: int, seed: int, order: Order = "shuffled"
) -> Iterator[list[int]]:
    """Without end, the items of one update after the other: each once an epoch, groups whole as far as they go, but in
    parts of half an update, so that nearly all updates have more than one group. Items without company come in parts of
    half an update too, and so beside groups.

    An epoch's items that make up no update begin the next epoch's first one. With `order` easy-first every epoch goes
    from parts of groups that are easy on the mean to hard ones; the easy ones of a group are in one part.
    """
    most, easy_first = -(-batch_size // 2), order == "easy-first"
    whole = _groups(items)
    if easy_first:
        whole = [sorted(members, key=lambda i: items[i].difficulty) for members in whole]
    groups = [members[i : i + most] for members in whole for i in range(0, len(members), most)]
    alone = set() if easy_first else {group[0] for group in groups if len(group) == 1}
    left: list[int] = []
    for epoch in count():
        rng = random.Random(f"{seed}/{epoch}")
        groups = _gathered(groups, alone, most, rng)
        rng.shuffle(groups)
        # sizes that divide an update come first, the largest in front: cut are those that fit in no case
        packed = sorted(groups, key=lambda group: (batch_size % len(group) > 0, -len(group)))
        ordered = sorted(groups, key=lambda group: _hardness(group, items)) if easy_first else packed
        indices = [index for group in ordered for index in group]
        first: list[int] = []
        if left:  # made up to an update with the easiest, or with what is cut from its group anyway
            missing = batch_size - len(left)
            cut = missing if easy_first else max(0, len(indices) - missing)
            front, back = indices[:cut], indices[cut:]
            added, indices = (front, back) if easy_first else (back, front)
            first = left + added
        parts = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
        left = parts.pop() if parts and len(parts[-1]) < batch_size else []
        if not easy_first:
            rng.shuffle(parts)
        if first and len(first) < batch_size:
            left = first
        elif first:
            yield first
        yield from parts


def _gathered(groups: Sequence[list[int]], alone: set[int], most: int, rng: random.Random) -> list[list[int]]:
    """`groups` with the items that are `alone`, in random order, made into groups of `most`."""
    single = [index for group in groups for index in group if index in alone]
    rng.shuffle(single)
    others = [group for group in groups if group[0] not in alone]
    return others + [single[i : i + most] for i in range(0, len(single), most)]


def _hardness(group: Sequence[int], items: Sequence[Item]) -> float:
    return fsum(items[i].difficulty for i in group) / len(group)


def forward_passes(items: Sequence[Item], most: int) -> list[list[int]]:
    """Items (by index) in passes of `most`, the last of the rest. Groups stay whole where they fill a pass; smaller
    ones follow each other, and one that does not fit to its end goes on in the next pass.
    """
    parts = [members[i : i + most] for members in _groups(items) for i in range(0, len(members), most)]
    passes = [part for part in parts if len(part) == most]
    rest = [index for part in parts if len(part) < most for index in part]
    return passes + [rest[i : i + most] for i in range(0, len(rest), most)]


def _groups(items: Sequence[Item]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.group, []).append(index)
    return list(groups.values())


def items_at_once(items: Sequence[Item], enough: int = PASS_TOKENS) -> int:
    """How many items a forward pass should take: the largest group, or as many as make up `enough` tokens."""
    largest = max(map(len, _groups(items)))
    return max(largest, enough * len(items) // computed_tokens(items))


def items_in_all(training: TrainingConfig, items: int) -> int:
    """How many items a training goes through that has so many of them, each time that it comes by counted."""
    if training.max_steps:
        return training.max_steps * training.batch_size
    return round(items * training.epochs)


def computed_tokens(items: Sequence[Item]) -> int:
    """Tokens that a forward pass over these items computes, each shared prefix once."""
    return sum(tree.computed_tokens for group in _groups(items) for tree in trees([items[i] for i in group]))


def lay_out(items: Sequence[Item]) -> dict[str, Any]:
    """Tensors for one forward pass over the items' rows in the shared-prefix layout.

    Returns:
        input_ids, position_ids, labels: long [1, length]. labels are IGNORE except at trained tokens.
        weights: float [1, length], of each trained token. owners: long [1, length], of each token behind a prefix
        the number of its row. spans: the trees, of which `attention` knows who sees whom.
    """
    import torch

    forest = trees(items)
    length = sum(tree.computed_tokens for tree in forest)
    ids = torch.empty(length, dtype=torch.long)
    positions = torch.empty(length, dtype=torch.long)
    labels = torch.full((length,), IGNORE, dtype=torch.long)
    weights = torch.zeros(length)
    owners = torch.zeros(length, dtype=torch.long)
    at = 0
    spans: list[Span] = []
    for tree in forest:
        shared = len(tree.prefix)
        spans.append((at, shared, tuple(len(row.ids) - shared for row in tree.rows)))
        ids[at : at + shared] = torch.tensor(tree.prefix, dtype=torch.long)
        positions[at : at + shared] = torch.arange(shared)
        at += shared
        for row, place in zip(tree.rows, tree.places, strict=True):
            own = torch.tensor(row.ids[shared:], dtype=torch.long)
            end = at + len(own)
            ids[at:end] = own
            positions[at:end] = torch.arange(shared, len(row.ids))
            labels[at + row.start - shared : end] = own[row.start - shared :]
            weights[at + row.start - shared : end] = row.weight
            owners[at:end] = place
            at = end
    return {
        "input_ids": ids[None],
        "position_ids": positions[None],
        "labels": labels[None],
        "weights": weights[None],
        "owners": owners[None],
        "spans": tuple(spans),
    }


def pad(items: Sequence[Item], pad_id: int) -> dict[str, Any]:
    """The plain layout: input_ids, attention_mask, labels, weights, owners: [rows, longest], padded on the right."""
    import torch

    rows = flat(items)
    shape = len(rows), max(len(row.ids) for row in rows)
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORE, dtype=torch.long)
    weights = torch.zeros(shape)
    mask = torch.zeros(shape, dtype=torch.long)
    for i, row in enumerate(rows):
        end = len(row.ids)
        ids[i, :end] = torch.tensor(row.ids)
        labels[i, row.start : end] = ids[i, row.start : end]
        weights[i, row.start : end] = row.weight
        mask[i, :end] = 1
    owners = torch.arange(len(rows))[:, None].expand(shape)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "weights": weights,
        "owners": owners,
    }
