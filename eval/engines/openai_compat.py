"""Any OpenAI-compatible endpoint as an engine: chat completions over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.messages import api_messages
from agentlora.core.parallel import as_they_come
from agentlora.core.provenance import redact_text
from agentlora.core.types import JSON, Capabilities, EngineSpec, GenerateRequest, Output
from agentlora.eval.calls import render_block
from agentlora.eval.engines.options import check_options

if TYPE_CHECKING:
    import httpx

OPTIONS = ("base_url", "model", "api_key_env", "timeout_s", "retries", "concurrency", "json_schema", "body")
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
MAX_WAIT_S = 30.0
HIDDEN = "***"
LONG_SECRET = 8  # characters
MOST_BYTES = 16 << 20  # of an answer
MOST_TOKENS = 10**9  # that somebody may say an answer or its prompt has


class OpenAIFactory:
    """Opens `OpenAIEngine`.

    Options: base_url (up to and with ``/v1``) and model are required; api_key_env (the *name* of the
    environment variable that holds the key; default OPENAI_API_KEY, which may be unset), timeout_s (120: from sending a
    request to the end of its answer), retries (4: of an answer that is no chat completion too), concurrency (8),
    json_schema (true: the endpoint takes ``response_format``), body (further fields of a request; null leaves one out:
    ``{"max_tokens": null, "max_completion_tokens": 512}``).
    """

    takes_adapters = False

    def open(self, spec: EngineSpec) -> OpenAIEngine:
        """Raises ConfigError for an option that is missing, unknown or names an unset variable."""
        options = spec.options
        check_options("openai", options, OPTIONS)
        for name in ("base_url", "model"):
            if not options.get(name):
                raise ConfigError(f"engine 'openai' needs the option {name!r}.")
        variable = options.get("api_key_env")
        if variable and not os.environ.get(variable):
            raise ConfigError(
                f"engine 'openai': the environment variable {variable!r} (api_key_env) is not set."
            )
        with needs_extra("gateway", "the engine 'openai'"):
            import httpx
        key = os.environ.get(variable or "OPENAI_API_KEY")
        client = httpx.AsyncClient(
            base_url=str(options["base_url"]).rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=None,  # httpx's is for each read: the engine's is for all of them
        )
        return OpenAIEngine(
            client,
            secret=key or "",
            model=str(options["model"]),
            timeout_s=float(options.get("timeout_s", 120)),
            retries=int(options.get("retries", 4)),
            concurrency=int(options.get("concurrency", 8)),
            json_schema=bool(options.get("json_schema", True)),
            body=options.get("body") or {},
        )


class OpenAIEngine:
    """Sends requests side by side; `tool_calls` in an answer are written back as Hermes text.

    Attributes:
        identity: the model and where it answers.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        model: str,
        timeout_s: float,
        retries: int,
        concurrency: int,
        json_schema: bool,
        body: Mapping[str, Any] | None = None,
        secret: str = "",
    ) -> None:
        self.capabilities = Capabilities(adapters=False, json_schema=json_schema)
        self._client, self._model, self._retries, self._timeout_s = client, model, retries, timeout_s
        url = client.base_url
        self._url = url.copy_with(userinfo=b"", query=None)  # what may be told of it
        self.identity = f"{model} at {self._url}"
        self._secrets = [found for found in (secret, url.password) if found]
        self._more = dict(body or {})
        self._pool = ThreadPoolExecutor(max_workers=concurrency)
        self._loop = asyncio.new_event_loop()  # only what is awaited can be given up wherever it is
        self._looping = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._looping.start()

    def add_adapter(self, name: str, directory: Path) -> None:
        """Raises ConfigError: an endpoint takes no adapters from here."""
        raise ConfigError(
            f"the engine 'openai' cannot load adapter {name!r}. Use the engine 'vllm' or 'transformers', or "
            "set the option 'model' to the name under which the endpoint serves it."
        )

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        return list(self._pool.map(self._answer, requests))

    def stream(self, requests: Sequence[GenerateRequest]) -> Iterator[Output]:
        """As `generate`, in the order in which answers arrive."""
        return as_they_come(self._pool, self._answer, requests)

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._looping.join()
        self._loop.close()

    def _answer(self, request: GenerateRequest) -> Output:
        if request.adapter is not None:
            return _failed(request, f"unknown adapter {request.adapter!r}: this engine serves none")
        started = time.perf_counter()
        try:
            body = {**_body(request, self._model), **self._more}
            found = self._post(request, {key: part for key, part in body.items() if part is not None})
        except _RefusedError as exc:
            found = _failed(request, redact_text(str(exc)))
        except Exception as exc:  # whatever is wrong with one request, the others count
            found = _failed(request, f"the endpoint cannot be asked: {type(exc).__name__}: {exc}")
        found = replace(found, latency_s=round(time.perf_counter() - started, 4))
        return self._without_secrets(found)

    def _without_secrets(self, output: Output) -> Output:
        """Some endpoints quote the key that they were given: in an error, or in an answer."""
        text, error = output.text, output.error
        for secret in self._secrets:
            error = error and error.replace(secret, HIDDEN)
            # what is as short as EMPTY, which local servers are given for a key, is a word too
            text = text.replace(secret, HIDDEN) if len(secret) >= LONG_SECRET else text
        return replace(output, text=text, error=error)

    def _post(self, request: GenerateRequest, body: JSON) -> Output:
        """The endpoint's answer. Raises _RefusedError when it refuses, or fails or answers rubbish every time."""
        import httpx

        for attempt in range(self._retries + 1):
            wait = min(MAX_WAIT_S, 0.5 * 2**attempt) * random.uniform(0.5, 1)
            try:
                response, content = asyncio.run_coroutine_threadsafe(self._sent(body), self._loop).result()
            except TimeoutError:
                problem = f"no whole answer within {self._timeout_s:g} s ({self._url})"
            except (httpx.HTTPError, _EndlessError) as exc:
                problem = f"{type(exc).__name__}: {exc} ({self._url})"
            else:
                if response.is_success:
                    try:
                        return _output(request, json.loads(content))
                    except Exception as exc:  # whatever it is that it answers
                        problem = f"the endpoint's answer is no chat completion: {type(exc).__name__}: {exc}"
                else:
                    problem = f"HTTP {response.status_code}: {content[:1200].decode(errors='replace')[:300]}"
                    if response.status_code not in AGAIN:
                        raise _RefusedError(problem)
                wait = _retry_after(response, wait)
            if attempt < self._retries:
                time.sleep(wait)
        raise _RefusedError(f"{problem} (after {self._retries + 1} attempts)")

    async def _sent(self, body: JSON) -> tuple[httpx.Response, bytes]:
        """(a response, its content). Raises TimeoutError where it is not there in time, _EndlessError where there is
        too much of it, and httpx.HTTPError.
        """
        content = bytearray()
        async with (
            asyncio.timeout(self._timeout_s),
            self._client.stream("POST", "chat/completions", json=body) as response,
        ):
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MOST_BYTES:
                    raise _EndlessError(f"an answer of more than {MOST_BYTES:,} bytes")
        return response, bytes(content)


