"""Data as others publish it: every format is recognised, converted and checked; broken rows are left out and told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.errors import DataError
from agentlora.core.types import Example, Expected, Split, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
WEATHER = {"name": "get_weather", "description": "Weather of a city."}
OPENAI_TOOL = {
    "type": "function",
    "function": {
        **WEATHER,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PLAIN_TOOL = {**WEATHER, "parameters": OPENAI_TOOL["function"]["parameters"]}  # type: ignore[index]
OSLO = ToolCall("get_weather", {"city": "Oslo"})

UNCLOSED = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}'
CLOSED = f"{UNCLOSED}</tool_call>"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


XLAM = {
    "query": "Weather in Oslo?",
    "answers": '[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    "tools": json.dumps([{**WEATHER, "parameters": {"city": {"type": "str", "description": "Its name"}, "days": {"type":
             "int, optional", "default": 1}}}]),
}  # fmt: skip
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Weather in Oslo?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": '{"sky": "clear"}'},
        {"from": "gpt", "value": "It is clear."},
    ],
    "system": "You help.",
    "tools": json.dumps([PLAIN_TOOL]),
}
HERMES = {
    "conversations": [
        {"from": "system", "value": "You are kind. You are a function calling AI. You are provided with functions "
         "within <tools> </tools> XML tags. Here are the available tools: <tools>\n" + json.dumps([OPENAI_TOOL])
         + "\n</tools> For each function call return JSON within <tool_call> </tool_call> tags."},
        {"from": "human", "value": "Weather in Oslo?"},
        {"from": "gpt", "value": "<tool_call>\n{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}\n</tool_call>"},
        {"from": "tool", "value": "<tool_response>\nclear\n</tool_response>"},
        {"from": "gpt", "value": "It is clear."},
    ],
}  # fmt: skip
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(PLAIN_TOOL, indent=4),
    "chat": "USER: Weather in Oslo?\n\n\n"
    "ASSISTANT: <functioncall> {\"name\": \"get_weather\", \"arguments\": '{\"city\": "
    "\"Oslo\"}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"sky\": \"clear\"}\n\n\nASSISTANT: It is clear. <|endoftext|>",
}  # fmt: skip
TOOLACE = {
    "system": "You are an expert. Here is a list of functions in JSON format that you can invoke:\n"
    + json.dumps([{"name": "Get Weather", "description": "Weather.", "parameters": {"type": "dict", "properties":
      {"city": {"type": "string"}, "days": {"type": "int"}}, "required": ["city"]}, "required": None}]) + "\nUse them.",
    "conversations": [
        {"from": "user", "value": "Weather in Oslo for 2 days?"},
        {"from": "assistant", "value": '[Get Weather(city="Oslo", days=2)]'},
        {"from": "tool", "value": "clear"},
        {"from": "assistant", "value": "It is clear."},
    ],
}  # fmt: skip
ALPACA = {"instruction": "Translate to French.", "input": "sea", "output": "mer"}
COMPLETION = {"prompt": "The sea is", "completion": "deep."}
CHAT_COMPLETION = {
    "prompt": [{"role": "user", "content": "Weather in Oslo?"}],
    "completion": [{"role": "assistant", "content": "It is clear."}],
}
PREFERENCE = {
    "prompt": [{"role": "user", "content": "Weather in Oslo?"}],
    "chosen": [{"role": "assistant", "content": "Clear."}],
    "rejected": [{"role": "assistant", "content": "No idea."}],
}
IMPLICIT = {
    "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
    "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}],
}
LOG = {
    "request": {"model": "big", "temperature": 0, "messages": [{"role": "user", "content": "Weather in Oslo?"}],
                "tools": [OPENAI_TOOL]},
    "response": {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments":
        '{"city": "Oslo"}'}}]}}]},
}  # fmt: skip


def examples_of(path: Path, **settings: Any) -> list[Example]:
    builder = Jsonl()
    params = JsonlParams(path=str(path), dev_share=0, test_share=0, **settings)
    found = list(builder.build("train", params, 0))
    return sorted(found, key=lambda e: e.id)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


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
    preferred = examples_of(write(tmp_path / "p.jsonl", PREFERENCE, IMPLICIT))
    assert [e.rejected for e in preferred] == [Expected(text="No idea."), Expected(text="What?")]
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


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "broken JSON"),
        ({**XLAM, "answers": "[{"}, "answers: not JSON"),
        ({**XLAM, "answers": '[{"name": "other", "arguments": {}}]'}, "not among its tools"),
        ({**SHAREGPT, "conversations": [{"from": "alien", "value": "x"}]}, "a turn has 'from'"),
        ({**SHAREGPT, "conversations": [{"from": "gpt", "value": "x"}]}, "no answer to a user's turn"),
        ({**TOOLACE, "conversations": [*TOOLACE["conversations"][:1], {"from": "gpt", "value": "[Get Weather(1)]"}]},
         "cannot be read"),
        ({**LOG, "response": {"choices": []}}, "no choices"),
        ({**LOG, "response": {"choices": [{"finish_reason": "length", "message": {"content": "x"}}]}}, "cut off"),
        ({**GLAIVE, "chat": "USER: x ASSISTANT: <functioncall> {oh} <|endoftext|>"}, "a function call: not JSON"),
        ({**PREFERENCE, "chosen": []}, "a conversation is empty"),
        ({"text": "only a text"}, "needs 'messages'"),
        ({**COMPLETION, "label": False}, "labelled as a bad one"),
        ({**PREFERENCE, "rejected": PREFERENCE["chosen"]}, "the same answer"),
        ({**GLAIVE, "system": None}, "not what its format asks for"),
        ({"instruction": 7, "output": "x"}, "not what its format asks for"),
        ({**PREFERENCE, "chosen": [{"content": "x"}]}, "end with an answer"),
        ({"chosen": "Human: Hi Assistant: Ho", "rejected": "Human: Hi Assistant: No"}, "without a 'prompt'"),
        ({**PREFERENCE, "chosen": [user("Other?"), says("x")]}, "'chosen' begins neither with its 'prompt'"),
        ({**PREFERENCE, "rejected": [user("Other?"), says("x")]}, "'rejected' begins neither with its 'prompt'"),
        ({"prompt": "A?", "chosen": [says("B"), user("C?"), says("D")], "rejected": [says("X"), user("C?"), says("E")]},
         "differ before their last turn"),
        ({"prompt": "A?", "chosen": [says("B"), user("C?"), says("D")], "rejected": "E"}, "differ before their last"),
        ({**HERMES, "conversations": [*HERMES["conversations"][:2], {"from": "gpt", "value": UNCLOSED}]},
         "lacks its <tool_call> or </tool_call>"),
        ({**HERMES, "conversations": [*HERMES["conversations"][:2], {"from": "gpt", "value": CLOSED + UNCLOSED}]},
         "lacks its <tool_call> or </tool_call>"),
        ({**HERMES, "conversations": [*HERMES["conversations"][:2], {"from": "gpt", "value": "{}</tool_call>"}]},
         "lacks its <tool_call> or </tool_call>"),
        ({**XLAM, "answers": XLAM["answers"].replace("Oslo", "<tool_call>")}, "has a mark of calls in its arguments"),
        ({"messages": [user("x"), says(UNCLOSED)]}, "which a server reads as a call"),
        ({"messages": [user("x"), says("y<|im_end|>")]}, "its text has '<|im_end|>' in it"),
        ({"messages": [user("x<|eot_id|>"), says("y")]}, "its text has '<|eot_id|>' in it"),
        ({"messages": [user("x"), says("y"), user("x"), says("y<end_of_turn>")]}, "its text has '<end_of_turn>' in it"),
        ({"messages": [user("x"), says("y", weight=0)]}, "every answer of the conversation has the weight 0"),
        ({**LOG, "response": {"choices": [{"finish_reason": "content_filter", "message": says("Wea")}]}}, "the filter"),
        ({"custom_id": "1", "body": LOG["request"], "response": {"status_code": 500, "body": LOG["response"]}},
         "failed with status 500"),
        ({"body": LOG["request"], "response": {"body": LOG["response"]}, "error": {"code": "x"}}, "has an 'error'"),
    ],
)  # fmt: skip
def test_a_broken_row_is_left_out_and_told_or_refused(tmp_path: Path, row: Any, why: str) -> None:
    good = [
        {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "x"}]}
        for n in range(3)
    ]
    path = write(tmp_path / "rows.jsonl", *good, row)
    builder, params = Jsonl(), JsonlParams(path=str(path), dev_share=0, test_share=0)
    assert len(list(builder.build("train", params, 0))) == 3
    card = builder.card(params)
    assert len(card["quarantined"]) == 1
    assert f"{path}:4: " in card["quarantined"][0]
    assert why in card["quarantined"][0]
    assert card["notes"].startswith("1 broken rows are left out.")
    with pytest.raises(DataError, match=r"rows\.jsonl:4"):
        examples_of(path, strict=True)


def test_a_file_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 2 rows can be used\. .*rows.jsonl:1"):
        examples_of(write(tmp_path / "rows.jsonl", {"a": 1}, {"b": 2}))


def test_rows_come_from_any_kind_of_file(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    tools = [OPENAI_TOOL, {"type": "function", "function": {"name": "wait", "parameters": {"type": "object",
        "properties": {"seconds": {"type": "integer"}}}}}]  # fmt: skip
    rows = [
        {"messages": [{"role": "user", "content": f"Wait {n}"}, {"role": "assistant", "content": "", "tool_calls": [{
            "type": "function", "function": {"name": "wait", "arguments": json.dumps({"seconds": n})}}]}],
         "tools": tools}
        for n in range(4)
    ]  # fmt: skip
    whole = examples_of(write(tmp_path / "rows.jsonl", *rows))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": rows}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, ["messages", "tools", "group"])
        out.writeheader()
        out.writerows({"messages": json.dumps(r["messages"]), "tools": json.dumps(r["tools"])} for r in rows)
    for name in ("list.json", "wrapped.json", "rows.csv", "rows.parquet"):
        found = examples_of(tmp_path / name, strict=True)
        assert [e.expected for e in found] == [e.expected for e in whole], name
        assert [e.tools for e in found] == [e.tools for e in whole], (
            name
        )  # with no null that Parquet fills in
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "rows.csv").rename(folder / "a.csv")
    write(
        folder / "b.jsonl",
        *rows[:2],
        {"messages": [*rows[0]["messages"][:1], {"role": "assistant", "content": "no"}]},
    )
    assert len(examples_of(folder)) == 5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"a,b\n\xff\xfe,1\n", "not UTF-8"),
        ("rows.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("rows.jsonl", b"", "holds no row"),
        ("rows.json", b"[]", "holds no row"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        examples_of(tmp_path / name)


def test_an_empty_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file of"):
        examples_of(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        examples_of(tmp_path / "none.jsonl")


def test_the_licence_of_a_data_set_on_the_hub_is_what_its_card_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    from huggingface_hub import constants

    rows = [{"instruction": f"{n}?", "output": "x"} for n in range(3)]
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: iter(rows))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "datasets--ann--talk"
    card = folder / "snapshots" / "abc" / "README.md"

    def licence(**settings: str) -> Any:
        params = JsonlParams(path="hf://ann/talk/small:train", dev_share=0, test_share=0, **settings)
        return Jsonl().card(params)["sources"][0]["licence"]

    assert licence() == "not stated"
    card.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    card.write_text("---\nlicense: cc-by-4.0\n---\nTalk.\n")
    assert licence() == "cc-by-4.0"
    assert licence(licence="mine") == "mine"
    card.write_text("---\nlicense: [mit, apache-2.0]\n---\n")
    assert licence() == "mit, apache-2.0"
    card.write_text("---\n: [\n---\n")
    assert licence() == "not stated"


def test_strict_is_an_option() -> None:
    shown = CliRunner().invoke(cli, ["train", "tool-calling", "--data", "x.jsonl", "--strict", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["data"]["params"] == {"path": "x.jsonl", "strict": True}
