"""The gate: the rules that a version must pass before it is published.

Every reason is one sentence with its figures and what to do next. The functions under "the record" are
the only code here that knows the shape of a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlora.core.types import JSON, Kind, MethodCard, ServeOn, Task
from agentlora.registry.servable import MAX_RANK, rank_of, tensor_problems, value_problems, vllm_problems

RECORD_FORMATS = ("agentlora.record/1", "agentlora.record/2")
MAX_DIVERGENCE = 0.02  # nats a token: more than that, and it is another adapter
MAX_UNJUDGED = 0.1  # of the examples: a record that leaves out more says too little about the rest
MIN_GROUPS = 6  # with fewer, even a gain in every one may be chance: 2 · 2⁻⁵ = 6 % (a sign test)
MAX_LOST = 0.9  # of a baseline's answers: it was not put to the test


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer; `reasons` is empty exactly when it passed.

    `facts` has ``headline`` (as the card wants it), ``rank``, ``floor`` (metric → value, bound, met) and
    ``skipped`` (baselines that were not evaluated → why); what could not be found out is absent.
    """

    passed: bool
    reasons: list[str]
    facts: JSON


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
    kind: Kind = "adapter",
    weights: Sequence[Path] = (),
    max_rank: int = MAX_RANK,
) -> Verdict:
    """Whether a version may be published.

    Args:
        record: the evaluation's record as a dict, or None when there is none.
        card: of the method that trained it.
        adapter_digest: of the adapter about to be published, computed as the evaluation computed it.
        conversion: what became of an adapter that was converted to LoRA (``divergence``, in nats a token); None of one
            that was not.
        base_digest, test_digest: of the base model and of the test examples that the run has now.
        kind: whether it is an adapter or a model of its own, about which the rules for adapters say nothing.
        weights: its safetensors files.
        max_rank: the largest rank that the server will be started with.
    """
    facts: JSON = {"rank": rank_of(adapter_config) if adapter_config else None}
    try:
        reasons = list(_judge_record(record, task, adapter_digest, base_digest, test_digest, facts))
    except (KeyError, TypeError, AttributeError) as exc:  # a record that a person wrote or cut
        reasons = [
            f"The record is not whole ({exc!r} is wrong or missing in it). Run `agentlora eval` again."
        ]
    broken = [problem for path in weights for problem in value_problems(path)]
    reasons += broken
    if kind == "model":
        reasons += _judge_model(serve_on, weights)
    else:
        reasons += _judge_serving(card, serve_on, adapter_config, () if broken else weights, max_rank)
    if conversion and conversion["divergence"] > MAX_DIVERGENCE:
        reasons.append(
            f"As LoRA of rank {conversion['rank']} it answers {conversion['divergence']:.3f} nats a token away from "
            f"what was trained, and at most {MAX_DIVERGENCE} may be lost: train again with a higher "
            "--set convert_rank, or another --method."
        )
    return Verdict(not reasons, reasons, facts)


# --- is it proven, and better? ---


def _judge_record(
    record: Mapping[str, Any] | None,
    task: Task,
    adapter_digest: str,
    base_digest: str | None,
    test_digest: str | None,
    facts: JSON,
) -> Iterator[str]:
    again = "Run `agentlora eval` on this run."
    if record is None:
        yield f"There is no evaluation record. {again}"
        return
    if record.get("format") not in RECORD_FORMATS:
        found = record.get("format")
        yield f"The record's format is {found!r} and this gate reads {' and '.join(map(repr, RECORD_FORMATS))}. {again}"
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
    if record["engine"] == "echo":
        yield "The record is of the engine 'echo', which asks no model. Run `agentlora eval` with another --engine."
        return
    facts["skipped"] = dict(record.get("skipped") or {})
    system = adapter_condition(record)
    if system is None:
        yield f"The record does not hold figures of exactly one adapter. {again}"
        return
    figure = figure_of(system, task.headline)
    deciding = figure["n"] - figure["not_applicable"] if figure else 0
    if deciding < task.min_examples:
        yield (
            f"The record has {deciding} examples that decide, and {task.name!r} needs {task.min_examples}. "
            "Run `agentlora eval` on this run with a higher --limit, or without one."
        )
    yield from _judge_coverage(system, task)
    yield from _judge_baselines(record, task)
    yield from _judge_gain(record, system, task, facts)
    yield from _judge_floor(system, task, facts)


def _judge_coverage(system: Mapping[str, Any], task: Task) -> Iterator[str]:
    figure = figure_of(system, task.headline)
    if figure is None or not figure["n"]:
        return  # the gain says so
    unjudged = figure["unscored"] + figure["errored"]
    if unjudged > MAX_UNJUDGED * figure["n"]:
        yield (
            f"{unjudged} of the adapter's {figure['n']} answers could not be judged ({figure['errored']} "
            f"errors, {figure['unscored']} unscored) and at most {MAX_UNJUDGED:.0%} may be: mend what "
            "failed, then run `agentlora eval` again."
        )


