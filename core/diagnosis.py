"""What went wrong in a training, from its journal and its metrics alone: a finding, the setting to change, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentlora.core.config import RunConfig
from agentlora.core.findings import Finding, Rows, by_heart, curves, flat, overfitting, spikes
from agentlora.core.oom import Setup, by_holder, in_force, that_needs_less

DROPPED = 0.05  # of the examples


def diagnose(
    config: RunConfig,
    status: str,
    events: Rows,
    rows: Rows,
    kills: int = 0,
    memory: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Findings about a run, the most urgent first; empty when nothing looks wrong.

    Args:
        status: see `Run.status`. events: of its journal. rows: of its ``metrics.jsonl``, the head left out.
        kills: processes that the system ended for lack of memory since the training began.
        memory: bytes that were predicted, by what holds them.
    """
    return [
        *_of_the_end(config, status, events, sum("loss" in row for row in rows), kills, memory),
        *_of_the_gradient(events),
        *_of_the_loss(config, rows),
        *_of_the_data(config, events),
    ]


def _of_the_end(
    config: RunConfig, status: str, events: Rows, steps: int, kills: int, memory: Mapping[str, int] | None
) -> Iterator[Finding]:
    training = config.training
    layout: dict[str, Any] = next((e for e in reversed(events) if e.get("event") == "layout"), {})
    micro = layout.get("micro_batch_size") or training.micro_batch_size or training.batch_size
    told: dict[str, Any] = next((e for e in reversed(events) if "longest" in e), {})
    less = that_needs_less(Setup(training, micro, told.get("longest")))
    stopped = f"the training stopped after {steps} updates without a word"
    if status == "train interrupted" and kills:
        yield Finding(
            "out of memory",
            f"{stopped}, and the system has ended {kills} process(es) for lack of memory since it began; it had "
            f"{in_force(training, micro)}" + (f". {by_holder(memory)}" if memory else ""),
            f"{less}, in a new training",
            "smaller passes need less memory; a resumed training has to keep the passes that it began with",
        )
    elif status == "train interrupted":
        yield Finding(
            "interrupted",
            f"{stopped}: it was killed, or the system's memory ran out (its log says so: dmesg)",
            f"agentlora runs resume; after a lack of memory, anew with {less}",
            "a resumed training ends as one that was never interrupted; smaller passes need less memory",
        )
    elif status == "data interrupted":
        yield Finding(
            "interrupted",
            "its data was begun and is not there, and nothing builds it any more: what did was killed",
            "agentlora runs resume",
            "the data is built anew, the same for the same seed, and the training follows",
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
        named = reason.rpartition("Change ")[2].rstrip(".") if "Change " in reason else less
        yield Finding("out of memory", reason, named, "a forward pass keeps less for the backward pass")
    elif "before the first update" in reason or "the gradient's norm became" in reason:
        yield Finding(
            "unstable",
            reason,
            reason.rpartition("Change ")[2].rstrip("."),
            "what is not finite teaches nothing, however small the steps are",
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


def _of_the_loss(config: RunConfig, rows: Rows) -> Iterator[Finding]:
    training, dev = curves(rows)
    yield from spikes(config, training)
    stuck = list(flat(config, training))
    yield from stuck
    if not stuck:
        yield from overfitting(training, dev) if dev else by_heart(config, training)


def _of_the_gradient(events: Rows) -> Iterator[Finding]:
    """What the training saw of it; nothing else keeps gradients."""
    for event in events:
        if event.get("event") == "warning" and event.get("problem") == "no gradient":
            yield Finding(*(str(event.get(key, "")) for key in ("problem", "seen", "change", "why")))


def _of_the_data(config: RunConfig, events: Rows) -> Iterator[Finding]:
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
