"""A teacher's answers: asked once, kept by content, and only those that can be learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from agentlora.core import schema as json_schema
from agentlora.core.errors import EvalError
from agentlora.core.files import sha256_json
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.types import JSON, Example, Expected, GenerateRequest, Output
from agentlora.core.xml_schema import problems_in, problems_of
from agentlora.core.xml_text import parse_xml
from agentlora.core.xml_values import in_xml, read_value, write_xml
from agentlora.eval.cache import AnswerCache, answer_key
from agentlora.eval.calls import MISSING, parse_answer, parse_value, unfenced

CHUNK = 16  # requests asked together, at least: what is answered is kept after each
GIVEN_UP = 3  # so many chunks of failures in a row, and the teacher is given up
BYTES = 3.5  # of a token in UTF-8, about; mostly it has more, so that a budget ends sooner and not later
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
    """What was asked: `asked` requests now, `known` ones that were answered before; tokens of both. What was answered
    before counts in the budget as well, so that a repeated run asks for no more than the first one would.
    """

    asked: int = 0
    known: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    unasked: int = 0
    first_error: str = ""
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, request: GenerateRequest, output: Output, *, known: bool) -> None:
        """Count one answer, or that none came; tokens that the teacher does not tell, or tells as no count, are
        estimated from the text.
        """
        self.asked += not known
        self.known += known
        self.failed += output.error is not None
        self.first_error = self.first_error or output.error or ""
        told = max(0, output.prompt_tokens), max(0, output.output_tokens)
        self.prompt_tokens += told[0] or tokens_about(request)
        self.output_tokens += told[1] or _tokens(output.text)

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
        return None if limits.requests is None else max(0, limits.requests - self.asked - self.known)

    def to_dict(self, limits: Limits) -> JSON:
        """For ``run.json`` and reports."""
        known = {"asked": self.asked, "known_before": self.known, "failed": self.failed, "not_asked": self.unasked,
                 "prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens}  # fmt: skip
        priced = {"cost": round(self.cost(limits), 6)} if limits.price_in or limits.price_out else {}
        return {**known, **priced, "dropped": dict(self.dropped)}


def tokens_about(request: GenerateRequest) -> int:
    """Tokens of a prompt, estimated from its text."""
    said = "".join(str(m.get("content") or "") + str(m.get("tool_calls") or "") for m in request.messages)
    return _tokens(said + str(request.tools))


def _tokens(text: str) -> int:
    return ceil(len(text.encode(errors="replace")) / BYTES)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What asking a teacher will need: `requests`, of which `known` were answered before; of the others, tokens of
    prompts, estimated, and of answers, at most, and what both may cost, None without prices. `enough`: whether the
    budget, in which what is known counts too, lasts.
    """

    teacher: str
    requests: int
    known: int
    prompt_tokens: int
    output_tokens: int
    cost: float | None
    enough: bool


def forecast(teacher: str, requests: Sequence[GenerateRequest], known: Account, limits: Limits) -> Forecast:
    """Before anything is asked.

    Args:
        requests: that are to be asked, each as often as it is sent. known: of those that were answered before.
    """
    prompts, answers = sum(map(tokens_about, requests)), sum(r.max_tokens for r in requests)
    asked = Account(prompt_tokens=prompts, output_tokens=answers)
    whole = Account(prompt_tokens=known.prompt_tokens + prompts, output_tokens=known.output_tokens + answers)
    enough = (
        (limits.requests is None or len(requests) + known.known <= limits.requests)
        and (limits.tokens is None or whole.prompt_tokens + whole.output_tokens <= limits.tokens)
        and (limits.cost is None or whole.cost(limits) <= limits.cost)
    )
    cost = asked.cost(limits) if limits.price_in or limits.price_out else None
    return Forecast(teacher, len(requests) + known.known, known.known, prompts, answers, cost, enough)


