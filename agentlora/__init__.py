"""agentlora's public names, imported on first use so that `import agentlora` stays light.

A plugin needs nothing else: ``from agentlora import hookimpl, Example, Expected, Score, Task, ToolCall``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentlora.core.errors import AgentLoraError
    from agentlora.core.hookspecs import hookimpl
    from agentlora.core.types import (
        Capabilities,
        ChoiceOutput,
        ChoiceRequest,
        Example,
        Expected,
        GenerateRequest,
        MethodCard,
        Output,
        Score,
        Task,
        ToolCall,
    )

__version__ = "0.1.0"

_HOME = {
    "AgentLoraError": "agentlora.core.errors",
    "hookimpl": "agentlora.core.hookspecs",
    "Capabilities": "agentlora.core.types",
    "ChoiceOutput": "agentlora.core.types",
    "ChoiceRequest": "agentlora.core.types",
    "Example": "agentlora.core.types",
    "Expected": "agentlora.core.types",
    "GenerateRequest": "agentlora.core.types",
    "MethodCard": "agentlora.core.types",
    "Output": "agentlora.core.types",
    "Score": "agentlora.core.types",
    "Task": "agentlora.core.types",
    "ToolCall": "agentlora.core.types",
}

__all__ = [
    "AgentLoraError",
    "Capabilities",
    "ChoiceOutput",
    "ChoiceRequest",
    "Example",
    "Expected",
    "GenerateRequest",
    "MethodCard",
    "Output",
    "Score",
    "Task",
    "ToolCall",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agentlora' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
