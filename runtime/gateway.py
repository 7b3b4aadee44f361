"""The gateway: an OpenAI-compatible ASGI app in front of one vLLM server, which it never exposes whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentlora.core.errors import AgentLoraError
from agentlora.core.files import loads_strict
from agentlora.core.grammar import calls_tag
from agentlora.core.types import JSON
from agentlora.runtime.client import key_header
from agentlora.runtime.shelf import AUTO, BASE, Answerer, Shelf, status_of

# A reason goes into a header: ASCII, percent-encoded where it must be, readable otherwise.
_READABLE = " ()[]<>=,.:;'@/!?+*-_"
_CLOSED = 499  # nginx's number for a client that left; nobody reads it
_NO_TOOLS = "'tools' must be a list of {'type': 'function', 'function': {'name': …}}."


class Gateway:
    """The request handlers; `app` makes them an ASGI application."""

    def __init__(self, shelf: Shelf, backend_url: str, key: str = "") -> None:
        """`key` goes to the backend alone. Of a client's headers none goes there, and of the backend's only the kind of
        the content comes back.
        """
        self.shelf = shelf
        self.backend_url = backend_url
        self._headers = key_header(key)
        self._http: httpx.AsyncClient | None = None

    def app(self) -> Starlette:
        """The application. Its client of the backend lives from startup to shutdown."""
        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/route", self._route, methods=["GET", "POST"]),
            Route("/healthz", self._healthz, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {AgentLoraError: _our_error, 404: _no_path, 405: _no_path}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        # no read timeout: a long answer on a CPU takes minutes, and a client that leaves cancels it
        timeout, limits = httpx.Timeout(None, connect=5.0), httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self.backend_url,
            timeout=timeout,
            limits=limits,
            headers=self._headers,
            trust_env=False,
        ) as self._http:
            yield

    async def _complete(self, request: Request) -> Response:
        body = await _json_object(request)
        if isinstance(body, Response):
            return body
        model = body.get("model", AUTO)
        if not isinstance(model, str):
            return _error(400, f"'model' is {model!r}; it must be a text such as 'auto'.")
        if not _are_tools(body.get("tools")):
            return _error(400, _NO_TOOLS)
        answerer = await asyncio.to_thread(self.shelf.choose, model, _as_chat(body))
        response = await self._forward(request, body, answerer)
        if response.status_code == 404 and answerer.served != BASE:
            # the backend no longer knows an adapter that we loaded: it was restarted
            self.shelf.forget(answerer.served)
            again = await asyncio.to_thread(self.shelf.choose, answerer.served, body)
            answerer = replace(again, why=answerer.why)
            response = await self._forward(request, body, answerer)
        response.headers["x-agentlora-skill"] = answerer.served
        response.headers["x-agentlora-route"] = quote(answerer.why, safe=_READABLE)
        return response

    async def _forward(self, request: Request, body: JSON, answerer: Answerer) -> Response:
        plain = {**body, "model": answerer.model}
        of_skill = answerer.served != BASE and request.url.path.endswith("/chat/completions")
        if of_skill and answerer.system:
            plain = with_system(plain, answerer.system)
        held = with_strict_calls(plain) if of_skill else plain
        response = await self._send(request, held)
        if response.status_code == 400 and held is not plain:
            # a schema that the grammar engine cannot take, or a fault of the client's: this tells which
            response = await self._send(request, plain)
        return response

    async def _send(self, request: Request, body: JSON) -> Response:
        assert self._http is not None
        upstream = self._http.build_request("POST", request.url.path, json=body)
        try:
            sent = await _unless_gone(request, _begin(self._http, upstream))
            if sent is None:
                return Response(status_code=_CLOSED)
            kind = sent.headers.get("content-type", "application/json")
            if kind.startswith("text/event-stream"):
                return StreamingResponse(_pass(sent), sent.status_code, media_type=kind)
            try:
                content = await _unless_gone(request, sent.aread())
            finally:
                await sent.aclose()
        except httpx.TransportError as exc:
            return self._backend_error(exc)
        return Response(content, sent.status_code if content is not None else _CLOSED, media_type=kind)

    async def _models(self, request: Request) -> Response:
        view = await asyncio.to_thread(self.shelf.view)
        data = [_model(AUTO, "agentlora"), _model(BASE, self.shelf.pool.base_name)]
        data += [_model(name, version.served_name) for name, version in view.names]
        return JSONResponse({"object": "list", "data": data})

    async def _route(self, request: Request) -> Response:
        if request.method == "GET":
            text = request.query_params.get("text", "")
            body: JSON | Response = {"messages": [{"role": "user", "content": text}]}
        else:
            body = await _json_object(request)
        if isinstance(body, Response):
            return body
        if not _are_tools(body.get("tools")):
            return _error(400, _NO_TOOLS)
        decision, version = await asyncio.to_thread(self.shelf.decide, _as_chat(body))
        return JSONResponse({**asdict(decision), "served_name": version.served_name if version else BASE})

    async def _healthz(self, request: Request) -> Response:
        assert self._http is not None
        try:
            healthy = (await self._http.get("/health", timeout=5.0)).status_code == 200
        except httpx.TransportError:
            healthy = False
        view = await asyncio.to_thread(self.shelf.view)
        state = {
            "status": "ok" if healthy else "backend down",
            "skills": sorted(view.default),
            "refused": view.refused,
        }
        return JSONResponse(state, 200 if healthy else 503)

    def _backend_error(self, exc: httpx.TransportError) -> Response:
        unreachable = isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)
        what = "does not answer" if unreachable else "broke the connection"
        message = f"the model server {what} ({type(exc).__name__}). Is it still running? See its log."
        return _error(503 if unreachable else 502, message)


def with_system(body: JSON, system: str) -> JSON:
    """`body` with the system message that a skill was trained with, where the client sends none."""
    messages = body.get("messages")
    if not isinstance(messages, list) or any(
        isinstance(m, dict) and m.get("role") == "system" for m in messages
    ):
        return body
    return {**body, "messages": [{"role": "system", "content": system}, *messages]}


def with_strict_calls(body: JSON) -> JSON:
    """`body`, its tool calls held to the offered tools' schemas, as the skill was evaluated.

    A request that constrains the answer itself, that demands or forbids a call, or whose tools are none (vLLM
    will say so) stays as it is.
    """
    tools = body.get("tools")
    own = {"response_format", "structured_outputs"} & {
        key for key, value in body.items() if value is not None
    }
    if own or body.get("tool_choice", "auto") not in ("auto", None) or not isinstance(tools, list):
        return body
    try:
        tag = calls_tag(tools)
    except (AttributeError, KeyError, TypeError):
        return body
    return {**body, "structured_outputs": {"structural_tag": json.dumps(tag)}} if tools else body


async def _begin(backend: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """An answer whose body is still to come. Asked once more where the connection breaks off before it: a kept one may
    be closing when it is used.
    """
    try:
        return await backend.send(request, stream=True)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        return await backend.send(request, stream=True)


async def _unless_gone(request: Request, work: Any) -> Any:
    """The result of `work`; None when the client leaves first, which cancels `work` and vLLM's part of it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for pending in (task, gone):
            pending.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pass(upstream: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in upstream.aiter_raw():
            yield chunk
    except httpx.TransportError:
        error = {
            "error": _error_body(502, "the model server broke the connection in the middle of the answer.")
        }
        yield f"data: {json.dumps(error)}\n\n".encode()
    finally:
        await upstream.aclose()


async def _json_object(request: Request) -> JSON | Response:
    try:
        body = loads_strict(await request.body())
    except ValueError as exc:
        return _error(400, f"the request's body is not JSON: {exc}")
    if not isinstance(body, dict):
        return _error(400, f"the request's body is a JSON {type(body).__name__}; it must be an object.")
    return body


def _are_tools(value: Any) -> bool:
    """None, or a list of objects whose ``function``, where they have one, is an object with a name."""
    if value is None:
        return True
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        return False
    functions = [tool["function"] for tool in value if "function" in tool]
    return all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in functions)


