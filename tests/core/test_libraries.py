from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from agentlora.core import cli, libraries


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that the process was replaced by."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: calls.append([path, *argv]))
    monkeypatch.setattr(libraries, "find_tcmalloc", lambda: Path("/usr/lib/libtcmalloc_minimal.so.4"))
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "agentlora", "train", "--help"])
    monkeypatch.setattr(sys, "argv", ["agentlora", "train", "--help"])
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.delenv("LD_PRELOAD")
    return calls


def test_training_starts_anew_with_tcmalloc_once(started: list[list[str]]) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            cli.main()
    assert started == [[sys.executable, sys.executable, "-m", "agentlora", "train", "--help"]]
    assert os.environ["LD_PRELOAD"] == "/usr/lib/libtcmalloc_minimal.so.4"


def test_nothing_else_starts_anew(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])  # called from Python
    monkeypatch.setattr(sys, "argv", ["agentlora", "runs", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    monkeypatch.setattr(sys, "argv", ["agentlora", "train", "--help"])
    monkeypatch.setattr(libraries, "find_tcmalloc", lambda: None)
    with pytest.raises(SystemExit):
        cli.main()
    assert started == []
