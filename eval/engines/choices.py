"""How likely given answers are, computed by a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentlora.eval.engines import batching

CHOICE_TOKENS = (
    1024  # padded, of a batch: their logits take 200 MB in float32 at 49,152 words, four times over
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and its choices as token ids, and the place of the request in the caller's list."""

    place: int
    adapter: str | None
    prompt: list[int]
    choices: list[list[int]]


def batches(asked: Sequence[Asked], size: int, tokens: int) -> Iterator[list[Asked]]:
    """Prompts of one adapter and of like length, the longest first: at most `size`, and with a copy for every choice
    at most `tokens`, padded.
    """

    def fits(batch: Sequence[Asked]) -> bool:
        rows = sum(len(a.choices) for a in batch)
        longest = max(len(choice) for a in batch for choice in a.choices)
        within = rows * (len(batch[0].prompt) + longest) <= tokens and rows * longest <= CHOICE_TOKENS
        return len(batch) <= size and within and batch[0].adapter == batch[-1].adapter

    return batching.batches(sorted(asked, key=lambda a: (a.adapter or "", -len(a.prompt))), fits)


def log_probs(model: Any, batch: Sequence[Asked], pad: int, *, shared: bool = True) -> list[list[float]]:
    """Of every prompt, the log-probability of each of its choices, summed over its tokens.

    Args:
        shared: compute a prompt once for all its choices, from a cache; else whole rows, which every model can, and
            those with virtual tokens before the prompt need. A model that takes no positions, or whose cache cannot be
            copied, goes the long way.
    """
    import torch

    with torch.inference_mode():
        try:
            found = _from_cache(model, batch, pad) if shared else None
        except TypeError:  # its forward takes no positions, or no cache
            found = None
        return _rows(model, batch, pad) if found is None else found


def _from_cache(model: Any, batch: Sequence[Asked], pad: int) -> list[list[float]] | None:
    """First all prompts, which say how likely first tokens are; then the rest of the choices after copies of their
    keys and values.
    """
    import torch

    device = model.device
    width = max(len(a.prompt) for a in batch)
    ids = torch.tensor([[pad] * (width - len(a.prompt)) + a.prompt for a in batch], device=device)
    mask = torch.tensor(
        [[0] * (width - len(a.prompt)) + [1] * len(a.prompt) for a in batch], device=device
    )  # [batch, width]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    keeps = getattr(model, "_supports_logits_to_keep", None)
    last = {"logits_to_keep": 1} if keeps is not None and keeps() else {}
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **last)
    first = out.logits[:, -1].float().log_softmax(-1)  # [batch, vocabulary]
    found = [[float(first[row, choice[0]]) for choice in a.choices] for row, a in enumerate(batch)]
    longer = [
        (row, place, choice)
        for row, a in enumerate(batch)
        for place, choice in enumerate(a.choices)
        if len(choice) > 1
    ]
    if not longer:
        return found
    cache = out.past_key_values
    if not all(hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", (None,))):
        return None
    rows = torch.tensor([row for row, _, _ in longer], device=device)
    cache.batch_select_indices(rows)
    more = max(len(choice) for _, _, choice in longer) - 1
    inputs = torch.tensor([c[:-1] + [pad] * (more - len(c) + 1) for _, _, c in longer], device=device)
    read = torch.tensor([[1] * (len(c) - 1) + [0] * (more - len(c) + 1) for _, _, c in longer], device=device)
    lengths = torch.tensor([len(batch[row].prompt) for row, _, _ in longer], device=device)
    logits = model(
        input_ids=inputs,  # [choices, more]
        attention_mask=torch.cat([mask[rows], read], dim=1),
        position_ids=lengths[:, None] + torch.arange(more, device=device),
        past_key_values=cache,
        use_cache=True,
    ).logits
    for number, (row, place, choice) in enumerate(longer):
        found[row][place] += _sum(logits[number, : len(choice) - 1], choice[1:])
    return found


def _rows(model: Any, batch: Sequence[Asked], pad: int) -> list[list[float]]:
    """Each choice behind its whole prompt, padded at the right, so that positions need no word."""
    import torch

    found: list[list[float]] = []
    for a in batch:
        rows = [a.prompt + choice for choice in a.choices]
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask).logits
        start = logits.shape[1] - width + len(a.prompt) - 1  # virtual tokens have logits too
        found.append([_sum(logits[i, start : start + len(c)], c) for i, c in enumerate(a.choices)])
    return found


def _sum(logits: Any, tokens: Sequence[int]) -> float:
    """`logits` has a row for each token, [tokens, vocabulary]."""
    import torch

    wanted = torch.tensor(tokens, device=logits.device)[:, None]
    scores = logits.float()
    return float((scores.gather(-1, wanted)[:, 0] - scores.logsumexp(-1)).sum())
