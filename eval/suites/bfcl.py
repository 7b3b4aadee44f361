"""The Berkeley function-calling data as a suite: the three categories that models are asked here."""

from __future__ import annotations

import random
from collections.abc import Sequence

from agentlora.core.suite_types import SuiteRequest, SuiteResult, SuiteSample
from agentlora.core.types import Example, GenerateRequest, Output
from agentlora.eval.asking import answers, question
from agentlora.eval.bfcl.data import SEEN, VERSION, example_of, folder, for_models
from agentlora.eval.bfcl.evaluator import BfclEvaluator
from agentlora.eval.cache import answer_keys

CHUNK = 64  # requests given at once to an engine that does not stream; so many answers are kept together


class BfclSuite:
    """``bfcl`` or ``bfcl:multiple,irrelevance``: the share of right answers in each category. Calls are held to their
    tools' schemas, the base's too, where the engine can: so are skills served.
    """

    def check(self, what: str) -> None:
        """Raises ConfigError for a category that stays unseen or is none, MissingExtra without the data."""
        folder()
        for category in _categories(what):
            for_models(category)

    def run(self, request: SuiteRequest) -> SuiteResult:
        """Raises as `check`. With a limit, as many rows of each category are drawn with the seed."""
        self.check(request.what)
        categories, rng = _categories(request.what), random.Random(request.seed)
        examples: list[Example] = []
        for category in categories:
            some = for_models(category)
            n = min(request.limit or len(some), len(some))
            examples += [example_of(row) for row in rng.sample(some, n)]
        return SuiteResult(
            library="bfcl-eval",
            version=VERSION,
            metrics=categories,
            samples={name: _answer(request, adapter, examples) for name, adapter in request.systems.items()},
            settings={
                "limit": request.limit,
                "max_tokens": request.max_tokens,
                "seed": request.seed,
                "strict_calls": _held(request),
            },
        )


def _held(request: SuiteRequest) -> bool:
    """Whether calls are held to their schemas: as a skill is served, where the engine can."""
    return request.engine.capabilities.json_schema


def _categories(what: str) -> tuple[str, ...]:
    named = [name.strip() for name in what.split(",") if name.strip()]
    return tuple(dict.fromkeys(named)) or SEEN


def _answer(request: SuiteRequest, adapter: str | None, examples: Sequence[Example]) -> list[SuiteSample]:
    asked = [
        GenerateRequest(
            e.id,
            e.messages,
            e.tools,
            adapter,
            max_tokens=request.max_tokens,
            strict_calls=_held(request),
        )
        for e in examples
    ]
    keys = answer_keys(asked, request.identity, request.engine, adapted=adapter is not None)
    questions = [question(*each) for each in zip(examples, asked, keys, strict=True)]
    found = {
        answer.output.id: answer.output
        for piece in answers(request.engine, questions, request.cache, CHUNK, cache_at_end=False)
        for answer in piece
    }
    return [_judged(example, found[example.id]) for example in examples]


def _judged(example: Example, output: Output) -> SuiteSample:
    category = example.tags["slice"]
    if output.error is not None:
        return SuiteSample(example.id, {}, error=output.error)
    score = BfclEvaluator().score(example, output)
    return SuiteSample(example.id, {category: score.metrics["right"]}, text=output.text)
