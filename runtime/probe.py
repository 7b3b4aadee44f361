"""Does a loaded adapter speak, or the base? vLLM loads an adapter that fits no module without an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import uuid4

from agentlora.core.errors import RuntimeFault
from agentlora.core.types import JSON
from agentlora.runtime.client import VllmClient

PROMPTS = 4
# Nat. bf16 logits of 16–32 come in steps of 0.125: what another batch or a cached prefix may move, without any
# adapter. An adapter without effect measured 0.00–0.11 on SmolLM2 (0.00 when both prompts were computed afresh),
# random rank-16 weights 0.73–2.5.
TOLERANCE = 0.15


def check_adapter(client: VllmClient, base: str, adapter: str, prompts: Sequence[JSON]) -> None:
    """Compare the log-probabilities of the first token over `prompts` (chat requests; PROMPTS are used).

    Raises:
        RuntimeFault: the adapter answers like the base.
    """
    used = list(prompts)[:PROMPTS] or [{"messages": [{"role": "user", "content": "What can you do for me?"}]}]
    effect = noise = 0.0
    for prompt in used:
        of_base = first_token(client, base, prompt)
        noise = max(noise, distance(of_base, first_token(client, base, prompt)))
        effect = max(effect, distance(of_base, first_token(client, adapter, prompt)))
    if effect <= TOLERANCE + 2 * noise:
        raise RuntimeFault(
            f"{adapter} answers like the base model: over {len(used)} prompts the first token's "
            f"log-probabilities differ by at most {effect:.3f} (the base from itself by {noise:.3f}). "
            "It gets no traffic. Either its modules do not fit this base, or it was never trained: look at "
            "the run, and publish it again."
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
