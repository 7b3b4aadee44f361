"""Files of rows: every kind is read; broken rows are left out and told, or refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from published_rows import (
    CLOSED,
    COMPLETION,
    GLAIVE,
    HERMES,
    LOG,
    OPENAI_TOOL,
    PREFERENCE,
    SHAREGPT,
    TOOLACE,
    UNCLOSED,
    XLAM,
    examples_of,
    says,
    user,
    write,
)

from agentlora.core.cli import cli
from agentlora.core.errors import DataError
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams


def test_broken_rows_of_csv_are_told_by_their_line_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b'instruction,output\r\n"Say\nit twice",yes\r\n\r\nan end is lacking,\r\n'
        b'half \xff a letter,"in\ntwo lines"\r\nlast,one\r\n'
    )
    builder, params = Jsonl(), JsonlParams(path=str(path), dev_share=0, test_share=0)
    kept = [(e.messages[0]["content"], e.expected.text) for e in builder.build("train", params, 0)]
    assert sorted(kept) == [("Say\nit twice", "yes"), ("last", "one")]
    lacking, letter = builder.card(params)["quarantined"]
    assert lacking.startswith(f"{path}:5: needs 'messages', or the keys of another format")
    assert '["instruction"]' in lacking
    assert letter.startswith(f"{path}:6: not UTF-8 text: invalid start byte")


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
