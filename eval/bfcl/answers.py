"""Right answers to the Berkeley data's rows, and corruptions of them: what a checker is tried with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from agentlora.core.types import JSON, ToolCall
from agentlora.eval.bfcl.data import WITHOUT_ANSWER, Row, gold, pick_all
from agentlora.eval.bfcl.literals import written

ODD = "xyzzy"  # in no allowed value


class Answer(NamedTuple):
    """Calls, what they are made from, and whether they are right; None where the row's own values decide."""

    label: str
    calls: tuple[ToolCall, ...]
    right: bool | None


def answers(row: Row) -> Iterator[Answer]:
    """Right answers first; of a row that has none `right` is None."""
    if row.kind in ("none", "some"):
        offered = ToolCall(row.functions[0]["name"], {}) if row.functions else ToolCall(ODD, {})
        wanted = row.kind == "some"
        yield Answer("no call", (), not wanted)
        yield Answer("a call", (offered,), wanted)
        yield Answer("two calls", (offered, ToolCall(ODD, {"a": 1})), wanted)
        return
    first = gold(row)
    right = None if row.id in WITHOUT_ANSWER else True
    yield Answer("right", first, right)
    yield Answer("last choices", gold(row, -1), None)
    yield Answer("least arguments", tuple(_least(row, n, call) for n, call in enumerate(first)), right)
    yield Answer("reordered", first[::-1], None)
    yield Answer("no call", (), False)
    yield Answer("one call too few", first[:-1], False)
    yield Answer("one call too many", (*first, first[0]), False)
    yield Answer("one call instead of another", (first[0],) * len(first), None)
    for number, call in enumerate(first):
        for label, other, whether in _one(row, number, call):
            yield Answer(label, (*first[:number], other, *first[number + 1 :]), whether)


def _needed(row: Row, number: int) -> set[str]:
    """The arguments that have to be given."""
    ((name, allowed),) = row.truth[number].items()
    function = row.function(name) or {"parameters": {"required": ()}}
    return {n for n, values in allowed.items() if "" not in values or n in function["parameters"]["required"]}


def _least(row: Row, number: int, call: ToolCall) -> ToolCall:
    needed = _needed(row, number)
    return replace(call, arguments={n: v for n, v in call.arguments.items() if n in needed})


def _one(row: Row, number: int, call: ToolCall) -> Iterator[tuple[str, ToolCall, bool | None]]:
    """(what is done, the call, whether it is still right)"""
    alone = False if len(row.truth) == 1 else None  # another expected call may be like the corruption
    yield "wrong name", replace(call, name=call.name + ODD), False
    for other in row.functions:
        if other["name"] != call.name:
            yield "another tool", replace(call, name=other["name"]), alone
            break
    yield "wrong case of the name", replace(call, name=call.name.swapcase()), None
    given = dict(call.arguments)
    yield "extra argument", replace(call, arguments={**given, ODD: 1}), False
    function = row.function(call.name) or {"parameters": {"properties": {}}}
    properties = function["parameters"]["properties"]
    for name in properties:
        if name not in given:
            yield "offered argument", replace(call, arguments={**given, name: ODD}), None
            break
    ((_, allowed),) = row.truth[number].items()
    for name, value in given.items():
        rest = {n: v for n, v in given.items() if n != name}
        missing = alone if name in _needed(row, number) else None
        yield "missing argument", replace(call, arguments=rest), missing
        for label, changed in _values(row, properties.get(name, {}), value, allowed[name]):
            yield label, replace(call, arguments={**given, name: changed}), None


def _values(row: Row, described: JSON, value: Any, allowed: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    if row.language == "python":
        yield from _others(value)
        yield from (("another allowed value", choice) for choice in allowed[1:])
        return
    # source code: of other values, and code that is wrong as such
    for label, other in _others(_picked(allowed)):
        yield label, other
        yield f"{label}, as source", written(other, described, row.language)
    yield from _sources(value)


def _picked(allowed: Sequence[Any]) -> Any:
    return pick_all({"it": list(allowed)}).get("it", "")


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """(what is done, another value): of the same type, of others, and deeper down."""
    yield "null", None
    yield "an object", {ODD: 1}
    yield "a list of it", [value]
    yield "empty text", ""
    if isinstance(value, bool):
        yield from (("wrong value", not value), ("as text", str(value).lower()), ("as number", int(value)))
    elif isinstance(value, str):
        yield from (("wrong value", value + ODD), ("wrong case", value.swapcase()), ("shorter", value[:-1]))
        yield "other punctuation", f" {value.replace(' ', '-')}. "
        yield from (("quoted", f'"{value}"'), ("a number", 7), ("true", True))
    elif isinstance(value, int | float):
        yield from (("wrong value", value + 987654), ("number as text", str(value)), ("negative", -value))
        yield from (("as float", float(value)), ("as integer", int(value)), ("true", True))
        yield "a little more", value + 0.5
    elif isinstance(value, list):
        yield from _lists(value)
    elif isinstance(value, Mapping):
        yield from _objects(value)


def _lists(value: list[Any]) -> Iterator[tuple[str, Any]]:
    yield from (("one part more", [*value, ODD]), ("empty list", []), ("as text", str(value)))
    if value:
        yield from (("one part less", value[:-1]), ("parts reordered", value[::-1]), ("twice", value + value))
        for label, part in _deeper(value[0]):
            yield f"a part: {label}", [part, *value[1:]]


def _objects(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from (("one key more", {**value, ODD: 1}), ("empty object", {}), ("as text", str(value)))
    for key, part in value.items():
        yield "one key less", {k: v for k, v in value.items() if k != key}
        yield "another key", {ODD if k == key else k: v for k, v in value.items()}
        for label, other in _deeper(part):
            yield f"a member: {label}", {**value, key: other}


def _deeper(value: Any) -> Iterator[tuple[str, Any]]:
    """Not ever deeper: a value in a value has one level of corruptions."""
    if isinstance(value, list | Mapping) and len(str(value)) > 400:
        yield "null", None
        return
    yield from _others(value)


def _sources(source: str) -> Iterator[tuple[str, Any]]:
    """Source that is like other source."""
    yield from (("blanks around", f"  {source} "), ("cut off", source[:-1]), ("doubled", source * 2))
    yield from (("suffix", source + "L"), ("suffix", source + "f"), ("suffix", source + "n"))
    yield from (("in brackets", f"[{source}]"), ("in two brackets", f"[[{source}], [{source}]]"))
    yield from (("in braces", f"{{a: {source}}}"), ("wrong value", source + ODD), ("line", source + "\n"))
    yield "array", f"new int[] {{ {source}, }}"
    yield "list", f"new ArrayList<>() {{{{ add({source}); }}}}"
    yield "map", f'new HashMap<>() {{{{ put("a", {source}); }}}}'
    yield "JavaScript's array", f"new Array({source})"
    yield "JavaScript's arrays", f"new Array([{source}], [{source}])"
