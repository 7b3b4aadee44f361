"""Other makers' versions of a training tool: some optional parameters fewer, others more, names in another style.

Training meets a tool of the catalogue in many groups. Were it the same each time, its requests could be answered
from memory; a variant has to be read. Arguments change with the schema, so that every call stays exactly right.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from agentlora.tasks.tool_calling.invention import copied
from agentlora.tasks.tool_calling.styles import respell, words_of
from agentlora.tasks.tool_calling.toolspec import SLOT, Phrasing, ToolSpec

LEAST_PHRASINGS = 3  # that must be left when an optional parameter goes
OPTIONS_MAX = 2  # added to a tool
SAID = 0.4  # of the requests speak of an added option
STRAY = 0.06  # of the requests say something that the schema has no parameter for


def variant(tool: ToolSpec, rng: random.Random) -> ToolSpec:
    """`tool` with other optional parameters and, at times, parameter names in another style."""
    if rng.random() < 0.5:
        tool = _narrowed(tool, rng)
    if rng.random() < 0.6:
        tool = _widened(tool, rng)
    return _respelt(tool, rng) if rng.random() < 0.4 else tool


@lru_cache(maxsize=1)
def load_options() -> Mapping[str, Any]:
    """The optional parameters of ``options.yaml``, which says what each of their keys means."""
    import yaml

    text = files("agentlora.tasks.tool_calling").joinpath("options.yaml").read_text(encoding="utf-8")
    options: dict[str, Any] = yaml.safe_load(text)
    return options


def _narrowed(tool: ToolSpec, rng: random.Random) -> ToolSpec:
    """Without some of its optional parameters, and without the requests that speak of them."""
    properties = dict(tool.parameters.get("properties", {}))
    required = tool.parameters.get("required", ())
    phrasings, missing = tool.phrasings, tool.missing
    for name in [n for n in properties if n not in required]:
        left = tuple(p for p in phrasings if not _speaks_of(p, name))
        if rng.random() < 0.5 and len(left) >= LEAST_PHRASINGS:
            del properties[name]
            phrasings, missing = left, tuple(p for p in missing if not _speaks_of(p, name))
    parameters = {**tool.parameters, "properties": properties}
    return replace(tool, parameters=parameters, phrasings=phrasings, missing=missing)


def _widened(tool: ToolSpec, rng: random.Random) -> ToolSpec:
    """With one or two options more, which some of the requests speak of."""
    known = set(words_of(tool.description)) | set(words_of(tool.name))
    known |= {word for name in tool.parameters.get("properties", {}) for word in words_of(name)}
    options = [
        option
        for option in load_options().values()
        if known.isdisjoint(word for name in option["names"] for word in words_of(name))
    ]
    chosen = rng.sample(options, rng.randint(1, OPTIONS_MAX))
    named = {rng.choice(option["names"]): option for option in chosen}
    properties = list(tool.parameters.get("properties", {}).items())
    for name, option in named.items():
        described = {"description": rng.choice(option["about"])} if rng.random() < 0.6 else {}
        properties.insert(rng.randint(0, len(properties)), (name, option["schema"] | described))
    stray = rng.choice([option for option in options if option not in chosen])
    wider = replace(
        tool,
        parameters={**tool.parameters, "properties": dict(properties)},
        values={**tool.values, **{name: o["values"] for name, o in named.items() if "values" in o}},
    )
    return replace(
        wider,
        phrasings=tuple(_saying(wider, phrasing, named, stray, rng) for phrasing in tool.phrasings),
        missing=tuple(_saying(wider, phrasing, named, stray, rng) for phrasing in tool.missing),
    )


def _saying(
    tool: ToolSpec, phrasing: Phrasing, named: Mapping[str, Any], stray: Any, rng: random.Random
) -> Phrasing:
    """`phrasing` with a sentence for some of the options; seldom with one that no parameter is for."""
    text, implied = phrasing.text, dict(phrasing.set)
    for name, option in named.items():
        if rng.random() < SAID:
            sentence, value = _sentence(name, option, rng)
            text = _with_sentence(tool, text, sentence, rng)
            implied |= {} if value is None else {name: value}
    if rng.random() < STRAY and "said" in stray:
        text = _with_sentence(tool, text, rng.choice(list(stray["said"])), rng)
    return replace(phrasing, text=text, set=implied)


def _sentence(name: str, option: Mapping[str, Any], rng: random.Random) -> tuple[str, Any]:
    """(what is said, the value where it has no slot)."""
    said = option.get("said", {})
    if "values" not in option or (said and rng.random() < 0.2):
        sentence = rng.choice(list(said))
        return sentence, said[sentence]
    return rng.choice(option["say"]).replace("{}", f"{{{name}}}"), None


def _with_sentence(tool: ToolSpec, text: str, sentence: str, rng: random.Random) -> str:
    """Before or after: not behind a text that the user gives word for word, which would go on in it."""
    slots = SLOT.findall(text)
    open_ended = bool(slots) and text.endswith(f"{{{slots[-1]}}}")
    ends_in_text = open_ended and copied(tool.parameters["properties"][slots[-1]])
    if ends_in_text or rng.random() < 0.3:
        return f"{sentence}. {text}"
    return f"{text}{'' if text.endswith(('.', '?', '!')) else '.'} {sentence}{rng.choice(('', '.'))}"


def _speaks_of(phrasing: Phrasing, name: str) -> bool:
    return name in phrasing.slots or name in phrasing.set


def _respelt(tool: ToolSpec, rng: random.Random) -> ToolSpec:
    """With all parameter names in one other style: ``pickup_branch`` as ``pickupBranch``."""
    style = rng.choice(("snake", "camel", "pascal"))
    properties = tool.parameters.get("properties", {})
    new = {name: respell(name, style) for name in properties}
    if len(set(new.values())) < len(new):
        return tool
    parameters = {**tool.parameters, "properties": {new[name]: properties[name] for name in properties}}
    if "required" in parameters:
        parameters["required"] = [new[name] for name in parameters["required"]]
    return replace(
        tool,
        parameters=parameters,
        values={new[name]: pool for name, pool in tool.values.items() if name in new},
        phrasings=tuple(_renamed(phrasing, new) for phrasing in tool.phrasings),
        missing=tuple(_renamed(phrasing, new) for phrasing in tool.missing),
    )


def _renamed(phrasing: Phrasing, new: Mapping[str, str]) -> Phrasing:
    return replace(
        phrasing,
        text=SLOT.sub(lambda mark: f"{{{new[mark[1]]}}}", phrasing.text),
        set={new[name]: value for name, value in phrasing.set.items()},
        lacks=new[phrasing.lacks] if phrasing.lacks else None,
    )
