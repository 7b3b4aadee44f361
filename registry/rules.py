"""The rules that compare a version with what there is: policy, differences, floors.

A difference is judged by its interval against a margin, as in trials of non-inferiority (G. Piaggio et al., "Reporting
of noninferiority and equivalence randomized trials", JAMA 308 (2012) 2594-2604): all of it above the margin passes, all
of it below fails, and what crosses is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentlora.core.config import Against, GateConfig, Undecided
from agentlora.core.errors import ConfigError, unknown
from agentlora.core.power import error_of, examples_needed
from agentlora.core.types import JSON, Task
from agentlora.registry.verdict import Ruling

MAX_UNJUDGED = 0.1  # of the examples: a record that leaves out more says too little about the rest
MIN_GROUPS = 6  # with fewer, even a gain in every one may be chance: 2 · 2⁻⁵ = 6 % (a sign test)
HEADLINE = "headline"  # in a policy: the task's
GENERAL = "general"  # the metric of the probes of general ability
GENERAL_MARGIN = 0.02
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Rule:
    """A `GateRule` with nothing left open, of a metric."""

    metric: str
    margin: float
    undecided: Undecided
    against: tuple[Against, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a version must show; `floors` by metric."""

    rules: tuple[Rule, ...]
    floors: Mapping[str, float]

    @property
    def asks_served(self) -> bool:
        """Whether it compares with what is served today."""
        return any("served" in rule.against for rule in self.rules)


def policy_of(task: Task, config: GateConfig | None = None) -> Policy:
    """The default policy with what `config` says over it. docs/evaluation.md gives its reasons."""
    config = config or GateConfig()
    compared: tuple[Against, ...] = ("best-baseline", "served")
    rules = {task.headline: Rule(task.headline, 0.0, "fail", compared)}
    for metric, margin in task.guards.items():
        rules[metric] = Rule(metric, margin, "estimate", ("base",) if metric == GENERAL else compared)
    rules.setdefault(GENERAL, Rule(GENERAL, GENERAL_MARGIN, "fail", ("base",)))
    for name, said in config.rules.items():
        metric = task.headline if name == HEADLINE else name
        if said is None:
            rules.pop(metric, None)
            continue
        before = rules.get(metric, Rule(metric, 0.0, "fail", compared))
        given = {key: value for key, value in said if value is not None}
        rules[metric] = replace(before, **given)
    if not config.served:
        rules = {metric: replace(rule, against=_without_served(rule)) for metric, rule in rules.items()}
    return Policy(tuple(rules.values()), {**task.floor, **config.floors})


def _without_served(rule: Rule) -> tuple[Against, ...]:
    return tuple(against for against in rule.against if against != "served")


def check_policy(
    config: GateConfig, task: Task, metrics: Collection[str], unbounded: Collection[str] = ()
) -> None:
    """Raises ConfigError where a policy, or the task, names a metric that the task's own evaluator does not have, gives
    points for a share (all metrics are shares but those that are `unbounded`), or compares a metric with what does not
    have it, or with nothing.
    """
    known = {*metrics, *task.floor, *task.guards, task.headline, GENERAL}
    for section, names in (("rules", {*config.rules} - {HEADLINE}), ("floors", {*config.floors})):
        for name in sorted(names - known):
            choices = known | ({HEADLINE} if section == "rules" else set())
            raise ConfigError(f"gate.{section}: " + unknown("metric", name, choices))
    if wrong := [*_no_shares(config, task, {*unbounded} - {GENERAL})]:
        raise ConfigError("\n".join(wrong))
    for rule in policy_of(task, config).rules:
        if rule.metric == GENERAL and set(rule.against) - {"base"}:
            raise ConfigError(
                f"gate.rules.{GENERAL}.against: the probes are asked of the version and of its base, and of nothing "
                "else. Choose [base]."
            )
        if not rule.against:
            raise ConfigError(
                f"gate.rules.{rule.metric}.against: with gate.served=false nothing is left to compare with. Add "
                "best-baseline or base, or take the rule away (null)."
            )


