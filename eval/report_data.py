"""What the page's browser of samples shows, as columns: equal prompts, tools and reasons are there once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlora.core.types import JSON
from agentlora.eval.faults import fault, keyword_of, path_of
from agentlora.eval.record import ConditionRecord, PathCount, Record
from agentlora.eval.slicing import ranges, tools_of
from agentlora.eval.wording import label, reason, sample_failed

MOST_FAULTS = 12  # of an answer: the others are in samples.jsonl
MOST_VALUES = 1000  # of a facet: a tag with more is no choice but a name
# of a sample, what the page shows elsewhere than among the facts of an answer
_SHOWN = frozenset(
    (
        *(
            "format",
            "status",
            "id",
            "condition",
            "text",
            "scores",
            "why",
            "unscored",
            "error",
            "group",
            "tags",
        ),
        *("expected", "request", "parsed", "prompt_digest", "problems"),
    )
)
# of the page's own filters
_NAMES = {"of", "against", "outcome", "q", "id", "tool", "length", "ended", "keyword", "path"}


@dataclass(frozen=True, slots=True)
class System:
    """One column of answers: its name on the page, its samples by the example's id, and which of them failed; of some
    faults (by id, keyword, branch and path) what was given and the nearest valid value.
    """

    name: str
    samples: Mapping[str, JSON]
    failed: Callable[[JSON], bool]
    nearest: Mapping[tuple[str, str, str, str], PathCount] = field(default_factory=dict)


@dataclass(slots=True)
class Facet:
    """Something to filter by. `values` has the values of each example, by id; of an answer's own facets, there is one
    such mapping a system.
    """

    name: str
    title: str
    values: Sequence[Mapping[str, Sequence[str]]]
    said: Callable[[str], str] = field(default=str)


def systems_of(record: Record, samples: Iterable[JSON]) -> list[System]:
    """The record's conditions with their samples."""
    by_condition: dict[str, dict[str, JSON]] = {c.name: {} for c in record.conditions}
    for sample in samples:
        by_condition[sample["condition"]][sample["id"]] = sample
    return [
        System(c.name, by_condition[c.name], lambda s: sample_failed(s, record), _nearest(c))
        for c in record.conditions
    ]


def _nearest(condition: ConditionRecord) -> dict[tuple[str, str, str, str], PathCount]:
    """Of each of the worst paths, the answer that the record shows."""
    paths = condition.compliance.paths if condition.compliance else ()
    return {(p.samples[0], p.keyword, p.branch, p.path): p for p in paths if p.samples}


def facets_of(systems: Sequence[System], lengths: Mapping[str, int]) -> list[Facet]:
    """By tag, tool and length (in tokens, by id) of the examples, and by how the answers ended and what of their schema
    they fail.
    """
    examples = _examples(systems)
    tags = dict.fromkeys(tag for s in examples.values() for tag in s["tags"])
    found = [
        Facet(
            f"tag-{tag}" if tag in _NAMES else tag,
            label(tag),
            [{i: (str(s["tags"][tag]),) for i, s in examples.items() if tag in s["tags"]}],
            label,
        )
        for tag in sorted(tags, key=lambda tag: ("slice", "case", tag).index(tag))
    ]
    found.append(Facet("tool", "Tool", [{i: tools_of(s) for i, s in examples.items()}]))
    found.append(Facet("length", "Length", [{i: (v,) for i, v in ranges(lengths).items()}]))
    ends = [{i: (str(s["finish_reason"]),) for i, s in system.samples.items()} for system in systems]
    found.append(Facet("ended", "Ended", ends, lambda said: {"length": "cut off"}.get(said, said)))
    found.append(Facet("keyword", "Keyword", [_faults(system, _keywords) for system in systems], fault))
    shown = {path_of(*key[1:]) for system in systems for key in system.nearest}

    def paths(problem: JSON) -> tuple[str, ...]:
        path = path_of(*_key(problem))
        return (path,) if path in shown else ()

    found.append(Facet("path", "Path", [_faults(system, paths) for system in systems]))
    return found


