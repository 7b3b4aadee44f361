"""Data as others publish it: every format is recognised and converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published_rows import (
    ALPACA,
    CHAT_COMPLETION,
    COMPLETION,
    GLAIVE,
    HERMES,
    IMPLICIT,
    LOG,
    LOG_AS_TEXT,
    OPENAI_PREFERENCE,
    OPENAI_TOOL,
    OSLO,
    PLAIN_TOOL,
    PREFERENCE,
    SHAREGPT,
    TOOLACE,
    TOOLS_AS_TEXT,
    WEATHER,
    XLAM,
    examples_of,
    says,
    user,
    write,
)

from agentlora.core.errors import DataError
from agentlora.core.types import Expected, Split, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@pytest.mark.parametrize(
    ("row", "name", "expected", "tools"),
    [
        (XLAM, "xlam", [Expected(calls=(OSLO,))], ["get_weather"]),
        (SHAREGPT, "sharegpt", [Expected(calls=(OSLO,)), Expected(text="It is clear.")], ["get_weather"]),
        (HERMES, "sharegpt", [Expected(calls=(OSLO,)), Expected(text="It is clear.")], ["get_weather"]),
        (GLAIVE, "glaive", [Expected(calls=(OSLO,)), Expected(text="It is clear.")], ["get_weather"]),
        (TOOLACE, "toolace", [Expected(calls=(ToolCall("Get Weather", {"city": "Oslo", "days": 2}),)),
                              Expected(text="It is clear.")], ["Get Weather"]),
        (ALPACA, "alpaca", [Expected(text="mer")], []),
        (COMPLETION, "completion", [Expected(text="deep.")], []),
        (CHAT_COMPLETION, "completion", [Expected(text="It is clear.")], []),
        (PREFERENCE, "preference", [Expected(text="Clear.")], []),
        (IMPLICIT, "preference", [Expected(text="Hello!")], []),
        (LOG, "log", [Expected(calls=(OSLO,))], ["get_weather"]),
        (LOG_AS_TEXT, "log", [Expected(calls=(OSLO,))], ["get_weather"]),
        (TOOLS_AS_TEXT, "openai", [Expected(calls=(OSLO,))], ["get_weather"]),
        (OPENAI_PREFERENCE, "openai-preference", [Expected(text="Clear.")], ["get_weather"]),
    ],
)  # fmt: skip
def test_every_format_becomes_examples(
    tmp_path: Path, row: Any, name: str, expected: list[Expected], tools: list[str]
) -> None:
    path = write(tmp_path / "rows.jsonl", row)
    found = examples_of(path, strict=True)
    assert [e.expected for e in found] == expected
    assert all([t["function"]["name"] for t in e.tools] == tools for e in found)
    assert all(e.messages[-1]["role"] in ("user", "tool") for e in found)
    builder, params = Jsonl(), JsonlParams(path=str(path), dev_share=0, test_share=0)
    list(builder.build("train", params, 0))
    assert builder.card(params)["formats"] == {name: len(expected)}


def test_parts_are_where_they_belong(tmp_path: Path) -> None:
    hermes = examples_of(write(tmp_path / "h.jsonl", HERMES))
    assert hermes[0].messages[0] == {"role": "system", "content": "You are kind."}
    assert hermes[1].messages[-1] == {"role": "tool", "content": "clear"}
    xlam = examples_of(write(tmp_path / "x.jsonl", XLAM))[0].tools[0]["function"]["parameters"]
    assert xlam == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name"},
            "days": {"type": "integer", "default": 1},
        },
        "required": ["city"],
    }
    toolace = examples_of(write(tmp_path / "t.jsonl", TOOLACE))[0].tools[0]["function"]["parameters"]
    assert toolace["type"] == "object"
    assert toolace["properties"]["days"] == {"type": "integer"}
    preferred = examples_of(
        write(tmp_path / "p.jsonl", PREFERENCE, IMPLICIT, {**OPENAI_PREFERENCE, "weight": 2})
    )
    no, what = Expected(text="No idea."), Expected(text="What?")
    assert [(e.rejected, e.weight) for e in preferred] == [(no, 1), (what, 1), (no, 2)]
    glaive = examples_of(write(tmp_path / "g.jsonl", GLAIVE))
    assert glaive[0].messages[0]["content"] == "You are a helpful assistant."


WHOLE = [user("What is A?"), says("B"), user("and C?")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is A?", "chosen": [*WHOLE, says("D")], "rejected": [*WHOLE, says("E")]},
        {"prompt": WHOLE[:1], "chosen": [*WHOLE[1:], says("D")], "rejected": [*WHOLE[1:], says("E")]},
        {"prompt": WHOLE, "chosen": [*WHOLE, says("D")], "rejected": "E"},
        {"prompt": "What is A?", "chosen": [*WHOLE, says("D", score=3)], "rejected": [*WHOLE[1:], says("E")]},
        {"chosen": [*WHOLE, says("D")], "rejected": [*WHOLE, says("E")]},
    ],
)
def test_pairs_keep_all_turns_that_both_answer(tmp_path: Path, row: Any) -> None:
    (found,) = examples_of(write(tmp_path / "rows.jsonl", row), strict=True)
    assert [(m["role"], m["content"]) for m in found.messages] == [(m["role"], m["content"]) for m in WHOLE]
    assert (found.expected.text, found.rejected) == ("D", Expected(text="E"))


@pytest.mark.parametrize("told_by", ["prompt", "chosen"])
def test_pairs_keep_the_system_turn_that_either_part_has(tmp_path: Path, told_by: str) -> None:
    system = {"role": "system", "content": "Be brief."}
    prompt = [system, user("Hi")] if told_by == "prompt" else "Hi"
    whole = [user("Hi")] if told_by == "prompt" else [system, user("Hi")]
    row = {"prompt": prompt, "chosen": [*whole, says("Ho")], "rejected": [*whole, says("No")]}
    (found,) = examples_of(write(tmp_path / "rows.jsonl", row), strict=True)
    assert list(found.messages) == [system, user("Hi")]


def test_every_answer_of_a_conversation_is_trained_but_those_of_weight_0(tmp_path: Path) -> None:
    turns = [user("1"), says("one"), user("2"), says("two", weight=0), user("3"), says("three", weight=1)]
    names = {"user": "human", "assistant": "gpt"}
    sharegpt = [{"from": names[m["role"]], "value": m["content"], **{k: m[k] for k in m if k == "weight"}}
                for m in turns]  # fmt: skip
    for row in ({"messages": turns}, {"prompt": "1", "completion": turns[1:]}, {"conversations": sharegpt}):
        found = examples_of(write(tmp_path / "rows.jsonl", row), strict=True)
        assert [e.expected.text for e in found] == ["one", "three"]
        assert [m["content"] for m in found[1].messages] == ["1", "one", "2", "two", "3"]
        assert not any("weight" in m for e in found for m in e.messages)
        assert len({e.group for e in found}) == 1
    (last,) = examples_of(
        write(tmp_path / "p.jsonl", {"prompt": turns[:3], "completion": turns[5:]}), strict=True
    )
    assert last.expected.text == "three"  # answers in a prompt are part of it


def test_a_conversation_too_long_to_be_taken_apart_is_told(tmp_path: Path) -> None:
    turns = [user("1"), says("2")] * 20_000
    with pytest.raises(DataError, match=r"40,000 turns .* is too long to train 20,000 answers"):
        examples_of(write(tmp_path / "rows.jsonl", {"messages": turns}), strict=True)


OLD = [
    user("Weather in Oslo?"),
    says(None, function_call={"name": "get_weather", "arguments": '{"city": "Oslo"}'}),
    {"role": "function", "name": "get_weather", "content": "clear"},
    says("It is clear."),
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": OLD, "functions": [PLAIN_TOOL]},
        {"messages": OLD, "functions": [PLAIN_TOOL], "success": True},
        {"prompt": OLD[:1], "completion": OLD[1:], "functions": [PLAIN_TOOL]},
        {
            "request": {"messages": OLD[:3], "functions": [PLAIN_TOOL]},
            "response": {"choices": [{"message": OLD[3]}]},
        },
    ],
)
def test_openais_older_functions_are_tools(tmp_path: Path, row: Any) -> None:
    *first, last = examples_of(write(tmp_path / "rows.jsonl", row), strict=True)
    assert [e.expected.calls for e in first] == ([] if "request" in row else [(OSLO,)])
    assert list(last.tools) == [OPENAI_TOOL]
    assert [m["role"] for m in last.messages] == ["user", "assistant", "tool"]
    assert last.messages[1]["tool_calls"][0]["function"] == {
        "name": "get_weather",
        "arguments": {"city": "Oslo"},
    }
    assert not any("function_call" in m for m in last.messages)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "<tool_call>" * 10**6}]},
        {"conversations": [{"from": "system", "value": "<tools>" * 10**6}, *SHAREGPT["conversations"][:1]]},
        {"trajectory": "\n" * 10**6, "question": "x"},
        {"trajectory": "Action: a" + "\n" * 10**6, "question": "x"},
        {"trajectory": "Action: a\nAction Input: ```" + "\n" * 10**6 + "x", "question": "x"},
        {**GLAIVE, "chat": "USER: x ASSISTANT: " + "<functioncall> {" * 10**6},
        {**GLAIVE, "chat": "USER: x ASSISTANT: <functioncall> " + "\"arguments\": '" * 10**6 + "}"},
        {**XLAM, "tools": json.dumps([{**WEATHER, "parameters": {"a": {"type": ", optional" * 10**5 + "\n"}}}])},
    ],
)  # fmt: skip
def test_what_is_looked_for_in_long_texts_is_looked_for_once(tmp_path: Path, row: Any) -> None:
    """Megabytes that took hours where every mark looked for its end through all that follows."""
    path = write(tmp_path / "rows.jsonl", {"messages": [user("x"), says("y")]}, row)
    assert len(examples_of(path)) in (1, 2, 3)


def test_names_of_types_and_values_are_read(tmp_path: Path) -> None:
    kinds = {"a": "List[Union[int, float]]", "b": "Tuple[int, int]", "c": "Dict[str, Any], optional",
             "d": "Optional[str]", "e": "Callable[[float], float]", "f": "List[str], default []",
             "g": "List[List[int]]"}  # fmt: skip
    tools = [{**WEATHER, "parameters": {name: {"type": kind} for name, kind in kinds.items()}}]
    answer = [{"name": "get_weather", "arguments": {"a": [1.5], "b": [1, 2], "d": "x", "e": "f", "g": [[1]]}}]
    row = {"query": "?", "answers": json.dumps(answer), "tools": json.dumps(tools)}
    found = examples_of(write(tmp_path / "x.jsonl", row), strict=True)[0].tools[0]["function"]["parameters"]
    assert found["properties"] == {
        "a": {"type": "array"}, "b": {"type": "array"}, "c": {"type": "object"}, "d": {"type": "string"}, "e": {},
        "f": {"type": "array", "items": {"type": "string"}},
        "g": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    }  # fmt: skip
    assert found["required"] == ["a", "b", "e", "g"]
    talk = [
        {"from": "user", "value": "Weather?"},
        {"from": "assistant", "value": '[Get Weather(city="use Get Weather(x)", days=null)]'},
    ]
    system = (
        TOOLACE["system"]
        .replace('"int"', '["integer", "null"]')
        .replace("You are an expert.", "Today is Monday.")
    )  # type: ignore[attr-defined]
    example = examples_of(
        write(tmp_path / "t.jsonl", {"system": system, "conversations": talk}), strict=True
    )[0]
    assert example.expected.calls[0].arguments == {"city": "use Get Weather(x)", "days": None}
    assert example.messages[0] == {"role": "system", "content": "Today is Monday."}


def test_columns_of_others_are_let_pass_and_misspelt_ones_are_not(tmp_path: Path) -> None:
    row = {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"},
           {"role": "assistant", "content": "Ho"}], "source": "somewhere", "num_turns": 1}  # fmt: skip
    assert examples_of(write(tmp_path / "a.jsonl", row), strict=True)[0].messages[0]["role"] == "system"
    with pytest.raises(DataError, match="Did you mean 'tools'"):
        examples_of(write(tmp_path / "b.jsonl", {**row, "tolls": []}), strict=True)


def test_cells_that_look_like_json_stay_texts_where_texts_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('instruction,input,output\nSort it,"[3, 1]","[1, 3]"\n')
    found = examples_of(path, strict=True)[0]
    assert found.expected.text == "[1, 3]"
    assert found.messages[0]["content"] == "Sort it\n\n[3, 1]"


def test_answers_of_one_conversation_stay_in_one_split(tmp_path: Path) -> None:
    def talk(n: int) -> Any:
        turns = [{"from": who, "value": f"{who} {n} {i}"} for i in range(3) for who in ("human", "gpt")]
        return {"conversations": turns}

    path = write(tmp_path / "rows.jsonl", *(talk(n) for n in range(40)))
    splits = {s: list(Jsonl().build(s, JsonlParams(path=str(path)), 0)) for s in SPLITS}
    assert sum(map(len, splits.values())) == 120
    owners = [{e.messages[0]["content"] for e in splits[s]} for s in SPLITS]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]


def test_rows_that_ask_nearly_the_same_stay_in_one_split(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": text.format(n)}, {"role": "assistant", "content": f"{n}"}]}
        for n in range(50)
        for text in ("What is thing {}?", "what is  thing {}", "WHAT IS THING {} ?!")
    ]
    path = write(tmp_path / "rows.jsonl", *rows)
    splits = {s: list(Jsonl().build(s, JsonlParams(path=str(path)), 0)) for s in SPLITS}
    answers = [{e.expected.text for e in splits[s]} for s in SPLITS]
    assert all(answers)
    assert not answers[0] & answers[1] | answers[0] & answers[2] | answers[1] & answers[2]
