"""Rendered prompts, and which of them a model in this process answers together."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from agentlora.core.types import GenerateRequest
from agentlora.eval.engines import batching, prefixes


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request with its rendered prompt and its place in the caller's list."""

    place: int
    request: GenerateRequest
    ids: list[int]
    grammar: Any = None  # compiled, where the answer is held to one


def batches(
    prompts: Sequence[Prompt],
    size: int,
    tokens: int,
    unpadded: Container[str] = (),
    shares: Callable[[str | None], bool] = lambda adapter: False,
) -> Iterator[list[Prompt]]:
    """Requests of one adapter and temperature, of like length, the longest first: at most `size`, and at most `tokens`
    padded and new, those of shared prefixes in every row. Those for an adapter in `unpadded` are of one length; for one
    that `shares`, those that begin alike stand together. Sampled ones do not: what chance says to them depends on the
    batch, which is the same for the same lengths.
    """

    def kind(prompt: Prompt) -> tuple[str, float, int]:
        adapter = prompt.request.adapter or ""
        return adapter, prompt.request.temperature, len(prompt.ids) if adapter in unpadded else 0

    def fits(batch: Sequence[Prompt]) -> bool:
        width = max(len(p.ids) + p.request.max_tokens for p in batch)
        within = len(batch) <= size and width * len(batch) <= tokens
        return within and kind(batch[0]) == kind(batch[-1])

    ordered: list[Prompt] = []
    for _, group in groupby(sorted(prompts, key=lambda p: (kind(p), -len(p.ids))), kind):
        alike = list(group)
        if not alike[0].request.temperature and shares(alike[0].request.adapter):
            alike = [alike[place] for place in prefixes.by_prefix([p.ids for p in alike])]
        ordered += alike
    return batching.batches(ordered, fits)
