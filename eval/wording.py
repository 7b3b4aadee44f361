"""How reports say things: names of metrics, percentages with their intervals, differences in points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from agentlora.core.types import JSON
from agentlora.eval.conditions import SERVED
from agentlora.eval.record import DifferenceRecord, Record

NOTHING = "–"
LEGEND = "↓ lower is better."
Direction = Literal["up", "down", ""]

_LABELS = {
    "parsed": "Parsed",
    "schema_valid": "Schema valid",
    "right_name": "Right name",
    "right_arguments": "Right arguments",
    "exact_match": "Exact match",
    "false_call": "False calls",
    "guessed_call": "Guessed calls",
    "false_refusal": "False refusals",
    "right_answer": "Right answers",
    "field_accuracy": "Right fields",
    "same_tool": "Several calls of one tool",
    "unit": "Other unit",
    "date": "Date in other words",
    "number": "Number in words",
    "synonym": "Synonym of a choice",
    "yes_no": "Yes or no in plain words",
    "source-schema.valid": "Fits the source's schema",
}


class Scaled(Protocol):
    """What is a share of 0 to 1, unless `unbounded`."""

    @property
    def unbounded(self) -> bool: ...


class Measured(Scaled, Protocol):
    """A mean with the ends of its 95 % interval."""

    @property
    def mean(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def label(name: str) -> str:
    """A metric, slice or case for people."""
    who, beside, metric = name.partition(".")
    if beside and metric and name not in _LABELS:  # of an evaluator beside the task's own
        return f"{who.capitalize()}: {label(metric).lower()}"
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def arrowed(record: Record, metric: str) -> str:
    """Its label, with an arrow where lower is better."""
    return label(metric) + (" ↓" if metric in record.lower_is_better else "")


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def mean_text(figure: Measured) -> str:
    """The mean, in per cent where it is a share."""
    return _number(figure.mean) if figure.unbounded and figure.mean is not None else percent(figure.mean)


def _number(value: float) -> str:
    return (f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def interval(figure: Measured) -> str:
    """The ends of the 95 % interval, in whole per cent of a share; empty when there is none."""
    if figure.low is None or figure.high is None:
        return ""
    if figure.unbounded:
        return f"{_number(figure.low)} to {_number(figure.high)}"
    return f"{100 * figure.low:.0f}–{100 * figure.high:.0f}"


def figure_text(figure: Measured) -> str:
    """``84.0 % (78–89)``."""
    spread = interval(figure)
    return f"{mean_text(figure)} ({spread})" if spread else mean_text(figure)


def points(value: float | None) -> str:
    """A difference of two proportions, in percentage points with its sign."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.1f}".replace("-", "−") if value else "0.0"  # −0.04 is no gain: its sign stays


def gain(value: float | None, difference: Scaled) -> str:
    """One of a difference's values with its sign: in percentage points where the metric is a share."""
    if value is None or not difference.unbounded:
        return points(value)
    return ("+" if value > 0 else "") + _number(value)


def difference_text(difference: DifferenceRecord) -> str:
    """``+62.0 points (+51.0 to +72.0)``."""
    if difference.mean is None:
        return NOTHING
    said = gain(difference.mean, difference) + ("" if difference.unbounded else " points")
    if difference.low is None or difference.high is None:
        return said
    return f"{said} ({gain(difference.low, difference)} to {gain(difference.high, difference)})"


def direction(found: Measured, lower: bool) -> Direction:
    """Of a difference: ``up`` where all of its interval is to the good, ``down`` where all is to the bad, else empty.
    `lower`: of the metric, lower is better.
    """
    if found.low is None or found.high is None:
        return ""
    better, worse = found.low > 0, found.high < 0
    if lower:
        better, worse = worse, better
    return "up" if better else "down" if worse else ""


class Note(NamedTuple):
    """What a reader has to know beside the figures; `warns` of what is missing in them."""

    said: str
    warns: bool = False


def notes(record: Record) -> Iterator[Note]:
    """Every report has all of them."""
    yield from gold_notes(record)
    if said := detectable_text(record):
        yield Note(said)
    if record.temperature:
        answers = "One answer" if record.seeds == 1 else f"{record.seeds} answers"
        yield Note(f"{answers} to every example, sampled at temperature {record.temperature:g}.")
    yield from _served_notes(record)
    for name, why in record.skipped.items():
        yield Note(f"{name!r} was left out: {why}.", True)
    yield from map(Note, statuses(record))
    for c in record.conditions:
        figure = c.metrics[record.headline]
        if figure.errored:
            failed = f"{figure.errored} of {figure.n} requests failed, in no mean: {c.first_error}"
            yield Note(f"{c.name!r}: {failed}", True)
        if figure.unscored:
            unjudged = f"{figure.unscored} of {figure.n} answers could not be judged, and are in no mean."
            yield Note(f"{c.name!r}: {unjudged}", True)
        if c.truncated:
            yield Note(f"{c.name!r}: {c.truncated} answers were cut off at {record.max_tokens} tokens.")
    yield from _judging_notes(record)


def gold_notes(record: Record) -> Iterator[Note]:
    """Where evaluators call expected answers wrong, or wrong ones right: figures are no better than that."""
    told = record.provenance.get("evaluator_problems")
    for name, found in told.items() if isinstance(told, dict) else ():
        if not isinstance(found, dict):
            continue
        who = f"the evaluator {name!r}" if name else "its own evaluator"
        if found.get("examples"):
            count = f"{found['examples']} of {found.get('asked', NOTHING)}"
            yield Note(
                f"By {who} the expected answer of {count} examples is not right: {found.get('why')}", True
            )
        elif found.get("first"):
            more = f" (and {found['problems'] - 1} more)" if found.get("problems", 1) > 1 else ""
            yield Note(f"What {who} finds wrong with the examples: {found['first'][0]}{more}", True)


