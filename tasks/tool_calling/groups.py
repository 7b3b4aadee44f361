"""Groups of requests that share one tool list, drawn from a pool of tools: cases mixed, prefix the same.

A builder says which tools a split has (`Pool`) and how many requests it wants; what follows is the same for all.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from pydantic import Field, model_validator

from agentlora.core.config import Strict
from agentlora.core.types import JSON, Example, Expected, Split, ToolCall
from agentlora.tasks.tool_calling import handwritten, repeats, steps
from agentlora.tasks.tool_calling.styles import words_of
from agentlora.tasks.tool_calling.toolspec import ToolSpec, render
from agentlora.tasks.wording import sentence

HELD_OUT_CASES = {"call": 0.66, "none_fits": 0.14, "missing": 0.08, "two_calls": 0.12}
LONGEST_LIST = 64  # tools
CHAT_SHARE = 0.3  # of the requests that no tool fits: everyday chat, which needs none
HELD_OUT_NEAR_SHARE = 0.4  # of the same: for a tool of the same domain that is not offered
INVENTED = 0.25  # of the values that can be any text: what was never seen can only be copied

# Answers without a call begin with the same word. Greedy decoding takes the likeliest first token: when a
# refusal can begin in eight ways, each of them is less likely than a call, and the model never refuses.
REFUSAL = "I have no tool for that."
QUESTION = "I need to know one more thing: the {0}."
JOINTS = (
    "{0} {1}",
    "{0} Also, {1}",
    "{0} And {1}",
    "{0} Then {1}",
    "First: {0} Second: {1}",
    "{0} After that, {1}",
)
SYSTEMS = (
    "You are a careful assistant.",
    "You help people get things done.",
    "Answer with tool calls where they fit.",
)


class RequestParams(Strict):
    """How much of what, whatever the tools."""

    examples: int = Field(14400, ge=1)
    """Training examples."""
    requests_per_toolset: int = Field(8, ge=1)
    """Training requests that share one tool list, and with it one rendered prefix."""
    held_out_per_toolset: int = Field(4, ge=1)
    """The same in dev and test: fewer, so that more tool lists are seen."""
    tools_max: int = Field(8, ge=1, le=LONGEST_LIST)
    """Tools offered at once: 1 to this many."""
    request_chars_max: int = Field(900, ge=80)
    """Characters that a request and its answer may take together."""
    answer_chars_max: int = Field(130, ge=60)
    """Characters that the answer of a dev or test request may take: about 64 tokens."""
    none_fits_share: float = Field(0.28, ge=0, le=1)
    """Of the training requests, how many no offered tool fits: a model that has seen few of them calls always."""
    none_fits_weight: float = Field(1.0, gt=0)
    """What such a request counts in the training loss. Above 1 there are fewer false calls and more false refusals."""
    missing_share: float = Field(0.08, ge=0, le=1)
    """How many leave out a required argument."""
    two_calls_share: float = Field(0.10, ge=0, le=1)
    """How many need two calls. The rest needs one."""
    long_lists_share: float = Field(0.0, ge=0, le=1)
    """Of the groups, how many offer all the tools that a list has room for (at most 64), more than `tools_max` too."""
    steps_share: float = Field(0.0, ge=0, le=1)
    """How many have a tool's result before them: it holds an argument of the next call, or is to be reported."""
    near_share: float = Field(0.45, ge=0, le=0.7)
    """Of the requests that no tool fits, how many are for a tool of the same domain. The hardest kind: much of it
    delays all the others, which only a long training makes good (docs/experiments.md)."""
    dev_examples: int = Field(96, ge=0)
    test_examples: int = Field(160, ge=0)
    """Generated requests."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        for names in self.parts():
            if sum(getattr(self, name) for name in names) > 1:
                found = " and ".join(
                    f"{name} ({getattr(self, name):g})" for name in names if getattr(self, name)
                )
                raise ValueError(f"{found} are more than 1 together; lower one of them.")
        return self

    @property
    @abstractmethod
    def list_chars(self) -> int:
        """Characters of JSON that a list of tools may take."""

    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Names of the shares that are parts of one whole."""
        return (("none_fits_share", "missing_share", "two_calls_share", "steps_share"),)

    def further_cases(self) -> dict[str, float]:
        """Shares of the cases that only some builders have, where there are any; dev and test have them as
        weights beside `HELD_OUT_CASES`."""
        return {"steps": self.steps_share} if self.steps_share else {}

    def cases(self) -> dict[str, float]:
        """Shares of the training requests by case."""
        others = {
            "none_fits": self.none_fits_share,
            "missing": self.missing_share,
            "two_calls": self.two_calls_share,
            **self.further_cases(),
        }
        return {"call": max(0.0, 1 - sum(others.values())), **others}


