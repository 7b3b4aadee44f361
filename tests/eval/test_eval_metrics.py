"""Statistics against values computed elsewhere, and against simulation."""

from __future__ import annotations

import random

import pytest

from agentlora.eval.metrics import aggregate, paired_difference, wilson


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
    first, again, other = (paired_difference(ours, theirs, {}, seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


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
