"""Judging answers: each becomes a sample, whatever it does to its evaluator."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agentlora.core.errors import EvalError
from agentlora.core.files import sha256_bytes, sha256_file, sha256_json
from agentlora.core.provenance import redact, redact_problem
from agentlora.core.types import JSON, Evaluator, Example, Expected, Output, Score
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value
from agentlora.eval import compliance
from agentlora.eval.asking import Digests
from agentlora.eval.calls import MISSING, parse_answer, parse_value, unfenced
from agentlora.eval.compliance import Compliance
from agentlora.eval.conditions import Condition, as_array, in_hermes
from agentlora.eval.record import EvaluatorRecord
from agentlora.eval.samples import Asked, Sample

MOST_FAILED = 0.9  # of a condition's answers; with more, there is nothing to report on


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer with its score, which is None when the engine failed, and the sample that says it all. `compliance`:
    None where there is nothing to fit, or the engine failed.
    """

    example: Example
    output: Output
    score: Score | None
    cached: bool
    sample: JSON
    compliance: Compliance | None = None

    @property
    def settled(self) -> bool:
        """Whether there is an answer that was judged in every metric."""
        return self.score is not None and self.score.unscored is None and not self.score.unscored_metrics


def judge(
    evaluator: Evaluator,
    example: Example,
    condition: Condition,
    output: Output,
    digests: Digests,
    cached: bool,
) -> Judged:
    """Never raises for what an answer does to the evaluator: it is unscored then."""
    output = clean(output)
    read = in_hermes(output, example, condition)
    score = None if output.error is not None else scored(evaluator, example, read)
    found = None if output.error is not None else parsed(evaluator, example, read)
    fits = fit_of(example, output, condition)
    output = _told(output)
    sample = Sample(
        id=example.id,
        condition=condition.name,
        status="errored" if score is None else "scored" if score.unscored is None else "unscored",
        example_digest=digests.example,
        prompt_digest=digests.prompt,
        text=output.text,
        parsed=found,
        scores=dict(score.metrics) if score else {},
        why=_whole(str(score.why)) if score else "",
        unscored=score.unscored if score else None,
        unscored_metrics={m: _whole(text) for m, text in score.unscored_metrics.items()} if score else {},
        notes={name: _whole(text) for name, text in score.notes.items()} if score else {},
        error=output.error,
        finish_reason=output.finish_reason,
        prompt_tokens=output.prompt_tokens,
        output_tokens=output.output_tokens,
        latency_s=output.latency_s,
        nats=output.nats,
        cached=cached,
        problems=[p.to_dict() for p in fits.problems] if fits else [],
        group=example.group,
        tags={name: str(value) for name, value in example.tags.items()},
        expected=_plain(example.expected),
        request=Asked(messages=list(example.messages), tools=list(example.tools)),
    )
    # not `model_dump`, which gives up on what is nested deeper than 255
    raw = {**vars(sample), "request": dict(vars(sample.request))}
    return Judged(example, output, score, cached, raw, fits)


def _plain(expected: Expected) -> JSON:
    """Its fields; not `asdict`, which copies everything that is in them and takes longer than judging the answer."""
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in expected.calls]
    return {"calls": calls, "text": expected.text, "value": expected.value}


def fit_of(example: Example, output: Output, condition: Condition) -> Compliance | None:
    """How an answer fits its schemas; None where the engine failed."""
    if output.error is not None:
        return None
    return compliance.judge(example, output, array=as_array(condition, example))


def kept(sample: JSON, example: Example, condition: Condition) -> Judged:
    """What a stored sample says, which `judge` made of the same example."""
    names = ("text", "finish_reason", "prompt_tokens", "output_tokens", "error", "latency_s", "nats")
    output = Output(example.id, **{name: sample[name] for name in names})
    score = None
    if output.error is None:
        score = Score(
            sample["scores"],
            unscored=sample["unscored"],
            why=sample["why"],
            unscored_metrics=sample["unscored_metrics"],
            notes=sample["notes"],
        )
    return Judged(example, output, score, sample["cached"], sample, fit_of(example, output, condition))


def parsed(evaluator: Evaluator, example: Example, output: Output) -> JSON | None:
    """What can be read in an answer, as the evaluator reads it (its ``parse``): calls with the text around them where
    tools are offered, the value where one is asked for; else None, for the text says all. Never raises: the answer is
    judged by others.
    """
    own = getattr(evaluator, "parse", None)
    try:
        found = own(example, output) if own is not None else _read(example, output.text)
        if own is not None or not example.tools:  # calls were read from JSON
            sha256_json(found)  # what is no JSON cannot be written
    except Exception:
        return None
    return found if isinstance(found, dict) else None


def _read(example: Example, text: str) -> JSON | None:
    if example.tools:
        answer = parse_answer(text)
        calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in answer.calls]
        return {"calls": calls, "text": answer.text, "malformed": answer.malformed}
    if example.schema is not None and in_xml(example.schema):
        return {"value": read_value(example.schema, parse_xml(unfenced(text, "xml").strip()))}
    if example.schema is None and example.expected.value is None:
        return None
    value = parse_value(text)
    return None if value is MISSING else {"value": value}


