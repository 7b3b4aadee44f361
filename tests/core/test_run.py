"""Run directories: whole, journalled, found again, without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentlora.core import journal
from agentlora.core.cli import cli
from agentlora.core.config import RunConfig
from agentlora.core.data import build_data
from agentlora.core.errors import ConfigError, DataError, GateRefused, TrainError, boundary
from agentlora.core.evaluating import take
from agentlora.core.examples import read_examples
from agentlora.core.manager import default_plugins
from agentlora.core.provenance import device
from agentlora.core.run import create_run, list_runs, open_run
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
        list(read_examples(file))
    file.write_text('{"id": "1"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not an example: KeyError: 'expected'"):
        list(read_examples(file))


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


@pytest.mark.parametrize("stage", ["train", "eval"])
def test_what_did_not_end_is_running_or_interrupted(tmp_path: Path, stage: str) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    assert run.status() == "nothing done"
    with run.alone(), run.stage(stage):
        run.note(stage, "layout", message="two by two")
        assert run.status() == f"{stage} running"
        lines = (run.directory / "journal.jsonl").read_text()
    assert run.status() == f"{stage} finished"
    (run.directory / "journal.jsonl").write_text(lines)  # as a killed process leaves it
    assert run.status() == f"{stage} interrupted"


BUILDS = """
import os, sys
from agentlora.core import data
from agentlora.core.manager import default_plugins
from agentlora.core.run import open_run

