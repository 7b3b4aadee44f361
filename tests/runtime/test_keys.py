"""The key of a vLLM that one attaches to: it goes to that server, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from openai_server import FakeVllm, serving

from agentlora.core.errors import RuntimeFault
from agentlora.core.manager import default_plugins
from agentlora.core.types import EngineSpec, GenerateRequest
from agentlora.runtime.client import VllmClient
from agentlora.runtime.gateway import Gateway
from agentlora.runtime.router import TfidfRouter
from agentlora.runtime.shelf import Shelf

KEY = "key-of-the-server"
HEADER = {"Authorization": f"Bearer {KEY}"}


def keys(backend: FakeVllm) -> set[str | None]:
    return {given.get("authorization") for given in backend.headers}


@pytest.mark.parametrize("key", ["", f" {KEY}\n"])
def test_the_engine_sends_it_to_a_server_that_it_attaches_to(
    backend: FakeVllm, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", key)
    backend.key = key.strip()
    spec = EngineSpec(Path("unused"), "{{ messages }}", options={"url": backend.url})
    with default_plugins().get("engines", "vllm").open(spec) as engine:
        (output,) = engine.generate([GenerateRequest("1", ({"role": "user", "content": "hi"},))])
        assert output.text == "base: hi"
        assert engine.headers == (HEADER if key else {})  # for lm-eval's own client
        assert KEY not in engine.identity
    assert keys(backend) == {HEADER["Authorization"] if key else None}


def test_a_server_that_the_engine_starts_gets_none(
    backend: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started:
        url = backend.url

        def __init__(self, *args: Any) -> None: ...

        def start(self) -> Started:
            return self

        def stop(self) -> None: ...

    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setattr("agentlora.runtime.engine.VllmServer", Started)
    monkeypatch.setattr("agentlora.runtime.engine.computes_with", lambda settings: "float32")
    with default_plugins().get("engines", "vllm").open(EngineSpec(Path("unused"), "")) as engine:
        assert engine.headers == {}
    assert keys(backend) == {None}


def test_a_refusal_does_not_quote_it(backend: FakeVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    backend.key = "another"
    spec = EngineSpec(Path("unused"), "", options={"url": backend.url})
    with pytest.raises(RuntimeFault, match="401") as told:
        default_plugins().get("engines", "vllm").open(spec)
    assert KEY not in str(told.value)


@pytest.mark.parametrize("key", ["", KEY])
@pytest.mark.parametrize("stream", [False, True])
def test_the_gateway_sends_it_on_and_nothing_of_its_clients(
    registry: Any, publish: Any, pool: Any, backend: FakeVllm, key: str, stream: bool
) -> None:
    publish()
    backend.key = key
    shelf = Shelf(registry, VllmClient(backend.url, key=key), pool, TfidfRouter())
    own = {"Authorization": "Bearer of-the-client", "X-Api-Key": "of-the-client", "Cookie": "a=of-the-client"}
    with (
        serving(Gateway(shelf, backend.url, key).app()) as url,
        httpx.Client(headers=own, timeout=60) as client,
    ):
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
        answers = [
            client.post(f"{url}/v1/chat/completions", json={"model": model, **body})
            for model in ("base", "tool-calling")
        ]
        answers += [client.get(f"{url}/healthz"), client.get(f"{url}/v1/models")]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert keys(backend) == {f"Bearer {key}" if key else None}
    assert "of-the-client" not in str(backend.headers)
    assert KEY not in "".join(f"{dict(answer.headers)} {answer.text}" for answer in answers)
