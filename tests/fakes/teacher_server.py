"""A real HTTP server that speaks OpenAI's chat API and answers by rule: a teacher without a model.

With tools, it calls the first one, each required text filled with the last word of the request. Without, it says the
request backwards. `plans` are responses that come before: a status (429, 500), ``rubbish``, ``refusal`` (an answer
that a content filter cut off) or ``hang``, one for each request. A request that holds ``odd`` is answered with a call
that does not fit its tool.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from json_server import json_server

HANGS = 10.0  # seconds


@dataclass
class FakeTeacher:
    """`asked`: the bodies of all requests, those that were refused too. `says`: what it answers where there are no
    tools, if not the request backwards.
    """

    url: str = ""
    plans: list[int | str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    says: Callable[[str], str] | None = None

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat completion to a request."""
        text = str(body["messages"][-1]["content"])
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if body.get("tools"):
            function = body["tools"][0]["function"]
            required = function["parameters"].get("required", [])
            value: Any = 7 if "odd" in text else text.split()[-1].strip("?.!")
            arguments = json.dumps(dict.fromkeys(required, value))
            message["tool_calls"] = [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": function["name"], "arguments": arguments},
                }
            ]
        else:
            message["content"] = self.says(text) if self.says else " ".join(reversed(text.split()))
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


@contextmanager
def fake_teacher(*plans: int | str) -> Iterator[FakeTeacher]:
    """A running `FakeTeacher`."""
    teacher = FakeTeacher(plans=list(plans))

    def answer(body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, bytes]:
        with teacher.lock:
            teacher.asked.append(body)
            plan = teacher.plans.pop(0) if teacher.plans else 200
        if plan == "hang":
            time.sleep(HANGS)
        answer = teacher.answer(body)
        if plan == "refusal":
            answer["choices"][0]["finish_reason"] = "content_filter"
        content = b"<html>no json" if plan == "rubbish" else json.dumps(answer).encode()
        return plan if isinstance(plan, int) else 200, content

    with json_server(answer) as url:
        teacher.url = f"{url}/v1"
        yield teacher
