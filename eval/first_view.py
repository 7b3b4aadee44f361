"""What every report says first of an adapter: against the best baseline, against what is served, and what is worse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from agentlora.eval.conditions import SERVED
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Record
from agentlora.eval.wording import (
    Direction,
    difference_text,
    direction,
    figure_text,
    label,
    mean_text,
    summary,
)

Kind = Literal["good", "bad", "open"]
WORDS: dict[Direction, str] = {"up": "Better", "down": "Worse", "": "Undecided"}
KINDS: dict[Direction, Kind] = {"up": "good", "down": "bad", "": "open"}
MOST_SLICES = 4  # that are named


class View(NamedTuple):
    """What is said of one adapter.

    Attributes:
        system: the name of its condition.
        kind: as good as it is at most: a better headline with something surely worse beside it is no ``good``.
        said: the verdict in a few words; empty where there is no baseline to compare with.
        summary: the headline against the best baseline.
        served, served_kind: the headline against what is served now; empty where that was not asked.
        worse: what else is surely worse, in the order of its weight.
    """

    system: str
    kind: Kind
    said: str
    summary: str
    served: str
    served_kind: Kind
    worse: tuple[str, ...]


def views(record: Record) -> list[View]:
    """One for each adapter that decides."""
    return [_view(record, c) for c in record.conditions if c.decides]


def view_of(record: Record, system: str) -> View | None:
    return next((view for view in views(record) if view.system == system), None)


def lines(record: Record) -> list[tuple[str, str]]:
    """For a terminal and Markdown: (what comes in bold before it, a sentence)."""
    found: list[tuple[str, str]] = []
    for view in views(record):
        found.append((view.said, view.summary))
        found += [("", view.served)] if view.served else []
        found += [("Surely worse in", "; ".join(view.worse) + ".")] if view.worse else []
    return found or [("", summary(record))]


def served_difference(record: Record, system: str) -> DifferenceRecord | None:
    """The headline's, against what is served now."""
    served = _served(record)
    return record.difference(system, served.name) if served else None


def direction_of(record: Record, found: DifferenceRecord | None) -> Direction:
    return direction(found, found.metric in record.lower_is_better) if found else ""


def _view(record: Record, condition: ConditionRecord) -> View:
    name = condition.name
    against = record.difference(name, record.best_baseline or "")
    headline = direction_of(record, against)
    served = direction_of(record, served_difference(record, name))
    worse = tuple(_worse(record, name))
    judged = against is not None and against.mean is not None
    kind, said = KINDS[headline], WORDS[headline] if judged else ""
    if (worse or served == "down") and headline != "down":
        kind = "open" if headline == "up" else "bad"
        said = (
            f"{said}, {'but' if headline == 'up' else 'and'} worse elsewhere" if said else "Worse elsewhere"
        )
    return View(
        name, kind, said, summary(record, name), _served_text(record, name, served), KINDS[served], worse
    )


def _served(record: Record) -> ConditionRecord | None:
    return next((c for c in record.conditions if c.kind == SERVED), None)


def _served_text(record: Record, system: str, found: Direction) -> str:
    condition, difference = _served(record), served_difference(record, system)
    if condition is None:
        return ""
    who = f"what is served now, {(record.served or {}).get('label', condition.name)}"
    if difference is None or difference.mean is None:
        return f"Not compared with {who}: no example was scored on both."
    figure = figure_text(condition.metrics[record.headline])
    word = {"up": "Better than", "down": "Worse than", "": "Undecided against"}[found]
    return f"{word} {who} with {figure}: {difference_text(difference)}."


def _worse(record: Record, system: str) -> Iterator[str]:
    """Everything but the headline whose difference is surely to the bad."""
    served = _served(record)
    for metric in record.metrics:
        if metric != record.headline and (found := _lost(record, system, record.best_baseline, metric)):
            yield f"{label(metric).lower()} {difference_text(found)}"
    first = next(c.name for c in record.conditions if c.decides)
    if system == first:  # the probes are asked of one
        yield from _worse_probes(record)
    now = served.name if served else None
    for metric in record.metrics:
        if metric != record.headline and (found := _lost(record, system, now, metric)):
            yield f"{label(metric).lower()} {difference_text(found)} against what is served"
    slices = [
        f"{part.tag} {label(part.value)!r} {difference_text(part.difference)}"
        for part in record.slice_differences
        if part.difference.system == system and direction_of(record, part.difference) == "down"
    ]
    yield from slices[:MOST_SLICES]
    if len(slices) > MOST_SLICES:
        yield f"{len(slices) - MOST_SLICES} more slices"


def _worse_probes(record: Record) -> Iterator[str]:
    found = record.probes
    if found is None or found.base is None or found.adapter is None or found.difference is None:
        return
    if direction(found.difference, lower=False) == "down":
        means = f"{mean_text(found.base)} → {mean_text(found.adapter)}"
        yield f"general-ability probes {means}, {difference_text(found.difference)}"


def _lost(record: Record, system: str, baseline: str | None, metric: str) -> DifferenceRecord | None:
    """The difference, where it is surely to the bad."""
    found = record.difference(system, baseline or "", metric)
    return found if direction_of(record, found) == "down" else None
