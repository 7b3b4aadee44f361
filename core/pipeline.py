"""The main line: build → train → evaluate. Each stage reads files and writes files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core import journal
from agentlora.core.config import RunConfig
from agentlora.core.data import build_data, card_of, needs_answers, split_digest
from agentlora.core.errors import AgentLoraError, ConfigError, TrainError, boundary, needs_extra
from agentlora.core.examples import evenly
from agentlora.core.files import read_json, sha256_bytes, sha256_json, write_atomic
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.messages import answer_message
from agentlora.core.oom import oom_kills
from agentlora.core.processes import check_processes, follow_first, process_index, start_others, together
from agentlora.core.resolving import served_places
from agentlora.core.run import Run
from agentlora.core.types import (
    Base,
    EngineSpec,
    Example,
    Expected,
    Method,
    Split,
    ToolCall,
)
from agentlora.core.xml_values import in_xml

CONTEXT = 2048  # tokens that an engine has room for at least
SHOTS = 3  # worked examples before a request


def check_training(config: RunConfig, plugins: Plugins) -> None:
    """Make the base model ready, and find what can be found before anything is built or loaded.

    Raises:
        ConfigError: there is no such model, or the trainer or the method cannot take it.
    """
    from agentlora.plugins.bases.resolve import resolve_base

    base = resolve_base(config.model, plugins, home())
    if plugins.get("tasks", config.task).needs_tools and base.tool_call_parser == "hermes":
        refuse_foreign_calls(base)
    if config.teacher.source:
        from agentlora.core.teacher import find_teacher

        find_teacher(config, plugins)
    trainer = plugins.get("trainers", config.trainer.name)
    if hasattr(trainer, "check"):
        with boundary(TrainError, f"trainer {config.trainer.name!r}"):
            trainer.check(config, base, plugins.get("peft_methods", config.method.name))


def refuse_foreign_calls(base: Base) -> None:
    """Raises ConfigError when the base's template writes tool calls that are read nowhere here: what is trained would
    score and serve as text.
    """
    from agentlora.core.libraries import prepare_libraries, tokenizer_of
    from agentlora.eval.calls import parse_answer

    prepare_libraries()
    call = ToolCall("look_up", {"word": "sea"})
    schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    function = {"name": "look_up", "description": "Looks a word up.", "parameters": schema}
    asked = [{"role": "user", "content": "What is the sea?"}]
    tokenizer = tokenizer_of(base)
    render = partial(
        tokenizer.apply_chat_template,
        tools=[{"type": "function", "function": function}],
        chat_template=base.chat_template,
        tokenize=False,
    )
    found: tuple[ToolCall, ...] = ()
    with suppress(Exception):  # a template may refuse what its own format does not have
        prompt = str(render(asked, add_generation_prompt=True))
        answer = str(render([*asked, answer_message(Expected(calls=(call,)))])).removeprefix(prompt)
        found = parse_answer(answer).calls[-1:]
    if found != (call,):
        raise ConfigError(
            f"the chat template of base model {base.name!r} does not write a tool call as JSON between <tool_call> and "
            "</tool_call> (Hermes' format), and no other is read. Choose a --model of that format (Qwen, Hermes, "
            "SmolLM2), or put such a template as chat_template.jinja into its directory."
        )


def build(run: Run, plugins: Plugins) -> dict[str, Any]:
    """Build the run's data, with its teacher's answers where it has one; returns the card. Raises as `build_data`, and
    as `core.teacher.teach`.
    """
    from agentlora.core.teacher import teach

    return build_data(run, plugins, partial(teach, run, plugins) if run.config.teacher.source else None)


def look_at_rows(base: Base, examples: Sequence[Example], pairs: bool = False) -> None:
    """Raises DataError where what would be trained is not what the examples, or their `pairs` of answers, say (see
    `plugins.trainers.xray`).
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.eval.calls import parse_answer
    from agentlora.plugins.trainers.xray import refuse_wrong_rows

    prepare_libraries()
    with needs_extra("train", "training"):
        from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    refuse_wrong_rows(examples, tokenizer, base.chat_template, parse_answer, pairs)