def _no_shares(config: GateConfig, task: Task, unbounded: Collection[str]) -> Iterator[str]:
    """What is wrong with margins and floors of metrics that are shares: with a margin of 1 nothing could fail, and with
    -1 nothing pass.
    """
    said = {name: rule.margin for name, rule in config.rules.items() if rule and rule.margin is not None}
    margins = {f"gate.rules.{name}.margin": (name, margin) for name, margin in said.items()}
    margins |= {
        f"task {task.name!r}, guards[{name!r}]": (name, margin) for name, margin in task.guards.items()
    }
    floors = {f"gate.floors.{name}": (name, floor) for name, floor in config.floors.items()}
    floors |= {f"task {task.name!r}, floor[{name!r}]": (name, floor) for name, floor in task.floor.items()}
    for where, (name, value) in margins.items():
        metric = task.headline if name == HEADLINE else name
        if metric not in unbounded and not -1 < value < 1:
            yield (
                f"{where}: {metric} is a share: 0.02 is two points. A margin lies between -1 and 1, and this is "
                f"{value:g}.{_meant(value)}"
            )
    for where, (metric, value) in floors.items():
        if metric not in unbounded and not 0 <= value <= 1:
            yield (
                f"{where}: {metric} is a share: 0.3 is 30 %. A floor lies from 0 to 1, and this is {value:g}."
                f"{_meant(value)}"
            )


def _meant(points: float) -> str:
    return f" Did you mean {points / 100:g}?" if abs(points) < 100 else ""


# --- differences ---


def judge_rule(
    rule: Rule,
    record: Mapping[str, Any],
    system: Mapping[str, Any],
    task: Task,
    served: Mapping[str, Any] | None,
    adapter: str,
) -> Iterator[Ruling]:
    """One ruling for each of what the rule compares with. `served` is what the alias serves now (label, digest,
    adapter), `adapter` the digest of the one that is judged.
    """
    figure = figure_of(system, rule.metric)
    if figure is None or figure["mean"] is None:
        yield _without_figure(rule, figure, record, task)
        return
    for against in rule.against:
        name = _rule_name(rule, against)
        if against == "served":
            yield _judge_served(name, rule, record, system, task, served, adapter)
            continue
        baseline = (
            best_baseline(record, task.headline, lower_is_better=task.headline in task.lower_is_better)
            if against == "best-baseline"
            else next((c for c in record["conditions"] if c["name"] == "base"), None)
        )
        if baseline is None:
            what = "baseline with a value of " + task.headline if against == "best-baseline" else "base"
            yield Ruling(
                name, "fail", False, f"The record has no {what}. Run `agentlora eval` with its baselines."
            )
            continue
        label = (
            f"the best baseline, {baseline['name']!r}"
            if against == "best-baseline"
            else repr(baseline["name"])
        )
        yield _judge_difference(name, rule, record, system, baseline, label, task)


def _mending(metric: str) -> str:
    if metric == GENERAL:
        return "Give the training more of the base's own answers (--set data.replay=0.1)."
    return "Train longer or on more data; the evaluation's report shows where it fails."


def _without_figure(
    rule: Rule, figure: Mapping[str, Any] | None, record: Mapping[str, Any], task: Task
) -> Ruling:
    probes = (record.get("probes") or {}) if rule.metric == GENERAL else {}
    if _about_nothing(record, rule.metric, figure):
        text = f"The test split has no example that {rule.metric} is about."
    elif figure is None and probes.get("failed"):
        text = (
            f"General ability was asked about and could not be measured: {probes['unscored']}. Mend that, then "
            "run `agentlora eval` again."
        )
        return Ruling(rule.metric, "undecided", rule.undecided != "fail", text)
    elif figure is None and rule.metric == GENERAL:
        text = "General ability was not measured: nothing is known of what the version unlearnt."
    elif figure is None and rule.metric != task.headline:
        text = f"The record says nothing of {rule.metric}."
    else:
        text = f"The record has no value of {rule.metric} for the adapter. Run `agentlora eval` on this run."
        return Ruling(rule.metric, "fail", False, text)
    return Ruling(rule.metric, "skipped", True, text)


def _about_nothing(record: Mapping[str, Any], metric: str, figure: Mapping[str, Any] | None) -> bool:
    """Whether none of the examples is about the metric, as far as any answer to them tells: some may have failed."""
    if figure is None or not figure["not_applicable"]:
        return False
    if figure["not_applicable"] == figure["n"]:
        return True
    return all(mean_of(condition, metric) is None for condition in record["conditions"])


