"""What a suite found as a part of a record: figures with intervals, and paired differences."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agentlora.core.errors import EvalError
from agentlora.core.provenance import redact
from agentlora.core.suite_types import SuiteResult, SuiteSample
from agentlora.eval.metrics import aggregate, may_be_share, paired_difference
from agentlora.eval.record import DifferenceRecord, Figure, SuiteRecord


def suite_record(
    name: str, result: SuiteResult, systems: Mapping[str, str | None], engine: str, seed: int
) -> SuiteRecord:
    """The record of a suite. Every adapter among `systems` is compared with every base on the same samples.

    Raises:
        EvalError: a suite gave a sample twice, or no sample at all; or all answers of a system failed.
    """
    for system in systems:
        ids = [sample.id for sample in result.samples[system]]
        if not ids:
            raise EvalError(f"suite {name!r} gave no sample of {system!r}; there is nothing to report.")
        failed = [sample.error for sample in result.samples[system] if sample.error]
        if len(failed) == len(ids):
            raise EvalError(
                f"suite {name!r}: all {len(ids)} answers of {system!r} failed. The first time because: {failed[0]}"
            )
        if len(set(ids)) != len(ids):
            raise EvalError(f"suite {name!r} gave a sample of {system!r} twice; samples cannot be paired.")
    unbounded = {
        metric
        for metric in result.metrics
        if not all(may_be_share(s.scores.get(metric)) for some in result.samples.values() for s in some)
    }
    figures = {
        system: {m: _figure(result.samples[system], m, m in unbounded, seed) for m in result.metrics}
        for system in systems
    }
    errors = (sample.error for system in systems for sample in result.samples[system] if sample.error)
    return SuiteRecord(
        name=name,
        library=result.library,
        version=result.version,
        n=max(len(result.samples[system]) for system in systems),
        metrics=tuple(result.metrics),
        lower_is_better=tuple(m for m in result.metrics if m in result.lower_is_better),
        systems=figures,
        differences=tuple(
            _difference(result, metric, system, base, metric in unbounded, seed)
            for system in systems
            if systems[system]
            for base in systems
            if not systems[base]
            for metric in result.metrics
        ),
        reported=redact(_plain(result.reported)),
        settings=redact(_plain(result.settings)),
        first_error=redact(_plain(next(errors, None))),
        engine=engine,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _plain(value: Any) -> Any:
    """As JSON that can be written: numpy's numbers as Python's, and as text what else there is, NaN too."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else str(number)


def _figure(samples: Sequence[SuiteSample], metric: str, unbounded: bool, seed: int) -> Figure:
    answered = [s for s in samples if s.error is None]
    values = [s.scores.get(metric) for s in answered]
    groups = [s.group or s.id for s in answered]
    errored = len(samples) - len(answered)
    return Figure(**asdict(aggregate(values, 0, errored, groups, unbounded=unbounded, seed=seed)))


def _difference(
    result: SuiteResult, metric: str, system: str, base: str, unbounded: bool, seed: int
) -> DifferenceRecord:
    ours, theirs = (
        {s.id: s.scores.get(metric) for s in result.samples[name] if s.error is None}
        for name in (system, base)
    )
    groups = {s.id: s.group for s in result.samples[system]}
    found = paired_difference(ours, theirs, groups, seed, unbounded=unbounded)
    return DifferenceRecord(metric=metric, system=system, baseline=base, **asdict(found))
