"""Cases of a model as a judge: what an endpoint may say, over HTTP, and what is read in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_evaluator_cases import Case, cases, sheet, written

from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.core.types import Example, Expected, Output
from agentlora.eval.scorers.judge import MOST_REASON, Judge

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

from json_server import json_server

VERDICTS = {"right": 1, "partly": 0.5, "wrong": 0}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Answers a request about ``case 7`` as the seventh case has it."""

    def answer(body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, bytes]:
        shown = json.loads(body["messages"][1]["content"])
        case = sheet("judge")["cases"][int(shown["answer"].removeprefix("case "))]
        message: dict[str, Any] = {"content": None if case["says"] is None else written(case["says"])}
        if "calls" in case:
            message["tool_calls"] = [{"type": "function", "function": call} for call in case["calls"]]
        choice = {"message": message, "finish_reason": case.get("ended", "stop")}
        return case.get("status", 200), json.dumps({"choices": [choice]}).encode()

    with json_server(answer) as url:
        yield f"{url}/v1#m"


@pytest.mark.parametrize("case", cases("judge"))
def test_judge(case: Case, endpoint: str) -> None:
    raw = {"endpoint": endpoint, "verdicts": VERDICTS, "options": {"retries": 0}, **case.get("settings", {})}
    if "refused" in case:
        with pytest.raises(ConfigError, match=case["refused"]):
            parse(Judge.Params, raw)
        return
    asked = Example("x", ({"role": "user", "content": "Capital?"},), Expected(text="Paris"))
    number = sheet("judge")["cases"].index(case)
    score = Judge().configured(parse(Judge.Params, raw)).score(asked, Output("x", f"case {number}"))
    if "unscored" in case:
        assert case["unscored"] in str(score.unscored), score
        assert not score.metrics
        return
    assert score.metrics == {"score": case["score"]}, score
    assert bool(score.why) == (case["score"] != 1)  # what is wrong has a reason, and only that
    assert len(score.why) < MOST_REASON + 20
