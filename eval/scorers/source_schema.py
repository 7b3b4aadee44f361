"""Whether calls fit the schemas that tools have in their source, of which a prompt may show a pruned part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from pydantic import Field, field_validator

from agentlora.core import schema
from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Output, Score, ToolCall
from agentlora.eval.calls import parse_answer, render_calls
from agentlora.eval.compliance import schema_problems
from agentlora.eval.scorers.tool_calls import render_answer


class SourceTools(Strict):
    tools: list[dict[str, Any]] = Field(min_length=1)
    """The tools as their source has them, in OpenAI's format; those that are not among them are as they are offered."""

    @field_validator("tools")
    @classmethod
    def _readable(cls, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for name, times in Counter(map(_named, tools)).items():
            if times > 1:
                raise ValueError(f"{times} tools are called {name!r}")
        return tools


def _named(tool: JSON) -> str:
    """A tool's name. Raises ValueError where it is none."""
    function = function_of(tool)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise ValueError("a tool is {name: …, parameters: {…}}, alone or as the function of OpenAI's format")
    if not isinstance(function.get("parameters", {}), dict):
        raise ValueError(f"tool {name!r}: parameters is a JSON Schema, an object")
    return name


class SourceSchema:
    """Whether the answers that call would be taken by the tools themselves, right or wrong.

    - ``valid``: every call can be read, names an offered tool, and its arguments fit the schema that the tool has in
      its source. How it is offered does not matter then: what only pruning took away may be given. Tools that the
      source does not know (of a catalogue, say) are judged as they are offered.

    Where nothing is called it says nothing, whether a call was wanted or not.
    """

    metrics: Sequence[str] = ("valid",)
    headline = "valid"
    tallies = True
    Params = SourceTools
    how: SourceTools | None = None
    whole: Mapping[str, JSON] | None = None

    def configured(self, params: SourceTools) -> SourceSchema:
        found = copy(self)
        found.how = params
        found.whole = {_named(tool): parameters_of(function_of(tool)) for tool in params.tools}
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where nothing is known to be wrong, and a schema is unusable or decides nothing about a call."""
        if self.whole is None:
            return Score(unscored="nobody said what the source's tools are: give tools as its parameter")
        answer = parse_answer(output.text)
        if not answer.attempted:
            return Score({"valid": None})
        if answer.malformed:
            cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
            return Score({"valid": 0.0}, why=f"a call cannot be read{cut}")
        held, undecided = self._held(example), ""
        for call in answer.calls:
            try:
                why = _problem(held, call)
            except (DataError, TypeError) as exc:
                undecided = undecided or brief(f"the schema of {call.name!r}: {exc}", 300)
                continue
            if why:
                return Score({"valid": 0.0}, why=why)
        return Score(unscored=undecided) if undecided else Score({"valid": 1.0})

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: expected calls that do not fit, or calls that no source takes and that do."""
        problems = []
        for example in examples:
            if not example.expected.calls:
                continue
            gold = self._say(example, render_answer(example.expected))
            if gold.unscored:
                problems.append(f"{example.id}: the gold answer is unscored: {gold.unscored}")
            elif gold.metrics["valid"] != 1:
                problems.append(f"{example.id}: the gold answer does not fit its source: {gold.why}")
            else:
                problems += [
                    f"{example.id}: the gold answer with {label} still fits"
                    for label, text in _corruptions(self._held(example), example.expected.calls)
                    if self._say(example, text).metrics.get("valid") == 1
                ]
        return problems

    def _held(self, example: Example) -> dict[str, JSON]:
        """What the arguments of each offered tool have to fit, by its name."""
        functions = [function_of(tool) for tool in example.tools]
        whole = self.whole or {}
        return {f["name"]: whole.get(f["name"], parameters_of(f)) for f in functions}

    def _say(self, example: Example, text: str) -> Score:
        return self.score(example, Output(example.id, text))


def _problem(held: Mapping[str, JSON], call: ToolCall) -> str:
    """The first thing that is wrong with a call, alike for calls that fail alike; empty where nothing is."""
    if call.name not in held:
        return f"called {brief(call.name)!r}, which is not offered"
    arguments = dict(call.arguments)
    if schema.validator(held[call.name]).is_valid(arguments):
        return ""
    found = (p for p in schema_problems(held[call.name], arguments, call.name) if p.counts)
    return next((brief(f"{p.path} {p.said}", 300) for p in found), f"{call.name} does not fit")


def _corruptions(held: Mapping[str, JSON], calls: Sequence[ToolCall]) -> Iterator[tuple[str, str]]:
    """Calls that cannot fit, made from those that do: (what was done, the text)."""
    first, rest = calls[0], calls[1:]
    for name in held[first.name].get("required", ()):
        fewer = {key: value for key, value in first.arguments.items() if key != name}
        yield f"required argument {name!r} left out", render_calls([ToolCall(first.name, fewer), *rest])
    stranger = first.name + "_x"
    while stranger in held:
        stranger += "_x"
    yield "a tool that is not offered", render_calls([ToolCall(stranger, first.arguments), *rest])
    yield "the end cut off", render_calls(calls).removesuffix("</tool_call>")
    yield "broken JSON", render_calls(calls).replace("}\n</tool_call>", "\n</tool_call>", 1)
