"""Other people's tasks, put to a run's adapter and its base, into the run's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentlora.core.errors import ConfigError, EvalError, boundary
from agentlora.core.evaluating import (
    adapter_digest,
    add_to_record,
    context_of,
    engine_for,
    eval_folder,
)
from agentlora.core.files import sha256_bytes, write_jsonl
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import base_facts, refuse_another_base
from agentlora.core.provenance import redact_problem
from agentlora.core.run import Run
from agentlora.core.suite_types import SuiteRequest, SuiteResult
from agentlora.core.types import EngineSpec, Split

FOLDER = "suites"  # beside the record: what suites write, and every sample's scores


def parse_suites(plugins: Plugins, named: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """(suite, what it is to do) by the name that was given, such as ``lm-eval:arc_easy``.

    Raises:
        ConfigError: there is no such suite or task; MissingExtra: its library is not installed.
    """
    found = {}
    for text in named:
        name, _, what = text.partition(":")
        suite = plugins.get("suites", name)
        if hasattr(suite, "check"):
            with boundary(EvalError, f"suite {name!r}"):
                suite.check(what)
        found[text] = suite, what
    return found


def has_record(run: Run, split: Split) -> bool:
    """Whether the run's adapter, as it is now, was evaluated on that split."""
    file = run.directory / eval_folder(split) / "record.json"
    if not file.is_file():
        return False
    from agentlora.eval.record import Record

    return Record.load(file).adapter == adapter_digest(run)


def add_suites(
    run: Run,
    plugins: Plugins,
    named: Sequence[str],
    *,
    engine_name: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Put suites to the adapter and its base, write them into the split's record, and return that. A suite that stands
    there already by the same name is replaced. The examples of the split itself are not asked again.

    Raises:
        ConfigError: the adapter has no record yet, or as `parse_suites`.
        EvalError: a suite could not be carried out; those before it stand in the record.
    """
    from agentlora.core.teacher import rank_of
    from agentlora.eval.cache import AnswerCache
    from agentlora.eval.record import Record
    from agentlora.eval.suites.figures import suite_record
    from agentlora.plugins.bases.resolve import resolve_base

    suites, config = parse_suites(plugins, named), run.config
    folder = run.directory / eval_folder(split)
    if not has_record(run, split):
        raise ConfigError(
            f"run {run.id!r} has no record of this adapter on {split} that suites could go into. Evaluate it first: "
            f"agentlora eval {run.id}"
        )
    engine = (
        engine_name
        or config.eval.engine
        or engine_for(config, plugins.get("peft_methods", config.method.name))
    )
    factory = plugins.get("engines", engine)
    if not getattr(factory, "takes_adapters", True):
        raise ConfigError(f"the engine {engine!r} takes no adapter. Choose another --engine.")
    with run.alone(), run.stage("suites"):
        base = resolve_base(config.model, plugins, home())
        refuse_another_base(run, base)
        digest = adapter_digest(run)
        systems = {"base": None, "adapter": f"{run.id.lower()}@{digest[:12]}"}
        spec = EngineSpec(
            base.model_dir,
            base.chat_template,
            base.tool_call_parser,
            max_len_tokens=context_of(base, config),
            max_lora_rank=rank_of(run),
            options=dict(options or {}),
        )
        record = Record.load(folder / "record.json")
        with factory.open(spec) as opened:
            opened.add_adapter(systems["adapter"], run.adapter_dir)
            for name, (suite, what) in suites.items():
                run.tell("note", "eval", {"message": f"suite {name}"})
                request = SuiteRequest(
                    what=what,
                    engine=opened,
                    base=base,
                    systems=systems,
                    folder=folder / FOLDER,
                    limit=limit,
                    max_tokens=config.eval.max_new_tokens,
                    seed=config.seed,
                    cache=AnswerCache(home() / "cache"),
                    identity={"base": base_facts(base), "adapter": digest, "engine": engine},
                )
                with boundary(EvalError, f"suite {name!r}"):
                    result = suite.run(request)
                found = suite_record(name, result, systems, engine, config.seed)
                others = tuple(s for s in record.suites if s.name != name)
                record = record.model_copy(update={"suites": (*others, found)})
                _save_samples(folder / FOLDER, name, result)
                add_to_record(folder, record)
        run.note("eval", "suites", record=record.digest, split=split, suites=list(suites))
    return record


def _save_samples(folder: Path, name: str, result: SuiteResult) -> None:
    """One JSON object a line, for each system and sample."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = "".join(char if char.isalnum() or char in "-_." else "-" for char in name)[-80:]
    file = f"{plain}-{sha256_bytes(name.encode())[:8]}.jsonl"  # names differ where their letters do not
    write_jsonl(
        folder / file,
        (
            {"system": system, **asdict(sample), "error": sample.error and redact_problem(sample.error)}
            for system, samples in result.samples.items()
            for sample in samples
        ),
    )
