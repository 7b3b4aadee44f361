"""A published registry, a fake vLLM, and a gateway between them: all over real loopback HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from agentlora.core.files import sha256_bytes
from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry, Version
from agentlora.runtime.client import VllmClient
from agentlora.runtime.gateway import Gateway
from agentlora.runtime.router import TfidfRouter
from agentlora.runtime.shelf import Pool, Shelf

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

from openai_server import FakeVllm, serving

TEMPLATE = "{{ messages }}"
BASE_DIGEST = "ba5e" * 16
POOL = Pool("tiny", BASE_DIGEST, sha256_bytes(TEMPLATE.encode()), "hermes", max_lora_rank=16)

# requests for tools, of the kinds that a tool-calling skill trains on
TOOL_PROMPTS = [
    f"{verb} {thing}"
    for verb in ("Please book", "Can you cancel", "I need you to reschedule", "Go ahead and confirm")
    for thing in (
        "a table for four at Luigi's on 2026-05-01",
        "my dentist appointment on Monday at 10:30",
        "the flight from Oslo to Rome for Anna Berg",
        "a taxi to 12 Mill Lane at 7 pm",
        "room 12 for 3 nights under the name Okafor",
        "order number 58213 with express delivery",
    )
] + [
    f"{verb} {thing}"
    for verb in ("Turn on", "Switch off", "Set a schedule for", "Dim")
    for thing in (
        "the lights in the kitchen",
        "the heating upstairs to 21 degrees",
        "the lamp in room 3 to 40 percent",
    )
]


@dataclass
class Stack:
    """One running gateway and everything around it."""

    registry: Registry
    backend: FakeVllm
    shelf: Shelf
    url: str
    publish: Callable[..., Version]
    client: openai.OpenAI


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = Registry(tmp_path / "home")
    yield store
    store.close()


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[..., Version]:
    """``publish(name, content, silent=…, alias=…, **card fields)``."""

    def _publish(
        name: str = "tool-calling",
        content: str = "1",
        silent: bool = False,
        alias: str | None = "prod",
        **fields: Any,
    ) -> Version:
        folder = tmp_path / f"adapter-{name}-{content}"
        folder.mkdir(exist_ok=True)
        names = ["adapter_model.safetensors", "adapter_config.json", *(["silent"] if silent else [])]
        files = {file: folder / file for file in names}
        for path in files.values():
            path.write_text(content)
        values: dict[str, Any] = {
            "name": name,
            "task": "tool-calling",
            "summary": "",
            "base": {"name": POOL.base_name, "digest": POOL.base_digest},
            "method": "lora",
            "method_card": {},
            "rank": 16,
            "serve_on": "vllm",
            "tool_call_parser": "hermes",
            "template_digest": POOL.template_digest,
            "data": {},
            "router_profile": {"skill": name, "needs_tools": True, "prompts": TOOL_PROMPTS},
        }
        return registry.publish(SkillCard(**(values | fields)), files, alias)

    return _publish


@pytest.fixture
def backend() -> Iterator[FakeVllm]:
    fake = FakeVllm()
    with serving(fake.app()) as url:
        fake.url = url
        yield fake


@pytest.fixture
def stack(registry: Registry, publish: Callable[..., Version], backend: FakeVllm) -> Iterator[Stack]:
    publish()
    shelf = Shelf(registry, VllmClient(backend.url), POOL, TfidfRouter())
    with (
        serving(Gateway(shelf, backend.url).app()) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Stack(registry, backend, shelf, url, publish, client)


@pytest.fixture
def tools() -> list[dict[str, Any]]:
    parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    function = {
        "name": "book_table",
        "description": "Reserve a table in a restaurant",
        "parameters": parameters,
    }
    return [{"type": "function", "function": function}]


@pytest.fixture
def tool_prompts() -> list[str]:
    return TOOL_PROMPTS


@pytest.fixture
def pool() -> Pool:
    return POOL
