"""What a sample can show: the least difference that it would find, and how many examples would settle a question.

Both follow from the standard error of the difference alone, because the estimate is about normal and the error falls
with the root of the number of examples. A true difference D is shown at the 5 % level (an interval of 95 % that leaves
out the bound) with a probability of 80 % when

    D = (z(0.975) + z(0.8)) · SE = 2.80 · SE,

and n examples with the error SE become n · (2.80 · SE / D)² where another D is to be shown. Sources: H. Bloom,
"Minimum detectable effects: a simple way to report the statistical power of experimental designs", Evaluation Review 19
(1995) 547-556 (the multiple of the standard error, with a normal in place of a t distribution); E. Miller, "Adding
error bars to evals" (2024, arXiv:2411.00640), section 5 (the same for two models on the same questions).
"""

from __future__ import annotations

import math
from statistics import NormalDist

LEVEL = 0.95
POWER = 0.8
MOST_EXAMPLES = 10_000_000  # beyond it a question is not settled by more examples

_TWO_SIDED = NormalDist().inv_cdf((1 + LEVEL) / 2)
_MULTIPLE = _TWO_SIDED + NormalDist().inv_cdf(POWER)


def detectable(error: float) -> float:
    """The least true difference that is shown in four of five samples, where its standard error is `error`."""
    return _MULTIPLE * error


def error_of(low: float, high: float) -> float:
    """The standard error that an interval of 95 % stands for."""
    return (high - low) / (2 * _TWO_SIDED)


def examples_needed(n: int, error: float, distance: float) -> int | None:
    """How many examples like these `n`, whose difference has the standard error `error`, would show in four of five
    samples that it lies on its side of a bound, if it truly is `distance` away from it. None when that is no number
    that anyone collects.
    """
    if not distance > 0:
        return None
    needed = n * (detectable(error) / distance) ** 2
    return math.ceil(needed) if needed <= MOST_EXAMPLES else None