def scored(evaluator: Evaluator, example: Example, output: Output) -> Score:
    """Its score; unscored where it fails, or has a figure that is none."""
    try:
        score = evaluator.score(example, output)
        odd = next((name for name, value in score.metrics.items() if not _is_figure(value)), None)
    except Exception as exc:  # whatever an answer does to a scorer, the others count
        return Score(unscored=redact_problem(f"the evaluator failed: {type(exc).__name__}: {exc}"))
    if odd is not None:
        value = f"{score.metrics[odd]!r:.80}"
        return Score(unscored=f"the evaluator's {odd} is {value}, which is no finite Python number")
    return score if score.unscored is None else replace(score, unscored=_whole(str(score.unscored)))


def _is_figure(value: Any) -> bool:
    """Whether it can stand in a record: None where the metric says nothing about the example."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def facts_of(evaluator: Any) -> JSON:
    """What an evaluator that has ``facts`` says of how it judged, without secrets; ``failed`` is why it says nothing
    that a record can hold. All has been asked and judged by then, and nothing is decided by it.
    """
    try:
        found: JSON = redact(evaluator.facts())
        sha256_json(found)  # what is no JSON cannot be written
    except Exception as exc:
        return {"failed": redact_problem(f"{type(exc).__name__}: {exc}")}
    return found


def clean(output: Output) -> Output:
    text, error = _whole(output.text), None if output.error is None else redact_problem(output.error)
    if text == output.text and error == output.error:
        return output
    return replace(output, text=text, error=error)


def _told(output: Output) -> Output:
    """The output without what is no figure of an engine's: NaN, seconds below zero. Its score was told."""
    seconds = output.latency_s
    if not _is_figure(seconds) or (seconds or 0) < 0:
        output = replace(output, latency_s=None)
    return output if _is_figure(output.nats) else replace(output, nats=None)


def _whole(text: str) -> str:
    """Half a surrogate pair, which some servers send for a cut-off character, cannot be written to a file."""
    return text.encode("utf-8", "replace").decode()


def refuse_failed(condition: Condition, results: Sequence[Judged]) -> None:
    """Raises EvalError when (nearly) all of a condition's answers failed."""
    failures = [
        str(j.output.error if j.score is None else j.score.unscored)
        for j in results
        if j.score is None or j.score.unscored is not None
    ]
    if len(failures) > MOST_FAILED * len(results):
        raise EvalError(
            f"{len(failures)} of the {len(results)} answers of condition {condition.name!r} failed or could not be "
            f"judged. The first time because: {failures[0]}"
        )


# --- who judges ---------------------------------------------------------------------------------


def evaluator_record(evaluator: Evaluator) -> EvaluatorRecord:
    """Its digest is that of the source beside it (of several: of each) and of ours that judges, and of its
    ``identity`` and settings.
    """
    kind = type(evaluator)
    members = getattr(evaluator, "members", (evaluator,))
    modules = {type(member).__module__ for member in members}
    facts = {
        "identity": str(getattr(evaluator, "identity", "")),
        "settings": [_settings(member) for member in members],
        "sources": {name: sha256_file(path) for name, path in _sources(*sorted(modules), __name__)},
    }
    return EvaluatorRecord(
        name=f"{kind.__module__}:{kind.__qualname__}",
        digest=sha256_json(facts),
        settings=redact(_settings(members[0])),
    )


def _settings(evaluator: Evaluator) -> JSON:
    """What it was configured with, or what it has without: the ``Params`` that it keeps, whatever it calls them."""
    kind = getattr(evaluator, "Params", None)
    if not isinstance(kind, type):
        return {}
    known = dict(itertools.chain.from_iterable(vars(of).items() for of in reversed(type(evaluator).__mro__)))
    known |= getattr(evaluator, "__dict__", {})
    found = next((value for value in known.values() if isinstance(value, kind)), None)
    return found.model_dump(mode="json", by_alias=True) if isinstance(found, BaseModel) else {}


def _sources(*modules: str) -> Iterator[tuple[str, Path]]:
    """(name, file) of the modules, of ours that they take something from, and of what lies beside all these in their
    packages; and of what ours is built on.
    """
    for name in sorted(
        {*modules, *itertools.chain.from_iterable(map(_used, modules)), sha256_bytes.__module__}
    ):
        file, package = getattr(sys.modules.get(name), "__file__", None), name.rpartition(".")[0]
        if file is None or not Path(file).is_file():
            continue
        if not package:
            yield name, Path(file)
            continue
        for path in sorted(Path(file).parent.glob("*.py")):
            yield f"{package}.{path.stem}", path


def _used(module: str) -> set[str]:
    """The modules of agentlora's evaluators, ours and those of tasks, that define what a module works with."""
    values = vars(sys.modules[module]).values() if module in sys.modules else ()
    found = {str(getattr(value, "__module__", None)) for value in values}
    return {name for name in found if name.startswith(("agentlora.eval.", "agentlora.tasks."))}
