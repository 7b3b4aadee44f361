"""Checking an engine's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentlora.core.errors import ConfigError, unknown


def check_options(engine: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ConfigError for an option that the engine does not have, with the nearest one that it has."""
    for name in options:
        if name not in known:
            raise ConfigError(unknown(f"option of engine {engine!r}", name, known))