def ask(
    generate: Callable[[Sequence[GenerateRequest]], list[Output]],
    requests: Sequence[GenerateRequest],
    *,
    teacher: str,
    cache: AnswerCache,
    account: Account,
    limits: Limits = Limits(),
    samples: int = 1,
    chunk: int = CHUNK,
    on_progress: OnProgress | None = None,
    who: str = "teacher",
) -> dict[str, list[Output]]:
    """The teacher's answers by request id, `samples` for each. What it was asked before (by content: `teacher`, request
    and number of the sample) comes from the cache; a request that `limits` leaves no room for has no answer.

    Args:
        generate: an engine's.
        teacher: identity of who answers: a change of it must change the text.
        chunk: requests that are asked together.
        who: what to call who answers in a message.

    Raises:
        EvalError: the teacher refuses, or fails again and again; what it answered is kept.
    """
    wanted: dict[str, GenerateRequest] = {}  # each once, whoever asks it
    keys: dict[str, list[str]] = {request.id: [] for request in requests}
    for request in requests:
        for n in range(samples):
            key = answer_key(teacher, f"sample {n}", request)
            keys[request.id].append(key)
            wanted.setdefault(key, request)
    found = cache.get(wanted)
    for key, output in found.items():
        account.add(wanted[key], output, known=True)
    missing, failures = [key for key in wanted if key not in found], 0
    for start in range(0, len(missing), chunk):
        part = missing[start : start + chunk]
        asked = part[: account.room(limits)]
        outputs = [_clean(o) for o in generate([wanted[key] for key in asked])] if asked else []
        answered = dict(zip(asked, outputs, strict=True))
        cache.put(answered)
        for key, output in answered.items():
            account.add(wanted[key], output, known=False)
        found |= answered
        account.unasked += len(part) - len(asked)
        failures = failures + 1 if asked and all(o.error is not None for o in outputs) else 0
        _refuse_a_teacher_that_fails(outputs, failures, who)
        if on_progress:
            on_progress(min(start + chunk, len(missing)), len(missing))
    return {
        name: [replace(found[key], id=name) for key in found_by if key in found]
        for name, found_by in keys.items()
    }


def _refuse_a_teacher_that_fails(outputs: Sequence[Output], failures: int, who: str) -> None:
    errors = [output.error or "" for output in outputs]
    refused = bool(errors) and all(error.startswith(("HTTP 401", "HTTP 403", "HTTP 404")) for error in errors)
    if refused or failures >= GIVEN_UP:
        raise EvalError(
            f"the {who} {'refuses' if refused else 'fails again and again'}: {errors[0]}. What it answered is kept: "
            "mend that, and give the same command again."
        )


def _clean(output: Output) -> Output:
    """Half a surrogate pair, which some servers send for a cut-off character, cannot be written to a file."""
    return replace(output, text=output.text.encode("utf-8", "replace").decode())


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
    left out, and why is counted.
    """
    for example in examples:
        expected = agreed(example, answers.get(example.id, ()))
        if isinstance(expected, str):
            account.dropped[expected] += 1
            continue
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
    if in_xml(schema):
        return _document(schema, text)
    value = parse_value(text)
    if value is MISSING:
        return "not JSON"
    return Expected(value=value) if json_schema.is_valid(schema, value) else "does not fit the schema"


def _document(schema: JSON, text: str) -> Expected | str:
    """The document as it is trained, whatever the teacher's layout."""
    try:
        root = parse_xml(unfenced(text, "xml").strip())
        if problems_of(schema, root):
            return "does not fit the schema"
        said = write_xml(schema, read_value(schema, root))
    except ValueError:
        return "not XML"
    return "does not fit the schema" if problems_in(schema, said) else Expected(text=said)


def _content(expected: Expected) -> str:
    calls = [[call.name, dict(call.arguments)] for call in expected.calls]
    return sha256_json([sorted(map(sha256_json, calls)), expected.text, expected.value])


def _case(expected: Expected, example: Example) -> str:
    if expected.calls:
        return "two_calls" if len(expected.calls) > 1 else "choice" if len(example.tools) > 1 else "single"
    return "value" if expected.value is not None else "none_fits" if example.tools else "text"
