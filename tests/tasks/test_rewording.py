"""What asks for the same in other words, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from agentlora.core.config import parse
from agentlora.core.types import Example, Expected, ToolCall
from agentlora.tasks.tool_calling.rewording import Rewording
from agentlora.tasks.tool_calling.toolspec import Conversion, ToolSpec
from agentlora.tasks.tool_calling.user_tools import UserToolParams

PARAMETERS = {
    "type": "object",
    "properties": {
        "repo": {"type": "string"},
        "limit": {"type": "integer"},
        "state": {"type": "string", "enum": ["not_planned", "open"]},
        "timeout_s": {"type": "integer"},
    },
}
UNIT = Conversion(
    "timeout_s", [{"say": "two hours", "value": 7200}, {"say": "120 minutes", "value": 7200}], ()
)
SPEC = ToolSpec(
    "repos", "find_repos", "Finds repositories.", PARAMETERS, {}, (), (), "train", "user-tools",
    conversions={"unit": [UNIT]},
)  # fmt: skip
GONE, NEW, UNSAID = "a name or number is gone", "a name or number that was not said", "a value is not said"
REWORDING = Rewording(parse(UserToolParams, {"request_chars_max": 300}), {"find_repos": SPEC})


def asked(text: str, *calls: dict[str, Any], case: str = "choice") -> Example:
    expected = (
        Expected(tuple(ToolCall("find_repos", call) for call in calls)) if calls else Expected(text="No.")
    )
    return Example("e", ({"role": "user", "content": text},), expected, (SPEC.openai(),), tags={"case": case})


@pytest.mark.parametrize(
    ("example", "text", "problem"),
    [
        (asked("Find webshop, limit 2500", {"repo": "webshop", "limit": 2500}), "I'm to find 2,500 of webshop", ""),
        (asked("Find webshop, limit 25", {"repo": "webshop", "limit": 25}), "find me twenty-five of webshop", ""),
        (asked("Find webshop, limit 5", {"repo": "webshop", "limit": 5}), "find twenty-five of webshop", UNSAID),
        (asked("Find webshop, limit 12", {"repo": "webshop", "limit": 12}), "find 12.5 of webshop", UNSAID),
        (asked("Find webshop", {"repo": "webshop"}), "find me Webshop", UNSAID),
        (asked("Find webshop", {"repo": "webshop"}), "find webshop-old", UNSAID),
        (asked("Find what is not planned", {"state": "not_planned"}), "Not planned: what can you find?", ""),
        (asked("Find it, for two hours", {"timeout_s": 7200}), "take 120 minutes and find it", ""),
        (asked("Find it, for two hours", {"timeout_s": 7200}), "take two days and find it", UNSAID),
        (asked("Find webshop", {"repo": "webshop"}), "find webshop and four more", NEW),
        (asked("Find webshop", {"repo": "webshop"}), "find webshop for Anna", NEW),
        (asked("Find a, then b", {"repo": "a"}, {"repo": "b"}), "first find a and later b", ""),
        (asked("Find aa, then bb", {"repo": "aa"}, {"repo": "bb"}), "find bb after aa", "calls in another order"),
        (asked("Find order 12 in Rome", case="none_fits"), "is the order called 12 found in Rome", ""),
        (asked("Find order 12 in Rome", case="none_fits"), "is the order found in Rome", GONE),
        (asked("Find order 12", case="missing"), "find order 12 of Anna", NEW),
        (asked("List the repositories", {}), "I'm sorry, I can't help you with that", "nothing of the request is left"),
        (asked("List the repositories", {}), "List the repositories!", "no other words"),
        (asked("List the repositories", {}), "call find_repos for the repositories", "the name of a tool or parameter"),
    ],
)  # fmt: skip
def test_every_value_is_said_and_no_other(example: Example, text: str, problem: str) -> None:
    assert REWORDING.problem(example, text) == problem


def test_what_could_not_be_checked_is_not_asked() -> None:
    assert "find_repos" in REWORDING.prompt(asked("Find webshop", {"repo": "webshop"}), 2)
    assert REWORDING.prompt(asked("Find the shop", {"repo": "webshop"}), 2) == ""
    assert REWORDING.takes(asked("Find webshop", {"repo": "webshop"}))
    assert not REWORDING.takes(asked("Find webshop, then its owner", {"repo": "webshop"}, case="steps"))
    assert not REWORDING.takes(asked("Hello there", case="text"))
