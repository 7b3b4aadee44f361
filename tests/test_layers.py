"""Who imports whom, and what a light command loads."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("agentlora", "core", "plugins", "tasks", "eval", "registry", "runtime")

# What a folder's modules may import of ours, besides their own folder. `agentlora` alone is the public face.
# Plugins may use it, as third parties do; core may not, so that it stands on nothing.
ALLOWED = {
    "agentlora": ("agentlora.core",),
    "core": ("agentlora.__version__",),
    "plugins": ("agentlora.core", "agentlora.PUBLIC"),
    "tasks": ("agentlora.core", "agentlora.eval.scorers", "agentlora.eval.calls", "agentlora.PUBLIC"),
    "eval": ("agentlora.core", "agentlora.PUBLIC"),
    "registry": ("agentlora.core",),
    "runtime": ("agentlora.core", "agentlora.registry", "agentlora.PUBLIC"),
}
# the stages from data to publication, which reach whatever they need
MAIN_LINE = {
    Path(f"core/{name}.py")
    for name in (
        "evaluating",
        "pipeline",
        "resolving",
        "planning",
        "publishing",
        "reevaluating",
        "served",
        "beside",
        "exports",
        "converting",
        "composing",
        "teacher",
        "rewriting",
        "suites",
        "parity",
    )
}
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "vllm",
    "accelerate",
    "sklearn",
    "numpy",
    "jsonschema",
)
HEAVY_FOR_HELP = (*HEAVY, "jsonschema_rs", "pydantic", "rich", "sqlalchemy", "yaml")
OURS_FOR_HELP = (
    "agentlora.plugins",
    "agentlora.tasks",
    "agentlora.eval",
    "agentlora.registry",
    "agentlora.runtime",
)


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(name, line, is inside a function) of everything of ours that the module imports while it runs."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                yield from walk(child, inside)
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{_source(node, path)}.{alias.name}", node.lineno, inside) for alias in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ((n, line, i) for n, line, i in walk(tree, False) if n.split(".")[0] == "agentlora")


def _source(node: ast.ImportFrom, path: Path) -> str:
    """The absolute module that `from … import` names in the module at `path`."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parent.parts
    names = package if package[0] == "agentlora" else ("agentlora", *package)
    return ".".join((*names[: len(names) - node.level + 1], *filter(None, [node.module])))


def is_allowed(path: Path, name: str, inside_function: bool) -> bool:
    relative = path.relative_to(ROOT)
    folder = relative.parts[0]
    if relative in MAIN_LINE:
        return True
    if folder == "core" and relative.parts[1] == "cli" and inside_function:
        return True
    own = "agentlora" if folder == "agentlora" else f"agentlora.{folder}"
    public = name.count(".") <= 1 and name.partition(".")[2] not in FOLDERS
    name = (
        "agentlora.PUBLIC" if public and folder != "agentlora" and not name.endswith("__version__") else name
    )
    choices = ALLOWED[folder] if folder == "agentlora" else (own, *ALLOWED[folder])
    return any(name == choice or name.startswith(f"{choice}.") for choice in choices)


def test_every_import_goes_in_the_allowed_direction() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}" + (" at module level" if not inside else "")
        for path in modules()
        for name, line, inside in imports(path)
        if not is_allowed(path, name, inside)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "name", "inside", "allowed"),
    [
        ("core/run.py", "agentlora.core.files.write_json", False, True),
        ("core/run.py", "agentlora.eval.record", True, False),
        ("core/pipeline.py", "agentlora.eval.record", False, True),
        ("core/exports.py", "agentlora.plugins.methods.merged", True, True),
        ("core/cli/eval.py", "agentlora.eval.record", True, True),
        ("core/cli/eval.py", "agentlora.eval.record", False, False),
        ("core/run.py", "agentlora.hookimpl", False, False),
        ("plugins/x.py", "agentlora.hookimpl", False, True),
        ("plugins/x.py", "agentlora.eval", False, False),
        ("tasks/x/y.py", "agentlora.eval.scorers.exact", False, True),
        ("tasks/x/y.py", "agentlora.eval.runner.run", False, False),
        ("runtime/x.py", "agentlora.registry.store", False, True),
        ("registry/x.py", "agentlora.runtime.gateway", True, False),
        ("agentlora/__init__.py", "agentlora.plugins", True, False),
    ],
)
def test_the_rule_itself(path: str, name: str, inside: bool, allowed: bool) -> None:
    assert is_allowed(ROOT / path, name, inside) is allowed


def loaded_by(*arguments: str) -> set[str]:
    """The modules that ``agentlora *arguments`` has loaded when it ends, which must be well."""
    script = (
        "import json, sys\n"
        "from agentlora.core.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as exc:\n    code = exc.code\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    # not from the checkout, where `import core` would work by accident
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=os.sep, capture_output=True, text=True, check=True
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert not code, done.stderr
    assert done.stdout
    return set(names)


def of(names: set[str], unwanted: tuple[str, ...]) -> list[str]:
    return sorted(n for n in names if any(n == u or n.startswith(f"{u}.") for u in unwanted))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_nothing_heavy_and_no_plugin(arguments: list[str]) -> None:
    names = loaded_by(*arguments)
    assert "agentlora.core.cli" in names
    assert of(names, HEAVY_FOR_HELP + OURS_FOR_HELP) == []


@pytest.mark.parametrize("command", ["setup", "doctor"])
def test_set_up_commands_load_only_what_a_bare_installation_has(command: str) -> None:
    assert of(loaded_by(command, "--help"), HEAVY_FOR_HELP + OURS_FOR_HELP) == []


@pytest.mark.parametrize(
    "arguments", [["plugins", "list", "--json"], ["registry", "--help"], ["runs", "--help"]]
)
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert of(loaded_by(*arguments), HEAVY) == []
