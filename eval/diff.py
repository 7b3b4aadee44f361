"""Two evaluations of the same examples, sample by sample: which answers flipped, and how likely that is by chance."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from agentlora.core.errors import ConfigError, EvalError, unknown
from agentlora.core.types import JSON
from agentlora.eval.metrics import Aggregate, Difference, aggregate, paired_difference, sign_flip
from agentlora.eval.record import Record, load_samples
from agentlora.eval.settings import differences, other_settings
from agentlora.eval.slicing import ranges, tools_of
from agentlora.eval.wording import counted, sample_failed

Flip = Literal["gained", "lost"]
Pairs = Mapping[str, tuple[bool, bool]]  # whether A and B are right, by the name of the sample


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: the answers of one condition of a record, by the example's id."""

    name: str
    record: Record
    condition: str
    samples: Mapping[str, JSON]

    def failed(self, sample: JSON) -> bool:
        return sample_failed(sample, self.record)

    def right(self, name: str) -> bool | None:
        """Whether the answer is right; None where it could not be judged, or there is none."""
        sample = self.samples.get(name)
        if sample is None or sample["status"] != "scored":
            return None
        return not self.failed(sample)


@dataclass(frozen=True, slots=True)
class Flips:
    """How n answers, all judged on both sides, changed from A to B.

    `gained`: wrong in A and right in B; `lost`: the other way round. `p`: of the paired test, in which groups change
    sides whole (see `metrics.sign_flip`). `share_a` and `share_b`: of right answers, with their intervals (see
    `metrics.aggregate`).
    """

    n: int
    right_a: int
    right_b: int
    share_a: Aggregate
    share_b: Aggregate
    gained: int
    lost: int
    p: float


