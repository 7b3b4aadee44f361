"""Asking the general-ability probes: which of its choices does a model find likeliest, with and without the adapter?

A choice's log-probability is that of its tokens after the prompt, under the model's chat template. Two rules turn it
into right or wrong:

- by the byte (UTF-8) of the choice, which decides. A sum over tokens is the lower the longer a choice is, whatever it
  says; a mean over tokens depends on how a tokenizer cuts. Sources: T. Brown et al., "Language Models are Few-Shot
  Learners" (2020), section 2.4 (likelihood by length for choices of several tokens); L. Gao, "Multiple Choice
  Normalization in LM Evaluation" (EleutherAI, 2021), which compares the normalisations and finds bytes to be the one
  that no tokenizer changes.
- unnormalised, which is shown beside it. Where the two tell of different effects, something about lengths changed.

Of equal ones none is the likeliest: such a probe is wrong. Where a choice is anything else than the others, it has what
they leave of the probability, and whichever is the more probable is chosen by either rule.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from agentlora.core.errors import EvalError, boundary
from agentlora.core.provenance import redact_problem
from agentlora.core.types import JSON, ChoiceOutput, ChoiceRequest, Engine, Output, ScoresChoices
from agentlora.eval.cache import AnswerCache, answer_keys
from agentlora.eval.metrics import aggregate, paired_difference
from agentlora.eval.probes import ANYTHING_ELSE, AREAS, Probe, all_probes, digest, take
from agentlora.eval.record import DifferenceRecord, Figure, ProbeFigures, ProbesRecord

METRIC = "probes"
CHUNK = 64  # probes given to the engine at once: progress and cache move on after each
MOST_FAILED = 0.1  # of the probes; those that are left would be others than were chosen

OnProgress = Callable[[str, int, int], None]
Values = dict[str, float]  # right (1) or wrong (0), by the probe's id


def ask_probes(
    engine: Engine,
    adapter: str,
    count: int | Literal["all"] = "all",
    *,
    cache: AnswerCache | None = None,
    identity: Mapping[str, Any],
    on_progress: OnProgress | None = None,
    seed: int = 0,
) -> tuple[ProbesRecord | None, list[JSON]]:
    """What base and adapter make of the probes, and a JSON object for each probe; nothing where none is asked.

    Args:
        adapter: its name in `engine`.
        count: of the probes, evenly from their areas.
        cache: where the figures of both are looked up, and kept as they come: what is ended goes on.
        identity, on_progress, seed: as for `agentlora.eval.runner.evaluate`.

    Raises:
        EvalError: the engine breaks off, or answers something else than it was asked. An engine that cannot score
            choices, or fails at more than a tenth of them, leaves the probes unscored instead.
    """
    probes = take(None if count == "all" else count)
    if not probes:
        return None, []
    about = {"n": len(probes), "available": len(all_probes()), "digest": digest(probes)}
    if not (engine.capabilities.choices and isinstance(engine, ScoresChoices)):
        name = identity.get("engine") or "in use"
        return ProbesRecord(
            **about, unscored=f"the engine {name!r} does not say how likely a given answer is"
        ), []
    plain = [_request(p, None) for p in probes]
    keys, own = (answer_keys(plain, identity, engine, adapted=adapted) for adapted in (False, True))
    base = _scored(engine, probes, None, keys, cache, on_progress)
    adapted = _scored(engine, probes, adapter, own, cache, on_progress)
    samples = [_sample(*row) for row in zip(probes, base, adapted, strict=True)]
    for who, outputs in (("base", base), ("adapter", adapted)):
        errors = [o.error for o in outputs if o.error is not None]
        if len(errors) > MOST_FAILED * len(probes):
            why = f"{len(errors)} of {len(probes)} failed for the {who}, the first time because: {errors[0]}"
            return ProbesRecord(**about, unscored=why, failed=len(errors)), samples
    total, whole = (_figures(probes, base, adapted, by_byte, seed) for by_byte in (True, False))
    areas = {
        area: _figures([p for p in probes if p.area == area], base, adapted, True, seed)
        for area in AREAS
        if any(p.area == area for p in probes)
    }
    return ProbesRecord(**about, **dict(total), areas=areas, unnormalised=whole), samples


def likeliest(probe: Probe, log_probs: Sequence[float], *, by_byte: bool = True) -> int | None:
    """The index of the choice that a model finds likeliest; None where two are equally so. `log_probs` are of all."""
    by_byte = by_byte and ANYTHING_ELSE not in probe.choices
    lengths = [len(choice.encode()) if by_byte else 1 for choice in probe.choices]
    scores = [value / length for value, length in zip(log_probs, lengths, strict=True)]
    best = max(scores)
    return scores.index(best) if scores.count(best) == 1 else None


def _scored(
    engine: ScoresChoices,
    probes: Sequence[Probe],
    adapter: str | None,
    keys: Sequence[str],
    cache: AnswerCache | None,
    on_progress: OnProgress | None,
) -> list[ChoiceOutput]:
    requests = [_request(p, adapter) for p in probes]
    known = cache.get(filter(None, keys)) if cache else {}
    by_id = dict(zip((r.id for r in requests), keys, strict=True))
    found = {r.id: _kept(r, known[by_id[r.id]]) for r in requests if by_id[r.id] in known}
    missing = [r for r in requests if r.id not in found]
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        with boundary(EvalError, "scoring probes"):
            outputs = engine.score_choices(part)
        _check(part, outputs)
        outputs = [_clean(o) for o in outputs]
        found |= {o.id: o for o in outputs}
        if cache:
            said = ((by_id[o.id], Output("", json.dumps(o.log_probs))) for o in outputs if o.error is None)
            cache.put({key: output for key, output in said if key})
        if on_progress:
            on_progress(f"probes {'adapter' if adapter else 'base'}", len(found), len(requests))
    return [_of_all(p, found[p.id]) for p in probes]


def _check(requests: Sequence[ChoiceRequest], outputs: Sequence[ChoiceOutput]) -> None:
    """Raises EvalError for an engine that breaks its contract."""
    fits = [o.id for o in outputs] == [r.id for r in requests] and all(
        o.error is not None or len(o.log_probs) == len(r.choices)
        for o, r in zip(outputs, requests, strict=True)
    )
    if not fits:
        raise EvalError(
            f"the engine was asked about the choices of {len(requests)} probes and answered {len(outputs)}, in another "
            "order, or about other choices; that is a fault of the engine."
        )


def _clean(output: ChoiceOutput) -> ChoiceOutput:
    """What can be written to a file: a model whose weights are broken may find everything as likely as NaN, and a
    server may send half a surrogate pair.
    """
    if output.error is not None:
        return replace(output, error=redact_problem(output.error))
    odd = next((value for value in output.log_probs if not math.isfinite(value)), None)
    return output if odd is None else ChoiceOutput(output.id, error=f"a log-probability is {odd}")


def _request(probe: Probe, adapter: str | None) -> ChoiceRequest:
    said = tuple(choice for choice in probe.choices if choice != ANYTHING_ELSE)
    return ChoiceRequest(probe.id, probe.messages, said, probe.tools, adapter)


def _of_all(probe: Probe, output: ChoiceOutput) -> ChoiceOutput:
    """With the log-probability of what is left: no choice begins with another, so that their probabilities add up."""
    if output.error is not None or ANYTHING_ELSE not in probe.choices:
        return output
    left = max(1 - math.fsum(map(math.exp, output.log_probs)), sys.float_info.min)
    found = [*output.log_probs]
    found.insert(probe.choices.index(ANYTHING_ELSE), math.log(left))
    return replace(output, log_probs=tuple(found))


def _kept(request: ChoiceRequest, output: Output) -> ChoiceOutput:
    return ChoiceOutput(request.id, tuple(json.loads(output.text)))


def _figures(
    probes: Sequence[Probe],
    base: Sequence[ChoiceOutput],
    adapted: Sequence[ChoiceOutput],
    by_byte: bool,
    seed: int,
) -> ProbeFigures:
    """Of these probes, out of the outputs for all. Probes count in groups: those of one fact or text go together. Areas
    are no groups: they are not drawn from many areas, but all that is told of.
    """
    groups = {p.id: p.group for p in probes}
    theirs, ours = (_values(probes, outputs, by_byte) for outputs in (base, adapted))
    difference = paired_difference(ours, theirs, groups, seed)
    return ProbeFigures(
        base=_figure(theirs, probes, seed),
        adapter=_figure(ours, probes, seed),
        difference=DifferenceRecord(metric=METRIC, system="adapter", baseline="base", **asdict(difference)),
    )


def _values(probes: Sequence[Probe], outputs: Sequence[ChoiceOutput], by_byte: bool) -> Values:
    by_id = {p.id: p for p in probes}
    return {
        o.id: float(likeliest(by_id[o.id], o.log_probs, by_byte=by_byte) == by_id[o.id].right)
        for o in outputs
        if o.id in by_id and o.error is None
    }


def _figure(values: Values, probes: Sequence[Probe], seed: int) -> Figure:
    groups = [p.group for p in probes if p.id in values]
    found = [values[p.id] for p in probes if p.id in values]
    return Figure(**asdict(aggregate(found, errored=len(probes) - len(found), groups=groups, seed=seed)))


def _sample(probe: Probe, base: ChoiceOutput, adapted: ChoiceOutput) -> JSON:
    return {
        **asdict(probe),
        "base": _told(probe, base),
        "adapter": _told(probe, adapted),
    }


def _told(probe: Probe, output: ChoiceOutput) -> JSON:
    """The log-probabilities (nats, of whole choices), and which choice they make the likeliest."""
    if output.error is not None:
        return {"error": output.error}
    return {"log_probs": output.log_probs, "chosen": likeliest(probe, output.log_probs)}
