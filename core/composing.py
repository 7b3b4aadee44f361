"""Composing: a run whose adapter is made of other runs' adapters, ready to be evaluated and judged like any other."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agentlora.core.config import EvaluatorConfig, MethodConfig
from agentlora.core.data import card_of, leak_keys, refuse_leaks, split_digest
from agentlora.core.errors import ConfigError, unknown
from agentlora.core.evaluating import adapter_digest
from agentlora.core.evaluators import EVALUATORS_DIGEST, keep_evaluators, kept_evaluators
from agentlora.core.files import directory_atomic, read_json, sha256_json, write_json
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import directory_digest
from agentlora.core.run import Run, create_run, list_runs, open_run
from agentlora.core.types import Example, RunEvent, Split

DENSITY = 0.5  # share of the values that ties and dare keep


@dataclass(frozen=True)
class Recipe:
    """How parts become one. See `agentlora.plugins.methods.composed.write_composed`."""

    weights: tuple[float, ...]
    how: str = "cat"
    density: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Part:
    """An evaluated run: `adapter` and `record` are digests (sha256, hex)."""

    run: Run
    adapter: str
    record: str


def compose(
    refs: Sequence[str],
    recipe: Recipe,
    plugins: Plugins,
    output: Path,
    *,
    task: str | None = None,
    emit: Callable[[RunEvent], None] = lambda event: None,
) -> Run:
    """Make a run directory `output` whose adapter is composed of those of `refs`: runs, or published versions
    (``skill@alias``) whose runs are on this machine.

    Its task is `task`, or the first part's, and its data that of the parts of this task, less what any part was
    trained on; it has no record yet.

    Raises:
        ConfigError: a part was not evaluated as it is now, is no plain LoRA, or belongs to another base; the recipe
            does not fit; or `output` exists.
        DataError: a part's examples cannot be read.
    """
    _check(recipe, len(refs))
    parts = [_part(ref) for ref in refs]
    _refuse_strangers(parts)
    wanted = task or parts[0].run.config.task
    same = [part.run for part in parts if part.run.config.task == wanted]
    if not same:
        raise ConfigError(unknown("task of a part", wanted, {part.run.config.task for part in parts}))
    config = same[0].config.model_copy(
        update={"method": MethodConfig(), "convert": False, "convert_rank": None}
    )
    run = create_run(config, output, emit)
    try:
        run.add_facts(base=parts[0].run.facts()["base"], composition=_facts(parts, recipe))
        with run.stage("compose"):
            _write_data(run, same, [part.run for part in parts])
            _write_adapter(run, parts, recipe)
    except BaseException:
        run.remove()
        raise
    return run


def _write_adapter(run: Run, parts: Sequence[Part], recipe: Recipe) -> None:
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.methods.composed import WITH_DENSITY, read_layers, write_composed

    prepare_libraries()
    density = DENSITY if recipe.density is None else recipe.density
    layers = [read_layers(part.run.adapter_dir) for part in parts]
    with directory_atomic(run.adapter_dir) as temporary:
        rank = write_composed(
            layers,
            recipe.weights,
            recipe.how,
            temporary,
            density=density,
            rank=recipe.rank,
            seed=run.config.seed,
        )
        shutil.copy(parts[0].run.adapter_dir / "chat_template.jinja", temporary)
    made = replace(recipe, rank=rank, density=density if recipe.how in WITH_DENSITY else None)
    run.add_facts(composition=_facts(parts, made), adapter_digest=directory_digest(run.adapter_dir))


def _facts(parts: Sequence[Part], recipe: Recipe) -> dict[str, Any]:
    """What ``run.json`` says of a composition."""
    parents = [
        {"run": part.run.id, "adapter": part.adapter, "record": part.record, "weight": weight}
        for part, weight in zip(parts, recipe.weights, strict=True)
    ]
    return {key: value for key, value in asdict(recipe).items() if key != "weights"} | {"parents": parents}


def _check(recipe: Recipe, n: int) -> None:
    """Raises ConfigError when the recipe is none, or not one for `n` parts."""
    from agentlora.plugins.methods.composed import HOW, WITH_DENSITY, WITH_RANK

    how, weights = recipe.how, recipe.weights
    if how not in HOW:
        raise ConfigError(unknown("way to compose", how, HOW))
    if n < 2:
        raise ConfigError("composing takes two runs or more; one alone is what it is.")
    if len(weights) != n:
        raise ConfigError(f"--weights has {len(weights)} and there are {n} parts: give one weight for each.")
    if not all(map(math.isfinite, weights)) or not any(weights):
        raise ConfigError(f"--weights {','.join(map(str, weights))}: they must be numbers, and not all 0.")
    if recipe.density is not None and (how not in WITH_DENSITY or not 0 < recipe.density <= 1):
        raise ConfigError(
            f"--density {recipe.density}: it is the share of values that --how {' and '.join(WITH_DENSITY)} keep, "
            "above 0 and at most 1."
        )
    if recipe.rank is not None and (how not in WITH_RANK or not 1 <= recipe.rank <= 512):
        raise ConfigError(
            f"--rank {recipe.rank}: it is what --how {', '.join(WITH_RANK)} cut the result to, 1 to 512."
        )


def _part(ref: str) -> Part:
    """Raises ConfigError when there is no such run, it is no plain LoRA, or has no record of its adapter on test."""
    from agentlora.registry.servable import tensor_problems, vllm_problems

    run = _find(ref)
    digest = adapter_digest(run)
    settings = run.adapter_dir / "adapter_config.json"
    if not settings.is_file():
        raise ConfigError(f"run {run.id!r} cannot be a part: what it trained is no adapter of PEFT's.")
    problems = vllm_problems(read_json(settings))
    problems += tensor_problems(run.adapter_dir / "adapter_model.safetensors")
    if problems:
        raise ConfigError(f"run {run.id!r} cannot be a part, only plain LoRA can: {problems[0]}")
    file = run.eval_dir / "record.json"
    record = read_json(file, "run `agentlora eval` again") if file.is_file() else {}
    if why := _unproven(run, record, digest):
        raise ConfigError(f"run {run.id!r} cannot be a part: {why}. First: agentlora eval {run.directory}")
    return Part(run, digest, sha256_json(record))


def _unproven(run: Run, record: dict[str, Any], digest: str) -> str | None:
    """Why the record says nothing about the run's adapter as it is now."""
    data, base = record.get("data") or {}, record.get("base") or {}
    if not record:
        return "it was not evaluated on test"
    if record.get("adapter") != digest:
        return "its record is about another adapter: the weights changed since"
    if data.get("split") != "test" or record.get("engine") == "echo":
        return "its record is not of test, or of an engine that asks no model"
    if base.get("digest") != (run.facts().get("base") or {}).get("digest"):
        return "its record is about another base model"
    if data.get("test_digest") != split_digest(run.examples("test")):
        return "its record is about other test examples"
    return None


