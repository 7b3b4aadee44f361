"""When two JSON values are the same: exactly, or by a rule that somebody can read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from agentlora.core import schema as json_schema
from agentlora.core.accepts import NOTHING, Accepts, joined
from agentlora.core.config import Strict
from agentlora.eval.calls import canonical
from agentlora.eval.scorers.dates import moment_of, named_moment

MOMENTS = ("date-time", "time")
MOST_MATCHED = 200  # entries of a set that are matched by rules; larger ones are compared exactly
MOST_REFERENCES = 20  # that lead from one to the next
_SCALARS = (str, int, float, bool, type(None))


class Comparing(Strict):
    """Where values that are not written alike are the same all the same. Texts are compared letter for letter, a number
    is never a text, and true is never 1.
    """

    number_tolerance: float = Field(0.0, ge=0, lt=1)
    """How far a number may be off, as a share of the expected one. 0, unless said: what a program is given has to be
    what was asked. Whole numbers (by the schema, or as expected where it does not say) are never off: they count or
    identify."""
    dates: Literal["off", "format", "any"] = "format"
    """format: a date-time or a time, where the schema says that it is one (``format``), is right when it names the same
    moment, one without a zone taken as UTC: who reads the format gets the same. any: dates and times written otherwise
    too (1 March 2026, 3 pm): only where a person reads them. Never 03/04/2026, which names two days."""
    sets: Literal["off", "unique"] = "unique"
    """unique: a list of which the schema says ``uniqueItems`` is a set, and its order says nothing."""


BY_SCHEMA = Comparing()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`root`: the schema that references count from."""

    how: Comparing = BY_SCHEMA
    accepts: Accepts = NOTHING
    root: Any = None

    def same(self, wanted: Any, found: Any, schema: Any, path: str = "") -> bool:
        """Whether `found` is right where `wanted` is expected.

        Args:
            schema: of both, which says how they are compared; it need not be whole. path: of both, for what the
                example lists (`Accepts.equivalents`).
        """
        if type(wanted) in _SCALARS and type(wanted) is type(found) and wanted == found:
            return True
        schema = self._followed(schema)
        if self.accepts.equivalents and self._listed(wanted, found, path):
            return True
        if isinstance(wanted, str) and isinstance(found, str):
            return wanted == found or self._same_moment(wanted, found, schema)
        if isinstance(wanted, Mapping) and isinstance(found, Mapping):
            return self._same_members(wanted, found, schema, path)
        if isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
            return self._same_entries(wanted, found, schema, path)
        if _is_number(wanted) and _is_number(found):
            return bool(wanted == found) or self._near(wanted, found, schema)
        return type(wanted) is type(found) and bool(wanted == found)

    def may_lack(self, path: str) -> bool:
        """Whether the example lists an argument or field as one that may be left out."""
        return path in self.accepts.optional

    def _listed(self, wanted: Any, found: Any, path: str) -> bool:
        for group in self.accepts.equivalents.get(path, ()):
            known = set(map(canonical, group))
            if canonical(wanted) in known and canonical(found) in known:
                return True
        return False

    def _same_members(
        self, wanted: Mapping[str, Any], found: Mapping[str, Any], schema: Any, path: str
    ) -> bool:
        if not found.keys() <= wanted.keys():
            return False
        return all(
            self.same(value, found[name], member_of(schema, name), joined(path, name))
            if name in found
            else self.may_lack(joined(path, name))
            for name, value in wanted.items()
        )

    def _same_entries(self, wanted: Sequence[Any], found: Sequence[Any], schema: Any, path: str) -> bool:
        if len(wanted) != len(found):
            return False
        inner = keyword_of(schema, "items")
        if self.how.sets == "off" or keyword_of(schema, "uniqueItems") is not True:
            return all(self.same(a, b, inner, path) for a, b in zip(wanted, found, strict=True))
        if len(wanted) > MOST_MATCHED:
            return sorted(map(canonical, wanted)) == sorted(map(canonical, found))
        pairs = matched(len(wanted), len(found), lambda i, j: self.same(wanted[i], found[j], inner, path))
        return len(pairs) == len(wanted)

    def _near(self, wanted: float, found: float, schema: Any) -> bool:
        tolerance, kind = self.how.number_tolerance, keyword_of(schema, "type")
        kinds = kind if isinstance(kind, list) else [kind]
        whole = "integer" in kinds or ("number" not in kinds and not isinstance(wanted, float))
        if not tolerance or whole:
            return False
        try:
            return abs(found - wanted) <= tolerance * abs(wanted)
        except OverflowError:  # a whole number that no float holds
            return False

    def _same_moment(self, wanted: str, found: str, schema: Any) -> bool:
        if self.how.dates != "off" and keyword_of(schema, "format") in MOMENTS:
            return moment_of(wanted) == moment_of(found) is not None
        return self.how.dates == "any" and named_moment(wanted) == named_moment(found) is not None

    def _followed(self, schema: Any) -> Any:
        """A schema in the place of a reference to it, where that lies in the root."""
        for _ in range(MOST_REFERENCES):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                return schema
            schema = self.root
            for step in reference[2:].split("/"):
                key = step.replace("~1", "/").replace("~0", "~")
                schema = schema.get(key) if isinstance(schema, Mapping) else None
        return None


