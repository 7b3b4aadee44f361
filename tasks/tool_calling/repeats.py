"""One sentence that asks for the same twice: "star acme/web and acme/docs" is two calls of one tool."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from agentlora.core.types import ToolCall
from agentlora.tasks.tool_calling.api_kinds import NAMING, kind_of
from agentlora.tasks.tool_calling.api_sources import Param, singular
from agentlora.tasks.tool_calling.toolspec import SLOT, Phrasing, ToolSpec, render
from agentlora.tasks.wording import Pair

THREE = 0.25  # of these requests: three calls
# what all splits say, and what only dev and test say beside it; <a>: all but the last, <b>: the last
TOGETHER: Pair = (("<a> and <b>",), ("<a> as well as <b>", "<a> plus <b>"))
# kinds of values that one would name two of; a title, a text or an amount that is said twice may be one
SEVERAL = frozenset(
    ({*NAMING} - {"title"}) | {"city", "country", "language", "currency", "region", "zone", "ip"}
)
_SLOT = r"\{\w+\}"
PLAIN = ("id", "name", "path", "url", "resource")  # kinds that any two parameters can have


def repeatable(params: Sequence[Param]) -> tuple[str, ...]:
    """The parameters of a tool whose values several calls can differ in: required, one value, the name of something,
    and no other parameter takes the like, so that a second value belongs to a second call.
    """
    kinds = {p.name: kind_of(p) for p in params}

    def the_like(one: Param, other: Param) -> bool:
        kind = kinds[one.name]
        last = singular(one.words)[-1] == singular(other.words)[-1]
        return one is not other and (last or (kind == kinds[other.name] and kind not in PLAIN))

    return tuple(
        p.name
        for p in params
        if p.required and kinds[p.name] in SEVERAL and not any(the_like(p, other) for other in params)
    )


def several(
    tool: ToolSpec, invented: float, held_out: bool, rng: random.Random
) -> tuple[str, tuple[ToolCall, ...]] | None:
    """(request, its calls): one of the tool's requests with two or three values where it has one. None where none has
    a place for them, or the values that were drawn cannot be told apart.
    """
    places = [
        (p, found) for p in tool.phrasings for slot in tool.repeatable if (found := _place(p.text, slot))
    ]
    if not places:
        return None
    phrasing, place = rng.choice(places)
    wanted = 3 if rng.random() < THREE else 2
    drawn = [render(tool, Phrasing(place), rng, invented) for _ in range(wanted)]
    said = [text for text, _ in drawn]
    if len(set(said)) < wanted or any("," in text or " and " in text for text in said):
        return None
    form = rng.choice((*TOGETHER[0], *TOGETHER[1]) if held_out else TOGETHER[0])
    together = form.replace("<a>", ", ".join(said[:-1])).replace("<b>", said[-1])
    text, others = render(tool, replace(phrasing, text=phrasing.text.replace(place, together)), rng, invented)
    order = list(tool.parameters.get("properties", {}))
    calls = []
    for _, own in drawn:
        arguments = {**others, **own}
        calls.append(ToolCall(tool.name, {name: arguments[name] for name in order if name in arguments}))
    return text, tuple(calls)


def _place(text: str, slot: str) -> str:
    """Where a text has a slot, alone or with its neighbours in a path (``{owner}/{repo}``); empty where it has not."""
    path = rf"(?:{_SLOT}/)*\{{{slot}\}}(?:/{_SLOT})*"
    places = re.findall(rf"(?<![^\s(]){path}(?![^\s).,:;!?])", text)
    once = bool(places) and all(text.count(f"{{{name}}}") == 1 for name in SLOT.findall(places[0]))
    return str(places[0]) if once else ""
