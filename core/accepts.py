"""What an example takes as right beside its expected answer; the rows of people's own data bring it as `accepts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from agentlora.core.errors import DataError, nearest


class Judged(BaseModel):
    """An answer with the verdict of a person, to hold a judge against."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    answer: str
    verdict: str


class Accepts(BaseModel):
    """Each evaluator reads what is its own. Other keys are for evaluators of plugins.

    - `equivalents`: by argument or field (``room``, ``address.city``; entries of arrays have no number: ``stops.city``)
      lists of values that mean the same: where one of a list is expected, any of it is right.
    - `optional`: arguments or fields that may be left out.
    - `texts`: other whole texts that are right.
    - `pattern`: a regular expression that the answer has to match.
    - `contains`, `excludes`: texts that have to be, and must not be, in the answer.
    - `judged`: answers with the verdicts of people.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    equivalents: dict[str, list[list[Any]]] = {}
    optional: list[str] = []
    texts: list[str] = []
    pattern: str | None = None
    contains: list[str] = []
    excludes: list[str] = []
    judged: list[Judged] = []


NOTHING = Accepts()


def accepted(raw: Mapping[str, Any] | None) -> Accepts:
    """Raises DataError where a key has another shape, or is nearly one of these."""
    if raw is None:
        return NOTHING
    known = list(Accepts.model_fields)
    try:
        found = Accepts.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(["accepts", *map(str, first["loc"])])
        raise DataError(f"{where}: {first['msg']}") from exc
    for key in found.model_extra or {}:
        if meant := nearest(key, known):
            raise DataError(f"accepts: unknown key {key!r}.{meant} There is: {', '.join(known)}.")
    return found


def joined(path: str, name: str) -> str:
    """The path of a member: ``address.city``."""
    return f"{path}.{name}" if path else name
