"""A sample: what one condition answered to one example, and how it was judged. One JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentlora.core.errors import EvalError
from agentlora.core.files import write_jsonl
from agentlora.core.types import JSON

SAMPLE_FORMAT: Final = "agentlora.sample/1"
Status = Literal["scored", "unscored", "errored"]
STATUSES: Final[tuple[Status, ...]] = ("scored", "unscored", "errored")


class Asked(BaseModel):
    """The example's own turns and tools, as they are before a condition puts them its way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: list[JSON]
    tools: list[JSON]


class Sample(BaseModel):
    """One answer.

    `scored`: the answer was judged; `unscored`: it is there, and the evaluator could not judge it (`unscored` says
    why); `errored`: there is none, since the engine failed or took too long (`error` says why). Neither of the last
    two is a score of 0.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )

    format: Literal["agentlora.sample/1"] = SAMPLE_FORMAT
    id: str = Field(description="The example's.")
    condition: str = Field(description="The name of the record's condition that answered.")
    status: Status
    example_digest: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="sha256 of the example's JSON: the question and the right answer.",
    )
    prompt_digest: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="sha256 of the JSON of what the engine was given: messages, tools, json_schema, strict_calls.",
    )
    text: str = Field(description="The raw completion, marks of tool calls included.")
    parsed: JSON | None = Field(
        description="What was read from the text, as far as it is more than a text: {calls, text, malformed} where "
        "tools are offered, {value} where a value is asked for. None: nothing, or nothing readable."
    )
    scores: dict[str, float | None] = Field(
        description="By metric; null where it says nothing about the example."
    )
    why: str = Field(description="The first thing that is wrong, in words; empty where nothing is.")
    unscored: str | None
    unscored_metrics: dict[str, str] = Field(
        default_factory=dict, description="By metric: why it alone says nothing of the answer."
    )
    notes: dict[str, str] = Field(
        default_factory=dict,
        description="What evaluators beside the task's own say of the answer, by their names.",
    )
    error: str | None
    finish_reason: str = Field(description="stop, length (cut off at the limit of new tokens) or error.")
    prompt_tokens: int
    output_tokens: int
    latency_s: float | None = Field(
        description="Seconds from asking to the whole answer; null where the engine does not tell or was not asked."
    )
    nats: float | None = Field(
        None,
        description="How unlikely the model finds the expected answer, a token; null where nobody asked.",
    )
    cached: bool = Field(description="The answer was known from an earlier evaluation and was not asked for.")
    problems: list[JSON] = Field(
        default_factory=list,
        description="What does not fit its schema: keyword, path and more (docs/evaluation.md, Schema compliance).",
    )
    group: str
    tags: dict[str, str]
    expected: JSON = Field(description="The right answer: calls, text, value.")
    request: Asked


def save_samples(path: Path, samples: Iterable[JSON]) -> None:
    """One JSON object a line, whole or not at all."""
    write_jsonl(path, samples)


def load_samples(path: Path) -> Iterator[JSON]:
    """The samples of a file. Those that were written before samples said their format have a `status` too, and None for
    what they do not say.

    Raises:
        EvalError: a line is not JSON, or a sample of a format that this version cannot read; it is named.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                raw = json.loads(line)
            except ValueError as exc:
                raise EvalError(f"{str(path)!r}, line {number}, is not JSON: {exc}") from exc
            if not isinstance(raw, dict):
                raise EvalError(f"{str(path)!r}, line {number}, is no sample but a {type(raw).__name__}.")
            if raw.get("format", SAMPLE_FORMAT) != SAMPLE_FORMAT:
                raise EvalError(
                    f"{str(path)!r}, line {number}, is a sample of format {raw['format']!r}, and this version of "
                    f"agentlora reads {SAMPLE_FORMAT!r}. Use a newer one, or run `agentlora eval` again."
                )
            yield raw if "format" in raw else _completed(raw)


def _completed(raw: JSON) -> JSON:
    unsaid = dict.fromkeys(("example_digest", "prompt_digest", "parsed", "latency_s"))
    return {"status": status_of(raw), **unsaid, **raw}


def status_of(sample: Mapping[str, Any]) -> Status:
    """By its reasons: an error comes before any judgement."""
    if sample.get("error") is not None:
        return "errored"
    return "scored" if sample.get("unscored") is None else "unscored"
