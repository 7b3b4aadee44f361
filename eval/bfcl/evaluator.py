"""Judging answers to the Berkeley data: an evaluator like the others, which looks its rows up by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from agentlora.core.errors import DataError
from agentlora.core.grammar import OPEN
from agentlora.core.types import Example, Output, Score
from agentlora.eval.bfcl.answers import answers
from agentlora.eval.bfcl.check import verdict
from agentlora.eval.bfcl.data import CATEGORIES, Row, rows
from agentlora.eval.calls import parse_answer, render_calls

UNREADABLE = "unreadable call"


class BfclEvaluator:
    """``right``: the answer's calls are those of a row, by the leaderboard's rules (`agentlora.eval.bfcl.check`).

    Stricter than the leaderboard in one thing: a call that is begun and cannot be read is wrong everywhere, and no
    abstention where none is right.
    """

    metrics: Sequence[str] = ("right",)
    headline = "right"

    def score(self, example: Example, output: Output) -> Score:
        """Raises DataError for an example that is none of the data's, MissingExtra where that is not installed."""
        why = judge(row_of(example), output.text)
        if why == UNREADABLE and output.finish_reason == "length":
            why = "cut off"
        return Score({"right": float(not why)}, why=why)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: right answers that are judged wrong, corruptions that are judged right."""
        problems = []
        for example in examples:
            row = row_of(example)
            tried = [(a.label, render_calls(a.calls), a.right) for a in answers(row) if a.right is not None]
            tried.append(("a call that is cut off", OPEN + '{"name": ', False))
            for label, text, right in tried:
                why = judge(row, text)
                if right == bool(why):
                    problems.append(f"{row.id}: {label} is judged {why or 'right'}: {text}")
        return problems


def judge(row: Row, text: str) -> str:
    """Why an answer in Hermes' format is wrong; empty when it is right."""
    answer = parse_answer(text)
    return UNREADABLE if answer.malformed else verdict(row, answer.calls)


def row_of(example: Example) -> Row:
    """The row that an example was made from. Raises DataError when there is none."""
    category = example.tags.get("slice", "")
    if category not in CATEGORIES or CATEGORIES[category][0] == "turns" or example.id not in _by_id(category):
        raise DataError(
            f"example {example.id!r} is no row of the Berkeley data ({category or 'no category'!r})."
        )
    return _by_id(category)[example.id]


@cache
def _by_id(category: str) -> dict[str, Row]:
    return {row.id: row for row in rows(category)}
