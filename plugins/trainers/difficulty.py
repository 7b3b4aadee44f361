"""How hard an example is, for trainings that go from easy ones to hard ones (`training.order`)."""

from __future__ import annotations

from math import log2

from agentlora.core.types import Example

# what each adds; one tool of a list that is twice as long adds 1
OPTIONAL = 0.25  # an argument that the call need not have
FURTHER_CALL = 1.5
ANSWERED = 2.0  # a tool has answered already
NO_CALL = 1.0  # tools are offered, and none is called
CHARACTERS = 400  # of the answer


def difficulty(example: Example) -> float:
    """From 0 on: a single tool with what it requires is easy; long lists, several calls and steps are hard."""
    functions = [tool.get("function", tool) for tool in example.tools]
    required = {f.get("name"): (f.get("parameters") or {}).get("required", ()) for f in functions}
    calls = example.expected.calls
    optional = sum(name not in required.get(call.name, ()) for call in calls for name in call.arguments)
    answer = (example.expected.text or "", *(f"{call.name}{dict(call.arguments)}" for call in calls))
    return (
        log2(1 + len(example.tools))
        + OPTIONAL * optional
        + FURTHER_CALL * max(0, len(calls) - 1)
        + ANSWERED * any(message["role"] == "tool" for message in example.messages)
        + NO_CALL * bool(example.tools and not calls)
        + sum(map(len, answer)) / CHARACTERS
    )
