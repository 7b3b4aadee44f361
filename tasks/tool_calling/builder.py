"""Requests over tools: groups that share one tool list, cases mixed inside each group.

Tools come from our catalogue and from real API descriptions. Whole domains and services are held out for
dev and test, and so are two phrasings of every trained tool; the slices are tagged:

========== =============== ====================================================
tools      slice           what
========== =============== ====================================================
new        new-tools       catalogue domains never trained on
new        new-apis        real services never trained on
new        handwritten     requests written one by one, over the new-tools
trained    new-phrasings   trained tools, phrasings never trained on
========== =============== ====================================================
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, model_validator

from agentlora.core.config import Strict
from agentlora.core.types import JSON, Example, Expected, Split, ToolCall
from agentlora.tasks.tool_calling import handwritten
from agentlora.tasks.tool_calling.composed import compose_tools
from agentlora.tasks.tool_calling.styles import restyle, words_of
from agentlora.tasks.tool_calling.toolspec import ToolSpec, load_catalogue, render
from agentlora.tasks.tool_calling.variants import variant

HELD_OUT_CASES = {"call": 0.66, "none_fits": 0.14, "missing": 0.08, "two_calls": 0.12}
CHAT_SHARE = 0.3  # of the requests that no tool fits: everyday chat, which needs none
HELD_OUT_NEAR_SHARE = 0.4  # of the same: for a tool of the same domain that is not offered
INVENTED = 0.25  # of the values that can be any text: what was never seen can only be copied
COMPOSED_ROUNDS = 6  # about 900 tools
HELD_OUT_PHRASINGS = 2  # of every trained tool: the last but one for dev, the last for test

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


class ToolRequestParams(Strict):
    """How much of what."""

    examples: int = Field(14400, ge=1)
    """Training examples."""
    requests_per_toolset: int = Field(8, ge=1)
    """Training requests that share one tool list, and with it one rendered prefix."""
    held_out_per_toolset: int = Field(4, ge=1)
    """The same in dev and test: fewer, so that more tool lists are seen."""
    tools_max: int = Field(8, ge=1, le=64)
    """Tools offered at once: 1 to this many."""
    tools_chars_max: int = Field(2600, ge=200)
    """Characters of JSON that a tool list may take (about 3.4 a token)."""
    request_chars_max: int = Field(900, ge=80)
    """Characters that a request and its answer may take together."""
    answer_chars_max: int = Field(130, ge=60)
    """Characters that the answer of a dev or test request may take: about 64 tokens."""
    catalogue_share: float = Field(0.55, ge=0, le=1)
    """Of the groups, how many are over our own catalogue."""
    composed_share: float = Field(0.2, ge=0, le=1)
    """Of the groups, how many are over tools put together from parts; the rest is over real API descriptions."""
    variants_share: float = Field(0.0, ge=0, le=1)
    """Of our own tools in a training group, how many have other optional parameters or other spellings than in the
    catalogue. They are harder: a short training does better without (docs/experiments.md)."""
    none_fits_share: float = Field(0.28, ge=0, le=1)
    """Of the training requests, how many no offered tool fits: a model that has seen few of them calls always."""
    none_fits_weight: float = Field(1.0, gt=0)
    """What such a request counts in the training loss. Above 1 there are fewer false calls and more false refusals."""
    missing_share: float = Field(0.08, ge=0, le=1)
    """How many leave out a required argument."""
    two_calls_share: float = Field(0.10, ge=0, le=1)
    """How many need two calls. The rest needs one."""
    near_share: float = Field(0.45, ge=0, le=0.7)
    """Of the requests that no tool fits, how many are for a tool of the same domain. The hardest kind: much of it
    delays all the others, which only a long training makes good (docs/experiments.md)."""
    real_tools: int = Field(2400, ge=0)
    """Operations to take from each of the installed API description packages; 0: catalogue only."""
    dev_examples: int = Field(96, ge=0)
    test_examples: int = Field(160, ge=0)
    """Generated requests over new catalogue tools; half as many over new APIs come on top."""
    test_handwritten: int = Field(70, ge=0)
    test_new_phrasings: int = Field(64, ge=0)

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        for names in (
            ("catalogue_share", "composed_share"),
            ("none_fits_share", "missing_share", "two_calls_share"),
        ):
            if sum(getattr(self, name) for name in names) > 1:
                found = " and ".join(f"{name} ({getattr(self, name):g})" for name in names)
                raise ValueError(f"{found} are more than 1 together; lower one of them.")
        return self

    def cases(self) -> dict[str, float]:
        """Shares of the training requests by case."""
        others = {
            "none_fits": self.none_fits_share,
            "missing": self.missing_share,
            "two_calls": self.two_calls_share,
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

    def near(self, tool: ToolSpec) -> list[ToolSpec]:
        return [other for other in self.tools if other.domain == tool.domain and other.name != tool.name]


class ToolRequests:
    """The dataset builder ``tool-requests``."""

    Params = ToolRequestParams

    def build(self, split: Split, params: ToolRequestParams, seed: int) -> Iterator[Example]:
        """See `agentlora.core.types.DatasetBuilder`."""
        per_group = params.requests_per_toolset if split == "train" else params.held_out_per_toolset
        for pool, count in self._pools(split, params, seed):
            rng = random.Random(f"{seed}/{split}/{pool.slice}")
            anchors: list[ToolSpec] = []
            for start in range(0, count, per_group):
                if not anchors:  # every tool is an anchor once before any is again
                    anchors = rng.sample(list(pool.tools), len(pool.tools))
                group = f"{split}-{pool.slice}-{start // per_group:05d}"
                size = min(per_group, count - start)
                yield from _group(pool, anchors.pop(), params, group, size, rng, restyled=split == "train")
        if split != "train":
            yield from handwritten.examples(split, params.test_handwritten)

    def card(self, params: ToolRequestParams) -> JSON:
        """Sources, licences and versions."""
        from agentlora.core.provenance import package_version

        sources = [{"name": "agentlora tool catalogue", "licence": "Apache-2.0", "version": "1"}]
        if params.real_tools:
            for package in ("botocore", "google-api-python-client"):
                found = package_version(package)
                sources.append(
                    {"name": package, "licence": "Apache-2.0", "version": found or "not installed"}
                )
        return {
            "sources": sources,
            "notes": f"Requests are generated from phrasings; up to {params.test_handwritten} of test's are "
            "written by hand, one by one.",
        }

    def _pools(self, split: Split, params: ToolRequestParams, seed: int) -> Iterator[tuple[Pool, int]]:
        catalogue = load_catalogue()
        own = [tool for tool in catalogue if tool.split == split]
        real = _real_tools(split, params, seed)
        if split == "train":
            kept_apart = [
                *(tool for tool in catalogue if tool.split != "train"),
                *_real_tools("dev", params, seed),
                *_real_tools("test", params, seed),
            ]
            names = {_name_in_any_style(tool) for tool in kept_apart}
            sources = {
                "catalogue": (own, params.catalogue_share),
                "composed": (compose_tools(COMPOSED_ROUNDS, seed), params.composed_share),
                "apis": (real, 1 - params.catalogue_share - params.composed_share),
            }
            shares = {
                name: ([tool for tool in tools if _name_in_any_style(tool) not in names], share)
                for name, (tools, share) in sources.items()
            }
            usable = {name: (tools, share) for name, (tools, share) in shares.items() if tools and share > 0}
            total, left = sum(share for _, share in usable.values()), params.examples
            for number, (name, (tools, share)) in enumerate(usable.items(), 1):
                groups = round(params.examples * share / total / params.requests_per_toolset)
                whole = min(left, groups * params.requests_per_toolset)
                count = left if number == len(usable) else whole
                yield Pool(split, name, [_for_training(tool) for tool in tools], True, INVENTED), count
                left -= count
            return
        count = params.test_examples if split == "test" else params.dev_examples
        yield Pool(split, "new-tools", own), count
        if real:
            yield Pool(split, "new-apis", real), count // 2
        count = params.test_new_phrasings if split == "test" else params.dev_examples // 4
        unseen = [_in_new_words(tool, split) for tool in catalogue if tool.split == "train"]
        yield Pool(split, "new-phrasings", unseen, trained=True), count


def _real_tools(split: Split, params: ToolRequestParams, seed: int) -> list[ToolSpec]:
    if not params.real_tools:
        return []
    from agentlora.tasks.tool_calling.real_apis import load_real_tools

    found = [
        *load_real_tools("botocore", params.real_tools, seed),
        *load_real_tools("google", params.real_tools, seed),
    ]
    return [tool for tool in found if tool.split == split and _chars(tool) < params.tools_chars_max]


def _name_in_any_style(tool: ToolSpec) -> tuple[str, ...]:
    """The same for ``invoiceCreate`` and ``create_invoice``: a tool of a held-out name is not trained on."""
    return tuple(sorted(words_of(tool.name)))


def _for_training(tool: ToolSpec) -> ToolSpec:
    return replace(tool, phrasings=tool.phrasings[:-HELD_OUT_PHRASINGS], missing=tool.missing[:-1])


def _in_new_words(tool: ToolSpec, split: Split) -> ToolSpec:
    """A trained tool with the phrasing that is kept for this split; its last question is test's."""
    if split == "test":
        return replace(tool, phrasings=tool.phrasings[-1:], missing=tool.missing[-1:])
    return replace(tool, phrasings=tool.phrasings[-HELD_OUT_PHRASINGS:-1], missing=())


