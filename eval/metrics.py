"""Statistics: a proportion with its interval, and the paired difference of two systems with its interval, a test of it
where answers pass or fail, and the least difference that the sample could have shown.

Where decoding samples, every example is answered several times. All its answers are then of one group, so that they
count as much as they tell: answers that agree are one example, answers that do not are more.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import NormalDist

from agentlora.core.power import LEVEL, detectable

RESAMPLES = 2000
ROUNDING = 1e-9
EXACT_WORK = 2_000_000  # sign patterns are counted up to this product of groups and their sum: 50 ms at most


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A metric over n examples: n = scored + not_applicable + unscored + errored.

    `mean` is over the scored ones, `low` and `high` its 95 % interval; all three are None when none was
    scored. `not_applicable`: the metric says nothing about the example. `unscored`: the output could not be
    judged. `errored`: the engine gave no output. `unbounded`: it is no share of 0 to 1, but seconds, say.
    """

    n: int
    scored: int
    not_applicable: int
    unscored: int
    errored: int
    mean: float | None
    low: float | None
    high: float | None
    unbounded: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (system - baseline) over the n examples that both were scored on, with its 95 % interval.

    `low` and `high` are None when there are fewer than two groups to resample, or nothing by which to tell how much an
    unbounded metric varies. `p_value` is `sign_flip`'s, of metrics that are 0 or 1 for every example. `detectable` is
    the true difference that four of five such samples would show (see `core.power`): a smaller one is likely missed.
    """

    n: int
    groups: int
    mean: float | None
    low: float | None
    high: float | None
    higher: int
    lower: int
    unbounded: bool = False
    p_value: float | None = None
    detectable: float | None = None


def wilson(successes: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a proportion, in 0..1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927) 209-212; recommended for small n by Brown, Cai & DasGupta, Statistical Science 16 (2001) 101-133.
    For values between 0 and 1 it is conservative: their variance is at most that of a proportion. `n` need not be
    whole: see `effective_n`.

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


def aggregate(
    values: Iterable[float | None],
    unscored: int = 0,
    errored: int = 0,
    groups: Iterable[Hashable] | None = None,
    *,
    unbounded: bool = False,
    seed: int = 0,
) -> Aggregate:
    """Sum up a metric; None among `values` means that it does not apply to that example.

    Args:
        groups: of the examples, one a value: those of one group may succeed and fail together. Default: each its own.
        unbounded: the values are no shares of 0 to 1. Their interval is then that of a cluster bootstrap (see
            `paired_difference`) with `seed`; of shares it is Wilson's, of as many examples as `effective_n` says.
    """
    every = list(values)
    names = list(range(len(every)) if groups is None else groups)
    found = [(name, value) for name, value in zip(names, every, strict=True) if value is not None]
    counts = (len(every) + unscored + errored, len(found), len(every) - len(found), unscored, errored)
    if not found:
        return Aggregate(*counts, None, None, None, unbounded)
    clusters = _clusters(found)
    mean = math.fsum(value for _, value in found) / len(found)
    low, high = _varied(clusters, seed, RESAMPLES) if unbounded else _share(mean, effective_n(clusters))
    return Aggregate(*counts, mean, low, high, unbounded)


def may_be_share(value: float | None) -> bool:
    """Whether it lies in 0..1, but for rounding, or does not apply."""
    return value is None or -ROUNDING <= value <= 1 + ROUNDING


def effective_n(clusters: Sequence[Sequence[float]]) -> float:
    """As how many independent examples those tell that come in groups: n over the design effect, which is the variance
    of their mean as whole groups have it over the one that independent examples would have. At least 1, at most n.

    Sources: L. Kish, "Survey Sampling" (1965), section 8.2 (the design effect); J. Rao & A. Scott, "A simple method for
    the analysis of clustered binary data", Biometrics 48 (1992) 577-585 (its estimate from groups, and n over it); N.
    Dean & M. Pagano, J. Survey Statistics and Methodology 3 (2015) 484-503 (with Wilson's interval). Where all values
    are equal nothing says whether groups go together, and each counts as one example.
    """
    values = [value for cluster in clusters for value in cluster]
    n, groups = len(values), len(clusters)
    if groups == n:
        return n
    if min(values) == max(values):
        return groups
    if groups == 1:
        return 1.0
    mean = math.fsum(values) / n
    together = math.fsum(math.fsum(v - mean for v in cluster) ** 2 for cluster in clusters)
    variance = groups / (groups - 1) * together / n**2
    alone = math.fsum((v - mean) ** 2 for v in values) / (n * (n - 1))
    return min(n, max(1.0, n * alone / variance)) if variance else n


def paired_difference(
    system: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
    groups: Mapping[str, Hashable],
    seed: int = 0,
    resamples: int = RESAMPLES,
    *,
    unbounded: bool = False,
) -> Difference:
    """Compare two systems on the examples that both were scored on (maps from example id to value).

    The interval is the percentile interval of a cluster bootstrap: whole groups are drawn with replacement,
    because requests that share a tool list succeed and fail together. Sources: B. Efron & R. Tibshirani,
    "An Introduction to the Bootstrap" (1993), ch. 13 (percentile interval); A. Davison & D. Hinkley,
    "Bootstrap Methods and their Application" (1997), section 3.8 (resampling clusters).

    Alone it is too narrow with few groups, and has no width where all differ alike, so that two groups would prove
    anything. Therefore two more stand beside those found, one that gained and one that lost as much as can be, as D.
    Bonett & R. Price add a pair of either kind ("Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educational and Behavioral Statistics 37 (2012) 479-488). An `unbounded`
    metric has no such groups: where all differ alike there is no interval of it.
    """
    pairs = {
        key: (value, other)
        for key, value in system.items()
        if value is not None and (other := baseline.get(key)) is not None
    }
    if not pairs:
        return Difference(0, 0, None, None, None, 0, 0, unbounded)
    clusters = _clusters((groups.get(key) or key, value - other) for key, (value, other) in pairs.items())
    differences = [d for cluster in clusters for d in cluster]
    mean = math.fsum(differences) / len(differences)
    low, high, error = None, None, None
    if unbounded:
        low, high = _varied(clusters, seed, resamples)
        error = None if low is None else _cluster_error(_sums(clusters))
    elif len(clusters) > 1:
        size = len(differences) / len(clusters)
        beside = [*_sums(clusters), (size, size), (-size, size)]
        start, end = _bootstrap(beside, seed, resamples)
        low, high, error = min(start, mean), max(end, mean), _cluster_error(beside)
    passed_or_failed = all(value in (0, 1) for pair in pairs.values() for value in pair)
    return Difference(
        n=len(pairs),
        groups=len(clusters),
        mean=mean,
        low=low,
        high=high,
        higher=sum(d > 0 for d in differences),
        lower=sum(d < 0 for d in differences),
        unbounded=unbounded,
        p_value=sign_flip([round(sum(cluster)) for cluster in clusters]) if passed_or_failed else None,
        detectable=None if error is None else detectable(error),
    )


def sign_flip(gains: Sequence[int]) -> float:
    """The two-sided mid-p value of the hypothesis that two systems pass alike. `gains` has for each group by how many
    examples the one passes more than the other.

    Were they alike, either could have given either's answers to a group, so that every gain had both signs equally
    often. The value is the share of all patterns of signs whose sum lies further from 0 than the one found, and half
    of those as far. With one example a group that is McNemar's exact test: the gains that are not 0 are the discordant
    pairs, and their sum follows the binomial. With larger groups it stays valid where McNemar's, which takes every
    example for itself, does not.

    Sources: M. Fagerland, S. Lydersen & P. Laake, "The McNemar test for binary matched-pairs data: mid-p and asymptotic
    are better than exact conditional", BMC Medical Research Methodology 13:91 (2013), which advises the mid-p; A.
    Winkler et al., "Multi-level block permutation", NeuroImage 123 (2015) 253-268 (signs of whole groups). Patterns are
    counted; of so many groups that this takes long, the sum is taken to be normal.
    """
    sizes = [abs(gain) for gain in gains if gain]
    found, most, groups = abs(sum(gains)), sum(sizes), len(sizes)
    if not groups:
        return 1.0
    if groups * most > EXACT_WORK:
        return 2 * NormalDist().cdf(-found / math.sqrt(sum(size * size for size in sizes)))
    # A number whose digits, of `width` bits each, say how many patterns have 0, 1, 2 … in the gains above 0: together
    # they are 2^groups, so that no digit overflows, and the number modulo its largest digit is the sum of the digits.
    width = groups + 1
    patterns = 1
    for size in sizes:
        patterns += patterns << (size * width)
    digit = (1 << width) - 1
    tail = patterns >> ((most + found) // 2 * width)  # the digits of sums of `found` and more
    as_far, in_tail = tail & digit, tail % digit
    # both sides alike; at 0 they are one pattern's
    counted = 2 * (2 * in_tail - as_far) if found else (2 << groups) - as_far
    return counted / (2 << groups)


Ends = tuple[float | None, float | None]


def _share(mean: float, n: float) -> Ends:
    return wilson(min(max(mean, 0.0), 1.0) * n, n)


def _varied(clusters: Sequence[Sequence[float]], seed: int, resamples: int) -> Ends:
    """The interval of a mean without bounds; none where only one group, or one value of all groups, is known."""
    means = [math.fsum(cluster) / len(cluster) for cluster in clusters]
    rounding = ROUNDING * max(map(abs, means))
    return (
        _bootstrap(_sums(clusters), seed, resamples) if max(means) - min(means) > rounding else (None, None)
    )


def _clusters(named: Iterable[tuple[Hashable, float]]) -> list[list[float]]:
    clusters: dict[Hashable, list[float]] = defaultdict(list)
    for name, value in named:
        clusters[name].append(value)
    return list(clusters.values())


def _sums(clusters: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(math.fsum(cluster), len(cluster)) for cluster in clusters]


def _cluster_error(sums: Sequence[tuple[float, float]]) -> float:
    """The standard error of a ratio of sums over clusters, of which there are two or more: that of `effective_n`."""
    total, size = (math.fsum(part) for part in zip(*sums, strict=True))
    mean, groups = total / size, len(sums)
    off = math.fsum((s - mean * n) ** 2 for s, n in sums)
    return math.sqrt(groups / (groups - 1) * off) / size


_first, _second = itemgetter(0), itemgetter(1)


def _bootstrap(sums: Sequence[tuple[float, float]], seed: int, resamples: int) -> tuple[float, float]:
    """The percentile interval of a ratio of sums; `sums` has (sum of differences, size) for each cluster."""
    rng, k = random.Random(seed), len(sums)
    totals, sizes = zip(*sums, strict=True)
    if len(set(sizes)) == 1:  # as of examples without groups: half the time, and the same draws
        means = [sum(rng.choices(totals, k=k)) / (k * sizes[0]) for _ in range(resamples)]
    else:
        drawn = (rng.choices(sums, k=k) for _ in range(resamples))
        means = [sum(map(_first, of)) / sum(map(_second, of)) for of in drawn]
    means.sort()
    tail = (1 - LEVEL) / 2
    return _quantile(means, tail), _quantile(means, 1 - tail)


def _quantile(ordered: list[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
