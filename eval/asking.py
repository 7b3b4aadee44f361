"""Asking: what every condition is given, and its answers as they arrive."""

from __future__ import annotations

import json
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from agentlora.core.errors import ConfigError, EvalError, boundary
from agentlora.core.files import sha256_bytes
from agentlora.core.types import Engine, Example, GenerateRequest, Output
from agentlora.core.xml_values import in_xml
from agentlora.eval.cache import AnswerCache, answer_keys
from agentlora.eval.conditions import CONSTRAINED, FEW_SHOT, Condition


class Digests(NamedTuple):
    """sha256 (hex) of an example's JSON, and of what the engine is given for it."""

    example: str
    prompt: str


class Question(NamedTuple):
    """An example as a condition puts it. `key`: under which the cache knows its answer; empty where it is not to."""

    example: Example
    request: GenerateRequest
    digests: Digests
    key: str


class Answer(NamedTuple):
    question: Question
    output: Output
    cached: bool


# --- before -------------------------------------------------------------------------------------


def check(
    engine: Engine, examples: Sequence[Example], conditions: Sequence[Condition], shots: Sequence[Example]
) -> None:
    """Raises ConfigError when there is nothing to evaluate, or the engine cannot serve an adapter that is asked for."""
    if not examples or not conditions:
        raise ConfigError("there is nothing to evaluate: give at least one example and one condition.")
    ids = [e.id for e in examples]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConfigError(
            f"two examples have the id {twice!r}; ids must differ, or answers cannot be paired."
        )
    names = [c.name for c in conditions]
    if len(set(names)) != len(names):
        raise ConfigError(f"two conditions have the same name: {', '.join(names)}.")
    known = {e.group or e.id for e in examples}
    for shot in shots:
        if (shot.group or shot.id) in known:
            raise ConfigError(
                f"worked example {shot.id!r} is of a group that is evaluated; take it from train."
            )
    for condition in conditions:
        if condition.adapter and not engine.capabilities.adapters:
            raise ConfigError(
                f"condition {condition.name!r} needs adapter {condition.adapter!r}, and this engine "
                "serves no adapters. Use the engine 'vllm' or 'transformers'."
            )


def cannot(
    condition: Condition, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
) -> str | None:
    """Why a condition has to be left out; None when it can run."""
    if condition.kind in CONSTRAINED and any(in_xml(example.schema) for example in examples):
        return "answers are XML, which no JSON schema can be held against while it is written"
    if condition.kind in CONSTRAINED and not engine.capabilities.json_schema:
        return "the engine cannot constrain its output to a JSON schema"
    if condition.kind in FEW_SHOT and not shots:
        return "no worked examples were given"
    return None


def drawn(examples: Sequence[Example], seeds: int) -> Sequence[Example]:
    """Every example so many times, to be answered anew each time: ``id#2`` beside ``id``, in one group, so that an
    interval counts them as what they are worth.
    """
    if seeds == 1:
        return examples
    return [
        replace(e, id=f"{e.id}#{n}" if n > 1 else e.id, group=e.group or e.id)
        for e in examples
        for n in range(1, seeds + 1)
    ]


def seed_of(seed: int, name: str) -> int:
    """Another one for every answer, so that chance does not fall alike on all examples."""
    return zlib.crc32(f"{seed}/{name}".encode())


def by_group(examples: Sequence[Example]) -> list[Example]:
    """Groups next to each other, in order of first appearance, so that an engine finds shared prefixes."""
    order: dict[str, int] = {}
    for example in examples:
        order.setdefault(example.group or example.id, len(order))
    return sorted(examples, key=lambda e: order[e.group or e.id])


