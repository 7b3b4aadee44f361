"""The teacher of a run: who it is, how it is reached, and its answers where the examples' own would be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig, TeacherConfig
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.run import Run, find_run, open_run
from agentlora.core.types import (
    JSON,
    Capabilities,
    Engine,
    EngineSpec,
    Example,
    Expected,
    GenerateRequest,
    Output,
    Split,
)

SAMPLED_AT = 0.7  # temperature of several answers to one prompt, where none is said
PAIRS = ("dpo", "kto")  # trainers that learn from a rejected answer beside the expected one
ADAPTER = "teacher"
TOLD = 5


@dataclass(frozen=True)
class Teacher:
    """Who answers. `identity`: text that changes where its answers could. `adapter`: a skill's, on its base."""

    label: str
    identity: str
    engine: str
    spec: EngineSpec
    adapter: Path | None = None


def find_teacher(config: RunConfig, plugins: Plugins) -> Teacher:
    """The teacher that a configuration names: an endpoint (``http://host/v1#model``), a run, or a base model.

    Raises:
        ConfigError: there is no such run or model, or an endpoint is given without its model.
    """
    from agentlora.core.pipeline import CONTEXT, adapter_digest
    from agentlora.plugins.bases.resolve import resolve_base

    teacher, source = config.teacher, config.teacher.source or ""
    engine = teacher.engine or "vllm"
    if re.match(r"https?://", source):
        url, _, model = source.partition("#")
        if not model:
            raise ConfigError(
                f"--teacher {source}: which model of the endpoint? Write {source}#MODEL "
                f"(GET {url.rstrip('/')}/models lists them)."
            )
        spec = EngineSpec(Path(), "", options={"base_url": url, "model": model, **teacher.options})
        return Teacher(f"{model} at {url}", f"openai {url} {model}", "openai", spec)
    room = max(CONTEXT, config.training.max_len + teacher.max_new_tokens)
    try:
        find_run(source)
    except ConfigError:
        base = resolve_base(source, plugins, home())
        spec = EngineSpec(
            base.model_dir, base.chat_template, base.tool_call_parser, room, options=teacher.options
        )
        return Teacher(base.name, base.identity.digest, engine, spec)
    run = open_run(source)
    base = resolve_base(run.config.model, plugins, home())
    spec = EngineSpec(
        base.model_dir, base.chat_template, base.tool_call_parser, room, rank_of(run), options=teacher.options
    )
    return Teacher(
        f"run {run.id}", f"{base.identity.digest} {adapter_digest(run)}", engine, spec, run.adapter_dir
    )


def rank_of(run: Run) -> int:
    """Of the run's adapter; 16, which every engine takes, where it does not say."""
    from agentlora.core.files import read_json

    file = run.adapter_dir / "adapter_config.json"
    rank = read_json(file).get("r") if file.is_file() else None
    return rank if isinstance(rank, int) and rank > 0 else 16


class _Lazy:
    """An engine that is opened when it is first asked: what is known already costs nothing."""

    capabilities = Capabilities()

    def __init__(self, teacher: Teacher, plugins: Plugins) -> None:
        self._teacher, self._plugins, self._stack = teacher, plugins, ExitStack()
        self._engine: Engine | None = None

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        if self._engine is None:
            factory = self._plugins.get("engines", self._teacher.engine)
            self._engine = self._stack.enter_context(factory.open(self._teacher.spec))
            if self._teacher.adapter is not None:
                self._engine.add_adapter(ADAPTER, self._teacher.adapter)
        return self._engine.generate(requests)

    def add_adapter(self, name: str, directory: Path) -> None:
        raise NotImplementedError

    def __enter__(self) -> _Lazy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def teach(
    run: Run, plugins: Plugins, splits: dict[Split, list[Example]]
) -> tuple[dict[Split, list[Example]], JSON]:
    """`splits` with the teacher's answers: to all of train, and to what dev and test have none for; and what the data
    card says of it. For trainers that learn from pairs, the base's own answers are the rejected ones.

    Raises:
        ConfigError: see `find_teacher`.
        DataError: nothing that can be learnt from was answered.
    """
    from agentlora.eval.teaching import Account, taught

    teacher, config = find_teacher(run.config, plugins), run.config.teacher
    account, limits = Account(), _limits(config)
    found: dict[Split, list[Example]] = {}
    with _Lazy(teacher, plugins) as engine:
        for split, examples in splits.items():
            prompts = [e for e in examples if split == "train" or e.expected.empty]
            answers = _ask(run, teacher, engine, prompts, account, f"teacher {split}")
            asked, answered = set(answers), {e.id: e for e in taught(prompts, answers, account)}
            found[split] = [answered.get(e.id, e) for e in examples if e.id in answered or e.id not in asked]
    facts = {"teacher": teacher.label, **account.to_dict(limits)}
    if splits["train"] and not found["train"]:
        reasons = ", ".join(f"{why} ({n})" for why, n in account.dropped.most_common(TOLD))
        first = f" The first error: {account.first_error}" if account.first_error else ""
        raise DataError(
            f"the teacher {teacher.label!r} gave no answer that can be learnt from: {reasons}.{first}"
        )
    held_out: tuple[Split, ...] = ("dev", "test")
    own = {split: all(not e.expected.empty for e in splits[split]) for split in held_out}
    facts["reference"] = {split: "own" if own[split] else "teacher" for split in held_out}
    if run.config.trainer.name in PAIRS:
        found["train"] = list(_with_rejected(run, plugins, found["train"], facts))
    left_out = sum(account.dropped.values())
    message = f"teacher {teacher.label}: {account.asked:,} asked, {account.known:,} known before, {left_out:,} left out"
    run.note("data", "taught", message=message, **facts)
    return found, {"teacher": facts}


