"""A third party's plugin, really installed: everything that it registers is used in a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from agentlora.core.cli import main
from agentlora.core.manager import default_plugins

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


@pytest.fixture
def here(
    site: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """As `agentlora`, but in this process, which has imported torch once and for all."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PARROT_TINY_MODEL", str(tiny_model_dir))
    monkeypatch.chdir(tmp_path)
    default_plugins.cache_clear()

    def run(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == code, out.getvalue() + err.getvalue()
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

    yield run
    default_plugins.cache_clear()
    sys.modules.pop("agentlora_parrot", None)


def test_help_loads_no_installed_plugin(site: Path) -> None:
    look = (
        "import sys; from agentlora.core.cli import cli; cli(['--help'], standalone_mode=False); "
        "print('agentlora_parrot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("False\n")


def test_everything_that_the_plugin_registers_serves_a_real_run(agentlora: Command, tmp_path: Path) -> None:
    listed = json.loads(agentlora("plugins", "list", "--json").stdout)
    owned = {kind for kind, names in listed["offers"].items() if "parrot" in names.values()}
    assert owned == set(listed["offers"])  # one thing of every kind

    agentlora("train", "parrot", "--output", "run", "--set", "trainer.params.subject=squawks")
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert "24 squawks to learn" in journal
    assert json.loads((tmp_path / "run" / "run.json").read_text())["base"]["name"] == "parrot-egg"
    assert json.loads((tmp_path / "run" / "data" / "card.json").read_text())["builder"] == "parrot-words"

    record = json.loads(agentlora("eval", "run", "--json").stdout)
    assert record["engine"] == "parrot-voice"
    assert (
        record["probes"]["unscored"] == "the engine 'parrot-voice' does not say how likely a given answer is"
    )
    assert record["conditions"][-1]["metrics"]["same"]["mean"] == 1.0
    assert record["conditions"][0]["metrics"]["same"]["mean"] == 0.0
    assert (tmp_path / "run" / "eval" / "report.html").read_text().startswith("<!doctype html>")
    smaller = agentlora("eval", "run", "--limit", "2", code=2)
    assert "2 would replace it" in smaller.stderr
    assert json.loads((tmp_path / "run" / "eval" / "record.json").read_text()) == record

    shown = json.loads(agentlora("eval", "run", "--suite", "parrot-show:tree,sea,sand", "--json").stdout)
    (suite,) = shown["suites"]
    assert (suite["name"], suite["library"], suite["version"]) == ("parrot-show:tree,sea,sand", "parrot", "3")
    assert {system: suite["systems"][system]["same"]["mean"] for system in suite["systems"]} == {
        "base": 0.0,
        "adapter": 1.0,
    }
    assert shown["data"]["test_readings"] == record["data"]["test_readings"]  # test was not read for it

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


def test_a_sweep_compares_its_runs_and_goes_on_where_it_was(here: Command, tmp_path: Path) -> None:
    command = ["sweep", "parrot", "--grid", "seed=1,2", "--output", "sweep"]
    result = json.loads(here(*command, "--json").stdout)
    first, second = result["runs"]
    assert result["failed"] == {}
    assert {first["label"], second["label"]} == {"seed=1", "seed=2"}
    assert first["mean"] == 1.0
    assert first["difference"] is None
    assert second["difference"] == second["mean"] - first["mean"]
    assert first["n"] == second["n"] > 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/eval-dev/record.json")}
    assert len(times) == 2
    table = here(*command).stdout
    assert "seed=1" in table
    assert "best" in table
    assert {path: path.stat().st_mtime_ns for path in times} == times  # nothing was done twice
    fewer = json.loads(here(*command, "--limit", "8", "--json").stdout)["runs"]
    assert [row["n"] for row in fewer] == [8, 8]
    other = here(*command, "--max-steps", "7", code=2)
    assert "a run of other settings than seed=1" in other.stderr
    for grid, why in (("seed", "write key=value,value"), ("sede=1,2", "Did you mean 'seed'")):
        assert why in here("sweep", "parrot", "--grid", grid, "--output", "new", code=2).stderr
    assert not (tmp_path / "new").exists()


def test_a_sweep_goes_on_past_a_run_that_fails(here: Command) -> None:
    # a loss that is not finite
    command = ["sweep", "parrot", "--grid", "lr=1e-3,1e30", "--max-steps", "6", "--output", "sweep"]
    done = here(*command, "--json")
    result = json.loads(done.stdout)
    assert [row["label"] for row in result["runs"]] == ["lr=1e-3"]
    assert "the loss became" in result["failed"]["lr=1e30"]
    assert "lr=1e30 failed" in done.stderr
