"""A gateway whose backend is gone."""

from __future__ import annotations

from typing import Any

import httpx
from openai_server import FakeVllm, serving

from agentlora.runtime.backend import free_port
from agentlora.runtime.client import VllmClient
from agentlora.runtime.gateway import Gateway
from agentlora.runtime.router import TfidfRouter
from agentlora.runtime.shelf import Shelf


def test_a_backend_that_is_down_is_503_in_openai_form(registry: Any, publish: Any, pool: Any) -> None:
    publish()
    nobody = f"http://127.0.0.1:{free_port()}"
    shelf = Shelf(registry, VllmClient(nobody), pool, TfidfRouter())
    with serving(Gateway(shelf, nobody).app()) as url:
        for model in ("base", "tool-calling"):
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body)
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz").status_code == 503
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_a_connection_that_breaks_is_502(registry: Any, publish: Any, pool: Any) -> None:
    publish()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{", "more_body": False})

    with serving(broken) as backend:
        shelf = Shelf(registry, VllmClient(backend), pool, TfidfRouter())
        with serving(Gateway(shelf, backend).app()) as url:
            answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "base", "messages": []})
    assert answer.status_code == 502
    assert "broke the connection" in answer.json()["error"]["message"]


def test_only_the_chosen_skills_are_served(registry: Any, publish: Any, pool: Any, backend: FakeVllm) -> None:
    publish()
    publish(name="other")
    shelf = Shelf(registry, VllmClient(backend.url), pool, TfidfRouter(), only=["other"])
    with serving(Gateway(shelf, backend.url).app()) as url:
        body = {"model": "tool-calling", "messages": []}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert answer.status_code == 409
        assert "started with: ['other']" in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz").json()["skills"] == ["other"]
