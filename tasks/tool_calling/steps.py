"""Requests that take several steps: a tool has answered already, and what it said decides what comes next.

Either the request asks for a second call, whose argument is in the result of the first, or nothing is left to call and
the answer says what the result is.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentlora.core.messages import answer_message
from agentlora.core.types import JSON, Expected, ToolCall
from agentlora.tasks.tool_calling.styles import words_of
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec, render
from agentlora.tasks.wording import Pair, sentence

REPORTED = 0.4  # of the requests in steps: nothing is left to call
FIRST = 0.3  # of the others: nothing has been called yet, and what the second call needs is not known
# what all splits say, and what only dev and test say beside it; <w>: what the argument is called
REFERENCES: Pair = (
    ("(the <w> that comes back)", "(<w> from the result)", "(take the <w> from there)", "(the <w> you get)"),
    ("(with the <w> of that)", "(use the returned <w>)"),
)
# <a>: the first request, <b>: the second
ORDERS: Pair = (
    ("<a> Then: <b>", "<a> After that: <b>", "First: <a> Second: <b>", "<a> With that: <b>"),
    ("<a> Once you have it: <b>", "Step one: <a> Step two: <b>"),
)
# what tools say beside what is needed
FIELDS: tuple[tuple[str, Sequence[Any]], ...] = (
    ("status", ("ok", "done", "created", "active", "pending")),
    ("count", range(1, 60)),
    ("updated_at", tuple(f"2026-{month:02}-{day:02}" for month in (3, 6, 10) for day in (2, 11, 25))),
    ("url", tuple(f"https://example.com/r/{n}" for n in (12, 407, 3391, 88014))),
    ("message", ("Saved.", "One match.", "The request was accepted.", "Nothing else to do.")),
    ("version", ("1.4", "2.0.1", "7", "3.12")),
)


def next_call(
    first: tuple[str, ToolCall],
    tool: ToolSpec,
    phrasing: Phrasing,
    invented: float,
    held_out: bool,
    rng: random.Random,
) -> tuple[str, tuple[JSON, ...], Expected] | None:
    """(request, the turns that follow it, what is expected): `tool` is to be called with something that the call
    `first` gave back. None where the phrasing has no argument that could come from there.

    Args:
        first: a request and its call.
    """
    properties = tool.parameters.get("properties", {})
    pools = [tool.values[slot] for slot in phrasing.slots]
    usable = [
        slot
        for slot in phrasing.slots
        if _passed_on(properties[slot])
        and _alone(slot).search(phrasing.text)
        # what was given does not come back as something else
        and slot not in first[1].arguments
        # a pair is drawn together: two cities, the least and the most
        and pools.count(tool.values[slot]) == 1
    ]
    if not usable:
        return None
    slot = rng.choice(usable)
    _, arguments = render(tool, phrasing, rng, invented)
    said = _pick(REFERENCES, held_out, rng).replace("<w>", " ".join(words_of(slot)))
    text = _alone(slot).sub(said, phrasing.text)
    if f"{{{slot}}}" in text:
        return None
    second = replace(phrasing, text=text, set={**phrasing.set, slot: arguments[slot]})
    asked, passed = render(tool, second, rng, invented)
    if any(str(arguments[slot]) in words for words in (first[0], asked)):  # the request would say it
        return None
    result = _result(rng, {slot: arguments[slot]})
    request = _pick(ORDERS, held_out, rng).replace("<a>", sentence(first[0])).replace("<b>", asked)
    if rng.random() < FIRST:
        return request, (), Expected(calls=(first[1],))
    return request, _turns(first[1], result), Expected(calls=(ToolCall(tool.name, passed),))


def report(call: ToolCall, rng: random.Random) -> tuple[tuple[JSON, ...], Expected]:
    """(the turns that follow a request, what is expected): the tool has answered, and the answer says what it said."""
    result = _result(rng, {})
    return _turns(call, result), Expected(text=told(result))


def told(result: JSON) -> str:
    """What an answer says of a tool's result: ``Status: ok, count: 3.``"""
    parts = [f"{' '.join(words_of(name))}: {value}" for name, value in result.items()]
    text = ", ".join(parts)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _alone(slot: str) -> re.Pattern[str]:
    """A slot that stands for itself, in quotes perhaps, and not in ``{owner}/{repo}``."""
    mark = re.escape(f"{{{slot}}}")
    return re.compile(rf"(?<![^\s(])(?:\"{mark}\"|'{mark}'|#?{mark})(?![^\s).,:;!?])")


def _passed_on(schema: Any) -> bool:
    """Whether a value of this schema is one that a result would hold: a number, a name, an identifier."""
    return (
        isinstance(schema, dict)
        and schema.get("type") in ("string", "integer")
        and not {"enum", "format"} & schema.keys()
    )


def _result(rng: random.Random, needed: JSON) -> JSON:
    others = rng.sample(FIELDS, rng.randint(1, 3))
    fields = [*needed.items(), *((name, rng.choice(values)) for name, values in others if name not in needed)]
    rng.shuffle(fields)
    return dict(fields)


def _turns(call: ToolCall, result: JSON) -> tuple[JSON, ...]:
    return (
        answer_message(Expected(calls=(call,))),
        {"role": "tool", "name": call.name, "content": json.dumps(result, ensure_ascii=False)},
    )


def _pick(pair: Pair, held_out: bool, rng: random.Random) -> str:
    return rng.choice((*pair[0], *pair[1]) if held_out else pair[0])
