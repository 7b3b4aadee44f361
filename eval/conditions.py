"""What is compared: the base model in its strongest honest forms, and the adapter.

- ``plain``: the request as it is served, tools rendered by the chat template.
- ``few_shot``: three worked examples come first, as turns of the conversation. Every request, worked or not,
  has its own tool list inside the user's turn, so that all of them look alike: a small model copies the turns
  before it. (SmolLM2-135M on 6 dev requests that need a call began one for all 6; with the same examples as
  text in the system message for 1. Too few to rank forms closely.) The system message and the worked turns
  are the same for every request, token for token, so that an engine computes them once.
- ``strict``: the request as a skill is served where the engine can: text stays free, calls are held to the tools'
  schemas while they are written (`core.grammar.calls_tag`).
- ``constrained``: decoding under a JSON Schema of the offered tools' calls. The tools stand in the system
  message, because the template's own instruction asks for Hermes marks, which the grammar forbids. Without tools,
  under the schema that the answer has to fit; answers in XML have none that decoding could follow.
- ``few_shot_constrained``: both of these, where the answer is a value of a schema.
- ``given``: somebody else's answers (a teacher's, an endpoint's), which are shown beside the others and are no
  baseline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agentlora.core.grammar import OPEN, function_of, supported
from agentlora.core.types import JSON, Example, GenerateRequest, Output
from agentlora.core.xml_values import in_xml
from agentlora.eval.calls import (
    calls_schema,
    parse_constrained,
    render_block,
    render_calls,
)
from agentlora.eval.scorers import MISSING_CASE, render_answer

Kind = Literal["plain", "strict", "few_shot", "constrained", "few_shot_constrained", "given"]
FEW_SHOT: tuple[Kind, ...] = ("few_shot", "few_shot_constrained")
CONSTRAINED: tuple[Kind, ...] = ("constrained", "few_shot_constrained")

SYSTEM = "You are a helpful assistant."
# The instruction of our chat template, so that no condition is told less than another.
HOW_TO_CALL = (
    "To call a tool, answer with one block for each call:\n"
    + render_block("<tool>", "{<arguments>}")
    + "\nIf no tool fits or a required argument is missing, say so without calling one."
)
HOW_TO_CALL_JSON = (
    'Answer with a JSON array that has one object for each call: [{"name": "<tool>", "arguments": '
    "{<arguments>}}]\nIf no tool fits or a required argument is missing, answer with an empty array: []"
)
SERVED = "served"  # the name of the condition that an alias serves today
TEACHER = "teacher"  # that of a teacher's answers
ADAPTER, FREE, HELD = "adapter", "adapter, free", "adapter + schema"
NO_CALL_TEXT = "(no call)"
SHOTS = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """One system: how the request is put, and which adapter of the engine answers (None: the base). `served`: it is
    what an alias serves today, with which an adapter is compared as with a baseline. One that stands `aside` is shown
    beside the others, and decides nothing.
    """

    name: str
    kind: Kind = "plain"
    adapter: str | None = None
    served: bool = False
    aside: bool = False

    @property
    def judged(self) -> bool:
        """Whether it is an adapter that is compared with the others."""
        return self.adapter is not None and not self.served and not self.aside


BASELINES = (
    Condition("base"),
    Condition("base + 3 examples", "few_shot"),
    Condition("base + schema", "constrained"),
)


BOTH = Condition("base + both", "few_shot_constrained")  # a longer name does not fit into charts

NAMES = frozenset(
    {c.name for c in (*BASELINES, BOTH)} | {ADAPTER, FREE, HELD, SERVED, TEACHER}
)  # of all but `beside`


def default_conditions(
    adapter: str | None = None,
    *,
    strict: bool = False,
    values: bool = False,
    again: Literal["calls", "values"] | None = None,
) -> tuple[Condition, ...]:
    """The three baselines, and the adapter known to the engine as `adapter`, its calls held to their schemas
    where the engine can (`strict`). Where answers are `values` of a schema, a fourth baseline has both of what helps.

    `again`: the adapter once more, aside: its calls written freely where they are held, its values held to their
    schema.
    """
    kind: Kind = "strict" if strict else "plain"
    baselines = (*BASELINES, BOTH) if values else BASELINES
    if not adapter:
        return baselines
    adapted = Condition(ADAPTER, kind, adapter)
    if again is None:
        return (*baselines, adapted)
    if again == "calls" and strict:
        return (*baselines, adapted, Condition(FREE, "plain", adapter, aside=True))
    return (*baselines, adapted, Condition(HELD, "constrained", adapter, aside=True))


def other_way(examples: Sequence[Example]) -> Literal["calls", "values"]:
    """What of an adapter's answers can be held to a schema."""
    return "calls" if any(e.tools for e in examples) else "values"


def constrained_pairs(conditions: Sequence[Condition], *, calls: bool) -> list[tuple[Condition, Condition]]:
    """The conditions that are the same system without and with a grammar: (free, constrained). Where `calls` are what
    is answered, ``strict`` is a grammar too; values it leaves free.
    """
    free: dict[Kind, tuple[Kind, ...]] = {
        "constrained": ("plain",) if calls else ("plain", "strict"),
        "few_shot_constrained": ("few_shot",),
        "strict": ("plain",) if calls else (),
    }
    return [
        (other, condition)
        for condition in conditions
        for other in conditions
        if other.adapter == condition.adapter and other.kind in free.get(condition.kind, ())
    ]


