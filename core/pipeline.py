"""The main line: build → train. Each stage reads files and writes files; `core.evaluating` goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig
from agentlora.core.data import Splits, build_data, check_source, needs_answers
from agentlora.core.errors import ConfigError, TrainError, boundary, needs_extra
from agentlora.core.files import sha256_bytes, sha256_json
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.messages import answer_message
from agentlora.core.oom import oom_kills
from agentlora.core.processes import (
    check_processes,
    follow_first,
    left_alone,
    process_index,
    start_others,
    together,
)
from agentlora.core.run import Run
from agentlora.core.types import (
    JSON,
    Base,
    Example,
    Expected,
    Method,
)


def check_training(config: RunConfig, plugins: Plugins) -> None:
    """Make the base model ready, and find what can be found before anything is built or loaded.

    Raises:
        ConfigError: there is no such model, or the trainer or the method cannot take it.
        DataError: the data's source cannot be read.
    """
    from agentlora.plugins.bases.resolve import resolve_base

    if config.data.replay:
        from agentlora.core.replay import check_replay

        check_replay(config, plugins)
    check_source(config, plugins)
    base = resolve_base(config.model, plugins, home())
    refuse_unfit_template(base, plugins.get("tasks", config.task).needs_tools)
    if config.teacher.source:
        from agentlora.core.teacher import find_teacher

        find_teacher(config, plugins)
    if config.rewriter.source:
        from agentlora.core.rewriting import ROLE, as_teacher
        from agentlora.core.teacher import find_teacher

        find_teacher(as_teacher(config), plugins, ROLE)
    trainer = plugins.get("trainers", config.trainer.name)
    if hasattr(trainer, "check"):
        with boundary(TrainError, f"trainer {config.trainer.name!r}"):
            trainer.check(config, base, plugins.get("peft_methods", config.method.name))


def refuse_unfit_template(base: Base, calls: bool = True) -> None:
    """Raises ConfigError when the base's template is broken, does not render an answer as what continues its prompt, or
    (with `calls`) writes tool calls that are read nowhere here: what is trained would not be what is served, or score
    and serve as text.
    """
    from agentlora.core.libraries import prepare_libraries, tokenizer_of
    from agentlora.eval.calls import parse_answer
    from agentlora.plugins.bases.templates import ASKED, CALL, TOOL

    prepare_libraries()
    answer = answer_message(Expected(calls=(CALL,)) if calls else Expected(text="Water."))
    tokenizer = tokenizer_of(base)
    render = partial(
        tokenizer.apply_chat_template,
        tools=[TOOL] if calls else None,
        chat_template=base.chat_template,
        tokenize=False,
    )
    prompt, whole = "", ""
    try:
        prompt = str(render([ASKED], add_generation_prompt=True))
        whole = str(render([ASKED, answer]))
    except Exception as exc:  # it may refuse what its own format does not have
        if type(exc).__name__ == "TemplateSyntaxError":
            raise ConfigError(
                f"the chat template of base model {base.name!r} is broken: {exc}. Mend it, or fetch the model again."
            ) from exc
    if not whole.startswith(prompt) and (whole or not calls):
        raise ConfigError(
            f"the chat template of base model {base.name!r} does not render an answer as a continuation of what it has "
            "the model begin with (one for thinking aloud, perhaps), so that what is trained would not be what is "
            "served. Put a template that does into its directory as chat_template.jinja."
        )
    if calls and parse_answer(whole.removeprefix(prompt)).calls[-1:] != (CALL,):
        raise ConfigError(
            f"the chat template of base model {base.name!r} does not write a tool call as JSON between <tool_call> and "
            "</tool_call> (Hermes' format), and no other is read. Put a template that does into its directory as "
            "chat_template.jinja, or one that knows no calls: they are then added to it."
        )


def build(run: Run, plugins: Plugins) -> dict[str, Any]:
    """Build the run's data, in its rewriter's words and with its teacher's answers where it has them, and with what is
    replayed; returns the card. Raises as `build_data`, `core.rewriting.rewritten`, `core.teacher.teach` and
    `core.replay.replayed`.
    """
    from agentlora.core.replay import replayed
    from agentlora.core.rewriting import ROLE, line, rewritten
    from agentlora.core.teacher import teach

    def progress(done: int, total: int) -> None:
        run.tell("step", ROLE, {"step": done, "total_steps": total})

    def answered(splits: Splits) -> tuple[Splits, JSON]:
        told: JSON = {}
        if run.config.rewriter.source:
            splits, facts = rewritten(run.config, plugins, splits, progress)
            run.note("data", "rewritten", message=line(facts), **facts)
            told["rewriter"] = facts
        if run.config.teacher.source:
            splits, more = teach(run, plugins, splits)
            told |= more
        if run.config.data.replay:
            splits, more = replayed(run, plugins, splits)
            told |= more
        return splits, told

    return build_data(run, plugins, answered)


def look_at_rows(base: Base, examples: Sequence[Example], pairs: bool = False) -> None:
    """Raises DataError where what would be trained is not what the examples, or their `pairs` of answers, say (see
    `plugins.trainers.xray`).
    """
    from agentlora.core.libraries import prepare_libraries, stops_of
    from agentlora.eval.calls import parse_answer
    from agentlora.plugins.trainers.xray import refuse_wrong_rows

    prepare_libraries()
    with needs_extra("train", "training"):
        from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    stops = stops_of(base.model_dir)
    refuse_wrong_rows(examples, tokenizer, base.chat_template, parse_answer, pairs, stops)


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
        if lonely := left_alone():
            run.note("train", "alone", message=lonely)
        if not process_index():
            if needs_answers(run.config, plugins):
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


def changed_parts(trained: Mapping[str, Any], base: Base) -> list[str]:
    """What of a base is not as a run was `trained` on (the ``base`` of its ``run.json``), or not said there."""
    parts = ("weights", "config", "tokenizer", "template")
    return [part for part in parts if trained.get(part) != getattr(base.identity, part)]


def refuse_another_base(run: Run, base: Base) -> None:
    """An adapter says nothing about a base, or under a template, that it was not trained with."""
    if changed := changed_parts(run.facts().get("base") or {}, base):
        raise ConfigError(
            f"base model {base.name!r} is not what run {run.id!r} was trained on: its {' and '.join(changed)} "
            "changed since. Bring the old state back, or train again."
        )


def directory_digest(directory: Path) -> str:
    """sha256 over the names and contents of a directory's files."""
    from agentlora.core.files import sha256_file

    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return sha256_json([[str(path.relative_to(directory)), sha256_file(path)] for path in files])
