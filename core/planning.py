"""``agentlora plan``: what a configuration will need, take and be served on, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from agentlora.core.advice import Advice, Facts, advice
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import build_split
from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.resolving import served_places
from agentlora.core.teacher import planned
from agentlora.core.types import JSON, Example, Expected, Split

SAMPLE = 4000  # examples that are tokenized; of more, whole groups evenly


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
    from agentlora.plugins.trainers.memory import free_memory_bytes
    from agentlora.plugins.trainers.prediction import dtype_of

    trainer = plugins.get("trainers", config.trainer.name)
    if not hasattr(trainer, "predict"):
        raise ConfigError(
            f"trainer {config.trainer.name!r} does not predict what it needs, and so cannot be planned."
        )
    model_dir, template = outline(config.model, plugins, home())
    method = plugins.get("peft_methods", config.method.name)
    params = parse(method.Params, config.method.params, "method.params")
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
        free=free_memory_bytes(),
        micro_batch=prediction.micro_batch,
        stored_dtype=str(of_model.dtype or torch.float32).removeprefix("torch."),
        dtype=dtype_of(config.training),
        fast_dtype=best_dtype(),
        by_root=hasattr(method, "settings") and bool(method.settings(params).get("use_rslora")),
    )
    serving = {"serve_on": config.serve_on, "can": list(served_places(config, method.card))}
    return Plan(config, data, prediction, serving, advice(facts), teacher)


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
