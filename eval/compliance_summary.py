"""What answers fail by, summed up: by keyword and by path, and the same system with and without a grammar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from agentlora.core.texts import brief
from agentlora.core.types import Example, Output
from agentlora.eval.compliance import Compliance, Problem
from agentlora.eval.conditions import Condition, constrained_pairs
from agentlora.eval.metrics import aggregate, paired_difference
from agentlora.eval.record import (
    ComplianceRecord,
    ConstraintRecord,
    ConstraintRow,
    DifferenceRecord,
    Figure,
    KeywordCount,
    PathCount,
)

MOST_PATHS = 40  # of a condition that a record holds
MOST_SAMPLES = 5  # ids of answers with one fault
MOST_LOOKED_AT = 4  # answers with one fault among which one with a nearest valid value is looked for
MOST_OUTPUT = 300  # characters of an answer that is shown


class Answered(NamedTuple):
    """One answer. `compliance`: None where there is nothing to fit, or the engine failed; `right`: None where it could
    not be judged; `cached`: it was known, and took no time.
    """

    example: Example
    output: Output
    compliance: Compliance | None
    right: float | None
    cached: bool


@dataclass(slots=True)
class _Tally:
    """Of one kind of fault: in how many answers, how often, and the first of them."""

    answers: int = 0
    times: int = 0
    counts: bool = False
    first: list[tuple[Answered, Problem]] = field(default_factory=list)

    def add(self, answered: Answered, problem: Problem, *, again: bool = False) -> None:
        self.answers += not again
        self.times += problem.times
        self.counts = self.counts or problem.counts
        if not again and len(self.first) < MOST_SAMPLES:
            self.first.append((answered, problem))

    @property
    def samples(self) -> tuple[str, ...]:
        return tuple(answered.example.id for answered, _ in self.first)


def summarise(answers: Sequence[Answered]) -> ComplianceRecord | None:
    """Of one condition; None where no answer has to fit anything."""
    judged = [(a, a.compliance) for a in answers if a.compliance is not None]
    if not judged:
        return None
    keywords: dict[tuple[str, str], _Tally] = {}
    paths: dict[tuple[str, str, str], _Tally] = {}
    for answered, found in judged:
        seen = set()
        for problem in found.problems:
            key = problem.keyword, problem.branch
            keywords.setdefault(key, _Tally()).add(answered, problem, again=key in seen)
            seen.add(key)
            paths.setdefault(problem.key, _Tally()).add(answered, problem)
    worst = sorted(paths, key=lambda key: (not paths[key].counts, -paths[key].answers, key))
    ordered = sorted(keywords, key=lambda key: (not keywords[key].counts, -keywords[key].answers, key))
    return ComplianceRecord(
        valid=valid_figure(answers),
        faulty=sum(bool(found.problems) for _, found in judged),
        undecided=next((found.undecided for _, found in judged if found.undecided), None),
        keywords=tuple(
            KeywordCount(
                keyword=key[0],
                branch=key[1],
                counts=keywords[key].counts,
                answers=keywords[key].answers,
                times=keywords[key].times,
                paths=sum(path[:2] == key for path in paths),
                samples=keywords[key].samples,
            )
            for key in ordered
        ),
        paths=tuple(_path(key, paths[key]) for key in worst[:MOST_PATHS]),
        more_paths=len(worst[MOST_PATHS:]),
    )


def valid_figure(answers: Sequence[Answered]) -> Figure:
    """The share of the answers that fit, of those that have something to fit."""
    errored = sum(a.output.error is not None for a in answers)
    judged = [(a, a.compliance) for a in answers if a.output.error is None and a.compliance is not None]
    known = [(a, c) for a, c in judged if c.undecided is None]
    groups = [_group(a) for a, _ in known]
    found = aggregate((_share(c.valid) for _, c in known), len(judged) - len(known), errored, groups)
    return Figure(**asdict(found))


def _path(key: tuple[str, str, str], tally: _Tally) -> PathCount:
    answered, problem = tally.first[0]
    problem = problem.with_nearest()
    for other, fault in tally.first[1:MOST_LOOKED_AT]:
        if problem.nearest is not None:
            break
        found = fault.with_nearest()
        if found.nearest is not None:
            answered, problem = other, found
    text = answered.output.text
    return PathCount(
        keyword=key[0],
        branch=key[1],
        path=key[2],
        counts=tally.counts,
        answers=tally.answers,
        times=tally.times,
        said=problem.said,
        given=problem.given,
        nearest=problem.nearest,
        samples=tuple(dict.fromkeys((answered.example.id, *tally.samples)))[:MOST_SAMPLES],
        output=brief(text, MOST_OUTPUT),
    )


# --- with and without a grammar -----------------------------------------------------------------


def side_by_side(
    conditions: Sequence[Condition],
    answers: Mapping[str, Sequence[Answered]],
    unbounded: bool,
    seed: int = 0,
) -> tuple[ConstraintRecord, ...]:
    """Conditions that differ in being held to a schema, two and two, on the same examples; none where nothing has to
    fit one. `unbounded`: the headline metric is no share of 0 to 1.
    """
    examples = [a.example for answered in answers.values() for a in answered]
    if not any(e.tools or e.schema is not None for e in examples):
        return ()
    pairs = constrained_pairs(conditions, calls=any(e.tools for e in examples))
    return tuple(_pair(free, held, answers, unbounded, seed) for free, held in pairs)


def _pair(
    free: Condition,
    held: Condition,
    answers: Mapping[str, Sequence[Answered]],
    unbounded: bool,
    seed: int,
) -> ConstraintRecord:
    measures: tuple[tuple[str, Callable[[Answered], float | None], bool], ...] = (
        ("valid", lambda a: _share(a.compliance.valid) if a.compliance else None, False),
        ("right", lambda a: a.right, unbounded),
        ("output_tokens", lambda a: float(a.output.output_tokens) or None, True),
        ("seconds", lambda a: None if a.cached else a.output.latency_s, True),
    )
    rows = (
        _row(name, measure, (answers[free.name], answers[held.name]), (held.name, free.name), wide, seed)
        for name, measure, wide in measures
    )
    shown = tuple(row for row in rows if row.free.scored or row.constrained.scored)
    return ConstraintRecord(free=free.name, constrained=held.name, rows=shown)


def _row(
    name: str,
    measure: Callable[[Answered], float | None],
    answers: tuple[Sequence[Answered], Sequence[Answered]],
    names: tuple[str, str],
    unbounded: bool,
    seed: int,
) -> ConstraintRow:
    figures, values, clusters = [], [], []
    for answered in answers:
        there = [a for a in answered if a.output.error is None]
        found = {a.example.id: measure(a) for a in there}
        lost = len(answered) - len(there)
        groups = _together(there, found) if name == "seconds" else {a.example.id: _group(a) for a in there}
        figures.append(aggregate(found.values(), 0, lost, groups.values(), unbounded=unbounded, seed=seed))
        values.append(found)
        clusters.append(groups)
    difference = paired_difference(
        values[1],
        values[0],
        _joined(clusters[0], clusters[1], values[0], values[1]),
        seed,
        unbounded=unbounded,
    )
    return ConstraintRow.model_validate(
        {
            "metric": name,
            "free": Figure(**asdict(figures[0])),
            "constrained": Figure(**asdict(figures[1])),
            "difference": DifferenceRecord(
                metric=name, system=names[0], baseline=names[1], **asdict(difference)
            ),
        }
    )


def _together(answered: Sequence[Answered], seconds: Mapping[str, float | None]) -> dict[str, str]:
    """By example, what its time goes together with: the answers of its batch, where answers share a time, as those do
    that are made in one pass in process; else its group.
    """
    taken = [value for value in seconds.values() if value is not None]
    if 2 * len(set(taken)) > len(taken):
        return {a.example.id: _group(a) for a in answered}
    return {a.example.id: repr(seconds[a.example.id]) for a in answered}


def _joined(
    free: Mapping[str, str],
    held: Mapping[str, str],
    ours: Mapping[str, float | None],
    theirs: Mapping[str, float | None],
) -> dict[str, str]:
    """By example that has a value on both sides, the cluster of its difference: what goes together on either side."""
    above: dict[tuple[int, str], tuple[int, str]] = {}

    def top(node: tuple[int, str]) -> tuple[int, str]:
        while (over := above.get(node, node)) != node:
            node = over
        return node

    both = [name for name, value in ours.items() if value is not None and theirs.get(name) is not None]
    for name in both:
        above[top((1, held[name]))] = top((0, free[name]))
    return {name: repr(top((0, free[name]))) for name in both}


def _share(valid: bool | None) -> float | None:
    return None if valid is None else float(valid)


def _group(answered: Answered) -> str:
    return answered.example.group or answered.example.id