def _as_chat(body: JSON) -> JSON:
    """What the router looks at: the request itself, or a plain completion's prompt as a user's message."""
    messages, prompt = body.get("messages"), body.get("prompt")
    if isinstance(messages, list):
        return body
    text = prompt if isinstance(prompt, str) else ""
    return {"messages": [{"role": "user", "content": text}]}


def _model(name: str, root: str) -> JSON:
    return {"id": name, "object": "model", "created": 0, "owned_by": "agentlora", "root": root}


def _error_body(status: int, message: str) -> JSON:
    kinds = {400: "invalid_request_error", 404: "not_found_error", 409: "conflict_error"}
    code = {404: "model_not_found", 409: "skill_mismatch"}.get(status)
    return {"message": message, "type": kinds.get(status, "server_error"), "param": None, "code": code}


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": _error_body(status, message)}, status)


async def _our_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AgentLoraError)
    status = status_of(exc)
    also = " 'auto' and 'base' always work; GET /v1/models lists all." if status == 404 else ""
    return _error(status, f"{exc}{also}")


async def _no_path(request: Request, exc: Exception) -> Response:
    status = getattr(exc, "status_code", 404)
    paths = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, POST /v1/route, GET /healthz"
    return _error(status, f"{request.method} {request.url.path} is not served here. There is: {paths}.")


def run(gateway: Gateway, sock: Any, on_ready: Callable[[], None], alive: Callable[[], bool]) -> None:
    """Serve on a bound socket until a signal comes or `alive` turns false; streams get 5 s to end.

    uvicorn handles SIGINT and SIGTERM meanwhile, and raises them again for the caller's handlers at its end.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                on_ready()

        async def on_tick(self, counter: int) -> bool:
            if counter % 10 == 0 and not alive():  # a tick is 0.1 s
                return True
            return await super().on_tick(counter)

    config = uvicorn.Config(gateway.app(), log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    Server(config).run(sockets=[sock])
