"""JSON Schema (2020-12, draft 7 and older) without a network: an unknown ``$ref`` is an error, never a fetch.

``jsonschema_rs`` validates; it is imported on first use. The tests hold it to the official test suite and to
``jsonschema``, and list where these two differ. ``format`` says something and decides nothing, as both drafts have
it by default. Non-finite numbers and half characters are not JSON and never valid.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

from agentlora.core.errors import DataError
from agentlora.core.types import JSON

TOO_MANY_STEPS = "a pattern of the schema takes too many steps on this value"
KEPT = 4096  # results by value; compiled schemas
MOST_PARTS = 20_000  # of a value whose every fault is looked for; of a larger one the first is told
_NOTHING: Mapping[str, Any] = MappingProxyType({})
R = TypeVar("R")


class UndecidedError(DataError):
    """Whether a value fits a schema was not found out; the message says why."""


class Validator:
    """A compiled schema. It judges values that were read from JSON, and does not look again whether they are that."""

    __slots__ = ("_compiled",)

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def is_valid(self, value: Any) -> bool:
        """Whether it was shown that `value` fits."""
        return bool(self._compiled.is_valid(value))

    def problem(self, value: Any) -> str | None:
        """The first of its `errors`; None where there is none. Raises as `errors`."""
        return None if self._compiled.is_valid(value) else next(self._messages(value, MOST_PARTS), None)

    def errors(self, value: Any) -> list[str]:
        """What is wrong with `value`, one ``path: message`` a problem; empty when it fits.

        Raises:
            UndecidedError: a pattern was given up on, or `value` is nested too deeply for the validator.
        """
        return list(self._messages(value))

    def _messages(self, value: Any, most: int | None = None) -> Iterator[str]:
        found, undecided = False, ""
        for error in self.found(value, most):
            path = "/".join(map(str, error.instance_path)) or "(root)"
            if given_up(error):
                undecided = undecided or f"{path}: {TOO_MANY_STEPS}"
            else:
                found = True
                yield f"{path}: {error.message}"
        if undecided and not found:
            raise UndecidedError(undecided)

    def found(self, value: Any, most: int | None = None) -> Iterator[Any]:
        """The validator's own errors (``jsonschema_rs.ValidationError``), at most `most`. Where that is said, and
        `value` has very many parts, only the first: all are made before one is told, 300,000 in 15 seconds.

        Raises:
            UndecidedError: `value` is nested too deeply.
        """
        try:
            if most is not None and _many(value) and (first := self._first(value)) is not None:
                yield first
                return
            yield from islice(self._compiled.iter_errors(value), most)
        except ValueError as exc:  # it recurses, and stops at 255 levels
            raise UndecidedError(f"(root): {exc}") from exc

    def _first(self, value: Any) -> Any:
        """The error that it comes upon first; None where there is none, or a pattern was given up on."""
        import jsonschema_rs

        try:
            self._compiled.validate(value)
        except jsonschema_rs.ValidationError as exc:
            return None if given_up(exc) else exc
        return None


def _many(value: Any) -> bool:
    """Whether a value holds more than `MOST_PARTS` others, as only a hostile answer does."""
    left, parts = [value], 0
    while left and parts <= MOST_PARTS:
        held = left.pop()
        if isinstance(held, dict | list):
            parts += len(held)
            if parts <= MOST_PARTS:
                left += held.values() if isinstance(held, dict) else held
    return parts > MOST_PARTS


def by_value(function: Callable[[Any], R]) -> Callable[[Any], R]:
    """`function`, asked once for values of JSON that are alike, in whatever objects: they are told apart by their
    bytes, which takes a microsecond or two for a tool. It gets a copy, so that what is changed later changes no result.
    """

    @lru_cache(maxsize=KEPT)
    def of_bytes(dumped: bytes) -> R:
        return function(marshal.loads(dumped))

    @wraps(function)
    def of(value: Any) -> R:
        dumped = bytes_of(value)
        return function(value) if dumped is None else of_bytes(dumped)

    return of


def bytes_of(value: Any) -> bytes | None:
    """Equal only for values of JSON that are alike, in their types and in the order of their keys; None for a class of
    somebody's own, and for what is nested too deeply.
    """
    try:
        return marshal.dumps(value, 2)  # version 2 writes alike what is alike, whoever else holds its parts
    except ValueError:
        return None


def validator(schema: Any, formats: bool | None = None) -> Validator:
    """The validator of `schema`, compiled once for all schemas that say the same.

    Args:
        formats: see `compiled`.

    Raises:
        DataError: it is not a usable JSON Schema.
        TypeError: it holds what JSON does not have.
    """
    return _known((schema, formats))


@by_value
def _known(asked: tuple[Any, bool | None]) -> Validator:
    schema, formats = asked
    return _validator(_canonical(schema), formats)


def errors(schema: JSON, instance: Any) -> list[str]:
    """What is wrong with `instance`, one ``path: message`` a problem; empty when it is valid.

    Raises:
        DataError: `schema` is not a usable JSON Schema.
        UndecidedError: a pattern of it was given up on, or `instance` is nested too deeply for the validator.
    """
    problem = _not_json(instance)
    return [problem] if problem else validator(schema).errors(instance)


def is_valid(schema: JSON, instance: Any) -> bool:
    """Whether `instance` is a JSON value of which it was shown that it fits `schema`. Raises DataError when `schema` is
    unusable.
    """
    fits = validator(schema).is_valid
    return _not_json(instance) is None and fits(instance)


def check_schema(schema: Any) -> list[str]:
    """Why `schema` is not a usable JSON Schema; empty when it is."""
    try:
        validator(schema)
    except DataError as exc:
        return [str(exc)]
    except TypeError as exc:
        return [f"not JSON: {exc}"]
    return []


def compiled(schema: Any, *, formats: bool | None = None, known: Mapping[str, Any] = _NOTHING) -> Validator:
    """A validator of its own.

    Args:
        formats: whether every ``format`` decides, or none; None: those whose schema's own vocabulary says so.
        known: by URI, what references may name beside the schema itself and the drafts' own schemas.

    Raises:
        DataError: `schema` is not a usable JSON Schema.
    """
    import jsonschema_rs

    if not isinstance(schema, dict | bool):
        raise DataError(f"a JSON Schema is an object or a boolean, not {json.dumps(schema)[:80]}")

    def find(uri: str) -> Any:
        if uri in known:
            return known[uri]
        raise ValueError(f"$ref to {uri!r} is outside the schema; references are never fetched")

    try:
        made = jsonschema_rs.validator_for(schema, retriever=find, validate_formats=formats)
    except Exception as exc:  # jsonschema_rs raises several unrelated classes here
        raise DataError(f"not a usable JSON Schema: {exc}") from exc
    return Validator(made)


@lru_cache(maxsize=KEPT)
def _validator(schema_json: str, formats: bool | None) -> Validator:
    return compiled(json.loads(schema_json), formats=formats)


def given_up(error: Any) -> bool:
    """Whether an error, or one of the alternatives that it is made of, says only that a pattern was not decided."""
    if type(error.kind).__name__.endswith(("BacktrackLimitExceeded", "RegexEngineFailure")):
        return True
    return any(given_up(inner) for branch in getattr(error.kind, "context", ()) for inner in branch)


def _canonical(schema: Any) -> str:
    """Raises TypeError or DataError where it is no JSON."""
    try:
        return _whole(json.dumps(schema, sort_keys=True, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError) as exc:
        raise DataError(f"not a usable JSON Schema, because it is no JSON: {exc}") from exc


def _not_json(instance: Any) -> str | None:
    try:
        _whole(json.dumps(instance, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as exc:
        return f"(root): not a JSON value: {exc}"
    return None


def _whole(text: str) -> str:
    """Raises UnicodeEncodeError, a ValueError, where there is half a character in it."""
    if not text.isascii():
        text.encode()
    return text
