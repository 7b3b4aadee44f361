"""How unlikely given answers are, computed by a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LOGITS = 1024  # rows of them that a batch may have: 200 MB in float32 at 49,152 words


@dataclass(frozen=True, slots=True)
class Given:
    """A prompt and an answer as token ids, for an adapter; `place`: in the caller's list."""

    place: int
    adapter: str | None
    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def batches(given: Sequence[Given], size: int, tokens: int, alone: frozenset[str]) -> Iterator[list[Given]]:
    """Of one adapter and of like length, the longest first, within the limits (`tokens`: padded); those for an adapter
    in `alone` one by one.
    """
    batch: list[Given] = []
    for one in sorted(given, key=lambda g: (g.adapter or "", -len(g))):
        grown = [*batch, one]
        longest = max(len(g.answer) for g in grown) + 1
        full = len(grown) > size or len(grown) * len(grown[0]) > tokens or len(grown) * longest > LOGITS
        if batch and (full or one.adapter != batch[0].adapter or (one.adapter or "") in alone):
            yield batch
            grown = [one]
        batch = grown
    if batch:
        yield batch


def mean_nats(model: Any, batch: Sequence[Given], pad: int, *, padded: bool = True) -> list[float]:
    """Of each answer the mean over its tokens of their negative log-probability, in nats.

    Args:
        padded: rows are padded at the left, and told their positions. Where PEFT puts virtual tokens before a row,
            there is one row, and nothing is said of positions.
    """
    import torch

    width = max(map(len, batch))
    rows = [[pad] * (width - len(g)) + g.prompt + g.answer for g in batch]
    mask = torch.tensor([[0] * (width - len(g)) + [1] * len(g) for g in batch], device=model.device)
    told = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if padded else {}
    kept = max(len(g.answer) for g in batch) + 1
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor(rows, device=model.device),  # [batch, width]
            attention_mask=mask,
            use_cache=False,
            **told,
        ).logits[:, -kept:]  # [batch, kept, vocabulary]: virtual tokens come before
        found = []
        for row, one in enumerate(batch):
            n = len(one.answer)
            scores = logits[row, -n - 1 : -1].float().log_softmax(-1)
            wanted = torch.tensor(one.answer, device=scores.device)[:, None]
            found.append(-float(scores.gather(-1, wanted).mean()))
    return found
