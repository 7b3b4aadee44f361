"""The gate: the rules that a version must pass before it is published.

Every reason is one sentence with its figures and what to do next. Rules that compare are in `registry.rules`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentlora.core.evaluators import evaluator_settings
from agentlora.core.files import canonical_json
from agentlora.core.types import JSON, Kind, MethodCard, ServeOn, Task
from agentlora.registry.rules import (
    MAX_UNJUDGED,
    Policy,
    adapter_condition,
    best_baseline,
    difference_of,
    figure_of,
    is_baseline,
    judge_floor,
    judge_rule,
    mean_of,
    policy_of,
    seeds_of,
    with_general,
)
from agentlora.registry.servable import MAX_RANK, rank_of, tensor_problems, value_problems, vllm_problems
from agentlora.registry.verdict import Ruling, Verdict, broken, kept

__all__ = ["Verdict", "judge"]

RECORD_FORMATS = ("agentlora.record/1", "agentlora.record/2")
MAX_DIVERGENCE = 0.02  # nats a token: more than that, and it is another adapter
MAX_WRONG_GOLD = 0.02  # of the examples: their right answers are called wrong
MAX_LOST = 0.9  # of a baseline's answers: it was not put to the test


def judge(
    record: Mapping[str, Any] | None,
    *,
    task: Task,
    card: MethodCard,
    serve_on: ServeOn,
    adapter_config: Mapping[str, Any] | None,
    adapter_digest: str,
    conversion: Mapping[str, Any] | None = None,
    base_digest: str | None = None,
    test_digest: str | None = None,
    settings: Mapping[str, Any] | None = None,
    kind: Kind = "adapter",
    weights: Sequence[Path] = (),
    max_rank: int = MAX_RANK,
    policy: Policy | None = None,
    served: Mapping[str, Any] | None = None,
) -> Verdict:
    """Whether a version may be published.

    Args:
        record: the evaluation's record as a dict, or None when there is none.
        card: of the method that trained it.
        adapter_digest: of the adapter about to be published, computed as the evaluation computed it.
        conversion: what became of an adapter that was converted to LoRA (``divergence``, in nats a token); None of one
            that was not.
        base_digest, test_digest: of the base model and of the test examples that the run has now.
        settings: of the task's own evaluator, as the run has them: what decides is not judged by easier ones.
        kind: whether it is an adapter or a model of its own, about which the rules for adapters say nothing.
        weights: its safetensors files.
        max_rank: the largest rank that the server will be started with.
        policy: what must be shown; default: the task's.
        served: what the alias that is to be moved serves now (label, digest, adapter); None where that is nothing.
    """
    facts: JSON = {"rank": rank_of(adapter_config) if adapter_config else None}
    policy = policy or policy_of(task)
    rulings: list[Ruling] = []
    try:
        about = list(_judge_record(record, task, adapter_digest, base_digest, test_digest, settings))
        rulings += _check("the record is of this version", about)
        if record is not None and not about:
            rulings += _judge_figures(record, task, policy, served, adapter_digest, facts)
    except (KeyError, TypeError, AttributeError) as exc:  # a record that a person wrote or cut
        text = f"The record is not whole ({exc!r} is wrong or missing in it). Run `agentlora eval` again."
        rulings = [broken("the record is of this version", text)]
    bad = [problem for path in weights for problem in value_problems(path)]
    rulings += _check("its weights are numbers", bad)
    serving = (
        _judge_model(serve_on, weights)
        if kind == "model"
        else _judge_serving(card, serve_on, adapter_config, () if bad else weights, max_rank)
    )
    rulings += _check("it can be served where it is to be", list(serving))
    if conversion:
        rulings.append(_judge_conversion(conversion))
    return Verdict(rulings, facts)


def _check(rule: str, problems: Sequence[str]) -> list[Ruling]:
    return [broken(rule, problem) for problem in problems] or [kept(rule)]


def _judge_conversion(conversion: Mapping[str, Any]) -> Ruling:
    rule = "as LoRA it answers as it was trained"
    if conversion["divergence"] <= MAX_DIVERGENCE:
        return kept(rule)
    return broken(
        rule,
        f"As LoRA of rank {conversion['rank']} it answers {conversion['divergence']:.3f} nats a token away from "
        f"what was trained, and at most {MAX_DIVERGENCE} may be lost: train again with a higher "
        "--set convert_rank, or another --method.",
    )


# --- is it proven, and better? ---


def _judge_record(
    record: Mapping[str, Any] | None,
    task: Task,
    adapter_digest: str,
    base_digest: str | None,
    test_digest: str | None,
    settings: Mapping[str, Any] | None,
) -> Iterator[str]:
    again = "Run `agentlora eval` on this run."
    if record is None:
        yield f"There is no evaluation record. {again}"
        return
    if record.get("format") not in RECORD_FORMATS:
        found = record.get("format")
        yield f"The record's format is {found!r} and this gate reads {' and '.join(map(repr, RECORD_FORMATS))}. {again}"
        return
    try:
        canonical_json(record)
    except ValueError:
        yield f"The record is not whole (a figure in it is no finite number). {again}"
        return
    if record["task"] != task.name:
        yield f"The record is about task {record['task']!r}, not {task.name!r}. {again}"
        return
    if record["adapter"] != adapter_digest:
        yield (
            f"The record is about adapter {_short(record['adapter'])} and this one is "
            f"{_short(adapter_digest)}: the weights changed after the evaluation. {again}"
        )
        return
    if record["data"].get("split") != "test":
        yield f"The record is about the split {record['data'].get('split')!r}, and only test decides. {again}"
        return
    for what, then, now in (
        ("base model", record["base"].get("digest"), base_digest),
        ("test examples", record["data"].get("test_digest"), test_digest),
    ):
        if now is not None and then != now:
            yield f"The record is about other {what} ({_short(then)}) than the run's ({_short(now)}). {again}"
            return
    then = evaluator_settings((record.get("provenance") or {}).get("evaluators") or (), task.evaluator)
    if settings is not None and then != settings:
        yield (
            f"The record was judged by the evaluator {task.evaluator!r} with the settings {_settings(then)}, and the "
            f"run's own are {_settings(settings)}. Run `agentlora eval` without an --evaluator of that name, or train "
            "with these settings."
        )
        return
    if record["engine"] == "echo":
        yield "The record is of the engine 'echo', which asks no model. Run `agentlora eval` with another --engine."
        return
    if adapter_condition(record) is None:
        yield f"The record does not hold figures of exactly one adapter. {again}"


def _judge_figures(
    record: Mapping[str, Any],
    task: Task,
    policy: Policy,
    served: Mapping[str, Any] | None,
    adapter_digest: str,
    facts: JSON,
) -> list[Ruling]:
    # what its evaluator says of itself counts as what the task says
    task = replace(task, lower_is_better=task.lower_is_better | {*record.get("lower_is_better", ())})
    record = with_general(record)
    system = adapter_condition(record)
    assert system is not None
    facts["skipped"] = dict(record.get("skipped") or {})
    facts["floor"] = {}
    _tell_headline(record, system, task, facts)
    rulings = _check("enough was asked and answered", list(_judge_coverage(record, system, task)))
    rulings += _check("its evaluator calls expected answers right", list(_judge_gold(record)))
    for rule in policy.rules:
        rulings += judge_rule(rule, record, system, task, served, adapter_digest)
    return [
        *rulings,
        *(judge_floor(metric, bound, record, system, task, facts) for metric, bound in policy.floors.items()),
    ]


def _judge_coverage(record: Mapping[str, Any], system: Mapping[str, Any], task: Task) -> Iterator[str]:
    figure = figure_of(system, task.headline)
    deciding = (figure["n"] - figure["not_applicable"]) // seeds_of(record) if figure else 0
    if deciding < task.min_examples:
        yield (
            f"The record has {deciding} examples that decide, and {task.name!r} needs {task.min_examples}. "
            "Run `agentlora eval` on this run with a higher --limit, or without one."
        )
    if figure is not None and figure["n"]:  # else the rules say so
        unjudged = figure["unscored"] + figure["errored"]
        if unjudged > MAX_UNJUDGED * figure["n"]:
            yield (
                f"{unjudged} of the adapter's {figure['n']} answers could not be judged ({figure['errored']} "
                f"errors, {figure['unscored']} unscored) and at most {MAX_UNJUDGED:.0%} may be: mend what "
                "failed, then run `agentlora eval` again."
            )
    if deciding >= task.min_examples:
        yield from _judge_pairs(record, system, task)
    yield from _judge_baselines(record, task)


def _judge_gold(record: Mapping[str, Any]) -> Iterator[str]:
    """Records of before do not say of how many examples it is not so."""
    found = ((record.get("provenance") or {}).get("evaluator_problems") or {}).get("") or {}
    wrong, asked = found.get("examples") or 0, found.get("asked") or 0
    if wrong > MAX_WRONG_GOLD * asked:
        yield (
            f"By the task's own evaluator the expected answer of {wrong} of {asked} examples is not right, and of at "
            f"most {MAX_WRONG_GOLD:.0%} it may be so: who is right there counts as wrong ({found.get('why')}). Mend "
            "the data, or the evaluator's settings (eval.evaluators), then train and evaluate again."
        )


def _judge_pairs(record: Mapping[str, Any], system: Mapping[str, Any], task: Task) -> Iterator[str]:
    """Whether enough of what decides was answered by the best baseline too; a tenth of the least may be lost."""
    lower = task.headline in task.lower_is_better
    baseline = best_baseline(record, task.headline, lower_is_better=lower)
    found = difference_of(record, system["name"], baseline["name"], task.headline) if baseline else None
    both = found["n"] // seeds_of(record) if found else 0
    if baseline and found and both < (1 - MAX_UNJUDGED) * task.min_examples:
        because = (
            f" (the first time because: {baseline['first_error']})" if baseline.get("first_error") else ""
        )
        yield (
            f"Only {both} examples were answered by the adapter and by the best baseline, {baseline['name']!r}, and "
            f"{task.name!r} needs {task.min_examples}{because}: mend what failed, or evaluate on more examples."
        )


def _judge_baselines(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    """The best of those that answered is not the best baseline where another could not be judged at all."""
    for condition in record["conditions"]:
        figure = figure_of(condition, task.headline)
        if not is_baseline(condition) or not figure or not figure["n"]:
            continue
        lost = figure["unscored"] + figure["errored"]
        if lost > MAX_LOST * figure["n"]:
            because = f": {condition['first_error']}" if condition.get("first_error") else ""
            yield (
                f"{lost} of the {figure['n']} answers of the baseline {condition['name']!r} failed or could not be "
                f"judged{because}. It may be the best one: mend what failed, then run `agentlora eval` again."
            )


def _tell_headline(record: Mapping[str, Any], system: Mapping[str, Any], task: Task, facts: JSON) -> None:
    """What the card says of the headline metric, where there is something to compare with."""
    metric = task.headline
    baseline = best_baseline(record, metric, lower_is_better=metric in task.lower_is_better)
    figure = figure_of(system, metric)
    if baseline is None or figure is None or figure["mean"] is None:
        return
    found = difference_of(record, system["name"], baseline["name"], metric) or {}
    facts["headline"] = {
        "metric": metric,
        "value": figure["mean"],
        "low": figure["low"],
        "high": figure["high"],
        "best_baseline": baseline["name"],
        "baseline_value": mean_of(baseline, metric),
        "difference": found.get("mean"),
        "diff_low": found.get("low"),
        "diff_high": found.get("high"),
    }


# --- can it be served there? ---


def _judge_model(serve_on: ServeOn, weights: Sequence[Path]) -> Iterator[str]:
    if not weights:
        yield "It is a model of its own and has no safetensors file: look at the run's export."
    if serve_on == "vllm":
        yield (
            "It is a model of its own, and `agentlora serve` runs vLLM with adapters of one base: choose --serve-on "
            "transformers, or publish it with --serve-on vllm, which makes LoRA of it."
        )


def _judge_serving(
    card: MethodCard,
    serve_on: ServeOn,
    config: Mapping[str, Any] | None,
    weights: Sequence[Path],
    max_rank: int,
) -> Iterator[str]:
    if serve_on == "none":
        return
    if serve_on not in card.serve_on:
        convert = {"exact": ", convert it to LoRA", "approximate": ", convert it to LoRA with an error"}
        places = " or ".join(p for p in card.serve_on if p != "none") or "none"
        yield (
            f"What this method exports runs on {places}, not on {serve_on}: choose --serve-on {places}"
            f"{convert.get(card.to_lora, '')}{', or merge it into its base' if card.mergeable else ''}."
        )
        return
    if serve_on != "vllm":
        return
    if config is None:
        yield "vLLM serves adapters and this version has no adapter_config.json: look at the run's export."
        return
    yield from vllm_problems(config, max_rank=max_rank)
    for path in weights:
        yield from tensor_problems(path)


def _settings(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True) if settings else "it has by default"


def _short(digest: str | None) -> str:
    return f"sha256:{digest[:12]}" if digest else "none"