def _group(
    pool: Pool,
    anchor: ToolSpec,
    params: ToolRequestParams,
    group: str,
    size: int,
    rng: random.Random,
    restyled: bool,
) -> Iterator[Example]:
    offered = _toolset(pool, anchor, params, rng)
    if restyled:
        offered = [restyle(_varied(tool, params, rng), rng) for tool in offered]
    tools = tuple(tool.openai() for tool in offered)
    system = ({"role": "system", "content": rng.choice(SYSTEMS)},) if rng.random() < 0.15 else ()
    heavier = {"none_fits": params.none_fits_weight} if pool.split == "train" else {}
    seen: set[str] = set()
    chat = set(handwritten.chat_prompts(pool.split))
    for index in range(size):
        for _ in range(20):  # few tools with few values can repeat a request
            text, expected, case = _request(pool, offered, params, rng)
            if text not in seen and _fits(text, expected, pool.split, params):
                break
        seen.add(text)
        yield Example(
            id=f"{group}-{index}",
            messages=(*system, {"role": "user", "content": text}),
            expected=expected,
            tools=tools,
            source=anchor.source,
            group=group,
            weight=heavier.get(case, 1.0),
            tags={
                "case": case,
                "slice": pool.slice,
                "tools": "trained" if pool.trained else "new",
                "wants": "chat" if text in chat else "tool",
            },
        )


