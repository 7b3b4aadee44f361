"""The teacher of a run: who it is, how it is reached, and its answers where the examples' own would be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from agentlora.core.config import RunConfig, TeacherConfig
from agentlora.core.data import Splits, needs_answers
from agentlora.core.decoding import neutral
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.files import read_json, sha256_json
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.run import Run, find_run, open_run
from agentlora.core.types import (
    JSON,
    Base,
    Engine,
    EngineSpec,
    Example,
    Expected,
    GenerateRequest,
    Output,
    Split,
)
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value

SAMPLED_AT = 0.7  # temperature of several answers to one prompt, where none is said
PAIRS = ("dpo", "kto")  # trainers that learn from a rejected answer beside the expected one
ADAPTER = "teacher"
TOLD = 5
TOGETHER = 128  # requests that a model on this machine is asked at once: it takes them in batches
MOST_FAILED = 0.5  # of what is asked: above it, there is no point in training on the rest
HELD_OUT_FIRST: tuple[Split, ...] = ("test", "dev", "train")
SILENT = ("api_key_env", "timeout_s", "retries", "concurrency", "url")  # options that change no answer


@dataclass(frozen=True)
class Teacher:
    """Who answers. `identity`: text that changes where its answers could. `adapter`: a skill's, on its base, and
    `served`: its name in an engine, which is another one for other bytes: a server may know the last teacher's still.
    """

    label: str
    identity: str
    engine: str
    spec: EngineSpec
    adapter: Path | None = None
    served: str = ""


def find_teacher(config: RunConfig, plugins: Plugins, role: str = "teacher") -> Teacher:
    """The teacher that a configuration names: an endpoint (``http://host/v1#model``), a run, or a base model.

    Args:
        role: the section where the user has named it, for messages.

    Raises:
        ConfigError: there is no such run or model, or an endpoint is given without its model or with a secret.
    """
    from agentlora.core.evaluating import adapter_digest, engine_for
    from agentlora.plugins.bases.resolve import resolve_base

    teacher, source = config.teacher, config.teacher.source or ""
    if re.match(r"https?://", source):
        return _endpoint(source, teacher, role)
    try:
        find_run(source)
    except ConfigError:
        return _base(config, plugins, source)
    run = open_run(source)
    base = resolve_base(run.config.model, plugins, home())
    method = plugins.get("peft_methods", run.config.method.name)
    engine, digest = teacher.engine or engine_for(run.config, method), adapter_digest(run)
    # "held": as it answers now; freely, as before, it answered otherwise
    return Teacher(
        f"run {run.id}",
        f"{base.identity.digest} {digest} {engine} {_telling(teacher)} {_decoded(base)} held",
        engine,
        _spec(config, base, rank_of(run)),
        run.adapter_dir,
        f"{ADAPTER}@{digest[:12]}",
    )


def _base(config: RunConfig, plugins: Plugins, model: str) -> Teacher:
    """A base model as the teacher."""
    from agentlora.plugins.bases.resolve import resolve_base

    base, engine = resolve_base(model, plugins, home()), config.teacher.engine or "vllm"
    identity = f"{base.identity.digest} {engine} {_telling(config.teacher)} {_decoded(base)}"
    return Teacher(base.name, identity, engine, _spec(config, base))


def _spec(config: RunConfig, base: Base, rank: int = 16) -> EngineSpec:
    """What an engine is opened on, with room for a request and its answer, as far as the model goes."""
    from agentlora.core.evaluating import CONTEXT, at_most

    teacher = config.teacher
    room = at_most(base, max(CONTEXT, config.training.max_len + teacher.max_new_tokens))
    return EngineSpec(
        base.model_dir, base.chat_template, base.tool_call_parser, room, rank, options=teacher.options
    )


def _endpoint(source: str, teacher: TeacherConfig, role: str) -> Teacher:
    if teacher.engine not in (None, "openai"):
        raise ConfigError(
            f"{role}.engine is {teacher.engine!r}, and the {role} is an endpoint: leave it out."
        )
    url, model, spec = endpoint(source, teacher.options, f"--{role}", f"{role}.options")
    return Teacher(f"{model} at {url}", f"openai {url} {model} {_telling(teacher)}", "openai", spec)


def endpoint(
    source: str, options: Mapping[str, Any], where: str, its_options: str
) -> tuple[str, str, EngineSpec]:
    """(address, model, what the engine ``openai`` is opened on) of ``http://host/v1#model``.

    Args:
        where, its_options: the settings, for messages.

    Raises:
        ConfigError: the address is none, lacks the model, or holds a secret.
    """
    url, _, model = source.partition("#")
    if not re.match(r"https?://[^/]", url):
        raise ConfigError(f"{where}: {source!r} is no address. Write http://HOST/v1#MODEL.")
    if "@" in url.split("/")[2] or "?" in url:
        raise ConfigError(
            f"{where}: an address holds no name, key or query. Put the key into the environment, and name its "
            f"variable with --set {its_options}.api_key_env=NAME."
        )
    if not model:
        raise ConfigError(
            f"{where} {source}: which model of the endpoint? Write {source}#MODEL "
            f"(GET {url.rstrip('/')}/models lists them)."
        )
    for name in ("base_url", "model"):
        if name in options:
            raise ConfigError(f"{its_options}.{name}: {where} says it.")
    return url, model, EngineSpec(Path(), "", options={**options, "base_url": url, "model": model})


def _telling(teacher: TeacherConfig) -> str:
    """Those of an engine's options that can change what it answers."""
    return telling(teacher.options)


def _decoded(base: Base) -> str:
    """A digest of how engines write a model's answers."""
    return sha256_json(neutral(base.model_dir))[:12]


def telling(options: Mapping[str, Any]) -> str:
    """A digest of those of an engine's options that can change what it answers."""
    return sha256_json({key: part for key, part in options.items() if key not in SILENT})[:12]


def named(config: RunConfig) -> RunConfig:
    """`config` with the runs that are its teacher and its rewriter, and the one that training starts from, by their
    directories, so that the same are found again, from anywhere.
    """
    changed: dict[str, Any] = {}
    for role in ("teacher", "rewriter"):
        section = getattr(config, role)
        with suppress(ConfigError):  # a model or an endpoint
            if section.source:
                changed[role] = section.model_copy(update={"source": str(find_run(section.source))})
    if config.training.start_from:
        directory = str(find_run(config.training.start_from))
        changed["training"] = config.training.model_copy(update={"start_from": directory})
    return config.model_copy(update=changed)


def rank_of(run: Run) -> int:
    """Of the run's adapter; 16, which every engine takes, where it does not say."""
    file = run.adapter_dir / "adapter_config.json"
    rank = read_json(file).get("r") if file.is_file() else None
    return rank if isinstance(rank, int) and rank > 0 else 16


class _Lazy:
    """Opens a teacher's engine when it is first asked: what is known already costs nothing."""

    def __init__(self, teacher: Teacher, plugins: Plugins) -> None:
        self._teacher, self._plugins, self._stack = teacher, plugins, ExitStack()
        self._engine: Engine | None = None

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        if self._engine is None:
            factory = self._plugins.get("engines", self._teacher.engine)
            self._engine = self._stack.enter_context(factory.open(self._teacher.spec))
            if self._teacher.adapter is not None:
                self._engine.add_adapter(self._teacher.served, self._teacher.adapter)
        if self._teacher.adapter is not None:
            held = self._engine.capabilities.json_schema  # as a skill is served
            requests = [replace(r, adapter=self._teacher.served, strict_calls=held) for r in requests]
        return self._engine.generate(requests)

    def __enter__(self) -> _Lazy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def opened(teacher: Teacher, plugins: Plugins) -> _Lazy:
    """Its engine, which is opened when it is first asked, and closed at the end of ``with``."""
    return _Lazy(teacher, plugins)


def teach(run: Run, plugins: Plugins, splits: Splits) -> tuple[dict[Split, list[Example]], JSON]:
    """`splits` with the teacher's answers: to all of train, unless the trainer learns from prompts alone, and to what
    dev and test have none for; and what the data card says of it. For trainers that learn from pairs, the base's own
    answers are the rejected ones.

    Raises:
        ConfigError: see `find_teacher`.
        EvalError: the teacher refuses, or fails again and again.
        DataError: nothing that can be learnt from was answered, or most of it failed.
    """
    from agentlora.eval.teaching import Account, taught

    teacher, config = find_teacher(run.config, plugins), run.config.teacher
    account, limits = Account(), limits_of(config)
    found: dict[Split, list[Example]] = {}
    left_out: dict[str, int] = {}
    with _Lazy(teacher, plugins) as engine:
        for split in HELD_OUT_FIRST:  # a budget that ends early costs training examples, not the evaluation
            examples = splits.get(split, [])
            prompts, samples = _to_ask(run.config, plugins, split, examples)
            answers = _ask(
                run.config, run, teacher, engine, prompts, account, f"teacher {split}", samples=samples
            )
            asked, answered = set(answers), {e.id: e for e in taught(prompts, answers, account)}
            found[split] = [answered.get(e.id, e) for e in examples if e.id in answered or e.id not in asked]
            left_out[split] = len(examples) - len(found[split])
    _refuse_too_little(teacher, account, bool(splits["train"]), found["train"])
    held_out: tuple[Split, ...] = ("dev", "test")
    own: JSON = {split: all(not e.expected.empty for e in splits[split]) for split in held_out}
    facts = {
        "teacher": teacher.label,
        **account.to_dict(limits),
        "left_out": left_out,
        "reference": {split: "own" if own[split] else "teacher" for split in held_out},
    }
    if run.config.trainer.name in PAIRS:
        found["train"] = list(_with_rejected(run, plugins, found["train"], facts))
    why = ", ".join(f"{reason}: {n:,}" for reason, n in account.dropped.most_common(TOLD))
    message = (
        f"teacher {teacher.label}: {account.asked:,} asked, {account.known:,} known before, "
        f"{sum(left_out.values()):,} left out{f' ({why})' if why else ''}"
    )
    run.note("data", "taught", message=message, **facts)
    return {split: found[split] for split in splits}, {"teacher": facts}


def _to_ask(
    config: RunConfig, plugins: Plugins, split: Split, examples: Sequence[Example]
) -> tuple[list[Example], int]:
    """What of a split the teacher is asked, and how many answers to each."""
    if split == "train":
        return list(examples) if needs_answers(config, plugins) else [], config.teacher.samples
    return [e for e in examples if e.expected.empty], 1


def planned(config: RunConfig, plugins: Plugins, splits: Splits) -> Any:
    """A `Forecast` of what `teach` will ask; what is known already is looked up of an endpoint only. Raises ConfigError
    as `find_teacher`.
    """
    from agentlora.eval.cache import AnswerCache, answer_key
    from agentlora.eval.teaching import Account, forecast
    from agentlora.plugins.bases.resolve import outline

    source, teacher = config.teacher.source or "", None
    if re.match(r"https?://", source):
        teacher = find_teacher(config, plugins)
    else:
        try:
            open_run(source)
        except ConfigError:
            outline(source, plugins, home())
    asked: dict[str, GenerateRequest] = {}
    for split in HELD_OUT_FIRST:
        prompts, samples = _to_ask(config, plugins, split, splits.get(split, []))
        for request in _requests(config.teacher, prompts, samples, None):
            for n in range(samples):
                key = answer_key(teacher.identity if teacher else "", f"sample {n}", request)
                asked.setdefault(key, request)
    known, found = Account(), AnswerCache(home() / "cache" / "teachers").get(asked) if teacher else {}
    for key, output in found.items():
        known.add(asked[key], output, known=True)
    unknown = [request for key, request in asked.items() if key not in found]
    return forecast(teacher.label if teacher else source, unknown, known, limits_of(config.teacher))


def _refuse_too_little(teacher: Teacher, account: Any, wanted: bool, found: list[Example]) -> None:
    reasons = ", ".join(f"{why} ({n})" for why, n in account.dropped.most_common(TOLD))
    first = f" The first error: {account.first_error}" if account.first_error else ""
    if wanted and not found:
        raise DataError(
            f"the teacher {teacher.label!r} gave no answer that can be learnt from: {reasons}.{first}"
        )
    if account.failed > MOST_FAILED * account.asked:
        raise DataError(
            f"{account.failed:,} of {account.asked:,} requests to the teacher {teacher.label!r} failed; what was "
            f"answered is kept: give the same command again when it answers.{first}"
        )


def teacher_answers(run: Run, plugins: Plugins, examples: Sequence[Example]) -> dict[str, Output]:
    """What the teacher of a run says to `examples`, by id; a request that was not asked is an output with an error."""
    from agentlora.eval.teaching import Account

    teacher = find_teacher(run.config, plugins)
    with _Lazy(teacher, plugins) as engine:
        answers = _ask(run.config, run, teacher, engine, examples, Account(), "eval teacher")
    nothing = partial(Output, text="", finish_reason="error", error="not asked: the budget is spent")
    return {e.id: answers[e.id][0] if answers[e.id] else nothing(e.id) for e in examples}


def _ask(
    config: RunConfig,
    run: Run,
    teacher: Teacher,
    engine: _Lazy,
    examples: Sequence[Example],
    account: Any,
    stage: str,
    *,
    samples: int = 1,
    limited: bool = True,
    who: str = "teacher",
) -> dict[str, list[Output]]:
    requests = _requests(config.teacher, examples, samples, ADAPTER if teacher.adapter is not None else None)

    def progress(done: int, total: int) -> None:
        run.tell("step", stage, {"step": done, "total_steps": total})

    return put(
        config.teacher,
        teacher,
        engine,
        requests,
        account,
        progress,
        samples=samples,
        limited=limited,
        who=who,
    )


def put(
    config: TeacherConfig,
    teacher: Teacher,
    engine: _Lazy,
    requests: Sequence[GenerateRequest],
    account: Any,
    on_progress: Callable[[int, int], None] | None,
    *,
    samples: int = 1,
    limited: bool = True,
    who: str = "teacher",
) -> dict[str, list[Output]]:
    """The answers of `teacher` by request id, as `agentlora.eval.teaching.ask` gives and keeps them.

    Args:
        account: counts what is asked; `limited`: and it ends where `config` says.
        who: what to call who answers in a message.
    """
    from agentlora.eval.cache import AnswerCache
    from agentlora.eval.teaching import CHUNK, Limits, ask

    concurrency = teacher.spec.options.get("concurrency") if teacher.engine == "openai" else TOGETHER
    return ask(
        engine.generate,
        requests,
        teacher=teacher.identity,
        cache=AnswerCache(home() / "cache" / "teachers"),
        account=account,
        limits=limits_of(config) if limited else Limits(),
        samples=samples,
        chunk=max(CHUNK, concurrency if isinstance(concurrency, int) else 0),
        on_progress=on_progress,
        who=who,
    )


def _requests(
    config: TeacherConfig, examples: Sequence[Example], samples: int, adapter: str | None
) -> list[GenerateRequest]:
    from agentlora.eval.teaching import to_request

    temperature = config.temperature or (SAMPLED_AT if samples > 1 else 0.0)
    return [
        to_request(e, adapter=adapter, max_tokens=config.max_new_tokens, temperature=temperature)
        for e in examples
    ]


AsksBase: TypeAlias = Callable[[Sequence[Example]], dict[str, list[Output]]]


@contextmanager
def asked_base(run: Run, plugins: Plugins, stage: str, **how: Any) -> Iterator[AsksBase]:
    """A function that tells what the run's own base model says to examples, by id; of what was answered before, nothing
    is asked again. Its engine is opened once.

    Args:
        stage: what progress is reported for.
        how: of `TeacherConfig`, what is other than the run's teacher has it.

    Raises:
        ConfigError: there is no such model.
        EvalError: when called, that the engine fails again and again.
    """
    from agentlora.eval.teaching import Account

    own: JSON = {"options": {}, "engine": run.config.eval.engine, **how}
    config = run.config.model_copy(update={"teacher": run.config.teacher.model_copy(update=own)})
    base = _base(config, plugins, run.config.model)
    with _Lazy(base, plugins) as engine:
        yield lambda examples: _ask(
            config, run, base, engine, examples, Account(), stage, limited=False, who="base model"
        )


def _with_rejected(run: Run, plugins: Plugins, examples: Sequence[Example], facts: JSON) -> Iterator[Example]:
    """The examples that the base answers otherwise than the teacher, with its answer as the rejected one."""
    with asked_base(run, plugins, "student train") as ask:
        answers = ask(examples)
    failed = [o.error for found in answers.values() for o in found if o.error is not None]
    kept = 0
    for example in examples:
        said = answers[example.id][0].text if answers[example.id] else ""
        rejected = _rejected(example, said)
        if rejected is not None:
            kept += 1
            yield replace(example, rejected=rejected)
    facts["pairs"] = kept
    if examples and not kept:
        why = f"its answers failed: {failed[0]}" if failed else "it answers every prompt as the teacher does"
        raise DataError(f"there is no rejected answer of the base model: {why}.")


def _rejected(example: Example, said: str) -> Expected | None:
    """What the base said, unless it is what is expected or nothing."""
    from agentlora.eval.calls import MISSING, canonical, parse_answer, parse_value, unfenced

    text, expected = said.strip(), example.expected
    if expected.value is not None:
        value = parse_value(text)
        same = value is not MISSING and canonical(value) == canonical(expected.value)
        return Expected(text=text) if text and not same else None
    if in_xml(example.schema):
        return Expected(text=text) if text and not _same_document(example, unfenced(text, "xml")) else None
    answer = parse_answer(said)
    if answer.calls and not answer.malformed:
        return None if answer.calls == expected.calls else Expected(calls=answer.calls)
    return Expected(text=text) if text and text != (expected.text or "").strip() else None


def _same_document(example: Example, text: str) -> bool:
    """Whether an answer in XML says what is expected, in whatever layout."""
    schema: JSON = example.schema or {}
    try:
        said = parse_xml(text.strip())
        wanted = parse_xml(example.expected.text or "")
    except ValueError:
        return False
    return not problems_of(schema, said) and bool(read_value(schema, said) == read_value(schema, wanted))


def limits_of(config: TeacherConfig) -> Any:
    """The budget of a teacher, as `agentlora.eval.teaching.Limits`."""
    from agentlora.eval.teaching import Limits

    return Limits(config.max_requests, config.max_tokens, config.max_cost, config.price_in, config.price_out)
