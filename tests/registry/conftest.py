"""Cards, files and registries for these tests.

The store's tests run on SQLite, and on PostgreSQL too where AGENTLORA_TEST_POSTGRES holds the URL of a
database whose agentlora tables may be dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry

POSTGRES = os.environ.get("AGENTLORA_TEST_POSTGRES")


def make_card(name: str = "tool-calling", **fields: Any) -> SkillCard:
    values: dict[str, Any] = {
        "name": name,
        "task": "tool-calling",
        "summary": "Calls tools",
        "base": {"name": "tiny", "digest": "ba5e" * 16},
        "method": "lora",
        "method_card": {"serve_on": ["vllm"]},
        "rank": 16,
        "serve_on": "vllm",
        "tool_call_parser": "hermes",
        "template_digest": "7e" * 32,
        "data": {"digest": "da7a" * 16, "sources": [], "licences": [], "counts": {"train": 10}},
        "headline": {
            **{"metric": "exact_match", "value": 0.6, "low": 0.5, "high": 0.7, "best_baseline": "few_shot"},
            **{"baseline_value": 0.2, "difference": 0.4, "diff_low": 0.3, "diff_high": 0.5},
        },
    }
    return SkillCard(**(values | fields))


def make_files(folder: Path, content: str = "weights") -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        files[name] = folder / name
        files[name].write_text(f"{name} {content}")
    return files


@pytest.fixture
def card() -> Callable[..., SkillCard]:
    return make_card


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.skipif(not POSTGRES, reason="no server"))]
)
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    from sqlalchemy import create_engine

    from agentlora.registry.tables import metadata

    engine = create_engine(POSTGRES or "")
    metadata.drop_all(engine)
    engine.dispose()
    return POSTGRES


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Iterator[Registry]:
    registry = Registry(tmp_path / "home", url)
    yield registry
    registry.close()


@pytest.fixture
def publish(store: Registry, tmp_path: Path) -> Callable[..., Any]:
    def run(content: str, name: str = "tool-calling", alias: str | None = "prod") -> Any:
        return store.publish(make_card(name), make_files(tmp_path / "files" / content, content), alias)

    return run
