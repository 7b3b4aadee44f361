"""Training tools put together from parts: every deed on every thing, in several guises, thousands in all.

`composed.yaml` holds the parts. A tool gets one of the names its deed can have, one name for each of its
parameters, and requests joined from fragments, so that the schema alone says what an argument is called.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from agentlora.core.files import shipped_yaml
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec

PHRASINGS = 10
MISSING = 3
OPTIONAL_SHARE = 0.6  # of the optional parameters that a tool has
MENTIONED_SHARE = 0.35  # of the optional parameters that a request mentions
PLAIN_SHARE = 0.2  # of the mentions that name the parameter ("the budget is 40") and do not paraphrase it


def compose_tools(rounds: int, seed: int) -> list[ToolSpec]:
    """Every deed on every thing once a round, each time with other names, parameters and requests."""
    parts = _parts()
    tools = []
    for number in range(rounds):
        rng = random.Random(f"{seed}/composed/{number}")
        for thing in parts["things"]:
            for deed, wanted in thing["deeds"].items():
                tools.append(_tool(parts, thing, deed, wanted.split(), f"{thing['domain']}-{number}", rng))
    return tools


@lru_cache(maxsize=1)
def _parts() -> dict[str, Any]:
    parts: dict[str, Any] = shipped_yaml("agentlora.tasks.tool_calling", "composed.yaml")
    return parts


def _tool(
    parts: Mapping[str, Any],
    thing: Mapping[str, Any],
    deed: str,
    wanted: Sequence[str],
    domain: str,
    rng: random.Random,
) -> ToolSpec:
    name = thing["one"].split(" ", 1)[1]
    words = {"one": thing["one"], "many": thing["many"], "name": name}
    how = parts["deeds"][deed]
    kinds = {kind.rstrip("!"): kind.endswith("!") for kind in wanted}
    kept = {kind: must for kind, must in kinds.items() if must or rng.random() < OPTIONAL_SHARE}
    named: dict[str, Mapping[str, Any]] = {}  # by the parameter's name in this tool
    required: list[str] = []
    described = rng.random() < 0.6
    properties: dict[str, JSON] = {}
    for kind, must in kept.items():
        param = parts["params"][kind]
        called = next(n for n in (*rng.sample(param["names"], len(param["names"])), kind) if n not in named)
        named[called] = param
        properties[called] = param["schema"] | (
            {"description": rng.choice(param["about"])} if described else {}
        )
        required += [called] if must else []
    schema = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    phrasings = [_phrasing(parts, how, words, named, required, rng) for _ in range(PHRASINGS)]
    missing = (
        [
            _phrasing(parts, how, words, named, required, rng, lacks)
            for lacks in rng.choices(required, k=MISSING)
        ]
        if required
        else []
    )
    said = {slot for phrasing in (*phrasings, *missing) for slot in phrasing.slots}
    return ToolSpec(
        domain=domain,
        name=rng.choice(how["names"]).format(name.replace(" ", "_"), s=thing["many"].replace(" ", "_")),
        description=rng.choice(how["about"]).format(**words),
        parameters=schema,
        values={called: param["values"] for called, param in named.items() if called in said},
        phrasings=tuple(phrasings),
        missing=tuple(missing),
        split="train",
        source="composed",
        meaning=f"{deed} {name}",
    )


def _phrasing(
    parts: Mapping[str, Any],
    how: Mapping[str, Any],
    words: Mapping[str, str],
    named: Mapping[str, Mapping[str, Any]],
    required: Sequence[str],
    rng: random.Random,
    lacks: str | None = None,
) -> Phrasing:
    """A request that mentions all required parameters, but the one it lacks, and some of the others."""
    mentioned = [
        called
        for called in named
        if called != lacks and (called in required or rng.random() < MENTIONED_SHARE)
    ]
    if rng.random() < 0.5:
        rng.shuffle(mentioned)
    fragments, implied = [], {}
    for called in mentioned:
        text, value = _mention(called, named[called], rng)
        fragments.append(text)
        if value is not None:
            implied[called] = value
    text = _joined(rng.choice(how["ask"]).format(**words), fragments, rng)
    opener, ender = rng.choice(parts["openers"]), rng.choice(parts["enders"])
    if opener and not text.startswith("I"):
        text = text[0].lower() + text[1:]
    ask = named[lacks]["ask"] if lacks else None
    return Phrasing(f"{opener}{text}{ender}", implied, lacks, ask)


def _mention(called: str, param: Mapping[str, Any], rng: random.Random) -> tuple[str, Any]:
    """(a fragment of the sentence, the value where the fragment has no slot)."""
    if "values" not in param or ("set" in param and rng.random() < 0.4):
        text = rng.choice(list(param["set"]))
        return text, param["set"][text]
    slot = f"{{{called}}}"
    if rng.random() < PLAIN_SHARE:
        label = called.replace("_", " ")
        plain = rng.choice(("with {1} as the {0}", "{0}: {1}", "the {0} is {1}", "{0} {1}", "({0}: {1})"))
        return plain.format(label, slot), None
    return rng.choice(param["say"]).replace("{}", slot), None


def _joined(head: str, fragments: Sequence[str], rng: random.Random) -> str:
    way = rng.random()
    if not fragments or way < 0.6:
        return " ".join((head, *fragments))
    if way < 0.8:
        return ", ".join((head, *fragments))
    if way < 0.9:
        first, rest = fragments[0], fragments[1:]
        lowered = head if head.startswith("I") else head[0].lower() + head[1:]
        return " ".join((f"{first[0].upper()}{first[1:]}, {lowered}", *rest))
    first, rest = fragments[0], fragments[1:]
    return ". ".join((f"{head} {first}", *(f"{part[0].upper()}{part[1:]}" for part in rest)))
