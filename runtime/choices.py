"""How likely given answers are, asked of a vLLM server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from agentlora.core.errors import RuntimeFault
from agentlora.core.messages import api_messages
from agentlora.core.types import JSON, ChoiceRequest
from agentlora.runtime.client import VllmClient


def choice_log_probs(client: VllmClient, request: ChoiceRequest, base: str) -> tuple[float, ...]:
    """The log-probability of each choice, in their order.

    The server itself renders the prompt, so that it is the one that it answers to; each choice is tokenized alone,
    because an answer begins after the prompt's last token and never within it. All choices are one request. (For
    prompts whose log-probabilities are asked, vLLM does not read its prefix cache: it would have none of the cached
    part. Each choice computes the prompt anew.)

    Raises:
        RuntimeFault: the server refuses, or says nothing about a token.
    """
    model = request.adapter or base
    prompt = client.tokenize(_chat(request, model))
    choices = [_tokens(client, model, choice) for choice in request.choices]
    answer = client.completions(
        {
            "model": model,
            "prompt": [prompt + choice for choice in choices],
            "max_tokens": 1,  # the least that it takes
            "temperature": 0,
            "prompt_logprobs": 0,  # those of the prompt's own tokens, and no others beside them
        }
    )
    answers = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    if len(answers) != len(choices):
        raise RuntimeFault(
            f"the server at {client.url} was asked about {len(choices)} answers and told of {len(answers)}"
        )
    return tuple(
        _sum(client, choice, found.get("prompt_logprobs"))
        for choice, found in zip(choices, answers, strict=True)
    )


def _chat(request: ChoiceRequest, model: str) -> JSON:
    body: JSON = {"model": model, "messages": api_messages(request.messages), "add_generation_prompt": True}
    return body | ({"tools": list(request.tools)} if request.tools else {})


def _tokens(client: VllmClient, model: str, choice: str) -> list[int]:
    tokens = client.tokenize({"model": model, "prompt": choice, "add_special_tokens": False})
    if not tokens:
        raise RuntimeFault(f"the server at {client.url} makes no tokens of the answer {choice!r}")
    return tokens


def _sum(client: VllmClient, choice: Sequence[int], told: Any) -> float:
    """Over the last tokens of a prompt, which are the choice's."""
    if not isinstance(told, list) or len(told) < len(choice):
        raise RuntimeFault(f"the server at {client.url} tells no log-probabilities of a prompt")
    found = zip(choice, told[-len(choice) :], strict=True)
    total = math.fsum(float(position[str(token)]["logprob"]) for token, position in found)
    if not math.isfinite(total):
        raise RuntimeFault(f"the server at {client.url} tells a log-probability of {total}")
    return total
