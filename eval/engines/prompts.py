"""Rendered prompts, and which of them a model in this process answers together."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentlora.core.types import GenerateRequest
from agentlora.eval.engines import batching


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request with its rendered prompt and its place in the caller's list."""

    place: int
    request: GenerateRequest
    ids: list[int]
    grammar: Any = None  # compiled, where the answer is held to one


def batches(
    prompts: Sequence[Prompt], size: int, tokens: int, unpadded: Container[str] = ()
) -> Iterator[list[Prompt]]:
    """Requests of one adapter and temperature, of like length, the longest first: at most `size`, and at most `tokens`
    padded and new. Those for an adapter in `unpadded` are of one length.
    """

    def kind(prompt: Prompt) -> tuple[str, float, int]:
        adapter = prompt.request.adapter or ""
        return adapter, prompt.request.temperature, len(prompt.ids) if adapter in unpadded else 0

    def fits(batch: Sequence[Prompt]) -> bool:
        width = max(len(p.ids) + p.request.max_tokens for p in batch)
        within = len(batch) <= size and width * len(batch) <= tokens
        return within and kind(batch[0]) == kind(batch[-1])

    return batching.batches(sorted(prompts, key=lambda p: (kind(p), -len(p.ids))), fits)
