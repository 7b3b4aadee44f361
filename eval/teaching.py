"""A teacher's answers: asked once, kept by content, and only those that can be learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agentlora.core import schema as json_schema
from agentlora.core.files import loads_strict, sha256_json
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.types import JSON, Engine, Example, Expected, GenerateRequest, Output
from agentlora.eval.cache import AnswerCache, answer_key
from agentlora.eval.calls import parse_answer

CHUNK = 16  # requests asked together: what is answered is kept after each
MILLION = 1_000_000

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked of a teacher: requests, tokens (of prompts and answers) and cost; None: as much as needed.
    Prices are for a million tokens.
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0


@dataclass(slots=True)
class Account:
    """What was asked: `asked` requests now, `known` ones that were answered before, tokens of what was asked."""

    asked: int = 0
    known: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    unasked: int = 0
    first_error: str = ""
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, output: Output) -> None:
        """Count one answer."""
        self.asked += 1
        self.failed += output.error is not None
        self.first_error = self.first_error or output.error or ""
        self.prompt_tokens += output.prompt_tokens
        self.output_tokens += output.output_tokens

    def cost(self, limits: Limits) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * limits.price_in + self.output_tokens * limits.price_out) / MILLION

    def room(self, limits: Limits) -> int | None:
        """How many more requests may be asked; None: any number. Tokens and cost count once they are known, so that
        the last requests may go a little over.
        """
        if limits.tokens is not None and self.prompt_tokens + self.output_tokens >= limits.tokens:
            return 0
        if limits.cost is not None and self.cost(limits) >= limits.cost:
            return 0
        return None if limits.requests is None else max(0, limits.requests - self.asked)

    def to_dict(self, limits: Limits) -> JSON:
        """For ``run.json`` and reports."""
        known = {"asked": self.asked, "known_before": self.known, "failed": self.failed, "not_asked": self.unasked,
                 "prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens}  # fmt: skip
        priced = {"cost": round(self.cost(limits), 6)} if limits.price_in or limits.price_out else {}
        return {**known, **priced, "dropped": dict(self.dropped)}


def ask(
    engine: Engine,
    requests: Sequence[GenerateRequest],
    *,
    teacher: str,
    cache: AnswerCache,
    account: Account,
    limits: Limits = Limits(),
    samples: int = 1,
    on_progress: OnProgress | None = None,
) -> dict[str, list[Output]]:
    """The teacher's answers by request id, `samples` for each. What it was asked before (by content: `teacher`, request
    and number of the sample) comes from the cache; a request that `limits` leaves no room for has no answer.

    Args:
        teacher: identity of who answers: a change of it must change the text.
    """
    wanted = [(request, n) for request in requests for n in range(samples)]
    keys = {(r.id, n): answer_key(teacher, f"sample {n}", r) for r, n in wanted}
    found = cache.get(keys.values())
    answers: dict[str, list[Output]] = {request.id: [] for request in requests}
    missing = []
    for request, n in wanted:
        known = found.get(keys[request.id, n])
        if known is None:
            missing.append((request, n))
        else:
            account.known += 1
            answers[request.id].append(replace(known, id=request.id))
    for start in range(0, len(missing), CHUNK):
        room = account.room(limits)
        part = missing[start : start + CHUNK][:room]
        if not part:
            account.unasked += len(missing) - start
            break
        outputs = engine.generate([request for request, _ in part])
        cache.put({keys[r.id, n]: o for (r, n), o in zip(part, outputs, strict=True) if o.error is None})
        for (request, _), output in zip(part, outputs, strict=True):
            account.add(output)
            answers[request.id].append(output)
        account.unasked += len(missing[start : start + CHUNK]) - len(part)
        if on_progress:
            on_progress(min(start + CHUNK, len(missing)), len(missing))
    return answers


def to_request(
    example: Example, *, adapter: str | None, max_tokens: int, temperature: float = 0.0
) -> GenerateRequest:
    """The example's prompt as a teacher is asked it."""
    return GenerateRequest(
        example.id, example.messages, example.tools, adapter, max_tokens=max_tokens, temperature=temperature
    )


def taught(
    examples: Sequence[Example], answers: Mapping[str, Sequence[Output]], account: Account
) -> Iterator[Example]:
    """The examples with the teacher's answers in place of their own. One without an answer that can be learnt from is
    left out, and why is counted; of examples that ask the same, the first is kept.
    """
    seen: set[str] = set()
    for example in examples:
        content = sha256_json([list(example.messages), list(example.tools)])
        if content in seen:
            account.dropped["asked twice"] += 1
            continue
        expected = agreed(example, answers.get(example.id, ()))
        if isinstance(expected, str):
            account.dropped[expected] += 1
            continue
        seen.add(content)
        yield replace(example, expected=expected, tags={**example.tags, "case": _case(expected, example)})


def agreed(example: Example, outputs: Sequence[Output]) -> Expected | str:
    """The answer that most of `outputs` give, or why there is none."""
    if not outputs:
        return "not asked"
    read = [read_answer(example, output) for output in outputs]
    usable = [expected for expected in read if isinstance(expected, Expected)]
    if not usable:
        return next(why for why in read if isinstance(why, str))
    votes = Counter(map(_content, usable))
    content, most = votes.most_common(1)[0]
    if 2 * most <= len(outputs):
        return "its answers do not agree"
    return next(expected for expected in usable if _content(expected) == content)


def read_answer(example: Example, output: Output) -> Expected | str:
    """A teacher's answer as an expected one, or why it cannot be learnt from."""
    if output.error is not None:
        return "no answer"
    if output.finish_reason == "length":
        return "cut off at the token limit"
    if example.schema is not None and not example.tools:
        return _value(example.schema, output.text)
    answer = parse_answer(output.text)
    if answer.malformed:
        return "a call that cannot be read"
    offered = {function_of(t)["name"]: parameters_of(function_of(t)) for t in example.tools}
    for call in answer.calls:
        if call.name not in offered:
            return "a call of a tool that is not offered"
        if not json_schema.is_valid(offered[call.name], dict(call.arguments)):
            return "arguments that do not fit the tool"
    if answer.calls:
        return Expected(calls=answer.calls)
    return Expected(text=answer.text) if answer.text else "an empty answer"


def _value(schema: JSON, text: str) -> Expected | str:
    try:
        value = loads_strict(text)
    except (ValueError, RecursionError):
        return "not JSON"
    return Expected(value=value) if json_schema.is_valid(schema, value) else "does not fit the schema"


def _content(expected: Expected) -> str:
    calls = [[call.name, dict(call.arguments)] for call in expected.calls]
    return sha256_json([sorted(map(sha256_json, calls)), expected.text, expected.value])


def _case(expected: Expected, example: Example) -> str:
    if expected.calls:
        return "two_calls" if len(expected.calls) > 1 else "choice" if len(example.tools) > 1 else "single"
    return "value" if expected.value is not None else "none_fits" if example.tools else "text"