def teacher_answers(run: Run, plugins: Plugins, examples: Sequence[Example]) -> dict[str, Output]:
    """What the teacher of a run says to `examples`, by id; a request that was not asked is an output with an error."""
    from agentlora.eval.teaching import Account

    teacher = find_teacher(run.config, plugins)
    with _Lazy(teacher, plugins) as engine:
        answers = _ask(run, teacher, engine, examples, Account(), "eval teacher")
    nothing = partial(Output, text="", finish_reason="error", error="not asked: the budget is spent")
    return {e.id: answers[e.id][0] if answers[e.id] else nothing(e.id) for e in examples}


def _ask(
    run: Run, teacher: Teacher, engine: _Lazy, examples: Sequence[Example], account: Any, stage: str
) -> dict[str, list[Output]]:
    from agentlora.eval.cache import AnswerCache
    from agentlora.eval.teaching import ask, to_request

    config = run.config.teacher
    samples = 1 if stage.startswith("eval") else config.samples
    adapter = ADAPTER if teacher.adapter is not None else None
    requests = [
        to_request(
            e, adapter=adapter, max_tokens=config.max_new_tokens, temperature=_temperature(config, samples)
        )
        for e in examples
    ]

    def progress(done: int, total: int) -> None:
        run.tell("step", stage, {"step": done, "total_steps": total})

    return ask(
        engine,
        requests,
        teacher=teacher.identity,
        cache=AnswerCache(home() / "cache" / "teachers"),
        account=account,
        limits=_limits(config),
        samples=samples,
        on_progress=progress,
    )


def _with_rejected(run: Run, plugins: Plugins, examples: Sequence[Example], facts: JSON) -> Iterator[Example]:
    """The examples that the base answers otherwise than the teacher, with its answer as the rejected one."""
    from agentlora.eval.teaching import Account

    own = run.config.model_copy(
        update={"teacher": TeacherConfig(source=run.config.model, engine=run.config.teacher.engine)}
    )
    student = find_teacher(own, plugins)
    with _Lazy(student, plugins) as engine:
        answers = _ask(run, student, engine, examples, Account(), "student train")
    kept = 0
    for example in examples:
        said = answers[example.id][0].text if answers[example.id] else ""
        rejected = _rejected(example, said)
        if rejected is not None:
            kept += 1
            yield replace(example, rejected=rejected)
    facts["pairs"] = kept
    if examples and not kept:
        raise DataError(
            "the base model answers every prompt as the teacher does: there is nothing to prefer."
        )


def _rejected(example: Example, said: str) -> Expected | None:
    from agentlora.eval.calls import parse_answer

    answer = parse_answer(said)
    if answer.calls and not answer.malformed:
        return None if answer.calls == example.expected.calls else Expected(calls=answer.calls)
    text = said.strip()
    return Expected(text=text) if text and text != (example.expected.text or "").strip() else None


def _temperature(config: TeacherConfig, samples: int) -> float:
    return config.temperature or (SAMPLED_AT if samples > 1 else 0.0)


def _limits(config: TeacherConfig) -> Any:
    from agentlora.eval.teaching import Limits

    return Limits(config.max_requests, config.max_tokens, config.max_cost, config.price_in, config.price_out)
