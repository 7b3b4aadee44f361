"""Nothing of the Berkeley data is trained on: no request of it, no function, no module that would read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentlora.core.config import parse
from agentlora.core.files import yaml_loader
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.types import Example
from agentlora.eval.bfcl.data import CATEGORIES, conversations, rows

ROOT = Path(__file__).parents[2]
SHORT = 24  # characters of a request or a description that anybody might write


@pytest.fixture(scope="module")
def theirs() -> set[str]:
    """Requests and descriptions of functions of every category, as `plain` makes them."""
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    said: list[str] = []
    for name, (kind, _) in CATEGORIES.items():
        if kind == "turns":
            said += [str(m["content"]) for c in conversations(name) for turn in c.turns for m in turn]
            continue
        for row in rows(name):
            said += [str(m["content"]) for m in row.messages if m["role"] == "user"]
            said += [str(f["description"]) for f in row.functions]
    return {text for text in map(plain, said) if len(text) >= SHORT}


def plain(text: str) -> str:
    """Without case, punctuation and blanks."""
    return "".join(char for char in text.lower() if char.isalnum())


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield plain(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from texts(key)
            yield from texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)


def test_there_is_something_to_find(theirs: set[str]) -> None:
    """The whole data is looked for, and what is of it is found."""
    assert len(theirs) > 4000
    row = rows("simple_python")[0]
    assert theirs & set(texts([m["content"].upper() + "!" for m in row.messages]))


def test_no_file_that_is_shipped_holds_any_of_it(theirs: set[str]) -> None:
    files = sorted((ROOT / "tasks").rglob("*.yaml"))
    assert len(files) > 50
    found = {
        (str(path.relative_to(ROOT)), text)
        for path in files
        for text in texts(yaml.load(path.read_text(encoding="utf-8"), yaml_loader()))
        if text in theirs
    }
    assert found == set()


@pytest.mark.parametrize("preset", ["demo", "starter"])
def test_no_example_that_is_trained_on_holds_any_of_it(theirs: set[str], preset: str) -> None:
    layer = {"data": {"params": {"examples": 1500}}}
    config = resolve_config(default_plugins(), "tool-calling", {"preset": preset}, layer)
    task = default_plugins().get("tasks", "tool-calling")
    builder = default_plugins().get("dataset_builders", task.dataset_builder)
    params = parse(builder.Params, config.data.params)
    examples: list[Example] = list(builder.build("train", params, 0))
    assert len(examples) >= 1000
    said = {text for e in examples for text in texts([*e.messages, *e.tools])}
    assert said & theirs == set()
    names = [source["name"].lower() for source in builder.card(params)["sources"]]
    assert not [name for name in names if "bfcl" in name or "berkeley" in name or "gorilla" in name]


def test_no_module_that_makes_data_reads_it() -> None:
    """Only evaluation does; and what a command can name."""
    files = [
        path
        for folder in ("tasks", "plugins", "core")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".txt", ".jinja") and path.parent != ROOT / "core" / "cli"
    ]
    found = [str(path.relative_to(ROOT)) for path in files if "bfcl" in path.read_text("utf-8").lower()]
    assert found == []
