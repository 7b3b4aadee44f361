"""The loss on a fixed sample of dev, looked at while training goes on and without disturbing it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import DataError
from agentlora.core.run import Run
from agentlora.core.types import Base
from agentlora.plugins.trainers.layout import forward_passes
from agentlora.plugins.trainers.objectives import Objective, counted
from agentlora.plugins.trainers.rows import Item

EVALUATIONS = 10  # in a training, where nothing else is said
TRAINED_BETWEEN = (
    4  # examples trained for one of dev: a forward pass is a third of a step, so dev takes a twelfth
)


def dev_sample(run: Run, tokenizer: Any, base: Base, objective: Objective) -> tuple[Item, ...]:
    """`training.eval_examples` items of the run's dev split, whole groups as far as possible; none where there is no
    dev data, where none of it fits `max_len`, or where `eval_steps` is 0.
    """
    training = run.config.training
    if training.eval_steps == 0 or not (run.directory / "data" / "dev.jsonl").is_file():
        return ()
    examples = run.examples("dev")
    groups: dict[str, list[int]] = {}
    for number, example in enumerate(examples):
        if objective.usable(example):
            groups.setdefault(example.group or example.id, []).append(number)
    order = list(groups.values())
    random.Random(run.config.seed).shuffle(order)
    numbers = islice((number for members in order for number in members), training.eval_examples)
    chosen = [examples[number] for number in numbers]
    if not chosen:
        return ()
    try:
        return tuple(objective.encode(chosen, tokenizer, base.chat_template, training.max_len).items)
    except DataError as exc:
        run.note("train", "no dev loss", message=f"no loss on dev: {exc}")
        return ()


def steps_between(training: TrainingConfig, total_steps: int, items: int) -> int:
    """Updates from one evaluation of so many items to the next."""
    if training.eval_steps:
        return training.eval_steps
    return max(math.ceil(total_steps / EVALUATIONS), math.ceil(TRAINED_BETWEEN * items / training.batch_size))


class DevLoss:
    """Computes the loss of a model on `items` (≥ 1) whenever it is due.

    Args:
        micro_batch_size: items a forward pass, as many as the training's own.
        sharing: whether `model` takes the shared-prefix layout.
        autocast: makes the context in which the model computes.
    """

    def __init__(
        self,
        objective: Objective,
        items: Sequence[Item],
        every: int,
        total_steps: int,
        micro_batch_size: int,
        sharing: bool,
        pad_id: int,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._objective = objective
        self._passes = [[items[i] for i in members] for members in forward_passes(items, micro_batch_size)]
        self._every, self._total_steps = every, total_steps
        self._sharing, self._pad_id, self._autocast = sharing, pad_id, autocast

    def due(self, step: int) -> bool:
        return step % self._every == 0 or step == self._total_steps

    def __call__(self, model: Any) -> float:
        """The objective's loss, weighted as in training, without dropout. Modes and random states stay as they were.

        Raises:
            TrainError: the loss is not finite.
        """
        import torch
        from accelerate.utils import send_to_device

        total, count = 0.0, 0
        with undisturbed(model), torch.no_grad(), self._autocast():
            for items in self._passes:
                tensors = self._objective.tensors(items, self._sharing, self._pad_id)
                batch = send_to_device(tensors, model.device)
                total += float(self._objective.loss(model, batch, 1)[0])
                count += counted(batch)
        return total / count


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Within it, `model` is in evaluation mode; afterwards every module is in its own mode again, and the random states
    are what they were.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
