"""Judging tool calls: one evaluator for training reports, records and gates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from agentlora.core import schema
from agentlora.core.accepts import accepted
from agentlora.core.errors import DataError
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.types import Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import Answer, brief, parse_answer, render_calls
from agentlora.eval.scorers.equality import BY_SCHEMA, Comparing, Comparison, another, matched, member_of

MISSING_CASE = "missing"
MOST_NAMED = 5  # calls, in a reason


class ToolCallEvaluator:
    """Judges Hermes answers against the expected calls.

    - ``parsed``: every block can be read, and there is a call where one was expected.
    - ``schema_valid``: every call names an offered tool and its arguments fit the tool's schema.
    - ``right_name``: the called names are the expected ones, as a multiset.
    - ``right_arguments``: the share of the expected arguments that are right; 0 when a name is wrong.
    - ``exact_match``: names and arguments are the expected ones, the calls in any order, and no more. Arguments are
      the expected ones where they are equal, or the same by `Params` or by what the example lists (`Accepts`).
    - ``false_call`` (lower is better): a call was begun though no tool fits.
    - ``guessed_call`` (lower is better): a call was begun though a required argument was not given.
    - ``false_refusal`` (lower is better): no call was begun though one was expected.
    - ``right_answer``: the whole answer is right: an exact match, or some text where no call is.

    A metric that says nothing about an example is None there. So a model that never calls has an exact match
    of 0, whatever the share of requests to which no call is right (as the Berkeley leaderboard keeps simple
    calls and irrelevance apart).
    """

    metrics: Sequence[str] = (
        "parsed",
        "schema_valid",
        "right_name",
        "right_arguments",
        "exact_match",
        "false_call",
        "guessed_call",
        "false_refusal",
        "right_answer",
    )
    headline = "exact_match"
    lower_is_better = frozenset({"false_call", "guessed_call", "false_refusal"})
    Params = Comparing
    how: Comparing = BY_SCHEMA

    def configured(self, params: Comparing) -> ToolCallEvaluator:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer; unscored when an offered tool's own schema, or what the example accepts, is unusable, or
        the schema decides nothing about the answer.
        """
        for tool in example.tools:
            for problem in schema.check_schema(parameters_of(function_of(tool))):
                return Score(unscored=f"tool {function_of(tool).get('name')!r}: {problem}")
        answer = parse_answer(output.text)
        wanted = example.expected.calls
        try:
            invalid = _schema_problem(example, answer)
            compared = _Compared(example, answer.calls, self.how)
        except schema.UndecidedError as exc:
            return Score(unscored=f"the tool's schema: {exc}")
        except DataError as exc:
            return Score(unscored=str(exc))
        names = not answer.malformed and _names(answer.calls) == _names(wanted)
        same = names and not compared.wrong
        share = compared.share() if names else 0.0
        right = same and (bool(wanted) or bool(answer.text))
        made = answer.attempted > 0
        missing = example.tags.get("case") == MISSING_CASE
        answered = any(m["role"] == "tool" for m in example.messages[-1:])  # a tool fitted, and has answered
        values: dict[str, float | None] = {
            "parsed": not answer.malformed and (made or not wanted),
            "schema_valid": invalid is None if made or wanted else None,
            "right_name": names if wanted else None,
            "right_arguments": share if wanted else None,
            "exact_match": same if wanted else None,
            "false_call": None if wanted or missing or answered else made,
            "guessed_call": made if missing and not wanted else None,
            "false_refusal": not made if wanted else None,
            "right_answer": right,
        }
        scores = {name: None if value is None else float(value) for name, value in values.items()}
        return Score(scores, why="" if right else _why(compared, answer, invalid, output))

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold answer that is not wholly right, a corruption of it that scores as well."""
        problems = []
        for example in examples:
            gold = self._say(example, render_answer(example.expected))
            for name, value in gold.metrics.items():
                best = 0.0 if name in self.lower_is_better else 1.0
                if value is not None and value != best:
                    problems.append(f"{example.id}: the gold answer scores {name} {value:g}: {gold.why}")
            if gold.unscored:
                problems.append(f"{example.id}: the gold answer is unscored: {gold.unscored}")
                continue
            for label, text in _corruptions(example, accepted(example.accepts).optional):
                if self._say(example, text).metrics["right_answer"] == 1.0:
                    problems.append(f"{example.id}: the gold answer with {label} still scores 1")
        return problems

    def _say(self, example: Example, text: str) -> Score:
        return self.score(example, Output(example.id, text))


def render_answer(expected: Expected) -> str:
    """The gold answer as a model would write it."""
    if expected.value is not None:
        return json.dumps(expected.value, ensure_ascii=False)
    return render_calls(expected.calls) or expected.text or "None of the tools fits this request."


# --- comparing ----------------------------------------------------------------------------------


def _names(calls: Sequence[ToolCall]) -> Counter[str]:
    return Counter(call.name for call in calls)


class _Compared:
    """Expected calls beside those that were made: `wrong` has the pairs of calls of one name that are not the same, in
    order; where as many were made of each name as are expected, all that is not right.
    """

    def __init__(self, example: Example, got: Sequence[ToolCall], how: Comparing) -> None:
        self.wanted = example.expected.calls
        self._tools = {function_of(t).get("name"): parameters_of(function_of(t)) for t in example.tools}
        self._how, self._accepts = how, accepted(example.accepts)
        right = matched(len(self.wanted), len(got), lambda i, j: self._same(self.wanted[i], got[j]))
        taken = set(right.values())
        spare = [call for j, call in enumerate(got) if j not in taken]
        self.wrong: list[tuple[ToolCall, ToolCall]] = []
        for i, gold in enumerate(self.wanted):
            other = next((call for call in spare if call.name == gold.name), None) if i not in right else None
            if other is not None:
                spare.remove(other)
                self.wrong.append((gold, other))

    def share(self) -> float:
        """Of the expected arguments, how many are right; the calls have to be of the expected names."""
        total = sum(len(call.arguments) for call in self.wanted)
        lost = sum(not self._right(gold, call, key) for gold, call in self.wrong for key in gold.arguments)
        return (total - lost) / total if total else 1.0

    def differences(self) -> Iterator[str]:
        """What is wrong with arguments, in a few words each."""
        for gold, call in self.wrong:
            for key, value in gold.arguments.items():
                if self._right(gold, call, key):
                    continue
                if key not in call.arguments:
                    yield f"argument {key!r} is missing"
                else:
                    yield f"argument {key!r} is {_short(call.arguments[key])}; expected {_short(value)}"
            for key in call.arguments:
                if key not in gold.arguments:
                    yield f"argument {brief(key)!r} is not expected"

    def _same(self, gold: ToolCall, call: ToolCall) -> bool:
        if gold.name != call.name:
            return False
        schema_of = self._tools.get(gold.name)
        return self._comparison(schema_of).same(gold.arguments, call.arguments, schema_of)

    def _right(self, gold: ToolCall, call: ToolCall, key: str) -> bool:
        schema_of = self._tools.get(gold.name)
        how = self._comparison(schema_of)
        if key not in call.arguments:
            return how.may_lack(key)
        inner = member_of(schema_of, key)
        return how.same(gold.arguments[key], call.arguments[key], inner, key)

    def _comparison(self, root: Any) -> Comparison:
        return Comparison(self._how, self._accepts, root)


def _schema_problem(example: Example, answer: Answer) -> str | None:
    """What is wrong with the calls as calls of the offered tools; None when nothing is."""
    if answer.malformed:
        return "a call cannot be read"
    if not answer.calls:
        return "no call"
    offered = {function_of(t)["name"]: parameters_of(function_of(t)) for t in example.tools}
    for call in answer.calls:
        if call.name not in offered:
            return f"called {call.name!r}, which is not offered"
        for problem in schema.errors(offered[call.name], dict(call.arguments)):
            return f"{call.name}: {problem}"
    return None


# --- explaining ---------------------------------------------------------------------------------


def _why(compared: _Compared, answer: Answer, invalid: str | None, output: Output) -> str:
    """The first thing that is wrong, in a few words."""
    wanted = compared.wanted
    if answer.malformed:
        cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
        return f"a call that cannot be read{cut}"
    if not wanted:
        called = _listed(answer.calls)
        return f"called {called}; expected no call" if called else "an empty answer"
    if not answer.calls:
        return f"no call; expected {_listed(wanted)}"
    if _names(answer.calls) != _names(wanted):
        return f"called {_listed(answer.calls)}; expected {_listed(wanted)}"
    difference = next(compared.differences(), "wrong arguments")
    return f"{difference} (does not fit the schema)" if invalid else difference


def _listed(calls: Sequence[ToolCall]) -> str:
    more = len(calls) - MOST_NAMED
    names = [brief(call.name) for call in calls[:MOST_NAMED]]
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def _short(value: Any) -> str:
    return brief(json.dumps(value, ensure_ascii=False))


# --- corrupting ---------------------------------------------------------------------------------


def _corruptions(example: Example, optional: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Wrong answers made from the gold one: (what was done, the text). `optional`: arguments that may be missing."""
    calls = list(example.expected.calls)
    tools = {function_of(t)["name"]: parameters_of(function_of(t)) for t in example.tools}
    if not calls:
        yield "an empty text", ""
        if tools:
            yield "a call instead of text", render_calls([ToolCall(next(iter(tools)), {})])
        return
    first, rest = calls[0], calls[1:]
    for key in tools.get(first.name, {}).get("required", ()):
        fewer = {k: v for k, v in first.arguments.items() if k != key}
        if len(fewer) < len(first.arguments) and key not in optional:
            yield f"required argument {key!r} left out", render_calls([ToolCall(first.name, fewer), *rest])
    for key, value in first.arguments.items():
        changed = {**first.arguments, key: another(value)}
        yield f"argument {key!r} changed", render_calls([ToolCall(first.name, changed), *rest])
    extra = {**first.arguments, "not_a_parameter": 1}
    yield "an extra argument", render_calls([ToolCall(first.name, extra), *rest])
    yield "a wrong name", render_calls([ToolCall(first.name + "_x", first.arguments), *rest])
    yield "one call too many", render_calls([first, *calls])
    yield "one call too few", render_calls(rest) or "Done."
    yield "broken JSON", render_calls(calls).replace("}\n</tool_call>", "\n</tool_call>", 1)
    yield "the end cut off", render_calls(calls).removesuffix("</tool_call>")
    yield "text instead of a call", "None of the tools fits this request."
