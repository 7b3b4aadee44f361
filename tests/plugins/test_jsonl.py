"""``--data FILE``: how rows are divided, and what is wrong with bad ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.types import Example, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams

SPLITS = ("train", "dev", "test")


def tool(name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def row(i: int, arguments: object = '{"a": 1}', **more: object) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    system = {"role": "system", "content": "You call tools."}
    messages = [system, {"role": "user", "content": f"call {i}"}, answer]
    return {"messages": messages, "tools": [tool()], **more}


def own(i: int, **more: object) -> dict[str, Any]:
    expected = {"calls": [{"name": "f", "arguments": {"a": i}}]}
    return {
        "id": f"r{i}",
        "messages": [{"role": "user", "content": f"call {i}"}],
        "tools": [tool()],
        "expected": expected,
        **more,
    }


def asked(content: object, role: str = "user") -> dict[str, Any]:
    return own(1, messages=[{"role": role, "content": content}])


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n")
    return file


def params(path: Path) -> JsonlParams:
    return JsonlParams(path=str(path), strict=True)


def build(path: Path, builder: Jsonl | None = None, seed: int = 0) -> dict[str, list[Example]]:
    builder = builder or Jsonl()
    return {split: list(builder.build(split, params(path), seed)) for split in SPLITS}  # type: ignore[arg-type]


def sizes(splits: dict[str, list[Example]]) -> list[int]:
    return [len(splits[split]) for split in SPLITS]


def texts(rows: list[Example]) -> set[str]:
    return {e.messages[-1]["content"] for e in rows}


@pytest.mark.parametrize("make", [row, own])
def test_rows_that_share_one_tool_list_fill_every_split(tmp_path: Path, make: Any) -> None:
    splits = build(write(tmp_path, [make(i) for i in range(200)]))
    assert sizes(splits) == [160, 20, 20]
    groups = {split: Counter(e.group for e in rows) for split, rows in splits.items()}
    assert all(max(counts.values()) == 8 for counts in groups.values())
    assert not groups["train"].keys() & (groups["dev"].keys() | groups["test"].keys())
    assert not groups["dev"].keys() & groups["test"].keys()
    assert build(write(tmp_path, [make(i) for i in range(200)])) == splits
    assert build(tmp_path / "rows.jsonl", seed=1) != splits


def test_openai_rows_become_examples(tmp_path: Path) -> None:
    first = min(build(write(tmp_path, [row(i) for i in range(5)]))["train"], key=lambda e: e.id)
    assert first.expected.calls == (ToolCall("f", {"a": 1}),)
    assert first.messages[-1] == {"role": "user", "content": "call 0"}
    assert (first.id, first.tags["case"], first.tags["slice"]) == ("row-1", "single", "rows")


def test_ten_rows_are_enough_for_three_splits(tmp_path: Path) -> None:
    file = write(tmp_path, [row(i) for i in range(10)])
    assert sizes(build(file)) == [8, 1, 1]
    few = JsonlParams(path=str(file), dev_share=0, test_share=0.01)
    assert [len(list(Jsonl().build(s, few, 0))) for s in SPLITS] == [9, 0, 1]  # type: ignore[arg-type]


def test_a_group_too_large_for_its_share_leaves_no_split_empty(tmp_path: Path) -> None:
    file = write(tmp_path, [row(i, group=f"g{i // 10}") for i in range(40)])
    assert sizes(build(file)) == [20, 10, 10]


def test_rows_of_one_group_or_of_the_same_messages_stay_together(tmp_path: Path) -> None:
    rows = [row(i, group=f"g{i // 2}") for i in range(0, 100)]
    rows += [row(i, '{"a": 2}', tools=[tool(), tool("g")], group=f"h{i}") for i in range(0, 100, 5)]
    splits = build(write(tmp_path, rows))
    assert sum(sizes(splits)) == 120
    assert all(sizes(splits))
    found = [{int(text.split()[1]) // 2 for text in texts(splits[split])} for split in SPLITS]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    for split, numbers in zip(SPLITS[1:], found[1:], strict=True):
        # and are one group of what is evaluated, whatever their tools: they may be right or wrong together
        assert len({e.group for e in splits[split]}) == len(numbers)


def test_rows_that_stay_together_count_once_in_statistics(tmp_path: Path) -> None:
    splits = build(write(tmp_path, [row(i, group=f"g{i // 20}") for i in range(400)]))
    assert sizes(splits) == [320, 40, 40]
    for split in ("dev", "test"):
        assert set(Counter(e.group for e in splits[split]).values()) == {20}
    assert max(Counter(e.group for e in splits["train"]).values()) == 8  # what shares a computed prefix


def test_a_row_that_repeats_another_is_dropped(tmp_path: Path) -> None:
    file = write(tmp_path, [row(i % 30) for i in range(60)] + [row(i, '{"a": 9}') for i in range(30)])
    builder = Jsonl()
    splits = build(file, builder)
    assert sum(sizes(splits)) == 60
    assert builder.card(params(file))["notes"].startswith("30 rows that repeat another are left out.")
    assert {e.id for rows in splits.values() for e in rows}.isdisjoint(f"row-{i}" for i in range(31, 61))


def test_a_task_finds_test_rows_that_count(tmp_path: Path) -> None:
    builder, file = Jsonl(), write(tmp_path, [row(i) for i in range(50)])
    splits = build(file, builder)
    assert {e.tags["tools"] for e in splits["train"]} == {"trained"}
    assert {(e.tags["tools"], e.tags["slice"]) for e in splits["test"] + splits["dev"]} == {("new", "rows")}
    assert "were trained on; their requests were not" in builder.card(params(file))["notes"]


def test_tools_are_new_when_no_training_row_has_them(tmp_path: Path) -> None:
    rows = [row(i, tools=[tool("f"), tool(f"g{i // 5}")], group=f"tools {i // 5}") for i in range(50)]
    builder, file = Jsonl(), write(tmp_path, rows)
    assert {e.tags["tools"] for e in build(file, builder)["test"]} == {"new"}
    assert builder.card(params(file))["notes"] == ""
    builder, file = (
        Jsonl(),
        write(tmp_path, [row(i, tools=[tool("f"), tool(f"g{i // 2}")]) for i in range(100)]),
    )
    splits = build(file, builder)
    trained = [e.tools for e in splits["train"]]
    assert all((e.tags["tools"] == "trained") == (e.tools in trained) for e in splits["test"])
    new = sum(e.tags["tools"] == "new" for e in splits["test"])
    assert 0 < new < 10
    assert f"Of 10 test rows, {new} offer tools" in builder.card(params(file))["notes"]


def test_the_data_stage_takes_an_ordinary_file(tmp_path: Path) -> None:
    from agentlora.core.config import RunConfig
    from agentlora.core.data import build_data
    from agentlora.core.manager import load_plugins
    from agentlora.core.run import create_run

    rows = [row(i % 40) for i in range(80)] + [row(i, '{"a": 2}') for i in range(0, 40, 3)]
    data = {"builder": "jsonl", "params": {"path": str(write(tmp_path, rows))}}
    run = create_run(RunConfig(task="tool-calling", data=data), tmp_path / "run")  # type: ignore[arg-type]
    card = build_data(run, load_plugins())
    assert sum(card["counts"].values()) == 54
    assert all(card["counts"].values())


@pytest.mark.parametrize(
    ("broken", "said"), [(1, "1 of 41 rows is"), (3, "3 of 43 rows are"), (1200, "1,200 of 1,240")]
)
def test_how_many_rows_are_broken_is_said_when_data_is_built(tmp_path: Path, broken: int, said: str) -> None:
    from agentlora.core.config import RunConfig
    from agentlora.core.data import build_data
    from agentlora.core.manager import load_plugins
    from agentlora.core.run import create_run

    file = write(tmp_path, [row(i) for i in range(40)])
    file.write_text(file.read_text().strip() + "\n{" * broken)
    data = {"builder": "jsonl", "params": {"path": str(file)}}
    run = create_run(RunConfig(task="tool-calling", data=data), tmp_path / "run")  # type: ignore[arg-type]
    card = build_data(run, load_plugins())
    assert (card["rows"], card["broken"]) == (40 + broken, broken)
    lines = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    (told,) = (json.loads(line)["message"] for line in lines if "quarantined" in line)
    out = tmp_path / "out"
    command = ["data", "build", "tool-calling", "--data", str(file), "--output", str(out)]
    shown = CliRunner().invoke(cli, command)
    assert shown.exit_code == 0, shown.output
    for text, card_file in ((told, run.directory / "data" / "card.json"), (shown.stderr, out / "card.json")):
        assert f"warning: {said}" in text
        assert "broken and left out; the first: " in text
        assert f"{file}:41: broken JSON" in text
        assert (f"All of them: {card_file}" in text) == (broken == 3)
        assert (f"More of them: {card_file}" in text) == (broken == 1200)  # a hundred are kept


def test_data_that_a_secret_led_to_is_not_looked_for_without_it(tmp_path: Path) -> None:
    from agentlora.core.config import RunConfig
    from agentlora.core.data import build_data
    from agentlora.core.manager import load_plugins
    from agentlora.core.run import create_run, open_run

    data = {"params": {"tools": "mcp:python s.py --token hunter2"}}
    create_run(RunConfig(task="tool-calling", data=data), tmp_path / "run")  # type: ignore[arg-type]
    assert "hunter2" not in (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(ConfigError, match=r"data\.params\.tools of run 'run' .* had a secret"):
        build_data(open_run(str(tmp_path / "run")), load_plugins())


def test_nothing_is_said_of_rows_that_are_whole(tmp_path: Path) -> None:
    file, out = write(tmp_path, [row(i) for i in range(40)]), tmp_path / "out"
    shown = CliRunner().invoke(
        cli, ["data", "build", "tool-calling", "--data", str(file), "--output", str(out)]
    )
    assert (shown.exit_code, shown.stderr) == (0, "")


def test_an_evaluator_that_does_not_agree_with_the_data_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.core.config import RunConfig
    from agentlora.core.data import build_data
    from agentlora.core.manager import load_plugins
    from agentlora.core.run import create_run
    from agentlora.eval.scorers import ToolCallEvaluator

    monkeypatch.setattr(
        ToolCallEvaluator, "validate", lambda self, examples: [f"{e.id}: no" for e in examples]
    )
    data = {"builder": "jsonl", "params": {"path": str(write(tmp_path, [row(i) for i in range(40)]))}}
    run = create_run(RunConfig(task="tool-calling", data=data), tmp_path / "run")  # type: ignore[arg-type]
    build_data(run, load_plugins())
    told = [
        line for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines() if "warning" in line
    ]
    assert len(told) == 1
    assert "the evaluator and the test examples do not agree: row-" in told[0]
    assert "(and 3 more)" in told[0]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    builder = Jsonl()
    build(write(tmp_path, [row(i) for i in range(20)]), builder)
    file = write(tmp_path, [row(i) for i in range(30)])
    assert sum(sizes(build(file, builder))) == 30


def test_text_parts_are_joined_and_arguments_parsed(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "call"}, {"type": "text", "text": "it"}]
    raw = own(1, messages=[{"role": "user", "content": parts}])
    raw["expected"]["calls"][0]["arguments"] = '{"a": 7}'
    talk = row(2)
    talk["messages"] += [{"role": "tool", "content": "7"}, {"role": "assistant", "content": "Seven."}]
    found = [e for split in build(write(tmp_path, [raw, talk])).values() for e in split]
    first, called, second = sorted(found, key=lambda e: e.id)
    assert called.expected.calls == (ToolCall("f", {"a": 1}),)
    assert first.messages[0]["content"] == "call\nit"
    assert first.expected.calls == (ToolCall("f", {"a": 7}),)
    assert second.messages[2]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert second.expected.text == "Seven."


OPENAI = [
    ('{"messages": [', "broken JSON: Expecting value at column 15"),
    ("[]", "a row is an object"),
    ({"messages": []}, "needs 'messages'"),
    ({"messages": [{"role": "user", "content": "x"}] * 2}, "must be the assistant's answer"),
    ({"messages": [{"role": "robot"}] * 2}, "needs a role of"),
    ({"messages": ["hello", "there"]}, "'messages' is a list of objects"),
    ({"messages": [{"role": "assistant", "content": "x"}] * 2}, "no user message"),
    (row(1, "[1]"), "arguments of 'f' must be an object"),
    (row(1, "{"), "arguments of 'f' are not JSON: Expecting property name"),
    (row(1, '{"a": NaN}'), "NaN is not a JSON number"),
    (row(1, '{"a": "\\ud800"}'), "lone surrogate"),
    (row(1, {"a": float("nan")}), "NaN is not a JSON number"),
    (row(1, tools={"f": 1}), "'tools' is a list of objects"),
    (row(1, tools=["f"]), "'tools' is a list of objects"),
    (row(1, tools=[{"type": "function", "function": {}}]), "no function name"),
    (row(1, group=7), "'group' is a text"),
    (row(1, toolz=[]), "unknown key 'toolz'. Did you mean 'tools'?"),
    (row(1, weight="heavy"), "'weight' is a number from 0"),
    (row(1, tools=[]), "the answer calls 'f', which is not among its tools: none"),
    (
        row(1, tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "objekt"}}}]),
        "the parameters of tool 'f' are no JSON Schema",
    ),
    ('{"a": ' * 100_000, "nested too deeply"),
    ('{"messages": ' + "9" * 5000 + "}", "rows.jsonl:2: "),
]
OWN = [
    (asked(None), "the content of a user message is a text, not null"),
    (own(1, messages=[{"role": "user"}]), "the content of a user message is a text, not null"),
    (asked(" "), "a user message has no content"),
    (asked([{"type": "image_url", "image_url": {}}]), "has the content part"),
    (asked("\ud800"), "lone surrogate"),
    (asked("x", "assistant"), "no user message"),
    (own(1, messages=[]), "no user message"),
    (own(1, messages="hello"), "'messages' is a list of objects"),
    (own(1, tools=[{"name": "f"}]), "no function name"),
    (own(1, tools=5), "'tools' is a list of objects"),
    (own(1, expected={}), "'expected' is empty"),
    (own(1, expected=None), "'expected' is an object"),
    (own(1, expected={"text": ""}), "'expected' is empty"),
    (own(1, expected={"calls": ["f"]}), "no function name"),
    (own(1, expected={"calls": [{"name": "f", "arguments": "{"}]}), "arguments of 'f' are not JSON"),
    (own(1, expected={"value": float("inf")}), "Infinity is not a JSON number"),
    (json.dumps(own(1, weight=7)).replace("7", "1e999"), "1e999 is not a JSON number"),
    (own(1, weight=-1), "'weight' is a number from 0"),
    (own(1, schema=[1]), "'schema' is a JSON Schema"),
    (own(1, tags=["x"]), "'tags' is an object"),
    (own(1, grup="x"), "Did you mean 'group'?"),
    (
        own(0, messages=[{"role": "user", "content": "x"}]),
        "the id 'r0' is that of a different row, in line 1",
    ),
]


@pytest.mark.parametrize(("line", "message"), [*OPENAI, *OWN])
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: Any, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    bad = line if isinstance(line, str) else json.dumps(line)
    file.write_text(json.dumps(own(0)) + "\n" + bad + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: ") as caught:
        build(file)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_data_that_cannot_be_read_leaves_no_run(tmp_path: Path, tiny_model_dir: Path) -> None:
    """So that the same command works once the file is mended."""
    output = tmp_path / "out"
    command = ["train", "tool-calling", "--model", str(tiny_model_dir), "--output", str(output), "--data"]
    done = CliRunner().invoke(cli, [*command, str(tmp_path / "none.jsonl")])
    assert isinstance(done.exception, DataError)
    assert not output.exists()


def test_a_training_that_never_began_leaves_no_run(tmp_path: Path, tiny_model_dir: Path) -> None:
    output, file = tmp_path / "out", write(tmp_path, [row(i) for i in range(12)])
    command = [
        "train",
        "tool-calling",
        "--model",
        str(tiny_model_dir),
        "--data",
        str(file),
        "--max-steps",
        "1",
    ]
    for _ in range(2):  # the second finds the place free
        done = CliRunner().invoke(cli, [*command, "--output", str(output), "--target", "nosuch"])
        assert isinstance(done.exception, ConfigError)
        assert "no linear layer 'nosuch'" in str(done.exception)
        assert not output.exists()
    done = CliRunner().invoke(cli, [*command, "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert (output / "adapter").is_dir()


def test_bytes_that_are_not_utf_8_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(row(1)).encode() + b'\n{"\xff": 1}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not UTF-8 text"):
        build(file)


def test_a_missing_or_empty_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Give --data an existing file"):
        build(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="Give --data an existing file"):
        Jsonl().card(params(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="holds no row"):
        build(write(tmp_path, []))


def test_a_gold_call_that_does_not_fit_its_tool_is_refused(tmp_path: Path) -> None:
    strict = tool()
    strict["function"]["parameters"] = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
    }
    path = write(tmp_path, [own(1), own(2, tools=[strict])])
    with pytest.raises(
        DataError, match=r"rows\.jsonl:2: the answer's call of 'f' does not fit that tool's parameters"
    ):
        build(path)
