"""How fast this device computes, from half a second of measuring: the two figures of the roofline model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

# What is measured at most: a 70-billion model's layer would take gigabytes and a minute. A CPU multiplies as fast with
# more, and moves up to a quarter less (docs/experiments.md).
MOST_WEIGHTS = 1 << 24
MOST_PRODUCTS = 1 << 34  # of two numbers
MOST_VALUES = 1 << 25


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


def measured_speed(dtype: Any, device: Any, tokens: int, width: int, inner: int) -> Speed:
    """This device's, by the products that a model makes; of a large one by parts of them, which a CPU computes at the
    same rate.

    Args:
        tokens: of a forward pass. width, inner: of the model's layers.
    """
    import torch

    part, rows, values = inner, tokens, tokens * inner
    if torch.device(device).type == "cpu":
        part = min(inner, max(1, MOST_WEIGHTS // width))
        rows = min(tokens, max(1, MOST_PRODUCTS // (width * part)))
        values = min(values, MOST_VALUES)
    return Speed(
        flops=_products_a_second(dtype, device, rows, width, part),
        moved=_bytes_a_second(dtype, device, values),
        call=_seconds_a_call(device),
    )


@cache
def _products_a_second(dtype: Any, device: Any, rows: int, width: int, inner: int) -> float:
    """Floating point operations."""
    import torch

    x = torch.randn(rows, width, device=device).to(dtype)
    w = torch.randn(inner, width, device=device).to(dtype)
    return 2 * rows * width * inner / _seconds(lambda: x @ w.T, device, 0.3)


@cache
def _bytes_a_second(dtype: Any, device: Any, values: int) -> float:
    import torch

    a = torch.ones(values, device=device, dtype=dtype)
    b = torch.empty_like(a)
    return 3 * values * a.element_size() / _seconds(lambda: torch.mul(a, a, out=b), device, 0.1)


@cache
def _seconds_a_call(device: Any) -> float:
    import torch

    small = torch.zeros(8, device=device)
    return _seconds(lambda: small.add_(1), device, 0.1)


def _seconds(call: Callable[[], Any], device: Any, enough: float) -> float:
    """Of one call, the shortest of as many as fit into `enough` seconds: what others do on the machine is not its
    speed.
    """
    import torch

    taken: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < enough or len(taken) < 3:
        at = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - at)
    return min(taken)
