"""What travels between the stages: examples, what an engine is asked and answers, scores. All of them are frozen.

Standard library only. Messages and tools are plain dicts in the OpenAI chat format, so that nothing has
to be converted on the way from a data file to a template or a server. `agentlora.core.types` has these names too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

LATER = "accepts"  # came later: it is left out where it is None, so that the digests of older data stay
JSON: TypeAlias = dict[str, Any]


# --- data ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: the tool's name and its arguments as a JSON object."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a correct answer holds: tool calls, or a text, or a JSON value. No calls and no value: plain text."""

    calls: tuple[ToolCall, ...] = ()
    text: str | None = None
    value: Any = None

    @property
    def empty(self) -> bool:
        """Whether there is no answer at all: a prompt that somebody else answers."""
        return not self.calls and self.text is None and self.value is None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Expected:
        calls = tuple(ToolCall(c["name"], c["arguments"]) for c in raw.get("calls") or ())
        return cls(calls=calls, text=raw.get("text"), value=raw.get("value"))


@dataclass(frozen=True, slots=True)
class Example:
    """One request and its correct answer; the same object serves training and evaluation.

    `messages` ends with the turn to be answered. `tools` are in OpenAI function format. Examples with the
    same `group` share one rendered prefix (system prompt and tools) and never straddle two splits.
    `tags` are for reports: builders set at least ``case`` and ``slice``. `schema` is a JSON Schema of the expected
    value; one that says so (`core.xml_values`) of a value that is written as XML: a text is expected then. `accepts`
    says what evaluators take as right beside `expected` (`agentlora.core.accepts`).
    """

    id: str
    messages: tuple[JSON, ...]
    expected: Expected
    tools: tuple[JSON, ...] = ()
    rejected: Expected | None = None
    schema: JSON | None = None
    source: str = ""
    group: str = ""
    weight: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)
    accepts: JSON | None = None

    def to_dict(self) -> JSON:
        return {key: part for key, part in asdict(self).items() if key != LATER or part is not None}

    def to_json(self) -> str:
        # keys stay in their order: it is the order in which a prompt shows a schema's properties
        return json.dumps(fields_of(self), default=fields_of, ensure_ascii=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Example:
        """Raises KeyError or TypeError when a required field is missing or unknown."""
        given = dict(raw)
        rejected = given.get("rejected")
        given["expected"] = Expected.from_dict(given["expected"])
        given["rejected"] = Expected.from_dict(rejected) if rejected else None
        given["messages"] = tuple(given["messages"])
        given["tools"] = tuple(given.get("tools") or ())
        return cls(**given)


def fields_of(value: Any) -> JSON:
    """Of a dataclass, as they are: `asdict` copies all that is in them. Raises TypeError for what else there is."""
    if not is_dataclass(value):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    found = {part.name: getattr(value, part.name) for part in fields(value)}
    if LATER in found and found[LATER] is None:
        del found[LATER]
    return found


# --- generation ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt for an engine.

    `adapter` is a name given to `Engine.add_adapter`, or None for the base model. `json_schema`, where an
    engine's capabilities allow it, constrains the whole answer to a JSON value of that schema; `strict_calls`
    leaves text free and holds the tool calls in it to the schemas of `tools`. `seed` is of the sampling where
    `temperature` is above 0: the same engine then answers the same requests alike.
    """

    id: str
    messages: tuple[JSON, ...]
    tools: tuple[JSON, ...] = ()
    adapter: str | None = None
    max_tokens: int = 64
    temperature: float = 0.0
    json_schema: JSON | None = None
    strict_calls: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What an engine wrote: `text` is the raw completion, tool-call marks included, end-of-turn mark not.

    `latency_s` are the seconds from asking to the whole answer (of a batch: to all of its answers), None where nobody
    measured them or the answer was known from before; outputs that differ in nothing else are equal. `nats`: how
    unlikely the model finds the expected answer, as the mean over its tokens of their negative log-probability; None
    where nobody asked, or could tell: `no_nats` says why then.
    """

    id: str
    text: str
    finish_reason: Literal["stop", "length", "error"] = "stop"
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None
    latency_s: float | None = field(default=None, compare=False)
    nats: float | None = None
    no_nats: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """A prompt and answers that it may have: how likely is each? `adapter` as in `GenerateRequest`."""

    id: str
    messages: tuple[JSON, ...]
    choices: tuple[str, ...]
    tools: tuple[JSON, ...] = ()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceOutput:
    """The natural logarithm of each choice's probability as the beginning of the answer, in their order: the sum over
    its tokens, as the tokenizer writes it alone, without the end of the turn. `error`: there are none.
    """

    id: str
    log_probs: tuple[float, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """An answer token by token; all but `output` is empty where that has an error.

    `prompt_ids` and `ids` are the tokens of prompt and answer (the end of turn too, where there is one). `likeliest`
    has, for every token of the answer, the log-probabilities of the likeliest tokens at its place and of itself.
    """

    output: Output
    prompt_ids: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    likeliest: tuple[Mapping[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value for each name, in 0..1, or None where the metric does not apply to this example.

    `unscored` holds the reason when the output could not be judged at all; unscored is not 0. Where several evaluators
    judge, `unscored_metrics` holds the reasons of those metrics alone that could not be, and `notes` what others than
    the task's own say of the answer, by their names.
    """

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    unscored: str | None = None
    why: str = ""
    unscored_metrics: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def why_unscored(self, metric: str) -> str | None:
        """Why there is no figure of `metric`; None where there is one, or it does not apply."""
        return self.unscored or self.unscored_metrics.get(metric)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do: serve adapters, constrain output to a JSON schema (and calls to their tools'), say how
    likely given answers are (`ScoresChoices`).
    """

    adapters: bool = False
    json_schema: bool = False
    choices: bool = False


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine is opened on. `chat_template` is Jinja source; `options` are the engine's own."""

    model_dir: Path
    chat_template: str
    tool_call_parser: str = "hermes"
    max_len_tokens: int = 2048
    max_lora_rank: int = 16
    options: Mapping[str, Any] = field(default_factory=dict)
