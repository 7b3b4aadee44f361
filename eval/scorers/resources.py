"""What answers took: time, money, and how unlikely the expected one was to the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

from pydantic import Field, model_validator

from agentlora.core.config import Strict
from agentlora.core.types import Evaluator, Example, Expected, Output, Score
from agentlora.eval.teaching import MILLION

ROUNDING = 1e-4  # nats by which sums of float32 may be off


class Latency:
    """How long answers took, as the engine measured it.

    - ``seconds`` (lower is better): from the request to the whole answer, with the time that it waited its turn. In
      process a batch is computed together: each of its answers took as long as the batch.
    - ``tokens_per_s``: tokens of the answer for each of these seconds.

    What was answered before (a cached baseline, a teacher's answers) took no time that would say something.
    """

    metrics: Sequence[str] = ("seconds", "tokens_per_s")
    headline = "seconds"
    lower_is_better = frozenset({"seconds"})
    unbounded = frozenset({"seconds", "tokens_per_s"})

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where the engine did not measure it, or measured what is no time."""
        seconds = output.latency_s
        if seconds is None:
            return Score(
                unscored="not measured: the answer was known from before, or this engine does not tell"
            )
        if not 0 <= seconds < math.inf:  # a clock that was set back, say
            return Score(unscored=f"the engine measured {seconds!r} seconds, which is no time")
        return Score({"seconds": seconds, "tokens_per_s": _speed(output.output_tokens, seconds)})

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found in the arithmetic: of time there is no gold answer."""
        output = Output("", "", output_tokens=20, latency_s=4.0)
        return _wrong(self, output, {"seconds": 4.0, "tokens_per_s": 5.0})


class Prices(Strict):
    price_in: float = Field(0.0, ge=0)
    """Of a million tokens of prompts."""
    price_out: float = Field(0.0, ge=0)
    """Of a million tokens of answers."""

    @model_validator(mode="after")
    def _priced(self) -> Prices:
        if not (self.price_in or self.price_out):
            raise ValueError("price_in and price_out: what a million tokens cost; one of them at least")
        return self


class Cost:
    """What answers cost by the tokens of prompts and answers, in the currency of the prices.

    - ``per_1000`` (lower is better): a thousand answers like this one.
    """

    metrics: Sequence[str] = ("per_1000",)
    headline = "per_1000"
    lower_is_better = frozenset({"per_1000"})
    unbounded = frozenset({"per_1000"})
    Params = Prices
    prices: Prices | None = None

    def configured(self, params: Prices) -> Cost:
        found = copy(self)
        found.prices = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where there are no prices, or the engine does not tell the tokens that have one."""
        if self.prices is None:
            return Score(
                unscored="nobody said what tokens cost: give price_in and price_out as its parameters"
            )
        asked, said = output.prompt_tokens, output.output_tokens
        if self.prices.price_in and asked <= 0:
            return Score(unscored="the engine does not tell how many tokens the prompt has")
        if self.prices.price_out and (said < 0 or (output.text and not said)):
            return Score(unscored="the engine does not tell how many tokens the answer has")
        cost = asked * self.prices.price_in + said * self.prices.price_out
        return Score({"per_1000": 1000 * cost / MILLION})

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found in the arithmetic: of money there is no gold answer."""
        priced = self.configured(Prices(price_in=2.0, price_out=8.0))
        return _wrong(priced, Output("", "", prompt_tokens=1000, output_tokens=500), {"per_1000": 6.0})


class Perplexity:
    """How unlikely the expected answer is to the model.

    - ``nats_per_token`` (lower is better): the mean over its tokens of their negative log-probability, given the prompt
      and the tokens before (its exponential is the perplexity). The mean of a record counts every example alike,
      whatever its length. Models with other tokenizers have other tokens, and cannot be compared by it.
    """

    metrics: Sequence[str] = ("nats_per_token",)
    headline = "nats_per_token"
    lower_is_better = frozenset({"nats_per_token"})
    unbounded = frozenset({"nats_per_token"})
    needs_nats = True

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where the engine cannot say, or says what no probability gives."""
        if output.nats is None:
            return Score(
                unscored=output.no_nats or "nobody asked the engine how likely the expected answer is"
            )
        if output.nats < -ROUNDING:
            return Score(unscored=f"the engine says {output.nats:g} nats, likelier than certain")
        return Score({"nats_per_token": 0.0 if output.nats < 0 else output.nats})

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: an answer that is certain takes no nats. What a model gives is the engine's to say."""
        return _wrong(self, Output("", "", nats=0.0), {"nats_per_token": 0.0})


def _speed(tokens: int, seconds: float) -> float | None:
    """Tokens a second; None where nothing says how many there were, or the time is too short to say it by."""
    if tokens <= 0 or seconds <= 0:
        return None
    try:
        speed = tokens / seconds
    except OverflowError:
        return None
    return speed if math.isfinite(speed) else None


def _wrong(evaluator: Evaluator, output: Output, wanted: dict[str, float]) -> list[str]:
    found = evaluator.score(Example("", (), Expected()), output).metrics
    return [] if found == wanted else [f"{output} is scored {dict(found)} and not {wanted}"]
