"""The record of an evaluation: versioned, self-contained JSON. Reports and gates read nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from agentlora.core.decoding import NEUTRAL
from agentlora.core.errors import EvalError
from agentlora.core.files import sha256_json, write_json
from agentlora.core.types import JSON
from agentlora.eval.samples import load_samples, save_samples

__all__ = ["Record", "load_samples", "save_samples"]

FORMAT: Final = "agentlora.record/2"
FIRST: Final = "agentlora.record/1"  # is still read, and keeps its digest
SINCE_2 = ("seed", "decoding", "evaluator", "template", "engine_version")


def _is_none(value: Any) -> bool:
    return value is None


def _is_empty(value: Any) -> bool:
    return not value


def _facts(**known: JSON) -> WithJsonSchema:
    """Of an object whose members are said by others: what is known of them."""
    return WithJsonSchema({"type": "object", "properties": known, "additionalProperties": True})


_TEXT: JSON = {"type": "string"}
_TEXT_OR_NONE: JSON = {"type": ["string", "null"]}
_DIGEST: JSON = {"type": "string", "description": "sha256 (hex)"}
_GIT: JSON = {
    "type": ["object", "null"],
    "description": "Of the checkout that the code ran from; null for an installed package.",
    "properties": {"commit": _TEXT, "dirty": {"type": "boolean"}},
    "required": ["commit", "dirty"],
}
Base = Annotated[
    dict[str, Any],
    _facts(
        name=_TEXT,
        **dict.fromkeys(("digest", "weights", "config", "tokenizer", "template", "template_digest"), _DIGEST),
        tool_call_parser=_TEXT,
    ),
]
Data = Annotated[
    dict[str, Any],
    _facts(
        examples=_DIGEST | {"description": "sha256 (hex) of the examples that were put, in their order"},
        split=_TEXT,
        **{f"{split}_digest": _DIGEST for split in ("train", "dev", "test")},
        test_readings={"type": "integer", "description": "How often test was read, with this reading."},
        reference=_TEXT_OR_NONE,
        left_out={"type": ["integer", "null"]},
    ),
]
Fixed = Annotated[
    dict[str, Any],
    _facts(
        **{name: {"type": "number"} for name in NEUTRAL},
        eos_token_id={
            "type": ["integer", "array"],
            "items": {"type": "integer"},
            "description": "As the model's generation config has it: these end an answer.",
        },
    ),
]
Provenance = Annotated[
    dict[str, Any],
    _facts(
        git=_GIT,
        packages={"type": "object", "additionalProperties": _TEXT},
        python=_TEXT,
        platform=_TEXT,
        device=_TEXT | {"description": "GPU and CPU"},
        cpus={"type": ["integer", "null"]},
        seed={"type": "integer"},
        argv={"type": "array", "items": _TEXT},
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class _Measured(_Strict):
    """`unbounded`: it is no share of 0 to 1. What older records lack stands in the JSON where it says something, and so
    their digests stay.
    """

    unbounded: bool = Field(False, exclude_if=_is_empty)


class Statuses(_Strict):
    """How many of all answers were judged, could not be judged, and are not there. Unscored and errored are no 0."""

    scored: int
    unscored: int
    errored: int


class Decoding(_Strict):
    """How answers were written: at `temperature` (0: greedy), so many (`seeds`) to every example, which figures and
    differences count then. `max_calls` is the room of an answer that is an array of calls. `fixed`: what else the
    engine says of it, which is the same whatever the model's own generation config says; empty where it says nothing.
    """

    temperature: float
    seeds: int = 1
    max_tokens: int
    max_calls: int
    fixed: Fixed = Field(default_factory=dict, exclude_if=_is_empty)


class EvaluatorRecord(_Strict):
    """Who judged: its class, and the sha256 (hex) of the source that it judges with and of all settings. `settings`:
    those of the one that decides, empty where it has none; the others' are in `provenance`.
    """

    name: str
    digest: str
    settings: dict[str, Any] | None = Field(None, exclude_if=_is_none)


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


class KeywordCount(_Strict):
    """How many `answers` fail a keyword, and at how many `paths`. `branch`: of a choice (``anyOf``, ``oneOf``), the
    keyword that failed in the alternative that comes nearest. `counts`: whether that makes an answer invalid.
    """

    keyword: str
    branch: str = ""
    counts: bool
    answers: int
    times: int
    paths: int
    samples: tuple[str, ...]


class PathCount(_Strict):
    """How many `answers` fail a keyword at a path (indices generalised: ``items[*].price``), and one of them: what is
    wrong, what was `given`, the `nearest` valid value (both as JSON), and the beginning of the `output`.
    """

    keyword: str
    branch: str = ""
    path: str
    counts: bool
    answers: int
    times: int
    said: str
    given: str | None
    nearest: str | None
    samples: tuple[str, ...]
    output: str


class ComplianceRecord(_Strict):
    """Why answers do not fit their schemas (`eval.compliance`). `faulty`: how many have any fault; `undecided`: those
    that it could not be found out of, for the first of these reasons. `paths` has the worst, `more_paths` counts the
    others.
    """

    valid: Figure
    faulty: int
    undecided: str | None = None
    keywords: tuple[KeywordCount, ...]
    paths: tuple[PathCount, ...]
    more_paths: int


class ReasonCount(_Strict):
    """For which reason (`why`) an evaluator calls how many `answers` wrong, and the ids of the first."""

    why: str
    answers: int
    samples: tuple[str, ...]


class ReasonsRecord(_Strict):
    """Why `answers` are wrong by one evaluator, the commonest reasons first; `more` answers have others."""

    answers: int
    reasons: tuple[ReasonCount, ...]
    more: int = 0


class ConditionRecord(_Strict):
    """One system's figures. `slices` has, by tag name and tag value, the headline metric, and for examples
    about which that says nothing whether the answer was right. `statuses` counts all answers, `metrics` those to
    examples that decide; records of the first format have none.
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
    statuses: Statuses | None = Field(None, exclude_if=_is_none)
    compliance: ComplianceRecord | None = Field(None, exclude_if=_is_none)
    reasons: dict[str, ReasonsRecord] = Field(default_factory=dict, exclude_if=_is_empty)
    """Of the answers that decide, by evaluator beside the task's own, of those whose reasons can be counted."""
    aside: bool = Field(False, exclude_if=_is_empty)
    """Shown beside the others, and decides nothing."""

    @property
    def decides(self) -> bool:
        """Whether it is the adapter that is compared with the others."""
        return self.adapter is not None and not self.aside


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
    p_value: float | None = Field(None, exclude_if=_is_none)
    detectable: float | None = Field(None, exclude_if=_is_none)


