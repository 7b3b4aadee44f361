"""Running an evaluation: every condition over the same examples, through one engine, into a record."""

from __future__ import annotations

import datetime
import math
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from agentlora.core.errors import ConfigError, EvalError, boundary
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Engine, Evaluator, Example, GenerateRequest, Output, Score
from agentlora.core.xml_values import in_xml
from agentlora.eval.cache import AnswerCache, answer_key
from agentlora.eval.conditions import (
    CONSTRAINED,
    FEW_SHOT,
    SERVED,
    Condition,
    in_hermes,
    most_calls,
    shot_messages,
    to_request,
)
from agentlora.eval.metrics import aggregate, may_be_share, paired_difference
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record, SliceDifference

__all__ = ["AnswerCache", "Evaluation", "evaluate"]

MOST_FAILED = 0.9  # of a condition's answers; with more, there is nothing to report on
CHUNK = 64  # requests given to the engine at once: progress and cache move on after each

OnProgress = Callable[[str, int, int], None]


class Evaluation(NamedTuple):
    """What `evaluate` returns: the record, and one JSON object for each condition and example."""

    record: Record
    samples: list[JSON]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One answer with its score; `score` is None when the engine failed."""

    example: Example
    output: Output
    score: Score | None
    cached: bool


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
) -> Evaluation:
    """Put every example to every condition, score the answers, and compare adapters with baselines.

    Args:
        engine: open, with the adapters of `conditions` added.
        shots: worked examples of the training split, for conditions of kind ``few_shot``.
        max_tokens: new tokens an answer may have.
        cache: where answers of the base (conditions without an adapter) are looked up and kept.
        identity: ``base`` (a `BaseIdentity` as a dict), ``adapter`` (digest or None), ``engine`` (its name),
            ``data`` (digests, how often test was read), ``provenance``; all are copied into the record.
        on_progress: called with condition, answers so far, answers in all, after every chunk.
        given: of conditions of kind ``given``, by name: the answers by example.
        headline, lower_is_better: the task's; default: what the evaluator says of itself.
        headline_where: tags that an example must have to count in the figures that decide (metrics,
            differences, best baseline); slices show all examples.
        seed: of the bootstrap, and of answers that are sampled.
        temperature, seeds: answers are sampled, so many for every example, which are one group with it.
        served: what the alias serves today (see `Record`), which is the condition that is `served`.

    Raises:
        ConfigError: there is nothing to evaluate, or the engine cannot serve an adapter that is asked for.
        EvalError: (nearly) all answers of an adapter, or of the condition that came first, failed or could not be
            judged; the first reason is quoted. Of a later baseline the record says so.
    """
    ordered = _by_group(_drawn(examples, seeds))
    _check(engine, ordered, conditions, shots)
    if not _counted(examples, headline_where or {}):
        raise ConfigError(
            f"no example has the tags that decide: {dict(headline_where or {})}. Raise --limit."
        )
    skipped = {c.name: why for c in conditions if (why := _cannot(c, engine, examples, shots))}
    judged: dict[str, list[_Judged]] = {}
    room = most_calls(ordered)
    for condition in conditions:
        if condition.name in skipped:
            continue
        if condition.kind == "given":
            said = (given or {})[condition.name]
            judged[condition.name] = [
                _judge(evaluator, e, condition, _clean(_given(said, e)), True) for e in ordered
            ]
            continue
        requests = [
            to_request(
                e, condition, shots, max_tokens, room, temperature, _seed(seed, e.id) if temperature else None
            )
            for e in ordered
        ]
        keys = _cache_keys(requests, condition, identity, engine, cache)
        results: list[_Judged] = []
        for start in range(0, len(ordered), chunk):
            part = slice(start, start + chunk)
            answers = _answers(engine, requests[part], keys[part], cache)
            for example, (output, cached) in zip(ordered[part], answers, strict=True):
                results.append(_judge(evaluator, example, condition, output, cached))
            if on_progress:
                on_progress(condition.name, len(results), len(ordered))
        if condition.judged or not judged:  # of a later baseline the record tells
            _refuse_failed(condition, results)
        judged[condition.name] = results
    lower = getattr(evaluator, "lower_is_better", ()) if lower_is_better is None else lower_is_better
    headline = headline or str(getattr(evaluator, "headline", evaluator.metrics[0]))
    done = [c for c in conditions if c.name in judged]
    where = dict(headline_where or {})
    deciding = {name: _where(results, where) for name, results in judged.items()}
    unbounded = _unbounded(evaluator, judged)
    systems = {
        c.name: _condition_record(
            c, deciding[c.name], judged[c.name], evaluator.metrics, headline, unbounded, seed
        )
        for c in done
    }
    counted = _counted(ordered, where)
    best = _best(done, systems, headline, headline in lower)
    record = Record(
        task=task_name,
        headline=headline,
        metrics=tuple(evaluator.metrics),
        lower_is_better=tuple(m for m in evaluator.metrics if m in lower),
        base=dict(identity.get("base") or {}),
        adapter=identity.get("adapter"),
        engine=str(identity.get("engine", "")),
        data={
            "examples": sha256_json([e.to_dict() for e in _by_group(examples)]),
            **(identity.get("data") or {}),
        },
        n=len(counted) // seeds,
        groups=len({e.group or e.id for e in counted}),
        headline_where=where,
        n_all=len(examples),
        max_tokens=max_tokens,
        temperature=temperature,
        seeds=seeds,
        conditions=tuple(systems.values()),
        skipped=skipped,
        differences=tuple(_differences(done, deciding, evaluator.metrics, unbounded, seed)),
        slice_differences=tuple(
            _slice_differences(done, best, deciding, judged, headline, headline in unbounded, seed)
        ),
        best_baseline=best,
        served=None if served is None else dict(served),
        shots=shot_messages(shots) if any(c.kind in FEW_SHOT for c in done) else (),
        provenance=dict(identity.get("provenance") or {}),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Evaluation(record, [_sample(name, j) for name, results in judged.items() for j in results])


# --- before -------------------------------------------------------------------------------------


def _check(
    engine: Engine, examples: Sequence[Example], conditions: Sequence[Condition], shots: Sequence[Example]
) -> None:
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


def _cannot(
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


def _drawn(examples: Sequence[Example], seeds: int) -> Sequence[Example]:
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


def _given(answers: Mapping[str, Output], example: Example) -> Output:
    """Somebody else's answer, which is one for all seeds."""
    return answers[example.id] if example.id in answers else answers[example.id.rpartition("#")[0]]


