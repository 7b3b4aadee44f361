"""A gateway whose backend is gone."""

from __future__ import annotations

from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
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
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 503
        assert httpx.get(f"{url}/v1/models", timeout=60).status_code == 200


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
            answer = httpx.post(
                f"{url}/v1/chat/completions", json={"model": "base", "messages": []}, timeout=60
            )
    assert answer.status_code == 502
    assert "broke the connection" in answer.json()["error"]["message"]


class OneAnswerAConnection(StreamRequestHandler):
    """Promises to keep the connection, and closes it when it is used again."""

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.rfile.read(length)
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        self.wfile.flush()
        self.rfile.readline()


def test_a_kept_connection_that_is_closing_is_not_the_clients_trouble(
    registry: Any, publish: Any, pool: Any
) -> None:
    publish()
    with ThreadingTCPServer(("127.0.0.1", 0), OneAnswerAConnection) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        backend = f"http://127.0.0.1:{server.server_address[1]}"
        shelf = Shelf(registry, VllmClient(backend), pool, TfidfRouter())
        with serving(Gateway(shelf, backend).app()) as url:
            body = {"model": "base", "messages": []}
            answers = [httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60) for _ in range(3)]
        server.shutdown()
    assert [(a.status_code, a.json()) for a in answers] == [(200, {})] * 3


def test_only_the_chosen_skills_are_served(registry: Any, publish: Any, pool: Any, backend: FakeVllm) -> None:
    publish()
    publish(name="other")
    shelf = Shelf(registry, VllmClient(backend.url), pool, TfidfRouter(), only=["other"])
    with serving(Gateway(shelf, backend.url).app()) as url:
        body = {"model": "tool-calling", "messages": []}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 409
        assert "started with: ['other']" in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz", timeout=60).json()["skills"] == ["other"]
