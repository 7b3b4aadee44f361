"""Why an answer does not fit: every fault, by the keyword of the schema that failed and the place where it did.

What is judged is what the evaluators call ``schema_valid``: calls against the parameters of the tools that are offered,
values against their schema, documents against their XML Schema. Beside the keywords of JSON Schema there are faults of
form (`FORMS`) and of whether to call (`DECISIONS`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from agentlora.core.errors import AgentLoraError, DataError
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.schema import Validator, by_value, check_schema, validator
from agentlora.core.schema_errors import Finding, findings, found_by
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example, Output
from agentlora.core.xml_schema import problems_of
from agentlora.core.xml_values import in_xml, read_value, value_schema
from agentlora.eval.answer_form import Fault, json_form, value_within, xml_form
from agentlora.eval.calls import MISSING, call_of, read_json, split, unfenced
from agentlora.eval.nearest import closest, given_and_nearest

FORMS = {
    "empty": "nothing was written",
    "not_json": "not JSON",
    "not_xml": "not XML",
    "truncated": "cut off",
    "too_large": "too large or too deep",
    "extra_text": "other text around",
}
DECISIONS = {
    "unknown_tool": "tool that is not offered",
    "no_call": "no call where one was wanted",
    "unwanted_call": "call where none was wanted",
}
XSD = "xsd"  # what only the XML Schema says, not the JSON Schema of the document's value
MOST_PROBLEMS = 200  # of one answer, that differ
MOST_SHOWN = 240  # characters of what was given
_ENVELOPE: JSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["name", "arguments"],
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an answer.

    Attributes:
        keyword: of the schema, or one of `FORMS`, `DECISIONS`, `XSD`.
        path: where, generalised: ``items[*].price``, of a call ``set_light(brightness)``.
        branch: of ``anyOf`` and ``oneOf``, the keyword that failed in the alternative that comes nearest.
        said: what is wrong, in words.
        counts: whether it makes the answer invalid. What does not: text beside calls, a call that is not wanted, and a
            ``format`` that the schema's draft takes as a note.
        times: how often in this answer.
        given, nearest: what stands there, and the valid value that comes nearest; see `with_nearest`.
        case, misnamed: what that takes: schema, value and fault, or a name and those that there are.
    """

    keyword: str
    path: str
    said: str
    branch: str = ""
    counts: bool = True
    times: int = 1
    given: str | None = None
    nearest: str | None = None
    case: tuple[JSON, Any, Finding] | None = field(default=None, compare=False, repr=False)
    misnamed: tuple[str, tuple[str, ...]] | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.keyword, self.branch, self.path

    def with_nearest(self) -> Problem:
        """The same with what was given and the nearest valid value, which takes some judging."""
        if self.misnamed is not None:
            return replace(self, nearest=closest(*self.misnamed), misnamed=None)
        if self.case is None:
            return self
        schema, value, finding = self.case
        try:
            given, nearest = given_and_nearest(schema, value, finding)
        except DataError:  # a pattern that is not decided
            given, nearest = None, None
        return replace(self, given=_cut(given), nearest=_cut(nearest), case=None)

    def to_dict(self) -> JSON:
        """As it stands beside a sample: what is the same for every one is left out."""
        raw: JSON = {"keyword": self.keyword, "path": self.path, "said": self.said}
        raw |= {"branch": self.branch} if self.branch else {}
        raw |= {} if self.counts else {"counts": False}
        return raw | ({"times": self.times} if self.times > 1 else {})


@dataclass(frozen=True, slots=True)
class Compliance:
    """What one answer is. `valid`: None where there was nothing to hold against a schema (no call, and none wanted), or
    where it is not decided, for the reason in `undecided`.
    """

    valid: bool | None
    problems: tuple[Problem, ...] = ()
    undecided: str | None = None


def judge(example: Example, output: Output, *, array: bool = False) -> Compliance | None:
    """Every fault of an answer; None where nothing says what it has to look like (neither tools nor a schema).

    `array`: calls are written as the JSON array of the constrained baseline, not in Hermes marks.
    """
    if not example.tools and example.schema is None:
        return None
    nothing = False
    try:
        if example.tools:
            written = _written_array(output) if array else _written_blocks(output)
            found = list(_of_calls(example, output, written, array))
            nothing = not (example.expected.calls or written.calls)
        elif in_xml(example.schema):
            found = list(_of_document(example.schema or {}, output))
        else:
            found = list(_of_value(example.schema or {}, output))
    except AgentLoraError as exc:
        return Compliance(None, undecided=str(exc))
    except Exception as exc:  # whatever an answer does to what reads it, the others count
        return Compliance(None, undecided=f"{type(exc).__name__}: {exc}"[:200])
    return Compliance(None if nothing else not any(p.counts for p in found), tuple(_merged(found)))


def _merged(found: Sequence[Problem]) -> list[Problem]:
    """Those at one path and of one keyword as one, in order."""
    merged: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in found:
        if problem.key in merged:
            merged[problem.key].append(problem)
        elif len(merged) < MOST_PROBLEMS:
            merged[problem.key] = [problem]
    return [_together(same) if len(same) > 1 else same[0] for same in merged.values()]


