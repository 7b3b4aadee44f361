"""What a curve of losses says: the rules by which a training is watched while it runs and diagnosed afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, TypeAlias

from agentlora.core.config import RunConfig

FLAT = 0.97  # of the loss that it began with
LEARNT = 0.02  # nats a token: what is learnt by heart has no more
SPIKE = 3.0  # times the median of the updates around it
WINDOW = 20  # updates
STAYS = 3  # updates that a jump lasts, at least: one alone may be of examples that are unlike the others
RISEN = 1.05  # times the best loss on dev, in two looks one after the other: the sample is always the same

Rows: TypeAlias = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """`problem` is one of not learning, unstable, overfitting, no gradient, out of memory, interrupted, failed, data
    left out.

    `seen` is the evidence, `change` the setting and its new value, `why` what that is expected to do.
    """

    problem: str
    seen: str
    change: str
    why: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.seen}. Change: {self.change}; {self.why}"


def curves(rows: Rows) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(update, loss) of training and of dev, from the rows of a ``metrics.jsonl``; of a training on what the
    model itself wrote none, as its loss says nothing of what was learnt.
    """
    training, dev = (
        [
            (row["step"], float(row[key]))
            for row in rows
            if isinstance(row.get(key), int | float) and "answer_tokens" not in row
        ]
        for key in ("loss", "dev_loss")
    )
    return training, dev


def part_of(updates: int) -> int:
    """How many updates at the beginning, and at the end, are averaged: a tenth."""
    return max(5, updates // 10)


def flat(config: RunConfig, training: Sequence[tuple[int, float]]) -> Iterator[Finding]:
    """The loss is where it began."""
    if len(training) < 10:
        return
    losses, part, rate = [loss for _, loss in training], part_of(len(training)), config.training.lr
    began, ended = fmean(losses[:part]), fmean(losses[-part:])
    if ended > FLAT * began:
        yield Finding(
            "not learning",
            f"the loss was {began:.3g} in the first {part} updates and {ended:.3g} in the last",
            f"training.lr={rate * 3:.2g} (now {rate:g}), or more updates",
            "the adapter moves further in the same time; LoRA takes about ten times the rate of full fine-tuning",
        )


def spikes(config: RunConfig, training: Sequence[tuple[int, float]], since: int = 0) -> Iterator[Finding]:
    """The loss jumped, and above where it began, and stayed there, from an update after the first `since` on."""
    if len(training) < 10:
        return
    losses, rate = [loss for _, loss in training], config.training.lr
    began = fmean(losses[: part_of(len(losses))])
    found = [
        str(training[i][0])
        for i in range(max(WINDOW, since), len(losses) - STAYS + 1)
        if min(losses[i], median(losses[i : i + STAYS])) > max(began, SPIKE * median(losses[i - WINDOW : i]))
    ]
    if found:
        yield Finding(
            "unstable",
            f"the loss jumped above {SPIKE:g} times its surroundings, and above where it began, from update "
            f"{', '.join(found[:5])}",
            f"training.lr={rate / 2:.2g} (now {rate:g})",
            "smaller updates do not throw away what was learnt",
        )


def overfitting(training: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]]) -> Iterator[Finding]:
    """The loss on dev rises since its best look while that of the training falls."""
    if len(dev) < 3:
        return
    best_at, best = min(dev, key=lambda look: look[1])
    looks = [at for at, _ in dev]
    before, since = (
        [loss for at, loss in training if begin < at <= end]
        for begin, end in ((best_at - (looks[-1] - looks[-2]), best_at), (looks[-2], looks[-1]))
    )
    if best_at >= looks[-2] or not (before and since and fmean(since) < fmean(before)):
        return
    if all(loss > RISEN * best for _, loss in dev[-2:]):
        yield Finding(
            "overfitting",
            f"the loss on dev was {best:.3g} at update {best_at} and is {dev[-1][1]:.3g} at update {looks[-1]}, while "
            f"the training's fell from {fmean(before):.3g} to {fmean(since):.3g}",
            f"training.max_steps={best_at}, or more examples",
            "what is learnt after its best update is the examples, and does not carry over to others",
        )


def by_heart(config: RunConfig, training: Sequence[tuple[int, float]]) -> Iterator[Finding]:
    """More than one epoch, and nothing is left to learn of the examples; for a training that had no look at dev."""
    if len(training) < 10 or config.training.epochs <= 1 or config.training.max_steps:
        return
    ended = fmean(loss for _, loss in training[-part_of(len(training)) :])
    if ended < LEARNT:
        yield Finding(
            "overfitting",
            f"the loss is {ended:.2g} after {config.training.epochs:g} epochs: the examples are known by heart",
            "training.epochs=1, or more examples",
            "what is learnt by heart does not carry over to requests that were not seen",
        )


def no_gradient(without: Sequence[str], of: int) -> Finding:
    """Trainable tensors that no gradient reached in the first two updates: LoRA's A has none in the first alone."""
    shown = ", ".join(without[:3]) + (" …" if len(without) > 3 else "")
    return Finding(
        "no gradient",
        f"{len(without)} of {of} trained tensors got no gradient in the first two updates: {shown}",
        "method.params.target to layers that the answer goes through",
        "what gets no gradient stays as it is; a hook or a layer that detaches its output has the same effect",
    )


def judged_at(total_steps: int) -> int:
    """The update after which a flat loss is one: a tenth of the training, at least twenty."""
    return max(20, math.ceil(total_steps / 10))
