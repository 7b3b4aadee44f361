"""Invented values keep the shape of known ones, and stand where any text may stand."""

from __future__ import annotations

import random

import pytest

from agentlora.tasks.tool_calling.composed import compose_tools
from agentlora.tasks.tool_calling.invention import copied, invent
from agentlora.tasks.tool_calling.toolspec import load_catalogue, render


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("B42865", r"[A-Z][1-9]\d{4}|[A-Z]\d{5}"),
        ("R-2041", r"[A-Z]-\d{4}"),
        ("the French Revolution", r"the [A-Z][a-z]+ [A-Z][a-z]+"),
        ("customers/juniper-data", r"customers/[a-z]+-[a-z]+"),
        ("St Anne's", r"[A-Z][a-z]+ [A-Z][a-z]+"),
    ],
)
def test_a_new_value_has_the_old_shape(value: str, shape: str) -> None:
    import re

    rng = random.Random(0)
    new = {invent(value, rng) for _ in range(50)}
    assert len(new) > 25
    assert all(re.fullmatch(shape, text) for text in new), new


@pytest.mark.parametrize(
    ("schema", "free"),
    [
        ({"type": "string"}, True),
        ({"type": "string", "enum": ["a"]}, False),
        ({"type": "string", "format": "date"}, False),
        ({"type": "integer"}, False),
    ],
)
def test_only_free_text_is_invented(schema: dict[str, object], free: bool) -> None:
    assert copied(schema) is free


def test_an_invented_request_still_says_its_arguments() -> None:
    rng = random.Random(0)
    invented = 0
    for tool in (*load_catalogue(), *compose_tools(1, 0)):
        for phrasing in tool.phrasings[:4]:
            text, arguments = render(tool, phrasing, rng, invented=1.0)
            known = {str(e) for pool in tool.values.values() if isinstance(pool, list) for e in pool}
            for slot in phrasing.slots:
                value = arguments[slot]
                if copied(tool.parameters["properties"][slot]) and not set(":@") & set(value):
                    assert value in text or value in known or "say" in str(tool.values[slot])
                    invented += value not in known
    assert invented > 100
