"""Strict configuration: unknown keys are refused with the nearest match, all errors are told at once.

Layers, later over earlier: defaults, the task's defaults, its preset, ``--config FILE``, options, ``--set``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agentlora.core.errors import ConfigError, nearest
from agentlora.core.types import JSON, ServeOn


class Strict(BaseModel):
    """A frozen section that refuses keys it does not know. Base class for plugins' `Params` too."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # one among `params` must not become null on its way to run.json
    )


class MethodConfig(Strict):
    name: str = "lora"
    params: dict[str, Any] = {}
    """The method's own settings."""


class TrainerConfig(Strict):
    name: str = "sft"
    params: dict[str, Any] = {}
    """The trainer's own settings."""


class DataConfig(Strict):
    builder: str | None = None
    """Dataset builder; the task's own when not given."""
    params: dict[str, Any] = {}
    """The builder's own settings."""
    replay: float = Field(0.0, ge=0, lt=1)
    """Of the training examples, how many are general requests with the base's own answers (rehearsal): less is
    unlearnt of what the base can do beside the task.
    """


class AskedConfig(Strict):
    """Somebody who is asked while data is built, and how much."""

    source: str | None = None
    """An OpenAI-compatible endpoint and its model (``http://host/v1#model``), a run, or a base model."""
    engine: str | None = None
    """What a model on this machine answers with; vllm when not given."""
    options: dict[str, Any] = {}
    """The engine's own: api_key_env, concurrency, timeout_s, retries, …"""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens that an answer may have; what is cut off is not learnt."""
    temperature: float = Field(0.0, ge=0, le=2)
    """0: greedy, or 0.7 where there are several samples."""
    max_requests: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    """Of prompts and answers together."""
    max_cost: float | None = Field(None, gt=0)
    price_in: float = Field(0.0, ge=0)
    """Of a million tokens of prompts, in the currency of max_cost."""
    price_out: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost is not None and not (self.price_in or self.price_out):
            raise ValueError("max_cost needs price_in and price_out: what a million tokens cost")
        return self


class TeacherConfig(AskedConfig):
    """Who answers the training prompts in place of the data; nobody unless `source` is given."""

    samples: int = Field(1, ge=1, le=32)
    """Answers to a prompt; of several, one is learnt that more than half of them agree on."""


class RewriterConfig(AskedConfig):
    """Who says generated training requests in other words; nobody unless `source` is given."""

    share: float = Field(0.5, gt=0, le=1)
    """Of the training requests, how many it is asked about."""
    ways: int = Field(1, ge=1, le=8)
    """In how many ways each is said; those that ask for the same stand in place of the generated request."""


Order: TypeAlias = Literal["shuffled", "easy-first"]


class TrainingConfig(Strict):
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate. About ten times that of full fine-tuning ("LoRA Without Regret")."""
    batch_size: int = Field(16, ge=1)
    """Examples an optimizer step."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Examples a forward pass; chosen from the free memory when not given."""
    grad_accum: int | None = Field(None, ge=1)
    """Forward passes an optimizer step; follows from batch_size when not given."""
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps; overrides epochs."""
    max_len: int = Field(1024, ge=16)
    """Tokens an example; a longer one is dropped, counted and told."""
    start_from: str = ""
    """A run whose adapter is trained on (id, directory, or ``last``): same base, method, rank and layers. Empty: from
    the base model."""
    order: Order = "shuffled"
    """In which order the examples of an epoch come. easy-first: one tool and what it requires at first, long lists of
    tools, several calls and steps at last, in every epoch; a training that ends within the first one (max_steps, epochs
    below 1) never sees the hard ones."""
    warmup_ratio: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen base; auto: bfloat16 on a GPU and on a CPU that has instructions for it, float32 on other CPUs."""
    shared_prefix: bool = True
    """Compute the prefix that the examples of a group share once; same loss and gradients."""
    attention: Literal["auto", "eager", "sdpa", "flex"] = "auto"
    """How attention is computed. auto: over shared prefixes without what is masked, by the fastest way that is exact
    for the model (on a GPU torch's FlexAttention where it works); eager, sdpa: the model's own, under a dense mask;
    flex: FlexAttention or nothing, which needs a GPU."""
    optimizer: Literal["auto", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"] = "auto"
    """auto: the method's own, or AdamW. 8bit: AdamW with its states in a byte each. paged: states move to the memory of
    the CPU where the GPU's is full; needs a GPU. All but auto are bitsandbytes'."""
    activation_offloading: bool = False
    """Keep what the backward pass needs in the memory of the CPU; needs a GPU."""
    save_steps: int = Field(100, ge=1)
    eval_steps: int | None = Field(None, ge=0)
    """Updates between two looks at the loss on dev; the last update always has one. A tenth of the training when not
    given, or more where it is so short that looking would take a good part of it; 0: none."""
    eval_examples: int = Field(64, ge=1)
    """Examples of dev that are looked at: whole groups, the same ones every time."""

    @model_validator(mode="after")
    def _whole_batches(self) -> TrainingConfig:
        given = (self.micro_batch_size or 1) * (self.grad_accum or 1)
        if self.batch_size % given or (
            self.micro_batch_size and self.grad_accum and given != self.batch_size
        ):
            raise ValueError(
                f"batch_size is {self.batch_size}, the examples of an update; micro_batch_size and grad_accum "
                "must divide it, and multiply to it when both are given"
            )
        return self


class EvaluatorConfig(Strict):
    """An evaluator beside the task's own, or settings of that one."""

    name: str
    label: str | None = Field(None, pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")
    """What its metrics begin with (``label.metric``), so that one can judge twice; its name when not given."""
    params: dict[str, Any] = {}
    """The evaluator's own settings."""

    @property
    def called(self) -> str:
        return self.label or self.name


class BesideConfig(Strict):
    """A model of somebody's endpoint, which answers beside what is evaluated."""

    endpoint: str
    """An OpenAI-compatible endpoint and its model (``http://host/v1#MODEL``)."""
    label: str | None = Field(None, min_length=1, max_length=40)
    """What tables and reports call it; the model's name when not given."""
    options: dict[str, Any] = {}
    """The engine openai's: api_key_env (the name of the variable that holds the key), concurrency, timeout_s, …"""


class EvalConfig(Strict):
    engine: str | None = None
    """vllm, transformers or another engine; when not given, the one that will serve (see serve_on)."""
    limit: int | None = Field(None, ge=1)
    """Examples of the test split; all when not given."""
    max_new_tokens: int = Field(64, ge=1)
    constrained: bool = False
    """Evaluate the adapter with and without a grammar: its values held to their schema too, or its calls written freely
    too where they are held to their tools. The second way is shown beside the first, and decides nothing."""
    probes: int | Literal["all"] = "all"
    """How many of the general-ability probes are asked, evenly from their areas; 0: none."""

    @field_validator("probes", mode="before")
    @classmethod
    def _counted(cls, probes: Any) -> Any:
        if probes == "all" or (type(probes) is int and probes >= 0):
            return probes
        raise ValueError("give a number of probes, all, or 0 for none")

    evaluators: list[EvaluatorConfig] = []
    """Who judges answers beside the task's own evaluator, which stays first and decides: names, or name and params."""

    @field_validator("evaluators", mode="before")
    @classmethod
    def _named(cls, evaluators: Any) -> Any:
        """Their names alone will do."""
        if not isinstance(evaluators, list):
            return evaluators
        return [{"name": entry} if isinstance(entry, str) else entry for entry in evaluators]

    beside: list[BesideConfig] = []
    """Endpoints that answer too, such as what is used today: addresses, or address, label and options. They are shown
    beside the others, and are no baselines."""

    @field_validator("beside", mode="before")
    @classmethod
    def _addressed(cls, beside: Any) -> Any:
        """Their addresses alone will do."""
        if not isinstance(beside, list):
            return beside
        return [{"endpoint": entry} if isinstance(entry, str) else entry for entry in beside]

    temperature: float = Field(0.0, ge=0, le=2)
    """0: greedy, one answer that is always the same."""
    seeds: int = Field(1, ge=1, le=100)
    """Answers to every example, sampled at `temperature`; intervals count them as what they are worth."""

    @model_validator(mode="after")
    def _sampled(self) -> EvalConfig:
        if self.seeds > 1 and not self.temperature:
            raise ValueError(
                f"seeds is {self.seeds} and temperature 0, at which all answers to an example are the same; set "
                "eval.temperature"
            )
        return self


Undecided: TypeAlias = Literal["fail", "estimate", "pass"]
Against: TypeAlias = Literal["best-baseline", "served", "base"]


class GateRule(Strict):
    """How a metric may differ from what it is compared with. What is not given is as the default policy has it."""

    margin: float | None = None
    """By how much it may be worse: of a share (0.02: two points) between -1 and 1, of another metric in its own unit;
    0: it must be better; below 0: by more than that."""
    undecided: Undecided | None = None
    """What becomes of a difference whose interval holds the margin. fail; estimate: the difference itself is held
    against the margin; pass."""
    against: tuple[Against, ...] | None = Field(None, min_length=1)
    """What is compared: the best baseline, what the alias serves today, the base as it is."""


class GateConfig(Strict):
    """What a version must show before it is published; see docs/evaluation.md."""

    rules: dict[str, GateRule | None] = {}
    """By metric (``headline``: the task's own), over the default policy's; null takes a rule away."""
    floors: dict[str, float] = {}
    """By metric, over the task's: the least value, or the greatest where less is better; of a share from 0 to 1."""
    served: bool = True
    """Whether rules compare with what the alias serves today; false where a version need not replace it."""


class RunConfig(Strict):
    """One run, whole. ``agentlora config schema`` prints its JSON Schema."""

    task: str
    preset: str | None = None
    model: str = "smollm2-135m"
    method: MethodConfig = MethodConfig()
    trainer: TrainerConfig = TrainerConfig()
    data: DataConfig = DataConfig()
    teacher: TeacherConfig = TeacherConfig()
    rewriter: RewriterConfig = RewriterConfig()
    training: TrainingConfig = TrainingConfig()
    eval: EvalConfig = EvalConfig()
    gate: GateConfig = GateConfig()
    serve_on: ServeOn = "vllm"
    convert: bool = False
    """Turn what the method trains into plain LoRA at the end of the training: what is evaluated and served then."""
    convert_rank: int | None = Field(None, ge=1, le=512)
    """Rank of every layer of it; the least that is exact when not given."""
    trackers: list[str] = []
    """Where the run is shown as well: mlflow, tensorboard, trackio, wandb; each has to be installed."""
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator("trainer", mode="before")
    @classmethod
    def _named(cls, trainer: Any) -> Any:
        """Its name alone says it too, as in runs that were made before trainers had settings."""
        return {"name": trainer} if isinstance(trainer, str) else trainer


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], raw: Mapping[str, Any], where: str = "") -> M:
    """Validate `raw` against a pydantic model.

    Raises:
        ConfigError: with one line for every problem; `where` prefixes the keys.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as exc:
        lines = [_explain(model, error, where) for error in exc.errors()]
        raise ConfigError("the configuration is wrong:\n" + "\n".join(f"  {line}" for line in lines)) from exc


def _explain(model: type[BaseModel], error: Any, where: str) -> str:
    path = [str(part) for part in error["loc"]]
    key = ".".join(([where] if where else []) + path)
    if error["type"] == "extra_forbidden":
        siblings = _fields_at(model, path[:-1])
        there_is = f"There is: {', '.join(sorted(siblings))}." if siblings else "There are no settings."
        return f"{key}: unknown key.{nearest(path[-1], siblings)} {there_is}"
    if error["type"] == "missing":
        return f"{key}: is required"
    said = error["msg"].removeprefix("Value error, ")
    # what a check of a whole section refuses is said by the check; the section itself would only be noise
    return f"{key or 'settings'}: {said}" + (
        "" if isinstance(error["input"], Mapping) else f", not {error['input']!r}"
    )


def _fields_at(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    current: Any = model
    for part in path:
        if hasattr(current, "model_fields"):
            field = current.model_fields.get(part)
            current = field.annotation if field is not None else None
        else:  # a number in a list of sections, or any key of a mapping of them
            sections = (arg for value in get_args(current) for arg in (value, *get_args(value)))
            current = next((section for section in sections if hasattr(section, "model_fields")), None)
    fields = getattr(current, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def merge(*layers: Mapping[str, Any]) -> JSON:
    """Deep-merge configurations, later over earlier; lists and scalars are replaced whole. ``trainer: dpo`` is written
    out, so that another layer can add its settings.
    """
    return _merge(*({**layer, **_trainer_section(layer)} for layer in layers))


def _trainer_section(layer: Mapping[str, Any]) -> JSON:
    name = layer.get("trainer")
    return {"trainer": {"name": name}} if isinstance(name, str) else {}


def _merge(*layers: Mapping[str, Any]) -> JSON:
    result: JSON = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            nested = isinstance(value, Mapping) and isinstance(old, Mapping)
            result[key] = _merge(old, value) if nested and isinstance(old, Mapping) else value
    return result


def read_yaml(path: Path) -> JSON:
    """A YAML file's mapping.

    Raises:
        ConfigError: no such file, not YAML (with line and column), or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot read {str(path)!r}: {exc.strerror}. Give an existing YAML file.") from exc
    except ValueError as exc:
        raise ConfigError(f"{str(path)!r} is not valid YAML: {exc}. Save it as UTF-8 text.") from exc
    raw = parse_yaml(text, repr(str(path)))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{str(path)!r} must hold a mapping of settings, not a {type(raw).__name__}.")
    return raw