def train(run: Run, plugins: Plugins) -> Path:
    """Fit the method to ``data/train.jsonl``, from the last whole checkpoint on where there is one; returns the
    adapter's directory.

    Raises:
        ConfigError: another process trains this run, or its base model is not the one that it began with.
        TrainError: the trainer failed.
    """
    from agentlora.core.provenance import device
    from agentlora.core.teacher import PAIRS
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.trackers.known import check_trackers

    check_trackers(run.config.trackers)
    check_processes(run.config)
    with run.alone(), run.stage("train"):
        base = resolve_base(run.config.model, plugins, home())
        method: Method = plugins.get("peft_methods", run.config.method.name)
        if run.facts().get("base"):
            refuse_another_base(run, base)
        run.add_facts(base=base_facts(base), oom_kills=oom_kills())
        trainer = plugins.get("trainers", run.config.trainer.name)
        examples = run.examples("train")
        if not process_index():
            if base.tool_call_parser == "hermes" and needs_answers(run.config, plugins):
                look_at_rows(base, examples, run.config.trainer.name in PAIRS)
            start_others(run)
        with together(), boundary(TrainError, f"trainer {run.config.trainer.name!r}"):
            directory: Path = trainer.fit(run, base, method, examples)
        # the GPU is known once torch is loaded
        made_with = {**run.facts().get("provenance", {}), "device": device()}
        run.add_facts(adapter_digest=directory_digest(directory), provenance=made_with)
    return directory


def train_along(plugins: Plugins) -> None:
    """In another process than a training's first: train what that trains. Raises as `train`."""
    with follow_first() as run:
        train(run, plugins)


def resume(run: Run, plugins: Plugins) -> Path:
    """Train an interrupted run to its end: its data is built if it is not there, and trained from the last whole
    checkpoint on.

    Raises:
        ConfigError: the run has an adapter already; else as `train`.
    """
    if run.adapter_dir.is_dir():
        raise ConfigError(f"run {run.id!r} is trained. Next: agentlora eval {run.id}")
    if run.facts().get("composition"):
        raise ConfigError(
            f"run {run.id!r} was being composed when it was ended, and nothing in it is trained. Remove it with "
            "`agentlora runs rm`, and compose again."
        )
    if not (run.directory / "data" / "card.json").is_file():
        build(run, plugins)
    return train(run, plugins)


def base_facts(base: Base) -> dict[str, Any]:
    """What ``run.json`` and the skill card say of a base model."""
    return {
        **asdict(base.identity),
        "tool_call_parser": base.tool_call_parser,
        "template_digest": sha256_bytes(base.chat_template.encode()),
    }


def directory_digest(directory: Path) -> str:
    """sha256 over the names and contents of a directory's files."""
    from agentlora.core.files import sha256_file

    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return sha256_json([[str(path.relative_to(directory)), sha256_file(path)] for path in files])


