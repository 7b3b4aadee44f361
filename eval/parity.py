"""Do two engines give the same greedy text? Answers token by token, and how near a choice was where they part.

Two programs that compute the same model round differently. Where two tokens are nearly as likely, that decides which
one is taken, and from there on the texts are others. A fault (another template, an adapter that is not there, a wrong
scale) makes them part where one token was much likelier. So where the answers part, the two tokens that were taken
are weighed by a judge, in float32: the difference of their log-probabilities is the *gap*, in nat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from agentlora.core.types import JSON, GenerateRequest, Trace
from agentlora.eval.metrics import wilson

LEAST_EQUAL = 0.98  # of the answers in float32
# Nat, in any other number format. Logits of 16 to 32 come in steps of 0.125 in bfloat16, so that two that it takes for
# equal may be that far apart: SmolLM2 in bfloat16 beside itself in float32, an adapter of random weights, 24 prompts:
# 8 answers part, at gaps of 0.02 to 0.13, median 0.08. A trained adapter is surer of its words.
MOST_GAP = 0.1
AROUND = 4  # tokens that are shown before and behind the place where answers part

Judge = Callable[[GenerateRequest, Sequence[int], Sequence[int]], Sequence[float]]
"""(request, ids, tokens) → the log-probability of each token as the next one after the prompt and `ids`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A token that a side wrote: its text, its log-probability there, and that of the other side's token at this place
    (None where the side does not tell it, or has no token there).
    """

    id: int
    text: str
    logprob: float | None
    of_other: float | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two answers to one request that are not the same text.

    `place` counts the answer's tokens from 0; `left` and `right` are the tokens from `start` on. `gap`, in nat: how
    much likelier one of the two tokens at `place` is than the other, by the judge; None where there are not two.
    """

    id: str
    kind: str  # "answer"; "prompt": the sides were not asked the same; "error"
    why: str = ""
    place: int = 0
    start: int = 0
    left: tuple[Step, ...] = ()
    right: tuple[Step, ...] = ()
    gap: float | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two engines that compute in `dtype` agree on `n` requests of up to `max_tokens` tokens.

    `most_gap`, in nat, is what a gap has to be under.
    """

    dtype: str
    max_tokens: int
    sides: tuple[str, str]
    n: int
    equal: int
    mismatches: tuple[Mismatch, ...]
    most_gap: float = MOST_GAP

    @property
    def gaps(self) -> list[float]:
        """Of the answers that part, in order of size."""
        return sorted(m.gap for m in self.mismatches if m.gap is not None)

    def problems(self) -> list[str]:
        """What is not as it is wanted; empty when parity holds."""
        found = []
        for kind, what in (("prompt", "were put differently"), ("error", "had no answer")):
            if number := sum(m.kind == kind for m in self.mismatches):
                found.append(f"{number} of {self.n} prompts {what}")
        if self.dtype == "float32":
            if self.equal < LEAST_EQUAL * self.n:
                found.append(f"{self.equal} of {self.n} answers are equal; {LEAST_EQUAL:.0%} are wanted")
            return found
        wide = [
            m for m in self.mismatches if m.kind == "answer" and (m.gap is None or m.gap >= self.most_gap)
        ]
        if wide:
            worst = max((m.gap for m in wide if m.gap is not None), default=None)
            said = f", the widest by {worst:.3f} nat" if worst is not None else ""
            found.append(
                f"{len(wide)} of {len(self.mismatches)} different answers part where one token is likelier by "
                f"{self.most_gap} nat or more{said}"
            )
        return found

    def to_dict(self) -> JSON:
        """As JSON, with what is worked out of it."""
        low, high = wilson(self.equal, self.n)
        gaps = self.gaps
        return {
            **asdict(self),
            "rate": {"mean": self.equal / self.n, "low": low, "high": high},
            "gap_nat": {"median": median(gaps), "most": gaps[-1]} if gaps else None,
            "problems": self.problems(),
            "holds": not self.problems(),
        }


def compare(
    requests: Sequence[GenerateRequest],
    left: Sequence[Trace],
    right: Sequence[Trace],
    *,
    dtype: str,
    sides: tuple[str, str],
    judge: Judge,
    spell: Callable[[int], str],
    most_gap: float = MOST_GAP,
) -> Parity:
    """Set the answers of two engines to the same requests side by side.

    Args:
        left, right: in the requests' order.
        sides: names of the engines.
        judge: asked once for each answer that parts.
        spell: a token's text.
    """
    found = []
    for request, a, b in zip(requests, left, right, strict=True):
        mismatch = _mismatch(request, a, b, sides, judge, spell)
        if mismatch is not None:
            found.append(mismatch)
    return Parity(
        dtype,
        max(request.max_tokens for request in requests),
        sides,
        len(requests),
        len(requests) - len(found),
        tuple(found),
        most_gap,
    )


def _mismatch(
    request: GenerateRequest,
    a: Trace,
    b: Trace,
    sides: tuple[str, str],
    judge: Judge,
    spell: Callable[[int], str],
) -> Mismatch | None:
    for side, trace in zip(sides, (a, b), strict=True):
        if trace.output.error is not None:
            return Mismatch(request.id, "error", f"{side}: {trace.output.error}")
    asked = _first_difference(a.prompt_ids, b.prompt_ids)
    if asked is not None:
        return Mismatch(
            request.id,
            "prompt",
            f"token {asked} of the prompt is {_token(a.prompt_ids, asked, spell)} for {sides[0]} and "
            f"{_token(b.prompt_ids, asked, spell)} for {sides[1]}, of {len(a.prompt_ids)} and {len(b.prompt_ids)}",
            asked,
        )
    if a.output.text == b.output.text:
        return None
    place = _first_difference(a.ids, b.ids)
    if place is None:
        return Mismatch(request.id, "answer", "the same tokens, and another text", len(a.ids))
    gap = None
    if place < min(len(a.ids), len(b.ids)):
        one, other = judge(request, a.ids[:place], (a.ids[place], b.ids[place]))
        gap = abs(one - other)
    start = max(0, place - AROUND)
    return Mismatch(
        request.id,
        "answer",
        "",
        place,
        start,
        _steps(a, b, start, place + AROUND + 1, spell),
        _steps(b, a, start, place + AROUND + 1, spell),
        gap,
    )


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Where they part, which may be where one ends; None where they are the same."""
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return place
    return None if len(a) == len(b) else min(len(a), len(b))


def _token(ids: Sequence[int], place: int, spell: Callable[[int], str]) -> str:
    return repr(spell(ids[place])) if place < len(ids) else "nothing"


def _steps(own: Trace, other: Trace, start: int, end: int, spell: Callable[[int], str]) -> tuple[Step, ...]:
    steps = []
    for place in range(start, min(end, len(own.ids))):
        said: Mapping[int, float] = own.likeliest[place] if place < len(own.likeliest) else {}
        theirs: Any = other.ids[place] if place < len(other.ids) else None
        steps.append(Step(own.ids[place], spell(own.ids[place]), said.get(own.ids[place]), said.get(theirs)))
    return tuple(steps)
