"""Aggregating: from judged answers to the figures of a record, each with its interval."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from agentlora.core.types import Evaluator, Example
from agentlora.eval.compliance_summary import Answered, side_by_side, summarise
from agentlora.eval.conditions import SERVED, Condition
from agentlora.eval.judging import Judged
from agentlora.eval.metrics import aggregate, may_be_share, paired_difference
from agentlora.eval.reasons import reasons_of
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, SliceDifference, Statuses
from agentlora.eval.samples import STATUSES


def figures(
    conditions: Sequence[Condition],
    judged: Mapping[str, list[Judged]],
    evaluator: Evaluator,
    headline: str,
    *,
    lower: Container[str],
    where: Mapping[str, str],
    seed: int,
    seeds: int = 1,
) -> dict[str, Any]:
    """The fields of a `Record` that say what was found: by condition, and by adapter against baselines.

    Args:
        judged: by condition, its answers to the same examples in the same order.
        lower: the metrics that are better when they are lower.
        where: tags that an example must have to count in the figures that decide; slices show all.
        seed: of the bootstrap.
        seeds: answers to every example.
    """
    deciding = {name: deciding_of(results, where) for name, results in judged.items()}
    tallied = getattr(evaluator, "tallied", ())
    unbounded, metrics = unbounded_of(evaluator, judged), tuple(evaluator.metrics)
    fits = {name: [_answered(j, headline) for j in results] for name, results in judged.items()}
    systems = {
        c.name: condition_record(
            c, deciding[c.name], judged[c.name], fits[c.name], metrics, headline, unbounded, seed, tallied
        )
        for c in conditions
    }
    best = best_baseline(conditions, systems, headline, headline in lower)
    answered = next(iter(judged.values()))
    decide = [j.example for j in next(iter(deciding.values()))]
    return {
        "headline": headline,
        "metrics": metrics,
        "lower_is_better": tuple(m for m in metrics if m in lower),
        "headline_where": dict(where),
        "n": len(decide) // seeds,
        "groups": len({e.group or e.id for e in decide}),
        "n_all": len(answered) // seeds,
        "conditions": tuple(systems.values()),
        "differences": tuple(differences(conditions, deciding, metrics, unbounded, seed)),
        "slice_differences": tuple(
            slice_differences(conditions, best, deciding, judged, headline, headline in unbounded, seed)
        ),
        "constraints": side_by_side(conditions, fits, headline in unbounded, seed),
        "best_baseline": best,
        "seed": seed,
    }


def condition_record(
    condition: Condition,
    deciding: Sequence[Judged],
    results: Sequence[Judged],
    fits: Sequence[Answered],
    metrics: Sequence[str],
    headline: str,
    unbounded: Container[str],
    seed: int,
    tallied: Sequence[str] = (),
) -> ConditionRecord:
    """A condition's figures: `metrics` of the answers that decide, everything else of all `results`; `fits`: what the
    summary of compliance reads of these; `tallied`: the evaluators whose reasons are counted.
    """
    slices: dict[str, dict[str, Figure]] = {}
    for tag, value, members in _slices(deciding, results):
        right = _right(members, headline)
        slices.setdefault(tag, {})[value] = _figure(right, headline, headline in unbounded, seed)
    return ConditionRecord(
        name=condition.name,
        kind=SERVED if condition.served else condition.kind,
        adapter=None if condition.served else condition.adapter,
        metrics={metric: _figure(deciding, metric, metric in unbounded, seed) for metric in metrics},
        slices=slices,
        prompt_tokens=sum(j.output.prompt_tokens for j in results),
        output_tokens=sum(j.output.output_tokens for j in results),
        truncated=sum(j.output.finish_reason == "length" for j in results),
        cached=sum(j.cached for j in results),
        first_error=next((j.output.error for j in results if j.output.error), None),
        statuses=Statuses(**{name: sum(j.sample["status"] == name for j in results) for name in STATUSES}),
        compliance=summarise(fits),
        reasons=reasons_of(deciding, tallied),
        aside=condition.aside,
    )


def _answered(judged: Judged, headline: str) -> Answered:
    """What the summary of compliance reads of one answer."""
    right = _values(_right([judged], headline), headline).get(judged.example.id)
    return Answered(judged.example, judged.output, judged.compliance, right, judged.cached)


def _slices(deciding: Sequence[Judged], results: Sequence[Judged]) -> Iterator[tuple[str, str, list[Judged]]]:
    """(tag, value, the results that have it): by slice of all, by case of those that decide."""
    for tag, sliced in (("slice", results), ("case", deciding)):
        for value in sorted({j.example.tags[tag] for j in sliced if tag in j.example.tags}):
            yield tag, value, [j for j in sliced if j.example.tags.get(tag) == value]


def slice_differences(
    conditions: Sequence[Condition],
    best: str | None,
    deciding: Mapping[str, list[Judged]],
    judged: Mapping[str, list[Judged]],
    headline: str,
    unbounded: bool,
    seed: int,
) -> Iterator[SliceDifference]:
    """Every adapter against the best baseline."""
    if best is None:
        return
    theirs = {(tag, value): members for tag, value, members in _slices(deciding[best], judged[best])}
    for system in (c.name for c in conditions if c.judged):
        for tag, value, members in _slices(deciding[system], judged[system]):
            ours, others = (
                _values(_right(found, headline), headline) for found in (members, theirs[tag, value])
            )
            groups = {j.example.id: j.example.group for j in members}
            found = paired_difference(ours, others, groups, seed, unbounded=unbounded)
            difference = DifferenceRecord(metric=headline, system=system, baseline=best, **asdict(found))
            yield SliceDifference(tag=tag, value=value, difference=difference)


def counted(examples: Sequence[Example], where: Mapping[str, str]) -> list[Example]:
    """Those that have the tags of `where`."""
    return [e for e in examples if all(e.tags.get(tag) == value for tag, value in where.items())]


def deciding_of(results: Sequence[Judged], where: Mapping[str, str]) -> list[Judged]:
    """The answers to examples that have the tags of `where`."""
    return [j for j in results if counted([j.example], where)]


def unbounded_of(evaluator: Evaluator, judged: Mapping[str, Sequence[Judged]]) -> frozenset[str]:
    """The metrics that are no shares of 0 to 1: the evaluator says so, or a value does."""
    scores = [j.score.metrics for results in judged.values() for j in results if j.score is not None]
    beyond = {name for found in scores for name, value in found.items() if not may_be_share(value)}
    return frozenset(beyond.union(getattr(evaluator, "unbounded", ())))


def _figure(results: Sequence[Judged], metric: str, unbounded: bool, seed: int) -> Figure:
    scored = [(j, j.score) for j in results if j.score is not None]
    found = [(j.example, s.metrics.get(metric)) for j, s in scored if s.why_unscored(metric) is None]
    counts = len(scored) - len(found), len(results) - len(scored)
    groups = [example.group or example.id for example, _ in found]
    values = (value for _, value in found)
    return Figure(**asdict(aggregate(values, *counts, groups, unbounded=unbounded, seed=seed)))


def _right(results: Sequence[Judged], headline: str) -> list[Judged]:
    """With the headline metric; where that says nothing about an example, 1 when nothing is wrong with the answer."""
    return [
        j
        if j.score is None or j.score.unscored is not None or j.score.metrics.get(headline) is not None
        else replace(j, score=replace(j.score, metrics={headline: float(not j.score.why)}))
        for j in results
    ]


def differences(
    conditions: Sequence[Condition],
    judged: Mapping[str, list[Judged]],
    metrics: Sequence[str],
    unbounded: Container[str],
    seed: int,
) -> Iterator[DifferenceRecord]:
    """Every adapter against every baseline and what is served, in every metric."""
    for system in (c for c in conditions if c.judged):
        groups = {j.example.id: j.example.group for j in judged[system.name]}
        for baseline in (c for c in conditions if not c.judged and not c.aside):
            for metric in metrics:
                ours, theirs = (_values(judged[c.name], metric) for c in (system, baseline))
                found = paired_difference(ours, theirs, groups, seed, unbounded=metric in unbounded)
                yield DifferenceRecord(
                    metric=metric, system=system.name, baseline=baseline.name, **asdict(found)
                )


def _values(results: Sequence[Judged], metric: str) -> dict[str, float | None]:
    return {
        j.example.id: j.score.metrics.get(metric)
        for j in results
        if j.score is not None and j.score.why_unscored(metric) is None
    }


def best_baseline(
    conditions: Sequence[Condition], systems: Mapping[str, ConditionRecord], headline: str, lower: bool
) -> str | None:
    """The condition without an adapter whose mean of the headline is best; somebody else's answers are none."""
    baselines = [c for c in conditions if not c.adapter and c.kind != "given"]
    means = {c.name: systems[c.name].metrics[headline].mean for c in baselines}
    scored = {name: mean for name, mean in means.items() if mean is not None}
    return (min if lower else max)(scored, key=lambda name: scored[name]) if scored else None
