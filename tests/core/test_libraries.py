"""Training starts anew with tcmalloc: only the command line itself, once, and without leaving a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentlora.core import libraries

SITE = """
import os
from agentlora.core import libraries
from pathlib import Path
real = os.execve
def execve(*args):
    print("anew", flush=True)
    real(*args)
os.execve = execve
libraries.find_tcmalloc = lambda: Path({library!r})
"""


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a Python in which a harmless library is found, and counts how often it starts anew."""
    library = next(Path("/usr/lib").glob("*-linux-gnu/libm.so.6"), None)
    if library is None:
        pytest.skip("needs a library that can be preloaded")
    (tmp_path / "sitecustomize.py").write_text(SITE.format(library=str(library)))
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"PYTHONPATH": str(tmp_path)}

    def run(*args: str, text: str | None = None, **more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, *args], env=env | more, input=text, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_command_line_starts_anew_once(python: Callable[..., list[str]]) -> None:
    console = str(Path(sys.executable).with_name("agentlora"))
    for start in (["-m", "agentlora"], [console]):
        for words in (["train", "--help"], ["--debug", "train", "--help"], ["runs", "resume", "--help"]):
            shown = python(*start, *words)
            assert shown[0] == "anew"
            assert shown.count("anew") == 1
            assert any("Usage:" in line for line in shown)


def test_nothing_else_does(python: Callable[..., list[str]], tmp_path: Path) -> None:
    assert "anew" not in python("-m", "agentlora", "eval", "--help")
    assert "anew" not in python("-m", "agentlora", "train", "--help", LD_PRELOAD="")  # how one opts out
    script = tmp_path / "script.py"
    script.write_text(
        "import runpy, sys\nsys.argv = ['agentlora', 'train', '--help']\nprint('mine')\n"
        "runpy.run_module('agentlora', run_name='__main__')\n"
    )
    for shown in (python(str(script), "train", "--help"), python("-", text=script.read_text())):
        assert shown.count("mine") == 1
        assert "anew" not in shown
        assert any("Usage:" in line for line in shown)


def test_a_process_that_started_anew_hands_nothing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/x.so")
    monkeypatch.setenv(libraries.PRELOADED, "/usr/lib/x.so")
    libraries.start_with_tcmalloc(["train"])
    assert "LD_PRELOAD" not in os.environ
    assert libraries.PRELOADED not in os.environ


@pytest.mark.parametrize("own", [None, "512"])
def test_others_have_the_caches_as_the_user_has_them(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other = libraries.CPU_CACHES
    for variable in libraries.CPU_CACHES:
        monkeypatch.setenv(variable, "so that it is put back")
        monkeypatch.delenv(variable)
    if own is not None:
        monkeypatch.setenv(name, own)
    monkeypatch.setattr(libraries, "_set_here", set())
    libraries.prepare_libraries()
    assert os.environ[name] == (own or "128")
    assert os.environ[other] == "128"
    given = libraries.environment_for_others()
    assert given.get(name) == own
    assert other not in given
