"""What went wrong in a training, from its journal and its metrics alone: a finding, the setting to change, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from agentlora.core.config import RunConfig

FLAT = 0.97  # of the loss that it began with
LEARNT = 0.02  # nats a token: what is learnt by heart has no more
SPIKE = 3.0  # times the median of the updates around it
WINDOW = 20  # updates
DROPPED = 0.05  # of the examples


@dataclass(frozen=True)
class Finding:
    """`problem` is one of not learning, unstable, overfitting, out of memory, interrupted, failed, data left out.

    `seen` is the evidence, `change` the setting and its new value, `why` what that is expected to do.
    """

    problem: str
    seen: str
    change: str
    why: str


def diagnose(
    config: RunConfig, status: str, events: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> list[Finding]:
    """Findings about a run, the most urgent first; empty when nothing looks wrong.

    Args:
        status: see `Run.status`. events: of its journal. rows: of its ``metrics.jsonl``, the head left out.
    """
    steps = [row for row in rows if isinstance(row.get("loss"), int | float)]
    return [
        *_of_the_end(config, status, events, len(steps)),
        *_of_the_loss(config, steps),
        *_of_the_data(config, events),
    ]


def _of_the_end(
    config: RunConfig, status: str, events: Sequence[dict[str, Any]], steps: int
) -> Iterator[Finding]:
    training = config.training
    layout: dict[str, Any] = next((e for e in reversed(events) if e.get("event") == "layout"), {})
    micro = layout.get("micro_batch_size") or training.micro_batch_size or training.batch_size
    smaller = max((m for m in range(1, micro) if training.batch_size % m == 0), default=0)
    half = f"training.micro_batch_size={smaller}" if smaller else "training.max_len lower"
    if status == "train interrupted":
        yield Finding(
            "interrupted",
            f"the training stopped after {steps} updates without a word: it was killed, or the system's memory ran out "
            "(its log says so: dmesg)",
            f"agentlora runs resume; after a lack of memory with --set {half} or --gradient-checkpointing anew",
            "a resumed training ends as one that was never interrupted; smaller passes need less memory",
        )
    failures = [e for e in events if e.get("event") == "failed" and e.get("stage") == "train"]
    if not (failures and status == "train failed"):
        return
    reason = str(failures[-1].get("reason", ""))
    if reason.startswith("KeyboardInterrupt"):
        yield Finding(
            "interrupted",
            f"the training was stopped by hand after {steps} updates",
            "agentlora runs resume",
            "it goes on from the last checkpoint as if it had not been stopped",
        )
    elif "memory" in reason:
        yield Finding(
            "out of memory", reason, f"{half}, or --gradient-checkpointing", "each pass keeps half as much"
        )
    elif "the loss became" in reason:
        yield Finding(
            "unstable",
            reason,
            f"training.lr={training.lr / 3:.1g} (now {training.lr:g}) or training.warmup_ratio=0.1",
            "smaller steps do not leave the region in which the loss is finite",
        )
    else:
        yield Finding("failed", reason, "what the reason names", "the training cannot go on without it")


def _of_the_loss(config: RunConfig, steps: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    if len(steps) < 10:
        return
    losses = [float(row["loss"]) for row in steps]
    part = max(5, len(losses) // 10)
    began, ended = fmean(losses[:part]), fmean(losses[-part:])
    training = config.training
    spikes = [
        steps[i]["step"]
        for i in range(WINDOW, len(losses))
        if losses[i] > SPIKE * median(losses[i - WINDOW : i]) and losses[i] > began
    ]
    if spikes:
        yield Finding(
            "unstable",
            f"the loss jumped above {SPIKE:g} times its surroundings, and above where it began, at update "
            f"{', '.join(map(str, spikes[:5]))}",
            f"training.lr={training.lr / 2:.2g} (now {training.lr:g})",
            "smaller updates do not throw away what was learnt",
        )
    if ended > FLAT * began:
        yield Finding(
            "not learning",
            f"the loss was {began:.3g} in the first {part} updates and {ended:.3g} in the last",
            f"training.lr={training.lr * 3:.2g} (now {training.lr:g}), or more updates",
            "the adapter moves further in the same time; LoRA takes about ten times the rate of full fine-tuning",
        )
    elif ended < LEARNT and training.epochs > 1 and not training.max_steps:
        yield Finding(
            "overfitting",
            f"the loss is {ended:.2g} a token after {training.epochs:g} epochs: the examples are known by heart",
            "training.epochs=1, or more examples",
            "what is learnt by heart does not carry over to requests that were not seen",
        )


def _of_the_data(config: RunConfig, events: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    built: dict[str, Any] = next((e for e in reversed(events) if e.get("event") == "built"), {})
    encoded: dict[str, Any] = next(
        (e for e in reversed(events) if e.get("event") == "data" and "too_long" in e), {}
    )
    dropped, examples = encoded.get("too_long", 0), built.get("train", 0)
    if examples and dropped > DROPPED * examples:
        yield Finding(
            "data left out",
            f"{dropped:,} of {examples:,} examples are longer than {config.training.max_len} tokens",
            f"training.max_len={2 * config.training.max_len} (now {config.training.max_len}), or fewer tools a request",
            "the long ones are then learnt too, at the price of memory and time",
        )
