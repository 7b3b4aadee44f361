"""Running an evaluation: every condition over the same examples, through one engine, into a record."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agentlora.core.errors import ConfigError, EvalError, boundary
from agentlora.core.files import sha256_json
from agentlora.core.provenance import redact_text
from agentlora.core.types import JSON, Engine, Evaluator, Example, Output
from agentlora.eval import aggregating, asking
from agentlora.eval.asking import Answer, Question
from agentlora.eval.cache import AnswerCache
from agentlora.eval.conditions import FEW_SHOT, Condition, in_hermes, most_calls, shot_messages, to_request
from agentlora.eval.judging import (
    Judged,
    clean,
    evaluator_record,
    facts_of,
    judge,
    kept,
    refuse_failed,
)
from agentlora.eval.kept import Kept, keeping
from agentlora.eval.nats import with_nats
from agentlora.eval.record import Decoding, Record

__all__ = ["AnswerCache", "Evaluation", "evaluate"]

CHUNK = 64  # requests given at once to an engine that does not stream: progress and cache move on after each

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
    temperature: float = 0.0,
    seeds: int = 1,
    served: Mapping[str, Any] | None = None,
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
        headline: the task's; default: the evaluator's.
        lower_is_better: the task's, beside what the evaluator says of itself.
        headline_where: tags that an example must have to count in the figures that decide (metrics,
            differences, best baseline); slices show all examples.
        seed: of the bootstrap, and of answers that are sampled.
        temperature, seeds: answers are sampled, so many for every example, which are one group with it.
        served: what the alias serves today (see `Record`), which is the condition that is `served`.
        keep_in: a file where samples are kept as they arrive, and looked up: those of the same base, template, adapter,
            engine, decoding and evaluator, and of the same example and prompt, are not asked for again. It stays; who
            has written record and samples removes it.

    Raises:
        ConfigError: there is nothing to evaluate, or the engine cannot serve an adapter that is asked for.
        EvalError: (nearly) all answers of an adapter, or of the condition that came first, failed or could not be
            judged; the first reason is quoted. Of a later baseline the record says so.
    """
    where = dict(headline_where or {})
    ordered = asking.by_group(asking.drawn(examples, seeds))
    asking.check(engine, ordered, conditions, shots)
    if not aggregating.counted(examples, where):
        raise ConfigError(f"no example has the tags that decide: {where}. Raise --limit.")
    skipped = {c.name: why for c in conditions if (why := asking.cannot(c, engine, examples, shots))}
    done = [c for c in conditions if c.name not in skipped]
    if hasattr(evaluator, "begin"):
        evaluator.begin(asking.by_group(examples))  # once, however many answers each gets
    room = most_calls(ordered)
    questions: Questions = {}
    for c in done:
        requests = (
            to_request(
                e,
                c,
                shots,
                max_tokens,
                room,
                temperature,
                asking.seed_of(seed, e.id) if temperature else None,
            )
            for e in ordered
        )
        questions[c.name] = asking.questions(zip(ordered, requests, strict=True), c, identity, engine, cache)
    decoding = Decoding(
        temperature=temperature,
        seeds=seeds,
        max_tokens=max_tokens,
        max_calls=room,
        fixed=getattr(engine, "decoding", None) or {},
    )
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
            if c.judged or not judged:  # of a later baseline the record tells
                refuse_failed(c, found)
            judged[c.name] = found
    lower = {*(lower_is_better or ()), *getattr(evaluator, "lower_is_better", ())}
    figures = aggregating.figures(
        done,
        judged,
        evaluator,
        headline or str(getattr(evaluator, "headline", evaluator.metrics[0])),
        lower=lower,
        where=where,
        seed=seed,
        seeds=seeds,
    )
    record = Record(
        task=task_name,
        data={
            "examples": sha256_json([e.to_dict() for e in asking.by_group(examples)]),
            **(identity.get("data") or {}),
            **begun,
        },
        max_tokens=max_tokens,
        skipped=skipped,
        shots=shot_messages(shots) if any(c.kind in FEW_SHOT for c in done) else (),
        provenance={**(identity.get("provenance") or {}), **_facts(evaluator)},
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        decoding=decoding,
        served=None if served is None else dict(served),
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


def _given(answers: Mapping[str, Output], name: str) -> Output:
    """Somebody else's answer, which is one for all seeds."""
    return answers[name] if name in answers else answers[name.rpartition("#")[0]]


def _facts(evaluator: Evaluator) -> JSON:
    """What the record is told of how it judged."""
    return {"judging": facts_of(evaluator)} if getattr(evaluator, "facts", None) is not None else {}


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
                found[question.example.id] = kept(sample, question.example, condition)
        return found

    def given(
        self, questions: Sequence[Question], condition: Condition, said: Mapping[str, Output]
    ) -> list[Judged]:
        """Somebody else's answers, judged; those with a time were waited for just now."""
        outputs = [_given(said, q.example.id) for q in questions]
        answers = [Answer(q, o, o.latency_s is None) for q, o in zip(questions, outputs, strict=True)]
        return list(self._judged(answers, condition))

    def ask(
        self, questions: Sequence[Question], condition: Condition, found: dict[str, Judged]
    ) -> list[Judged]:
        """The judged answers in the questions' order; those that are not `found` are asked for, and kept. Of what is
        found, what could not be judged before is judged again.
        """
        missing = [q for q in questions if q.example.id not in found]
        known = [q for q in questions if q.example.id in found]
        cache, lasting = self.cache, self.store.lasting
        if found and self.on_progress:
            self.on_progress(condition.name, len(found), len(questions))
        before = [Answer(q, found[q.example.id].output, found[q.example.id].cached) for q in known]
        unsettled = [a for a in before if not found[a.question.example.id].settled]
        for judged in self._judged(self._with_nats(unsettled, condition), condition):
            self.store.add(judged.sample)
            found[judged.example.id] = judged
        with closing(
            asking.answers(self.engine, missing, cache, self.chunk, cache_at_end=lasting)
        ) as arriving:
            for piece in asking.together(arriving, self.chunk if self._asks_too else 1):
                for judged in self._judged(self._with_nats(piece, condition), condition):
                    self.store.add(judged.sample)
                    found[judged.example.id] = judged
                if self.on_progress:
                    self.on_progress(condition.name, len(found), len(questions))
        if cache:  # what was answered before a kill is nowhere else
            cache.put({a.question.key: a.output for a in before if a.question.key and not a.cached})
        return [found[q.example.id] for q in questions]

    @property
    def _asks_too(self) -> bool:
        """Whether the evaluator asks somebody about answers, which is quicker together."""
        members = getattr(self.evaluator, "members", (self.evaluator,))
        return any(hasattr(one, "prepare") or getattr(one, "needs_nats", False) for one in members)

    def _with_nats(self, answers: Sequence[Answer], condition: Condition) -> list[Answer]:
        if not answers or not getattr(self.evaluator, "needs_nats", False):
            return list(answers)
        outputs = with_nats(
            self.engine,
            [a.question.example for a in answers],
            condition,
            [a.question.request for a in answers],
            [a.output for a in answers],
        )
        return [a._replace(output=output) for a, output in zip(answers, outputs, strict=True)]

    def _judged(self, answers: Sequence[Answer], condition: Condition) -> Iterator[Judged]:
        if answers and hasattr(self.evaluator, "prepare"):
            read = ((a.question.example, clean(a.output)) for a in answers if a.output.error is None)
            with boundary(EvalError, "preparing to judge answers"):
                self.evaluator.prepare([(e, in_hermes(o, e, condition)) for e, o in read])
        for question, output, cached in answers:
            yield judge(self.evaluator, question.example, condition, output, question.digests, cached)
