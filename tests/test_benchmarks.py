"""What ``benchmarks/`` builds on is there: mypy does not look at these scripts, and most take hours to run."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def imported(source: str) -> Iterator[tuple[str, str | None]]:
    """(module of agentlora, name taken from it) of every import, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.startswith("agentlora"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agentlora"):
            yield from ((str(node.module), alias.name) for alias in node.names)


def missing(source: str) -> list[str]:
    """The imports that would fail."""
    found = []
    for module, name in imported(source):
        try:
            if name is None or not hasattr(importlib.import_module(module), name):
                importlib.import_module(f"{module}.{name}" if name else module)
        except ModuleNotFoundError:
            found.append(f"{module}.{name}" if name else module)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_what_benchmarks_import_of_ours_exists(script: Path) -> None:
    assert missing(script.read_text(encoding="utf-8")) == []


def test_a_name_that_is_gone_is_noticed() -> None:
    source = "def f():\n    from agentlora.eval.asking import _by_group, by_group\n    import agentlora.eval.nothing\n"
    assert missing(source) == ["agentlora.eval.asking._by_group", "agentlora.eval.nothing"]


def test_benchmarks_build_on_something_of_ours() -> None:
    assert sum(len(list(imported(script.read_text(encoding="utf-8")))) for script in SCRIPTS) > 50
