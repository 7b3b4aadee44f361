"""Requests in somebody else's words: what a teacher is told to write, and whether what it wrote asks for the same.

Values are seen, and not what they mean: that a teacher has not changed two cities about, nobody can tell from spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example
from agentlora.tasks.tool_calling.api_values import enum_words
from agentlora.tasks.tool_calling.conversions import in_words, spoken_forms
from agentlora.tasks.tool_calling.groups import RequestParams, fits
from agentlora.tasks.tool_calling.toolspec import ToolSpec

UNCHECKED = "a value is not said word by word"
DESCRIBED = 300  # characters of a tool's description
# what people do not call what they ask for, unless the request did
_JARGON = re.compile(r"\b(?:tools?|functions?|parameters?|arguments?|apis?|json|schemas?)\b|[{}<>`|\\]", re.I)
_BETWEEN = re.compile(r"[\s,;!?\"“”()]+")
_FIRST = re.compile(r"(?:^|[.!?:]\s+|[\"“(])[\"“(]*(\w+)")  # of a sentence
_I = frozenset(("i", "i'm", "i'd", "i'll", "i've", "i’m", "i’d", "i’ll", "i’ve"))
_NUMBERS = frozenset(in_words(n) for n in (*range(2, 20), *range(20, 100, 10))) | {
    "hundred",
    "thousand",
    "million",
}
# beginnings of words that any request or refusal has
_EVERYWHERE = frozenset((
    "also", "aski", "been", "coul", "does", "dont", "from", "give", "have", "hell", "help", "here",
    "into", "just", "kind", "like", "make", "must", "need", "noth", "only", "othe", "plea", "requ",
    "said", "shou", "some", "sorr", "such", "sure", "tell", "than", "that", "them", "then", "ther",
    "they", "thin", "this", "want", "were", "what", "when", "wher", "whic", "will", "with", "woul",
    "your",
))  # fmt: skip

Way = tuple[str, bool]  # a spelling, and whether capitals count


@dataclass(frozen=True)
class Rewording:
    """How a builder's requests are put in other words (`agentlora.core.types.Rewords`).

    Args:
        specs: the tools by name, which know what their values are called; of others, values count as said where they
            are spelled as in the call.
    """

    params: RequestParams
    specs: Mapping[str, ToolSpec] = field(default_factory=dict)

    def takes(self, example: Example) -> bool:
        """Whether it is a generated request for a tool; small talk, and what takes a tool's result, stay."""
        asked = example.messages[-1]["role"] == "user" and example.tags.get("wants") != "chat"
        case = example.tags.get("case")
        return (
            asked and case != "steps" and (bool(example.expected.calls) or case in ("none_fits", "missing"))
        )

    def prompt(self, example: Example, ways: int) -> str:
        """See `Rewords`."""
        said = self._said(example)
        if said is None:
            return ""
        text, kept = _request(example), [s for call in said for s in call]
        wanted = f"{ways} different ways" if ways > 1 else "one way"
        lines = [f"Somebody says this to an assistant. Say it in other words, in {wanted}, as people talk."]
        lines.append(f"Request: {text}")
        known = {tool["function"]["name"]: tool["function"] for tool in example.tools}
        for call in example.expected.calls:
            described = brief(str(known.get(call.name, {}).get("description", "")), DESCRIBED)
            arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
            lines.append(f"It asks for {call.name} ({described}) with {arguments}")
        if kept:
            spelled = dict.fromkeys(json.dumps(_spelled(text, ways), ensure_ascii=False) for ways in kept)
            lines.append(f"Keep, spelled like this: {', '.join(spelled)}")
        lines.append(
            "Ask for the same and for nothing else. Add no name, number or detail that the request does not have, "
            "leave none out, and do not mention tools, functions or parameters."
        )
        lines.append(f"Answer with {ways} line{'s, one request each' if ways > 1 else ''} and nothing else.")
        return "\n".join(lines)

    def problem(self, example: Example, text: str) -> str:
        """See `Rewords`."""
        original = _request(example)
        said = self._said(example)
        if said is None:
            return UNCHECKED
        if _plain(text) == _plain(original):
            return "no other words"
        if not fits(text, (), example.expected, "train", self.params):
            return "too long"
        if any(name in text for name in _names(example) if name not in original):
            return "the name of a tool or parameter"
        if {m.lower() for m in _JARGON.findall(text)} - {m.lower() for m in _JARGON.findall(original)}:
            return "no request, or one that speaks of tools"
        if any(_place(text, ways) is None for call in said for ways in call):
            return "a value is not said"
        if _order(text, said) != _order(original, said):
            return "calls in another order"
        known = {
            token for way, _ in (w for call in said for ways in call for w in ways) for token in _tokens(way)
        }
        if _marked(text) - set(_tokens(original)) - known:
            return "a name or number that was not said"
        if not example.expected.calls and _marked(original) - set(_tokens(text)):
            return "a name or number is gone"
        if _stems(original) and not _stems(original) & _stems(text):
            return "nothing of the request is left"
        return ""

    def _said(self, example: Example) -> list[list[list[Way]]] | None:
        """For every call, how each of its values may be said; None where the request says one of them in no way that is
        known.
        """
        text = _request(example)
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
        found = []
        for call in example.expected.calls:
            properties = schemas.get(call.name, {}).get("properties", {})
            spec = self.specs.get(call.name)
            values = [
                ways
                for name, value in call.arguments.items()
                for ways in _values(value, properties.get(name), list(_entries(spec, name)))
            ]
            if any(_place(text, ways) is None for ways in values):
                return None
            found.append(values)
        return found