def _find(ref: str) -> Run:
    """A run by id or directory; or the one on this machine that a published version came from."""
    try:
        return open_run(ref)
    except ConfigError:
        if "@" not in ref:
            raise
    from agentlora.registry.store import open_registry

    registry = open_registry()
    version = registry.resolve(ref)
    digest = read_json(registry.materialise(version) / "record.json").get("adapter")
    for directory in reversed(list_runs()):
        try:
            if read_json(directory / "run.json").get("adapter_digest") == digest:
                return open_run(str(directory))
        except ConfigError:  # one that cannot be read is not the one
            continue
    raise ConfigError(
        f"{version.served_name} cannot be a part: the run that it came from is not on this machine, and with it "
        "its data, which what is composed has to be evaluated on."
    )


def _refuse_strangers(parts: Sequence[Part]) -> None:
    """Raises ConfigError when the parts were not trained on one base, under one template and parser."""
    first = parts[0].run
    ours = first.facts().get("base") or {}
    same = ("weights", "config", "tokenizer", "template", "template_digest", "tool_call_parser")
    for part in parts[1:]:
        theirs = part.run.facts().get("base") or {}
        other = [key for key in same if ours.get(key) != theirs.get(key)]
        if other:
            raise ConfigError(
                f"runs {first.id!r} and {part.run.id!r} belong to different bases ({ours.get('name')} and "
                f"{theirs.get('name')}): their {', '.join(other)} differ. Compose adapters of one base."
            )