def _seed(seed: int, name: str) -> int:
    """Another one for every answer, so that chance does not fall alike on all examples."""
    return zlib.crc32(f"{seed}/{name}".encode())


def _by_group(examples: Sequence[Example]) -> list[Example]:
    """Groups next to each other, in order of first appearance, so that an engine finds shared prefixes."""
    order: dict[str, int] = {}
    for example in examples:
        order.setdefault(example.group or example.id, len(order))
    return sorted(examples, key=lambda e: order[e.group or e.id])


# --- answers ------------------------------------------------------------------------------------


def _cache_keys(
    requests: Sequence[GenerateRequest],
    condition: Condition,
    identity: Mapping[str, Any],
    engine: Engine,
    cache: AnswerCache | None,
) -> list[str]:
    """One key a request; empty where answers are not to be cached."""
    base = (identity.get("base") or {}).get("digest")
    if cache is None or condition.adapter is not None or not base:
        return [""] * len(requests)
    answerer = f"{identity.get('engine', '')} {getattr(engine, 'identity', '')}".strip()
    return [answer_key(base, answerer, r) for r in requests]


def _answers(
    engine: Engine, requests: Sequence[GenerateRequest], keys: Sequence[str], cache: AnswerCache | None
) -> Iterator[tuple[Output, bool]]:
    """(output, came from the cache) for each request, in order."""
    known = cache.get(key for key in keys if key) if cache else {}
    missing = [r for r, key in zip(requests, keys, strict=True) if key not in known]
    with boundary(EvalError, "generating answers"):
        outputs = engine.generate(missing) if missing else []
    if [o.id for o in outputs] != [r.id for r in missing]:
        raise EvalError(
            f"the engine was given {len(missing)} requests and answered {len(outputs)}, or in another order; "
            "that is a fault of the engine."
        )
    fresh = {o.id: _clean(o) for o in outputs}
    if cache:
        cache.put({key: fresh[r.id] for r, key in zip(requests, keys, strict=True) if key and r.id in fresh})
    for request, key in zip(requests, keys, strict=True):
        hit = request.id not in fresh
        yield (replace(known[key], id=request.id) if hit else fresh[request.id]), hit