def _faults(system: System, values: Callable[[JSON], Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """What `values` says of the faults of each answer, of samples that have some."""
    return {
        i: tuple(dict.fromkeys(value for p in s.get("problems") or () for value in values(p)))
        for i, s in system.samples.items()
    }


def _key(problem: JSON) -> tuple[str, str, str]:
    keyword, branch, path = (str(problem.get(key, "")) for key in ("keyword", "branch", "path"))
    return keyword, branch, path


def _keywords(problem: JSON) -> tuple[str, ...]:
    """The keyword of the schema, and of a choice also that with what failed in its nearest alternative."""
    keyword, branch, _ = _key(problem)
    return tuple(dict.fromkeys((keyword, keyword_of(keyword, branch))))


def pack(
    systems: Sequence[System], facets: Sequence[Facet], *, of: str, against: str | None, outcome: str
) -> JSON:
    """The page's data: columns of examples, and of each system's answers in the same order.

    Args:
        of, against: the systems that the page shows first.
        outcome: of `of` (beside `against`), which the page shows first: ``any``, ``failed``, ``changed`` (all:
            `OUTCOMES` of report.js).
    """
    examples = _examples(systems)
    ids = list(examples)
    prompts, tools, toolsets = _Once(), _Once(), _Once()
    offered = [toolsets.add([tools.add(t) for t in s["request"]["tools"]]) for s in examples.values()]
    names = [s.name for s in systems]
    return {
        "ids": ids,
        "groups": [s.get("group") or "" for s in examples.values()],
        "prompt": [prompts.add(s["request"]["messages"]) for s in examples.values()],
        "prompts": prompts.things,
        "offered": offered,
        "toolsets": toolsets.things,
        # as texts, which the page reads without losing a digit
        "tools": [_text(tool.get("function", tool)) for tool in tools.things],
        "expected": [_text(_expected(s)) for s in examples.values()],
        "facets": [packed for facet in facets if (packed := _facet(facet, ids))],
        "systems": [_system(system, ids) for system in systems],
        "labels": {m: label(m) for s in examples.values() for m in s["scores"]},
        "start": {
            "of": names.index(of),
            "against": names.index(against) if against in names else -1,
            "outcome": outcome,
        },
    }


class _Once:
    """Things by number, equal ones once."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def add(self, thing: Any) -> int:
        number = self._numbers.setdefault(_text(thing), len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


def _examples(systems: Sequence[System]) -> dict[str, JSON]:
    """A sample of every example, by the example's id."""
    return {name: sample for system in reversed(systems) for name, sample in system.samples.items()}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _expected(sample: JSON) -> JSON:
    return {key: value for key, value in sample["expected"].items() if value not in (None, [])}


def _facet(facet: Facet, ids: Sequence[str]) -> JSON | None:
    """None where there is nothing to choose: no value, one that all have, or so many that they are names."""
    counts = Counter(value for of in facet.values for i in ids for value in of.get(i, ()))
    of_all = len(counts) == 1 and counts.total() == sum(map(len, facet.values))
    if not counts or of_all or len(counts) > MOST_VALUES:
        return None
    numbers = {value: n for n, value in enumerate(sorted(counts))}
    columns = [[[numbers[v] for v in of.get(i, ())] for i in ids] for of in facet.values]
    return {
        "name": facet.name,
        "title": facet.title,
        "values": list(numbers),
        "said": [facet.said(value) for value in numbers],
        "of": [[row[0] if len(row) == 1 else row for row in column] for column in columns],
    }


def _system(system: System, ids: Sequence[str]) -> JSON:
    samples = [system.samples.get(i) for i in ids]
    reasons = _Once()
    metrics = dict.fromkeys(m for s in samples if s for m in s["scores"])
    facts = dict.fromkeys(key for s in samples if s for key in s if key not in _SHOWN)
    faults = _Once()
    wrong = [[faults.add(f) for f in _told(s, system)] if s else [] for s in samples]
    columns = {key: [_plain(s.get(key)) if s else None for s in samples] for key in facts}
    return {
        "name": system.name,
        "text": [s["text"] if s else None for s in samples],
        "state": "".join(_state(s, system) for s in samples),
        "why": [reasons.add(_why(s, system)) for s in samples],
        "reasons": reasons.things,
        "wrong": [row[0] if len(row) == 1 else row for row in wrong] if any(wrong) else None,
        "faults": faults.things,
        "scores": {m: [_plain(s["scores"].get(m)) if s else None for s in samples] for m in metrics},
        "facts": {key: column for key, column in columns.items() if any(column)},
    }


def _told(sample: JSON, system: System) -> list[JSON]:
    """The faults of an answer, for people: those that make it invalid first."""
    problems = sorted(sample.get("problems") or (), key=lambda p: not p.get("counts", True))
    told: list[JSON] = []
    for problem in problems[:MOST_FAULTS]:
        keyword, branch, path = _key(problem)
        said: JSON = {"fault": fault(keyword, branch), "path": path, "said": str(problem.get("said", ""))}
        said |= {key: problem[key] for key in ("times", "counts") if key in problem}
        shown = system.nearest.get((sample["id"], keyword, branch, path))
        if shown is not None and shown.nearest is not None:
            said |= {"given": shown.given, "nearest": shown.nearest}
        told.append(said)
    if len(problems) > MOST_FAULTS:
        told.append({"more": len(problems) - MOST_FAULTS})
    return told


def _state(sample: JSON | None, system: System) -> str:
    """``r`` right, ``w`` wrong, ``u`` not to be judged, ``e`` no answer for an engine's error, ``m`` not there."""
    if sample is None:
        return "m"
    if sample["status"] == "scored":
        return "w" if system.failed(sample) else "r"
    return "e" if sample["status"] == "errored" else "u"


def _why(sample: JSON | None, system: System) -> str:
    return "" if sample is None else reason(sample) if system.failed(sample) else str(sample["why"])


def _plain(value: Any) -> Any:
    """1 for 1.0, so that it is shorter."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