# --- the data ---


def _write_data(run: Run, same: Sequence[Run], parts: Sequence[Run]) -> None:
    """Every split of the runs in `same`, each example once; dev and test without what any part was trained on."""
    whole = {split: _union(same, split) for split in ("train", "dev", "test")}
    trained = {key for part in parts for example in part.examples("train") for key in leak_keys(example)}
    test = _without(whole["test"], trained)
    tested = {key for example in test for key in leak_keys(example)}
    splits: dict[Split, list[Example]] = {
        "train": whole["train"],
        "dev": _without(whole["dev"], trained | tested),
        "test": test,
    }
    refuse_leaks(splits)
    if not test:
        raise ConfigError(
            "every test example of the parts shares its group or its text with what another part was trained on, so "
            "that nothing is left to evaluate on. Train the parts on one division of the data (the same --seed)."
        )
    for split, examples in splits.items():
        run.write_examples(split, examples)
    cards = [card_of(part) for part in parts]
    card = {
        **{key: value for key, value in card_of(same[0]).items() if key != EVALUATORS_DIGEST},
        **keep_evaluators(run.directory / "data", _judges(same)),
        "sources": _once(source for card in cards for source in card.get("sources") or []),
        "notes": " ".join(_once(card["notes"] for card in cards if card.get("notes"))),
        "counts": {split: len(examples) for split, examples in splits.items()},
        "digest": {split: split_digest(examples) for split, examples in splits.items()},
        "left_out": {split: len(whole[split]) - len(splits[split]) for split in ("dev", "test")},
    }
    write_json(run.directory / "data" / "card.json", card)
    run.note("compose", "data", **card["counts"], left_out=card["left_out"])


def _judges(runs: Sequence[Run]) -> list[EvaluatorConfig]:
    """The evaluators that the runs' data brings, each once, under names that no two share. Each judges every
    example: what it says of tools, it says of another run's that are called the same, too.
    """
    found: dict[str, EvaluatorConfig] = {}
    for entry in (e for run in runs for e in kept_evaluators(run.directory / "data", card_of(run))):
        if any((entry.name, entry.params) == (other.name, other.params) for other in found.values()):
            continue
        names = (entry.called, *(f"{entry.called}-{number}" for number in range(2, len(found) + 3)))
        free = next(name for name in names if name not in found)
        found[free] = entry if free == entry.called else entry.model_copy(update={"label": free})
    return list(found.values())


def _union(runs: Sequence[Run], split: Split) -> list[Example]:
    """The runs' examples of a split, each request once, under ids that no two share."""
    found: dict[str, Example] = {}
    ids: set[str] = set()
    for number, run in enumerate(runs, 1):
        for example in run.examples(split):
            content = leak_keys(example)[-1]
            if content in found:
                continue
            unique = example if example.id not in ids else replace(example, id=f"{number}/{example.id}")
            ids.add(unique.id)
            found[content] = unique
    return list(found.values())


def _without(examples: Iterable[Example], keys: set[str]) -> list[Example]:
    return [example for example in examples if not keys.intersection(leak_keys(example))]


def _once(items: Iterable[Any]) -> list[Any]:
    return list({sha256_json(item): item for item in items}.values())