def _clean(output: Output) -> Output:
    return replace(
        output, text=_whole(output.text), error=None if output.error is None else _whole(output.error)
    )


def _whole(text: str) -> str:
    """Half a surrogate pair, which some servers send for a cut-off character, cannot be written to a file."""
    return text.encode("utf-8", "replace").decode()


def _judge(
    evaluator: Evaluator, example: Example, condition: Condition, output: Output, cached: bool
) -> _Judged:
    if output.error is not None:
        return _Judged(example, output, None, cached)
    try:
        score = evaluator.score(example, in_hermes(output, example, condition))
        odd = next((name for name, value in score.metrics.items() if not _is_figure(value)), None)
    except Exception as exc:  # whatever an answer does to a scorer, the others count
        score = Score(unscored=_whole(f"the evaluator failed: {type(exc).__name__}: {exc}"))
    else:
        if odd is not None:
            value = f"{score.metrics[odd]!r:.80}"
            score = Score(unscored=f"the evaluator's {odd} is {value}, which is no finite Python number")
    return _Judged(example, output, score, cached)


def _is_figure(value: Any) -> bool:
    """Whether it can stand in a record: None where the metric says nothing about the example."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _failures(results: Sequence[_Judged]) -> list[str]:
    """Why answers are not there or could not be judged."""
    return [
        str(j.output.error if j.score is None else j.score.unscored)
        for j in results
        if j.score is None or j.score.unscored is not None
    ]


def _refuse_failed(condition: Condition, results: Sequence[_Judged]) -> None:
    """Raises EvalError when (nearly) all of a condition's answers failed."""
    failures = _failures(results)
    if len(failures) > MOST_FAILED * len(results):
        raise EvalError(
            f"{len(failures)} of the {len(results)} answers of condition {condition.name!r} failed or could not be "
            f"judged. The first time because: {failures[0]}"
        )


# --- figures ------------------------------------------------------------------------------------


def _condition_record(
    condition: Condition,
    deciding: Sequence[_Judged],
    results: Sequence[_Judged],
    metrics: Sequence[str],
    headline: str,
    unbounded: Container[str],
    seed: int,
) -> ConditionRecord:
    slices: dict[str, dict[str, Figure]] = {}
    for tag, value, members in _slices(deciding, results):
        right = _right(members, headline)
        slices.setdefault(tag, {})[value] = _figure(right, headline, headline in unbounded, seed)
    return ConditionRecord(
        name=condition.name,
        kind=SERVED if condition.served else condition.kind,
        adapter=None if condition.served else condition.adapter,
        metrics={metric: _figure(deciding, metric, metric in unbounded, seed) for metric in metrics},
        slices=slices,
        prompt_tokens=sum(j.output.prompt_tokens for j in results),
        output_tokens=sum(j.output.output_tokens for j in results),
        truncated=sum(j.output.finish_reason == "length" for j in results),
        cached=sum(j.cached for j in results),
        first_error=next((j.output.error for j in results if j.output.error), None),
    )


def _slices(
    deciding: Sequence[_Judged], results: Sequence[_Judged]
) -> Iterator[tuple[str, str, list[_Judged]]]:
    """(tag, value, the results that have it): by slice of all, by case of those that decide."""
    for tag, sliced in (("slice", results), ("case", deciding)):
        for value in sorted({j.example.tags[tag] for j in sliced if tag in j.example.tags}):
            yield tag, value, [j for j in sliced if j.example.tags.get(tag) == value]


def _slice_differences(
    conditions: Sequence[Condition],
    best: str | None,
    deciding: Mapping[str, list[_Judged]],
    judged: Mapping[str, list[_Judged]],
    headline: str,
    unbounded: bool,
    seed: int,
) -> Iterator[SliceDifference]:
    """Every adapter against the best baseline."""
    if best is None:
        return
    theirs = {(tag, value): members for tag, value, members in _slices(deciding[best], judged[best])}
    for system in (c.name for c in conditions if c.judged):
        for tag, value, members in _slices(deciding[system], judged[system]):
            ours, others = (
                _values(_right(found, headline), headline) for found in (members, theirs[tag, value])
            )
            groups = {j.example.id: j.example.group for j in members}
            found = paired_difference(ours, others, groups, seed, unbounded=unbounded)
            difference = DifferenceRecord(metric=headline, system=system, baseline=best, **asdict(found))
            yield SliceDifference(tag=tag, value=value, difference=difference)


