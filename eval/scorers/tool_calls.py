"""Judging tool calls: one evaluator for training reports, records and gates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

from agentlora.core import schema
from agentlora.core.accepts import NOTHING, Accepts, accepted
from agentlora.core.errors import DataError
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import Answer, canonical, parse_answer, render_calls
from agentlora.eval.scorers.equality import BY_SCHEMA, Comparing, Comparison, another, matched, member_of

MISSING_CASE = "missing"
MOST_NAMED = 5  # calls, in a reason
REMEMBERED = 4096  # examples

Offered: TypeAlias = Mapping[str, schema.Validator] | str
"""The validator of every offered tool's arguments by its name, or what is wrong with a tool."""
_JSON = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(slots=True)
class _Asked:
    """An example, kept so that no other has its id; `schemas`: of the tools' arguments, by name; `problem`: why no
    answer to it can be judged; `written`, `keys`: the expected calls as `_written` and `_keys` have them; `answered`: a
    tool fitted, and has answered; `as_expected`: the score of what is `_expected`, once there was some.
    """

    example: Example
    offered: Mapping[str, schema.Validator]
    schemas: Mapping[str, Any]
    problem: str
    accepts: Accepts
    names: list[str]
    written: bytes | None
    keys: list[tuple[str, str]]
    missing: bool
    answered: bool
    as_expected: Score | None = None


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
    _known: ClassVar[dict[tuple[int, type], _Asked]] = {}  # by the ids of examples, and who judges them

    def configured(self, params: Comparing) -> ToolCallEvaluator:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Judge one answer; unscored when an offered tool's own schema, or what the example accepts, is unusable, or
        the schema decides nothing about the answer.
        """
        asked = self._asked(example)
        if asked.problem:
            return Score(unscored=asked.problem)
        answer = parse_answer(output.text)
        if not _expected(asked, answer):
            return self._judged(asked, answer, output)
        if asked.as_expected is None:
            asked.as_expected = self._judged(asked, answer, output)
        return asked.as_expected

    def _judged(self, asked: _Asked, answer: Answer, output: Output) -> Score:
        try:
            invalid = _schema_problem(asked.offered, answer)
        except schema.UndecidedError as exc:
            return Score(unscored=f"the tool's schema: {exc}")
        wanted = asked.example.expected.calls
        made = answer.attempted > 0
        names = not answer.malformed and _names(answer.calls) == asked.names
        compared = _Compared(asked, answer.calls, self.how) if names else None
        same = compared is not None and not compared.wrong
        right = same and (bool(wanted) or bool(answer.text))
        scores: dict[str, float | None] = dict.fromkeys(self.metrics)
        scores["parsed"] = float(not answer.malformed and (made or not wanted))
        scores["right_answer"] = float(right)
        if made or wanted:
            scores["schema_valid"] = float(invalid is None)
        if wanted:
            scores["right_name"] = float(names)
            scores["right_arguments"] = compared.share() if compared else 0.0
            scores["exact_match"] = float(same)
            scores["false_refusal"] = float(not made)
        elif asked.missing:
            scores["guessed_call"] = float(made)
        elif not asked.answered:
            scores["false_call"] = float(made)
        return Score(scores, why="" if right else _why(wanted, compared, answer, invalid, output))

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
            for label, text in corruptions(example, accepted(example.accepts).optional):
                if self._say(example, text).metrics["right_answer"] == 1.0:
                    problems.append(f"{example.id}: the gold answer with {label} still scores 1")
        return problems

    def _asked(self, example: Example) -> _Asked:
        """What judging an example needs, whatever the answer. It is looked at once, for an example is frozen."""
        key = id(example), type(self)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = _looked_at(example)
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
    """Equal for equal calls in any order."""
    return sorted([(call.name, canonical(call.arguments)) for call in calls])


def _written(calls: Sequence[ToolCall]) -> bytes | None:
    """As `schema.bytes_of` has it: equal only for equal calls in one order."""
    return schema.bytes_of([(call.name, call.arguments) for call in calls])


def _expected(asked: _Asked, answer: Answer) -> bool:
    """Whether an answer has the expected calls to the byte, or some text where no call is expected."""
    if answer.malformed or not (answer.calls or answer.text):
        return False
    return _written(answer.calls) == asked.written


class _Wrong(NamedTuple):
    """Two calls of one name that are not the same; `lost`: the expected arguments that are not right in the other."""

    gold: ToolCall
    call: ToolCall
    lost: list[str]


class _Compared:
    """As many calls of each name as are expected, beside those: `wrong` are the pairs that are not the same."""

    def __init__(self, asked: _Asked, got: Sequence[ToolCall], how: Comparing) -> None:
        self._asked, self._how = asked, how
        self.wrong: Sequence[_Wrong] = () if _keys(got) == asked.keys else self._wrong(got)

    def share(self) -> float:
        """Of the expected arguments, how many are right."""
        if not self.wrong:
            return 1.0
        total = sum(len(call.arguments) for call in self._asked.example.expected.calls)
        lost = sum(len(pair.lost) for pair in self.wrong)
        return (total - lost) / total if total else 1.0

    def differences(self) -> Iterator[str]:
        """What is wrong with arguments, in a few words each."""
        for gold, call, lost in self.wrong:
            for key in lost:
                if key not in call.arguments:
                    yield f"argument {key!r} is missing"
                else:
                    said, value = call.arguments[key], gold.arguments[key]
                    yield f"argument {key!r} is {_short(said)}; expected {_short(value)}"
            for key in call.arguments:
                if key not in gold.arguments:
                    yield f"argument {brief(key)!r} is not expected"

    def _wrong(self, got: Sequence[ToolCall]) -> list[_Wrong]:
        """What is left when those that are the same are paired; the first ones of a name together."""
        wanted = self._asked.example.expected.calls
        if len(wanted) == 1:
            return [] if self._same(wanted[0], got[0]) else [self._pair(wanted[0], got[0])]
        right = matched(len(wanted), len(got), lambda i, j: self._same(wanted[i], got[j]))
        taken = set(right.values())
        spare = [call for j, call in enumerate(got) if j not in taken]
        pairs = []
        for gold in (call for i, call in enumerate(wanted) if i not in right):
            other = next(call for call in spare if call.name == gold.name)
            spare.remove(other)
            pairs.append(self._pair(gold, other))
        return pairs

    def _same(self, gold: ToolCall, call: ToolCall) -> bool:
        if gold.name != call.name:
            return False
        held = self._asked.schemas.get(gold.name)
        return self._comparison(held).same(gold.arguments, call.arguments, held)

    def _pair(self, gold: ToolCall, call: ToolCall) -> _Wrong:
        held = self._asked.schemas.get(gold.name)
        how = self._comparison(held)

        def right(key: str, value: Any) -> bool:
            if key not in call.arguments:
                return how.may_lack(key)
            return how.same(value, call.arguments[key], member_of(held, key), key)

        return _Wrong(gold, call, [key for key, value in gold.arguments.items() if not right(key, value)])

    def _comparison(self, root: Any) -> Comparison:
        return Comparison(self._how, self._asked.accepts, root)


def _looked_at(example: Example) -> _Asked:
    found, accepts, problem = _offered(example.tools), NOTHING, ""
    try:
        accepts = accepted(example.accepts)
    except DataError as exc:
        problem = str(exc)
    if isinstance(found, str):
        problem = found
    tools = () if problem else reversed(example.tools)  # of two of one name the first counts
    calls = example.expected.calls
    return _Asked(
        example,
        {} if isinstance(found, str) else found,
        {function["name"]: parameters_of(function) for function in map(function_of, tools)},
        problem,
        accepts,
        _names(calls),
        _written(calls),
        _keys(calls),
        missing=example.tags.get("case") == MISSING_CASE,
        answered=any(m["role"] == "tool" for m in example.messages[-1:]),
    )


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
            return f"called {brief(call.name)!r}, which is not offered"
        problem = offered[call.name].problem(call.arguments)
        if problem is not None:
            return f"{call.name}: {problem}"
    return None


# --- explaining ---------------------------------------------------------------------------------


def _why(
    wanted: Sequence[ToolCall],
    compared: _Compared | None,
    answer: Answer,
    invalid: str | None,
    output: Output,
) -> str:
    """The first thing that is wrong, in a few words."""
    if answer.malformed:
        cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
        return f"a call that cannot be read{cut}"
    if not wanted:
        called = _listed(answer.calls)
        return f"called {called}; expected no call" if called else "an empty answer"
    if not answer.calls:
        return f"no call; expected {_listed(wanted)}"
    if compared is None:
        return f"called {_listed(answer.calls)}; expected {_listed(wanted)}"
    difference = next(compared.differences(), "wrong arguments")
    return f"{difference} (does not fit the schema)" if invalid else difference


def _listed(calls: Sequence[ToolCall]) -> str:
    more = len(calls) - MOST_NAMED
    names = [brief(call.name) for call in calls[:MOST_NAMED]]
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def _short(value: Any) -> str:
    return brief(_JSON(value))


# --- corrupting ---------------------------------------------------------------------------------


def corruptions(example: Example, optional: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
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
