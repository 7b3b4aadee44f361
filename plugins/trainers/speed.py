"""How fast this device computes, from a second of measuring: the two figures of the roofline model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

SECONDS = 0.3  # of each measurement


@dataclass(frozen=True, slots=True)
class Speed:
    """Floating point operations a second in matrix products, bytes a second in everything else, seconds a call.

    An operation takes as long as the slower of its computing and its moving (Williams et al. 2009, the roofline model).
    """

    flops: float
    moved: float
    call: float = 0.0

    def seconds(self, flops: int, moved: int) -> float:
        """Of one operation."""
        return max(flops / self.flops, moved / self.moved) + self.call


@cache
def measured_speed(dtype: Any, device: Any, tokens: int, width: int, inner: int) -> Speed:
    """This device's, by the products that a model makes.

    Args:
        tokens: of a forward pass. width, inner: of the model's layers.
    """
    import torch

    x = torch.randn(tokens, width, device=device).to(dtype)
    w = torch.randn(inner, width, device=device).to(dtype)
    a = torch.randn(tokens, inner, device=device).to(dtype)
    b = torch.empty_like(a)
    small = torch.zeros(8, device=device)
    return Speed(
        flops=2 * tokens * width * inner / _seconds(lambda: x @ w.T, device),
        moved=3 * a.numel() * a.element_size() / _seconds(lambda: torch.mul(a, a, out=b), device),
        call=_seconds(lambda: small.add_(1), device),
    )


def _seconds(call: Callable[[], Any], device: Any) -> float:
    """Of one call, the shortest of as many as fit into the time: what others do on the machine is not its speed."""
    import torch

    taken: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(taken) < 3:
        at = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - at)
    return min(taken)
