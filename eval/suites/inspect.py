"""Tasks of Inspect AI, through its own API: a model provider that asks our engines, and what its logs say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.errors import ConfigError, EvalError, needs_extra
from agentlora.core.provenance import package_version
from agentlora.core.suite_types import SuiteRequest, SuiteResult, SuiteSample
from agentlora.core.types import JSON, GenerateRequest, Output
from agentlora.eval.calls import parse_answer

if TYPE_CHECKING:
    from inspect_ai.model import Model

CONNECTIONS = 16  # samples that are answered at a time


class InspectSuite:
    """``inspect:tasks.py@name`` or ``inspect:package/name``: a task of Inspect AI. Naming a file runs what is in it."""

    def check(self, what: str) -> None:
        """Raises MissingExtra without Inspect AI, ConfigError when `what` is empty or a file that is not there."""
        if not what:
            raise ConfigError("say which of Inspect's tasks: --suite inspect:tasks.py@name, or package/name.")
        with needs_extra("suites", "Inspect AI's tasks"):
            import inspect_ai  # noqa: F401
        file = what.partition("@")[0]
        if file.endswith(".py") and not Path(file).is_file():
            raise ConfigError(f"there is no file {file!r}, where --suite inspect:{what} looks for tasks.")

    def run(self, request: SuiteRequest) -> SuiteResult:
        """Raises as `check`, and EvalError where Inspect ended with an error; its logs lie in the suite's folder."""
        self.check(request.what)
        logs = {name: _evaluate(request, adapter) for name, adapter in request.systems.items()}
        samples = {
            name: [s for log in some for s in _samples(log, len(some) > 1)] for name, some in logs.items()
        }
        metrics = dict.fromkeys(metric for each in samples.values() for s in each for metric in s.scores)
        first = next(iter(logs.values()))
        return SuiteResult(
            library="inspect-ai",
            version=package_version("inspect-ai") or "unknown",
            metrics=list(metrics),
            samples=samples,
            reported={name: _reported(some) for name, some in logs.items()},
            settings={
                "tasks": [log.eval.task for log in first],
                "task_versions": [str(log.eval.task_version) for log in first],
                "limit": request.limit,
                "seed": request.seed,
                "max_tokens": request.max_tokens,
            },
        )


def model_on(engine: Any, adapter: str | None, name: str, max_tokens: int = 64) -> Model:
    """Inspect's model that asks `engine`; `max_tokens` holds where a task does not say it. Raises MissingExtra."""
    with needs_extra("suites", "Inspect AI's tasks"):
        from inspect_ai.model import (
            ChatCompletionChoice,
            ChatMessageAssistant,
            GenerateConfig,
            Model,
            ModelAPI,
            ModelOutput,
            ModelUsage,
            modelapi,
        )
        from inspect_ai.tool import ToolCall as InspectCall

    import asyncio

    turn = asyncio.Lock()  # a model in this process answers one request at a time

    @modelapi(name="agentlora")
    class Engine(ModelAPI):  # type: ignore[misc]
        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
            request = _request(input, tools, config, adapter, max_tokens)
            if hasattr(engine, "in_process"):
                async with turn:
                    output = (await asyncio.to_thread(engine.generate, [request]))[0]
            else:
                output = (await asyncio.to_thread(engine.generate, [request]))[0]
            if output.error is not None:
                raise RuntimeError(output.error)
            answer = parse_answer(output.text)
            calls = [
                InspectCall(id=f"call_{n}", function=call.name, arguments=dict(call.arguments))
                for n, call in enumerate(answer.calls)
            ]
            message = ChatMessageAssistant(
                content=output.text if answer.malformed else answer.text,
                tool_calls=calls or None,
                model=name,
                source="generate",
                metadata={RAW: output.text},
            )
            return ModelOutput(
                model=name,
                choices=[ChatCompletionChoice(message=message, stop_reason=_stopped(output, bool(calls)))],
                usage=ModelUsage(
                    input_tokens=output.prompt_tokens,
                    output_tokens=output.output_tokens,
                    total_tokens=output.prompt_tokens + output.output_tokens,
                ),
            )

        def max_connections(self) -> int:
            return CONNECTIONS

    return Model(Engine(name), GenerateConfig())


