"""Evaluating a run: what is put to whom, the record, and the reports beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from agentlora.core import journal
from agentlora.core.beside import Beside, ask_beside, beside_of, with_beside
from agentlora.core.config import EvalConfig, EvaluatorConfig, RunConfig, parse
from agentlora.core.data import card_of, split_digest
from agentlora.core.errors import AgentLoraError, ConfigError, EvalError
from agentlora.core.evaluators import (
    EVALUATORS_DIGEST,
    EVALUATORS_FILE,
    brought,
    evaluators_of,
    judging_too,
    kept_evaluators,
    with_evaluators,
)
from agentlora.core.examples import evenly
from agentlora.core.files import read_json, write_atomic, write_jsonl
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import base_facts, directory_digest, refuse_another_base
from agentlora.core.provenance import provenance, redact
from agentlora.core.replay import of_the_task
from agentlora.core.resolving import served_places
from agentlora.core.run import Run
from agentlora.core.types import (
    Base,
    EngineSpec,
    Example,
    Method,
    Split,
)
from agentlora.core.xml_values import in_xml

CONTEXT = 2048  # tokens that an engine has room for at least
SHOTS = 3  # worked examples before a request


def evaluate(
    run: Run,
    plugins: Plugins,
    *,
    engine_name: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    probes: int | Literal["all"] | None = None,
    options: Mapping[str, Any] | None = None,
    constrained: bool = False,
    evaluators: Sequence[str] = (),
    beside: Sequence[str] = (),
    skill: str | None = None,
    alias: str | None = "prod",
    temperature: float | None = None,
    seeds: int | None = None,
) -> Any:
    """Put the run's adapter and the baselines to the examples of a split, and adapter and base to `probes` of the
    general-ability probes (None: as many as the configuration says); returns the `Record`. `constrained`: the adapter
    with and without a grammar, as ``eval.constrained`` says too.

    Writes ``eval/record.json``, ``samples.jsonl``, ``probes.jsonl``, ``report.html`` and ``report.md`` (for dev:
    ``eval-dev/``); while it is under way, ``samples.part.jsonl``, from which one that was killed goes on.
    Reading test is counted, across runs, by the digest of its examples, when it begins; going on is no new reading.
    `evaluators` judge beside those of the run (see `core.evaluators.with_evaluators`), and endpoints answer `beside`
    those of the run (`core.beside.with_beside`).

    Args:
        skill, alias: what the alias of the skill (default: the task's name) serves answers test too; nothing does
            where alias is None.
        temperature, seeds: over the run's own.

    Raises:
        ConfigError: the run has no adapter, there is no such evaluator, an endpoint cannot be used as it is given, the
            split is empty, fewer examples would replace a test record of more, or another process trains or evaluates
            this run.
        EvalError: (nearly) no request to the adapter, or to the base, could be answered and judged.
    """
    from agentlora.core.served import add_served, served_facts, served_now
    from agentlora.core.teacher import rank_of
    from agentlora.eval.conditions import SERVED, Condition, choose_shots, default_conditions, other_way
    from agentlora.eval.kept import FILE
    from agentlora.eval.probing import ask_probes
    from agentlora.eval.runner import AnswerCache, evaluate
    from agentlora.eval.scorers.several import Several
    from agentlora.plugins.bases.resolve import resolve_base

    named = with_evaluators(run.config, evaluators, plugins)
    of_data = brought(named, kept_evaluators(run.directory / "data", card_of(run)))
    config = with_beside(judging_too(named, of_data), beside)
    others_too = beside_of(config.eval.beside)
    for one in others_too.values():
        one.check_key()
    method: Method = plugins.get("peft_methods", config.method.name)
    name = engine_name or config.eval.engine or engine_for(config, method)
    task = plugins.get("tasks", config.task)
    own, others = evaluators_of(config, plugins)
    settings = json.dumps([entry.model_dump(mode="json") for entry in config.eval.evaluators], sort_keys=True)
    evaluator = Several(own, others, settings) if config.eval.evaluators else own
    factory = plugins.get("engines", name)
    if not getattr(factory, "takes_adapters", True):
        raise ConfigError(
            f"the engine {name!r} takes no adapter, and the run's is what is to be evaluated. Choose another --engine; "
            "a model of an endpoint answers beside it with --beside http://HOST/v1#MODEL."
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
    given_now = {"temperature": temperature, "seeds": seeds}
    said = {key: value for key, value in given_now.items() if value is not None}
    sampling = parse(EvalConfig, config.eval.model_dump() | said, "eval")
    version = served_now(skill or task.name, alias) if split == "test" else None
    if version is not None and version.adapter_digest == digest:
        version = None  # it is not compared with itself
    if split == "test":
        _refuse_smaller_record(run, digest, len(examples))
    with run.alone(), run.stage("eval"):
        base = resolve_base(config.model, plugins, home())
        refuse_another_base(run, base)
        given = _teachers(run, plugins, examples, split)
        said_beside, without = ask_beside(run, others_too, examples, config.eval.max_new_tokens)
        given |= said_beside
        judging = _judging(run, named.eval.evaluators, of_data, own, others, examples)
        served_as = f"{run.id.lower()}@{digest[:12]}"
        spec = EngineSpec(
            base.model_dir,
            base.chat_template,
            base.tool_call_parser,
            max_len_tokens=context_of(base, config),
            max_lora_rank=max(rank_of(run), (version and version.card.rank) or 0),
            options=dict(options or {}),
        )

        def begin(kept: int, changed: Sequence[str]) -> dict[str, Any]:
            _note_kept(run, kept, changed)
            if split == "test" and not (kept and _readings(split_digest(whole))):
                _count_reading(run)  # before it begins: a reading that is killed was one
            return _data_facts(run, split)

        def progress(condition: str, done: int, total: int) -> None:
            run.tell("step", f"eval {condition}", {"step": done, "total_steps": total})

        with factory.open(spec) as engine:
            engine.add_adapter(served_as, run.adapter_dir)
            values = any(e.schema and not e.tools and not in_xml(e.schema) for e in examples)
            conditions = default_conditions(
                served_as,
                strict=engine.capabilities.json_schema,
                values=values,
                again=other_way(examples) if constrained or config.eval.constrained else None,
            )
            conditions += tuple(Condition(name, "given") for name in given)
            cache = AnswerCache(home() / "cache")
            identity = {
                "base": base_facts(base),
                "adapter": digest,
                "engine": name,
                "provenance": provenance(config.seed) | judging | _beside_facts(others_too),
            }
            served = None if version is None else served_facts(version, str(alias))
            if version is not None and served is not None:
                why = add_served(engine, name, version, base)
                if why is None:
                    how = next(c.kind for c in conditions if c.judged)
                    conditions += (Condition(SERVED, how, version.served_name, served=True),)
                else:
                    served["why"] = why
            record, samples = evaluate(
                engine=engine,
                evaluator=evaluator,
                task_name=task.name,
                examples=examples,
                conditions=conditions,
                given=given,
                shots=choose_shots(of_the_task(evenly(run.examples("train")))),
                max_tokens=config.eval.max_new_tokens,
                cache=cache,
                identity=identity,
                on_begin=begin,
                on_progress=progress,
                keep_in=run.directory / eval_folder(split) / FILE,
                headline=task.headline,
                headline_where=task.headline_where,
                lower_is_better=task.lower_is_better,
                seed=config.seed,
                temperature=sampling.temperature,
                seeds=sampling.seeds,
                served=served,
            )
            asked = config.eval.probes if probes is None else probes
            found, probed = ask_probes(
                engine,
                served_as,
                asked,
                cache=cache,
                identity=identity,
                on_progress=progress,
                seed=config.seed,
            )
            folder = run.directory / eval_folder(split)
            told = {"suites": _suites_so_far(folder, record), "skipped": {**record.skipped, **without}}
            record = record.model_copy(update={"probes": found, **told})
        _write_evaluation(folder, record, samples, probed)
        run.note("eval", "recorded", record=record.digest, split=split, figures=figures_of(record))
    return record


def _suites_so_far(directory: Path, record: Any) -> tuple[Any, ...]:
    """What other people's tasks said of this adapter on this base before; they are not asked again."""
    from agentlora.eval.record import Record

    file = last_record(directory)
    if file is None:
        return ()
    with suppress(EvalError):
        old = Record.load(file)
        if (old.adapter, old.base.get("digest")) == (record.adapter, record.base.get("digest")):
            return old.suites
    return ()


def last_record(directory: Path) -> Path | None:
    """The record of the last evaluation that ended, also while another one is written in its place."""
    return next((f for f in (directory / "record.json", directory / REPLACED) if f.is_file()), None)


def _note_kept(run: Run, kept: int, changed: Sequence[str]) -> None:
    """Say what is left of an evaluation that was ended before it was whole."""
    if kept:
        said = f"{kept} answers of an evaluation that was ended are kept; only what is missing is asked for."
        run.note("eval", "continued", kept=kept, message=said)
    elif changed:
        said = f"the answers of an evaluation that was ended are of no use: since then changed: {', '.join(changed)}."
        run.note("eval", "begun anew", changed=list(changed), message=said)


def _teachers(run: Run, plugins: Plugins, examples: Sequence[Example], split: Split) -> dict[str, Any]:
    """What the teacher answers, by name of the condition; nothing where its answers are the expected ones."""
    reference = (card_of(run).get("teacher") or {}).get("reference") or {}
    if not run.config.teacher.source or reference.get(split) != "own":
        return {}
    from agentlora.core.teacher import teacher_answers
    from agentlora.eval.conditions import TEACHER

    try:
        return {TEACHER: teacher_answers(run, plugins, examples)}
    except AgentLoraError as exc:  # it is shown beside the others, and decides nothing
        run.note("eval", "no teacher", message=f"warning: not compared with the teacher: {exc}")
        return {}


def _judging(
    run: Run,
    named: Sequence[EvaluatorConfig],
    of_data: Sequence[EvaluatorConfig],
    own: Any,
    others: Mapping[str, Any],
    examples: Sequence[Example],
) -> dict[str, Any]:
    """What a record says of who judges: the evaluators with their settings (of those that come with the data, where
    these lie: they may be as large as a source's tools), and what they find wrong with the examples or themselves,
    which is told.
    """
    from agentlora.eval.gold import validated

    entries = [entry.model_dump(mode="json") for entry in named]
    for entry in of_data:
        where = {"in": f"data/{EVALUATORS_FILE}", "sha256": card_of(run)[EVALUATORS_DIGEST]}
        entries.append({**entry.model_dump(mode="json"), "params": where})
    problems = validated(own, others, examples)
    for name, found in problems.items():
        who = f"the evaluator {name!r}" if name else "the evaluator"
        more = f" (and {found['problems'] - 1} more)" if found["problems"] > 1 else ""
        message = f"warning: {who} and the examples do not agree: {found['first'][0]}{more}"
        run.note("eval", "warning", message=message, problems=found["first"])
    said = {"evaluators": redact(entries), "evaluator_problems": redact(problems)}
    return {key: value for key, value in said.items() if value}


def _beside_facts(beside: Mapping[str, Beside]) -> dict[str, Any]:
    """Whose models answer beside, for a record: by condition, the endpoint without its options."""
    return {"beside": {name: one.endpoint for name, one in beside.items()}} if beside else {}


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


def _write_evaluation(directory: Path, record: Any, samples: list[Any], probed: list[Any]) -> None:
    """The record goes first and comes last: where it lies, the samples and reports that belong to it lie too. An older
    one stays until the new one is rendered.
    """
    from agentlora.eval.kept import FILE
    from agentlora.eval.report import html, markdown
    from agentlora.eval.samples import save_samples

    page, text = html(record, samples), markdown(record)
    (directory / "gate.json").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        (directory / "record.json").replace(directory / REPLACED)  # it has the figures of the suites
    save_samples(directory / "samples.jsonl", samples)
    write_jsonl(directory / "probes.jsonl", probed)
    write_atomic(directory / "report.html", page)
    write_atomic(directory / "report.md", text)
    record.save(directory / "record.json")
    for done in (FILE, REPLACED):
        (directory / done).unlink(missing_ok=True)


def add_to_record(directory: Path, record: Any) -> None:
    """Replace a record by one that says more of the same samples, and its reports. What the gate said is about the
    other one.
    """
    from agentlora.eval.report import html, markdown
    from agentlora.eval.samples import load_samples

    page, text = html(record, list(load_samples(directory / "samples.jsonl"))), markdown(record)
    (directory / "gate.json").unlink(missing_ok=True)
    record.save(directory / "record.json")
    write_atomic(directory / "report.html", page)
    write_atomic(directory / "report.md", text)


def show_verdict(run: Run, verdict: Mapping[str, Any]) -> None:
    """Render the reports of test's record again, with what the gate says at their top. Where the record cannot be
    read, which the gate says, they stay; so does a page whose samples are not beside it any more.
    """
    from agentlora.eval.record import Record
    from agentlora.eval.report import html, markdown
    from agentlora.eval.samples import load_samples

    folder = run.eval_dir
    try:
        record = Record.load(folder / "record.json")
        write_atomic(folder / "report.md", markdown(record, verdict))
        write_atomic(folder / "report.html", html(record, load_samples(folder / "samples.jsonl"), verdict))
    except (AgentLoraError, OSError, LookupError, TypeError, ValueError) as exc:
        run.note("eval", "warning", message=f"warning: the report does not show what the gate says: {exc}")


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
    return at_most(base, max(CONTEXT, (1 + SHOTS) * config.training.max_len))


def at_most(base: Base, wanted: int) -> int:
    """So many tokens, or as many as the base model goes."""
    known = read_json(base.model_dir / "config.json").get("max_position_embeddings")
    return min(wanted, known) if isinstance(known, int) else wanted


READINGS = "test-readings.jsonl"
REPLACED = "record.old.json"  # while the new one is written


def _readings(digest: str) -> int:
    """How often the test split with this digest was read on this machine, by any run, whole or in part."""
    return sum(1 for line in journal.read(home() / READINGS) if line.get("digest") == digest)


def _count_reading(run: Run) -> None:
    (home() / READINGS).parent.mkdir(parents=True, exist_ok=True)
    journal.append(home() / READINGS, "read", digest=card_of(run)["digest"]["test"], run=run.id)