def questions(
    asked: Iterable[tuple[Example, GenerateRequest]],
    condition: Condition,
    identity: Mapping[str, Any],
    engine: Engine,
    cache: AnswerCache | None,
) -> list[Question]:
    """What a condition asks. The cache knows no answers of adapters, nor of a base that nobody names."""
    pairs = list(asked)
    keys = [""] * len(pairs)
    if cache is not None and condition.adapter is None:
        keys = answer_keys((r for _, r in pairs), identity, engine)
    return [question(e, r, key) for (e, r), key in zip(pairs, keys, strict=True)]


def question(example: Example, request: GenerateRequest, key: str = "") -> Question:
    return Question(example, request, _digests(example, request), key)


def _digests(example: Example, request: GenerateRequest) -> Digests:
    """Keys stay in their order: a template shows them in it."""
    put = {
        "messages": request.messages,
        "tools": request.tools,
        "json_schema": request.json_schema,
        "strict_calls": request.strict_calls,
    }
    return Digests(sha256_bytes(example.to_json().encode()), sha256_bytes(json.dumps(put).encode()))


# --- answers ------------------------------------------------------------------------------------


def answers(
    engine: Engine,
    questions: Sequence[Question],
    cache: AnswerCache | None,
    chunk: int,
    *,
    cache_at_end: bool,
) -> Generator[list[Answer], None, None]:
    """Every question's answer, in any order: first what the cache knows, then what the engine says, as it arrives (an
    engine without ``stream`` is given `chunk` requests at a time).

    Args:
        cache_at_end: the cache gets the fresh answers once they are all there, else every now and then. Where a killed
            evaluation has kept its samples, one that goes on finds them there and nothing in the cache: what was cached
            is then the same as if nobody had killed it.

    Raises:
        EvalError: the engine raised something, or did not answer what it was asked.
    """
    known = cache.get(q.key for q in questions if q.key) if cache else {}
    hits = [Answer(q, replace(known[q.key], id=q.request.id), True) for q in questions if q.key in known]
    if hits:
        yield hits
    missing = {q.request.id: q for q in questions if q.key not in known}
    fresh: dict[str, Output] = {}
    whole = False
    try:
        for outputs in _arriving(engine, [q.request for q in missing.values()], chunk):
            found = [Answer(missing[output.id], output, False) for output in outputs]
            yield found
            fresh |= {a.question.key: a.output for a in found if a.question.key}
            if cache and not cache_at_end and len(fresh) >= chunk:
                cache.put(fresh)
                fresh = {}
        whole = True
    finally:
        if cache and (whole or not cache_at_end):
            cache.put(fresh)


def together(pieces: Iterable[list[Answer]], least: int) -> Iterator[list[Answer]]:
    """The same answers in pieces of at least so many, but for the last."""
    waiting: list[Answer] = []
    for piece in pieces:
        waiting += piece
        if len(waiting) >= least:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _arriving(engine: Engine, requests: Sequence[GenerateRequest], chunk: int) -> Iterator[list[Output]]:
    pieces = _streamed(engine, requests) if hasattr(engine, "stream") else _chunks(engine, requests, chunk)
    while True:
        with boundary(EvalError, "generating answers"):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _chunks(engine: Engine, requests: Sequence[GenerateRequest], chunk: int) -> Iterator[list[Output]]:
    for start in range(0, len(requests), chunk):
        part = requests[start : start + chunk]
        outputs = engine.generate(part)
        if [o.id for o in outputs] != [r.id for r in part]:
            raise EvalError(
                f"the engine was given {len(part)} requests and answered {len(outputs)}, or in another order; "
                "that is a fault of the engine."
            )
        yield outputs


def _streamed(engine: Any, requests: Sequence[GenerateRequest]) -> Iterator[list[Output]]:
    left = {request.id for request in requests}
    for output in engine.stream(requests) if requests else ():
        if output.id not in left:
            raise EvalError(
                f"the engine answered {output.id!r}, which it was not asked or has answered; that is its fault."
            )
        left.remove(output.id)
        yield [output]
    if left:
        raise EvalError(
            f"the engine was given {len(requests)} requests and answered {len(requests) - len(left)}; that is a "
            "fault of the engine."
        )
