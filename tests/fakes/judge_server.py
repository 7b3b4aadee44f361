"""A real HTTP server that speaks OpenAI's chat API and judges by rule: an answer that holds the reference is right.

`plans` are responses that come before: a status (429, 500), ``rubbish`` (no verdict) or ``quote`` (a verdict that
quotes the key), one for each request. An answer that holds ``lenient`` is right whatever else it says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            key = self.headers["authorization"]
            with judge.lock:
                judge.asked.append(body)
                judge.keys.append(key)
                plan = judge.plans.pop(0) if judge.plans else 200
            message = {"role": "assistant", "content": judge.content(body, plan, key)}
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            answer = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
            content = json.dumps(answer).encode()
            self.send_response(plan if isinstance(plan, int) else 200)
            self.send_header("retry-after", "0")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
