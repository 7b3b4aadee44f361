"""What is wrong with a JSON value, as data: which keyword of the schema failed, where, and what it asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentlora.core.schema import TOO_MANY_STEPS, UndecidedError, Validator, given_up, validator
from agentlora.core.types import JSON

MOST = 1000  # errors of one value that are looked at
MOST_NAMES = 20  # unexpected keys of one object, each of which is a finding
_PLAIN = re.compile(r"[\w$@-]{1,60}")
_CHOICES = ("anyOf", "oneOf")
_NAMED = frozenset({"properties", "dependentSchemas", "dependencies", "$defs", "definitions"})
_MAPS = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
_ARRAYS = frozenset({"items", "prefixItems", "contains", "additionalItems", "unevaluatedItems"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        keyword: the keyword of the schema that failed; ``false`` where the whole schema takes nothing.
        steps: keys and indices from the value's root to what is wrong; for a key that is missing or not expected, to
            that key.
        path: the same for people, generalised: ``items[*].price``, and ``*`` for a key of a map.
        asked: what the keyword says: a type's names, an enum's options, a limit, a pattern …; of two keys that go
            together (``dependentRequired``) the one that is missing.
        branch: of ``anyOf`` and ``oneOf``, the keyword that failed in the alternative that comes nearest; `steps` and
            `asked` are that one's.
        known: of a key that is missing or not expected, the keys that its object may have.
    """

    keyword: str
    steps: tuple[str | int, ...]
    path: str
    asked: Any = None
    branch: str = ""
    known: tuple[str, ...] = ()

    @property
    def leaf(self) -> str:
        """The keyword that says what is wrong."""
        return self.branch or self.keyword


def findings(schema: JSON, value: Any, *, formats: bool | None = None, most: int = MOST) -> list[Finding]:
    """Everything that is wrong with a JSON value, in the validator's order; empty exactly when it is valid.

    Where no alternative of ``anyOf`` or ``oneOf`` fits, what is wrong in the one that comes nearest.

    Args:
        formats: whether ``format`` counts; None: as the schema's draft has it (draft 2019-09 and later take it as a
            note).
        most: errors of the validator that are looked at; a large answer may have one in every entry.

    Raises:
        DataError: `schema` is not a usable JSON Schema.
        UndecidedError: a pattern was given up on and nothing else is wrong, or `value` is nested too deeply.
    """
    return found_by(validator(schema, formats), schema, value, most)


def found_by(judging: Validator, schema: JSON, value: Any, most: int = MOST) -> list[Finding]:
    """The `findings` of a validator of `schema`."""
    found: list[Finding] = []
    undecided = False
    for error in judging.found(value, most):
        if given_up(error):
            undecided = True
        else:
            found += _findings(schema, value, error)
    if undecided and not found:
        raise UndecidedError(TOO_MANY_STEPS)
    return found


def path_text(parts: Sequence[str | int]) -> str:
    """A path for people: every index is ``[*]``, ``*`` any key; ``(root)`` for the value itself."""
    said = ""
    for part in parts:
        if isinstance(part, int):
            said += "[*]"
        elif part == "*" or _PLAIN.fullmatch(part):
            said += f".{part}" if said else part
        else:
            said += f"[{json.dumps(part[:60], ensure_ascii=False)}]"
    return said or "(root)"


def value_at(value: Any, steps: Sequence[str | int]) -> Any:
    """What stands at a path. Raises KeyError, IndexError or TypeError where nothing does."""
    for step in steps:
        value = value[step]
    return value


def _findings(schema: JSON, value: Any, error: Any) -> Iterator[Finding]:
    """Of one of the validator's errors: several where an object has several unexpected keys, or a choice's nearest
    alternative several faults.
    """
    kind, at = error.kind.name, list(error.evaluation_path)
    steps: tuple[str | int, ...] = tuple(error.instance_path)
    shown = _shown(at, steps)
    if kind in _CHOICES:
        yield from _of_choice(schema, value, error, kind, steps, shown)
    elif kind == "required":
        keyword = at[-1] if at[-1:] and at[-1] in ("dependentRequired", "dependencies") else kind
        name = str(error.kind.property)
        yield _of_key(keyword, schema, error, steps, shown, name, asked=name)
    elif names := _unexpected(kind, at, value, error):
        for name in names[:MOST_NAMES]:
            yield _of_key(str(at[-1]), schema, error, steps, shown, name)
    elif kind == "propertyNames":
        name = str(error.kind.error.instance)
        yield Finding(kind, (*steps, name), path_text((*shown, name)), error.kind.error.kind.name)
    elif kind == "falseSchema":
        yield Finding(_ruled_out(at), steps, path_text(shown))
    elif kind == "contains":
        yield Finding(str(at[-1]) if at else kind, steps, path_text(shown))
    else:
        asked: Any = None if kind == "unevaluatedItems" else error.kind.value
        yield Finding(kind, steps, path_text(shown), tuple(asked) if kind in ("type", "enum") else asked)


def _of_key(
    keyword: str,
    schema: JSON,
    error: Any,
    steps: tuple[str | int, ...],
    shown: Sequence[str | int],
    name: str,
    asked: Any = None,
) -> Finding:
    known = _properties(schema, error)
    return Finding(keyword, (*steps, name), path_text((*shown, name)), asked, known=known)


