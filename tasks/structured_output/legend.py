"""What the parts of a schema are called, and which of them are said without a label or together."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentlora.tasks.structured_output.labels import Labels, labels_of
from agentlora.tasks.structured_output.names import named
from agentlora.tasks.structured_output.nodes import words_in, words_of_path
from agentlora.tasks.structured_output.sampling import DEEPEST
from agentlora.tasks.tool_calling.api_kinds import spoken
from agentlora.tasks.tool_calling.api_values import enum_words
from agentlora.tasks.wording import Pair

LONGEST_LABEL = 40
COUNTED = re.compile(r"(quantity|qty|count|number|units|pieces|amount)")
NAMED = re.compile(r"(.*\b)?(name|product|item|title|description|article|sku|dish)")
PRICED = re.compile(r"((unit|item) )?price( each| per unit)?|unit cost")
# parts that are said together, without labels: <a> and <b> are what matches the first and the second
TOGETHER: tuple[tuple[re.Pattern[str], re.Pattern[str], Pair], ...] = (
    (re.compile(r"(.*\b)?(postcode|postal code|zip|zip code)"), re.compile(r"(.*\b)?(city|town)"),
     (("<a> <b>", "<b> <a>", "<b>, <a>", "<b> (<a>)"), ("<b> - <a>",))),
    (re.compile(r"(.*\b)?(street|address|street address|address line( \d)?)"), re.compile(r"(.*\b)?(city|town)"),
     (("<a>, <b>", "<a> in <b>", "<b>, <a>"), ("<a> - <b>", "<b> (<a>)"))),
    (re.compile(r"(.*\b)?name"), re.compile(r"(.*\b)?(company|organi[sz]ation|employer|firm|department)( name)?"),
     (("<a> of <b>", "<a> (<b>)", "<a> from <b>"), ("<a> at <b>", "<a> on behalf of <b>"))),
    (re.compile(r"(.*\b)?name"), re.compile(r"(.*\b)?(email|e mail|email address)"),
     (("<a> (<b>)", "<a>, <b>", "<a> <<b>>"), ("<a> / <b>", "<a> - <b>"))),
    (re.compile(r"(first|given) name"), re.compile(r"(last|family) name|surname"),
     (("<a> <b>",), ("<b>, <a>",))),
)  # fmt: skip


@dataclass(frozen=True)
class Legend:
    """What a schema's parts are called. `alone`: paths of parts that say by themselves which part they are: the only
    e-mail address, words of an enumeration, the only goods that are counted. `labels`: what they can be called;
    `described`: how many parts are described so.
    """

    alone: frozenset[Path]
    labels: Labels
    described: Counter[str]


Path: TypeAlias = tuple[str, ...]
VAGUE = frozenset(
    ["other", "none", "yes", "no", "unknown", "default", "any", "all"]
)  # of an enumeration's words
DATED = {"date": "date", "date-time": "date", "email": "email", "uri": "uri"}
NEGATIVE = re.compile(r"(not|no|only|optional|if|when|whether|unless)\b", re.IGNORECASE)


def legend_of(schema: Mapping[str, Any], root: Path) -> Legend:
    """The legend of an unfolded schema whose values stand at the path `root`."""
    parts = list(_walk(schema, root, 0))
    kinds: defaultdict[str, set[Path]] = defaultdict(set)
    words: defaultdict[str, set[Path]] = defaultdict(set)  # of enumerations
    spoken_by: defaultdict[Path, set[str]] = defaultdict(set)
    for path, part in parts:
        if isinstance(part.get("enum"), list):
            said = {
                word
                for v in part["enum"]
                if isinstance(v, str)
                for word in (v.lower(), enum_words(v).lower())
            }
            spoken_by[path] |= said
            for word in said:
                words[word].add(path)
        elif part.get("format") in DATED:
            kinds[DATED[part["format"]]].add(path)
        elif "string" in _types(part) and named(words_of_path(path), words_of_path(path[:-1])) == "remark":
            kinds["remark"].add(path)
        for kind in _said_together(part):
            kinds[kind].add(path[:-1] if path[-1:] == ("",) else path)
    alone = {path for found in kinds.values() if len(found) == 1 for path in found}
    several = {path for found in kinds.values() if len(found) > 1 for path in found}
    for path, said in spoken_by.items():
        if said and not said & VAGUE and all(words[word] == {path} for word in said):
            alone.add(path)
    labels = labels_of(spoken(words_of_path(path)).lower() for path, _ in parts if path[-1:] != ("",))
    described = Counter(short_description(part).lower() for _, part in parts)
    return Legend(frozenset(alone - several), labels, described)


def _walk(schema: Any, path: Path, depth: int) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every part of a schema with its path, alternatives too."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return
    yield path, schema
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key) or ():
            yield from _walk(part, path, depth + 1)
    for key in ("then", "else"):
        yield from _walk(schema.get(key), path, depth + 1)
    for name, part in (schema.get("properties") or {}).items():
        yield from _walk(part, (*path, name), depth + 1)
    for part in (schema.get("patternProperties") or {}).values():
        yield from _walk(part, (*path, ""), depth + 1)
    for key in ("items", "additionalProperties"):
        yield from _walk(schema.get(key), (*path, ""), depth + 1)


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type")
    return [kinds] if isinstance(kinds, str) else list(kinds or ())


def _said_together(schema: Mapping[str, Any]) -> Iterator[str]:
    """Ways in which members of an object are said without labels."""
    names = [" ".join(words_in(name)) for name in schema.get("properties") or {}]
    if any(map(COUNTED.fullmatch, names)) and any(map(NAMED.fullmatch, names)):
        yield "counted"
    for i, (first, second, _) in enumerate(TOGETHER):
        if any(map(first.fullmatch, names)) and any(map(second.fullmatch, names)):
            yield f"together {i}"


def short_description(schema: Mapping[str, Any]) -> str:
    """What a description calls a part, where it begins with a short name of it; else empty."""
    short = re.split(r"[.;:(,]", str(schema.get("description", "")))[0].strip()
    short = re.sub(r"^(the|a|an)\s+", "", short, flags=re.IGNORECASE)
    usable = 3 < len(short) <= LONGEST_LABEL and re.fullmatch(r"[A-Za-z' -]+", short)
    return short[:1].lower() + short[1:] if usable and not NEGATIVE.match(short) else ""
