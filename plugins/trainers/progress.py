"""What training says while it runs: one row of ``metrics.jsonl`` and one event an optimizer step."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentlora.core.files import write_atomic
from agentlora.core.run import Run
from agentlora.core.types import RunEvent
from agentlora.plugins.trainers.loss_plot import loss_plot


class StepLog:
    """Counts tokens between steps and writes a row for each.

    ``tokens_per_s`` counts the tokens of the examples, as training them one by one would compute them;
    ``computed_tokens`` is what was really computed in the step, shared prefixes once.
    """

    def __init__(self, run: Run, method: str, trainable: int, total: int, resumed_at: int = 0) -> None:
        self.run = run
        self.total_steps = 0
        self._tokens = self._computed = 0
        self._since = time.monotonic()
        head = {
            "method": method,
            "trainable_parameters": trainable,
            "all_parameters": total,
            "trainable_percent": round(100 * trainable / total, 4),
        }
        # what was done after the checkpoint is done again
        rows = [
            head,
            *(row for row in _rows(run.metrics_file) if row.get("step", 0) in range(1, resumed_at + 1)),
        ]
        write_atomic(run.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))

    def start(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self._since = time.monotonic()

    def batch(self, tokens: int, computed: int) -> None:
        """Count a forward pass."""
        self._tokens += tokens
        self._computed += computed

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
        self._tokens = self._computed = 0
        self._since = time.monotonic()
        self._append(row)
        self.run.emit(RunEvent(self.run.id, "step", "train", {**row, "total_steps": self.total_steps}))

    def plot(self) -> None:
        """Draw ``loss.svg`` of what was logged so far."""
        rows = [row for row in _rows(self.run.metrics_file) if "loss" in row]
        title = f"{self.run.config.task}, {self.run.config.method.name}, {self.run.config.model}"
        drawn = loss_plot(title, [row["step"] for row in rows], [row["loss"] for row in rows])
        write_atomic(self.run.directory / "loss.svg", drawn)

    def callback(self) -> Any:
        """A transformers callback that feeds this log, and draws at every checkpoint."""
        from transformers import TrainerCallback

        log = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                if logs and "loss" in logs:
                    log.step(state.global_step, logs["loss"], logs.get("learning_rate", 0.0))

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                log.plot()

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                log.plot()

        return Callback()

    def _append(self, row: dict[str, Any]) -> None:
        with self.run.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _rows(metrics: Path) -> Iterator[dict[str, Any]]:
    """The rows that are whole: a killed training can leave half of one."""
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else ():
        with suppress(ValueError):
            yield json.loads(line)
