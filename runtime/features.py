"""From a chat request to the router's features: hashed word and character n-grams of the last user turn."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

_BUCKETS = 1 << 20
_HEAD_CHARS, _TAIL_CHARS = 1200, 400  # of a long text: what is wanted stands at an end, and routing takes ms
_WORD = re.compile(r"\w+", re.UNICODE)
_STEM = 5  # letters: enough to join weather and weather's, booking and book a
# Words that describe any tool or stand in any request: sharing one says nothing.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a about an and any are as at be by can do find for from get gets give given has have how i in is "
        "it its list make me my name number of on one or please return returns set sets show so some string "
        "tell text that the their there these this those to tool type use used user value what when where "
        "which who why will with would you your",
    )
)


def last_user_text(request: Mapping[str, Any]) -> str:
    """The text of the last user message of a chat request; the parts of a multi-part message are joined."""
    for message in reversed(request.get("messages") or []):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def features(text: str) -> dict[str, float]:
    """Hashed n-grams: words of 1–2 and characters of 3–5, each kind of L2 length 1, counts as 1 + log."""
    if len(text) > _HEAD_CHARS + _TAIL_CHARS:
        text = f"{text[:_HEAD_CHARS]} {text[-_TAIL_CHARS:]}"
    words = [re.sub(r"\d", "0", word) for word in _WORD.findall(text.lower())]  # one digit is like another
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    line = f" {' '.join(words)} "
    grams = [line[i : i + n] for n in (3, 4, 5) for i in range(len(line) - n + 1)]
    return _unit("w", [*words, *pairs]) | _unit("c", grams)


def tool_named(text: str, tools: Sequence[Any]) -> str | None:
    """The name of the first offered tool that shares a telling word with `text`, or None."""
    wanted = _stems(text)
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        name = str(function.get("name") or "")
        if wanted & _stems(f"{name} {function.get('description') or ''}"):
            return name
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, Mapping))


def _unit(kind: str, grams: Sequence[str]) -> dict[str, float]:
    counts = Counter(f"{kind}{crc32(gram.encode()) % _BUCKETS:x}" for gram in grams)
    weights = {gram: 1.0 + math.log(count) for gram, count in counts.items()}
    length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {gram: weight / length for gram, weight in weights.items()}


def _stems(text: str) -> set[str]:
    # camelCase and snake_case names fall into their words
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text).lower()
    return {word[:_STEM] for word in _WORD.findall(spaced) if len(word) > 2 and word not in _COMMON}
