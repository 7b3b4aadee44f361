"""Whether calls are right, by the rules of the Berkeley leaderboard (`ast_checker` of bfcl-eval 2026.3.23).

The rules are its, peculiarities included, so that a verdict here is the verdict there; tests/eval/test_bfcl.py puts
every row's answers and corruptions of them to both. In short:

- Strings are equal without case, blanks and some punctuation, where the parameter is a string, and one level down in
  lists and objects. Deeper values are equal as they are.
- An integer passes for a float parameter, but not inside a list of floats, and no float passes for an integer.
- A value whose kind is not the parameter's, but that of the first allowed value, is a variable's name and the like: it
  has to be allowed exactly.
- Of several calls each expected one takes the first call left that is right.

Where that checker raises an exception a call is wrong here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentlora.core.types import JSON, ToolCall
from agentlora.eval.bfcl.data import Language, Row, Truth
from agentlora.eval.bfcl.literals import KINDS, LISTS, read

OPTIONAL = ""  # among allowed values: it may be left out
_IGNORED = str.maketrans("'", '"', " ,./-_*^")


def verdict(row: Row, calls: Sequence[ToolCall]) -> str:
    """Why the calls are wrong; empty when they are right."""
    if row.kind == "none":
        return "called" if calls else ""
    if row.kind == "some":
        return "" if calls else "no call"
    if len(calls) != len(row.truth):
        return (
            "no call" if not calls else "too many calls" if len(calls) > len(row.truth) else "too few calls"
        )
    left, why = list(range(len(calls))), ""
    for truth in row.truth:
        for number in left:
            why = _call(row, truth, calls[number])
            if not why:
                left.remove(number)
                break
        if why:
            return why if len(row.truth) == 1 else "no call like an expected one"
    return ""


def _call(row: Row, truth: Truth, call: ToolCall) -> str:
    ((name, allowed),) = truth.items()
    function = row.function(name)
    if function is None or call.name != name:
        return "wrong name"
    properties = function["parameters"]["properties"]
    if any(required not in call.arguments for required in function["parameters"]["required"]):
        return "missing argument"
    for key, value in call.arguments.items():
        if key not in properties or key not in allowed:
            return "unknown argument"
        if why := _argument(value, properties[key], allowed[key], row.language):
            return why
    missing = [key for key, values in allowed.items() if key not in call.arguments and OPTIONAL not in values]
    return "missing argument" if missing else ""


def _argument(value: Any, described: JSON, allowed: Sequence[Any], language: Language) -> str:
    said = described.get("type", "")
    wanted = KINDS[language].get(said)
    items = (described.get("items") or {}).get("type", "") if said in LISTS[language] else ""
    inner: type | None = KINDS[language].get(items)
    if language != "python":
        if not isinstance(value, str):
            return "wrong type"
        value = read(value, said, items, language)
    elif said == "float" and type(value) is int:
        try:
            value = float(value)
        except OverflowError:  # no float is so large
            return "wrong value"
    first = _first(allowed)
    if type(value) is not wanted:
        if type(value) is not first:
            return "wrong type"
        return "" if value in allowed else "wrong value"
    if inner and isinstance(value, list) and not any(_like(value, choice, inner) for choice in allowed):
        return "wrong type"
    if first is not None and first is not wanted:
        return "" if value in allowed else "wrong value"
    return "" if _allowed(value, allowed, inner) else "wrong value"


def _allowed(value: Any, allowed: Sequence[Any], inner: type | None) -> bool:
    if isinstance(value, dict):
        return any(_object(value, choice) for choice in allowed if choice != OPTIONAL)
    if isinstance(value, list) and inner is dict:
        return any(_objects(value, choice) for choice in allowed)
    if isinstance(value, str):
        return _bare(value) in [_bare(choice) for choice in allowed if isinstance(choice, str)]
    if isinstance(value, list):
        # what may be left out may be empty too
        choices = [list(choice) for choice in allowed if isinstance(choice, str | list)]
        return _bare_parts(value) in map(_bare_parts, choices)
    return value in allowed


def _object(value: Mapping[str, Any], allowed: Any) -> bool:
    """Of an allowed object every key has its own list of allowed values."""
    if not isinstance(allowed, dict) or any(not isinstance(v, str | list) for v in allowed.values()):
        return False
    right = all(key in allowed and _bare(part) in _bare_parts(allowed[key]) for key, part in value.items())
    return right and all(key in value or OPTIONAL in values for key, values in allowed.items())


def _objects(values: Sequence[Any], allowed: Any) -> bool:
    if not isinstance(allowed, str | list) or len(values) != len(allowed):
        return False
    return all(
        isinstance(value, dict) and choice != OPTIONAL and _object(value, choice)
        for value, choice in zip(values, allowed, strict=True)
    )


def _like(values: Sequence[Any], allowed: Any, inner: type) -> bool:
    """Whether parts are of the kind that they should be, or of that of the first allowed part."""
    if not isinstance(allowed, list):
        return True
    kinds = (inner, _first(allowed))
    return all(type(value) in kinds for value in values)


def _first(allowed: Sequence[Any]) -> type | None:
    return next((type(choice) for choice in allowed if choice != OPTIONAL), None)


def _bare(value: Any) -> Any:
    return value.translate(_IGNORED).lower() if isinstance(value, str) else value


def _bare_parts(values: Sequence[Any]) -> list[Any]:
    return [_bare(value) for value in values]
