"""Statistics: a proportion with its interval, and the paired difference of two systems with its interval."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A metric over n examples: n = scored + not_applicable + unscored + errored.

    `mean` is over the scored ones, `low` and `high` its 95 % interval; all three are None when none was
    scored. `not_applicable`: the metric says nothing about the example. `unscored`: the output could not be
    judged. `errored`: the engine gave no output.
    """

    n: int
    scored: int
    not_applicable: int
    unscored: int
    errored: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (system - baseline) over the n examples that both were scored on, with its 95 % interval.

    `low` and `high` are None when there are fewer than two groups to resample.
    """

    n: int
    groups: int
    mean: float | None
    low: float | None
    high: float | None
    higher: int
    lower: int


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a proportion, in 0..1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927) 209-212; recommended for small n by Brown, Cai & DasGupta, Statistical Science 16 (2001) 101-133.
    For values between 0 and 1 it is conservative: their variance is at most that of a proportion.

    Raises:
        ValueError: n < 1, or successes outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n the formula's ends are exactly 0 and 1; rounding must not cross them, nor the mean.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def aggregate(values: Iterable[float | None], unscored: int = 0, errored: int = 0) -> Aggregate:
    """Sum up a metric; None among `values` means that it does not apply to that example."""
    every = list(values)
    scored = [v for v in every if v is not None]
    n = len(every) + unscored + errored
    if not scored:
        return Aggregate(n, 0, len(every), unscored, errored, None, None, None)
    total = math.fsum(scored)
    low, high = wilson(min(total, len(scored)), len(scored))
    counts = (n, len(scored), len(every) - len(scored), unscored, errored)
    return Aggregate(*counts, total / len(scored), low, high)


def paired_difference(
    system: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
    groups: Mapping[str, Hashable],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two systems on the examples that both were scored on (maps from example id to value).

    The interval is the percentile interval of a cluster bootstrap: whole groups are drawn with replacement,
    because requests that share a tool list succeed and fail together. Sources: B. Efron & R. Tibshirani,
    "An Introduction to the Bootstrap" (1993), ch. 13 (percentile interval); A. Davison & D. Hinkley,
    "Bootstrap Methods and their Application" (1997), section 3.8 (resampling clusters). With few groups it
    is somewhat too narrow, and when every difference is the same it has no width.
    """
    pairs = {
        key: (value, other)
        for key, value in system.items()
        if value is not None and (other := baseline.get(key)) is not None
    }
    if not pairs:
        return Difference(0, 0, None, None, None, 0, 0)
    clusters: dict[Hashable, list[float]] = defaultdict(list)
    for key, (value, other) in pairs.items():
        clusters[groups.get(key) or key].append(value - other)
    sums = [(math.fsum(c), len(c)) for c in clusters.values()]
    differences = [d for c in clusters.values() for d in c]
    low, high = _bootstrap(sums, seed, resamples) if len(sums) > 1 else (None, None)
    return Difference(
        n=len(pairs),
        groups=len(sums),
        mean=math.fsum(differences) / len(differences),
        low=low,
        high=high,
        higher=sum(d > 0 for d in differences),
        lower=sum(d < 0 for d in differences),
    )


def _bootstrap(sums: list[tuple[float, int]], seed: int, resamples: int) -> tuple[float, float]:
    """The percentile interval of a ratio of sums; `sums` has (sum of differences, size) for each cluster."""
    rng = random.Random(seed)
    means = []
    for _ in range(resamples):
        drawn = rng.choices(sums, k=len(sums))
        means.append(sum(s for s, _ in drawn) / sum(size for _, size in drawn))
    means.sort()
    tail = (1 - LEVEL) / 2
    return _quantile(means, tail), _quantile(means, 1 - tail)


def _quantile(ordered: list[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
