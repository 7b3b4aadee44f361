"""How two records were made: what judged them, and how their answers were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentlora.core.types import JSON
from agentlora.eval.record import Record


def other_settings(a: Record, b: Record) -> dict[str, tuple[Any, Any]]:
    """The settings of the evaluator that decides in which two records differ: (of `a`, of `b`) by name."""
    ours, theirs = (record.evaluator.settings if record.evaluator else None for record in (a, b))
    if ours is None or theirs is None:  # of before they were in the record
        return _differing(_told(a), _told(b))
    return _differing(ours, theirs)


def differences(a: Record, b: Record) -> Iterator[str]:
    """Sentences about what answered, and how; of what a record does not say, none."""
    if a.base.get("digest") != b.base.get("digest"):
        yield "A and B have different base models."
    if differing := _differing(*_decoding(a, b)):
        said = "; ".join(f"{name} {left} in A and {right} in B" for name, (left, right) in differing.items())
        yield f"A and B were decoded in different ways, which alone may change answers: {said}."
    if a.engine != b.engine:
        yield f"A was answered by the engine {a.engine!r} and B by {b.engine!r}, which alone may change answers."
    elif a.engine_version and b.engine_version and a.engine_version != b.engine_version:
        yield (
            f"The engine {a.engine!r} was not the same, which alone may change answers: {a.engine_version} in A and "
            f"{b.engine_version} in B."
        )


def _decoding(*records: Record) -> list[JSON]:
    """What decides how an answer is written, flat; what an engine says of it, where that of each record says it."""
    fixed = [record.decoding.fixed if record.decoding else {} for record in records]
    return [
        {"max_tokens": record.max_tokens, "temperature": record.temperature, **(more if all(fixed) else {})}
        for record, more in zip(records, fixed, strict=True)
    ]


def _told(record: Record) -> JSON:
    """The settings of the task's own evaluator by what the run was told; those of the others have figures of their own
    name.
    """
    entries = record.provenance.get("evaluators")
    for entry in entries if isinstance(entries, list) else ():
        called = f"{entry.get('label') or entry.get('name')}."
        if not any(metric.startswith(called) for metric in record.metrics):
            return dict(entry.get("params") or {})
    return {}


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys((*ours, *theirs))
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}
