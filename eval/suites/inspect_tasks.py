"""A run's data and evaluator as a task of Inspect AI, for its own command (the entry point ``inspect_ai``):

    inspect eval agentlora/skill -T run=last --model openai-api/agentlora/tool-calling \
        --model-base-url http://HOST/v1
    inspect eval agentlora/skill -T data=examples.jsonl -T evaluator=tool-calls --model …

Any model of Inspect's can be asked. Tools go into the request as the data has them (Inspect's own description of tools
knows fewer keywords), so that a skill sees the prompt that it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolCall

from agentlora.core.errors import ConfigError, DataError
from agentlora.core.examples import evenly
from agentlora.core.manager import default_plugins
from agentlora.core.messages import api_messages
from agentlora.core.run import open_run
from agentlora.core.types import Example, Output
from agentlora.eval.calls import render_block
from agentlora.eval.scorers import render_answer
from agentlora.eval.suites.inspect import RAW

EXAMPLE = "example"  # in a sample's metadata


@task  # type: ignore[untyped-decorator]
def skill(
    run: str = "",
    data: str = "",
    evaluator: str = "",
    limit: int | None = None,
    max_tokens: int = 64,
) -> Task:
    """What a run is judged by: its dev examples, or those of a file, and its task's evaluator.

    Args:
        run: id or directory of a run, or ``last``; its dev split is asked. (Its test split is read by `agentlora eval`
            alone, which counts how often.)
        data: a JSONL file of examples, in the form of a run's ``data/dev.jsonl``, instead.
        evaluator: its name; default: the run's task's.
        limit: examples, taken evenly.
        max_tokens: new tokens an answer may have.

    Raises:
        ConfigError: neither or both of `run` and `data`, or data without an evaluator.
    """
    if bool(run) == bool(data):
        raise ConfigError("give -T run=RUN or -T data=FILE.jsonl, one of them.")
    if data and not evaluator:
        raise ConfigError("data of a file needs -T evaluator=NAME, such as tool-calls.")
    plugins = default_plugins()
    if run:
        opened = open_run(run)
        examples = list(opened.examples("dev"))
        evaluator = evaluator or plugins.get("tasks", opened.config.task).evaluator
    else:
        examples = _read(Path(data))
    plugins.get("evaluators", evaluator)  # an unknown name is told now
    chosen = evenly(examples)[:limit] if limit else examples
    return Task(
        dataset=MemoryDataset([_sample(example) for example in chosen], name=run or Path(data).stem),
        solver=ask(max_tokens),
        scorer=judged(evaluator),
    )


@solver  # type: ignore[untyped-decorator]
def ask(max_tokens: int = 64) -> Solver:
    """Ask the model once; calls are not carried out."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        example = Example.from_dict(json.loads(state.metadata[EXAMPLE]))
        config = GenerateConfig(max_tokens=max_tokens, temperature=0.0)
        if example.tools:
            config = config.merge(GenerateConfig(extra_body={"tools": list(example.tools)}))
        state.output = await get_model().generate(state.messages, config=config)
        state.messages.append(state.output.message)
        return state

    return solve


@scorer(metrics={"*": [mean(), stderr()]})  # type: ignore[untyped-decorator]
def judged(evaluator: str) -> Scorer:
    """Every metric of one of our evaluators."""
    judge = default_plugins().get("evaluators", evaluator)

    async def score(state: TaskState, target: Target) -> Score:
        example = Example.from_dict(json.loads(state.metadata[EXAMPLE]))
        text = _text(state)
        finish: Literal["length", "stop"] = "length" if state.output.stop_reason == "max_tokens" else "stop"
        found = judge.score(example, Output(example.id, text, finish_reason=finish))
        nothing = float("nan")  # what Inspect takes for unscored
        values = {
            name: nothing if found.unscored or (value := found.metrics.get(name)) is None else float(value)
            for name in judge.metrics
        }
        return Score(value=values, answer=text, explanation=found.unscored or found.why)

    return score


def _text(state: TaskState) -> str:
    """The answer as our evaluators read it: text, and calls in Hermes' format."""
    message = state.output.message
    raw = (message.metadata or {}).get(RAW)
    if isinstance(raw, str):
        return raw
    # arguments that were no JSON stay as they came: the call then cannot be read, which is the truth
    calls = [render_block(c.function, _arguments(c)) for c in message.tool_calls or ()]
    return "\n".join(part for part in (message.text, *calls) if part)


def _arguments(call: ToolCall) -> Mapping[str, Any] | str:
    return str(call.arguments) if call.parse_error else call.arguments


def _sample(example: Example) -> Sample:
    return Sample(
        input=[_chat(message) for message in api_messages(example.messages)],
        target=render_answer(example.expected),
        id=example.id,
        metadata={EXAMPLE: example.to_json()},
    )


def _chat(message: Mapping[str, Any]) -> ChatMessage:
    text = str(message.get("content") or "")
    if message["role"] == "system":
        return ChatMessageSystem(content=text)
    if message["role"] == "user":
        return ChatMessageUser(content=text)
    if message["role"] == "tool":
        return ChatMessageTool(
            content=text, tool_call_id=message.get("tool_call_id"), function=message.get("name")
        )
    calls = [
        ToolCall(
            id=str(call.get("id", n)),
            function=call["function"]["name"],
            arguments=json.loads(call["function"]["arguments"]),
        )
        for n, call in enumerate(message.get("tool_calls") or ())
    ]
    return ChatMessageAssistant(content=text, tool_calls=calls or None)


def _read(path: Path) -> list[Example]:
    """Raises DataError that names the file and the line."""
    examples = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    examples.append(Example.from_dict(json.loads(line)))
                except (ValueError, KeyError, TypeError) as exc:
                    raise DataError(f"{str(path)!r}, line {number}, is no example: {exc!r}") from exc
    except OSError as exc:
        raise ConfigError(f"the examples {str(path)!r} cannot be read: {exc}") from exc
    if not examples:
        raise ConfigError(f"{str(path)!r} holds no example.")
    return examples
