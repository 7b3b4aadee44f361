"""The likeliest tokens of each step of a generation by a model in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LIKELIEST = 5  # tokens of each place that a trace tells


class Likeliest:
    """Sees the logits of every step of a generation, and keeps the likeliest tokens; it changes nothing."""

    def __init__(self) -> None:
        self._steps: list[tuple[list[list[float]], list[list[int]]]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        top = scores.float().log_softmax(-1).topk(min(LIKELIEST, scores.shape[-1]))  # [batch, LIKELIEST]
        self._steps.append((top.values.tolist(), top.indices.tolist()))
        return scores

    def at(self, row: int, place: int, token: int) -> dict[int, float]:
        """Log-probabilities by token where `token` was taken; a greedy one is among the likeliest."""
        values, tokens = self._steps[place]
        return dict(zip(tokens[row], values[row], strict=True))
