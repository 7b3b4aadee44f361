"""What agents did becomes examples: ReAct text, steps, conversations with an outcome; only runs that succeeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.errors import DataError
from agentlora.core.types import Example, ToolCall
from agentlora.plugins.datasets.files import RawRow
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams
from agentlora.plugins.datasets.rows import Rows, parse_rows

TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches the web.",
        "parameters": {"type": "object", "properties": {"words": {"type": "string"}, "most": {"type": "integer"}},
                       "required": ["words"]},
    },
}  # fmt: skip
REACT = """Question: How high is the Galdhøpiggen?
Thought: I should look it up.
Action: search
Action Input: {"words": "Galdhøpiggen height", "most": 3}
Observation: 2,469 m
Thought: I know it now.
Final Answer: It is 2,469 metres high."""
PAPER = """Thought 1: I look it up.
Action 1: search[Galdhøpiggen]
Observation 1: A mountain in Norway, 2,469 m.
Action 2: Finish[2,469 metres]"""
CALL = ToolCall("search", {"words": "Galdhøpiggen height", "most": 3})


def read(*rows: Any, strict: bool = True) -> Rows:
    return parse_rows([RawRow(f"f:{n}", row) for n, row in enumerate(rows, 1)], strict=strict)


def examples(*rows: Any) -> list[Example]:
    return read(*rows).examples


@pytest.mark.parametrize(
    "row",
    [
        {"trajectory": REACT},
        {"task": "How high is the Galdhøpiggen?", "trace": REACT.partition("\n")[2]},
        {
            "question": "How high is the Galdhøpiggen?",
            "steps": [
                {
                    "tool": "search",
                    "tool_input": {"words": "Galdhøpiggen height", "most": 3},
                    "output": "2,469 m",
                }
            ],
            "answer": "It is 2,469 metres high.",
        },
        {  # LangChain's
            "input": "How high is the Galdhøpiggen?",
            "intermediate_steps": [
                [{"tool": "search", "tool_input": CALL.arguments, "log": "I should look it up."}, "2,469 m"]
            ],
            "output": "It is 2,469 metres high.",
        },
    ],
)
def test_every_call_and_answer_of_a_run_is_an_example(row: dict[str, Any]) -> None:
    first, last = examples(row | {"tools": [TOOL], "success": True})
    assert first.expected.calls == (CALL,)
    assert [m["role"] for m in first.messages] == ["user"]
    assert last.expected.text == "It is 2,469 metres high."
    assert [m["role"] for m in last.messages] == ["user", "assistant", "tool"]
    assert last.messages[-1]["content"] == "2,469 m"
    assert first.group == last.group  # a run is never divided
    assert "Thought" not in json.dumps([e.to_dict() for e in (first, last)])


def test_an_argument_without_a_name_is_that_of_the_only_parameter() -> None:
    first, last = examples({"question": "How high?", "trajectory": PAPER, "tools": [TOOL]})
    assert first.expected.calls == (ToolCall("search", {"words": "Galdhøpiggen"}),)
    assert last.expected.text == "2,469 metres"


@pytest.mark.parametrize(
    "text",
    [
        "Action: search\nAction Input: x\nObservation: y\nAction: Finish\nAction Input: It is y.",
        "Action: search\nAction Input: x\nObservation: y\nQuestion: what?\nAction: Finish[It is y.]\nObservation: End.",
        'Action: search("x")\nObservation: y\nFinal Answer: It is y.',
        "Action: search(words='x')\nObservation: y\nFinal Answer: It is y.",
        'Action: {"action": "search", "action_input": {"words": "x"}}\nObservation: y\nFinal Answer: It is y.',
        "Action: search\nAction Input: {'words': 'x'}\nObservation: y\nFinal Answer: It is y.",
        'Action: search\nAction Input: ```json\n{"words": "x"}\n```\nObservation: y\nFinal Answer: It is y.',
    ],
)
def test_the_ways_of_react_are_read(text: str) -> None:
    first, last = examples(
        {"question": "What is x?", "task": "hotpotqa", "trajectory": text, "tools": [TOOL]}
    )
    assert first.expected.calls == (ToolCall("search", {"words": "x"}),)
    assert last.expected.text == "It is y."
    assert last.messages[0]["content"] == "What is x?"
    assert last.messages[-1]["content"].startswith("y")


def test_idle_actions_flat_arguments_and_names_with_spaces() -> None:
    text = "Action: search\nAction Input: x\nObservation: y\nAction: None\nObservation: z\nFinal Answer: It is y."
    first, last = examples({"question": "What is x?", "trajectory": text, "tools": [TOOL]})
    assert (first.expected.calls[0].name, last.messages[-1]["content"]) == ("search", "y")
    steps = [{"thought": "Look"}, {"tool": "Google Search", "words": "x", "observation": "y", "step": 1}]
    first, _ = examples(
        {"question": "What is x?", "steps": steps[1:], "result": "success", "answer": "It is y."}
    )
    assert first.expected.calls == (ToolCall("Google Search", {"words": "x"}),)
    with pytest.raises(DataError, match="a step names its tool"):
        examples({"question": "What is x?", "steps": steps, "answer": "It is y."})
    assert len(examples({"question": "What is x?", "steps": steps[1:], "result": "success"})) == 1


def test_talk_with_a_reward_is_no_run() -> None:
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
    assert len(examples({"conversations": talk, "reward": 0.93})) == 1
    call = {"from": "function_call", "value": '{"name": "search", "arguments": {"words": "x"}}'}
    with pytest.raises(DataError, match="none of 1 runs succeeded"):
        read({"conversations": [talk[0], call, talk[1]], "reward": 0.93, "tools": json.dumps([TOOL])})


def test_steps_with_nulls_a_finish_and_nothing_observed() -> None:
    steps = [
        {"tool": "search", "tool_input": None, "args": {"words": "x"}, "observation": None, "output": "y"},
        {"action": {"name": "search", "arguments": {"words": "z"}}},
        {"tool": "finish", "tool_input": {"answer": "It is z."}},
    ]
    first, second, last = examples(
        {"instruction": "Find", "input": "x and z", "steps": steps, "tools": json.dumps([TOOL])}
    )
    assert [e.expected.calls[0].arguments["words"] for e in (first, second)] == ["x", "z"]
    assert last.expected.text == "It is z."
    assert [m["content"] for m in last.messages if m["role"] == "tool"] == ["y", ""]
    assert first.messages[0]["content"] == "Find\n\nx and z"


def test_a_step_that_failed_has_its_error_as_its_result() -> None:
    steps = [{"tool": "search", "tool_input": {"words": "x"}, "error": "boom"},
             {"tool": "search", "tool_input": {"words": "y"}, "error": {"code": 7}},
             {"tool": "search", "tool_input": {"words": "z"}, "error": "late", "observation": "found"}]  # fmt: skip
    last = examples({"question": "q", "steps": steps, "answer": "a"})[-1]
    results = [m["content"] for m in last.messages if m["role"] == "tool"]
    assert results == ["boom", '{"code": 7}', "found"]


def test_what_is_no_run_stays_what_it_is() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    for more in ({"score": 0.3}, {"reward": -1.2}, {"status": "draft"}):
        (example,) = examples({"messages": talk, **more})
        assert example.expected.text == "Hello."
    pair = {
        "prompt": "Hi",
        "chosen": talk[1:],
        "rejected": [{"role": "assistant", "content": "No."}],
        "score": 0.2,
    }
    assert examples(pair)[0].rejected is not None
    (bread,) = examples({"instruction": "Bake", "output": "Done.", "steps": [{"action": "Knead the dough"}]})
    assert bread.expected.text == "Done."


def test_types_of_tools_that_are_not_said_hold_all_that_was_given() -> None:
    steps = [{"tool": "add", "args": {"x": value}, "output": "1"} for value in (1.5, 2, None)]
    first, *_ = examples({"question": "Add", "steps": steps, "answer": "Done."})
    assert first.tools[0]["function"]["parameters"]["properties"] == {"x": {"type": ["number", "null"]}}


def test_tools_that_are_not_said_are_those_that_were_called() -> None:
    first, _ = examples({"trajectory": REACT})
    (tool,) = first.tools
    assert tool["function"]["name"] == "search"
    assert tool["function"]["parameters"]["properties"] == {
        "words": {"type": "string"},
        "most": {"type": "integer"},
    }


@pytest.mark.parametrize(
    "outcome",
    [
        {"success": False},
        {"reward": 0.4},
        {"score": 0},
        {"status": "failed"},
        {"passed": "false"},
        {"is_correct": 0},
    ],
)
def test_runs_that_failed_are_left_out_and_counted(outcome: dict[str, Any]) -> None:
    good = {"trajectory": REACT, "tools": [TOOL], "reward": 1.0}
    found = read(good, {**good, "reward": 1, **outcome})
    assert (len(found.examples), found.unsuccessful, found.bad) == (2, 1, [])
    with pytest.raises(DataError, match="none of 1 runs succeeded"):
        read({"trajectory": REACT} | outcome)


def test_a_conversation_with_an_outcome_is_a_run() -> None:
    messages = [
        {"role": "user", "content": "How high?"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "search", "arguments":
         '{"words": "x"}'}}]},
        {"role": "tool", "content": "2,469 m"},
        {"role": "assistant", "content": "2,469 m."},
    ]  # fmt: skip
    found = examples({"messages": messages, "tools": [TOOL], "reward": 1.0})
    assert [bool(e.expected.calls) for e in found] == [True, False]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"trajectory": PAPER}, "what the agent was asked is missing"),
        ({"question": "x", "steps": [{"tool": "a"}, {"note": "b"}]}, "a step names its tool"),
        ({"question": "x", "trajectory": "Action:\nObservation: y"}, "an action names a tool"),
        ({"question": "x", "trajectory": "Action Input: 3\nFinal Answer: y"}, "has no 'Action:' before it"),
    ],
)
def test_what_cannot_be_read_is_told(row: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        read(row)
    assert read(row, {"trajectory": REACT}, strict=False).bad


def test_rows_with_steps_that_are_no_tools_stay_what_they_are() -> None:
    (example,) = examples({"instruction": "Bake bread", "output": "Like this.", "steps": ["Knead", "Bake"]})
    assert example.expected.text == "Like this."


def test_the_card_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [{"question": f"How high is hill {n}?", "trajectory": PAPER, "tools": [TOOL], "success": n % 3 > 0} for n in
            range(30)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    builder, params = Jsonl(), JsonlParams(path=str(path), near_duplicates=1)
    assert len(list(builder.build("train", params, 0))) > 20
    card = builder.card(params)
    assert "10 runs that did not succeed are left out." in card["notes"]
    assert card["formats"] == {"trajectory": 40}
