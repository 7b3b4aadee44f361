"""The OpenAI engine against a server of our own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from eval_examples import TOOLS, example, light, say

from agentlora.core.errors import ConfigError
from agentlora.core.types import EngineSpec
from agentlora.eval.calls import parse_answer
from agentlora.eval.conditions import Condition, to_request
from agentlora.eval.engines import openai_compat
from agentlora.eval.engines.openai_compat import OpenAIEngine, OpenAIFactory


class Endpoint(ThreadingHTTPServer):
    """A chat-completions endpoint that answers from a list of (status, headers, body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, dict[str, str], Any]] = []
        self.seen: list[tuple[str, str | None, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.path, self.headers["authorization"], body))
        status, headers, raw = self.server.replies.pop(0)
        data = raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def connect(server: Endpoint, **options: Any) -> OpenAIEngine:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return OpenAIFactory().open(EngineSpec(Path(), "", options={"base_url": url, "model": "m"} | options))


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def test_tool_calls_come_back_as_hermes_text(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    functions = [
        {"name": "set_light", "arguments": '{"room": "hall"}'},
        {"name": "play", "arguments": '{"title": '},
    ]
    calls = [{"id": "1", "type": "function", "function": f} for f in functions]
    endpoint.replies = [(200, {}, completion({"content": "Well:", "tool_calls": calls}, "tool_calls"))]
    with connect(endpoint, api_key_env="MY_KEY") as engine:
        (output,) = engine.generate(
            [to_request(example("a", "Dim", light("hall")), Condition("x"), max_tokens=9)]
        )
    answer = parse_answer(output.text)
    assert (answer.text, answer.calls, answer.malformed) == ("Well:", (light("hall"),), 1)
    assert (output.prompt_tokens, output.output_tokens, output.finish_reason) == (11, 7, "stop")
    path, key, body = endpoint.seen[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer sk-secret")
    assert body["tools"] == list(TOOLS)
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 9, 0.0)
    assert "response_format" not in body


def test_an_endpoint_is_told_to_draw_from_all_tokens_where_any_are_drawn(endpoint: Endpoint) -> None:
    """And nothing that the API does not know, or that models refuse which take no sampling."""
    endpoint.replies += [(200, {}, completion({"content": "yes"}))] * 2
    with connect(endpoint) as engine:
        engine.generate([say("a", "Hi")])
        engine.generate([say("a", "Hi", temperature=0.5)])
    greedy, drawn = (body for _, _, body in endpoint.seen)
    assert drawn == greedy | {"temperature": 0.5, "top_p": 1.0}
    assert set(greedy) == {"model", "messages", "max_tokens", "temperature"}


def test_a_schema_is_sent_as_response_format(endpoint: Endpoint) -> None:
    endpoint.replies = [(200, {}, completion({"content": "[]"}, "length"))]
    with connect(endpoint) as engine:
        (output,) = engine.generate([say("a", "Hi", json_schema={"type": "array"})])
    assert (output.text, output.finish_reason) == ("[]", "length")
    assert endpoint.seen[0][2]["response_format"]["json_schema"]["schema"] == {"type": "array"}


def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    busy = (429, {"retry-after": "0"}, "slow down")
    endpoint.replies = [busy, (503, {"retry-after": "0"}, ""), (200, {}, completion({"content": "ok"}))]
    with connect(endpoint, retries=2) as engine:
        assert engine.generate([say("a", "Hi")])[0].text == "ok"
    endpoint.replies = [busy, busy]
    with connect(endpoint, retries=1) as engine:
        error = str(engine.generate([say("a", "Hi")])[0].error)
    assert "HTTP 429: slow down" in error
    assert "2 attempts" in error


def test_what_cannot_be_mended_is_an_error_that_hides_the_key(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    endpoint.replies = [
        (401, {}, "wrong key sk-secret"),
        (200, {}, "<html>"),
        (200, {}, {"choices": []}),
        (200, {}, "[" * 100_000),
        (200, {}, {"choices": [{"message": {"content": [1]}}]}),
    ]
    with connect(endpoint, api_key_env="MY_KEY", concurrency=1, retries=0) as engine:
        errors = [str(o.error) for o in engine.generate([say(str(i), "Hi") for i in range(5)])]
    assert errors[0] == "HTTP 401: wrong key ***"
    assert all("no chat completion" in e for e in errors[1:])
    assert len(endpoint.seen) == 5


def test_rubbish_is_asked_again_and_a_filtered_answer_is_not(endpoint: Endpoint) -> None:
    again = {"retry-after": "0"}
    good, filtered = completion({"content": "ok"}), completion({"content": ""}, "content_filter")
    endpoint.replies = [
        (200, again, "<html>bad gateway</html>"),
        (200, again, {"choices": [7]}),
        (200, {}, good),
    ]
    endpoint.replies += [(200, {}, filtered)]
    with connect(endpoint, retries=2) as engine:
        assert engine.generate([say("a", "Hi")])[0].text == "ok"
        assert "content filter" in str(engine.generate([say("b", "Hi")])[0].error)
    assert len(endpoint.seen) == 4
    endpoint.replies = [(200, again, "<html>")] * 2
    with connect(endpoint, retries=1) as engine:
        error = str(engine.generate([say("a", "Hi")])[0].error)
    assert "no chat completion" in error
    assert "2 attempts" in error


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": "many", "completion_tokens": 7}, (0, 7)),
        ({"prompt_tokens": -1e9, "completion_tokens": -3}, (0, 0)),
        ({"prompt_tokens": 10**400, "completion_tokens": 1.5}, (0, 0)),
        ({"prompt_tokens": True, "completion_tokens": 4.0}, (0, 4)),
        ("many", (0, 0)),
    ],
)
def test_usage_that_is_no_count_costs_no_answer(
    endpoint: Endpoint, usage: Any, tokens: tuple[int, int]
) -> None:
    endpoint.replies = [(200, {}, {**completion({"content": "ok"}), "usage": usage})]
    with connect(endpoint, retries=0) as engine:
        (output,) = engine.generate([say("a", "Hi")])
    assert output.text == "ok"
    assert (output.prompt_tokens, output.output_tokens) == tokens


