"""How unlikely a model finds the expected answers, asked of engines that can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from agentlora.core.messages import answer_message
from agentlora.core.types import JSON, Engine, Example, GenerateRequest, Output
from agentlora.eval.conditions import CONSTRAINED, FEW_SHOT, Condition
from agentlora.eval.scorers import render_answer

CANNOT = "this engine cannot say how likely a given answer is: evaluate with --engine transformers"
HELD = "the answer is held to a grammar while it is written, so that the model's own probabilities do not decide it"

NOTHING = "the example expects no answer in particular"


@runtime_checkable
class TellsNats(Protocol):
    """What an engine has that can say how unlikely a given answer is."""

    def answer_nats(self, requests: Sequence[GenerateRequest], answers: Sequence[JSON]) -> list[float | str]:
        """Of each answer (an assistant's message) behind its prompt, the mean over its tokens of their negative
        log-probability in nats, or why there is none.
        """
        ...


def with_nats(
    engine: Engine,
    examples: Sequence[Example],
    condition: Condition,
    requests: Sequence[GenerateRequest],
    outputs: Sequence[Output],
) -> list[Output]:
    """`outputs` with the `Output.nats` of the examples' expected answers, or `no_nats`."""
    found: list[float | str]
    if condition.kind in CONSTRAINED:
        found = [HELD] * len(outputs)
    elif isinstance(engine, TellsNats):
        found = [NOTHING] * len(outputs)
        asked = [i for i, example in enumerate(examples) if not example.expected.empty]
        answers = [_message(examples[i], condition) for i in asked]
        told = engine.answer_nats([requests[i] for i in asked], answers) if asked else []
        for i, one in zip(asked, told, strict=True):
            found[i] = one
    else:
        found = [CANNOT] * len(outputs)
    return [
        replace(output, no_nats=told) if isinstance(told, str) else replace(output, nats=told)
        for output, told in zip(outputs, found, strict=True)
    ]


def _message(example: Example, condition: Condition) -> JSON:
    """The expected answer as the condition's model would write it: in Hermes' text where tools are in the prompt's."""
    if condition.kind in FEW_SHOT:
        return {"role": "assistant", "content": render_answer(example.expected)}
    return answer_message(example.expected)