def _varied(tool: ToolSpec, params: ToolRequestParams, rng: random.Random) -> ToolSpec:
    """Tools of the catalogue only: the others come in many forms as they are."""
    if tool.source == "catalogue" and params.variants_share and rng.random() < params.variants_share:
        return variant(tool, rng)
    return tool


def _toolset(pool: Pool, anchor: ToolSpec, params: ToolRequestParams, rng: random.Random) -> list[ToolSpec]:
    """The anchor and distractors, near ones first in most lists, within the budget of characters."""
    wanted = 1 if rng.random() < 0.2 else rng.randint(2, max(2, params.tools_max))
    near = pool.near(anchor)
    rng.shuffle(near)
    others = rng.sample(list(pool.tools), min(len(pool.tools), 2 * wanted))
    candidates = near + others if rng.random() < 0.65 else others + near
    chosen, taken, budget = [anchor], {anchor.name, anchor.meaning}, params.tools_chars_max - _chars(anchor)
    for tool in candidates:
        if len(chosen) >= min(wanted, params.tools_max):
            break
        if (
            tool.name not in taken
            and (not tool.meaning or tool.meaning not in taken)
            and _chars(tool) <= budget
        ):
            chosen.append(tool)
            taken |= {tool.name, tool.meaning}
            budget -= _chars(tool)
    rng.shuffle(chosen)
    return chosen


