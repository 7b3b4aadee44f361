"""Presets of the method, for any task. A task's own (its data and lengths) go before them: ``demo+adaptive``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentlora.core.config import merge
from agentlora.core.errors import ConfigError, unknown
from agentlora.core.types import JSON, Task

_LORA = {"r": 16, "alpha": 32, "dropout": 0.05}
METHOD_PRESETS: Mapping[str, Mapping[str, Any]] = {
    # the fewest parameters; vLLM serves a scaling of layers only if it is converted
    "budget": {"method": {"name": "ia3"}, "training": {"lr": 1e-2}, "serve_on": "transformers"},
    "efficient": {"method": {"name": "lora", "params": {**_LORA, "target": "minimal"}}},
    "balanced": {"method": {"name": "lora", "params": {**_LORA, "target": "attention"}}},
    "high-quality": {
        "method": {"name": "lora", "params": {"r": 32, "alpha": 64, "dropout": 0.05, "target": "all-linear"}}
    },
    "adaptive": {
        "method": {
            "name": "adalora",
            "params": {"r": 16, "initial_r": 24, "alpha": 32, "dropout": 0.1, "target": "attention"},
        }
    },
}


def overlay_of(task: Task, preset: str) -> JSON:
    """What the presets joined by ``+`` in `preset` set, later over earlier.

    Raises:
        ConfigError: one of them is neither the task's nor a method's.
    """
    known = {**METHOD_PRESETS, **task.presets}
    names = preset.split("+")
    for name in names:
        if name not in known:
            raise ConfigError(unknown(f"{task.name} preset", name, known))
    return merge(*(known[name] for name in names))