def evaluate(
    run: Run,
    plugins: Plugins,
    *,
    engine_name: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Put the run's adapter and the baselines to the examples of a split; returns the `Record`.

    Writes ``eval/record.json``, ``samples.jsonl``, ``report.html`` and ``report.md`` (for dev: ``eval-dev/``).
    Reading test is counted, across runs, by the digest of its examples, when it begins.

    Raises:
        ConfigError: the run has no adapter, the split is empty, fewer examples would replace a test record of more, or
            another process trains or evaluates this run.
        EvalError: (nearly) no request to the adapter, or to the base, could be answered and judged.
    """
    from agentlora.core.provenance import provenance
    from agentlora.core.teacher import rank_of
    from agentlora.eval.conditions import Condition, choose_shots, default_conditions
    from agentlora.eval.runner import AnswerCache, evaluate
    from agentlora.plugins.bases.resolve import resolve_base

    config = run.config
    method: Method = plugins.get("peft_methods", config.method.name)
    name = engine_name or config.eval.engine or engine_for(config, method)
    task = plugins.get("tasks", config.task)
    evaluator = plugins.get("evaluators", task.evaluator)
    factory = plugins.get("engines", name)
    if not getattr(factory, "takes_adapters", True):
        raise ConfigError(
            f"the engine {name!r} takes no adapter, and the run's is what is to be evaluated. Choose another --engine."
        )
    whole = run.examples(split)
    if split_digest(whole) != card_of(run).get("digest", {}).get(split):
        raise ConfigError(
            f"data/{split}.jsonl of run {run.id!r} is not what data/card.json says that it was. Bring it back, or "
            "train again."
        )
    examples = take(whole, limit or config.eval.limit)
    if not examples:
        raise ConfigError(
            f"split {split!r} of run {run.id!r} is empty; there is nothing to evaluate. "
            "Train on more different rows (ten or more), or name another --split."
        )
    digest = adapter_digest(run)
    if split == "test":
        _refuse_smaller_record(run, digest, len(examples))
    with run.alone(), run.stage("eval"):
        base = resolve_base(config.model, plugins, home())
        refuse_another_base(run, base)
        given = _teachers(run, plugins, examples, split)
        served_as = f"{run.id.lower()}@{digest[:12]}"
        spec = EngineSpec(
            base.model_dir,
            base.chat_template,
            base.tool_call_parser,
            max_len_tokens=context_of(base, config),
            max_lora_rank=rank_of(run),
            options=dict(options or {}),
        )

        def progress(condition: str, done: int, total: int) -> None:
            run.tell("step", f"eval {condition}", {"step": done, "total_steps": total})

        with factory.open(spec) as engine:
            engine.add_adapter(served_as, run.adapter_dir)
            values = any(e.schema and not e.tools and not in_xml(e.schema) for e in examples)
            conditions = default_conditions(served_as, strict=engine.capabilities.json_schema, values=values)
            conditions += tuple(Condition(name, "given") for name in given)
            if split == "test":
                _count_reading(run)  # before it begins: a reading that is killed was one
            record, samples = evaluate(
                engine=engine,
                evaluator=evaluator,
                task_name=task.name,
                examples=examples,
                conditions=conditions,
                given=given,
                shots=choose_shots(evenly(run.examples("train"))),
                max_tokens=config.eval.max_new_tokens,
                cache=AnswerCache(home() / "cache"),
                identity={
                    "base": base_facts(base),
                    "adapter": digest,
                    "engine": name,
                    "data": _data_facts(run, split),
                    "provenance": provenance(config.seed),
                },
                on_progress=progress,
                headline=task.headline,
                headline_where=task.headline_where,
                lower_is_better=task.lower_is_better,
                seed=config.seed,
            )
        _write_evaluation(run.directory / eval_folder(split), record, samples)
        run.note("eval", "recorded", record=record.digest, split=split, figures=figures_of(record))
    return record


def _teachers(run: Run, plugins: Plugins, examples: Sequence[Example], split: Split) -> dict[str, Any]:
    """What the teacher answers, by name of the condition; nothing where its answers are the expected ones."""
    reference = (card_of(run).get("teacher") or {}).get("reference") or {}
    if not run.config.teacher.source or reference.get(split) != "own":
        return {}
    from agentlora.core.teacher import teacher_answers

    try:
        return {"teacher": teacher_answers(run, plugins, examples)}
    except AgentLoraError as exc:  # it is shown beside the others, and decides nothing
        run.note("eval", "no teacher", message=f"warning: not compared with the teacher: {exc}")
        return {}


def figures_of(record: Any) -> dict[str, float]:
    """The means of the adapter's metrics, and the headline's of the best baseline."""
    adapted = next(condition for condition in record.conditions if condition.adapter)
    means = {name: figure.mean for name, figure in adapted.metrics.items()}
    if record.best_baseline:
        beside = record.condition(record.best_baseline).metrics[record.headline]
        means[f"baseline_{record.headline}"] = beside.mean
    return {name: mean for name, mean in means.items() if mean is not None}


def engine_for(config: RunConfig, method: Method) -> str:
    """The engine that will serve; of what is not to be served, vLLM where it can take it."""
    if config.serve_on == "none":
        return "vllm" if "vllm" in served_places(config, method.card) else "transformers"
    return config.serve_on


def _data_facts(run: Run, split: Split) -> dict[str, Any]:
    """What a record says of its data: the split, every split's digest, and how often test was read."""
    digests = card_of(run)["digest"]
    facts = {"split": split, **{f"{name}_digest": digest for name, digest in digests.items()}}
    teacher = card_of(run).get("teacher") or {}
    if teacher:  # whose answers are the expected ones, and how many prompts have none
        facts |= {"reference": teacher["reference"].get(split), "left_out": teacher["left_out"].get(split)}
    return facts | ({"test_readings": _readings(digests["test"])} if split == "test" else {})


def refuse_another_base(run: Run, base: Base) -> None:
    """An adapter says nothing about a base, or under a template, that it was not trained with."""
    trained, now = run.facts().get("base") or {}, base_facts(base)
    changed = [
        part for part in ("weights", "config", "tokenizer", "template") if trained.get(part) != now[part]
    ]
    if changed:
        raise ConfigError(
            f"base model {base.name!r} is not what run {run.id!r} was trained on: its {' and '.join(changed)} "
            "changed since. Bring the old state back, or train again."
        )


def _refuse_smaller_record(run: Run, digest: str, n: int) -> None:
    """The record of a whole reading of test must not be lost to a look at a few of its examples."""
    file = run.eval_dir / "record.json"
    try:
        record = read_json(file)
    except ConfigError:
        return
    same = (
        record.get("adapter") == digest
        and (record.get("data") or {}).get("test_digest") == card_of(run)["digest"]["test"]
    )
    if same and isinstance(record.get("n_all"), int) and record["n_all"] > n:
        raise ConfigError(
            f"{str(file)!r} holds what this adapter did on {record['n_all']} examples of test; {n} would replace it. "
            f"Look at dev instead (--split dev), or move the folder away."
        )


def _write_evaluation(directory: Path, record: Any, samples: list[Any]) -> None:
    """The record goes first and comes last: where it lies, the samples and reports that belong to it lie too. An older
    one stays until the new one is rendered.
    """
    from agentlora.eval.record import save_samples
    from agentlora.eval.report import html, markdown

    page, text = html(record, samples), markdown(record)
    (directory / "record.json").unlink(missing_ok=True)
    save_samples(directory / "samples.jsonl", samples)
    write_atomic(directory / "report.html", page)
    write_atomic(directory / "report.md", text)
    record.save(directory / "record.json")


def eval_folder(split: Split) -> str:
    """Only test's record may decide, so dev's lies beside it and never in its place."""
    return "eval" if split == "test" else f"eval-{split}"


def take(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    """`limit` examples, from every slice in proportion and in order, whole groups as far as possible."""
    if limit is None or limit >= len(examples):
        return examples
    slices: dict[str, list[int]] = {}
    for number, example in enumerate(examples):
        slices.setdefault(example.tags.get("slice", ""), []).append(number)
    taken: list[int] = []
    for index, members in enumerate(slices.values()):
        left = sum(len(m) for m in list(slices.values())[index:])
        taken += members[: round((limit - len(taken)) * len(members) / left)]
    return [examples[number] for number in taken]


def adapter_digest(run: Run) -> str:
    """Of the run's adapter as it lies there now. Raises ConfigError when there is none."""
    if not run.adapter_dir.is_dir():
        raise ConfigError(f"run {run.id!r} has no adapter (its status: {run.status()}). Train it first.")
    return directory_digest(run.adapter_dir)


def context_of(base: Base, config: RunConfig) -> int:
    """Tokens that the engine has room for: a prompt of the longest kind with worked examples before it, as far as the
    base model goes.
    """
    known = read_json(base.model_dir / "config.json").get("max_position_embeddings")
    wanted = max(CONTEXT, (1 + SHOTS) * config.training.max_len)
    return min(wanted, known) if isinstance(known, int) else wanted


READINGS = "test-readings.jsonl"


def _readings(digest: str) -> int:
    """How often the test split with this digest was read on this machine, by any run, whole or in part."""
    return sum(1 for line in journal.read(home() / READINGS) if line.get("digest") == digest)


def _count_reading(run: Run) -> None:
    (home() / READINGS).parent.mkdir(parents=True, exist_ok=True)
    journal.append(home() / READINGS, "read", digest=card_of(run)["digest"]["test"], run=run.id)