def _counted(examples: Sequence[Example], where: Mapping[str, str]) -> list[Example]:
    return [e for e in examples if all(e.tags.get(tag) == value for tag, value in where.items())]


def _where(results: Sequence[_Judged], where: Mapping[str, str]) -> list[_Judged]:
    return [j for j in results if _counted([j.example], where)]


def _unbounded(evaluator: Evaluator, judged: Mapping[str, Sequence[_Judged]]) -> frozenset[str]:
    """The metrics that are no shares of 0 to 1: the evaluator says so, or a value does."""
    scores = [j.score.metrics for results in judged.values() for j in results if j.score is not None]
    beyond = {name for found in scores for name, value in found.items() if not may_be_share(value)}
    return frozenset(beyond.union(getattr(evaluator, "unbounded", ())))


def _figure(results: Sequence[_Judged], metric: str, unbounded: bool, seed: int) -> Figure:
    scored = [(j, j.score) for j in results if j.score is not None]
    found = [(j.example, score.metrics.get(metric)) for j, score in scored if score.unscored is None]
    counts = len(scored) - len(found), len(results) - len(scored)
    groups = [example.group or example.id for example, _ in found]
    values = (value for _, value in found)
    return Figure(**asdict(aggregate(values, *counts, groups, unbounded=unbounded, seed=seed)))


def _right(results: Sequence[_Judged], headline: str) -> list[_Judged]:
    """With the headline metric; where that says nothing about an example, 1 when nothing is wrong with the answer."""
    return [
        j
        if j.score is None or j.score.unscored is not None or j.score.metrics.get(headline) is not None
        else replace(j, score=replace(j.score, metrics={headline: float(not j.score.why)}))
        for j in results
    ]


def _differences(
    conditions: Sequence[Condition],
    judged: Mapping[str, list[_Judged]],
    metrics: Sequence[str],
    unbounded: Container[str],
    seed: int,
) -> Iterator[DifferenceRecord]:
    """Every adapter against every baseline and what is served, in every metric."""
    for system in (c for c in conditions if c.judged):
        groups = {j.example.id: j.example.group for j in judged[system.name]}
        for baseline in (c for c in conditions if not c.judged):
            for metric in metrics:
                ours, theirs = (_values(judged[c.name], metric) for c in (system, baseline))
                found = paired_difference(ours, theirs, groups, seed, unbounded=metric in unbounded)
                yield DifferenceRecord(
                    metric=metric, system=system.name, baseline=baseline.name, **asdict(found)
                )


def _values(results: Sequence[_Judged], metric: str) -> dict[str, float | None]:
    return {
        j.example.id: j.score.metrics.get(metric)
        for j in results
        if j.score is not None and j.score.unscored is None
    }


def _best(
    conditions: Sequence[Condition], systems: Mapping[str, ConditionRecord], headline: str, lower: bool
) -> str | None:
    baselines = [c for c in conditions if not c.adapter and c.kind != "given"]
    means = {c.name: systems[c.name].metrics[headline].mean for c in baselines}
    scored = {name: mean for name, mean in means.items() if mean is not None}
    return (min if lower else max)(scored, key=lambda name: scored[name]) if scored else None


def _sample(condition: str, judged: _Judged) -> JSON:
    example, output, score = judged.example, judged.output, judged.score
    return {
        "id": example.id,
        "condition": condition,
        "text": output.text,
        "scores": dict(score.metrics) if score else {},
        "why": score.why if score else "",
        "unscored": score.unscored if score else None,
        "error": output.error,
        "finish_reason": output.finish_reason,
        "prompt_tokens": output.prompt_tokens,
        "output_tokens": output.output_tokens,
        "cached": judged.cached,
        "group": example.group,
        "tags": dict(example.tags),
        "expected": {**asdict(example.expected), "calls": [asdict(c) for c in example.expected.calls]},
        "request": {"messages": list(example.messages), "tools": list(example.tools)},
    }
