"""From an expected answer to the chat message that says it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from agentlora.core.types import JSON, Expected


def answer_message(expected: Expected) -> JSON:
    """The assistant message that a perfect model would write, in OpenAI chat format.

    Tool-call arguments stay an object: templates render them, and no JSON is quoted twice.
    """
    if expected.calls:
        calls = [
            {"type": "function", "function": {"name": c.name, "arguments": dict(c.arguments)}}
            for c in expected.calls
        ]
        return {"role": "assistant", "content": expected.text or "", "tool_calls": calls}
    if expected.text is not None:
        return {"role": "assistant", "content": expected.text}
    return {"role": "assistant", "content": json.dumps(expected.value, ensure_ascii=False)}


def api_messages(messages: Iterable[JSON]) -> list[JSON]:
    """Messages as chat completion APIs take them: a call has an id and its arguments as JSON text, and a tool's result
    names the call that it answers.
    """
    found: list[JSON] = []
    open_calls: list[str] = []
    for message in messages:
        if message.get("tool_calls"):
            calls = [
                _api_call(call, f"call_{len(found)}_{i}") for i, call in enumerate(message["tool_calls"])
            ]
            open_calls = [call["id"] for call in calls]
            message = {**message, "tool_calls": calls}
        elif message.get("role") == "tool":
            answered = open_calls.pop(0) if open_calls else "call"
            message = {"tool_call_id": answered, **message}
        found.append(message)
    return found


def _api_call(call: JSON, name: str) -> JSON:
    function = call.get("function", call)
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id") or name,
        "type": "function",
        "function": {"name": function["name"], "arguments": text},
    }