def _judge_served(
    name: str,
    rule: Rule,
    record: Mapping[str, Any],
    system: Mapping[str, Any],
    task: Task,
    served: Mapping[str, Any] | None,
    adapter: str,
) -> Ruling:
    if served is None:
        return Ruling(name, "skipped", True, "Nothing is served that it could be compared with.")
    label = served["label"]
    if served["adapter"] == adapter:
        return Ruling(name, "skipped", True, f"It is what {label} serves.")
    then = record.get("served") or {}
    passed = rule.undecided == "pass"
    if then.get("digest") != served["digest"]:
        text = f"The record does not compare it with {label}, which is served now. Run `agentlora eval` on this run."
        return Ruling(name, "undecided", passed, text)
    condition = next((c for c in record["conditions"] if c["kind"] == "served"), None)
    if condition is None:
        text = (
            f"It could not be compared with {label}, which is served now: {then.get('why', 'no reason is known')}. "
            "Publish it under another --alias or --name, or leave 'served' out of the policy's `against`."
        )
        return Ruling(name, "undecided", passed, text)
    asked = condition["metrics"][rule.metric]
    lost = asked["unscored"] + asked["errored"]
    if lost > MAX_UNJUDGED * asked["n"]:
        because = f": {condition['first_error']}" if condition.get("first_error") else ""
        text = (
            f"{lost} of the {asked['n']} answers of {label}, which is served now, failed or could not be judged"
            f"{because}. Mend what failed, then run `agentlora eval` again."
        )
        return Ruling(name, "undecided", passed, text)
    return _judge_difference(name, rule, record, system, condition, f"what is served now, {label}", task)


def _judge_difference(
    name: str,
    rule: Rule,
    record: Mapping[str, Any],
    system: Mapping[str, Any],
    baseline: Mapping[str, Any],
    label: str,
    task: Task,
) -> Ruling:
    """The paired difference against the rule's margin, in favour of the version whichever way the metric counts."""
    metric, least = rule.metric, -rule.margin
    sign = -1 if metric in task.lower_is_better else 1
    value, theirs = system["metrics"][metric]["mean"], mean_of(baseline, metric)
    figures: JSON = {"metric": metric, "against": baseline["name"], "value": value, "baseline": theirs}
    said = f"{metric} is {value:.3f} and {_number(theirs)} for {label}"
    found = difference_of(record, system["name"], baseline["name"], metric)
    if found is None or found["mean"] is None:
        text = f"{said}, but no example was scored on both. Run `agentlora eval` on this run."
        return Ruling(name, "undecided", rule.undecided == "pass", text, figures)
    gain = sign * found["mean"]
    figures |= {"gain": gain, "least": least, "n": found["n"], "groups": found["groups"]}
    passed, remark = _undecided(rule, gain, least)
    ends = found["low"], found["high"]
    if not all(end is not None and math.isfinite(end) for end in ends):
        text = f"{said}, but their paired difference has no interval. {remark}"
        more = "Evaluate on more examples, of at least two groups."
        return Ruling(name, "undecided", passed, f"{text.strip()} {more}", figures)
    low, high = sorted(sign * end for end in ends)
    figures |= {"low": low, "high": high}
    if found.get("unbounded"):
        figures["unbounded"] = True
    if found["groups"] < MIN_GROUPS:
        text = (
            f"{said}, but on examples of {found['groups']} groups, and fewer than {MIN_GROUPS} show nothing: those of "
            f"a group may be right or wrong together. {remark}"
        )
        return Ruling(name, "undecided", passed, f"{text.strip()} Evaluate on more of them.", figures)
    text = (
        f"{said}: the paired gain is {gain:+.3f} with a 95 % interval of {low:+.3f} to {high:+.3f} "
        f"(n = {found['n']})"
    )
    if low > least:
        return Ruling(name, "pass", True, f"{text}, where {_wanted(least)}.", figures)
    if high <= least:
        figures["short"] = least - gain
        return Ruling(name, "fail", False, f"{text}, where {_wanted(least)}. {_mending(metric)}", figures)
    figures["short"] = least - low
    # n counts every answer to an example; probes are asked once
    examples = found["n"] // (1 if metric == GENERAL else seeds_of(record))
    figures["needed"] = examples_needed(examples, error_of(low, high), abs(gain - least))
    text = f"{text}, which does not show that {_shown(least)}. {remark}"
    more = _more_examples(examples, figures["needed"])
    return Ruling(name, "undecided", passed, f"{text.strip()} {more}", figures)


def _undecided(rule: Rule, gain: float, least: float) -> tuple[bool, str]:
    """Whether what is undecided passes by the policy, and what to remark about it."""
    if rule.undecided == "pass":
        return True, "It is undecided, and the policy lets that pass."
    if rule.undecided == "fail":
        return False, ""
    passed = gain > least if rule.margin <= 0 else gain >= least - ROUNDING
    return passed, (
        "It is undecided, and the policy goes by the difference itself, which "
        f"{'is within' if passed else 'is not within'} the margin."
    )


