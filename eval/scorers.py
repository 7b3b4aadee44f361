"""Judging tool calls: one evaluator for training reports, records and gates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentlora.core import schema
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.types import JSON, Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import Answer, canonical, parse_answer, render_calls

MISSING_CASE = "missing"
REMEMBERED = 4096  # examples

Offered: TypeAlias = Mapping[str, schema.Validator] | str
"""The validator of every offered tool's arguments by its name, or what is wrong with a tool."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An example, kept so that no other has its id; `answered`: a tool fitted, and has answered."""

    example: Example
    offered: Offered
    names: list[str]
    keys: list[tuple[str, str]]
    missing: bool
    answered: bool


class ToolCallEvaluator:
    """Judges Hermes answers against the expected calls.

    - ``parsed``: every block can be read, and there is a call where one was expected.
    - ``schema_valid``: every call names an offered tool and its arguments fit the tool's schema.
    - ``right_name``: the called names are the expected ones, as a multiset.
    - ``right_arguments``: the share of the expected arguments that are right; 0 when a name is wrong.
    - ``exact_match``: names and arguments are the expected ones, the calls in any order, and no more.
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

    def __init__(self) -> None:
        self._known: dict[int, _Asked] = {}

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer; unscored when an offered tool's own schema is unusable or decides nothing about it."""
        asked = self._asked(example)
        if isinstance(asked.offered, str):
            return Score(unscored=asked.offered)
        answer = parse_answer(output.text)
        try:
            invalid = _schema_problem(asked.offered, answer)
        except schema.UndecidedError as exc:
            return Score(unscored=f"the tool's schema: {exc}")
        wanted = example.expected.calls
        made = answer.attempted > 0
        names = not answer.malformed and _names(answer.calls) == asked.names
        same = names and _keys(answer.calls) == asked.keys
        wrong = _wrong_pairs(wanted, answer.calls) if names and not same else []
        right = same and (bool(wanted) or bool(answer.text))
        scores: dict[str, float | None] = dict.fromkeys(self.metrics)
        scores["parsed"] = float(not answer.malformed and (made or not wanted))
        scores["right_answer"] = float(right)
        if made or wanted:
            scores["schema_valid"] = float(invalid is None)
        if wanted:
            scores["right_name"] = float(names)
            scores["right_arguments"] = _right_arguments(wanted, wrong) if names else 0.0
            scores["exact_match"] = float(same)
            scores["false_refusal"] = float(not made)
        elif asked.missing:
            scores["guessed_call"] = float(made)
        elif not asked.answered:
            scores["false_call"] = float(made)
        return Score(scores, why="" if right else _why(wanted, answer, wrong, invalid, output))

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
            for label, text in _corruptions(example):
                if self._say(example, text).metrics["right_answer"] == 1.0:
                    problems.append(f"{example.id}: the gold answer with {label} still scores 1")
        return problems

    def _asked(self, example: Example) -> _Asked:
        """What judging an example needs, whatever the answer. It is looked at once, for an example is frozen."""
        known = self._known.get(id(example))
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[id(example)] = _Asked(
                example,
                _offered(example.tools),
                _names(example.expected.calls),
                _keys(example.expected.calls),
                missing=example.tags.get("case") == MISSING_CASE,
                answered=any(m["role"] == "tool" for m in example.messages[-1:]),
            )
        return known

    def _say(self, example: Example, text: str) -> Score:
        return self.score(example, Output(example.id, text))


def render_answer(expected: Expected) -> str:
    """The gold answer as a model would write it."""
    if expected.value is not None:
        return json.dumps(expected.value, ensure_ascii=False)
    return render_calls(expected.calls) or expected.text or "None of the tools fits this request."


# --- comparing ----------------------------------------------------------------------------------


def _names(calls: Sequence[ToolCall]) -> list[str]:
    """Of the calls, in an order that does not depend on theirs."""
    return sorted([call.name for call in calls])


def _keys(calls: Sequence[ToolCall]) -> list[tuple[str, str]]:
    """Equal for the same calls in any order."""
    return sorted([(call.name, canonical(call.arguments)) for call in calls])


def _wrong_pairs(wanted: Sequence[ToolCall], got: Sequence[ToolCall]) -> list[tuple[ToolCall, ToolCall]]:
    """(expected, made) of calls of the same names, not all of which are right: those that are not."""
    if len(wanted) == len(got) == 1:
        return [(wanted[0], got[0])]
    left = _without(got, wanted)
    pairs = []
    for gold in _without(wanted, got):
        call = next(c for c in left if c.name == gold.name)
        left.remove(call)
        pairs.append((gold, call))
    return pairs


