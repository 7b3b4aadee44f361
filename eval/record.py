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
    """`unbounded`: it is no share of 0 to 1. It stands in the JSON where it is true: other records' digests stay."""

    unbounded: bool = False

    @model_serializer(mode="wrap")
    def _as_ever(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        raw: dict[str, Any] = serialize(self)
        return {key: value for key, value in raw.items() if key != "unbounded" or value}


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


class SliceDifference(_Strict):
    """The paired difference system - best baseline among the examples that have `value` for `tag`, of what
    `ConditionRecord.slices` holds.
    """

    tag: str
    value: str
    difference: DifferenceRecord


class SuiteRecord(_Strict):
    """What other people's tasks say (`agentlora eval --suite`): figures by system and metric, and paired differences.

    `library` and `version` gave the scores; `reported` holds its own figures, `settings` what it was told.
    """

    name: str
    library: str
    version: str
    n: int
    metrics: tuple[str, ...]
    lower_is_better: tuple[str, ...] = ()
    systems: dict[str, dict[str, Figure]]
    differences: tuple[DifferenceRecord, ...] = ()
    reported: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    first_error: str | None = None
    engine: str
    created_at: str


class Record(_Strict):
    """Everything that an evaluation found.

    `base` is a `BaseIdentity` as a dict, `adapter` the adapter's digest, `data` the digests of the examples
    and how often test was read. `n` and `groups` count the examples that decide (those with the tags of
    `headline_where`); `n_all` counts all: the others show in the slices only. `skipped` maps the conditions
    that could not be evaluated to the reason. `best_baseline` is the condition without an adapter that is
    best by `headline`.
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
    conditions: tuple[ConditionRecord, ...]
    skipped: dict[str, str] = Field(default_factory=dict)
    differences: tuple[DifferenceRecord, ...]
    slice_differences: tuple[SliceDifference, ...] = ()
    suites: tuple[SuiteRecord, ...] = ()
    best_baseline: str | None
    shots: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    created_at: str

    @property
    def digest(self) -> str:
        """sha256 (hex) of the record's canonical JSON."""
        return sha256_json(self.to_dict())

    def to_dict(self) -> JSON:
        # without the fields that older records lack: their digest stays
        empty = {name for name in ("slice_differences", "suites") if not getattr(self, name)}
        return self.model_dump(mode="json", exclude=empty)

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
