"""The gateway through the official client: who answers, what passes through, what goes wrong."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest

ASK = "Please book a table for two at Nonna's on 2026-06-02"


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def until(what: Any) -> None:
    for _ in range(300):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


def test_auto_sends_a_tool_request_to_the_skill_and_says_why(stack: Any, tools: Any) -> None:
    raw = stack.client.chat.completions.with_raw_response.create(
        model="auto", messages=user(ASK), tools=tools
    )
    served = stack.registry.resolve("tool-calling").served_name
    answer = raw.parse()
    assert raw.headers["x-agentlora-skill"] == served
    assert "training prompts of tool-calling" in unquote(raw.headers["x-agentlora-route"])
    assert answer.model == served
    assert answer.choices[0].message.tool_calls[0].function.name == "book_table"
    assert stack.backend.chats[-1]["tools"] == tools


def test_a_skills_calls_are_held_to_their_schemas_unless_the_client_constrains_the_answer(
    stack: Any, tools: Any
) -> None:
    from agentlora.core.grammar import calls_tag
    from agentlora.runtime.gateway import with_strict_calls

    def sent(model: str, **fields: Any) -> Any:
        stack.client.chat.completions.create(model=model, messages=user(ASK), **fields)
        return stack.backend.chats[-1].get("structured_outputs")

    assert json.loads(sent("tool-calling", tools=tools)["structural_tag"]) == calls_tag(tools)
    assert sent("tool-calling", tools=tools, tool_choice="auto") is not None
    assert sent("base", tools=tools) is None
    assert sent("tool-calling") is None
    assert sent("tool-calling", tools=tools, tool_choice="none") is None
    assert sent("tool-calling", tools=tools, response_format={"type": "json_object"}) is None
    own = {"structured_outputs": {"choice": ["yes"]}}
    assert sent("tool-calling", tools=tools, extra_body=own) == own["structured_outputs"]
    odd = [{"type": "function", "function": {"name": "odd", "parameters": {"type": "dict"}}}]
    assert sent("tool-calling", tools=odd) is None  # answered without a grammar, after one that was refused
    assert "structural_tag" in stack.backend.chats[-2]["structured_outputs"]
    nameless = {"tools": [{"type": "function", "function": {"description": "it has no name"}}]}
    assert with_strict_calls(nameless) == nameless  # the server says what is wrong with it


def test_a_skill_is_asked_with_the_system_message_that_it_was_trained_with(stack: Any) -> None:
    profile = {
        "skill": "invoices",
        "needs_tools": False,
        "prompts": ["Invoice 7 for Ann", "Invoice 8 for Bo"],
    }
    stack.publish("invoices", "2", data={"system": "Fill this schema."}, router_profile=profile)

    def sent(model: str, messages: Any) -> Any:
        stack.client.chat.completions.create(model=model, messages=messages)
        return stack.backend.chats[-1]["messages"]

    system = {"role": "system", "content": "Fill this schema."}
    assert sent("invoices", user("Invoice 9")) == [system, *user("Invoice 9")]
    own = [{"role": "system", "content": "Mine."}, *user("Invoice 9")]
    assert sent("invoices", own) == own
    assert sent("base", user("Invoice 9")) == user("Invoice 9")
    assert sent("tool-calling", user("hi")) == user("hi")


def test_auto_sends_chat_and_requests_without_tools_to_the_base(stack: Any, tools: Any) -> None:
    for text, offered, reason in (
        ("Why is the sky blue?", tools, "general chat"),
        (ASK, None, "the request offers no tools"),
    ):
        extra = {"tools": offered} if offered else {}
        raw = stack.client.chat.completions.with_raw_response.create(
            model="auto", messages=user(text), **extra
        )
        assert raw.headers["x-agentlora-skill"] == "base"
        assert reason in unquote(raw.headers["x-agentlora-route"])
        assert raw.parse().model == "base"


def test_every_way_to_name_a_version(stack: Any) -> None:
    first = stack.registry.resolve("tool-calling")
    second = stack.publish(content="2", alias="candidate")
    expected = {
        "base": "base",
        "tool-calling": first.served_name,
        "tool-calling@prod": first.served_name,
        "tool-calling@v1": first.served_name,
        "tool-calling@candidate": second.served_name,
        "tool-calling@v2": second.served_name,
        second.served_name: second.served_name,
        f"tool-calling@sha256:{second.digest}": second.served_name,
    }
    for name, served in expected.items():
        answer = stack.client.chat.completions.create(model=name, messages=user("hi"))
        assert answer.model == served, name
    listed = {model.id for model in stack.client.models.list()}
    assert listed == {"auto", "base", "tool-calling", "tool-calling@prod", "tool-calling@candidate"} | {
        first.served_name,
        second.served_name,
    }
    assert sorted(stack.backend.loads) == sorted([first.served_name, second.served_name])  # once each


def test_a_promotion_and_a_rollback_move_traffic_without_a_restart(stack: Any) -> None:
    first = stack.registry.resolve("tool-calling")
    ask = lambda: stack.client.chat.completions.create(model="tool-calling", messages=user("hi")).model  # noqa: E731
    assert ask() == first.served_name
    second = stack.publish(content="2")
    assert ask() == second.served_name
    stack.registry.rollback("tool-calling")
    assert ask() == first.served_name


def test_a_new_skill_is_routed_to_without_a_restart(stack: Any) -> None:
    prompts = [
        f"Summarise this {kind} from {year} for the board"
        for kind in ("memo", "contract", "audit")
        for year in range(2000, 2020)
    ]
    ask = "Summarise this contract from 1999 for the board"
    before = stack.client.chat.completions.create(model="auto", messages=user(ask))
    assert before.model == "base"
    profile = {"skill": "minutes", "needs_tools": False, "prompts": prompts}
    version = stack.publish(name="minutes", router_profile=profile)
    after = stack.client.chat.completions.create(model="auto", messages=user(ask))
    assert after.model == version.served_name


def test_streams_arrive_piece_by_piece(stack: Any) -> None:
    stream = stack.client.chat.completions.create(model="auto", messages=user("slow"), stream=True)
    first = [next(iter(stream)).choices[0].delta.content for _ in range(3)]
    assert first == ["tick "] * 3  # the backend never ends this answer: nobody waits for its end
    stream.close()
    until(lambda: stack.backend.cancelled == 1)


def test_a_whole_stream_ends_well_and_carries_the_headers(stack: Any) -> None:
    with stack.client.chat.completions.with_streaming_response.create(
        model="tool-calling", messages=user("one two three"), stream=True
    ) as raw:
        assert raw.headers["x-agentlora-skill"] == stack.registry.resolve("tool-calling").served_name
        lines = [line for line in raw.iter_lines() if line]
    assert len(lines) == 4
    assert lines[-1] == "data: [DONE]"


def test_a_client_that_leaves_cancels_the_backends_work(stack: Any) -> None:
    body = {"model": "base", "messages": user("slow")}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=0.5)
    until(lambda: stack.backend.cancelled == 1)


def test_unknown_fields_and_plain_completions_pass_through(stack: Any) -> None:
    extra = {"top_k": 3, "structured_outputs": {"json": {"type": "object"}}}
    stack.client.chat.completions.create(model="base", messages=user("hi"), extra_body=extra)
    assert stack.backend.chats[-1]["top_k"] == 3
    text = stack.client.completions.create(model="tool-calling", prompt="abc").choices[0].text
    assert text == f"{stack.registry.resolve('tool-calling').served_name}: abc"


@pytest.mark.parametrize("name", ["nope", "tool-calling@nope", "tool-calling@v9", "Not A Name"])
def test_an_unknown_model_is_404_and_says_what_there_is(stack: Any, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        stack.client.chat.completions.create(model=name, messages=user("hi"))
    body: Any = caught.value.body
    assert body["code"] == "model_not_found"
    assert "'auto' and 'base' always work" in body["message"]
    assert name in body["message"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{oops", "not JSON"),
        ("[1]", "must be an object"),
        ('{"model": 3}', "'model' is 3"),
        ('{"temperature": NaN}', "NaN is not a JSON number"),
        ('{"temperature": 1e999}', "1e999 is not a JSON number"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "half a character"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_a_bad_body_is_400(stack: Any, content: str, word: str) -> None:
    answer = httpx.post(f"{stack.url}/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"base": {"name": "other", "digest": "0the" * 16}},
            ["other (sha256:0the0the0the)", "tiny (sha256:ba5eba5eba5e)"],
        ),
        ({"template_digest": "ab" * 32}, ["chat template sha256:abababababab", "uses sha256:"]),
        ({"tool_call_parser": "mistral"}, ["'mistral'", "'hermes'"]),
        ({"serve_on": "transformers"}, ["'transformers'"]),
        (
            {"kind": "model", "serve_on": "none", "method": "full"},
            ["a model of its own (method 'full')", "--convert"],
        ),
        ({"rank": 64}, ["rank 64", "limit of 16"]),
    ],
)
def test_a_skill_of_another_pool_is_refused_and_gets_no_traffic(
    stack: Any, fields: dict[str, Any], words: list[str], tools: Any
) -> None:
    version = stack.publish(content="other", **fields)
    with pytest.raises(openai.ConflictError) as caught:
        stack.client.chat.completions.create(model="tool-calling", messages=user("hi"))
    assert all(word in str(caught.value) for word in words)
    assert version.served_name not in stack.backend.loads
    assert stack.client.chat.completions.create(model="auto", messages=user(ASK), tools=tools).model == "base"
    assert "tool-calling" not in {model.id for model in stack.client.models.list()}
    assert "tool-calling" in httpx.get(f"{stack.url}/healthz").json()["refused"]


def test_an_adapter_that_answers_like_the_base_is_refused(stack: Any) -> None:
    version = stack.publish(content="noop", silent=True)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError, match="answers like the base model") as caught:
            stack.client.chat.completions.create(model="tool-calling", messages=user("hi"))
        assert caught.value.status_code == 503
    assert stack.backend.loads.count(version.served_name) == 1  # the verdict is kept: its bytes never change
    assert version.served_name not in stack.backend.adapters
    assert not stack.backend.chats


def test_skills_can_be_loaded_before_the_first_request(stack: Any) -> None:
    silent = stack.publish(name="silent", content="noop", silent=True)
    failed = stack.shelf.load()
    assert failed.keys() == {"silent"}
    assert "answers like the base model" in failed["silent"]
    loaded = stack.registry.resolve("tool-calling").served_name
    assert stack.backend.adapters.keys() == {loaded}
    assert set(stack.backend.loads) == {loaded, silent.served_name}
    stack.client.chat.completions.create(model="tool-calling", messages=user("hi"))
    assert stack.backend.loads.count(loaded) == 1


def test_auto_asks_the_base_when_the_skill_cannot_answer(stack: Any, tools: Any) -> None:
    stack.publish(content="noop", silent=True)
    raw = stack.client.chat.completions.with_raw_response.create(
        model="auto", messages=user(ASK), tools=tools
    )
    assert raw.headers["x-agentlora-skill"] == "base"
    assert "answers like the base model" in raw.headers["x-agentlora-route"]
    assert raw.parse().model == "base"


@pytest.mark.parametrize("tools", [5, "call me", ["f"], [{"function": "f"}], [{"function": {}}]])
@pytest.mark.parametrize("model", ["auto", "tool-calling"])
def test_tools_of_a_wrong_kind_are_refused(stack: Any, model: str, tools: Any) -> None:
    body = {"model": model, "messages": user(ASK), "tools": tools}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "'tools' must be a list" in answer.json()["error"]["message"]


def test_many_first_requests_load_an_adapter_once(stack: Any) -> None:
    def ask(_: int) -> str:
        return str(stack.client.chat.completions.create(model="tool-calling", messages=user("hi")).model)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(stack.backend.loads) == 1


def test_an_adapter_that_a_restarted_backend_lost_is_loaded_again(stack: Any) -> None:
    stack.client.chat.completions.create(model="tool-calling", messages=user("hi"))
    stack.backend.adapters.clear()
    answer = stack.client.chat.completions.create(model="tool-calling", messages=user("hi again"))
    assert answer.model == stack.registry.resolve("tool-calling").served_name


def test_the_backends_own_errors_pass_through(stack: Any) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        stack.client.chat.completions.create(model="base", messages=user("break"))
    assert caught.value.response.headers["x-agentlora-skill"] == "base"


def test_healthz_and_route(stack: Any, tools: Any) -> None:
    assert httpx.get(f"{stack.url}/healthz").json() == {
        "status": "ok",
        "skills": ["tool-calling"],
        "refused": {},
    }
    body = {"messages": user(ASK), "tools": tools}
    decision = httpx.post(f"{stack.url}/v1/route", json=body).json()
    assert decision["choice"] == "tool-calling"
    assert decision["served_name"] == stack.registry.resolve("tool-calling").served_name
    assert not stack.backend.chats  # explained, not answered
    assert httpx.get(f"{stack.url}/v1/route", params={"text": "Hello!"}).json()["served_name"] == "base"


def test_what_vllm_offers_besides_is_not_exposed(stack: Any) -> None:
    answer = httpx.post(f"{stack.url}/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": "/"})
    assert answer.status_code == 404
    assert "POST /v1/chat/completions" in answer.json()["error"]["message"]
    assert not stack.backend.loads
