"""Evaluations of a skill on the echo engine, as tests run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval_examples import make_examples
from rich.console import Console

from agentlora.core.types import (
    Example,
    GenerateRequest,
    Output,
)
from agentlora.eval.conditions import (
    default_conditions,
)
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.record import Record
from agentlora.eval.report import terminal_table
from agentlora.eval.runner import Evaluation, evaluate
from agentlora.eval.scorers import ToolCallEvaluator, render_answer

IDENTITY = {"base": {"name": "tiny", "digest": "b" * 64}, "adapter": "sha256:" + "a" * 64, "engine": "echo"}
SHOTS = [dataclasses.replace(e, id=f"train-{e.id}", group="train") for e in make_examples(1)]


class Counting(EchoEngine):
    """An echo engine that remembers what it was asked."""

    def __init__(
        self, answers: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(answers or {}, errors or {})
        self.asked: list[GenerateRequest] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        self.asked += requests
        return super().generate(requests)


def run(engine: EchoEngine, examples: Sequence[Example], tmp_path: Path, **more: Any) -> Evaluation:
    engine.add_adapter("skill", tmp_path)
    settings: dict[str, Any] = {
        "evaluator": ToolCallEvaluator(),
        "task_name": "tool-calling",
        "conditions": default_conditions("skill"),
        "shots": SHOTS,
        "identity": IDENTITY,
    }
    return evaluate(engine=engine, examples=examples, **(settings | more))


def perfect(examples: Sequence[Example]) -> dict[str, str]:
    """Answers of an adapter that is always right, and of a base that always refuses."""
    right = {f"skill/{e.id}": render_answer(e.expected) for e in examples}
    return right | {e.id: "I cannot do that." for e in examples}


def shown(record: Record) -> str:
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal_table(record))
    return capture.get()