data.build_split = {instead}
data.build_data(open_run(sys.argv[1]), default_plugins())
"""


def test_data_that_is_not_built_to_its_end_is_running_or_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    seen: list[str] = []

    def look(*_: object) -> list[Example]:
        seen.append(open_run(str(run.directory)).status())
        with pytest.raises(ConfigError, match="another process is at work on run 'run'"):
            build_data(open_run(str(run.directory)), default_plugins())
        raise DataError("that will do")

    monkeypatch.setattr("agentlora.core.data.build_split", look)
    with pytest.raises(DataError, match="that will do"):
        build_data(run, default_plugins())
    assert seen == ["data running"]
    assert run.status() == "data failed"

    killed = BUILDS.format(instead="lambda *_: os._exit(9)")
    done = subprocess.run([sys.executable, "-c", killed, str(run.directory)], check=False)
    assert done.returncode == 9
    assert run.status() == "data interrupted"
    listed = CliRunner().invoke(cli, ["runs", "list", "--json"], catch_exceptions=False)
    assert [row["status"] for row in json.loads(listed.stdout)] == ["data interrupted"]


def test_what_is_made_of_a_run_aside_leaves_its_status(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    with run.stage("train"):
        pass
    for stage in ("export", "merge"):
        with pytest.raises(RuntimeError), run.stage(stage):
            raise RuntimeError("no room")
        assert run.status() == "train finished"
    with run.stage("eval"):
        pass
    assert run.status() == "eval finished"


def test_a_journal_that_cannot_be_written_stops_no_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = create_run(RunConfig(task="t"), tmp_path / "run")
    (run.directory / "journal.jsonl").mkdir()  # as on a full disk: OSError
    with pytest.raises(DataError, match="the real reason"), run.stage("data"):
        raise DataError("the real reason")
    assert "lacks 'data failed'" in caplog.text


def test_a_journal_cut_short_by_a_crash_is_read_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal.append(file, "one")
    with file.open("a") as out:
        out.write('{"event": "tw')
    assert [line["event"] for line in journal.read(file)] == ["one"]
    journal.append(file, "three", reply="é")
    journal.append(file, "four")
    assert [line["event"] for line in journal.read(file)] == ["one", "three", "four"]
    assert file.read_bytes().isascii()


def test_a_journal_cut_inside_a_character_is_read_and_continued(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_bytes('{"event": "one"}\n[1]\n{"event": "é'.encode()[:-1])
    assert [line["event"] for line in journal.read(file)] == ["one"]
    journal.append(file, "two")
    assert [line["event"] for line in journal.read(file)] == ["one", "two"]


def test_a_broken_list_of_runs_elsewhere_hides_no_run(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    index = tmp_path / "home" / "runs" / "elsewhere.jsonl"
    index.write_bytes(b'{"event": "created"}\n{"directory": 3}\n' + index.read_bytes() + b'{"direc')
    assert list_runs() == [run.directory]
    assert create_run(CONFIG, tmp_path / "two").directory in list_runs()


def test_provenance_says_what_made_it(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    made_with = json.loads((run.directory / "run.json").read_text())["provenance"]
    assert made_with["packages"]["pluggy"]
    assert made_with["seed"] == 0
    assert set(made_with["git"]) == {"commit", "dirty"}
    assert made_with["device"].endswith(device().split(", ")[-1])


def test_the_device_is_the_cpu_and_then_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    cpu = device()
    assert cpu
    info = Path("/proc/cpuinfo")
    if info.is_file() and "model name" in info.read_text():
        assert f": {cpu}\n" in info.read_text()
    cuda = types.SimpleNamespace(is_available=lambda: True, get_device_name=lambda index: "Some GPU")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert device() == f"Some GPU, {cpu}"


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


def test_a_run_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        create_run(CONFIG, tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        create_run(CONFIG, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_settings_that_json_cannot_say_leave_no_run(tmp_path: Path) -> None:
    config = RunConfig(task="t", data={"params": {"x": float("inf")}})
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        create_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_command_line_that_is_not_utf8_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["agentlora", "train", "\udcff"])
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        create_run(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("output", ["x" * 300, "~no-such-user-here/x", "a\0b", "file/run"])
def test_an_impossible_output_is_a_users_error(output: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the run directory"):
        create_run(CONFIG, Path(output) if output.startswith("~") else tmp_path / output)
    with pytest.raises(ConfigError, match="there is no run"):
        open_run(output)


def test_output_knows_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert create_run(CONFIG, Path("~/x")).directory == tmp_path / "x"


def test_a_task_with_a_namespace_gives_one_directory() -> None:
    run = create_run(RunConfig(task="shop/bake"))
    assert run.id.startswith("shop-bake-")
    assert open_run(run.id).config.task == "shop/bake"


DAMAGE = {
    "cut": '{"format": "agentlora.run/1", "conf',
    "empty": "",
    "list": "[1]",
    "no config": "{}",
    "a removed key": '{"config": {"task": "t", "colour": "red"}}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_listed_and_named(damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    from agentlora.core.cli import main

    bad, good = create_run(CONFIG), create_run(CONFIG)
    (bad.directory / "run.json").write_text(DAMAGE[damage])
    with pytest.raises(SystemExit) as ended:
        main(["runs", "list", "--json"])
    assert ended.value.code == 0
    status = {row["id"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert status == {bad.id: "cannot be read", good.id: "nothing done"}
    with pytest.raises(SystemExit) as ended:
        main(["runs", "show", bad.id])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert str(bad.directory / "run.json") in said
    assert "train again" in said
    if damage == "a removed key":
        assert "colour: unknown key" in said


def test_show_tells_configuration_provenance_and_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agentlora.core.cli import main

    run = create_run(CONFIG, tmp_path / "run")
    run.note("data", "built", train=3)
    with (run.directory / "journal.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(SystemExit):
        main(["runs", "show", "last"])
    said = capsys.readouterr().out
    assert "task: tool-calling" in said
    assert f"device: {device()}" in said
    assert 'data    built  {"train": 3}' in said


def test_brackets_in_a_runs_name_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agentlora.core.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    create_run(CONFIG, tmp_path / "my[bold]run[")
    with pytest.raises(SystemExit) as ended:
        main(["runs", "list"])
    assert ended.value.code == 0
    assert "my[bold]run[" in capsys.readouterr().out


def test_a_publication_that_the_gate_did_not_pass_was_refused(tmp_path: Path) -> None:
    run = create_run(CONFIG, tmp_path / "run")
    with pytest.raises(GateRefused), run.stage("publish"):
        raise GateRefused("not better")
    assert run.status() == "publish refused"


def test_a_full_disk_is_told_whoever_says_it() -> None:
    in_words = RuntimeError("I/O error: No space left on device (os error 28)")
    behind_another = ValueError("could not write")
    behind_another.__cause__ = OSError(28, "…")
    for raised in (in_words, behind_another):
        with (
            pytest.raises(TrainError, match="no space is left on the disk"),
            boundary(TrainError, "training"),
        ):
            raise raised
