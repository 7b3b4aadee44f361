"""Whether evaluators agree with the examples: of which of them the expected answer is not right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentlora.core.texts import brief
from agentlora.core.types import JSON, Evaluator, Example, Output, Score
from agentlora.eval.metrics import may_be_share
from agentlora.eval.scorers import render_answer

PROBLEMS_KEPT = 10


def validated(own: Evaluator, others: Mapping[str, Evaluator], examples: Sequence[Example]) -> JSON:
    """What the evaluators find wrong with the examples or with themselves, for the record: by name how many
    ``problems``, the ``first`` of them, and of how many of the ``asked`` ``examples`` the expected answer is not right,
    with the reason of the first (``why``); only those that have some. Who would have to ask somebody is left out.
    """
    found: JSON = {}
    for name, evaluator in {"": own, **others}.items():
        if getattr(evaluator, "asks", False):
            continue
        try:
            problems = evaluator.validate(examples)
        except Exception as exc:  # a look that fails costs itself, not the evaluation
            problems = [f"it raised {type(exc).__name__}: {exc}"]
        if problems:
            wrong = [why for example in examples if (why := wrong_gold(evaluator, example))]
            counts = {"examples": len(wrong), "asked": len(examples), "why": wrong[0] if wrong else ""}
            found[name] = {"problems": len(problems), "first": problems[:PROBLEMS_KEPT], **counts}
    return found


def wrong_gold(evaluator: Evaluator, example: Example) -> str:
    """Why an evaluator calls the expected answer not right; empty where it does not. Both have to say so: its score,
    since `validate` tells of wrong answers that are taken for right ones too, and `validate`, since not every metric
    is 1 for a right answer.
    """
    try:
        score = evaluator.score(example, Output(example.id, render_answer(example.expected)))
    except Exception as exc:  # bad data costs its example
        score = Score(unscored=f"{type(exc).__name__}: {exc}")
    lower, wide = getattr(evaluator, "lower_is_better", ()), getattr(evaluator, "unbounded", ())
    wrong = [
        f"{name} {value:g}"
        for name, value in score.metrics.items()
        if value is not None and name not in wide and may_be_share(value)
        if value != (0 if name in lower else 1)
    ]
    if score.unscored is None and not wrong:
        return ""
    try:
        if not evaluator.validate([example]):
            return ""
    except Exception:  # it cannot even look at it
        pass
    said = score.unscored or f"{', '.join(wrong)}{f': {score.why}' if score.why else ''}"
    return brief(f"{example.id}: {said}", 300)
