"""What ``benchmarks/`` builds on is there: mypy does not look at these scripts, and most take hours to run."""

from __future__ import annotations

import ast
import importlib
import importlib.util
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


def test_how_often_the_gate_passes_what_is_undecided_is_as_the_documentation_says() -> None:
    spec = importlib.util.spec_from_file_location("undecided", SCRIPTS[0].with_name("undecided.py"))
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    told = (SCRIPTS[0].parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for number, row in enumerate(script.measure([25])):
        strict, estimate, unless = (f"{100 * row[policy]:.0f} %" for policy in script.POLICIES)
        first = "" if number else "25"
        assert (
            f"| {first} | {row['truly']} | {strict} | **{estimate}** | {unless} |".replace("|  |", "| |")
            in told
        )
