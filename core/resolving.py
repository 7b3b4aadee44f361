"""The whole configuration of a run, from what the user gave: every name looked up, every setting checked, at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from agentlora.core.config import (
    GateConfig,
    MethodConfig,
    RunConfig,
    TrainerConfig,
    all_at_once,
    merge,
    parse,
)
from agentlora.core.errors import ConfigError
from agentlora.core.evaluators import check_evaluators, evaluator_names
from agentlora.core.manager import Plugins
from agentlora.core.presets import overlay_of
from agentlora.core.processes import check_processes
from agentlora.core.types import JSON, MethodCard, ServeOn, Task


def resolve_config(plugins: Plugins, task_name: str, *layers: Mapping[str, Any]) -> RunConfig:
    """The whole configuration of a run: defaults, the task's, its preset, then `layers`, later over earlier.

    Every name is looked up and every plugin's settings are checked here, before anything is made.

    Raises:
        ConfigError: unknown names or keys, or bad values: all of them at once.
    """
    from agentlora.core.beside import beside_of
    from agentlora.core.rewriting import check_rewriter
    from agentlora.core.teacher import named
    from agentlora.plugins.trackers.known import check_trackers

    task = plugins.get("tasks", task_name)
    given = merge({"task": task_name}, *layers)
    overlay: dict[str, Any] = {}
    with suppress(ConfigError):  # an unknown preset is told with everything else, below
        overlay = overlay_of(task, given["preset"]) if isinstance(given.get("preset"), str) else {}
    data = given.get("data")  # what is no mapping is refused below
    if isinstance(data, Mapping) and data.get("builder", task.dataset_builder) != task.dataset_builder:
        # the task's data settings are its own builder's, and mean nothing to another
        overlay = {**overlay, "data": {}}
    raw = _over_usual(merge(task.defaults, overlay, _of_builder(plugins, data)), given, plugins)
    parsed: list[RunConfig] = []
    with all_at_once() as checking:
        checking(lambda: _check_preset(task, given.get("preset")))
        checking(lambda: parsed.append(parse(RunConfig, raw)))
        for kind, name in _names(raw, task):
            # an engine is not imported: its extra may be missing here
            checking(partial(plugins.check if kind == "engines" else plugins.get, kind, name))
        for kind, section, name in (
            ("peft_methods", "method", _section(raw, "method").get("name", MethodConfig().name)),
            ("trainers", "trainer", _section(raw, "trainer").get("name", TrainerConfig().name)),
            ("dataset_builders", "data", _section(raw, "data").get("builder") or task.dataset_builder),
        ):
            checking(partial(_check_params, plugins, kind, section, name, _section(raw, section)))
        for config in parsed:
            for check in check_evaluators(config.eval.evaluators, plugins):
                checking(check)
            checking(partial(beside_of, config.eval.beside))
            checking(partial(check_gate, config.gate, task, plugins))
            checking(partial(_check_method, task, config.method.name))
            checking(partial(check_serving, plugins, config))
            checking(partial(_check_teacher, config))
            checking(partial(check_rewriter, config, plugins))
            checking(partial(check_trackers, config.trackers))
            checking(partial(check_processes, config))
    (config,) = parsed
    if config.task != task_name:
        raise ConfigError(f"the configuration is for task {config.task!r}, the command for {task_name!r}.")
    return named(config)


def _of_builder(plugins: Plugins, data: Any) -> Mapping[str, Any]:
    """What a builder that is named sets if nobody else does (see `DatasetBuilder`); a wrong name is told elsewhere."""
    name = data.get("builder") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name not in plugins.catalog.names("dataset_builders"):
        return {}
    found: Mapping[str, Any] = getattr(plugins.get("dataset_builders", name), "defaults", {})
    return found


def _over_usual(usual: Mapping[str, Any], given: Mapping[str, Any], plugins: Plugins) -> JSON:
    """`given` over what is usual, but for a share of replay that nobody asked for and the trainer cannot learn from,
    and for where something is served that is to become plain LoRA.
    """
    data = _section(usual, "data")
    trainer = _section(merge(usual, given), "trainer").get("name", TrainerConfig().name)
    known = trainer in plugins.catalog.names("trainers")
    if "replay" in data and known and not getattr(plugins.get("trainers", trainer), "imitates", False):
        usual = {**usual, "data": {key: value for key, value in data.items() if key != "replay"}}
    if given.get("convert"):
        usual = {key: value for key, value in usual.items() if key != "serve_on"}
    return merge(usual, given)


def _names(raw: Mapping[str, Any], task: Task) -> Iterator[tuple[str, str]]:
    """(kind, name) of every thing that a configuration names, whether the rest of it can be read or not."""
    yield "evaluators", task.evaluator
    yield from (("evaluators", name) for name in evaluator_names(_section(raw, "eval").get("evaluators")))
    for kind, section, key in (
        ("peft_methods", "method", "name"),
        ("trainers", "trainer", "name"),
        ("dataset_builders", "data", "builder"),
        ("engines", "eval", "engine"),
        ("engines", "teacher", "engine"),
        ("engines", "rewriter", "engine"),
    ):
        name = _section(raw, section).get(key)
        if isinstance(name, str):
            yield kind, name


def _check_preset(task: Task, preset: Any) -> None:
    if preset is not None:
        overlay_of(task, str(preset))


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a configuration, which may be wrong elsewhere; empty when it is no mapping itself."""
    section = raw.get(name)
    return section if isinstance(section, Mapping) else {}


