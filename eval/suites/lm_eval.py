"""Tasks of lm-eval (EleutherAI's evaluation harness), through its own API and on its own models.

In process (engine ``transformers``) its `HFLM` gets our loaded model; with a server (engine ``vllm``) its
`local-completions` asks the server's ``/v1/completions`` for the log-probabilities of the prompt's own tokens.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentlora.core.errors import AgentLoraError, ConfigError, EvalError, needs_extra
from agentlora.core.libraries import OFFLINE, prepare_libraries
from agentlora.core.provenance import package_version
from agentlora.core.suite_types import SuiteRequest, SuiteResult, SuiteSample
from agentlora.core.types import JSON

CONCURRENT = 16  # requests to a server at a time
BATCH_SIZE = 8
ROUNDING = 1e-6


class LmEvalSuite:
    """``lm-eval:arc_easy``: a task or group of lm-eval's by name, several with commas, or the path of a task's YAML."""

    def check(self, what: str) -> None:
        """Raises MissingExtra without lm-eval, ConfigError when `what` is empty or a file that is no task's."""
        if not what:
            raise ConfigError(
                "say which of lm-eval's tasks: --suite lm-eval:arc_easy, or a task's YAML file."
            )
        prepare_libraries()
        with needs_extra("suites", "lm-eval's tasks"):
            import lm_eval  # noqa: F401
        for part in _named(what):
            _task_name(part)

    def run(self, request: SuiteRequest) -> SuiteResult:
        """Raises as `check`; ConfigError for an unknown task, for data that is not here, and for an engine of which
        lm-eval can ask no log-probabilities.
        """
        self.check(request.what)
        with _quiet():
            tasks, manager = _tasks(request.what)
            found = {
                name: _evaluate(request, adapter, tasks, manager) for name, adapter in request.systems.items()
            }
        samples = {name: _samples(results) for name, results in found.items()}
        some = next(iter(found.values()))
        metrics = list(
            dict.fromkeys(metric for each in samples.values() for sample in each for metric in sample.scores)
        )
        return SuiteResult(
            library="lm-eval",
            version=package_version("lm-eval") or "unknown",
            metrics=metrics,
            samples=samples,
            lower_is_better=frozenset(_lower(some)),
            reported={name: results["results"] for name, results in found.items()},
            settings={
                "tasks": _named(request.what),
                "limit": request.limit,
                "seed": request.seed,
                "chat_template": False,
                "versions": some.get("versions", {}),
                "num_fewshot": some.get("n-shot", {}),
            },
        )


def _named(what: str) -> list[str]:
    return [part.strip() for part in what.split(",") if part.strip()]


def _task_name(part: str) -> tuple[str, Path | None]:
    """(the task's name, the folder of its file). Raises ConfigError for a file that names no task."""
    path = Path(part).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        return part, None
    try:
        # not parsed: such files may name functions in Python files beside them, which lm-eval runs
        named = re.search(r"^task:\s*[\"']?([^\s\"'#]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the task file {part!r} cannot be read: {exc}") from exc
    if not named:
        raise ConfigError(f"the file {part!r} names no task of lm-eval (a line `task: NAME`).")
    return named[1], path.resolve().parent


def _tasks(what: str) -> tuple[list[str], Any]:
    """(names of tasks, lm-eval's manager, which finds them). Raises ConfigError for one that it does not find."""
    from lm_eval.tasks import TaskManager

    named = [_task_name(part) for part in _named(what)]
    folders = [str(folder) for _, folder in named if folder]
    # reading its own 10,000 task files takes many seconds
    own = len(folders) < len(named)
    manager = TaskManager(include_path=folders or None, include_defaults=own)
    tasks = [name for name, _ in named]
    for task in tasks:
        if not manager.match_tasks([task]):
            raise ConfigError(f"lm-eval has no task {task!r}. `lm-eval ls tasks` lists them all.")
    return tasks, manager


def _evaluate(request: SuiteRequest, adapter: str | None, tasks: Sequence[str], manager: Any) -> JSON:
    """What `lm_eval.simple_evaluate` says of one system."""
    from lm_eval import simple_evaluate

    with _model(request, adapter) as model:
        try:
            results = simple_evaluate(
                model=model,
                tasks=list(tasks),
                limit=request.limit,
                bootstrap_iters=0,  # intervals are ours, by sample
                task_manager=manager,
                random_seed=request.seed,
                numpy_random_seed=request.seed,
                torch_random_seed=request.seed,
                fewshot_random_seed=request.seed,
            )
        except AgentLoraError:
            raise
        except Exception as exc:
            raise _told(exc, tasks) from exc
    if not results or not results.get("samples"):
        raise EvalError(f"lm-eval gave no samples of {', '.join(tasks)}.")
    return dict(results)


