"""Does a loaded adapter speak, or the base? vLLM loads an adapter that fits no module without an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from uuid import uuid4

from agentlora.core.errors import RuntimeFault
from agentlora.core.types import JSON
from agentlora.runtime.client import VllmClient

PROMPTS = 5
# Nat, of the median over the prompts. bf16 logits of 16–32 come in steps of 0.125, and another batch composition
# moves a prompt now and then by one or two. Measured on SmolLM2 (vLLM 0.32, CPU, 6 other requests in flight): an
# adapter without effect has median 0.00, single prompts up to 0.22; random rank-16 weights have median 1.2, a
# third of them 0.4, a tenth 0.18. An adapter as faint as the last is refused too.
TOLERANCE = 0.2


class AnswersLikeBase(RuntimeFault):
    """A loaded adapter that changes nothing."""


def check_adapter(client: VllmClient, base: str, adapter: str, prompts: Sequence[JSON]) -> None:
    """Compare the log-probabilities of the first token over `prompts` (chat requests; PROMPTS are used).

    Raises:
        AnswersLikeBase: the adapter does.
    """
    used = list(prompts)[:PROMPTS] or [{"messages": [{"role": "user", "content": "What can you do for me?"}]}]
    of_base = [first_token(client, base, prompt) for prompt in used]
    effect = median(distance(b, first_token(client, adapter, p)) for b, p in zip(of_base, used, strict=True))
    noise = median(distance(b, first_token(client, base, p)) for b, p in zip(of_base, used, strict=True))
    if effect <= TOLERANCE + noise:
        raise AnswersLikeBase(
            f"{adapter} answers like the base model: over {len(used)} prompts the first token's "
            f"log-probabilities differ by {effect:.3f} (median; the base from itself by {noise:.3f}, and "
            f"{TOLERANCE} is asked for). It gets no traffic. Either its modules do not fit this base, or it was "
            "hardly trained: look at the run, and publish it again."
        )


def first_token(client: VllmClient, model: str, prompt: JSON) -> dict[str, float]:
    """The ten likeliest first tokens of the answer with their log-probabilities."""
    body = {"messages": prompt["messages"], "model": model, "max_tokens": 1, "temperature": 0}
    if prompt.get("tools"):
        body |= {"tools": prompt["tools"], "tool_choice": "none"}
    # Its own salt keeps every probe out of the prefix cache: a cached prefix rounds differently from a fresh one.
    answer = client.chat(body | {"logprobs": True, "top_logprobs": 10, "cache_salt": uuid4().hex})
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {entry["token"]: float(entry["logprob"]) for entry in top}


def distance(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """The largest difference over the tokens of both; a token that a side lacks counts as its least one."""
    floors = min(a.values(), default=0.0), min(b.values(), default=0.0)
    return max((abs(a.get(t, floors[0]) - b.get(t, floors[1])) for t in {*a, *b}), default=0.0)
