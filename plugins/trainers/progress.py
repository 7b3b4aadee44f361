"""What training says while it runs: one row of ``metrics.jsonl`` and one event an optimizer step, and the same for
every look at dev."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from agentlora.core import journal
from agentlora.core.errors import TrainError
from agentlora.core.files import write_atomic
from agentlora.core.findings import Finding
from agentlora.core.run import Run
from agentlora.plugins.trainers.dev_loss import DevLoss
from agentlora.plugins.trainers.loss_plot import loss_plot
from agentlora.plugins.trainers.watch import LOOKS, GradientWatch, Watch, refuse_broken_gradient


class StepLog:
    """Counts tokens between steps and writes a row for each; `rows` are all that were written, the head left out.

    ``tokens_per_s`` counts the tokens of the examples, as training them one by one would compute them;
    ``computed_tokens`` is what was really computed in the step, shared prefixes once.
    """

    def __init__(
        self,
        run: Run,
        method: str,
        trainable: int,
        total: int,
        resumed_at: int = 0,
        unit: str = "nats a token",
    ) -> None:
        self.run = run
        self.unit = unit
        self.total_steps = 0
        self._resumed_at = resumed_at
        self._tokens = self._computed = 0
        self._told: dict[str, float] = {}
        self._since = time.monotonic()
        head = {
            "method": method,
            "trainable_parameters": trainable,
            "all_parameters": total,
            "trainable_percent": round(100 * trainable / total, 4),
        }
        # what was done after the checkpoint is done again
        self.rows = [
            row for row in journal.read(run.metrics_file) if row.get("step", 0) in range(1, resumed_at + 1)
        ]
        write_atomic(run.metrics_file, "".join(json.dumps(row) + "\n" for row in [head, *self.rows]))

    def start(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self._watch = Watch(self.run, total_steps, self.rows)
        self._since = time.monotonic()

    def batch(self, tokens: int, computed: int, told: Mapping[str, float] = MappingProxyType({})) -> None:
        """Count a forward pass. `told`: sums over its ``items``, whose means go into the row."""
        self._tokens += tokens
        self._computed += computed
        for name, value in told.items():
            self._told[name] = self._told.get(name, 0.0) + value

    def step(self, number: int, loss: float, lr: float) -> None:
        """Write the row of an optimizer step and tell the run."""
        elapsed = time.monotonic() - self._since
        row = {
            "step": number,
            "loss": loss,
            "lr": lr,
            "tokens_per_s": round(self._tokens / max(elapsed, 1e-9), 1),
            "computed_tokens": self._computed,
            "seconds": round(elapsed, 3),
        }
        if items := self._told.pop("items", 0):
            row |= {name: round(total / items, 6) for name, total in self._told.items()}
        self._told.clear()
        self._tokens = self._computed = 0
        self._append(row)
        self._since = time.monotonic()

    def dev(self, number: int, loss: float) -> None:
        """Write the row of a look at dev after update `number`. The time that it took belongs to no update.

        Raises:
            TrainError: the loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainError(
                f"the loss became {loss} on dev at update {number}. Lower --lr (now {self.run.config.training.lr:g})."
            )
        self._append({"step": number, "dev_loss": loss})
        self._since = time.monotonic()

    def warn(self, finding: Finding) -> None:
        self._watch.warn(finding)

    def ended(self) -> None:
        """Say which update was best on dev."""
        looks = [(row["dev_loss"], row["step"]) for row in self.rows if "dev_loss" in row]
        if looks:
            (best, at), last = min(looks), looks[-1][0]
            message = f"{last:.4g} {self.unit} at the end" + (
                f"; {best:.4g} at update {at} was the best" if best < last else ", its best"
            )
            self.run.note(
                "train", "dev loss", message=f"dev loss {message}", best=best, best_step=at, last=last
            )

    def plot(self) -> None:
        """Draw ``loss.svg`` of what was logged so far."""
        title = f"{self.run.config.task}, {self.run.config.method.name}, {self.run.config.model}"
        rewards, losses, dev = (
            [(row["step"], row[key]) for row in self.rows if key in row]
            for key in ("reward", "loss", "dev_loss")
        )
        if rewards:
            drawn = loss_plot(title, rewards, unit="mean of all answers", what="reward")
        else:
            drawn = loss_plot(title, losses, dev, self.unit)
        if drawn:
            write_atomic(self.run.directory / "loss.svg", drawn)

    def callback(self, model: Any = None, dev: DevLoss | None = None) -> Any:
        """A transformers callback that feeds this log and draws at every checkpoint; with a `model`, it watches its
        gradients and looks at `dev` when it is due.
        """
        from transformers import TrainerCallback

        log = self
        gradients = GradientWatch(model) if model is not None and self._resumed_at < LOOKS else None

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if gradients and (found := gradients.look()):
                    log.warn(found)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                if logs and "grad_norm" in logs:
                    refuse_broken_gradient(log.run.config, float(logs["grad_norm"]), state.global_step)
                if logs and "loss" in logs:
                    log.step(state.global_step, logs["loss"], logs.get("learning_rate", 0.0))
                    # before a checkpoint is written, so that what is resumed has the rows of its looks
                    if dev and dev.due(state.global_step):
                        log.dev(state.global_step, dev(model))

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                log.plot()

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                log.ended()

        return Callback()

    def _append(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self.run.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.run.tell("step", "train", {**row, "total_steps": self.total_steps})
        self._watch.see(row)
