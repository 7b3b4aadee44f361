"""Texts that a regular expression of a schema matches."""

from __future__ import annotations

import random
import re
from typing import Any

MOST_STEPS = 400  # in making one text
LONGEST = 200  # characters of a pattern
LONGEST_MATCH = 40  # characters that are made


def matching(pattern: str, rng: random.Random) -> str | None:
    """A text that `pattern` matches, or None where it has parts that cannot be made (looking around, going back, or
    ``\\p{…}`` of other than `CATEGORIES`).
    """
    from re import _parser  # type: ignore[attr-defined]

    if len(pattern) > LONGEST:
        return None
    made: list[str] = []
    try:
        _make(_parser.parse(_without_categories(pattern)), rng, made, [MOST_STEPS])
    except (re.error, RecursionError, OverflowError, _Unmade):
        return None
    return "".join(made)


class _Unmade(Exception):
    pass


# what \p{…} stands for in what is made: letters and digits of English, and a few marks
CATEGORIES = dict.fromkeys(("L", "Letter", "Alphabetic", "Alpha", "Latin"), "a-zA-Z")
CATEGORIES |= dict.fromkeys(("Lu", "Uppercase_Letter", "Uppercase"), "A-Z")
CATEGORIES |= dict.fromkeys(("Ll", "Lowercase_Letter", "Lowercase"), "a-z")
CATEGORIES |= dict.fromkeys(("N", "Number", "Nd", "Decimal_Number"), "0-9")
CATEGORIES |= dict.fromkeys(("P", "Punctuation", "Po", "Other_Punctuation"), ".,!?")
CATEGORIES |= dict.fromkeys(("Pd", "Dash_Punctuation"), r"\-")
CATEGORIES |= dict.fromkeys(("Z", "Separator", "Zs", "Space_Separator", "White_Space"), " ")
CATEGORIES |= dict.fromkeys(("S", "Symbol", "Sc", "Currency_Symbol"), "€$£")
_CATEGORY = re.compile(
    r"\\(?:[pP]\{(?:(?:General_Category|gc|Script|sc)=)?(\w+)\}|[pP](\w)|.)|[\[\]]", re.DOTALL
)


def _without_categories(pattern: str) -> str:
    """`pattern` with classes that Python has in the place of ``\\p{Lu}`` and its like; unknown ones stay."""
    within = False

    def other(found: re.Match[str]) -> str:
        nonlocal within
        text, known = found[0], CATEGORIES.get(found[1] or found[2] or "")
        within = text == "[" or (within and text != "]")
        if known is None or (within and text[1] == "P"):
            return text
        return known if within else f"[{'^' if text[1] == 'P' else ''}{known}]"

    return _CATEGORY.sub(other, pattern)


_CLASSES = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_WORD": "abcdefghijklmnopqrstuvwxyz0123456789",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "abcdefghijklmnopqrstuvwxyz",
    "CATEGORY_NOT_DIGIT": "abcdefghijklmnopqrstuvwxyz",
}
_ANY = "abcdefghijklmnopqrstuvwxyz0123456789"


def _make(parts: Any, rng: random.Random, made: list[str], left: list[int]) -> None:
    """Append a text that `parts` match to `made`. `left`: steps that may still be taken, of all calls together."""
    for code, value in parts:
        left[0] -= 1
        if left[0] < 0 or len(made) > LONGEST_MATCH:
            raise _Unmade
        name = str(code)
        if name == "LITERAL":
            made.append(chr(value))
        elif name in ("ANY", "NOT_LITERAL"):
            made.append(rng.choice([c for c in _ANY if name == "ANY" or ord(c) != value]))
        elif name == "IN":
            made.append(_of_class(value, rng))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            for _ in range(rng.randint(int(low), max(int(low), min(int(high), int(low) + 4)))):
                _make(inner, rng, made, left)
                if left[0] < 0 or len(made) > LONGEST_MATCH:
                    raise _Unmade
        elif name == "SUBPATTERN":
            _make(value[-1], rng, made, left)
        elif name == "BRANCH":
            _make(rng.choice(value[1]), rng, made, left)
        elif name != "AT":  # anchors make nothing; what looks around or back cannot be made
            raise _Unmade


def _of_class(parts: Any, rng: random.Random) -> str:
    if str(parts[0][0]) == "NEGATE":
        return rng.choice([c for c in _ANY if c not in _characters(parts[1:])] or ["_"])
    return rng.choice(_characters(parts))


def _characters(parts: Any) -> list[str]:
    found: list[str] = []
    for code, value in parts:
        name = str(code)
        if name == "LITERAL":
            found.append(chr(value))
        elif name == "RANGE":
            found += [chr(c) for c in range(value[0], min(value[1], value[0] + 128) + 1)]
        elif name == "CATEGORY":
            found += _CLASSES.get(str(value), _ANY)
    return found or [_ANY[0]]
