"""Small tool-calling examples for a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import RunConfig
from agentlora.core.types import Example, Expected, Method, ToolCall

ROOMS = ("kitchen", "hall", "attic", "cellar", "study", "porch", "garage", "nursery")


def tool(name: str) -> dict[str, object]:
    properties = {"room": {"type": "string"}, "level": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties, "required": ["room"]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Light a room", "parameters": parameters},
    }


@pytest.fixture(autouse=True, scope="session")
def _what_is_trained_again_is_not_predicted_again() -> Iterator[None]:
    """Many tests train the same two or three times, to compare; a prediction takes longer than they do."""
    from agentlora.plugins.trainers import sft

    predict, known = sft.predict, dict[str, Any]()

    def once(
        model_dir: Path,
        config: RunConfig,
        method: Method,
        params: Any,
        items: Any,
        *,
        process: int,
        arguments: Any,
        **more: Any,
    ) -> Any:
        model = (model_dir / "config.json").read_text()
        key = repr((model, config.method, config.training, config.seed, method, params, list(items), more))
        if key not in known:
            known[key] = predict(
                model_dir, config, method, params, items, process=process, arguments=arguments, **more
            )
        return replace(known[key], memory=known[key].memory | {"process": process})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sft, "predict", once)
        yield


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Three groups of four requests; each group has a tool list of its own."""
    made = []
    for g, name in enumerate(("set_light", "dim", "lamp.on")):
        for i in range(4):
            room = ROOMS[(g + i) % len(ROOMS)]
            made.append(
                Example(
                    id=f"{g}-{i}",
                    messages=({"role": "user", "content": f"light in the {room}" + " please" * i},),
                    expected=Expected(calls=(ToolCall(name, {"room": room}),)),
                    tools=(tool(name),),
                    group=f"g{g}",
                    tags={"case": "single", "slice": "trained"},
                )
            )
    return made