def _right_arguments(wanted: Sequence[ToolCall], wrong: Sequence[tuple[ToolCall, ToolCall]]) -> float:
    """Of the expected arguments, how many are right, when the calls of these pairs are not."""
    total = right = sum(len(c.arguments) for c in wanted)
    for gold, call in wrong:
        right -= sum(
            key not in call.arguments or not _same(call.arguments[key], value)
            for key, value in gold.arguments.items()
        )
    return right / total if total else 1.0


def _same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, str) and isinstance(b, str) else canonical(a) == canonical(b)


@schema.by_value
def _offered(tools: Sequence[JSON]) -> Offered:
    found = {}
    for tool in tools:
        function = function_of(tool)
        parameters = parameters_of(function)
        for problem in schema.check_schema(parameters):
            return f"tool {function.get('name')!r}: {problem}"
        found[function["name"]] = schema.validator(parameters)
    return found


def _schema_problem(offered: Mapping[str, schema.Validator], answer: Answer) -> str | None:
    """What is wrong with the calls as calls of the offered tools; None when nothing is."""
    if answer.malformed:
        return "a call cannot be read"
    if not answer.calls:
        return "no call"
    for call in answer.calls:
        if call.name not in offered:
            return f"called {call.name!r}, which is not offered"
        problem = offered[call.name].problem(call.arguments)
        if problem is not None:
            return f"{call.name}: {problem}"
    return None


# --- explaining ---------------------------------------------------------------------------------


def _why(
    wanted: Sequence[ToolCall],
    answer: Answer,
    wrong: Sequence[tuple[ToolCall, ToolCall]],
    invalid: str | None,
    output: Output,
) -> str:
    """The first thing that is wrong, in a few words."""
    if answer.malformed:
        cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
        return f"a call that cannot be read{cut}"
    if not wanted:
        called = ", ".join(call.name for call in answer.calls)
        return f"called {called}; expected no call" if called else "an empty answer"
    if not answer.calls:
        return "no call; expected " + ", ".join(call.name for call in wanted)
    if _names(answer.calls) != _names(wanted):
        got, gold = (", ".join(c.name for c in calls) for calls in (answer.calls, wanted))
        return f"called {got}; expected {gold}"
    difference = next(_argument_differences(wrong), "wrong arguments")
    return f"{difference} (does not fit the schema)" if invalid else difference


def _argument_differences(wrong: Sequence[tuple[ToolCall, ToolCall]]) -> Iterator[str]:
    for gold, call in wrong:
        for key, value in gold.arguments.items():
            if key not in call.arguments:
                yield f"argument {key!r} is missing"
            elif not _same(call.arguments[key], value):
                yield f"argument {key!r} is {_short(call.arguments[key])}; expected {_short(value)}"
        for key in call.arguments:
            if key not in gold.arguments:
                yield f"argument {key!r} is not expected"


def _without(calls: Sequence[ToolCall], others: Sequence[ToolCall]) -> list[ToolCall]:
    spare = Counter(_keys(others))
    left = []
    for call in calls:
        (key,) = _keys([call])
        if spare[key]:
            spare[key] -= 1
        else:
            left.append(call)
    return left


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


# --- corrupting ---------------------------------------------------------------------------------


def _corruptions(example: Example) -> Iterator[tuple[str, str]]:
    """Wrong answers made from the gold one: (what was done, the text)."""
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
        if len(fewer) < len(first.arguments):
            yield f"required argument {key!r} left out", render_calls([ToolCall(first.name, fewer), *rest])
    for key, value in first.arguments.items():
        changed = {**first.arguments, key: _other(value)}
        yield f"argument {key!r} changed", render_calls([ToolCall(first.name, changed), *rest])
    extra = {**first.arguments, "not_a_parameter": 1}
    yield "an extra argument", render_calls([ToolCall(first.name, extra), *rest])
    yield "a wrong name", render_calls([ToolCall(first.name + "_x", first.arguments), *rest])
    yield "one call too many", render_calls([first, *calls])
    yield "one call too few", render_calls(rest) or "Done."
    yield "broken JSON", render_calls(calls).replace("}\n</tool_call>", "\n</tool_call>", 1)
    yield "the end cut off", render_calls(calls).removesuffix("</tool_call>")
    yield "text instead of a call", "None of the tools fits this request."


def _other(value: Any) -> Any:
    """A different JSON value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return [*value, "x"] if isinstance(value, list) else {"other": value}