def _more_examples(examples: int, needed: int | None) -> str:
    if needed is None:
        return "No number of examples would decide: the difference lies at the margin. Train longer or on more data."
    return (
        f"If the difference is what it seems, about {needed:,} such examples would decide in four of five cases; here "
        f"are {examples:,}."
    )


def _wanted(least: float) -> str:
    if least > 0:
        return f"more than {least:g} better is asked for"
    return f"at most {-least:g} worse is allowed" if least else "better is asked for"


def _shown(least: float) -> str:
    if least > 0:
        return f"it is more than {least:g} better"
    return f"it is at most {-least:g} worse" if least else "the adapter is better"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _rule_name(rule: Rule, against: Against) -> str:
    kind = "not worse" if rule.margin > 0 else "better"
    than = {"best-baseline": "the best baseline", "served": "what is served", "base": "the base"}[against]
    return f"{rule.metric}: {kind} than {than}"


# --- floors ---


def judge_floor(
    metric: str, bound: float, record: Mapping[str, Any], system: Mapping[str, Any], task: Task, facts: JSON
) -> Ruling:
    """The figure itself against an absolute bound; ``facts["floor"]`` says what was found."""
    name = f"{metric}: floor"
    figure, value = figure_of(system, metric), mean_of(system, metric)
    if value is None and _about_nothing(record, metric, figure):
        return Ruling(name, "skipped", True, f"The test split has no example that {metric} is about.")
    lower = metric in task.lower_is_better
    met = value is not None and (value <= bound if lower else value >= bound)
    facts["floor"][metric] = {"value": value, "bound": bound, "met": met}
    figures: JSON = {"metric": metric, "value": value, "most" if lower else "least": bound}
    if figure is not None and figure.get("unbounded"):
        figures["unbounded"] = True
    if value is None:
        text = f"Task {task.name!r} has a floor for {metric}, missing in the record: run `agentlora eval`."
        return Ruling(name, "fail", False, text, figures)
    side = "at most" if lower else "at least"
    if met:
        return Ruling(
            name, "pass", True, f"{metric} is {value:.3f}, where {side} {bound:g} is asked for.", figures
        )
    figures["short"] = value - bound if lower else bound - value
    who = f"task {task.name!r}" if task.floor.get(metric) == bound else "the policy"
    text = (
        f"{metric} is {value:.3f} and {who} asks for {side} {bound:g} of any published version. Train "
        "longer or on more data; the evaluation's report shows where it fails."
    )
    return Ruling(name, "fail", False, text, figures)


# --- the record ---


def adapter_condition(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition that used the adapter, when there is exactly one; what stands aside decides nothing."""
    found = [c for c in record["conditions"] if c["adapter"] and not c.get("aside")]
    return found[0] if len(found) == 1 else None


def is_baseline(condition: Mapping[str, Any]) -> bool:
    """Whether it is the base in some form: neither an adapter, nor a teacher's answers, nor what is served today."""
    return not condition["adapter"] and condition["kind"] not in ("given", "served")


def best_baseline(
    record: Mapping[str, Any], metric: str, *, lower_is_better: bool
) -> Mapping[str, Any] | None:
    """The baseline that is best by `metric`; None when none has a value."""
    means = [(mean_of(c, metric), c) for c in record["conditions"] if is_baseline(c)]
    scored = [(-mean if lower_is_better else mean, c) for mean, c in means if mean is not None]
    return max(scored, key=lambda pair: pair[0], default=(0.0, None))[1]


def seeds_of(record: Mapping[str, Any]) -> int:
    """Answers to every example."""
    seeds: int = (record.get("decoding") or {}).get("seeds") or 1
    return seeds


def with_general(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with the probes of general ability as a metric of base and adapter, where both have them."""
    probes = record.get("probes") or {}
    adapted = adapter_condition(record)
    if adapted is None or not all(probes.get(part) for part in ("base", "adapter", "difference")):
        return record
    figures = {"base": probes["base"], adapted["name"]: probes["adapter"]}
    conditions = [
        {**c, "metrics": {**c["metrics"], GENERAL: figures[c["name"]]}} if c["name"] in figures else c
        for c in record["conditions"]
    ]
    found = {**probes["difference"], "metric": GENERAL, "system": adapted["name"], "baseline": "base"}
    return {**record, "conditions": conditions, "differences": [*record["differences"], found]}


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
    found = (d for d in record["differences"] if all(d[key] == value for key, value in wanted.items()))
    return next(found, None)
