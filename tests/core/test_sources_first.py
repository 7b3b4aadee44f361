"""A source that is not there is said before a model is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.home import home
from agentlora.plugins.bases import resolve


@pytest.mark.parametrize(
    "asked",
    [
        ["structured-output", "--schema", "nowhere.xsd"],
        ["tool-calling", "--tools", "nowhere.json"],
        ["tool-calling", "--data", "nowhere.jsonl"],
        ["distillation", "--teacher", "http://127.0.0.1:9/v1", "--prompts", "nowhere.jsonl"],
    ],
    ids=" ".join,
)
def test_no_model_is_looked_at(
    asked: list[str], tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*_: object) -> NoReturn:
        raise AssertionError("the base model was looked at")

    monkeypatch.setattr(resolve, "resolve_base", looked)
    result = CliRunner().invoke(cli, ["train", *asked, "--model", str(tiny_model_dir)])
    assert result.exit_code != 0
    assert "nowhere" in str(result.exception) + result.output
    assert "looked at" not in str(result.exception)
    assert not list(home().glob("runs/*"))
