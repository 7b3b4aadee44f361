"""How far an answer agrees with the expected one, whatever its kind: calls, a JSON value, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentlora.core.types import Evaluator, Example, Expected, Output, Score
from agentlora.core.xml_values import in_xml
from agentlora.eval.calls import parse_answer
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.texts import TextAgreement
from agentlora.tasks.structured_output.scoring import JsonFields


class Agreement:
    """Judges calls as `ToolCallEvaluator` does, JSON values as `JsonFields` does, and texts by their words.

    - ``agreement``: of calls 1 where all of them are right, 0 where one is made and none is expected; of a value the
      share of right fields; of a text the F1 of its words with those of the expected one, upper and lower case and
      punctuation left out (as SQuAD's, Rajpurkar et al. 2016, arXiv 1606.05250), signs and points of numbers and
      symbols not: -5, 1.5, C++ and an emoji are words.
    - ``same``: the whole answer is right; texts may differ in case, punctuation and spaces.
    - ``schema_valid``: calls fit their tools, values their schema.
    """

    metrics: Sequence[str] = ("agreement", "same", "schema_valid")
    headline = "agreement"
    lower_is_better: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._calls, self._fields = ToolCallEvaluator(), JsonFields()

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer; unscored where the part that judges it cannot."""
        inner = self._inner(example)
        if inner is None:
            return _of_text(example, output)
        if inner is self._calls and not example.expected.calls and not parse_answer(output.text).attempted:
            return _of_text(example, output)
        found = inner.score(example, output)
        if found.unscored:
            return found
        whole = found.metrics["right_answer" if inner is self._calls else "exact_match"]
        part = found.metrics.get("field_accuracy", whole)
        scores = {"agreement": part, "same": whole, "schema_valid": found.metrics["schema_valid"]}
        return Score(scores, why=found.why)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: by those that judge calls and values, and texts that do not score 1 or are nothing."""
        problems = []
        for example in examples:
            inner = self._inner(example)
            if inner is not None:
                problems += inner.validate([example])
            elif _of_text(example, Output(example.id, example.expected.text or "")).metrics.get("same") != 1:
                problems.append(f"{example.id}: the expected text is empty")
        return problems

    def _inner(self, example: Example) -> Evaluator | None:
        if example.tools or example.expected.calls:
            return self._calls
        return self._fields if example.expected.value is not None or in_xml(example.schema) else None


def _of_text(example: Example, output: Output) -> Score:
    wanted = replace(example, expected=Expected(text=example.expected.text or ""))
    found = TextAgreement().score(wanted, output)
    if found.unscored:
        return found
    scores = {"agreement": found.metrics["words"], "same": found.metrics["same"], "schema_valid": None}
    return Score(scores, why=found.why)
