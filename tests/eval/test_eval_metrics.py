"""Statistics against values computed elsewhere, and against simulation."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest

from agentlora.core.power import detectable, error_of, examples_needed
from agentlora.eval.metrics import (
    EXACT_WORK,
    Difference,
    aggregate,
    effective_n,
    may_be_share,
    paired_difference,
    sign_flip,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        (0, 10, 0.0, 0.27753279),
        (5, 10, 0.23659309, 0.76340691),
        (81, 263, 0.25528852, 0.36620958),
        (100, 100, 0.96300560, 1.0),
    ],
)
def test_wilson_agrees_with_scipy(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_aggregate_counts_everything_once() -> None:
    found = aggregate([1.0, 0.0, None, 1.0], unscored=2, errored=3)
    assert (found.n, found.scored, found.not_applicable, found.unscored, found.errored) == (9, 3, 1, 2, 3)
    assert found.mean == pytest.approx(2 / 3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2 / 3 < found.high


def test_aggregate_of_nothing_has_no_mean() -> None:
    found = aggregate([None], errored=1)
    assert (found.n, found.mean, found.low, found.high) == (2, None, None, None)


def test_the_design_effect_agrees_with_values_computed_by_hand() -> None:
    """Four groups of two, right in (2, 2, 1, 0): the mean is 5/8 and the groups are .75, .75, -.25 and -1.25 above
    what it makes of them; 4/3 * 2.75 / 64 is the variance of the mean by groups, 15/8 / 56 that of 8 alone.
    """
    clusters = [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    effect = (4 / 3 * 2.75 / 64) / (15 / 8 / 56)
    assert effective_n(clusters) == pytest.approx(8 / effect)
    found = aggregate([v for c in clusters for v in c], groups=[g for g in "abcd" for _ in range(2)])
    assert (found.low, found.high) == pytest.approx(wilson(5 / effect, 8 / effect))


def test_answers_of_a_group_that_are_all_alike_are_one_example() -> None:
    # variance by groups: k times that of examples alone, but for what one group and one example less make
    together = [[float(g % 2)] * 8 for g in range(20)]
    assert effective_n(together) == pytest.approx(160 * 19 / 159)
    assert effective_n([[1.0] * 8] * 20) == 20  # nothing says that they are 160
    assert effective_n([[1.0, 0.0] * 4]) == 1  # nor one group that it stands for others
    assert effective_n([[1.0], [0.0], [1.0]]) == 3
    assert effective_n([[1.0, 0.0]] * 20) == 40  # groups that are more alike than chance prove no more
    alone, grouped = aggregate([1.0] * 40), aggregate([1.0] * 40, groups=[g // 4 for g in range(40)])
    assert (alone.low, grouped.low) == (wilson(40, 40)[0], wilson(10, 10)[0])


def test_a_metric_without_bounds_has_the_interval_of_a_bootstrap() -> None:
    rng = random.Random(0)
    seconds = [rng.gauss(120, 10) for _ in range(100)]
    found = aggregate([*seconds, None], unbounded=True)
    assert found.unbounded
    assert (found.low, found.high) == pytest.approx((120 - 2, 120 + 2), abs=1.5)  # 1.96 * 10 / sqrt(100)
    with pytest.raises(ValueError, match="zip"):
        aggregate(seconds, groups=["a"])
    same = aggregate([3.0, 3.0], unbounded=True)
    assert (same.mean, same.low, same.high) == (3.0, None, None)
    ours, theirs = ({str(i): s + more for i, s in enumerate(seconds)} for more in (1.0, 0.0))
    constant = paired_difference(ours, theirs, {}, unbounded=True)
    assert (constant.mean, constant.low, constant.high) == (pytest.approx(1), None, None)
    wide = {str(i): rng.gauss(100, 10) for i in range(100)}
    faster = paired_difference(wide, theirs, {}, unbounded=True)
    assert faster.low is not None
    assert faster.high is not None
    assert -25 < faster.low < -20 < -17 < faster.high < -14


def test_rounding_makes_no_share_unbounded() -> None:
    assert may_be_share(1.0000000000000002)
    assert may_be_share(None)
    assert not may_be_share(1.01)
    assert not may_be_share(-0.5)
    assert aggregate([1.0000000000000002, 1.0]).high == 1


@pytest.mark.parametrize(("groups", "proven"), [(2, False), (3, False), (4, False), (8, True), (40, True)])
def test_few_groups_that_all_gain_prove_nothing(groups: int, proven: bool) -> None:
    ours = {f"{g}-{i}": 1.0 for g in range(groups) for i in range(10)}
    found = paired_difference(ours, dict.fromkeys(ours, 0.0), {key: key.split("-")[0] for key in ours})
    assert (found.n, found.groups, found.mean, found.high) == (groups * 10, groups, 1, 1)
    assert found.low is not None
    assert (found.low > 0) is proven
    assert found.low < 1


def test_the_interval_is_about_that_of_bonett_and_price() -> None:
    """Of 20 pairs 12 gain and 3 lose: (13 - 4) / 22 with a variance of (17 / 22 - (9 / 22)²) / 22."""
    ours = {str(i): float(i < 12) for i in range(20)}
    theirs = {str(i): float(12 <= i < 15) for i in range(20)}
    found = paired_difference(ours, theirs, {})
    centre, half = 9 / 22, 1.96 * ((17 / 22 - (9 / 22) ** 2) / 22) ** 0.5
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=0.04)
    alike = paired_difference(ours, ours, {})
    assert (alike.low, alike.high) == pytest.approx((-0.13, 0.13), abs=0.05)


def test_the_difference_uses_pairs_only() -> None:
    ours = {"a": 1.0, "b": 1.0, "c": 1.0, "d": None, "e": 0.0}
    theirs = {"a": 0.0, "b": 1.0, "d": 1.0, "e": 1.0}
    found = paired_difference(ours, theirs, {"a": "g", "b": "g", "e": "h"})
    assert (found.n, found.groups, found.mean, found.higher, found.lower) == (3, 2, 0.0, 1, 1)


def test_one_group_gives_no_interval_and_no_pair_no_mean() -> None:
    found = paired_difference({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}, {"a": "g", "b": "g"})
    assert (found.mean, found.low, found.high) == (0.5, None, None)
    assert paired_difference({"a": 1.0}, {"b": 1.0}, {}).mean is None


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = random.Random(0)
    ours = {str(i): float(rng.random() < 0.7) for i in range(60)}
    theirs = {str(i): float(rng.random() < 0.4) for i in range(60)}
    first, again, *others = (paired_difference(ours, theirs, {}, seed, 50) for seed in (1, 1, 2, 3, 4, 5))
    assert first == again
    assert any((first.low, first.high) != (other.low, other.high) for other in others)


def test_groups_that_succeed_together_widen_the_interval() -> None:
    rng = random.Random(0)
    together = {g: float(rng.random() < 0.5) for g in range(20)}
    ours = {f"{g}-{i}": together[g] for g in range(20) for i in range(8)}
    theirs = dict.fromkeys(ours, 0.0)
    alone = paired_difference(ours, theirs, {})
    grouped = paired_difference(ours, theirs, {key: key.split("-")[0] for key in ours})
    assert alone.mean == grouped.mean
    assert None not in (alone.low, alone.high, grouped.low, grouped.high)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)  # type: ignore[operator]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(3)
    hits = 0
    for trial in range(200):
        ours = {str(i): float(rng.random() < 0.6) for i in range(80)}
        theirs = {str(i): float(rng.random() < 0.4) for i in range(80)}
        found = paired_difference(ours, theirs, {}, seed=trial, resamples=300)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.2 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (
            1,
            7,
            0.0390625,
        ),  # the airway data of Fagerland, Lydersen & Laake (2013), table 1: exact 0.070, mid-p 0.039
        # scipy: binomtest(k, n).pvalue - binom.pmf(k, n, 0.5)
        (0, 5, 0.03125),
        (6, 2, 0.1796875),
        (40, 61, 0.0370667674),
        (500, 430, 0.0217311540),
        (3, 3, 0.84375),  # 1 - binom.pmf(3, 6, 0.5) / 2, as that paper has it where both sides are alike
        (0, 0, 1.0),
    ],
)
def test_the_paired_test_is_mcnemars_mid_p(gained: int, lost: int, p: float) -> None:
    assert sign_flip([1] * gained + [-1] * lost + [0] * 20) == pytest.approx(p, abs=1e-9)


def test_groups_are_flipped_whole() -> None:
    """Against all patterns of signs; as single examples these 12 gains against 2 losses would be nearly certain."""
    gains = [4, 3, 3, 2, -2, 0]
    sums = [sum(s * g for s, g in zip(signs, gains, strict=True)) for signs in product((1, -1), repeat=6)]
    share = sum((abs(s) > 10) + (abs(s) == 10) / 2 for s in sums) / len(sums)
    assert sign_flip(gains) == pytest.approx(share)
    assert sign_flip(gains) > 10 * sign_flip([1] * 12 + [-1] * 2)


def test_of_very_many_groups_the_sum_is_normal() -> None:
    gains = [1] * 5100 + [-1] * 4900
    assert len(gains) ** 2 > EXACT_WORK
    # scipy: binomtest(4900, 10000).pvalue - binom.pmf(4900, 10000, 0.5)
    assert sign_flip(gains) == pytest.approx(0.0455, abs=2e-4)


def test_only_what_passes_or_fails_has_the_test() -> None:
    ours = {str(i): float(i < 7) for i in range(8)}
    theirs = {str(i): float(i == 7) for i in range(8)}
    assert paired_difference(ours, theirs, {}).p_value == pytest.approx(sign_flip([1] * 7 + [-1]))
    assert paired_difference({**ours, "0": 0.5}, theirs, {}).p_value is None


def test_the_detectable_difference_is_2_8_standard_errors() -> None:
    """Of 98 pairs 30 gain and 18 lose; a pair of either kind is added, as to the interval."""
    ours = {str(i): float(i < 30) for i in range(98)}
    theirs = {str(i): float(30 <= i < 48) for i in range(98)}
    variance = (50 / 100 - (12 / 100) ** 2) / 99  # of the mean of 100 values: 31 of 1, 19 of -1, 50 of 0
    found = paired_difference(ours, theirs, {})
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * variance**0.5, rel=1e-6)
    pairs = {key: str(int(key) // 2) for key in ours}
    grouped = paired_difference(ours, theirs, pairs)
    assert grouped.detectable == pytest.approx(
        found.detectable * 2**0.5, rel=0.03
    )  # partners gain and lose alike
    assert paired_difference({"a": 1.0}, {"a": 0.0}, {}).detectable is None


def test_what_is_detectable_is_found_in_about_four_of_five_samples() -> None:
    rng = random.Random(5)

    def sample(gain: float, seed: int) -> Difference:
        """60 groups of three pairs, which gain together with the chance that makes `gain`, and lose with 0.15."""
        ours, theirs, groups = {}, {}, {}
        for group in range(60):
            at = rng.random()
            for n in range(3):
                key = f"{group}-{n}"
                ours[key], theirs[key] = float(at < 0.15 + gain), float(at > 0.85)
                groups[key] = group
        return paired_difference(ours, theirs, groups, seed, resamples=200)

    least = math.fsum(sample(0.2, n).detectable or 0 for n in range(10)) / 10
    found = sum((sample(least, n).low or 0) > 0 for n in range(150)) / 150
    assert 0.68 <= found <= 0.92


def test_how_many_examples_would_decide() -> None:
    """Non-inferiority by two points, where a tenth of the pairs differ: n = (1.96 + 0.84)² · 0.1 / 0.02²."""
    error = (0.1 / 73) ** 0.5
    assert examples_needed(73, error, 0.02) == pytest.approx(1962, abs=1)
    assert error_of(-1.959964 * error, 1.959964 * error) == pytest.approx(error, rel=1e-6)
    assert examples_needed(73, error, 0.0) is None
    assert examples_needed(73, error, 1e-9) is None
    assert detectable(error) == pytest.approx(2.8016 * error, rel=1e-4)
