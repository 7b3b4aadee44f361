"""From an expected answer to the chat message that says it."""

from __future__ import annotations

import json

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
