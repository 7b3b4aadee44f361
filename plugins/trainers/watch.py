"""Looks at a training while it runs, and warns of what `agentlora runs diagnose` would find afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from agentlora.core import journal
from agentlora.core.config import RunConfig
from agentlora.core.errors import TrainError
from agentlora.core.findings import STAYS, Finding, flat, judged_at, no_gradient, overfitting, spikes
from agentlora.core.run import Run

LOOKS = 2  # LoRA's A has no gradient in the first update, since B is 0 then


class Watch:
    """Warns of each problem once in a run, as a note that the journal keeps.

    Args:
        rows: of ``metrics.jsonl``, that a resumed training begins with.
    """

    def __init__(self, run: Run, total_steps: int, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._run, self._judged_at = run, judged_at(total_steps)
        events = journal.read(run.directory / "journal.jsonl")
        self._told = {event.get("problem") for event in events if event.get("event") == "warning"}
        self._training: list[tuple[int, float]] = []
        self._dev: list[tuple[int, float]] = []
        for row in rows:
            if "answer_tokens" not in row:
                self._add(row)

    def see(self, row: Mapping[str, Any]) -> None:
        """Take the next row, and warn where it shows something."""
        if "answer_tokens" in row:  # its loss says nothing of what is learnt
            return
        self._add(row)
        for finding in self._found(row):
            self.warn(finding)

    def warn(self, finding: Finding) -> None:
        if finding.problem not in self._told:
            self._told.add(finding.problem)
            self._run.note("train", "warning", message=f"warning: {finding}", **asdict(finding))

    def _add(self, row: Mapping[str, Any]) -> None:
        if "dev_loss" in row:
            self._dev.append((row["step"], row["dev_loss"]))
        else:
            self._training.append((row["step"], row["loss"]))

    def _found(self, row: Mapping[str, Any]) -> Iterator[Finding]:
        config, training = self._run.config, self._training
        if "dev_loss" in row:
            yield from overfitting(training, self._dev)
            return
        yield from spikes(config, training, since=len(training) - STAYS)
        if row["step"] == self._judged_at:
            yield from flat(config, training)


def broken_loss(config: RunConfig, loss: float, update: int) -> TrainError:
    """What is told of a loss that is not finite. Before the first update no step has been made: no rate is at fault."""
    if update > 1:
        return TrainError(
            f"the loss became {loss} at update {update}. Lower --lr (now {config.training.lr:g}) or raise --set "
            "training.warmup_ratio."
        )
    return TrainError(
        f"the loss is {loss} before the first update, so that the learning rate is not at fault. Change "
        f"{_of_the_start(config)}."
    )


def refuse_broken_gradient(config: RunConfig, norm: float, update: int) -> None:
    """Raises TrainError where the norm of an update's gradient is not finite: clipped to `training.max_grad_norm`,
    all of it is zero or not a number.
    """
    if math.isfinite(norm):
        return
    change = f"--lr to less (now {config.training.lr:g})" if update > 1 else _of_the_start(config)
    raise TrainError(
        f"the gradient's norm became {norm} at update {update}: nothing can be learnt from it. Change {change}."
    )


def _of_the_start(config: RunConfig) -> str:
    """What can be wrong before anything was learnt."""
    causes = []
    for setting in ("alpha", "scale", "d_initial"):
        if value := config.method.params.get(setting):
            causes.append(
                f"method.params.{setting} to less (now {value:g}), which scales what the method adds"
            )
    if config.training.start_from:
        causes.append("training.start_from, whose adapter may be broken")
    if config.training.dtype != "float32":
        causes.append("training.dtype=float32, which holds larger numbers exactly")
    return ", or ".join(causes) or "--model: its weights may be broken"


class GradientWatch:
    """Finds the trained tensors of `model` that no gradient reaches, in its first `LOOKS` updates."""

    def __init__(self, model: Any) -> None:
        trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
        self._without, self._of, self._looks = trained, len(trained), 0

    def look(self) -> Finding | None:
        """To be called when an update's gradients are there.

        Raises:
            TrainError: none of the tensors got one: nothing would be learnt.
        """
        if self._looks == LOOKS:
            return None
        if self._looks == 0 and all(tensor.grad is None for _, tensor in self._without):
            self._looks = LOOKS  # somebody else keeps the gradients, as DeepSpeed does
            return None
        self._looks += 1
        self._without = [
            (name, tensor) for name, tensor in self._without if tensor.grad is None or not tensor.grad.any()
        ]
        if self._looks < LOOKS or not self._without:
            return None
        found = no_gradient([name for name, _ in self._without], self._of)
        if len(self._without) == self._of:
            raise TrainError(f"nothing would be learnt: {found.seen}. Change {found.change}; {found.why}.")
        return found