# --- values -------------------------------------------------------------------------------------


def _values(value: Any, schema: Any, entries: Sequence[JSON]) -> Iterator[list[Way]]:
    """How each value in `value` may be said.

    Args:
        entries: ``{"say", "value"}`` of what is known of the parameter.
    """
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _values(part, schema.get("properties", {}).get(name), entries)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part, schema.get("items"), entries)
    else:
        own = [e["say"] for e in entries if type(e["value"]) is type(value) and e["value"] == value]
        free = isinstance(value, str) and "enum" not in schema
        ways = dict.fromkeys([*own, *_spellings(value)])
        yield [(way, free and way == value) for way in ways if way]


def _spellings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value, enum_words(value)]
    if isinstance(value, bool) or value is None:
        return []  # it takes words that somebody has chosen for it
    if isinstance(value, int):
        return [str(value), *spoken_forms(value)]
    return [f"{value:g}", str(value)] if isinstance(value, float) else []


def _entries(spec: ToolSpec | None, name: str) -> Iterator[JSON]:
    """What a tool's parameter is known to be said by."""
    if spec is None:
        return
    pool = spec.values.get(name, ())
    listed = pool.get("list_of", ()) if isinstance(pool, Mapping) else pool
    yield from (entry for entry in listed if isinstance(entry, dict) and "say" in entry)
    for conversions in spec.conversions.values():
        yield from (entry for found in conversions if found.slot == name for entry in found.entries)


def _find(text: str, way: Way) -> re.Match[str] | None:
    said, exact = way
    # "12" is in none of "12.5", "112" and "12-34"
    pattern = rf"(?<![\w-])(?<!\d[.,:]){re.escape(said)}(?![\w-])(?![.,:]\d)"
    return re.search(pattern, text, 0 if exact else re.IGNORECASE)


def _place(text: str, ways: Sequence[Way]) -> int | None:
    """Where a value is said first; None where it is not."""
    return min((found.start() for way in ways if (found := _find(text, way))), default=None)


def _spelled(text: str, ways: Sequence[Way]) -> str:
    """A value as the text says it, by its longest way."""
    found = [match.group() for way in ways if (match := _find(text, way))]
    return max(found, key=len)


def _order(text: str, said: Sequence[Sequence[Sequence[Way]]]) -> list[int]:
    """The calls that have values, as their first ones are said."""
    places = {
        n: min(place for ways in call if (place := _place(text, ways)) is not None)
        for n, call in enumerate(said)
        if call
    }
    return sorted(places, key=lambda n: (places[n], n))


# --- texts --------------------------------------------------------------------------------------


def _request(example: Example) -> str:
    return str(example.messages[-1]["content"])


def _names(example: Example) -> Iterable[str]:
    """Names of tools and parameters that are no words: ``pull_number``, ``listIssues``."""
    functions = [tool["function"] for tool in example.tools]
    names = {name for f in functions for name in (f["name"], *f["parameters"].get("properties", {}))}
    return (name for name in names if re.search(r"[_.\-]|[a-z][A-Z]", name))


def _tokens(text: str) -> list[str]:
    """Words in small letters, without the marks around them."""
    stripped = (re.sub(r"['’]s$", "", word.strip(".:'’‘*")).casefold() for word in _BETWEEN.split(text))
    return [word for word in stripped if word]


def _marked(text: str) -> set[str]:
    """Words that look like values: with digits or signs, numbers in words, and names inside a sentence."""
    first = {found.start(1) for found in _FIRST.finditer(text)}
    named = [
        found.group(1)
        for found in re.finditer(r"(?<![^\s\"“(,;!?'’‘])([^\W\d_][^\s,;!?\"“”()]*)", text)
        if found.group()[0].isupper() and found.start() not in first
    ]
    names = {token for name in named for token in _tokens(name)} - _I
    return names | {
        token for token in _tokens(text) if re.search(r"[\d@/_#]", token) or _NUMBERS & set(token.split("-"))
    }


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _stems(text: str) -> set[str]:
    """The beginnings of its longer words: ``repo`` of "repositories"."""
    return {word[:4] for word in _plain(text).split() if len(word) > 3} - _EVERYWHERE
