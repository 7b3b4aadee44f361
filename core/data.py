"""The data of a run: built by its task's builder, kept in ``data/``, and held to what an honest evaluation needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, TypeAlias

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, DataError, boundary
from agentlora.core.evaluators import keep_evaluators, own_evaluator, wanted_by
from agentlora.core.examples import Examples, kept
from agentlora.core.files import canonical_json, read_json, sha256_json, write_json
from agentlora.core.manager import Plugins
from agentlora.core.provenance import REDACTED, redact
from agentlora.core.resolving import builder_name
from agentlora.core.run import Run, open_run
from agentlora.core.types import JSON, DatasetBuilder, Evaluator, Example, Split, fields_of

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
GOLD_LOOKED_AT = 100
PROBLEMS_KEPT = 10


Splits: TypeAlias = Mapping[Split, Sequence[Example]]
Answering = Callable[[Splits], tuple[Splits, JSON]]


def build_data(run: Run, plugins: Plugins, answered: Answering | None = None) -> dict[str, Any]:
    """Write ``data/*.jsonl`` and ``data/card.json``, and ``data/evaluators.json`` where the builder names some; returns
    the card.

    Args:
        answered: gives the splits answers in place of their own, and what the card says of it.

    Raises:
        ConfigError: see `refuse_lost_secrets`; or another process builds this run's data already.
        DataError: the training split is empty, an example of it has no answer, a group is in two splits, or the builder
            names evaluators that are none.
    """
    refuse_lost_secrets(run)
    name, builder, params = builder_of(run.config, plugins)
    with run.alone(), run.stage("data"):
        judges = wanted_by(builder, params, run.config.task, plugins)
        splits: Splits = {split: build_split(run.config, plugins, split) for split in SPLITS}
        refuse_leaks(splits)
        refuse_trained_before(run.config.training.start_from, splits)
        splits, told = answered(splits) if answered else (splits, {})
        if needs_answers(run.config, plugins):
            refuse_unanswered(splits["train"])
        for split, examples in splits.items():
            run.write_examples(split, examples)
        beside = keep_evaluators(run.directory / "data", judges)
        card = card_of_splits({**builder.card(params), **told, **beside}, name, splits)
        write_json(run.directory / "data" / "card.json", card)
        run.note("data", "built", **card["counts"])
        if message := broken_rows(card, run.directory / "data" / "card.json"):
            run.note("data", "quarantined", message=message, rows=card["quarantined"][:PROBLEMS_KEPT])
        warn_of_wrong_gold(run, own_evaluator(run.config, plugins), splits["test"])
        if not splits["test"]:
            run.note(
                "data",
                "no test",
                message="no test examples: what is trained can be neither evaluated nor published",
            )
    return card


def card_of_splits(told: Mapping[str, Any], builder: str, splits: Splits) -> dict[str, Any]:
    """A data card: what its builder says, and how much there is of each split, with its digest."""
    counted = {
        **told,
        "builder": builder,
        "counts": {split: len(examples) for split, examples in splits.items()},
        "digest": {split: split_digest(examples) for split, examples in splits.items()},
    }
    card: dict[str, Any] = redact(counted)
    return card


def refuse_lost_secrets(run: Run) -> None:
    """Raises ConfigError where the data's settings had a secret, which a run that is opened again no longer knows."""
    for key, value in run.config.data.params.items():
        if REDACTED in str(value):
            raise ConfigError(
                f"data.params.{key} of run {run.id!r} is {value!r}: it had a secret, which no file of a run keeps, and "
                "its data is not built yet. Give the command of the training again, with another --output."
            )


def broken_rows(card: Mapping[str, Any], where: Path | str) -> str:
    """A warning of the rows that a builder left out, by its card; empty where there are none. `where`: there are more
    of them. A builder that does not count them tells the first ones only.
    """
    told = card.get("quarantined") or ()
    if not told:
        return ""
    broken = card.get("broken")
    if not isinstance(broken, int):
        return f"warning: broken rows are left out; the first: {told[0]} More of them: {where}"
    of = f" of {card['rows']:,} rows" if isinstance(card.get("rows"), int) else " rows"
    more = (
        "" if broken == 1 else f" All of them: {where}" if broken == len(told) else f" More of them: {where}"
    )
    was = "is" if broken == 1 else "are"
    return f"warning: {broken:,}{of} {was} broken and left out; the first: {told[0]}{more}"


def builder_of(config: RunConfig, plugins: Plugins) -> tuple[str, DatasetBuilder, Any]:
    """(its name, the dataset builder of a configuration, its settings)"""
    name = builder_name(config, plugins.get("tasks", config.task))
    builder: DatasetBuilder = plugins.get("dataset_builders", name)
    return name, builder, parse(builder.Params, config.data.params, "data.params")


def check_source(config: RunConfig, plugins: Plugins) -> None:
    """Let the builder look for what would stop it, where it can. Raises as `build_split`."""
    name, builder, params = builder_of(config, plugins)
    if hasattr(builder, "check"):
        with boundary(DataError, f"dataset builder {name!r}"):
            builder.check(params)


def build_split(config: RunConfig, plugins: Plugins, split: Split) -> Examples:
    """The examples of one split, on disk. Raises DataError, or what the builder raises of ours."""
    name, builder, params = builder_of(config, plugins)
    with boundary(DataError, f"dataset builder {name!r}, split {split!r}"):
        return kept(builder.build(split, params, config.seed))


def split_digest(examples: Iterable[Example]) -> str:
    """The hex digest of the examples' canonical JSON, which is a list."""
    found, between = sha256(b"["), b""
    for example in examples:
        found.update(between + canonical_json(fields_of(example), fields_of))
        between = b","
    found.update(b"]")
    return found.hexdigest()


def leak_keys(example: Example) -> list[str]:
    """What no two splits may share: its group, where it has one, and last its text."""
    content = sha256_json([list(example.messages), list(example.tools)])
    return [*filter(None, [example.group]), content]


def refuse_leaks(splits: Splits) -> None:
    """Raises DataError where two splits share what they must not, or nothing is there to train on."""
    if not splits["train"]:
        raise DataError("the training split is empty. Check the data source and its settings (data.params).")
    owners: dict[bytes, Split] = {}  # by a short digest: there may be millions of them
    for split, examples in splits.items():
        for example in examples:
            for key in (blake2b(key.encode(), digest_size=16).digest() for key in leak_keys(example)):
                if owners.setdefault(key, split) != split:
                    raise DataError(
                        f"example {example.id!r} of {split!r} shares its group or its text with {owners[key]!r}. "
                        "Evaluation on trained examples says nothing; divide by group."
                    )


def refuse_trained_before(name: str, splits: Splits) -> None:
    """Raises DataError where the run that training starts from, or one that it started from itself, has been trained
    on examples of dev or test.
    """
    if not name:
        return
    held_out = {leak_keys(example)[-1]: example.id for split in SPLITS[1:] for example in splits[split]}
    while name:
        try:
            earlier = open_run(name)
        except ConfigError as exc:
            raise DataError(
                f"what run {name!r} was trained on, which training starts from, cannot be looked up: {exc} Whether dev "
                "and test were among it is not known, so that an evaluation would say nothing."
            ) from exc
        keys = (leak_keys(example)[-1] for example in earlier.examples("train"))
        if known := sorted(held_out[key] for key in {key for key in keys if key in held_out}):
            raise DataError(
                f"run {earlier.id!r}, which training starts from, was trained on {len(known)} of the dev and test "
                f"examples ({known[0]!r}). An evaluation with them says nothing: use other data, or the same data "
                "with that run's --seed, which shares it out alike."
            )
        name = earlier.config.training.start_from


def needs_answers(config: RunConfig, plugins: Plugins) -> bool:
    """Whether the trainer learns from the examples' answers, and not from prompts alone."""
    return bool(getattr(plugins.get("trainers", config.trainer.name), "answers", True))


def refuse_unanswered(examples: Sequence[Example]) -> None:
    """Raises DataError for a prompt that nobody answers."""
    for example in examples:
        if example.expected.empty:
            raise DataError(
                f"example {example.id!r} is a prompt without an answer. Say who answers it with --teacher, or bring "
                "answers."
            )


def warn_of_wrong_gold(run: Run, evaluator: Evaluator, examples: Sequence[Example]) -> None:
    """Say where the evaluator calls an expected answer wrong, or a corrupted one right; looks at some of many."""
    try:
        problems = evaluator.validate(examples[:: max(1, len(examples) // GOLD_LOOKED_AT)][:GOLD_LOOKED_AT])
    except Exception as exc:  # a look that fails costs itself, not the training
        problems = [f"it raised {type(exc).__name__}: {exc}"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"warning: the evaluator and the test examples do not agree: {problems[0]}{more}"
        run.note("data", "warning", message=message, problems=problems[:PROBLEMS_KEPT])


def card_of(run: Run) -> dict[str, Any]:
    """The run's data card."""
    return read_json(run.directory / "data" / "card.json")