def _request(
    pool: Pool, offered: Sequence[ToolSpec], params: ToolRequestParams, rng: random.Random
) -> tuple[str, Expected, str]:
    """One request with its answer and case (single, choice, none_fits, missing, two_calls)."""
    cases, near_share = HELD_OUT_CASES, HELD_OUT_NEAR_SHARE
    if pool.split == "train":
        cases, near_share = params.cases(), params.near_share
    kind = rng.choices(list(cases), list(cases.values()))[0]
    tool = rng.choice(offered)
    if kind == "missing" and tool.missing:
        phrasing = rng.choice(tool.missing)
        text, _ = render(tool, phrasing, rng)
        return text, Expected(text=_question(phrasing.lacks or "")), kind
    if kind == "none_fits":
        return _unfitting(pool, offered, near_share, rng), Expected(text=REFUSAL), kind
    if kind == "two_calls":
        (first, call), (second, other) = (_call(pool, rng.choice(offered), rng) for _ in range(2))
        if call != other:
            joint = rng.choice(JOINTS)
            return joint.format(_sentence(first), second), Expected(calls=(call, other)), kind
    text, call = _call(pool, tool, rng)
    return text, Expected(calls=(call,)), "single" if len(offered) == 1 else "choice"


def _question(parameter: str) -> str:
    """Asks for a parameter in the words of its name: an answer that can be learnt, whatever the tool."""
    return QUESTION.format(" ".join(words_of(parameter)))


def _call(pool: Pool, tool: ToolSpec, rng: random.Random) -> tuple[str, ToolCall]:
    text, arguments = render(tool, rng.choice(tool.phrasings), rng, pool.invented)
    return text, ToolCall(tool.name, arguments)


def _unfitting(pool: Pool, offered: Sequence[ToolSpec], near_share: float, rng: random.Random) -> str:
    """A request for a near tool that is not offered, for a far one, or one that needs no tool."""
    # by words and by parameters: restyled tools have new names, variants new parameters
    names = {_name_in_any_style(tool) for tool in offered}
    schemas = [tool.parameters.get("properties", {}).keys() for tool in offered]
    # "show me the invoice" is too near to find_invoices to be called unfitting
    things = {tool.thing for tool in offered if tool.thing}
    domain = offered[0].domain
    kind = rng.random()
    if kind < CHAT_SHARE:
        return handwritten.chat_prompt(pool.split, rng)
    near = kind < CHAT_SHARE + near_share
    candidates = [t for t in pool.tools if (t.domain == domain) == near] or list(pool.tools)
    for _ in range(50):
        tool = rng.choice(candidates)
        known = _name_in_any_style(tool) in names or tool.parameters.get("properties", {}).keys() in schemas
        if not known and tool.thing not in things:
            text, _ = render(tool, rng.choice(tool.phrasings), rng)
            return text
    return handwritten.chat_prompt(pool.split, rng)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _fits(text: str, expected: Expected, split: Split, params: ToolRequestParams) -> bool:
    blocks = sum(len(str(dict(call.arguments))) + len(call.name) + 40 for call in expected.calls)
    answer = len(expected.text or "") + blocks
    most = params.request_chars_max if split == "train" else params.answer_chars_max
    return answer <= most and len(text) + answer <= params.request_chars_max


def _chars(tool: ToolSpec) -> int:
    return len(json.dumps(tool.openai()["function"], ensure_ascii=False, separators=(",", ":")))
