"""Several evaluators as one: the task's own, which decides, and others beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentlora.core.provenance import redact_problem
from agentlora.core.types import JSON, Evaluator, Example, Output, Score
from agentlora.eval.judging import facts_of, parsed, scored


class Several:
    """Has the metrics of the first evaluator under their own names, and those of the others under ``name.metric``.

    An answer that the first cannot score is unscored, as it would be without the others. Where another cannot, that
    leaves its own metrics unscored, with the reason; so does one that fails.
    """

    def __init__(self, own: Evaluator, others: Mapping[str, Evaluator], settings: str = "") -> None:
        """`settings`: those of the others, as text; where they change, so may judgements."""
        self.own, self.others = own, others
        self.members: Sequence[Evaluator] = (own, *others.values())
        said = (str(getattr(one, "identity", "")) for one in self.members)
        self.identity = " ".join([settings, *said]).strip()
        self._failed: dict[str, str] = {}
        self.metrics: Sequence[str] = (
            *own.metrics,
            *(f"{name}.{metric}" for name, other in others.items() for metric in other.metrics),
        )
        self.headline = str(getattr(own, "headline", own.metrics[0]))
        self.lower_is_better = self._all("lower_is_better")
        self.unbounded = self._all("unbounded")
        self.tallied = tuple(name for name, other in others.items() if getattr(other, "tallies", False))
        self.needs_nats = any(getattr(one, "needs_nats", False) for one in self.members)

    def begin(self, examples: Sequence[Example]) -> None:
        self._tell("begin", examples)

    def prepare(self, pairs: Sequence[tuple[Example, Output]]) -> None:
        self._tell("prepare", pairs)

    def score(self, example: Example, output: Output) -> Score:
        found = self.own.score(example, output)
        if found.unscored is not None:
            return found
        metrics, unscored, notes = dict(found.metrics), dict(found.unscored_metrics), dict(found.notes)
        for name, other in self.others.items():
            failed = self._failed.get(name)
            beside = Score(unscored=failed) if failed else scored(other, example, output)
            for metric in other.metrics:
                key = f"{name}.{metric}"
                reason = beside.why_unscored(metric)
                if reason is not None:
                    unscored[key] = reason
                else:
                    metrics[key] = beside.metrics.get(metric)
            if beside.why:
                notes[name] = beside.why
        return Score(metrics, why=found.why, unscored_metrics=unscored, notes=notes)

    def parse(self, example: Example, output: Output) -> JSON | None:
        """As the task's own reads it."""
        return parsed(self.own, example, output)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems of all of them; those of the others begin with their names."""
        return [
            *self.own.validate(examples),
            *(
                f"{name}: {problem}"
                for name, other in self.others.items()
                for problem in other.validate(examples)
            ),
        ]

    def facts(self) -> JSON:
        """What each says of how it judged, by name; the task's own under ``""``."""
        every = {"": self.own, **self.others}
        return {name: facts_of(one) for name, one in every.items() if hasattr(one, "facts")}

    def _tell(self, what: str, told: Any) -> None:
        """One beside the task's own that fails is not asked any more; what it would judge is unscored."""
        if hasattr(self.own, what):
            getattr(self.own, what)(told)
        for name, other in self.others.items():
            if hasattr(other, what) and name not in self._failed:
                try:
                    getattr(other, what)(told)
                except Exception as exc:
                    self._failed[name] = f"the evaluator failed: {_said(exc)}"

    def _all(self, kind: str) -> frozenset[str]:
        beside = (f"{name}.{m}" for name, other in self.others.items() for m in getattr(other, kind, ()))
        return frozenset((*getattr(self.own, kind, ()), *beside))


def _said(exc: Exception) -> str:
    return redact_problem(f"{type(exc).__name__}: {exc}")
