"""Slices that a record does not hold: right answers by tool and by the length of the prompt, from the samples."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from agentlora.core.types import JSON
from agentlora.eval.conditions import CONSTRAINED, FEW_SHOT
from agentlora.eval.metrics import aggregate
from agentlora.eval.record import Figure, Record
from agentlora.eval.wording import sample_failed

NO_CALL = "(no call)"
PARTS = 4  # of the examples, by length


@dataclass(frozen=True, slots=True)
class Slice:
    """The share of right answers of each condition (by its name) among the examples that have `value`."""

    value: str
    n: int
    figures: Mapping[str, Figure]


def tools_of(sample: JSON) -> tuple[str, ...]:
    """The tools that an example wants called; `NO_CALL` where it offers some and wants none, else nothing."""
    called = dict.fromkeys(str(call["name"]) for call in sample["expected"].get("calls") or ())
    return tuple(called) or ((NO_CALL,) if sample["request"]["tools"] else ())


def prompt_lengths(record: Record, samples: Iterable[JSON]) -> dict[str, int]:
    """Prompt tokens by the example's id, of the first condition that puts the example as it is; none without one."""
    plain = [c.name for c in record.conditions if c.kind not in (*FEW_SHOT, *CONSTRAINED, "given")]
    return {
        s["id"]: int(s.get("prompt_tokens") or 0) for s in samples if plain and s["condition"] == plain[0]
    }


def ranges(lengths: Mapping[str, int]) -> dict[str, str]:
    """A range of tokens for each example, so that each range holds about a quarter of them; nothing where an engine
    counts none, or all are about as long.
    """
    counts = {name: count for name, count in lengths.items() if count}
    ordered = sorted(counts.values())
    starts = sorted({ordered[len(ordered) * i // PARTS] for i in range(1, PARTS)}) if ordered else []
    starts = [start for start in starts if start > ordered[0]]
    if not starts:
        return {}
    ends = [*starts, ordered[-1] + 1]
    names = [_range(low, high - 1) for low, high in zip([ordered[0], *starts], ends, strict=True)]
    return {name: names[bisect_right(starts, count)] for name, count in counts.items()}


def _range(low: int, high: int) -> str:
    return f"{low:,} tokens" if low == high else f"{low:,}–{high:,} tokens"


def sliced(record: Record, samples: Iterable[JSON], values: Mapping[str, Sequence[str]]) -> list[Slice]:
    """Figures of each value, in the order of first appearance; `values` maps an example's id to those that it has."""
    members: dict[str, dict[str, list[JSON]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        for value in values.get(sample["id"], ()):
            members[value][sample["condition"]].append(sample)
    return [
        Slice(
            value,
            max(map(len, found.values())),
            {c.name: share_right(record, found.get(c.name, ())) for c in record.conditions},
        )
        for value, found in members.items()
    ]


def share_right(record: Record, samples: Sequence[JSON]) -> Figure:
    """The share of right answers with its interval; what failed or could not be judged is in no mean."""
    counts = Counter(s["status"] for s in samples)
    judged = [s for s in samples if s["status"] == "scored"]
    values = [float(not sample_failed(s, record)) for s in judged]
    groups = [s.get("group") or s["id"] for s in judged]
    return Figure(**asdict(aggregate(values, counts["unscored"], counts["errored"], groups)))
