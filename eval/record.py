"""The record of an evaluation: versioned, self-contained JSON. Reports and gates read nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from agentlora.core.errors import EvalError
from agentlora.core.files import sha256_json, write_atomic, write_json
from agentlora.core.types import JSON

FORMAT: Final = "agentlora.record/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Measured(_Strict):
    """`unbounded`: it is no share of 0 to 1. What older records lack stands in the JSON where it says something, and so
    their digests stay.
    """

    unbounded: bool = False

    @model_serializer(mode="wrap")
    def _as_ever(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        raw: dict[str, Any] = serialize(self)
        added = {"unbounded": False, "p_value": None, "detectable": None}
        return {key: value for key, value in raw.items() if value is not added.get(key, ...)}


class Figure(_Measured):
    """A metric's mean with its 95 % interval; None when nothing was scored (see `metrics.Aggregate`).

    n = scored + not_applicable + unscored + errored.
    """

    n: int
    scored: int
    not_applicable: int = 0
    unscored: int
    errored: int
    mean: float | None
    low: float | None
    high: float | None


class ConditionRecord(_Strict):
    """One system's figures. `slices` has, by tag name and tag value, the headline metric, and for examples
    about which that says nothing whether the answer was right.
    """

    name: str
    kind: str
    adapter: str | None
    metrics: dict[str, Figure]
    slices: dict[str, dict[str, Figure]]
    prompt_tokens: int
    output_tokens: int
    truncated: int
    cached: int
    first_error: str | None = None


class DifferenceRecord(_Measured):
    """The paired difference system - baseline of one metric (see `metrics.Difference`)."""

    metric: str
    system: str
    baseline: str
    n: int
    groups: int
    mean: float | None
    low: float | None
    high: float | None
    higher: int
    lower: int
    p_value: float | None = None
    detectable: float | None = None


class SliceDifference(_Strict):
    """The paired difference system - best baseline among the examples that have `value` for `tag`, of what
    `ConditionRecord.slices` holds.
    """

    tag: str
    value: str
    difference: DifferenceRecord


class Record(_Strict):
    """Everything that an evaluation found.

    `base` is a `BaseIdentity` as a dict, `adapter` the adapter's digest, `data` the digests of the examples
    and how often test was read. `n` and `groups` count the examples that decide (those with the tags of
    `headline_where`); `n_all` counts all: the others show in the slices only. `skipped` maps the conditions
    that could not be evaluated to the reason. `best_baseline` is the condition without an adapter that is
    best by `headline`. Answers were sampled at `temperature` (0: greedy), with so many `seeds` for every example;
    figures and differences count answers then. `served`: what the alias of the skill served when this was evaluated
    (name, alias, digest, adapter), which is the condition of kind ``served``, or ``why`` it could not be asked.
    """

    format: Literal["agentlora.record/1"] = FORMAT
    task: str
    headline: str
    metrics: tuple[str, ...]
    lower_is_better: tuple[str, ...]
    base: dict[str, Any]
    adapter: str | None
    engine: str
    data: dict[str, Any]
    n: int
    groups: int
    headline_where: dict[str, str] = Field(default_factory=dict)
    n_all: int
    max_tokens: int
    temperature: float = 0.0
    seeds: int = 1
    conditions: tuple[ConditionRecord, ...]
    skipped: dict[str, str] = Field(default_factory=dict)
    differences: tuple[DifferenceRecord, ...]
    slice_differences: tuple[SliceDifference, ...] = ()
    best_baseline: str | None
    served: dict[str, Any] | None = None
    shots: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    created_at: str

    @property
    def digest(self) -> str:
        """sha256 (hex) of the record's canonical JSON."""
        return sha256_json(self.to_dict())

    def to_dict(self) -> JSON:
        # without fields that older records lack: their digest stays
        defaults = {"slice_differences": (), "served": None, "temperature": 0.0, "seeds": 1}
        unsaid = {name for name, value in defaults.items() if getattr(self, name) == value}
        return self.model_dump(mode="json", exclude=unsaid)

    def condition(self, name: str) -> ConditionRecord:
        """Raises EvalError when the record has no such condition."""
        for condition in self.conditions:
            if condition.name == name:
                return condition
        names = ", ".join(repr(c.name) for c in self.conditions)
        raise EvalError(f"the record has no condition {name!r}. There is: {names}.")

    def difference(self, system: str, baseline: str, metric: str | None = None) -> DifferenceRecord | None:
        """The paired difference in `metric` (default: the headline), if it was computed."""
        wanted = (system, baseline, metric or self.headline)
        return next((d for d in self.differences if (d.system, d.baseline, d.metric) == wanted), None)

    def slice_gains(self, tag: str, value: str) -> list[DifferenceRecord]:
        """Of each adapter against the best baseline, among the examples that have `value` for `tag`."""
        return [d.difference for d in self.slice_differences if (d.tag, d.value) == (tag, value)]

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Record:
        """Raises EvalError when the file is absent, is no JSON, or is no record of this version."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise EvalError(f"the record {str(path)!r} cannot be read: {exc}") from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise EvalError(
                f"{str(path)!r} is no record of format {FORMAT!r}: {where}: {first['msg']}"
            ) from exc


def save_samples(path: Path, samples: Iterable[JSON]) -> None:
    """One JSON object a line, whole or not at all."""
    write_atomic(path, "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in samples))


def load_samples(path: Path) -> Iterator[JSON]:
    """Raises EvalError naming the line that is not JSON."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as exc:
                raise EvalError(f"{str(path)!r}, line {number}, is not JSON: {exc}") from exc
