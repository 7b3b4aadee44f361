"""How reports say things: names of metrics, percentages with their intervals, differences in points."""

from __future__ import annotations

from agentlora.core.types import JSON, Expected
from agentlora.eval.record import DifferenceRecord, Figure, Record
from agentlora.eval.scorers import render_answer

NOTHING = "–"

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
}


def label(name: str) -> str:
    """A metric, slice or case for people."""
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def interval(figure: Figure) -> str:
    """The ends of the 95 % interval in whole per cent; empty when there is none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{100 * figure.low:.0f}–{100 * figure.high:.0f}"


def figure_text(figure: Figure) -> str:
    """``84.0 % (78–89)``."""
    spread = interval(figure)
    return f"{percent(figure.mean)} ({spread})" if spread else NOTHING


def points(value: float | None) -> str:
    """A difference of two proportions, in percentage points with its sign."""
    if value is None:
        return NOTHING
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def difference_text(difference: DifferenceRecord) -> str:
    """``+62.0 points (+51.0 to +72.0)``."""
    if difference.low is None or difference.high is None:
        return f"{points(difference.mean)} points" if difference.mean is not None else NOTHING
    return f"{points(difference.mean)} points ({points(difference.low)} to {points(difference.high)})"


def applies_to(record: Record, metric: str) -> int:
    """On how many examples the metric was scored, at most, in any condition."""
    return max((c.metrics[metric].scored for c in record.conditions if metric in c.metrics), default=0)


def summary(record: Record) -> str:
    """What was found, in one sentence for each adapter (or one for the best baseline)."""
    name, best = label(record.headline).lower(), record.best_baseline
    if best is None:
        figures = [f"{c.name!r}: {figure_text(c.metrics[record.headline])}" for c in record.conditions]
        return f"{name.capitalize()}: {'; '.join(figures)}."
    base = figure_text(record.condition(best).metrics[record.headline])
    sentences = []
    for system in (c for c in record.conditions if c.adapter):
        found = record.difference(system.name, best)
        if found:
            sentences.append(
                f"{name.capitalize()} {figure_text(system.metrics[record.headline])} with {system.name!r}: "
                f"{difference_text(found)} against the best baseline {best!r} with {base}."
            )
    return " ".join(sentences) or f"The best baseline is {best!r}: {name} {base}."


def sample_failed(sample: JSON, record: Record) -> bool:
    """Whether an answer errored, could not be judged, or is not right: by the headline metric, and by the
    evaluator's own word where that metric says nothing.
    """
    if sample["error"] is not None or sample["unscored"] is not None:
        return True
    value = sample["scores"].get(record.headline)
    if value is None:
        return bool(sample["why"])
    return bool(value != (0.0 if record.headline in record.lower_is_better else 1.0))


def reason(sample: JSON) -> str:
    """Why a sample failed."""
    if sample["error"] is not None:
        return f"engine error: {sample['error']}"
    return str(sample["unscored"] or sample["why"] or "not right")


def expected_text(sample: JSON) -> str:
    """The gold answer of a sample as a model would write it."""
    expected = Expected.from_dict(sample["expected"])
    if not expected.calls and expected.text is None and expected.value is None:
        return "(an answer without a call)"
    return render_answer(expected)
