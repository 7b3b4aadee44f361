"""Tools that are kept are the ones that were made, and are made anew when anything of them has changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agentlora.core.home import home
from agentlora.tasks.tool_calling import kept_tools as module
from agentlora.tasks.tool_calling.kept_tools import Tools, kept_tools
from agentlora.tasks.tool_calling.real_apis import load_real_tools
from agentlora.tasks.tool_calling.toolspec import Conversion, load_catalogue


class Making:
    """Makes `tools`, and counts how often."""

    def __init__(self, tools: Tools) -> None:
        self.tools, self.times = tools, 0

    def __call__(self) -> Tools:
        self.times += 1
        return self.tools


def files() -> list[Path]:
    return sorted((home() / "cache" / "tools").glob("*"))


@pytest.fixture
def making() -> Making:
    return Making(load_catalogue()[:5])


def test_they_are_the_same_to_the_last_character() -> None:
    pytest.importorskip("botocore")
    pytest.importorskip("googleapiclient")
    for made in (load_catalogue(), load_real_tools("google", 60, 1), load_real_tools("botocore", 60, 1)):
        making = Making(made)
        assert kept_tools("tools", (len(made), made[0].source), making) is made
        read = kept_tools("tools", (len(made), made[0].source), making)
        assert making.times == 1
        assert read is not made
        assert repr(read) == repr(made)


def test_other_settings_other_code_and_another_python_make_them_anew(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_tools("x", ("1.0", 300), making)
    kept_tools("x", ("1.0", 300), making)
    assert making.times == 1
    kept_tools("x", ("1.1", 300), making)
    assert making.times == 2
    with monkeypatch.context() as changed:
        changed.setattr(module, "_our_files", lambda: "others")
        kept_tools("x", ("1.0", 300), making)
        assert making.times == 3
    monkeypatch.setattr(module.sys, "version", "4.0")
    kept_tools("x", ("1.0", 300), making)
    assert making.times == 4


def test_every_file_of_the_tasks_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "table.yaml").write_text("a: 1")
    monkeypatch.setattr(module, "TASKS", tmp_path)
    digests = set()
    for text in ("a: 1", "a: 2", "a: 1"):
        (tmp_path / "inner" / "table.yaml").write_text(text)
        module._our_files.cache_clear()
        digests.add(module._our_files())
    module._our_files.cache_clear()
    assert len(digests) == 2


@pytest.mark.parametrize("damaged", [b"", b"[", b"{}x", b'[{"name": "half"}]', b"[1]", b"\xff"])
def test_what_is_damaged_is_made_anew(damaged: bytes, making: Making) -> None:
    kept_tools("x", (), making)
    (file,) = files()
    file.write_bytes(damaged)
    assert kept_tools("x", (), making) == making.tools
    assert making.times == 2
    kept_tools("x", (), making)
    assert making.times == 2


def test_a_home_that_cannot_be_written_costs_only_time(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    home().parent.mkdir(parents=True, exist_ok=True)
    home().write_text("a file")
    for times in (1, 2):
        assert kept_tools("x", (), making) is making.tools
        assert making.times == times


def test_tools_that_json_would_change_are_not_kept(making: Making) -> None:
    tool = making.tools[0]
    conversions = {"unit": (Conversion("a", (), tool.phrasings),)}
    for other in (replace(tool, values={"a": (1, 2)}), replace(tool, conversions=conversions)):
        of_other = Making((other,))
        kept_tools("x", (), of_other)
        assert kept_tools("x", (), of_other) == (other,)
        assert of_other.times == 2
    assert files() == []


def test_the_newest_files_are_kept_and_no_more(making: Making) -> None:
    for number in range(module.MOST + 3):
        kept_tools(f"x{number:02}", (), making)
        os.utime(files()[-1], (number, number))
    assert [file.name[:3] for file in files()] == [f"x{n:02}" for n in range(3, module.MOST + 3)]
