"""Run directories: whole, journalled, found again, without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentlora.core import journal
from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.pipeline import build_data, take
from agentlora.core.provenance import REDACTED, redact
from agentlora.core.run import create_run, list_runs, open_run, read_examples
from agentlora.core.types import Example, Expected, RunEvent, ToolCall

CONFIG = RunConfig(task="tool-calling")


def example(number: int, **changes: object) -> Example:
    fields = {
        "id": str(number),
        "messages": ({"role": "user", "content": f"é {number}"},),
        "expected": Expected(calls=(ToolCall("f", {"a": [1, {"b": None}]}),)),
        **changes,
    }
    return Example(**fields)  # type: ignore[arg-type]


def test_an_example_survives_its_json(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    made = [example(1, rejected=Expected(text="no")), example(2, tags={"case": "x"}, weight=0.5)]
    run.write_examples("train", made)
    assert run.examples("train") == made


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(example(1).to_json() + "\n" + '{"id": "2", \n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: broken JSON"):
        read_examples(file)
    file.write_text('{"id": "1"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not an example: KeyError: 'expected'"):
        read_examples(file)


def test_a_run_never_overwrites_another(tmp_path: Path) -> None:
    create_run(CONFIG, tmp_path / "run")
    with pytest.raises(ConfigError, match="already exists and is not an empty directory"):
        create_run(CONFIG, tmp_path / "run")


def test_runs_are_found_by_id_by_directory_and_as_last(tmp_path: Path) -> None:
    inside = create_run(CONFIG)
    outside = create_run(CONFIG, tmp_path / "elsewhere")
    assert open_run(inside.id).directory == inside.directory
    assert open_run(str(tmp_path / "elsewhere")).directory == outside.directory
    assert open_run("elsewhere").directory == outside.directory
    assert set(list_runs()) == {inside.directory, outside.directory}
    assert open_run("last").directory == outside.directory
    with pytest.raises(ConfigError, match=rf"there is no run 'elsewher'.* Did you mean '{outside.id}'"):
        open_run("elsewher")


def test_stages_are_journalled_even_when_they_fail(tmp_path: Path) -> None:
    events: list[RunEvent] = []
    run = create_run(CONFIG, tmp_path / "run", events.append)
    with pytest.raises(RuntimeError), run.stage("train"):
        raise RuntimeError("out of paper")
    lines = list(journal.read(run.directory / "journal.jsonl"))
    assert [line["event"] for line in lines] == ["started", "failed"]
    assert lines[1]["reason"] == "RuntimeError: out of paper"
    assert [event.data["what"] for event in events] == ["started", "failed"]
    assert run.status() == "train failed"


def test_a_journal_cut_short_by_a_crash_is_read_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal.append(file, "one")
    with file.open("a") as out:
        out.write('{"event": "tw')
    assert [line["event"] for line in journal.read(file)] == ["one"]


def test_planted_secrets_reach_no_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "planted-secret-value")
    config = RunConfig(task="t", data={"params": {"api_key": "other-planted-secret", "url": "x?k=planted-secret-value"}})
    run = create_run(config, tmp_path / "run")
    run.note("train", "note", message="Bearer planted-secret-value")
    run.add_facts(reply="sk-abcdefghijklmnopqrstuvwxyz")
    text = "".join(path.read_text() for path in run.directory.rglob("*") if path.is_file())
    assert "planted-secret" not in text
    assert "sk-abc" not in text
    assert text.count(REDACTED) >= 4
    assert redact({"max_new_tokens": 64, "token": "abc"}) == {"max_new_tokens": 64, "token": REDACTED}


def test_provenance_says_what_made_it(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    made_with = json.loads((run.directory / "run.json").read_text())["provenance"]
    assert made_with["packages"]["pluggy"]
    assert made_with["seed"] == 0
    assert set(made_with["git"]) == {"commit", "dirty"}


def test_a_leak_between_splits_is_refused(tmp_path: Path) -> None:
    from agentlora.core.manager import load_plugins
    from agentlora.plugins.datasets.jsonl import JsonlParams

    class Leaky:
        Params = JsonlParams

        def build(self, split: str, params: object, seed: int) -> list[Example]:
            return [example(1, id=split)]

        def card(self, params: object) -> dict[str, object]:
            return {}

    plugins = load_plugins()
    plugins.catalog.add("dataset_builders", "leaky", Leaky(), "test")
    config = RunConfig(task="tool-calling", data={"builder": "leaky", "params": {"path": "x"}})
    with pytest.raises(DataError, match="shares its group or its text with 'train'"):
        build_data(create_run(config, tmp_path / "run"), plugins)


def test_a_limit_takes_from_every_slice() -> None:
    rows = [example(i, tags={"slice": "a" if i < 90 else "b"}) for i in range(100)]
    taken = take(rows, 20)
    assert len(taken) == 20
    assert sum(e.tags["slice"] == "b" for e in taken) == 2
    assert take(rows, None) == rows
