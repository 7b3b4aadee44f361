"""How far two raters agree beyond chance."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from agentlora.core.power import LEVEL
from agentlora.eval.metrics import RESAMPLES

Pair = tuple[str, str]


def cohens_kappa(pairs: Sequence[Pair]) -> float | None:
    """(observed - expected by chance) / (1 - expected by chance) of (rater's, other's) verdicts: 1 where they always
    agree, 0 where no more than chance would have it. None where there is no pair, or chance alone agrees always.

    Source: J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
    (1960) 37-46.
    """
    n = len(pairs)
    first, second = (Counter(pair[i] for pair in pairs) for i in (0, 1))
    by_chance = sum(count * second[verdict] for verdict, count in first.items())  # of n * n
    if not n or by_chance == n * n:
        return None
    observed = sum(one == other for one, other in pairs) * n
    return (observed - by_chance) / (n * n - by_chance)


def kappa_interval(
    pairs: Sequence[Pair], groups: Sequence[Hashable], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a bootstrap that draws whole `groups` (one a pair); None where there is but one
    group, or most draws have no kappa.
    """
    clusters: dict[Hashable, list[Pair]] = defaultdict(list)
    for group, pair in zip(groups, pairs, strict=True):
        clusters[group].append(pair)
    if len(clusters) < 2:
        return None
    rng, held = random.Random(seed), list(clusters.values())
    drawn = ([p for c in rng.choices(held, k=len(held)) for p in c] for _ in range(resamples))
    found = sorted(k for sample in drawn if (k := cohens_kappa(sample)) is not None)
    if len(found) < resamples / 2:
        return None
    tail = (1 - LEVEL) / 2
    return found[int(tail * len(found))], found[min(len(found) - 1, int((1 - tail) * len(found)))]
