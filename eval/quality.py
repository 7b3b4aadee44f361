"""What a data set is made of: cases, tools, lengths, how varied its values are, and what its splits share."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from agentlora.core.examples import evenly
from agentlora.core.files import sha256_json
from agentlora.core.grammar import function_of
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Expected, Split
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value

BINS = 24  # of the histograms
SHOWN = 12  # examples to read
LOOKED_AT = 50_000  # examples of a split
RARE = 3  # distinct values below which a parameter that is used often teaches a value and not to copy
OFTEN = 20


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """One split. `groups`: examples of one group share a prefix. `tools`: distinct ones that are offered; `called`:
    that are called. `offered`: tools an example, on the average.
    """

    examples: int
    groups: int
    tools: int
    called: int
    offered: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie in each of equal parts of `low` to `high`. `middle` is the median."""

    name: str
    low: float
    high: float
    counts: tuple[int, ...]
    middle: float


@dataclass(frozen=True, slots=True)
class Parameter:
    """How varied the values of a parameter are in training: `uses` of it, `distinct` values, the most frequent one."""

    name: str
    uses: int
    distinct: int
    most: str
    share: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """What dev or test share with training, as shares of their examples: `tools`: the same list of tools; `wording`: a
    request that is the same but for numbers and the values that are expected; `values`: of the expected values that are
    texts, those that are expected of the same parameter in training too.
    """

    tools: float
    wording: float
    values: float


@dataclass(frozen=True, slots=True)
class Quality:
    """All of it. `cases` and `slices`: name → split → how many."""

    splits: Mapping[Split, SplitFigures]
    cases: Mapping[str, Mapping[Split, int]]
    slices: Mapping[str, Mapping[Split, int]]
    histograms: Sequence[Histogram]
    uncalled: Sequence[str]
    parameters: Sequence[Parameter]
    overlaps: Mapping[Split, Overlap]
    to_read: Sequence[Example]

    def to_dict(self) -> JSON:
        """For ``--json``."""
        return {
            "splits": {name: _fields(part) for name, part in self.splits.items()},
            "cases": {name: dict(part) for name, part in self.cases.items()},
            "slices": {name: dict(part) for name, part in self.slices.items()},
            "lengths": [_fields(part) for part in self.histograms],
            "tools_never_called": list(self.uncalled),
            "parameters": [_fields(part) for part in self.parameters],
            "overlaps": {name: _fields(part) for name, part in self.overlaps.items()},
        }