def matched(wanted: int, found: int, same: Callable[[int, int], bool]) -> dict[int, int]:
    """As many pairs of (wanted, found) as can be made of those that are the same, each used once: by wanted number.

    With tolerances what is the same is no matter of classes, so that the first fit may take what another needs. Source:
    H. W. Kuhn, "The Hungarian method for the assignment problem" (1955): augmenting paths.
    """
    owner: dict[int, int] = {}  # found → wanted
    fits: dict[int, list[int]] = {}

    def place(i: int, tried: set[int]) -> bool:
        if i not in fits:
            fits[i] = [j for j in range(found) if same(i, j)]
        for j in fits[i]:
            if j in tried:
                continue
            tried.add(j)
            if j not in owner or place(owner[j], tried):
                owner[j] = i
                return True
        return False

    for i in range(wanted):
        place(i, set())
    return {i: j for j, i in owner.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- reading a schema ---------------------------------------------------------------------------


def member_of(schema: Any, name: str) -> Any:
    """The schema of a property, looked for in alternatives too."""
    if not isinstance(schema, Mapping):
        return {}
    found = (schema.get("properties") or {}).get(name)
    for pattern, inner in (schema.get("patternProperties") or {}).items() if found is None else ():
        if json_schema.is_valid({"pattern": pattern}, name):
            found = inner
    found = schema.get("additionalProperties") if found is None else found
    if isinstance(found, Mapping):
        return found
    for key in ("anyOf", "oneOf", "allOf"):
        for alternative in schema.get(key) or ():
            if inner := member_of(alternative, name):
                return inner
    for held in _conditional(schema):
        if inner := member_of(held, name):
            return inner
    return {}


def _conditional(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Schemas that hold where something else does."""
    yield from (schema[key] for key in ("then", "else") if key in schema)
    yield from (schema.get("dependentSchemas") or {}).values()


def keyword_of(schema: Any, key: str) -> Any:
    """A keyword of a schema, looked for in alternatives too."""
    if not isinstance(schema, Mapping):
        return None
    if key in schema:
        return schema[key]
    for alternatives in ("anyOf", "oneOf", "allOf"):
        for alternative in schema.get(alternatives) or ():
            if (found := keyword_of(alternative, key)) is not None:
                return found
    return None


# --- corrupting ---------------------------------------------------------------------------------


def another(value: Any) -> Any:
    """A JSON value of the same kind that no rule of `Comparing` takes for `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        other = value + 1 + abs(value)  # farther off than any share of it
        return other if isinstance(other, int) or math.isfinite(other) else 0
    if isinstance(value, str) or value is None:
        return f"{value}x"
    return [*value, "x"] if isinstance(value, list | tuple) else {"other": value}
