"""Tools from a file, for the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentlora.core.errors import ConfigError
from agentlora.core.types import JSON


def read_tools(path: Path) -> list[JSON]:
    """The tools of a JSON or YAML file: a list (or an object with ``tools``) in OpenAI's function format.

    A bare function, without ``"type": "function"`` around it, is wrapped.

    Raises:
        ConfigError: the file cannot be read, is neither JSON nor YAML, or holds something that is no tool.
    """
    from agentlora.core.config import parse_yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"tools file {str(path)!r} cannot be read: {getattr(exc, 'strerror', None) or exc}"
        ) from exc
    value = parse_yaml(text, f"tools file {str(path)!r}")  # JSON is YAML
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:  # a date without quotes, a list that holds itself
        raise ConfigError(
            f"tools file {str(path)!r} holds what JSON cannot say: {exc}. Put it in quotes."
        ) from exc
    tools = value.get("tools", value) if isinstance(value, dict) else value
    if not isinstance(tools, list) or not tools:
        raise ConfigError(
            f"tools file {str(path)!r} holds no list of tools. Write a list of OpenAI functions."
        )
    return [_tool(tool, f"tool {number} in {str(path)!r}") for number, tool in enumerate(tools, 1)]


def _tool(tool: Any, where: str) -> JSON:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ConfigError(f"{where} has no name. Write {{'type': 'function', 'function': {{'name': …}}}}.")
    parameters = function.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(parameters, dict):
        raise ConfigError(f"{where}: 'parameters' is {parameters!r}; it must be a JSON Schema object.")
    # the order and the keys that vLLM renders, so that every engine shows the model the same text
    named = {
        "name": function["name"],
        "description": function.get("description", ""),
        "parameters": parameters,
    }
    return {"type": "function", "function": named}