def _together(same: Sequence[Problem]) -> Problem:
    return replace(same[0], times=sum(p.times for p in same), counts=any(p.counts for p in same))


# --- values -------------------------------------------------------------------------------------


def _of_value(schema: JSON, output: Output) -> Iterator[Problem]:
    value, faults = json_form(unfenced(output.text, "json"), cut=output.finish_reason == "length")
    yield from (_of_fault(fault) for fault in faults)
    if value is not MISSING:
        yield from schema_problems(schema, value)


def schema_problems(schema: JSON, value: Any, tool: str | None = None) -> Iterator[Problem]:
    """What is wrong with a value by its schema, and formats that its draft takes as notes."""
    return _held(schema).problems(value, tool)


class _Held:
    """A schema to which values are held."""

    def __init__(self, schema: JSON) -> None:
        self._schema, self._fits = schema, validator(schema)

    def problems(self, value: Any, tool: str | None) -> Iterator[Problem]:
        found = found_by(self._fits, self._schema, value)
        yield from (_problem(self._schema, value, finding, tool) for finding in found)
        if self._with_formats is not None:
            known = {(finding.leaf, finding.steps) for finding in found}
            for finding in found_by(self._with_formats, self._schema, value):
                if finding.leaf == "format" and (finding.leaf, finding.steps) not in known:
                    yield replace(_problem(self._schema, value, finding, tool), counts=False)

    @cached_property
    def _with_formats(self) -> Validator | None:
        """Where every format decides; None where the schema names none."""
        return validator(self._schema, formats=True) if '"format"' in json.dumps(self._schema) else None


_held = by_value(_Held)


def _of_document(schema: JSON, output: Output) -> Iterator[Problem]:
    root, faults = xml_form(output.text, cut=output.finish_reason == "length")
    yield from (_of_fault(fault) for fault in faults)
    if root is None:
        return
    told = problems_of(schema, root)
    inner = value_schema(schema)
    value = read_value(schema, root)
    found = [_problem(inner, value, finding, None) for finding in findings(inner, value)]
    yield from (replace(problem, counts=bool(told)) for problem in found)  # the XML Schema decides
    if told and not found:
        path, _, said = told[0].partition(": ")
        known = path.startswith("/")
        place = re.sub(r"\[[0-9]+\]", "[*]", path.strip("/")).replace("/", ".") if known else ""
        yield Problem(XSD, place or "(root)", (said if known else told[0])[:200])


# --- calls --------------------------------------------------------------------------------------


Call: TypeAlias = tuple[
    Any, list[Fault]
]  # the value that was read, or `MISSING`, and what is wrong with its form


class _Written(NamedTuple):
    """Every call that an answer begins, and the text around them. Those that are written alike are one object."""

    calls: list[Call]
    around: str

    def counted(self) -> Iterator[tuple[Call, int]]:
        """Every object of them with how often it stands there, by where it first does."""
        objects = {id(call): call for call in self.calls}
        yield from ((objects[key], times) for key, times in Counter(map(id, self.calls)).items())


def _of_calls(example: Example, output: Output, written: _Written, array: bool) -> Iterator[Problem]:
    offered = _offered(example.tools)
    if isinstance(offered, str):
        raise DataError(offered)
    # a model that goes on for ever writes one call thousands of times
    for (value, faults), times in written.counted():
        found = [_of_fault(fault) for fault in faults]
        if value is not MISSING:
            found += _of_call(value, offered)
        yield from (replace(problem, times=times) if times > 1 else problem for problem in found)
    if written.calls:
        around = unfenced(written.around, "").strip()
        if around:
            said = f"{len(around):,} characters beside the calls"
            yield Problem("extra_text", "(answer)", said, counts=False, given=around[:MOST_SHOWN])
        if not example.expected.calls:
            read = (call_of(value) for value, faults in written.calls if not faults)
            names = ", ".join(call.name for call in read if call)
            said = "called, and no call was wanted"
            yield Problem("unwanted_call", "(answer)", said, counts=False, given=_cut(names))
    elif example.expected.calls:
        yield _without_call(example, output.text, offered, array)
        if output.finish_reason == "length":
            said = "ends at the token limit before any call"
            yield Problem("truncated", "(answer)", said, given=output.text[-60:])
    elif not output.text.strip():
        yield Problem("empty", "(answer)", FORMS["empty"], counts=False)


@by_value
def _offered(tools: Sequence[JSON]) -> dict[str, _Held] | str:
    """By name, what each tool takes; or what is wrong with a tool's own schema."""
    every = {str(function_of(t).get("name")): parameters_of(function_of(t)) for t in tools}
    for name, parameters in every.items():
        for problem in check_schema(parameters):
            return f"tool {name!r}: {problem}"
    return {name: _held(parameters) for name, parameters in every.items()}


def _written_blocks(output: Output) -> _Written:
    """Of an answer with Hermes marks."""
    cut = output.finish_reason == "length"
    blocks, around = split(output.text)
    read = {block: _of_block(*block, cut) for block in dict.fromkeys(blocks)}
    return _Written([read[block] for block in blocks], around)