class _EndlessError(Exception):
    """More was sent than an answer has."""


class _RefusedError(Exception):
    """The endpoint gave no answer; the message says why."""


def _body(request: GenerateRequest, model: str) -> JSON:
    body: JSON = {
        "model": model,
        "messages": api_messages(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.temperature:
        body["top_p"] = 1.0  # a server may have another of its own; where nothing is drawn, some refuse it
    if request.temperature and request.seed is not None:
        body["seed"] = request.seed
    if request.tools:
        body["tools"] = list(request.tools)
    if request.json_schema is not None:
        schema = {"name": "answer", "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _output(request: GenerateRequest, raw: JSON) -> Output:
    choice = raw["choices"][0]
    if choice.get("finish_reason") == "content_filter":
        return _failed(request, "the endpoint's content filter cut the answer off")
    message, usage = choice["message"], raw.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    calls = [c["function"] for c in message.get("tool_calls") or ()]
    # Arguments that are not JSON go in as they came: the block is then malformed, which is the truth.
    parts = [
        message.get("content") or "",
        *(render_block(c["name"], c.get("arguments") or "{}") for c in calls),
    ]
    return Output(
        id=request.id,
        text="\n".join(part for part in parts if part),
        finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _count(told: Any) -> int:
    """Tokens, as the endpoint counts them; 0, which is not known, where that is no count."""
    number = isinstance(told, int | float) and not isinstance(told, bool)
    return int(told) if number and 0 <= told <= MOST_TOKENS and told == int(told) else 0


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    """The seconds that the endpoint asks to wait, within reason."""
    try:
        return min(MAX_WAIT_S, max(0.0, float(response.headers["retry-after"])))
    except (KeyError, ValueError):
        return otherwise


def _failed(request: GenerateRequest, error: str) -> Output:
    return Output(request.id, "", finish_reason="error", error=error)
