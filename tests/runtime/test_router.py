"""Routing: what decides, and that it says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentlora.core.types import JSON
from agentlora.runtime.router import TfidfRouter, general_chat

CHAT = [
    "Why do onions make you cry?",
    "Write a poem about the first snow",
    "What is the difference between a crocodile and an alligator?",
    "Explain how a compass works",
    "Who painted The Night Watch?",
    "Tell me a funny story about a goose",
    "What is 12 squared?",
    "How do I get over a breakup?",
]
ASKS = [
    "Please book a table for six at Chez Paul on 2027-01-15",
    "Can you cancel the flight from Madrid to Vienna for Tom Hale",
    "Switch off the lights in the garage",
    "I need you to reschedule my haircut appointment on Friday at 16:00",
    "Go ahead and confirm order number 99120",
    "Dim the lamp in the bedroom to 20 percent",
]


def ask(text: Any, tools: Any = ()) -> JSON:
    return {
        "messages": [{"role": "system", "content": "You help."}, {"role": "user", "content": text}],
        "tools": tools,
    }


@pytest.fixture(scope="module")
def router() -> TfidfRouter:
    return TfidfRouter()


@pytest.fixture
def state(router: TfidfRouter, tool_prompts: list[str]) -> JSON:
    return router.fit([{"skill": "calls", "needs_tools": True, "prompts": tool_prompts}])


def test_new_requests_go_to_the_skill_and_new_chat_to_the_base(
    router: TfidfRouter, state: JSON, tools: Any
) -> None:
    assert not set(CHAT) & set(general_chat())
    asked = [router.route(ask(text, tools), state) for text in ASKS]
    chatted = [router.route(ask(text, tools), state) for text in CHAT]
    assert [d.choice for d in asked] == ["calls"] * len(ASKS), asked
    assert [d.choice for d in chatted] == [None] * len(CHAT), chatted
    assert all("reads like the training prompts of calls" in d.why for d in asked)
    assert all("general chat" in d.why and d.runner_up == "calls" for d in chatted)
    assert all(0 <= d.margin <= 1 for d in asked + chatted)


def test_without_tools_a_skill_that_needs_them_is_not_eligible(router: TfidfRouter, state: JSON) -> None:
    decision = router.route(ask(ASKS[0]), state)
    assert (decision.choice, decision.why) == (None, "the request offers no tools")


def test_the_state_is_plain_json_and_holds_no_prompt(router: TfidfRouter, state: JSON, tools: Any) -> None:
    text = json.dumps(state, allow_nan=False)
    assert "table" not in text
    again = json.loads(text)
    assert router.route(ask(ASKS[0], tools), again) == router.route(ask(ASKS[0], tools), state)


def test_the_same_profiles_give_the_same_state(
    router: TfidfRouter, state: JSON, tool_prompts: list[str]
) -> None:
    assert router.fit([{"skill": "calls", "needs_tools": True, "prompts": tool_prompts}]) == state


def test_a_word_shared_with_a_tool_tips_the_scale(router: TfidfRouter, state: JSON) -> None:
    text = "what about a paediatrician near Lincoln"
    finder = {
        "type": "function",
        "function": {"name": "findPaediatrician", "description": "Doctors for children"},
    }
    other = {"type": "function", "function": {"name": "play_song", "description": "Music"}}
    shared, unshared = (router.route(ask(text, [tool]), state) for tool in (finder, other))
    assert (shared.choice, unshared.choice) == (None, None)  # far from every prompt, but one of them less far
    assert shared.margin < unshared.margin


def test_two_skills_are_told_apart(router: TfidfRouter, tool_prompts: list[str], tools: Any) -> None:
    laws = [
        f"Which paragraph of the {code} code covers {topic}?"
        for code in ("civil", "penal", "tax")
        for topic in ("theft", "inheritance", "deductions", "divorce", "fraud", "leases", "libel", "customs")
    ]
    profiles = [
        {"skill": "calls", "needs_tools": True, "prompts": tool_prompts},
        {"skill": "law", "prompts": laws},
    ]
    state = router.fit(profiles)
    assert router.route(ask("Which paragraph of the tax code covers gifts?", tools), state).choice == "law"
    assert router.route(ask("Which paragraph of the tax code covers gifts?"), state).choice == "law"
    assert router.route(ask(ASKS[0], tools), state).choice == "calls"
    assert router.route(ask("Why do onions make you cry?", tools), state).choice is None


def test_a_profiles_negatives_are_learnt(router: TfidfRouter, tool_prompts: list[str], tools: Any) -> None:
    text = "Please review my essay about Luigi's table manners"
    negatives = [
        f"Please review my {thing} about {topic}"
        for thing in ("essay", "thesis", "speech", "draft")
        for topic in ("table manners", "Luigi's childhood", "dentists", "taxi drivers", "Rome")
    ]
    profile = {"skill": "calls", "needs_tools": True, "prompts": tool_prompts}
    plain, taught = router.fit([profile]), router.fit([{**profile, "negatives": negatives}])
    assert router.route(ask(text, tools), taught).choice is None
    assert router.route(ask(text, tools), plain) != router.route(ask(text, tools), taught)


@pytest.mark.parametrize("content", [None, "", "   ", [], [{"type": "image_url", "image_url": {}}], 7])
def test_a_request_without_text_goes_to_the_base(
    router: TfidfRouter, state: JSON, tools: Any, content: Any
) -> None:
    decision = router.route(ask(content, tools), state)
    assert decision.choice is None
    assert "no text" in decision.why


def test_parts_and_tool_results_and_strange_requests(router: TfidfRouter, state: JSON, tools: Any) -> None:
    parts = [{"type": "text", "text": ASKS[0]}]
    assert router.route(ask(parts, tools), state).choice == "calls"
    answered = ask(ASKS[0], tools)
    answered["messages"].append({"role": "tool", "content": "Why is the sky blue?"})
    assert (
        router.route(answered, state).choice == "calls"
    )  # the user's turn decides, also after a tool's answer
    for strange in ({}, {"messages": None}, {"messages": ["x"], "tools": ["y", 3]}, {"tools": tools}):
        assert router.route(strange, state).choice is None


def test_no_skill_and_a_skill_with_too_few_prompts(router: TfidfRouter, tools: Any) -> None:
    for profiles in ([], [{"skill": "mute", "prompts": ["only one"]}], [{"skill": "mute"}]):
        decision = router.route(ask(ASKS[0], tools), router.fit(profiles))
        assert (decision.choice, decision.why) == (None, "no skill can be routed to")
