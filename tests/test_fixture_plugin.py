"""A third party's plugin, really installed: everything that it registers is used in a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FIXTURE = Path(__file__).parent / "fixtures" / "parrot"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture package, installed into a directory of its own."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "parrot"
    source.mkdir()
    for name in ("pyproject.toml", "agentlora_parrot.py"):
        (source / name).write_text((FIXTURE / name).read_text())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.fixture
def agentlora(site: Path, tiny_model_dir: Path, tmp_path: Path) -> Command:
    def run(*args: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "agentlora", *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(site),
                "PARROT_TINY_MODEL": str(tiny_model_dir),
                "PARROT_LOG": str(tmp_path / "events.jsonl"),
                **env,
            },
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def test_everything_that_the_plugin_registers_serves_a_real_run(agentlora: Command, tmp_path: Path) -> None:
    listed = json.loads(agentlora("plugins", "list", "--json").stdout)
    owned = {kind for kind, names in listed["offers"].items() if "parrot" in names.values()}
    assert owned == set(listed["offers"])  # one thing of every kind

    agentlora("train", "parrot", "--output", "run")
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert "24 words to learn" in journal
    assert json.loads((tmp_path / "run" / "run.json").read_text())["base"]["name"] == "parrot-egg"
    assert json.loads((tmp_path / "run" / "data" / "card.json").read_text())["builder"] == "parrot-words"

    record = json.loads(agentlora("eval", "run", "--json").stdout)
    assert record["engine"] == "parrot-voice"
    assert record["conditions"][-1]["metrics"]["same"]["mean"] == 1.0
    assert record["conditions"][0]["metrics"]["same"]["mean"] == 0.0
    assert (tmp_path / "run" / "eval" / "report.html").read_text().startswith("<!doctype html>")

    refused = agentlora("publish", "run", code=1, PARROT_VETO="not on a Sunday")
    assert "a plugin refused 'parrot': not on a Sunday" in refused.stderr
    assert json.loads(agentlora("registry", "list", "--json").stdout) == []
    published = json.loads(agentlora("publish", "run", "--json").stdout)
    assert published["number"] == 1
    again = json.loads(agentlora("publish", "run", "--json").stdout)
    assert again["digest"] == published["digest"]
    assert again["existing"]

    routed = agentlora("route", "repeat after me", "--router", "parrot-perch", "--json")
    assert json.loads(routed.stdout)["why"] == "it says repeat"

    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["stage"] for event in events} >= {"data", "train", "eval", "publish"}
    assert any(event["kind"] == "step" for event in events)


def test_its_command_is_offered_and_run(agentlora: Command) -> None:
    assert "parrot" in agentlora("--help").stdout
    assert agentlora("parrot").stdout == "squawk\n"


def test_the_allow_list_leaves_it_out(agentlora: Command) -> None:
    done = agentlora("train", "parrot", code=2, AGENTLORA_LOAD_PLUGINS="")
    assert "unknown task 'parrot'" in done.stderr
    assert "Traceback" not in done.stderr