def _told(exc: Exception, tasks: Sequence[str]) -> AgentLoraError:
    text = f"{type(exc).__name__}: {exc}"
    if "offline" in text.lower() or "ConnectionError" in text or "LocalEntryNotFound" in text:
        return ConfigError(
            f"the data of lm-eval's {', '.join(tasks)} is not on this machine ({text:.200}). lm-eval fetches it from "
            f"the hub, from which agentlora keeps away unless you say otherwise: {OFFLINE}=0 agentlora eval …"
        )
    return EvalError(f"lm-eval failed on {', '.join(tasks)}: {text}")


@contextmanager
def _model(request: SuiteRequest, adapter: str | None) -> Iterator[Any]:
    """lm-eval's model of one system. Raises ConfigError where the engine has neither weights nor an address."""
    engine: Any = request.engine
    if hasattr(engine, "in_process"):
        from lm_eval.models.huggingface import HFLM

        with engine.in_process(adapter) as (model, tokenizer):
            # a tokenizer of its own: it sets how that pads
            own = copy.deepcopy(tokenizer)
            yield HFLM(pretrained=model, tokenizer=own, backend="causal", batch_size=BATCH_SIZE)
    elif hasattr(engine, "endpoint"):
        from lm_eval.models.openai_completions import LocalCompletionsAPI

        url, name = engine.endpoint(adapter)
        yield LocalCompletionsAPI(
            base_url=f"{url}/completions",
            model=name,
            tokenizer=str(request.base.model_dir),
            tokenizer_backend="huggingface",
            num_concurrent=CONCURRENT,
            max_retries=3,
            # never empty: lm-eval would send the key in OPENAI_API_KEY, which is another server's
            header={"Accept": "application/json", **getattr(engine, "headers", {})},
        )
    else:
        raise ConfigError(
            "lm-eval asks for log-probabilities of given texts, which this engine cannot say. Use --engine "
            "transformers or --engine vllm."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what lm-eval tells while it works; its errors come as exceptions."""
    names = ("lm_eval", "lm-eval", "datasets")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


# --- what it says ---------------------------------------------------------------------------------


def _samples(results: JSON) -> list[SuiteSample]:
    """One sample a document; the scores of several filters (ways to read an answer) are its metrics."""
    merged: dict[str, tuple[dict[str, float | None], str]] = {}
    for task, rows in results["samples"].items():
        means = _means(task, rows, results)
        for row in rows:
            id = f"{task}/{row['doc_id']}"
            scores, _ = merged.setdefault(id, ({}, str(row.get("filtered_resps", ""))[:2000]))
            for metric in row.get("metrics", ()):
                key = _metric(metric, row.get("filter"))
                if key in means:
                    scores[key] = float(row[metric])
    return [SuiteSample(id, scores, text=text) for id, (scores, text) in merged.items()]


def _means(task: str, rows: Sequence[JSON], results: JSON) -> set[str]:
    """The metrics of a task that are the mean of its samples' figures; of others the library's own figure is kept."""
    values: dict[str, list[float]] = {}
    reported: dict[str, Any] = {}
    for row in rows:
        for metric in row.get("metrics", ()):
            key = _metric(metric, row.get("filter"))
            reported[key] = results["results"].get(task, {}).get(f"{metric},{row.get('filter')}")
            values.setdefault(key, []).append(_number(row.get(metric)))
    return {
        key
        for key, found in values.items()
        if isinstance(reported[key], int | float)
        and abs(sum(found) / len(found) - reported[key]) <= ROUNDING * max(1.0, abs(reported[key]))
    }


def _number(value: Any) -> float:
    """NaN of what a library computes its figure from in another way."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _metric(metric: str, filter_name: Any) -> str:
    return metric if filter_name in (None, "none") else f"{metric},{filter_name}"


def _lower(results: JSON) -> Iterator[str]:
    for metrics in results.get("higher_is_better", {}).values():
        yield from (name for name, higher in (metrics or {}).items() if higher is False)