class ConstraintRow(_Strict):
    """One figure of the same system with and without a grammar: ``valid`` (the answer fits its schema), ``right`` (the
    headline metric; where that says nothing, whether the answer is right), ``output_tokens`` and ``seconds`` an answer.
    """

    metric: Literal["valid", "right", "output_tokens", "seconds"]
    free: Figure
    constrained: Figure
    difference: DifferenceRecord


class ConstraintRecord(_Strict):
    """What holding answers to a schema while they are written brings and costs: two conditions side by side."""

    free: str
    constrained: str
    rows: tuple[ConstraintRow, ...]


class SliceDifference(_Strict):
    """The paired difference system - best baseline among the examples that have `value` for `tag`, of what
    `ConditionRecord.slices` holds.
    """

    tag: str
    value: str
    difference: DifferenceRecord


class ProbeFigures(_Strict):
    """How many of some probes base and adapter get right, and the paired difference adapter - base."""

    base: Figure
    adapter: Figure
    difference: DifferenceRecord


class ProbesRecord(_Strict):
    """The general-ability probes (see `agentlora.eval.probing`), of which `n` of `available` were asked.

    `base`, `adapter` and `difference` are of all; `areas` has them for each area. They count a probe as right by the
    log-probability of its choices a byte; `unnormalised` by that of whole choices. `digest` is of what was asked.
    `unscored`: why there are no figures; `failed`: how many of base or adapter failed, where that is why.
    """

    n: int
    available: int
    digest: str
    base: Figure | None = None
    adapter: Figure | None = None
    difference: DifferenceRecord | None = None
    areas: dict[str, ProbeFigures] = Field(default_factory=dict)
    unnormalised: ProbeFigures | None = None
    unscored: str | None = None
    failed: int = 0


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

    Asked: `task`, `data` (the digests of the examples, how often test was read), `shots`, `seed`, `decoding`, and who
    judged (`evaluator`). Answered: `base` (a `BaseIdentity` as a dict), `adapter` (its digest), `template` (the digest
    of the chat template), `engine` and `engine_version` (what else than the model decides its answers). Where:
    `provenance`.

    `n` and `groups` count the examples that decide (those with the tags of `headline_where`); `n_all` counts all: the
    others show in the slices only. `skipped` maps the conditions that could not be evaluated to the reason.
    `best_baseline` is the condition without an adapter that is best by `headline`. `probes`: what the adapter
    does to the base's general abilities; None where it was not asked. `served`: what the alias of the
    skill served when this was evaluated (name, alias, digest, adapter), which is the condition of kind ``served``, or
    ``why`` it could not be asked.
    """

    format: Literal["agentlora.record/1", "agentlora.record/2"] = FORMAT
    task: str
    headline: str
    metrics: tuple[str, ...]
    lower_is_better: tuple[str, ...]
    base: Base
    adapter: str | None
    engine: str
    data: Data
    n: int
    groups: int
    headline_where: dict[str, str] = Field(default_factory=dict)
    n_all: int
    max_tokens: int
    conditions: tuple[ConditionRecord, ...]
    skipped: dict[str, str] = Field(default_factory=dict)
    differences: tuple[DifferenceRecord, ...]
    slice_differences: tuple[SliceDifference, ...] = Field((), exclude_if=_is_empty)
    constraints: tuple[ConstraintRecord, ...] = Field((), exclude_if=_is_empty)
    suites: tuple[SuiteRecord, ...] = Field((), exclude_if=_is_empty)
    best_baseline: str | None
    probes: ProbesRecord | None = Field(None, exclude_if=_is_none)
    served: JSON | None = Field(None, exclude_if=_is_none)
    shots: tuple[JSON, ...] = ()
    provenance: Provenance = Field(default_factory=dict)
    created_at: str
    seed: int | None = Field(None, exclude_if=_is_none)
    decoding: Decoding | None = Field(None, exclude_if=_is_none)
    evaluator: EvaluatorRecord | None = Field(None, exclude_if=_is_none)
    template: str | None = Field(None, exclude_if=_is_none)
    engine_version: str | None = Field(None, exclude_if=_is_none)

    @model_validator(mode="after")
    def _says_all(self) -> Record:
        missing = [name for name in SINCE_2 if getattr(self, name) is None]
        missing += [f"conditions.{c.name}.statuses" for c in self.conditions if c.statuses is None]
        if self.format == FORMAT and missing:
            raise ValueError(f"a record of format {FORMAT!r} says also: {', '.join(missing)}")
        return self

    @property
    def temperature(self) -> float:
        """At which answers were sampled; 0: greedy."""
        return self.decoding.temperature if self.decoding else 0.0

    @property
    def seeds(self) -> int:
        """Answers to every example."""
        return self.decoding.seeds if self.decoding else 1

    @property
    def digest(self) -> str:
        """sha256 (hex) of the record's canonical JSON."""
        return sha256_json(self.to_dict())

    def to_dict(self) -> JSON:
        """As it is written: without what older records lack, where that says nothing, so that their digest stays."""
        return self.model_dump(mode="json")

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
        """Raises EvalError when the file is absent, is no JSON, or is no record of a format that is read."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise EvalError(f"the record {str(path)!r} cannot be read: {exc}") from exc
        except ValidationError as exc:
            raise EvalError(f"{str(path)!r} is no record that can be read: {_reason(exc)}") from exc


def _reason(exc: ValidationError) -> str:
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    if where == "format":
        return (
            f"its format is {first['input']!r}, and this version of agentlora reads {FIRST!r} and {FORMAT!r}. Use a "
            "newer one, or run `agentlora eval` again."
        )
    return f"{where}: {first['msg']}"
