"""Words that training has and words that only dev and test have."""

from __future__ import annotations

from typing import TypeAlias

Pair: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""What every split says, and what only dev and test say."""


def sentence(text: str) -> str:
    """The text with an end mark."""
    return text if text.endswith((".", "?", "!")) else text + "."