@contextmanager
def dribbling(head: bytes, blank: bytes, blanks: int, pause_s: float) -> Iterator[str]:
    """The address of a server that answers with `head`, `blank` again and again, and at last a chat completion."""

    class Dribbles(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            with suppress(OSError):  # who asked is gone
                self.wfile.write(head)
                for _ in range(blanks):
                    self.wfile.write(blank)
                    time.sleep(pause_s)
                end = b"" if b"\r\n\r\n" in head else b"x\r\n\r\n"
                self.wfile.write(end + json.dumps(completion({"content": "ok"})).encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Dribbles) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\n"


@pytest.mark.parametrize(("head", "blank"), [(OK + b"\r\n", b" "), (OK + b"x-slow: ", b"x")])
def test_an_answer_that_dribbles_has_to_be_there_in_time(head: bytes, blank: bytes) -> None:
    with dribbling(head, blank, 80, 0.05) as url:
        options = {"base_url": url, "model": "m", "timeout_s": 0.3, "retries": 1}
        with OpenAIFactory().open(EngineSpec(Path(), "", options=options)) as engine:
            error = str(engine.generate([say("a", "Hi")])[0].error)
    assert "no whole answer within 0.3 s" in error
    assert "2 attempts" in error


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_compat, "MOST_BYTES", 10_000)
    for blanks, said in ((20, "more than 10,000 bytes"), (5, None)):
        with dribbling(OK + b"\r\n", b" " * 1000, blanks, 0) as url:
            options = {"base_url": url, "model": "m", "timeout_s": 30, "retries": 0}
            with OpenAIFactory().open(EngineSpec(Path(), "", options=options)) as engine:
                (output,) = engine.generate([say("a", "Hi")])
        assert said in (output.error or "") if said else output.text == "ok"


def test_neither_errors_nor_answers_hold_a_secret(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-of-mine")
    url = f"http://me:hunter2hunter2@127.0.0.1:{endpoint.server_port}/v1?key=hunter3"
    endpoint.replies = [(200, {}, completion({"content": "You are secret-of-mine, hunter2hunter2."}))]
    with connect(endpoint, base_url=url, api_key_env="MY_KEY") as engine:
        assert engine.generate([say("a", "Hi")])[0].text == "You are ***, ***."
    with connect(endpoint, base_url=f"{url.replace(str(endpoint.server_port), '9')}", retries=0) as engine:
        error = str(engine.generate([say("a", "Hi")])[0].error)
    assert "127.0.0.1:9/v1" in error
    assert "hunter" not in error


def test_a_key_that_is_a_word_stays_a_word_in_answers(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    endpoint.replies = [(200, {}, completion({"content": "The cup is EMPTY."}))]
    with connect(endpoint) as engine:
        assert engine.generate([say("a", "Hi")])[0].text == "The cup is EMPTY."


def test_many_requests_keep_their_order(endpoint: Endpoint) -> None:
    endpoint.replies = [(200, {}, completion({"content": "x"})) for _ in range(20)]
    with connect(endpoint) as engine:
        outputs = engine.generate([say(str(i), f"Hi {i}") for i in range(20)])
    assert [o.id for o in outputs] == [str(i) for i in range(20)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'base_url'"),
        ({"base_url": "http://x"}, "'model'"),
        ({"base_url": "http://x", "model": "m", "api_key_env": "UNSET_KEY"}, "'UNSET_KEY'"),
        ({"base_url": "http://x", "model": "m", "api_key": "sk"}, "api_key_env"),
    ],
)
def test_bad_endpoint_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIFactory().open(EngineSpec(Path(), "", options=options))


def test_an_endpoint_takes_no_adapter(endpoint: Endpoint, tmp_path: Path) -> None:
    with connect(endpoint) as engine, pytest.raises(ConfigError, match="cannot load adapter"):
        engine.add_adapter("skill", tmp_path)
