"""Running an evaluation: every condition over the same examples, through one engine, into a record."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agentlora.core.errors import ConfigError
from agentlora.core.files import sha256_json
from agentlora.core.provenance import redact_text
from agentlora.core.types import JSON, Engine, Evaluator, Example, GenerateRequest, Output
from agentlora.eval import aggregating, asking
from agentlora.eval.asking import Question
from agentlora.eval.cache import AnswerCache
from agentlora.eval.conditions import FEW_SHOT, Condition, most_calls, shot_messages, to_request
from agentlora.eval.judging import Judged, evaluator_record, judge, kept, refuse_failed
from agentlora.eval.kept import Kept, keeping
from agentlora.eval.record import Decoding, Record

__all__ = ["AnswerCache", "Evaluation", "evaluate"]

CHUNK = 64  # requests given at once to an engine that does not stream: progress and cache move on after each
TEMPERATURE = GenerateRequest("", ()).temperature  # `to_request` asks for nothing else: greedy

Questions = dict[str, list[Question]]
OnProgress = Callable[[str, int, int], None]
OnBegin = Callable[[int, Sequence[str]], Mapping[str, Any]]


class Evaluation(NamedTuple):
    """What `evaluate` returns: the record, and one `Sample` as a dict for each condition and example."""

    record: Record
    samples: list[JSON]


def evaluate(
    *,
    engine: Engine,
    evaluator: Evaluator,
    task_name: str,
    examples: Sequence[Example],
    conditions: Sequence[Condition],
    shots: Sequence[Example] = (),
    max_tokens: int = 64,
    cache: AnswerCache | None = None,
    identity: Mapping[str, Any],
    on_begin: OnBegin | None = None,
    on_progress: OnProgress | None = None,
    given: Mapping[str, Mapping[str, Output]] | None = None,
    headline: str | None = None,
    headline_where: Mapping[str, str] | None = None,
    lower_is_better: frozenset[str] | None = None,
    seed: int = 0,
    chunk: int = CHUNK,
    keep_in: Path | None = None,
) -> Evaluation:
    """Put every example to every condition, score the answers, and compare adapters with baselines.

    Args:
        engine: open, with the adapters of `conditions` added.
        shots: worked examples of the training split, for conditions of kind ``few_shot``.
        max_tokens: new tokens an answer may have.
        cache: where answers of the base (conditions without an adapter) are looked up and kept.
        identity: ``base`` (a `BaseIdentity` as a dict, with ``template_digest``), ``adapter`` (digest or None),
            ``engine`` (its name), ``data`` (digests, how often test was read), ``provenance``; all are copied into the
            record.
        on_begin: called before anything is asked, with the number of samples that an evaluation which was ended has
            left, and with what has changed since where it has left some that cannot be used. What it returns is added
            to the record's ``data``.
        on_progress: called with condition, answers so far, answers in all, whenever some have arrived.
        given: of conditions of kind ``given``, by name: the answers by example.
        headline, lower_is_better: the task's; default: what the evaluator says of itself.
        headline_where: tags that an example must have to count in the figures that decide (metrics,
            differences, best baseline); slices show all examples.
        seed: of the bootstrap.
        keep_in: a file where samples are kept as they arrive, and looked up: those of the same base, template, adapter,
            engine, decoding and evaluator, and of the same example and prompt, are not asked for again. It stays; who
            has written record and samples removes it.

    Raises:
        ConfigError: there is nothing to evaluate, or the engine cannot serve an adapter that is asked for.
        EvalError: (nearly) all answers of an adapter, or of the condition that came first, failed or could not be
            judged; the first reason is quoted. Of a later baseline the record says so.
    """
    where = dict(headline_where or {})
    asking.check(engine, examples, conditions, shots)
    if not aggregating.counted(examples, where):
        raise ConfigError(f"no example has the tags that decide: {where}. Raise --limit.")
    ordered = asking.by_group(examples)
    skipped = {c.name: why for c in conditions if (why := asking.cannot(c, engine, examples, shots))}
    done = [c for c in conditions if c.name not in skipped]
    room = most_calls(ordered)
    questions: Questions = {}
    for c in done:
        requests = (to_request(e, c, shots, max_tokens, room) for e in ordered)
        questions[c.name] = asking.questions(zip(ordered, requests, strict=True), c, identity, engine, cache)
    decoding = Decoding(temperature=TEMPERATURE, max_tokens=max_tokens, max_calls=room)
    who = _who(engine, evaluator, identity)
    facts = {
        **who,
        "adapters": sorted(f"{c.name}: {c.adapter}" for c in done if c.adapter),
        "decoding": decoding.model_dump(exclude={"max_calls"}),  # a question's digest has it
    }
    with keeping(keep_in, facts) as store:
        desk = _Desk(engine, evaluator, store, cache, chunk, on_progress)
        left = {c.name: desk.left(questions[c.name], c) for c in done}
        begun = on_begin(sum(map(len, left.values())), store.changed) if on_begin else {}
        judged: dict[str, list[Judged]] = {}
        for c in done:
            if c.kind == "given":
                judged[c.name] = desk.given(questions[c.name], c, (given or {})[c.name])
                continue
            found = desk.ask(questions[c.name], c, left[c.name])
            if c.adapter or not judged:  # of a later baseline the record tells
                refuse_failed(c, found)
            judged[c.name] = found
    lower = getattr(evaluator, "lower_is_better", ()) if lower_is_better is None else lower_is_better
    figures = aggregating.figures(
        done,
        judged,
        evaluator,
        headline or str(getattr(evaluator, "headline", evaluator.metrics[0])),
        lower=lower,
        where=where,
        seed=seed,
    )
    record = Record(
        task=task_name,
        data={
            "examples": sha256_json([e.to_dict() for e in ordered]),
            **(identity.get("data") or {}),
            **begun,
        },
        max_tokens=max_tokens,
        skipped=skipped,
        shots=shot_messages(shots) if any(c.kind in FEW_SHOT for c in done) else (),
        provenance=dict(identity.get("provenance") or {}),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        decoding=decoding,
        **who,
        **figures,
    )
    return Evaluation(record, [j.sample for results in judged.values() for j in results])


def _who(engine: Engine, evaluator: Evaluator, identity: Mapping[str, Any]) -> JSON:
    """Who answers and who judges, as a record says it."""
    base = dict(identity.get("base") or {})
    return {
        "base": base,
        "template": str(base.get("template_digest") or base.get("template") or ""),
        "adapter": identity.get("adapter"),
        "engine": str(identity.get("engine", "")),
        "engine_version": redact_text(str(getattr(engine, "identity", ""))),
        "evaluator": evaluator_record(evaluator).model_dump(),
    }


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where questions go out, and answers come in to be judged."""

    engine: Engine
    evaluator: Evaluator
    store: Kept
    cache: AnswerCache | None
    chunk: int
    on_progress: OnProgress | None

    def left(self, questions: Sequence[Question], condition: Condition) -> dict[str, Judged]:
        """By example: what an earlier evaluation left of these questions."""
        found = {}
        for question in questions:
            sample = self.store.known.get((condition.name, question.example.id))
            if sample and (sample["example_digest"], sample["prompt_digest"]) == question.digests:
                found[question.example.id] = kept(sample, question.example)
        return found

    def given(
        self, questions: Sequence[Question], condition: Condition, said: Mapping[str, Output]
    ) -> list[Judged]:
        """Somebody else's answers, judged."""
        return [self._judge(q, condition, said[q.example.id], cached=True) for q in questions]

    def ask(
        self, questions: Sequence[Question], condition: Condition, found: dict[str, Judged]
    ) -> list[Judged]:
        """The judged answers in the questions' order; those that are not `found` are asked for, and kept."""
        missing = [q for q in questions if q.example.id not in found]
        cache, lasting = self.cache, self.store.lasting
        if found and self.on_progress:
            self.on_progress(condition.name, len(found), len(questions))
        with closing(
            asking.answers(self.engine, missing, cache, self.chunk, cache_at_end=lasting)
        ) as arriving:
            for piece in arriving:
                for question, output, cached in piece:
                    judged = self._judge(question, condition, output, cached)
                    self.store.add(judged.sample)
                    found[question.example.id] = judged
                if self.on_progress:
                    self.on_progress(condition.name, len(found), len(questions))
        return [found[q.example.id] for q in questions]

    def _judge(self, question: Question, condition: Condition, output: Output, cached: bool) -> Judged:
        return judge(self.evaluator, question.example, condition, output, question.digests, cached)
