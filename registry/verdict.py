"""What the gate answers: one ruling for each of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from agentlora.core.types import JSON

VERDICT_FORMAT = "agentlora.verdict/1"

Outcome: TypeAlias = Literal["pass", "fail", "undecided", "skipped"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of one rule.

    `outcome` is what the figures say: ``undecided`` where they do not tell on which side of the margin the truth lies,
    ``skipped`` where the rule says nothing about this version. `passed` is what follows by the policy. `text` is a
    sentence with the figures and, where it did not pass, what to do.

    `figures` of a comparison: ``metric``, ``against``, ``value`` and ``baseline``; ``gain`` with ``low`` and ``high``
    (in favour of the version, whichever way the metric counts) and ``least``, above which ``low`` has to be; ``n``,
    ``groups``; ``short``, by how much it is missed, and ``needed``, how many examples would decide. Of a floor: metric,
    value, least or most, short. What is not known is absent.
    """

    rule: str
    outcome: Outcome
    passed: bool
    text: str
    figures: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer; `reasons` is empty exactly when it passed.

    `facts` has ``headline`` (as the card wants it), ``rank``, ``floor`` (metric → value, bound, met) and
    ``skipped`` (baselines that were not evaluated → why); what could not be found out is absent.
    """

    rulings: Sequence[Ruling]
    facts: JSON = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(ruling.passed for ruling in self.rulings)

    @property
    def reasons(self) -> list[str]:
        return [ruling.text for ruling in self.rulings if not ruling.passed]

    @property
    def remarks(self) -> list[str]:
        """What passed and was not shown: undecided, or not compared."""
        return [r.text for r in self.rulings if r.passed and r.outcome != "pass"]

    def to_dict(self) -> JSON:
        rulings = [asdict(ruling) for ruling in self.rulings]
        return {"format": VERDICT_FORMAT, "passed": self.passed, "rules": rulings, "facts": self.facts}


def kept(rule: str) -> Ruling:
    """A check that found nothing wrong."""
    return Ruling(rule, "pass", True, "")


def broken(rule: str, text: str) -> Ruling:
    return Ruling(rule, "fail", False, text)
