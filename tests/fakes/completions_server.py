"""``/v1/completions`` on a real model, in the way in which servers tell the log-probabilities of a prompt's tokens."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def completions_app(models: dict[str, Any]) -> Starlette:
    """`models` by the name that a request asks for; prompts come as token ids."""

    async def complete(request: Request) -> Response:
        body = await request.json()
        if body["model"] not in models:
            return JSONResponse({"error": {"message": "no such model"}}, 404)
        prompts = body["prompt"]
        prompts = prompts if isinstance(prompts[0], list) else [prompts]
        assert body["echo"]
        assert body["max_tokens"] == 1
        choices = [
            {
                "index": n,
                "text": "",
                "finish_reason": "length",
                "logprobs": _logprobs(models[body["model"]], ids),
            }
            for n, ids in enumerate(prompts)
        ]
        return JSONResponse({"id": "c", "object": "text_completion", "choices": choices})

    return Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])


def _logprobs(model: Any, ids: list[int]) -> dict[str, Any]:
    """Of the prompt's tokens (the first has none) and of one new one."""
    import torch

    with torch.inference_mode():
        every = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    new = int(every[-1].argmax())
    said: list[float | None] = [None]
    top: list[dict[str, float] | None] = [None]
    for place, token in enumerate([*ids[1:], new]):
        value, best = float(every[place, token]), int(every[place].argmax())
        said.append(value)
        top.append({f"token_id:{best}": float(every[place, best]), f"token_id:{token}": value})
    return {"token_logprobs": said, "top_logprobs": top, "tokens": [f"token_id:{i}" for i in [*ids, new]]}