@dataclass(frozen=True)
class Pool:
    """The tools of a split that a group can be drawn from, with the phrasings that the split may use."""

    split: Split
    slice: str
    tools: Sequence[ToolSpec]
    trained: bool = False
    invented: float = 0.0  # share of the values that can be anything
    beyond: Sequence[ToolSpec] = ()  # tools that are never offered, whose requests fit nothing here
    alike: Callable[[ToolSpec, ToolSpec], bool] | None = (
        None  # whether a request for one might mean the other
    )
    takes: Callable[[ToolCall], bool] | None = None  # whether a call is one that may be expected

    def near(self, tool: ToolSpec) -> list[ToolSpec]:
        return [other for other in self.tools if other.domain == tool.domain and other.name != tool.name]


Guise = Callable[[ToolSpec, random.Random], ToolSpec]
Turns: TypeAlias = tuple[JSON, ...]  # between a request and the answer


def examples(
    pool: Pool, count: int, params: RequestParams, seed: int, guise: Guise | None = None
) -> Iterator[Example]:
    """`count` examples over the tools of `pool`; every tool is an anchor of a group once before any is again.

    Args:
        guise: what a tool looks like in one group, if not as it is.

    There are fewer where twenty drawings in a row have a call that `pool` does not take.
    """
    per_group = params.requests_per_toolset if pool.split == "train" else params.held_out_per_toolset
    rng = random.Random(f"{seed}/{pool.split}/{pool.slice}")
    anchors: list[ToolSpec] = []
    for start in range(0, count, per_group):
        if not anchors:
            anchors = rng.sample(list(pool.tools), len(pool.tools))
        name = f"{pool.split}-{pool.slice}-{start // per_group:05d}"
        yield from _group(pool, anchors.pop(), params, name, min(per_group, count - start), rng, guise)


def name_in_any_style(tool: ToolSpec) -> tuple[str, ...]:
    """The same for ``invoiceCreate`` and ``create_invoice``."""
    return tuple(sorted(words_of(tool.name)))


def _group(
    pool: Pool,
    anchor: ToolSpec,
    params: RequestParams,
    group: str,
    size: int,
    rng: random.Random,
    guise: Guise | None,
) -> Iterator[Example]:
    long = params.long_lists_share > 0 and rng.random() < params.long_lists_share
    offered = _toolset(pool, anchor, params, rng, long)
    if guise:
        offered = [guise(tool, rng) for tool in offered]
    tools = tuple(tool.openai() for tool in offered)
    system = ({"role": "system", "content": rng.choice(SYSTEMS)},) if rng.random() < 0.15 else ()
    heavier = {"none_fits": params.none_fits_weight} if pool.split == "train" else {}
    seen: set[str] = set()
    chat = set(handwritten.chat_prompts(pool.split))
    for index in range(size):
        for _ in range(20):  # few tools with few values can repeat a request
            text, turns, expected, case = _request(pool, offered, params, rng)
            taken = pool.takes is None or all(map(pool.takes, _calls(turns, expected)))
            if taken and text not in seen and fits(text, turns, expected, pool.split, params):
                break
        if not taken:
            continue  # rather one example less than a wrong one
        seen.add(text)
        yield Example(
            id=f"{group}-{index}",
            messages=(*system, {"role": "user", "content": text}, *turns),
            expected=expected,
            tools=tools,
            source=anchor.source,
            group=group,
            weight=heavier.get(case, 1.0),
            tags={
                "case": case,
                "slice": f"{pool.slice}-long" if len(offered) > params.tools_max else pool.slice,
                "tools": "trained" if pool.trained else "new",
                "wants": "chat" if text in chat else "tool",
            },
        )


def _toolset(
    pool: Pool, anchor: ToolSpec, params: RequestParams, rng: random.Random, long: bool
) -> list[ToolSpec]:
    """The anchor and distractors, near ones first in most lists, within the budget of characters; `long`: all of it."""
    wanted = LONGEST_LIST if long else 1 if rng.random() < 0.2 else rng.randint(2, max(2, params.tools_max))
    most = LONGEST_LIST if long else params.tools_max
    near = pool.near(anchor)
    rng.shuffle(near)
    others = rng.sample(list(pool.tools), min(len(pool.tools), 2 * wanted))
    candidates = near + others if rng.random() < 0.65 else others + near
    chosen, taken, budget = [anchor], {anchor.name, anchor.meaning}, params.list_chars - chars_of(anchor)
    for tool in candidates:
        if len(chosen) >= min(wanted, most):
            break
        if (
            tool.name not in taken
            and (not tool.meaning or tool.meaning not in taken)
            and chars_of(tool) <= budget
        ):
            chosen.append(tool)
            taken |= {tool.name, tool.meaning}
            budget -= chars_of(tool)
    rng.shuffle(chosen)
    return chosen