def choose_shots(examples: Sequence[Example]) -> list[Example]:
    """Up to three worked examples from the training split: two calls, none fits, one call of several tools; of examples
    without tools three of usual length and different slices.

    The one-call example comes last, because most requests need one call and models lean on the last example.
    Of each kind the one with the shortest tools and request is taken: the same ones for the same examples.
    """
    examples = [e for e in examples if not e.expected.empty]
    if examples and not any(e.tools for e in examples):
        return _usual(examples)
    kinds = (
        [e for e in examples if len(e.expected.calls) == 2],
        [e for e in examples if not e.expected.calls and e.tags.get("case") != MISSING_CASE],
        [e for e in examples if len(e.expected.calls) == 1 and len(e.tools) > 1],
    )
    fallback = [e for e in examples if len(e.expected.calls) == 1]
    chosen = [min(kind, key=_length) for kind in kinds if kind]
    return chosen if kinds[2] or not fallback else [*chosen, min(fallback, key=_length)]


def _usual(examples: Sequence[Example]) -> list[Example]:
    own = [
        e for e in examples if e.tags.get("slice") == "pairs"
    ]  # what somebody brought is likest to what is asked
    examples = own if len({str(e.messages) for e in own}) >= SHOTS else examples
    ordered = sorted({str(e.messages): e for e in examples}.values(), key=_length)
    middle = _length(ordered[len(ordered) // 2])[0]
    ordered.sort(key=lambda e: (abs(_length(e)[0] - middle), e.id))
    chosen: dict[str, Example] = {}
    for example in ordered:
        chosen.setdefault(example.tags.get("slice", ""), example)
    return [*chosen.values(), *(e for e in ordered if e not in chosen.values())][:SHOTS]


def to_request(
    example: Example,
    condition: Condition,
    shots: Sequence[Example] = (),
    max_tokens: int = 64,
    max_calls: int = 2,
    temperature: float = 0.0,
    seed: int | None = None,
) -> GenerateRequest:
    """The request that puts `example` to the condition's system; greedy unless there is a `temperature`, `max_tokens`
    new tokens and, where calls are constrained, `max_calls` calls at most.
    """
    plain = GenerateRequest(
        id=example.id,
        messages=example.messages,
        tools=example.tools,
        adapter=condition.adapter,
        max_tokens=max_tokens,
        strict_calls=condition.kind == "strict",
        temperature=temperature,
        seed=seed,
    )
    if condition.kind in FEW_SHOT:
        head = shot_messages(shots)
        held = _held(example) if condition.kind in CONSTRAINED else None
        messages = (*head, *_with_tools(example, _split_system(head)[0]))
        return replace(plain, messages=messages, tools=(), json_schema=held)
    if condition.kind == "constrained" and example.tools:
        system, turns = _split_system(example.messages)
        content = "\n\n".join((system or SYSTEM, _tools_text(example.tools) + "\n" + HOW_TO_CALL_JSON))
        messages = ({"role": "system", "content": content}, *turns)
        return replace(plain, messages=messages, tools=(), json_schema=calls_schema(example.tools, max_calls))
    if condition.kind == "constrained":
        return replace(plain, json_schema=_held(example))
    return plain


def _held(example: Example) -> JSON | None:
    """The schema that decoding can be held to."""
    if example.schema is None or in_xml(example.schema):
        return None
    held: JSON = supported(example.schema)
    return held


def most_calls(examples: Sequence[Example]) -> int:
    """How many calls a constrained answer must have room for: as many as any example expects, of each of them, so that
    none is told its own number.
    """
    return max([2, *(len(e.expected.calls) for e in examples)])


def as_array(condition: Condition, example: Example) -> bool:
    """Whether calls are written as the JSON array that `calls_schema` asks for."""
    return condition.kind == "constrained" and bool(example.tools)


def in_hermes(output: Output, example: Example, condition: Condition) -> Output:
    """The output as an evaluator reads it: a constrained array of calls is rewritten into Hermes text.

    The grammar leaves no room for words, so that an empty array counts as saying that no tool fits.
    """
    if not as_array(condition, example) or output.error is not None:
        return output
    answer = parse_constrained(output.text)
    if answer.malformed:
        return replace(output, text=OPEN)  # a block that is never closed: malformed whatever was written
    return replace(output, text=render_calls(answer.calls) or NO_CALL_TEXT)


def shot_messages(shots: Sequence[Example]) -> tuple[JSON, ...]:
    """The system message and the worked turns that all few-shot requests begin with."""
    system = f"{SYSTEM}\n\n{HOW_TO_CALL}"
    if not any(shot.tools for shot in shots):
        system = _split_system(shots[0].messages)[0] if shots else ""
    messages: list[JSON] = [{"role": "system", "content": system}] if system else []
    for shot in shots:
        messages += _with_tools(shot, system)
        messages.append({"role": "assistant", "content": render_answer(shot.expected)})
    return tuple(messages)


def _with_tools(example: Example, said: str) -> list[JSON]:
    """The example's turns, its tools and its system text (where it is not `said` before) written into the first one of
    the user.
    """
    system, turns = _split_system(example.messages)
    system = "" if system == said else system
    head = [part for part in (system, _tools_text(example.tools) if example.tools else "") if part]
    for i, turn in enumerate(turns):
        if turn["role"] == "user":
            turns[i] = {**turn, "content": "\n\n".join((*head, turn["content"]))}
            return turns
    return [{"role": "user", "content": "\n\n".join(head)}, *turns] if head else turns


def _split_system(messages: Sequence[JSON]) -> tuple[str, list[JSON]]:
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], list(messages[1:])
    return "", list(messages)


def _tools_text(tools: Sequence[JSON]) -> str:
    lines = [json.dumps(function_of(tool), ensure_ascii=False) for tool in tools]
    return "\n".join(("You can call these tools:", "<tools>", *lines, "</tools>"))


def _length(example: Example) -> tuple[int, str]:
    return len(_tools_text(example.tools)) + len(str(example.messages)), example.id