def _judge_baselines(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    """The best of those that answered is not the best baseline where another could not be judged at all."""
    for condition in record["conditions"]:
        figure = figure_of(condition, task.headline)
        if condition["adapter"] or condition["kind"] == "given" or not figure or not figure["n"]:
            continue
        lost = figure["unscored"] + figure["errored"]
        if lost > MAX_LOST * figure["n"]:
            because = f": {condition['first_error']}" if condition.get("first_error") else ""
            yield (
                f"{lost} of the {figure['n']} answers of the baseline {condition['name']!r} failed or could not be "
                f"judged{because}. It may be the best one: mend what failed, then run `agentlora eval` again."
            )


def _judge_gain(
    record: Mapping[str, Any], system: Mapping[str, Any], task: Task, facts: JSON
) -> Iterator[str]:
    metric = task.headline
    lower = metric in task.lower_is_better
    value = mean_of(system, metric)
    baseline = best_baseline(record, metric, lower_is_better=lower)
    if value is None:
        yield f"The record has no value of {metric} for the adapter. Run `agentlora eval` on this run."
        return
    if baseline is None:
        yield f"The record has no baseline with a value of {metric}. Run `agentlora eval` with its baselines."
        return
    found = difference_of(record, system["name"], baseline["name"], metric)
    facts["headline"] = _headline(metric, system, baseline, found)
    theirs = f"{mean_of(baseline, metric):.3f} for the best baseline, {baseline['name']!r}"
    against = f"{metric} is {value:.3f} and {theirs}"
    if found is None or found["mean"] is None or found["low"] is None or found["high"] is None:
        yield (
            f"{against}, but their paired difference has no interval. Evaluate on more examples, of at least "
            "two groups."
        )
        return
    if found["groups"] < MIN_GROUPS:
        yield (
            f"{against}, but on examples of {found['groups']} groups, and fewer than {MIN_GROUPS} show nothing: those "
            "of a group may be right or wrong together. Evaluate on more of them."
        )
        return
    worst_gain = -found["high"] if lower else found["low"]
    if not worst_gain > 0:  # so that NaN, too, is no proof
        yield (
            f"{against}: the paired difference is {found['mean']:+.3f} with a 95 % interval of "
            f"{found['low']:+.3f} to {found['high']:+.3f} (n = {found['n']}), which does not show that the "
            "adapter is better. Train longer or on more data; with a difference this small, evaluate on more "
            "examples."
        )


def _judge_floor(system: Mapping[str, Any], task: Task, facts: JSON) -> Iterator[str]:
    facts["floor"] = {}
    for metric, bound in task.floor.items():
        figure, value = figure_of(system, metric), mean_of(system, metric)
        if figure is not None and figure["n"] and figure["not_applicable"] == figure["n"]:
            continue  # the test split has no example that the metric says anything about
        lower = metric in task.lower_is_better
        met = value is not None and (value <= bound if lower else value >= bound)
        facts["floor"][metric] = {"value": value, "bound": bound, "met": met}
        if value is None:
            yield f"Task {task.name!r} has a floor for {metric}, missing in the record: run `agentlora eval`."
        elif not met:
            side = "at most" if lower else "at least"
            yield (
                f"{metric} is {value:.3f} and task {task.name!r} asks for {side} {bound:g} of any published "
                "version. Train longer or on more data; the evaluation's report shows where it fails."
            )


def _headline(
    metric: str, system: Mapping[str, Any], baseline: Mapping[str, Any], found: Mapping[str, Any] | None
) -> JSON:
    figure = figure_of(system, metric) or {}
    found = found or {}
    return {
        "metric": metric,
        "value": figure.get("mean"),
        "low": figure.get("low"),
        "high": figure.get("high"),
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
            "transformers, or train with --convert, which makes LoRA of it."
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


# --- the record ---


def adapter_condition(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition that used the adapter, when there is exactly one; what stands aside decides nothing."""
    found = [c for c in record["conditions"] if c["adapter"] and not c.get("aside")]
    return found[0] if len(found) == 1 else None


def best_baseline(
    record: Mapping[str, Any], metric: str, *, lower_is_better: bool
) -> Mapping[str, Any] | None:
    """The condition without an adapter that is best by `metric`, a teacher's answers left out; None when none has a
    value.
    """
    baselines = [c for c in record["conditions"] if not c["adapter"] and c["kind"] != "given"]
    means = [(mean_of(c, metric), c) for c in baselines]
    scored = [(-mean if lower_is_better else mean, c) for mean, c in means if mean is not None]
    return max(scored, key=lambda pair: pair[0], default=(0.0, None))[1]


def figure_of(condition: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    """A metric's figure: n, scored, unscored, errored, mean, low, high."""
    figure: Mapping[str, Any] | None = condition["metrics"].get(metric)
    return figure


def mean_of(condition: Mapping[str, Any], metric: str) -> float | None:
    """A metric's mean, or None when nothing was scored."""
    figure = figure_of(condition, metric)
    return None if figure is None else figure["mean"]


def difference_of(
    record: Mapping[str, Any], system: str, baseline: str, metric: str
) -> Mapping[str, Any] | None:
    """The paired difference system - baseline: n, mean, low, high."""
    wanted = {"system": system, "baseline": baseline, "metric": metric}
    found: Iterable[Mapping[str, Any]] = record["differences"]
    return next((d for d in found if all(d[key] == value for key, value in wanted.items())), None)


def _short(digest: str | None) -> str:
    return f"sha256:{digest[:12]}" if digest else "none"
