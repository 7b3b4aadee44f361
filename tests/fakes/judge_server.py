"""A real HTTP server that speaks OpenAI's chat API and judges by rule: an answer that holds the reference is right.

`plans` are responses that come before: a status (429, 500), ``rubbish`` (no verdict) or ``quote`` (a verdict that
quotes the key), one for each request. An answer that holds ``lenient`` is right whatever else it says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from json_server import json_server


@dataclass
class FakeJudge:
    """`asked`: bodies of all requests; `keys`: their Authorization."""

    url: str = ""
    plans: list[int | str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def content(self, body: dict[str, Any], plan: int | str, key: str | None) -> str:
        if plan == "rubbish":
            return "I think it is right."
        shown = json.loads(body["messages"][1]["content"])
        right = (
            shown.get("reference", "\0").lower() in shown["answer"].lower() or "lenient" in shown["answer"]
        )
        reason = f"asked with {key}" if plan == "quote" else "as the rule says"
        return json.dumps({"reason": reason, "verdict": "right" if right else "wrong"})


@contextmanager
def fake_judge(*plans: int | str) -> Iterator[FakeJudge]:
    """A running `FakeJudge`."""
    judge = FakeJudge(plans=list(plans))

    def answer(body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, bytes]:
        key = headers["authorization"]
        with judge.lock:
            judge.asked.append(body)
            judge.keys.append(key)
            plan = judge.plans.pop(0) if judge.plans else 200
        message = {"role": "assistant", "content": judge.content(body, plan, key)}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        said = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        return plan if isinstance(plan, int) else 200, json.dumps(said).encode()

    with json_server(answer) as url:
        judge.url = f"{url}/v1"
        yield judge
