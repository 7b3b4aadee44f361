"""``agentlora plan``: what a configuration will need, take and be served on, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

from agentlora.core.advice import GB, Advice, Facts, advice
from agentlora.core.config import MethodConfig, RunConfig, TrainingConfig, parse
from agentlora.core.data import build_split
from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.oom import Setup, fitting
from agentlora.core.resolving import served_places
from agentlora.core.teacher import planned
from agentlora.core.types import JSON, Example, Expected, Split

SAMPLE = 4000  # examples that are tokenized; of more, whole groups evenly
FIXED = ("weights", "adapter", "gradients", "optimizer")  # what memory holds for however long a pass


@dataclass(frozen=True, slots=True)
class Plan:
    """`prediction`: see `plugins.trainers.prediction`; `data`: what was looked at; `serving`: where it can run;
    `teacher`: see `agentlora.eval.teaching.Forecast`.
    """

    config: RunConfig
    data: JSON
    prediction: Any
    serving: JSON
    advice: list[Advice]
    teacher: Any = None

    def to_dict(self) -> JSON:
        return {
            "config": self.config.model_dump(mode="json"),
            "data": self.data,
            "prediction": self.prediction.to_dict(),
            "serving": self.serving,
            "advice": [asdict(row) for row in self.advice],
            **({"teacher": asdict(self.teacher)} if self.teacher else {}),
        }


def make_plan(config: RunConfig, plugins: Plugins) -> Plan:
    """Plan a training on this machine: its data is built and partly tokenized, its model only outlined.

    Raises:
        ConfigError: the trainer is none that can be predicted, or there is no such model.
        DataError: no example is left to train on.
    """
    with needs_extra("train", "planning"):
        import datasets  # noqa: F401 - what a training has in memory too
        import torch
        import trl  # noqa: F401
        from transformers import AutoConfig, AutoTokenizer

    from agentlora.core.libraries import best_dtype
    from agentlora.plugins.bases.resolve import outline
    from agentlora.plugins.trainers.loading import is_quantized, refuse_impossible
    from agentlora.plugins.trainers.memory import free_memory_bytes
    from agentlora.plugins.trainers.prediction import dtype_of
    from agentlora.plugins.trainers.rows import no_longer

    trainer = plugins.get("trainers", config.trainer.name)
    if not hasattr(trainer, "predict"):
        raise ConfigError(
            f"trainer {config.trainer.name!r} does not predict what it needs, and so cannot be planned."
        )
    model_dir, template = outline(config.model, plugins, home())
    method = plugins.get("peft_methods", config.method.name)
    params = parse(method.Params, config.method.params, "method.params")
    refuse_impossible(model_dir, config, method, method.load_kwargs(params))
    examples: Sequence[Example] = build_split(config, plugins, "train")
    teacher = None
    if config.teacher.source:
        held_out: tuple[Split, ...] = ("dev", "test")
        splits = {"train": examples, **{split: build_split(config, plugins, split) for split in held_out}}
        teacher = planned(config, plugins, splits)
        examples = [answered(example, config.teacher.max_new_tokens // 2) for example in examples]
    if config.data.replay:
        from agentlora.core.replay import foreseen

        examples = [*examples, *foreseen(config, len(examples))]
    taken = sampled(examples, SAMPLE)
    encoded = trainer.encode(taken, AutoTokenizer.from_pretrained(model_dir), template, config)
    part = len(taken) / len(examples)
    prediction = trainer.predict(model_dir, config, method, params, encoded.items, part=part)

    def needs(of: RunConfig, micro_batch: int) -> dict[str, int]:
        """Bytes beside what the process has already, by what holds them."""
        items = encoded.items
        if of.training.max_len < config.training.max_len:
            items = no_longer(items, of.training.max_len)
        plugin = plugins.get("peft_methods", of.method.name)
        given = parse(plugin.Params, of.method.params, "method.params")
        return dict(
            trainer.predict(
                model_dir, of, plugin, given, items, part=part, micro_batch=micro_batch, process=0
            ).memory
        )

    free = free_memory_bytes()
    longest = min(encoded.longest, config.training.max_len)
    of_model = AutoConfig.from_pretrained(model_dir)
    data = {
        "examples": len(examples),
        "tokenized": len(taken),
        "too_long": round(encoded.too_long / part),
        "longest": encoded.longest,
    }
    facts = Facts(
        card=method.card,
        method=params.model_dump(),
        training=config.training,
        examples=len(examples),
        too_long=data["too_long"],
        longest=encoded.longest,
        updates=prediction.updates,
        trainable=prediction.trainable,
        parameters=prediction.parameters,
        memory=prediction.memory,
        free=free,
        micro_batch=prediction.micro_batch,
        stored_dtype=str(of_model.dtype or torch.float32).removeprefix("torch."),
        dtype=dtype_of(config.training),
        fast_dtype=best_dtype(),
        fitting=lambda: what_fits(
            config, plugins, needs, prediction, free, longest, quantized=is_quantized(model_dir)
        ),
        by_root=hasattr(method, "settings") and bool(method.settings(params).get("use_rslora")),
    )
    serving = {"serve_on": config.serve_on, "can": list(served_places(config, method.card))}
    return Plan(config, data, prediction, serving, advice(facts), teacher)


def what_fits(
    config: RunConfig,
    plugins: Plugins,
    needs: Callable[[RunConfig, int], Mapping[str, int]],
    prediction: Any,
    free: int,
    longest: int,
    *,
    quantized: bool = False,
) -> str:
    """The nearest configuration that is predicted to need no more than `free` bytes: other settings, else another
    method, else a smaller model.

    Args:
        needs: configuration and examples a forward pass → bytes by what holds them. prediction: of `config`.
        longest: tokens of the longest example. quantized: whether the base is stored so.
    """
    least, fixed = 0, _fixed(prediction.memory)
    for name in _leaner_methods(config, plugins, quantized):
        same = name == config.method.name
        of = config if same else config.model_copy(update={"method": _as(name, config, plugins)})

        def of_settings(training: TrainingConfig, micro: int, of: RunConfig = of) -> Mapping[str, int]:
            return needs(of.model_copy(update={"training": training}), micro)

        checkpointing = plugins.get("peft_methods", name).card.checkpointing
        if not same:
            memory = of_settings(of.training, prediction.micro_batch)
            if (needed := sum(memory.values())) <= free:
                return f"--method {name}, which is predicted to need {needed / GB:.2f} GB"
            fixed = _fixed(memory)
        setup = Setup(of.training, prediction.micro_batch, longest if same else None, checkpointing)
        said, least_of = fitting(setup, of_settings, free, fixed)
        if said:
            return said if same else f"--method {name} and {said}"
        least = min(least or least_of, least_of)
    fits = prediction.parameters * free / least
    return (
        f"a --model of at most about {fits / 1e9:.2g} billion parameters: no setting and no method makes one of "
        f"{prediction.parameters / 1e9:.2g} billion fit, which is predicted to need {least / GB:.1f} GB at least"
    )


def _fixed(memory: Mapping[str, int]) -> int:
    return sum(memory.get(part, 0) for part in FIXED)


def _leaner_methods(config: RunConfig, plugins: Plugins, quantized: bool) -> list[str]:
    """The configuration's own, and those that need less and can be had instead, the nearest first."""
    own = config.method.name
    card = plugins.get("peft_methods", own).card
    if card.quantized_base or quantized:
        return [own]
    others = ["qlora"] if find_spec("bitsandbytes") else []
    if "vllm" not in card.serve_on:  # what LoRA trains is served everywhere
        others.insert(0, "lora")
    return [own, *(name for name in others if name != own)]


def _as(name: str, config: RunConfig, plugins: Plugins) -> MethodConfig:
    """Another method with the settings of the configuration's, where it has these."""
    with suppress(ConfigError):
        parse(plugins.get("peft_methods", name).Params, config.method.params)
        return MethodConfig(name=name, params=config.method.params)
    return MethodConfig(name=name)


def answered(example: Example, tokens: int) -> Example:
    """An example with answers of about so many tokens, where nobody has answered it yet: the teacher's, and the base's
    own for those who learn from both.
    """
    expected = Expected(text="so " * tokens) if example.expected.empty else example.expected
    return replace(example, expected=expected, rejected=example.rejected or Expected(text="no " * tokens))


def sampled(examples: Sequence[Example], most: int) -> list[Example]:
    """At most about `most` examples, whole groups of them, evenly."""
    groups: dict[str, list[int]] = {}
    for number, example in enumerate(examples):
        groups.setdefault(example.group or example.id, []).append(number)
    step = max(1, round(len(examples) / most))
    return [examples[number] for members in list(groups.values())[::step] for number in members]
