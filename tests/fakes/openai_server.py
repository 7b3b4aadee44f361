"""A real HTTP server that speaks vLLM's OpenAI API, without a model: it echoes, and its adapters are folders.

The name of the model that answers decides the first token, so that an adapter differs from the base unless its
folder holds a file called ``silent``. A user message may ask for trouble: ``slow`` (tokens without end),
``break`` (the connection breaks), ``garble`` (half a JSON text), ``garble gzip`` (compressed, and not), ``garble deep``
(arrays without end), ``garble content`` (an answer whose text is none). A server with `silent_tokens` does
not tell tokens. One with a `key` refuses, as vLLM does, what comes without it to paths below ``/v1``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class FakeVllm:
    """What the server was asked: `chats` are bodies without probes, `cancelled` counts clients that left, `headers` are
    those of every request.
    """

    base: str = "base"
    adapters: dict[str, Path] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""
    root: str | None = None
    silent_tokens: bool = False
    key: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> Any:
        inner = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/tokenize", self._tokenize, methods=["POST"]),
            ]
        )

        async def asking(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                given = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.headers.append(given)
                refused = self.key and given.get("authorization") != f"Bearer {self.key}"
                if refused and scope["path"].startswith("/v1"):
                    await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
                    return
            await inner(scope, receive, send)

        return asking

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        adapters = [{"id": name, "object": "model", "parent": self.base} for name in self.adapters]
        return JSONResponse(
            {"object": "list", "data": [{"id": self.base, "parent": None, "root": self.root}, *adapters]}
        )

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, path = body["lora_name"], Path(body["lora_path"])
        self.loads.append(name)
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (path / "adapter_config.json").is_file():
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        return Response("Success")

    async def _unload(self, request: Request) -> Response:
        self.adapters.pop((await request.json())["lora_name"], None)
        return Response("Success")

    async def _tokenize(self, request: Request) -> Response:
        """A token a byte; a conversation is its roles and contents, and the names of the tools."""
        body = await request.json()
        text = body.get("prompt")
        if text is None:
            tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
            text = json.dumps([tools, [[m["role"], m["content"]] for m in body["messages"]]])
        tokens = list(text.encode())
        return JSONResponse({"count": len(tokens), "max_model_len": 2048, "tokens": tokens})

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        if "prompt_logprobs" in body:
            self.prompts.append(body)
            return self._prompt_log_probs(body)
        choice = {"index": 0, "text": f"{body['model']}: {body['prompt']}", "finish_reason": "stop"}
        return JSONResponse(
            {"id": "c", "object": "text_completion", "model": body["model"], "choices": [choice]}
        )

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        model = body["model"]
        if model != self.base and model not in self.adapters:
            return _error(404, f"The model `{model}` does not exist.")
        if body.get("return_token_ids") and not self.silent_tokens:
            self.chats.append(body)
            return JSONResponse(_traced(model, str(body["messages"][-1].get("content"))))
        if body.get("logprobs"):
            return JSONResponse(_answer(model, "x") | {"choices": [self._logprobs(model)]})
        self.chats.append(body)
        if '"type": "dict"' in (body.get("structured_outputs") or {}).get("structural_tag", ""):
            return _error(400, "no grammar can be made of this schema")
        text = str(body["messages"][-1].get("content"))
        if text == "break":
            raise RuntimeError("asked to break")
        if text.startswith("garble"):
            return _garbled(text)
        if body.get("stream"):
            return StreamingResponse(self._stream(model, text), media_type="text/event-stream")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._think(request, 30.0 if text == "slow" else 0.02)
        finally:
            self.in_flight -= 1
        tools = body.get("tools")
        if tools and body.get("tool_choice") != "none":
            return JSONResponse(_call(model, tools[0]["function"]["name"], {"echo": text}))
        if "structured_outputs" in body:
            return JSONResponse(_answer(model, json.dumps(body["structured_outputs"]["json"])))
        return JSONResponse(_answer(model, f"{model}: {text}"))

    async def _think(self, request: Request, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            await asyncio.sleep(0.02)
            if await request.is_disconnected():
                self.cancelled += 1
                return

    async def _stream(self, model: str, text: str) -> AsyncIterator[str]:
        words = iter(lambda: "tick", None) if text == "slow" else iter(text.split())
        try:
            for word in words:
                delta = {
                    "index": 0,
                    "delta": {"role": "assistant", "content": f"{word} "},
                    "finish_reason": None,
                }
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": model}
                yield f"data: {json.dumps(chunk | {'choices': [delta]})}\n\n"
                await asyncio.sleep(0.02)
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _prompt_log_probs(self, body: dict[str, Any]) -> Response:
        """Of every prompt, in the order of their lengths; a token's is minus its number over 100, for an adapter twice
        that. Where ``muddle`` is in a prompt, one answer is missing; where ``mute`` is, all log-probabilities are.
        """
        if body["model"] != self.base and body["model"] not in self.adapters:
            return _error(404, f"The model `{body['model']}` does not exist.")
        times = 1 if body["model"] == self.base else 2
        text = bytes(body["prompt"][0]).decode()
        choices = [
            {
                "index": i,
                "text": "",
                "prompt_logprobs": None
                if "mute" in text
                else [
                    None,
                    *({str(t): {"logprob": -times * t / 100, "rank": 1}} for t in prompt[1:]),
                ],
            }
            for i, prompt in enumerate(body["prompt"])
        ]
        choices.sort(key=lambda choice: len(body["prompt"][choice["index"]]))
        return JSONResponse({"id": "c", "model": body["model"], "choices": choices["muddle" in text :]})

    def _logprobs(self, model: str) -> dict[str, Any]:
        folder = self.adapters.get(model)
        speaks = folder is not None and not (folder / "silent").exists()
        top = [{"token": "The", "logprob": -1.5 if speaks else -0.5}, {"token": "I", "logprob": -2.0}]
        return {
            "index": 0,
            "message": {"role": "assistant", "content": "The"},
            "logprobs": {"content": [{"top_logprobs": top}]},
        }


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free loopback port, in a thread; yields its URL."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


def _answer(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def _traced(model: str, prompt: str) -> dict[str, Any]:
    """An answer as vLLM tells it token by token; every character is a token."""
    text = f"{model}: {prompt}"
    content = [
        {
            "token": f"token_id:{ord(character)}",
            "logprob": -0.25,
            "top_logprobs": [
                {"token": f"token_id:{ord(character)}", "logprob": -0.25},
                {"token": "token_id:7", "logprob": -2.0},
            ],
        }
        for character in text
    ]
    answer = _answer(model, text)
    answer["choices"][0] |= {"token_ids": [ord(c) for c in text], "logprobs": {"content": content}}
    return answer | {"prompt_token_ids": [ord(c) for c in prompt]}


def _call(model: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = _answer(model, "")
    function = {"name": name, "arguments": json.dumps(arguments)}
    calls = [{"id": "call_0", "type": "function", "function": function}]
    answer["choices"][0] |= {
        "message": {"role": "assistant", "content": None, "tool_calls": calls},
        "finish_reason": "tool_calls",
    }
    return answer


def _garbled(how: str) -> Response:
    if how == "garble content":
        return JSONResponse({"choices": [{"message": {"content": [1, 2]}}]})
    headers = {"content-encoding": "gzip"} if how == "garble gzip" else {}
    body = "[" * 100_000 if how == "garble deep" else '{"choices": ['
    return Response(body, headers=headers, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "error", "param": None, "code": status}}, status
    )