def parse_sets(assignments: Iterable[str]) -> JSON:
    """``["training.lr=2e-4", …]`` as a nested mapping; values are YAML.

    Raises:
        ConfigError: an assignment without ``=`` or with an empty key, or a value that is not YAML.
    """
    parsed: list[JSON] = []

    def keep(assignment: str) -> None:
        parsed.append(_parse_set(assignment))

    with all_at_once() as checking:
        for assignment in assignments:
            checking(partial(keep, assignment))
    return merge(*parsed)


def _parse_set(assignment: str) -> JSON:
    key, equals, text = assignment.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {assignment!r}: write section.key=value, for example training.lr=2e-4.")
    value = parse_yaml(text, f"--set {assignment!r}: the value")
    if isinstance(value, str):
        value = _number(value)  # YAML 1.1 reads 2e-4 as a string
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def parse_yaml(text: str, what: str) -> Any:
    """A YAML text's value. Raises ConfigError that begins with `what` the text is."""
    import yaml

    try:
        return yaml.load(text, Loader=_unique_keys())
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problem = ", ".join(filter(None, (exc.context, exc.problem)))
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{what} is not valid YAML: {problem}{where}. Mend it there.") from exc
    except Exception as exc:  # beside its own errors: ValueError for 2024-13-45, KeyError for !!bool maybe, …
        where = str(exc).replace("\n", " ")
        raise ConfigError(
            f"{what} is not valid YAML: {where}. Put the value into quotes if it is a text."
        ) from exc


@cache
def _unique_keys() -> Any:
    """PyYAML's safe loader, but a key that a mapping has twice is an error: the first of them would be lost."""
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            scalars = [key for key, _ in getattr(node, "value", ()) if isinstance(key, yaml.ScalarNode)]
            seen: set[tuple[str, str]] = set()
            for key in scalars:
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        "while reading a mapping",
                        node.start_mark,
                        f"found {key.value!r} twice",
                        key.start_mark,
                    )
                seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    return UniqueKeys


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


@contextmanager
def all_at_once() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Collect the ConfigErrors of several checks and raise them as one.

    Yields a function that runs a check and keeps what it raises; checks that find the same say it once.
    """
    problems: dict[str, None] = {}

    def checking(check: Callable[[], Any]) -> None:
        try:
            check()
        except ConfigError as exc:
            problems[str(exc)] = None

    yield checking
    if problems:
        raise ConfigError("\n".join(problems))
