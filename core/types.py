"""The contracts: what names and describes a skill's parts, and the protocols that plugins fulfil.

Standard library only. The values that travel between stages are in `agentlora.core.values`; they belong to the
contracts and are taken from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from agentlora.core.values import (
    JSON,
    Capabilities,
    ChoiceOutput,
    ChoiceRequest,
    EngineSpec,
    Example,
    Expected,
    GenerateRequest,
    Output,
    Score,
    ToolCall,
    Trace,
    fields_of,
)

if TYPE_CHECKING:
    from agentlora.core.run import Run

METHOD_FILE = "method.json"  # in an export that PEFT cannot load: whose `load` does
Split: TypeAlias = Literal["train", "dev", "test"]
Kind: TypeAlias = Literal["adapter", "model"]  # what a training exports: a model has no need of its base
ServeOn: TypeAlias = Literal["vllm", "transformers", "none"]

__all__ = [
    "JSON",
    "ToolCall",
    "Expected",
    "Example",
    "fields_of",
    "GenerateRequest",
    "Output",
    "ChoiceRequest",
    "ChoiceOutput",
    "Trace",
    "Score",
    "Capabilities",
    "EngineSpec",
    "METHOD_FILE",
    "Split",
    "Kind",
    "ServeOn",
    "BaseIdentity",
    "Base",
    "MethodCard",
    "Task",
    "Decision",
    "RunEvent",
    "DatasetBuilder",
    "Rewords",
    "Evaluator",
    "Method",
    "Trainer",
    "BaseModel",
    "Engine",
    "ScoresChoices",
    "EngineFactory",
    "Router",
]


# --- identity -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BaseIdentity:
    """A base model locked by content: sha256 (hex) of weights, config, tokenizer files and chat template.

    Two directories with the same `digest` are the same base, wherever they lie. `name` is for people.
    """

    name: str
    digest: str
    weights: str
    config: str
    tokenizer: str
    template: str


@dataclass(frozen=True, slots=True)
class Base:
    """A base model made ready: a local directory, its template source and the parser for its calls."""

    name: str
    model_dir: Path
    chat_template: str
    tool_call_parser: str
    identity: BaseIdentity


@dataclass(frozen=True, slots=True)
class MethodCard:
    """What a PEFT method's result can do. The tests prove every field.

    `serve_on` is where its export runs as it is; `to_lora` says whether it converts to plain LoRA. `quantized_base`: it
    quantizes the base itself; `on_quantized`: it trains on a base that somebody has quantized already.
    `checkpointing`: it may be trained with gradient checkpointing.
    """

    serve_on: tuple[ServeOn, ...]
    mergeable: bool = True
    to_lora: Literal["is", "exact", "approximate", "never"] = "is"
    quantized_base: bool = False
    on_quantized: bool = False
    checkpointing: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What a skill learns. Everything is named, so that a plugin's parts and ours mix freely.

    `headline` is the metric that the gate compares; `floor` maps a metric to the least (or, for a metric in
    `lower_is_better`, the greatest) value that any published version must reach. `guards` maps a metric to how much
    worse than what it is compared with a version may be in it (0.02: two points). `presets` are overlays on
    the configuration, keyed by preset name. `headline_where` keeps the figures that decide to the examples
    with these tags (``{"tools": "new"}``: never trained on); the others are reported apart. A record of
    fewer deciding examples than `min_examples` proves too little to be published. `methods`: those that it can be
    trained with; empty: any.
    """

    name: str
    summary: str
    dataset_builder: str
    evaluator: str
    headline: str
    headline_where: Mapping[str, str] = field(default_factory=dict)
    needs_tools: bool = False
    min_examples: int = 50
    floor: Mapping[str, float] = field(default_factory=dict)
    guards: Mapping[str, float] = field(default_factory=dict)
    lower_is_better: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A router's answer: the chosen skill (None: the base), the runner-up, the margin in 0..1, and why."""

    choice: str | None
    runner_up: str | None
    margin: float
    why: str


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened in a run; `kind` is ``stage`` (started, finished, failed), ``step`` or ``note``.

    `directory` is the run's, where its other files say the rest (see `agentlora.core.run`).
    """

    run_id: str
    kind: str
    stage: str
    data: Mapping[str, Any] = field(default_factory=dict)
    directory: Path | None = None


# --- protocols ----------------------------------------------------------------------------------


@runtime_checkable
class DatasetBuilder(Protocol):
    """Makes examples. `Params` is a pydantic model with ``extra="forbid"``; `params` is an instance of it.

    It may have

    - ``defaults``, a part of the configuration that holds where it is named and nobody says otherwise;
    - ``check(params)``, called before a model is looked at: a short look at the source that raises DataError or
      ConfigError where `build` would;
    - ``rewords(params, seed)``, which gives the `Rewords` of its requests;
    - ``evaluators(params)``: entries of ``eval.evaluators`` that judge its examples beside the task's own, whenever a
      run on them is evaluated. They are kept with the run's data, so that nothing of the source is read again.
    """

    Params: ClassVar[Any]

    def build(self, split: Split, params: Any, seed: int) -> Iterator[Example]:
        """Yield the examples of a split: the same ones, in the same order, for the same arguments."""
        ...

    def card(self, params: Any) -> JSON:
        """Say where the data comes from: ``sources`` (name, licence, version) and ``notes``."""
        ...


class Rewords(Protocol):
    """How the requests of a builder are put in other words, and how it is told that they still ask for the same."""

    def takes(self, example: Example) -> bool:
        """Whether its last turn is a request that may be said otherwise."""
        ...

    def prompt(self, example: Example, ways: int) -> str:
        """What somebody is told who is to write `ways` other requests, one a line; empty where nobody could tell
        whether they ask for the same.
        """
        ...

    def problem(self, example: Example, text: str) -> str:
        """Why `text` does not ask for what `example` expects, in few words; empty where it does."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Judges outputs. `metrics` names what `score` returns, in the order in which reports show it.

    It may have

    - ``headline`` (the metric that decides), ``lower_is_better`` and ``unbounded``, sets of metrics; the last are no
      shares of 0 to 1 (seconds, say), which are known by their values too, but not to a gate's margins and floors;
    - ``Params``, a pydantic model with ``extra="forbid"``, and ``configured(params)``, which gives an evaluator with
      these settings; one without them takes none;
    - ``needs_nats = True`` where it reads ``Output.nats``, which an evaluation then asks the engine for;
    - ``begin(examples)``, called once with all of them before anything is answered;
    - ``prepare(pairs)``, called with the (example, output) of some answers before each of them is scored, so that what
      has to be asked elsewhere is asked together;
    - ``facts()``, what a record is told of how it judged, as JSON, asked at the end; where it raises, that
      is what the record is told;
    - ``parse(example, output)``: what it reads in the answer, as a JSON object for the record, or None; else see
      `agentlora.eval.judging.parsed`;
    - ``identity``, text that changes where its judgements could and its source does not (a judging model's name);
    - ``tallies = True`` where ``why`` is alike for answers that fail alike: reports count them by it.
    """

    metrics: Sequence[str]

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer. In an evaluation, whatever it raises or a figure that is not finite leaves the answer
        unscored.
        """
        ...

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold answer that does not score 1, a corruption of it that does."""
        ...


@runtime_checkable
class Method(Protocol):
    """A PEFT method. `Params` is a pydantic model; every setting of the method is a field of it.

    A method may also have

    - ``optimizer(model, params, args)``: an optimizer of its own for a ``transformers.TrainingArguments``, or None for
      the usual one;
    - ``on_optimizer_step(model, step)``: called after every update (counted from 1), before gradients are cleared;
    - ``penalty(model)``: a scalar tensor that is added to the loss of an update, or None;
    - ``load(model_dir, directory, **kwargs)``: a base model's directory and an export's → the model as it was trained;
      needed where PEFT does not load the export. `kwargs` are for ``from_pretrained``;
    - ``state(model)`` and ``restore(model, state)``: tensors by name that a checkpoint has to keep beside the weights.
    """

    card: MethodCard
    Params: ClassVar[Any]

    def load_kwargs(self, params: Any) -> JSON:
        """Keyword arguments for ``from_pretrained`` (quantization, dtype)."""
        ...

    def apply(self, model: Any, params: Any) -> Any:
        """Make `model` trainable the method's way and return it; only the method's parameters get gradients."""
        ...

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        """Write the trained weights as safetensors into `directory`; a model of its own with its ``config.json``."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Fits a method's parameters to examples. `Params` is a pydantic model, as a method's; what is set of it is in
    ``run.config.trainer.params``.

    It may have ``check(config, base, method)``, which raises ConfigError where these cannot go together; it is asked
    before data is built and before weights are read. And ``predict``, which `agentlora plan` asks: see
    `agentlora.plugins.trainers.prediction.predict`, with ``encode``: see `agentlora.plugins.trainers.sft.SFT.encode`.
    And ``answers``, which is False where it learns from prompts alone: examples need no answer then. And ``imitates``,
    which is True where it learns to say what an example expects: only then may `data.replay` add the base's answers.
    """

    Params: ClassVar[Any]

    def fit(self, run: Run, base: Base, method: Method, examples: Sequence[Example]) -> Path:
        """Train and return the directory of the exported adapter. Settings are in ``run.config``.

        A run that was interrupted comes here again: what is in ``run.checkpoints_dir`` may be gone on from.

        Raises:
            TrainError: the loss is not finite, memory ran out, or no token is left to train on.
        """
        ...


@runtime_checkable
class BaseModel(Protocol):
    """Knows how to put a base model into a directory of `home`, once and atomically."""

    def materialise(self, home: Path) -> Base: ...


class Engine(Protocol):
    """Something that generates text. A context manager: leaving it ends everything that it started.

    It decodes greedily, or draws from all tokens at a request's temperature, whatever the model's generation config
    says (`agentlora.core.decoding`), and may say so in ``decoding``, an object for records and the cache's keys.

    It may have an ``identity``: text that changes where, on the same base, its answers could (a version). And
    ``stream(requests)``, an iterator over the outputs as they are there, in any order; what an evaluation has of it is
    kept at once when it is killed, and the engine is never left with less to do than it can. Libraries
    that ask a model in their own way need ``in_process(adapter)``, a context manager of (model, tokenizer), or
    ``endpoint(adapter)``: the address of an OpenAI-compatible API up to and with ``/v1``, and the model's name there.
    ``trace(requests) -> list[Trace]``, as `generate` but token by token, is for `agentlora eval parity`.
    """

    capabilities: Capabilities

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        """Answer every request, in order. A request that fails is an Output with `error`, not an exception."""
        ...

    def add_adapter(self, name: str, directory: Path) -> None:
        """Make the adapter in `directory` usable as `name`; a name never changes its bytes."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class ScoresChoices(Protocol):
    """What an engine with the capability ``choices`` has beside."""

    def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
        """Score every request, in order. One that fails is a ChoiceOutput with `error`, not an exception."""
        ...


@runtime_checkable
class EngineFactory(Protocol):
    """What `register_engines` takes: opens an engine on a model. ``takes_adapters = False`` where it loads none."""

    def open(self, spec: EngineSpec) -> Engine: ...


@runtime_checkable
class Router(Protocol):
    """Chooses who answers. A profile is ``{"skill", "needs_tools", "prompts": […]}``; state is plain JSON."""

    def fit(self, profiles: Sequence[JSON], seed: int = 0) -> JSON: ...

    def route(self, request: Mapping[str, Any], state: JSON) -> Decision:
        """`request` is an OpenAI chat request body; only ``messages`` and ``tools`` are looked at."""
        ...