def _of_block(body: str, closed: bool, cut: bool) -> Call:
    if closed:
        return json_form(body, cut=False, closed=True)
    value, faults = json_form(body, cut=cut)
    if all(fault.kind != "truncated" for fault in faults):
        faults = [*faults, Fault("truncated", "a call without its closing mark", body.strip()[-60:])]
    return value, faults


def _written_array(output: Output) -> _Written:
    """Of an answer that is to be an array of calls; anything else is one call that cannot be read."""
    value, faults = json_form(output.text, cut=output.finish_reason == "length")
    if faults or not isinstance(value, list):
        said = faults or [Fault("type", "is no array of calls", json.dumps(value)[:MOST_SHOWN])]
        return _Written([(MISSING, said)], "")
    return _Written([(item, []) for item in value], "")


def _of_call(raw: Any, offered: dict[str, _Held]) -> Iterator[Problem]:
    """What is wrong with one call that could be read as JSON."""
    if isinstance(raw, dict) and isinstance(raw.get("arguments"), str):
        inner = read_json(raw["arguments"])  # as a JSON text of an object they are taken too
        raw = raw | ({"arguments": inner} if isinstance(inner, dict) else {})
    name, arguments = (raw.get("name"), raw.get("arguments")) if isinstance(raw, dict) else (None, None)
    if not (isinstance(name, str) and isinstance(arguments, dict)):  # all that the envelope asks for
        for finding in findings(_ENVELOPE, raw):
            path = "call" if finding.path == "(root)" else f"call.{finding.path}"
            yield replace(_problem(_ENVELOPE, raw, finding, None), path=path)
    if not isinstance(name, str):
        return
    if name not in offered:
        said = f"calls {name[:60]!r}, which is not offered"
        yield Problem("unknown_tool", name[:60], said, given=_cut(name), misnamed=(name, tuple(offered)))
    elif isinstance(arguments, dict):
        yield from offered[name].problems(arguments, name)


def _without_call(example: Example, text: str, offered: dict[str, _Held], array: bool) -> Problem:
    names = ", ".join(call.name for call in example.expected.calls)
    said = f"no call of {names}"
    found = None if array else value_within(text)
    call = found[0] if found else None
    call = call[0] if isinstance(call, list) and call else call
    if isinstance(call, dict) and call.get("name") in offered:
        said = "a call is written without the marks that make it one"
    return Problem("no_call", example.expected.calls[0].name, said, given=text[:MOST_SHOWN])


# --- words --------------------------------------------------------------------------------------


def _of_fault(fault: Fault) -> Problem:
    return Problem(fault.kind, "(answer)", fault.said, given=fault.given[:MOST_SHOWN] or None)


def _problem(schema: JSON, value: Any, finding: Finding, tool: str | None) -> Problem:
    path = finding.path
    if tool is not None:
        path = f"{tool}({'' if path == '(root)' else path})"
    path = _cut(path) or ""
    return Problem(finding.keyword, path, _said(finding), finding.branch, case=(schema, value, finding))


def _said(finding: Finding) -> str:
    """What is wrong, in a few words."""
    asked = finding.asked
    match finding.leaf:
        case "required":
            said = "is missing"
        case "dependentRequired" | "dependencies":
            said = "is missing beside the keys that ask for it"
        case "additionalProperties" | "unevaluatedProperties":
            said = "is not expected"
        case "type":
            said = "is not of type " + " or ".join(map(str, asked))
        case "enum":
            said = "is none of " + _listed(asked)
        case "const":
            said = f"is not {_json(asked)}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            over = "above" if "aximum" in finding.leaf else "below"
            at = "or at " if finding.leaf.startswith("exclusive") else ""
            said = f"is {over} {at}the limit {asked}"
        case "multipleOf":
            said = f"is no multiple of {asked}"
        case "minLength" | "minItems" | "minProperties":
            said = f"has fewer than {asked} {_PARTS[finding.leaf[3:]]}"
        case "maxLength" | "maxItems" | "maxProperties":
            said = f"has more than {asked} {_PARTS[finding.leaf[3:]]}"
        case "pattern" | "format":
            said = f"does not match {asked}" if finding.leaf == "pattern" else f"is no {asked}"
        case "oneOf" | "anyOf":
            said = f"fits {asked} alternatives, and one is wanted" if asked else "fits no alternative"
        case "uniqueItems":
            said = "has an entry twice"
        case "propertyNames":
            said = "is no key that is taken"
        case "not":
            said = "is what its schema says it must not be"
        case other:
            said = f"is against {other}"
    return said[:200]


_PARTS = {"Length": "characters", "Items": "entries", "Properties": "keys"}


def _listed(options: Sequence[Any]) -> str:
    more = f" … ({len(options)} in all)" if len(options) > 8 else ""
    return ", ".join(_json(option) for option in options[:8]) + more


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _cut(text: str | None) -> str | None:
    """For a record: not longer than anybody reads."""
    return None if text is None else brief(text, MOST_SHOWN)