def _unexpected(kind: str, at: Sequence[str | int], value: Any, error: Any) -> list[str]:
    """The keys that an object should not have; empty where that is not what is wrong."""
    if kind in ("additionalProperties", "unevaluatedProperties"):
        return [str(name) for name in error.kind.unexpected]
    if kind == "falseSchema" and at and at[-1] == "additionalProperties":
        return list(value_at(value, error.instance_path))  # said once, of the object: the schema names no key
    return []


def _ruled_out(at: Sequence[str | int]) -> str:
    """The keyword under which a schema is `false`."""
    if len(at) > 1 and (at[-2] in _NAMED or at[-2] == "patternProperties" or isinstance(at[-1], int)):
        return str(at[-2])
    return str(at[-1]) if at else "false"


def _properties(schema: JSON, error: Any) -> tuple[str, ...]:
    """The keys that are named beside the keyword of an error."""
    place: Any = schema
    for part in list(error.schema_path)[:-1]:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return ()
    if not isinstance(place, Mapping):
        return ()
    named = place.get("properties")
    required = place.get("required")
    keys = [*(named if isinstance(named, Mapping) else ()), *(required if isinstance(required, list) else ())]
    return tuple(dict.fromkeys(key for key in keys if isinstance(key, str)))


# --- alternatives -------------------------------------------------------------------------------


def _of_choice(
    schema: JSON, value: Any, error: Any, kind: str, steps: tuple[str | int, ...], shown: Sequence[str | int]
) -> Iterator[Finding]:
    branches = [
        [part for inner in branch[:MOST] for part in _findings(schema, value, inner)]
        for branch in error.kind.context
    ]
    fitting = sum(not branch for branch in branches)
    if fitting or not branches:  # of `oneOf`, more than one alternative fits
        yield Finding(kind, steps, path_text(shown), fitting)
        return
    best = min(branches, key=lambda branch: _distance(branch, steps))
    if _other_kind(best, steps):  # no alternative is of its kind: all that they ask for is asked for
        yield _merged(kind, steps, path_text(shown), [part for branch in branches for part in branch])
        return
    nearest = _distance(best, steps)
    as_near = branches if nearest[1] else [b for b in branches if _distance(b, steps) == nearest]
    for part in _shared(as_near) or best:
        yield replace(part, keyword=kind, branch=part.leaf)


def _shared(branches: Sequence[Sequence[Finding]]) -> list[Finding]:
    """What is wrong in each of some alternatives: nothing says that one of them was meant rather than another. Of their
    marks, all are the options.
    """
    found = []
    for part in branches[0]:
        same = part.leaf, part.steps
        alike = [p for branch in branches for p in [q for q in branch if (q.leaf, q.steps) == same][:1]]
        if len(alike) < len(branches):
            continue
        if part.leaf == "const" and len(alike) > 1:
            part = replace(part, branch="enum", asked=tuple(p.asked for p in alike))
        found.append(replace(part, known=tuple(dict.fromkeys(name for p in alike for name in p.known))))
    return found


def _distance(branch: Sequence[Finding], steps: tuple[str | int, ...]) -> tuple[bool, int, int, int]:
    """How far a value is from an alternative. A value of another kind is furthest; then one whose mark of the
    alternative (a ``const``, a single choice) is another; then one with more faults. Of equal ones that is nearer
    whose faults lie deeper: more of it was recognised.
    """
    marks = sum(
        len(part.steps) == len(steps) + 1
        and (part.leaf == "const" or (part.leaf == "enum" and len(part.asked) == 1))
        for part in branch
    )
    depth = max(len(part.steps) - bool(part.known) for part in branch)
    return _other_kind(branch, steps), marks, len(branch), -depth


def _other_kind(branch: Sequence[Finding], steps: tuple[str | int, ...]) -> bool:
    """Whether the value as a whole is not what the alternative asks for."""
    return any(part.steps == steps and part.leaf in ("type", "const", "enum") for part in branch)


def _merged(kind: str, steps: tuple[str | int, ...], path: str, parts: Sequence[Finding]) -> Finding:
    """What all alternatives ask of the value itself: one of some types, or one of some options."""
    here = [part for part in parts if part.steps == steps]
    options = [
        o for p in here if p.leaf in ("enum", "const") for o in (p.asked if p.leaf == "enum" else (p.asked,))
    ]
    types = dict.fromkeys(name for p in here if p.leaf == "type" for name in p.asked)
    if options:
        return Finding(kind, steps, path, tuple(options), branch="enum")
    return Finding(kind, steps, path, tuple(types), branch="type")


# --- paths --------------------------------------------------------------------------------------


def _shown(at: Sequence[str | int], steps: Sequence[str | int]) -> list[str | int]:
    """`steps`, with ``*`` for keys that the schema does not name: those of maps, which answers make up.

    `at` is the way through the schema, keyword by keyword, which says of each step what it stepped through.
    """
    shown: list[str | int] = []
    left = list(steps)
    i = 0
    while i < len(at) and left:
        token, i = at[i], i + 1
        if token in _NAMED:
            i += 1
            if token == "properties":
                shown.append(left.pop(0))
        elif token in _MAPS:
            i += token == "patternProperties"
            left.pop(0)
            shown.append("*")
        elif token in _ARRAYS:
            shown.append(left.pop(0))
            i += i < len(at) and isinstance(at[i], int)
        elif token in ("allOf", *_CHOICES):
            i += 1
    return [*shown, *left]
