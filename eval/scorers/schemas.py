"""Whether an answer fits a schema, whatever is expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from pydantic import Field, field_validator

from agentlora.core import schema as json_schema
from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Output, Score
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml
from agentlora.eval.calls import MISSING, parse_value, unfenced

KINDS: dict[str, Any] = {
    "object": {},
    "array": [],
    "string": "x",
    "boolean": True,
    "null": None,
    "number": 0.5,
}


class SchemaParams(Strict):
    held: dict[str, Any] | None = Field(None, alias="schema")
    """What answers have to fit; an example's own schema comes first."""

    @field_validator("held")
    @classmethod
    def _usable(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        for problem in [] if schema is None else json_schema.check_schema(schema):
            raise ValueError(problem.splitlines()[0])
        return schema


class SchemaValidity:
    """Whether the answer is a value of the example's schema, right or wrong.

    - ``parsed``: it is one JSON value, alone or in a Markdown fence; or one XML document, where the schema says so.
    - ``valid``: it fits the schema.
    """

    metrics: Sequence[str] = ("parsed", "valid")
    headline = "valid"
    Params = SchemaParams
    how = SchemaParams()
    schema: JSON | None = None

    def configured(self, params: SchemaParams) -> SchemaValidity:
        found = copy(self)
        found.how, found.schema = params, params.held
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where there is no schema, or it is unusable or decides nothing about the answer."""
        schema = self.schema if example.schema is None else example.schema
        if schema is None:
            return Score(
                unscored="there is no schema: the example has none, and none is given as its parameter"
            )
        try:
            parsed, problem = _problem(schema, output.text)
        except DataError as exc:
            return Score(unscored=str(exc).splitlines()[0])
        cut = " (cut off at the token limit)" if problem and output.finish_reason == "length" else ""
        return Score({"parsed": float(parsed), "valid": float(not problem)}, why=problem + cut)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold answer that does not fit, something that cannot fit and does."""
        problems = []
        for example in examples:
            gold = _gold(example)
            if gold is None:
                continue
            score = self.score(example, Output(example.id, gold))
            if score.unscored:
                problems.append(f"{example.id}: the gold answer is unscored: {score.unscored}")
            elif score.metrics["valid"] != 1:
                problems.append(f"{example.id}: the gold answer does not fit its schema: {score.why}")
            else:
                for label, wrong in _corruptions(example.schema or self.schema or {}, gold):
                    if self.score(example, Output(example.id, wrong)).metrics.get("valid") == 1:
                        problems.append(f"{example.id}: the gold answer with {label} still fits")
        return problems


def _problem(schema: JSON, text: str) -> tuple[bool, str]:
    """(whether the answer can be read, the first thing that is wrong with it). Raises DataError: see `score`."""
    if in_xml(schema):
        try:
            root = parse_xml(unfenced(text, "xml").strip())
        except ValueError as exc:
            return False, brief(f"not one XML document: {exc}", 300)
        return True, brief(next(iter(problems_of(schema, root)), ""), 300)
    for problem in json_schema.check_schema(schema):
        raise DataError(f"the schema: {problem}")
    value = parse_value(text)
    if value is MISSING:
        return False, "not one JSON value"
    if json_schema.is_valid(schema, value):
        return True, ""
    return True, brief(json_schema.validator(schema).problem(value) or "", 300)


def _gold(example: Example) -> str | None:
    if in_xml(example.schema):
        return example.expected.text
    return None if example.expected.value is None else json.dumps(example.expected.value)


def _corruptions(schema: JSON, gold: str) -> Iterator[tuple[str, str]]:
    """What no schema takes, and what this one says at its root that it does not."""
    yield "its end cut off", gold[:-1] if gold[-1:] in '}]">' else f"{gold} {gold}"
    yield "words around it", f"Here it is: {gold}"
    yield "itself once more", f"{gold}\n{gold}"
    if in_xml(schema):
        return
    value, kinds = json.loads(gold), schema.get("type")
    allowed = kinds if isinstance(kinds, list) else [kinds] if kinds else list(KINDS)
    for kind, other in KINDS.items():
        if kind not in allowed:
            yield f"a value of the type {kind} in its place", json.dumps(other)
    for name in schema.get("required", ()) if isinstance(value, Mapping) else ():
        fewer = {key: part for key, part in value.items() if key != name}
        yield f"{name!r} left out", json.dumps(fewer)
