"""General-ability probes: prompts with fixed answers of which one is right, scored by how likely each is.

They show whether a skill ruins what its base can do beside the task. All are made here: written by hand, or by rule
from tables of facts in this folder; the same ones on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from agentlora.core.files import sha256_json
from agentlora.core.types import JSON
from agentlora.eval.probes import (
    arithmetic,
    chat,
    code,
    formats,
    knowledge,
    language,
    logic,
    reading,
    refusal,
)
from agentlora.eval.probes.making import ANYTHING_ELSE, Item

__all__ = ["ANYTHING_ELSE", "AREAS", "Probe", "all_probes", "digest", "take"]

AREAS: Mapping[str, Callable[[], Iterator[Item]]] = {
    "knowledge": knowledge.items,
    "chat": chat.items,
    "refusal": refusal.items,
    "arithmetic": arithmetic.items,
    "format": formats.items,
    "reading": reading.items,
    "language": language.items,
    "logic": logic.items,
    "code": code.items,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt; `right` is the index of the right one among its 2 to 5 `choices`, of which one may be ANYTHING_ELSE.

    Probes of one `group` ask about the same fact or text, and are right or wrong together.
    """

    id: str
    area: str
    family: str
    group: str
    messages: tuple[JSON, ...]
    choices: tuple[str, ...]
    right: int
    tools: tuple[JSON, ...] = ()


@cache
def all_probes() -> tuple[Probe, ...]:
    """Every probe, area by area; the right choice stands at each place equally often."""
    return tuple(probe for area, items in AREAS.items() for probe in _area(area, items()))


def _area(area: str, items: Iterator[Item]) -> Iterator[Probe]:
    seen: Counter[int] = Counter()
    for number, item in enumerate(items):
        count = len(item.wrong) + 1
        right = seen[count] % count
        seen[count] += 1
        choices = [*item.wrong]
        choices.insert(right, item.right)
        name = f"{area}-{number:03}"
        yield Probe(
            id=name,
            area=area,
            family=item.family,
            group=f"{area}/{item.group}" if item.group else name,
            messages=({"role": "user", "content": item.said},),
            choices=tuple(choices),
            right=right,
            tools=item.tools,
        )


def take(count: int | None = None) -> list[Probe]:
    """`count` of them (None: all), of every area its share, and spread over it: the same ones every time."""
    probes = all_probes()
    if count is None or count >= len(probes):
        return list(probes)
    taken: list[Probe] = []
    before = 0
    for area in AREAS:
        members = [probe for probe in probes if probe.area == area]
        share = round(count * (before + len(members)) / len(probes)) - len(taken)
        before += len(members)
        taken += [members[(2 * i + 1) * len(members) // (2 * share)] for i in range(share)]
    return taken


def digest(probes: Sequence[Probe]) -> str:
    """sha256 (hex) of what is asked and what is right."""
    return sha256_json([[p.id, list(p.messages), list(p.tools), list(p.choices), p.right] for p in probes])