RAW = "agentlora_text"  # in an answer's metadata: the text as the model wrote it, calls included


def _stopped(output: Output, calls: bool) -> Any:
    return "max_tokens" if output.finish_reason == "length" else "tool_calls" if calls else "stop"


def _request(
    messages: Sequence[Any], tools: Sequence[Any], config: Any, adapter: str | None, max_tokens: int
) -> GenerateRequest:
    """Raises ValueError for what engines here take none of."""
    if config.stop_seqs:
        raise ValueError("agentlora's engines know no stop sequences; the task asks for some")
    raw = (config.extra_body or {}).get("tools")  # exactly as they were trained on; see `inspect_tasks`
    offered = raw or [
        {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"options"})}
        for tool in tools
    ]
    return GenerateRequest(
        id="1",
        messages=tuple(_message(message) for message in messages),
        tools=tuple(offered),
        adapter=adapter,
        max_tokens=config.max_tokens or max_tokens,
        temperature=config.temperature or 0.0,
    )


def _message(message: Any) -> JSON:
    parts = message.content if isinstance(message.content, list) else ()
    if odd := next((part.type for part in parts if part.type not in ("text", "reasoning")), None):
        raise ValueError(f"agentlora's engines take text, and the task's message holds {odd!r}")
    said: JSON = {"role": message.role, "content": message.text}
    if getattr(message, "tool_calls", None):
        said["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        said |= {"tool_call_id": message.tool_call_id, "name": message.function}
    return said


def _evaluate(request: SuiteRequest, adapter: str | None) -> list[Any]:
    from inspect_ai import eval as inspect_eval

    name = adapter or "base"
    try:
        logs = inspect_eval(
            request.what,
            model=model_on(request.engine, adapter, name, request.max_tokens),
            limit=request.limit,
            seed=request.seed,
            display="none",
            log_dir=str(request.folder / "inspect-logs"),
            log_level="error",
            fail_on_error=False,
            score_display=False,
        )
    except Exception as exc:
        if type(exc).__name__ == "PrerequisiteError":  # its class for what the user can mend; not exported
            raise ConfigError(f"Inspect AI cannot run {request.what!r}: {exc}") from exc
        raise
    if not logs:
        raise ConfigError(
            f"Inspect AI finds no task {request.what!r}. `inspect list tasks` shows a folder's."
        )
    for log in logs:
        if log.status != "success" or not log.samples:
            why = log.error.message if log.error else log.status
            raise EvalError(f"Inspect AI could not evaluate {log.eval.task!r} on {name!r}: {why}")
    return list(logs)


def _samples(log: Any, several: bool) -> list[SuiteSample]:
    """Samples of an epoch each; those of one id go together."""
    found = []
    for sample in log.samples:
        id = f"{log.eval.task}/{sample.id}" if several else str(sample.id)
        scores = dict(_scores(sample.scores or {}))
        error = sample.error.message if sample.error else None
        if error is None and not scores:
            error = "the task gave it no score"
        text = sample.output.completion if sample.output else ""
        found.append(SuiteSample(f"{id}#{sample.epoch}", scores, id, text[:2000], error))
    return found


def _scores(scores: Any) -> list[tuple[str, float | None]]:
    """(metric, value); of a score with parts each part is one."""
    from inspect_ai.scorer import value_to_float

    number: Callable[[Any], float] = value_to_float()
    found: list[tuple[str, float | None]] = []
    for name, score in scores.items():
        if isinstance(score.value, dict):
            found += [(f"{name}.{part}", number(value)) for part, value in score.value.items()]
        elif not isinstance(score.value, list):
            found.append((name, number(score.value)))
    return [(name, value if value is not None and value - value == 0 else None) for name, value in found]


def _reported(logs: Sequence[Any]) -> JSON:
    return {
        f"{log.eval.task}/{score.name}": {name: metric.value for name, metric in score.metrics.items()}
        for log in logs
        for score in (log.results.scores if log.results else ())
    }