def look(splits: Mapping[Split, Sequence[Example]], tokens: Sequence[int] = ()) -> Quality:
    """Figures of a data set. Of more than `LOOKED_AT` examples of a split, so many of them, evenly taken, are asked for
    lengths and values.

    Args:
        tokens: lengths of training examples, where somebody counted them.
    """
    train = splits.get("train", ())
    some = evenly(train, LOOKED_AT)
    held_out = {s: evenly(examples, LOOKED_AT) for s, examples in splits.items() if s != "train" and examples}
    known = _found(train, {key for examples in held_out.values() for e in examples for key in _keys(e)})
    characters = [
        sum(len(str(m.get("content") or "")) for m in e.messages if m["role"] == "user") for e in some
    ]
    answers = [len(answer_text(e.expected)) for e in some]
    lengths = [
        ("tokens of an example", list(tokens)),
        ("characters of a request", characters),
        ("characters of an answer", answers),
        ("tools offered", [len(e.tools) for e in some if e.tools]),
    ]
    return Quality(
        splits={split: _split_figures(examples) for split, examples in splits.items()},
        cases=_counts(splits, "case"),
        slices=_counts(splits, "slice"),
        histograms=[_histogram(name, found) for name, found in lengths if found],
        uncalled=_uncalled(train),
        parameters=_parameters(_values(some)),
        overlaps={split: _overlap(examples, known) for split, examples in held_out.items()},
        to_read=[train[i * len(train) // min(SHOWN, len(train))] for i in range(min(SHOWN, len(train)))],
    )


def answer_text(expected: Expected) -> str:
    """An expected answer for people."""
    if expected.calls:
        return "\n".join(f"{call.name}({_arguments(call.arguments)})" for call in expected.calls)
    return expected.text if expected.text is not None else json.dumps(expected.value, ensure_ascii=False)


# --- figures ------------------------------------------------------------------------------------


def _split_figures(examples: Sequence[Example]) -> SplitFigures:
    offered = {function_of(tool)["name"] for e in examples for tool in e.tools}
    called = {call.name for e in examples for call in e.expected.calls}
    with_tools = [len(e.tools) for e in examples if e.tools]
    return SplitFigures(
        examples=len(examples),
        groups=len({e.group or e.id for e in examples}),
        tools=len(offered),
        called=len(called),
        offered=sum(with_tools) / len(with_tools) if with_tools else 0.0,
    )


def _counts(splits: Mapping[Split, Sequence[Example]], tag: str) -> dict[str, dict[Split, int]]:
    found: defaultdict[str, dict[Split, int]] = defaultdict(lambda: dict.fromkeys(splits, 0))
    for split, examples in splits.items():
        for example in examples:
            found[example.tags.get(tag, "(none)")][split] += 1
    return dict(sorted(found.items(), key=lambda pair: -sum(pair[1].values())))


def _histogram(name: str, values: Sequence[int]) -> Histogram:
    low, high = min(values), max(values)
    bins = min(BINS, high - low + 1)
    width = (high - low + 1) / bins
    counts = Counter(min(bins - 1, int((value - low) / width)) for value in values)
    ordered = sorted(values)
    return Histogram(name, low, high, tuple(counts[i] for i in range(bins)), ordered[len(ordered) // 2])


def _uncalled(train: Sequence[Example]) -> list[str]:
    """Tools that training offers and never calls."""
    offered = {function_of(tool)["name"] for e in train for tool in e.tools}
    return sorted(offered - {call.name for e in train for call in e.expected.calls})


def _values(examples: Sequence[Example]) -> Iterator[tuple[str, str]]:
    """(parameter, value) of everything that is expected."""
    for example in examples:
        for call in example.expected.calls:
            for name, value in call.arguments.items():
                yield f"{call.name}.{name}", _short_json(value)
        value = example.expected.value
        if in_xml(example.schema) and example.expected.text is not None:
            value = read_value(example.schema or {}, parse_xml(example.expected.text))
        if isinstance(value, Mapping):
            yield from _leaves("", value)


def _leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(f"{path}[]", part)
    else:
        yield path, _short_json(value)


def _parameters(values: Iterable[tuple[str, str]]) -> list[Parameter]:
    """Those whose values are least varied come first."""
    by_name: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, value in values:
        by_name[name][value] += 1
    found = []
    for name, counts in by_name.items():
        uses = sum(counts.values())
        most, often = counts.most_common(1)[0]
        found.append(Parameter(name, uses, len(counts), most, often / uses))
    return sorted(found, key=lambda p: (-(p.uses >= OFTEN), -p.share, -p.uses, p.name))


_Key: TypeAlias = tuple[str, ...]


def _overlap(examples: Sequence[Example], known: Set[_Key]) -> Overlap:
    """Args: known: the keys of `examples` that training has too."""
    return Overlap(
        tools=_share(("tools", _tool_list(e)) in known for e in examples if e.tools),
        wording=_share(("wording", _wording(e)) in known for e in examples),
        values=_share(key in known for e in examples for key in _texts(e)),
    )


def _found(train: Iterable[Example], wanted: Set[_Key]) -> Set[_Key]:
    """Those of the keys that an example of training has."""
    found: set[_Key] = set()
    for example in train if wanted else ():
        found.update(key for key in _keys(example) if key in wanted)
    return found


def _keys(example: Example) -> list[_Key]:
    """What an example may share with another."""
    return [("tools", _tool_list(example)), ("wording", _wording(example)), *_texts(example)]


def _texts(example: Example) -> Iterator[_Key]:
    return (("value", name, value) for name, value in _values([example]) if value.startswith('"'))


def _tool_list(example: Example) -> str:
    return sha256_json(sorted(map(sha256_json, example.tools)))


def _wording(example: Example) -> str:
    """A request without its values: what was filled in, and all numbers, are blanks."""
    said = " ".join(str(m.get("content") or "") for m in example.messages if m["role"] == "user")
    spoken = {value.strip('"') for _, value in _values([example])}
    for value in sorted(spoken, key=len, reverse=True):
        if len(value) > 2:
            said = said.replace(value, "_")
    return re.sub(r"\W+", " ", re.sub(r"\d+", "0", said)).strip().lower()


def _share(found: Iterator[bool]) -> float:
    every = list(found)
    return sum(every) / len(every) if every else 0.0


def _arguments(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_short_json(value)}" for name, value in arguments.items())


def _short_json(value: object) -> str:
    return brief(json.dumps(value, ensure_ascii=False, sort_keys=True), 200)


def _fields(value: Any) -> JSON:
    return asdict(value)