def _served_notes(record: Record) -> Iterator[Note]:
    """Which version the alias served, and why it was not asked."""
    if not record.served:
        return
    version = record.served.get("label", NOTHING)
    if "why" in record.served:
        yield Note(f"What is served now, {version}, was not asked: {record.served['why']}.", True)
    for name in (c.name for c in record.conditions if c.kind == SERVED):
        yield Note(f"{name!r} is {version}, as the alias had it when this was evaluated.")


def _judging_notes(record: Record) -> Iterator[Note]:
    """What evaluators say of themselves that a reader of their figures has to know."""
    told = record.provenance.get("judging")
    if isinstance(told, dict) and isinstance(told.get("failed"), str):  # of one evaluator alone
        told = {"": told}
    for name, facts in told.items() if isinstance(told, dict) else ():
        who = name or "the evaluator"
        if not isinstance(facts, dict):
            continue
        if facts.get("failed"):
            yield Note(f"{who} could not say how it judged: {facts['failed']}", True)
        if facts.get("gave_up"):
            yield Note(f"{who} gave up: {facts['gave_up']}", True)
        found = facts.get("agreement")
        if isinstance(found, dict) and found.get("n"):
            ends = (found["accuracy_low"], found["accuracy_high"])
            spread = "" if None in ends else f" ({100 * ends[0]:.0f}–{100 * ends[1]:.0f})"
            kappa = NOTHING if found["kappa"] is None else f"{found['kappa']:.2f}"
            ends = (found["kappa_low"], found["kappa_high"])
            between = "" if None in ends else f" ({ends[0]:.2f} to {ends[1]:.2f})"
            yield Note(
                f"{who} agrees with {percent(found['accuracy'])}{spread} of {found['n']} verdicts of people; Cohen's "
                f"kappa {kappa}{between}."
            )


def applies_to(record: Record, metric: str) -> int:
    """On how many examples the metric was scored, at most, in any condition."""
    return max((c.metrics[metric].scored for c in record.conditions if metric in c.metrics), default=0)


def is_unbounded(record: Record, metric: str) -> bool:
    """Whether the metric is no share of 0 to 1."""
    return any(c.metrics[metric].unbounded for c in record.conditions if metric in c.metrics)


def summary(record: Record, of: str | None = None) -> str:
    """What was found, in one sentence for each adapter (or one for the best baseline); `of`: for this adapter only."""
    name, best = label(record.headline).lower(), record.best_baseline
    if best is None:
        figures = [f"{c.name!r}: {figure_text(c.metrics[record.headline])}" for c in record.conditions]
        return f"{name.capitalize()}: {'; '.join(figures)}."
    base = figure_text(record.condition(best).metrics[record.headline])
    sentences = []
    for system in (c for c in record.conditions if c.decides and of in (None, c.name)):
        found = record.difference(system.name, best)
        if found:
            sentences.append(
                f"{name.capitalize()} {figure_text(system.metrics[record.headline])} with {system.name!r}: "
                f"{difference_text(found)} against the best baseline {best!r} with {base}."
            )
    return " ".join(sentences) or f"The best baseline is {best!r}: {name} {base}."


def statuses(record: Record) -> list[str]:
    """How many answers were judged, could not be judged, and are not there: one line; none of a record of the first
    format, which does not say.
    """
    counts = [
        f"{c.name!r} {s.scored} scored, {s.unscored} unscored, {s.errored} errored"
        for c in record.conditions
        if (s := c.statuses) is not None
    ]
    return [f"Answers: {'; '.join(counts)}."] if counts else []


def probes_text(record: Record) -> str:
    """What the adapter does to general abilities, in one sentence; empty where no probe was asked."""
    found = record.probes
    if found is None:
        return ""
    asked = f"General-ability probes ({found.n} of {found.available})"
    if found.base is None or found.adapter is None or found.difference is None:
        return f"{asked}: unscored, because {found.unscored}."
    return (
        f"{asked}: {figure_text(found.adapter)} right with the adapter, {figure_text(found.base)} without: "
        f"{difference_text(found.difference)}."
    )


def sample_failed(sample: JSON, record: Record) -> bool:
    """Whether an answer errored, could not be judged, or is not right: by the headline metric, and by the
    evaluator's own word where that metric says nothing.
    """
    if sample["status"] != "scored":
        return True
    value = sample["scores"].get(record.headline)
    if value is None or is_unbounded(record, record.headline):
        return bool(sample["why"])
    return bool(value != (0.0 if record.headline in record.lower_is_better else 1.0))


def reason(sample: JSON) -> str:
    """Why a sample failed."""
    if sample["status"] == "errored":
        return f"engine error: {sample['error']}"
    return str(sample["unscored"] or sample["why"] or "not right")


def detectable_text(record: Record) -> str:
    """The least difference that this record could show in the headline metric; empty where that is not known."""
    best = record.best_baseline
    found = [record.difference(c.name, best) for c in record.conditions if c.decides and best]
    known = [(d, d.detectable) for d in found if d is not None and d.detectable is not None]
    if not known:
        return ""
    difference, least = known[0]
    size = f"{_number(least)}" if difference.unbounded else f"{100 * least:.1f} points"
    return (
        f"With these {difference.n} {counted(record)} in {difference.groups} groups, a true difference in "
        f"{label(record.headline).lower()} under {size} cannot be seen: more than one sample in five like this "
        "one would miss it."
    )


def p_text(value: float | None) -> str:
    """``p = 0.004``, of the paired test; empty where there is none."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def counted(record: Record) -> str:
    """What its figures and differences count."""
    return "examples" if record.seeds == 1 else "answers"