@dataclass(frozen=True, slots=True)
class Diff:
    """What `compare` finds. `gained` and `lost` are the examples' ids, in the order of the samples. `notes`: in what
    else than the answers A and B differ.

    `difference` is of right answers, B minus A, with the interval of a bootstrap by group. `slices` has the flips by
    what is sliced (``slice``, ``case``, ``tool``, ``length``) and value; `unjudged` counts the answers that one side at
    least lacks or that could not be judged there.
    """

    a: Side
    b: Side
    total: Flips
    unjudged: int
    difference: Difference
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    slices: Mapping[str, Mapping[str, Flips]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> JSON:
        sides = {key: _of_side(side) for key, side in (("a", self.a), ("b", self.b))}
        slices = {by: {value: asdict(f) for value, f in found.items()} for by, found in self.slices.items()}
        return {
            "format": "agentlora.diff/1",
            **sides,
            "total": asdict(self.total),
            "unjudged": self.unjudged,
            "difference": asdict(self.difference),
            "gained": list(self.gained),
            "lost": list(self.lost),
            "slices": slices,
            "notes": list(self.notes),
        }


def load_side(place: Path, name: str, condition: str | None = None) -> Side:
    """The evaluation in a folder (or of a record.json), and of it one condition: by default the adapter that decides.

    Raises:
        EvalError: no record lies there, it is unreadable, or its samples are not there.
        ConfigError: the record has no such condition, or no adapter where none is named.
    """
    file = place / "record.json" if place.is_dir() else place
    record = Record.load(file)
    names = [c.name for c in record.conditions]
    adapters = [c.name for c in record.conditions if c.decides]
    if condition is not None and condition not in names:
        raise ConfigError(unknown(f"condition of {str(file)!r}", condition, names))
    chosen = condition or next(iter(adapters), None)
    if chosen is None:
        raise ConfigError(
            f"{str(file)!r} has no adapter. Say whose answers are compared (--of-a, --of-b): {', '.join(names)}."
        )
    samples = file.parent / "samples.jsonl"
    if not samples.is_file():
        raise EvalError(
            f"the samples {str(samples)!r} are not there; without them no answer can be compared."
        )
    found = {s["id"]: s for s in load_samples(samples) if s["condition"] == chosen}
    return Side(name, record, chosen, found)


def compare(a: Side, b: Side, seed: int = 0) -> Diff:
    """Pair the answers of A and B. `seed` is of the bootstrap.

    Raises:
        ConfigError: they are of different data or tasks, judged by different metrics or settings, or one has more
            answers to every example.
    """
    _refuse_different(a, b)
    ids = list(dict.fromkeys((*a.samples, *b.samples)))
    pairs = {
        i: (left, right)
        for i in ids
        if (left := a.right(i)) is not None and (right := b.right(i)) is not None
    }
    samples = {i: a.samples[i] for i in pairs}
    groups = {i: str(s.get("group") or i) for i, s in samples.items()}
    values_a, values_b = ({i: float(pair[side]) for i, pair in pairs.items()} for side in (0, 1))
    return Diff(
        a=a,
        b=b,
        total=_flips(pairs, pairs, groups),
        unjudged=len(ids) - len(pairs),
        difference=paired_difference(values_b, values_a, groups, seed),
        gained=tuple(i for i, pair in pairs.items() if pair == (False, True)),
        lost=tuple(i for i, pair in pairs.items() if pair == (True, False)),
        slices={
            by: of for by, values in _values(samples).items() if len(of := _sliced(pairs, groups, values)) > 1
        },
        notes=tuple(differences(a.record, b.record)),
    )


def _refuse_different(a: Side, b: Side) -> None:
    if a.record.task != b.record.task:
        raise ConfigError(
            f"{a.name!r} is an evaluation of {a.record.task!r} and {b.name!r} one of {b.record.task!r}: their answers "
            "cannot be compared. Name two evaluations of one task."
        )
    if a.record.seeds != b.record.seeds:
        said = " and ".join(f"{side.name!r} has {side.record.seeds}" for side in (a, b))
        raise ConfigError(
            f"{said} answers to every example, so that some have no other to be compared with. Evaluate both with the "
            "same --seeds (eval.seeds)."
        )
    ours, theirs = (str(side.record.data.get("examples", "")) for side in (a, b))
    if ours != theirs or a.samples.keys() != b.samples.keys():
        said = " and ".join(_data(side) for side in (a, b))
        raise ConfigError(
            f"{said} answer different examples, so that no answer has another to be compared with. Evaluate both on "
            "the same data: the same split of the same training data, with the same --limit."
        )
    if a.record.headline != b.record.headline:
        raise ConfigError(
            f"{a.name!r} is judged by {a.record.headline!r} and {b.name!r} by {b.record.headline!r}. Evaluate both "
            "with the same version of the task."
        )
    if judged := other_settings(a.record, b.record):
        said = "; ".join(f"{name}: {ours!r} and {theirs!r}" for name, (ours, theirs) in judged.items())
        raise ConfigError(
            f"what is right in {a.name!r} need not be in {b.name!r}: their evaluators have other settings ({said}). "
            "Evaluate both with the same ones (eval.evaluators, --evaluator)."
        )


def _data(side: Side) -> str:
    data, split = (
        str(side.record.data.get("examples", ""))[:12],
        side.record.data.get("split", "unknown split"),
    )
    return f"{side.name!r} ({len(side.samples)} {counted(side.record)} of {split}, {data})"


def _of_side(side: Side) -> JSON:
    return {
        "name": side.name,
        "condition": side.condition,
        "adapter": side.record.adapter,
        "base": side.record.base.get("name"),
        "record": side.record.digest,
        "created_at": side.record.created_at,
    }


def _values(samples: Mapping[str, JSON]) -> dict[str, dict[str, Sequence[str]]]:
    """By what is sliced, the values of each example."""
    return {
        **{
            tag: {i: (str(s["tags"][tag]),) for i, s in samples.items() if tag in s["tags"]}
            for tag in ("slice", "case")
        },
        "tool": {i: tools_of(s) for i, s in samples.items()},
        "length": {i: (value,) for i, value in ranges(lengths_of(samples)).items()},
    }


def lengths_of(samples: Mapping[str, JSON]) -> dict[str, int]:
    """The prompt tokens of each sample."""
    return {i: int(s.get("prompt_tokens") or 0) for i, s in samples.items()}


def _sliced(pairs: Pairs, groups: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> dict[str, Flips]:
    """By value, those first in which most flipped."""
    members: dict[str, list[str]] = {}
    for name, found in values.items():
        for value in found:
            members.setdefault(value, []).append(name)
    flips = {value: _flips(found, pairs, groups) for value, found in members.items()}
    return dict(sorted(flips.items(), key=lambda it: (-it[1].gained - it[1].lost, _natural(it[0]))))


def _natural(value: str) -> list[tuple[int, str]]:
    """A key by which 9 comes before 1,014."""
    parts = re.findall(r"\d+|\D+", value.replace(",", ""))
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _flips(names: Iterable[str], pairs: Pairs, groups: Mapping[str, str]) -> Flips:
    """Of the answers with these names."""
    found = [(groups[name], *pairs[name]) for name in names]
    share_a, share_b = (
        aggregate([float(pair[side]) for pair in found], groups=[pair[0] for pair in found])
        for side in (1, 2)
    )
    gains: Counter[str] = Counter()
    for group, left, right in found:
        gains[group] += right - left
    return Flips(
        n=len(found),
        right_a=sum(left for _, left, _ in found),
        right_b=sum(right for _, _, right in found),
        share_a=share_a,
        share_b=share_b,
        gained=sum(right and not left for _, left, right in found),
        lost=sum(left and not right for _, left, right in found),
        p=sign_flip(list(gains.values())),
    )
