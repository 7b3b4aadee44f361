"""Whether an answer is one JSON value or one XML document at all, and what else it is where it is none."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from agentlora.core.files import loads_strict
from agentlora.core.xml_text import parse_xml
from agentlora.eval.calls import MISSING, MOST_CHARACTERS, MOST_DEPTH, read_json, unfenced

_TRIES = 20  # places in a text at which a value may begin
_AROUND = 24  # characters that are quoted before and after a fault
_BEGUN = re.compile(r"""\s*["'}\]{[0-9tfn-]""")
# What JSON's literals and numbers may begin with: an answer that ends in one of these was cut off in it.
_PART = re.compile(r"-?|-?[0-9.]*[.eE][+-]?|t|tr|tru|f|fa|fal|fals|n|nu|nul|\\u?[0-9a-fA-F]{0,3}")
_TAG = re.compile(r"<[A-Za-z_?!]")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an answer's form: its `kind`, in words, and the text that shows it."""

    kind: str
    said: str
    given: str = ""


def json_form(text: str, *, cut: bool, closed: bool = False) -> tuple[Any, list[Fault]]:
    """(the JSON value of a text, what is wrong with its form). The value is `MISSING` where there is none; one with
    text around it is given beside that fault.

    Args:
        cut: whether the answer ended at the token limit.
        closed: a mark stands behind the text, so that what ends too early was not cut off.
    """
    value = read_json(text)
    if value is not MISSING:
        return value, []
    if len(text) > MOST_CHARACTERS:
        return MISSING, [Fault("too_large", f"has {len(text):,} characters; {MOST_CHARACTERS:,} are read")]
    text = text.strip()
    if not text:
        return MISSING, [Fault("empty", "nothing was written")]
    try:
        loads_strict(text)
    except json.JSONDecodeError as exc:
        return _unreadable(text, exc, cut, closed)
    except ValueError as exc:
        kind = "too_large" if "deeply" in str(exc) else "not_json"
        return MISSING, [Fault(kind, f"is no JSON: {exc}"[:200], text[:80])]
    return MISSING, [Fault("too_large", f"is nested more than {MOST_DEPTH} deep", text[:80])]


def _unreadable(text: str, error: json.JSONDecodeError, cut: bool, closed: bool) -> tuple[Any, list[Fault]]:
    found = _first_of_more(text) if error.msg == "Extra data" else value_within(text)
    if found is not None:
        value, start, end = found
        after = [Fault("truncated", "the text after the value was cut off", text[-60:])] if cut else []
        return value, [_around(text[:start], text[end:]), *after]
    start = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=0)
    if start:  # what is wrong with the value that begins there, not that the text before it is none
        try:
            json.JSONDecoder().raw_decode(text, start)
        except json.JSONDecodeError as exc:
            error = exc
        except (ValueError, RecursionError):
            pass
    quoted = text[max(0, error.pos - _AROUND) : error.pos + _AROUND]
    if _ends_early(text, start, error):
        if closed:
            return MISSING, [Fault("not_json", "ends before its value does", quoted)]
        where = "at the token limit" if cut else "by itself"
        before = [_around(text[:start], "")] if start else []
        return MISSING, [*before, Fault("truncated", f"ends {where} before its value does", text[-60:])]
    said = f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]} (character {error.pos + 1})"
    faults = [Fault("not_json", said, quoted)]
    return MISSING, faults + ([Fault("truncated", "ends at the token limit", text[-60:])] if cut else [])


def _first_of_more(text: str) -> tuple[Any, int, int] | None:
    """The value that a text begins with."""
    _, end = json.JSONDecoder().raw_decode(text)
    value = read_json(text[:end])
    return None if value is MISSING else (value, 0, end)


def value_within(text: str) -> tuple[Any, int, int] | None:
    """The object or array that stands in a text with words around it: (its value, start, end)."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_TRIES):
        opener = re.compile(r"[{[]").search(text, at)
        if opener is None:
            return None
        start = opener.start()
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if _BEGUN.match(
                text, start + 1
            ):  # an object or array that is broken, not a bracket in a sentence
                return None
            at = start + 1
            continue
        value = read_json(text[start:end])
        return None if value is MISSING else (value, start, end)
    return None


def _around(before: str, after: str) -> Fault:
    both = ((before.strip(), "before"), (after.strip(), "after"))
    parts = [f"{len(part):,} characters {where} it" for part, where in both if part]
    shown = " … ".join(part[:60] for part, _ in both if part)
    return Fault("extra_text", "stands in other text: " + " and ".join(parts), shown)


def _ends_early(text: str, start: int, error: json.JSONDecodeError) -> bool:
    """Whether all of a text from `start` is the beginning of a JSON value."""
    if not text.startswith(("{", "[", '"'), start):
        return False
    return error.msg.startswith("Unterminated string") or _PART.fullmatch(text[error.pos :]) is not None


def xml_form(text: str, *, cut: bool) -> tuple[Element | None, list[Fault]]:
    """(the root element of the document in a text, what is wrong with its form)"""
    text = unfenced(text, "xml").strip()
    if not text:
        return None, [Fault("empty", "nothing was written")]
    try:
        return parse_xml(text), []
    except ValueError as exc:
        said = str(exc)
    if "at most" in said or "more than" in said:
        return None, [Fault("too_large", said, text[:80])]
    first, last = _TAG.search(text), text.rfind(">")
    if first is not None and last > first.start() and (first.start() or last + 1 < len(text)):
        try:
            root = parse_xml(text[first.start() : last + 1])
        except ValueError:
            pass
        else:
            return root, [_around(text[: first.start()], text[last + 1 :])]
    if first is not None and ("no element found" in said or "unclosed token" in said):
        where = "at the token limit" if cut else "by itself"
        return None, [Fault("truncated", f"ends {where} before the document does", text[-60:])]
    faults = [Fault("not_xml", said, text[:80])]
    return None, faults + ([Fault("truncated", "ends at the token limit", text[-60:])] if cut else [])