def _request(
    pool: Pool, offered: Sequence[ToolSpec], params: RequestParams, rng: random.Random
) -> tuple[str, Turns, Expected, str]:
    """One request with the turns that follow it, its answer and case (single, choice, none_fits, missing, two_calls,
    same_tool, steps, or one of the tools' conversions).
    """
    cases, near_share = {**HELD_OUT_CASES, **params.further_cases()}, HELD_OUT_NEAR_SHARE
    if pool.split == "train":
        cases, near_share = params.cases(), params.near_share
    kind = rng.choices(list(cases), list(cases.values()))[0]
    tool = rng.choice(offered)
    if kind == "missing" and tool.missing:
        phrasing = rng.choice(tool.missing)
        text, _ = render(tool, phrasing, rng)
        return text, (), Expected(text=question(phrasing.lacks or "")), kind
    if kind == "none_fits":
        return _unfitting(pool, offered, near_share, rng), (), Expected(text=REFUSAL), kind
    if kind == "two_calls":
        (first, call), (second, other) = (_call(pool, rng.choice(offered), rng) for _ in range(2))
        if call != other:
            joint = rng.choice(JOINTS)
            return joint.format(sentence(first), second), (), Expected(calls=(call, other)), kind
    held_out = pool.split != "train"
    if kind == "same_tool" and (usable := [tool for tool in offered if tool.repeatable]):
        tool = rng.choice(usable)
        if several := repeats.several(tool, pool.invented, held_out, rng):
            return several[0], (), Expected(calls=several[1]), kind
    if converting := [tool for tool in offered if kind in tool.conversions]:
        text, call = _converted(pool, rng.choice(converting), kind, rng)
        return text, (), Expected(calls=(call,)), kind
    text, call = _call(pool, tool, rng)
    if kind == "steps":
        then = rng.choice(offered)
        if rng.random() < steps.REPORTED:
            return text, *steps.report(call, rng), kind
        found = steps.next_call((text, call), then, rng.choice(then.phrasings), pool.invented, held_out, rng)
        if found:
            return *found, kind
    return text, (), Expected(calls=(call,)), "single" if len(offered) == 1 else "choice"


def question(parameter: str) -> str:
    """Asks for a parameter in the words of its name: an answer that can be learnt, whatever the tool."""
    return QUESTION.format(" ".join(words_of(parameter)))


def _call(pool: Pool, tool: ToolSpec, rng: random.Random) -> tuple[str, ToolCall]:
    text, arguments = render(tool, rng.choice(tool.phrasings), rng, pool.invented)
    return text, ToolCall(tool.name, arguments)


def _converted(pool: Pool, tool: ToolSpec, kind: str, rng: random.Random) -> tuple[str, ToolCall]:
    """A request that says an argument otherwise than the call has it."""
    conversion = rng.choice(tool.conversions[kind])
    said = replace(tool, values={**tool.values, conversion.slot: conversion.entries})
    text, arguments = render(said, rng.choice(conversion.phrasings), rng, pool.invented)
    return text, ToolCall(tool.name, arguments)


def _unfitting(pool: Pool, offered: Sequence[ToolSpec], near_share: float, rng: random.Random) -> str:
    """A request for a near tool that is not offered, for a far one, or one that needs no tool."""
    # by words and by parameters: restyled tools have new names, variants new parameters
    names = {name_in_any_style(tool) for tool in offered}
    schemas = [tool.parameters.get("properties", {}).keys() for tool in offered]
    # "show me the invoice" is too near to find_invoices to be called unfitting
    things = {tool.thing for tool in offered if tool.thing}
    domain = offered[0].domain
    kind = rng.random()
    if kind < CHAT_SHARE:
        return handwritten.chat_prompt(pool.split, rng)
    near = kind < CHAT_SHARE + near_share
    candidates = [t for t in pool.tools if (t.domain == domain) == near]
    candidates = candidates + list(pool.beyond) * (not near) or list(pool.tools)
    for _ in range(50):
        tool = rng.choice(candidates)
        known = name_in_any_style(tool) in names or tool.parameters.get("properties", {}).keys() in schemas
        if pool.alike:
            known = known or any(pool.alike(tool, other) for other in offered)
        elif tool.thing in things:
            known = True
        if not known:
            text, _ = render(tool, rng.choice(tool.phrasings), rng)
            return text
    return handwritten.chat_prompt(pool.split, rng)


def _calls(turns: Turns, expected: Expected) -> list[ToolCall]:
    """The calls that were made already, and those that are expected."""
    made = [call["function"] for turn in turns for call in turn.get("tool_calls", ())]
    return [*(ToolCall(call["name"], call["arguments"]) for call in made), *expected.calls]


def fits(text: str, turns: Turns, expected: Expected, split: Split, params: RequestParams) -> bool:
    """Whether a request and its answer are as long as `params` allow in a split."""
    blocks = sum(len(str(dict(call.arguments))) + len(call.name) + 40 for call in expected.calls)
    answer = len(expected.text or "") + blocks
    most = params.request_chars_max if split == "train" else params.answer_chars_max
    between = sum(len(str(turn)) for turn in turns)
    return answer <= most and len(text) + between + answer <= params.request_chars_max


def chars_of(tool: ToolSpec) -> int:
    """Characters of a tool's JSON."""
    return len(json.dumps(tool.openai()["function"], ensure_ascii=False, separators=(",", ":")))