def _check_params(plugins: Plugins, kind: str, where: str, name: Any, section: Mapping[str, Any]) -> None:
    params = section.get("params", {})
    if isinstance(name, str) and isinstance(params, Mapping):  # else the section is refused already
        parse(plugins.get(kind, name).Params, params, f"{where}.params")


def _check_method(task: Task, method: str) -> None:
    if task.methods and method not in task.methods:
        raise ConfigError(
            f"task {task.name!r} cannot use method {method!r}. It takes: {', '.join(sorted(task.methods))}."
        )


def check_gate(config: GateConfig, task: Task, plugins: Plugins) -> None:
    """Raises ConfigError where the gate could not judge by a policy (see `registry.rules.check_policy`)."""
    from agentlora.registry.rules import check_policy

    evaluator = plugins.get("evaluators", task.evaluator)
    check_policy(config, task, evaluator.metrics, getattr(evaluator, "unbounded", ()))


def _check_teacher(config: RunConfig) -> None:
    if config.task == "distillation" and not config.teacher.source:
        raise ConfigError("a distillation needs somebody to learn from: say who with --teacher.")


def check_serving(plugins: Plugins, config: RunConfig) -> None:
    """Raises ConfigError where what is trained cannot be converted, or served, as the configuration wants it."""
    name, card = config.method.name, plugins.get("peft_methods", config.method.name).card
    if config.convert_rank and not config.convert:
        raise ConfigError("convert_rank is the rank that --convert makes, and that is not given.")
    if config.convert and card.to_lora in ("is", "never"):
        why = "is plain LoRA already" if card.to_lora == "is" else "has no form as LoRA"
        raise ConfigError(f"convert: what method {name!r} trains {why}. Leave --convert out.")
    if config.serve_on != "none" and config.serve_on not in served_places(config, card):
        convertible = {
            "exact": ", or convert it with --convert",
            "approximate": ", or convert it with --convert",
        }
        raise ConfigError(
            f"what method {name!r} trains cannot be served on {config.serve_on!r}; it can on: "
            f"{', '.join(card.serve_on)}. Choose with --serve-on{convertible.get(card.to_lora, '')}."
        )


def served_places(config: RunConfig, card: MethodCard) -> tuple[ServeOn, ...]:
    """Where what the run exports runs as it is: what was converted to LoRA, everywhere."""
    return ("vllm", "transformers") if config.convert else card.serve_on


def builder_name(config: RunConfig, task: Task) -> str:
    return config.data.builder or task.dataset_builder
