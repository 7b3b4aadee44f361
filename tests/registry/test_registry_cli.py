from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli.registry import registry as command
from agentlora.core.errors import AgentLoraError
from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry, Version

Published = list[Version]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: Callable[..., SkillCard]) -> Published:
    """Two versions of ``tool-calling`` and one of ``team/other``; prod of tool-calling is v2."""
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AGENTLORA_REGISTRY_URL", raising=False)
    file = tmp_path / "adapter_model.safetensors"
    store = Registry(tmp_path / "home")
    versions = []
    for name, content in (("tool-calling", "one"), ("tool-calling", "two"), ("team/other", "one")):
        file.write_text(content)
        versions.append(store.publish(card(name), {file.name: file}))
    store.close()
    return versions


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_list(published: Published) -> None:
    rows = {row["skill"]: row for row in run_json("list")}
    assert sorted(rows) == ["team/other", "tool-calling"]
    assert rows["tool-calling"]["versions"] == 2
    assert rows["tool-calling"]["newest"] == "v2"
    assert rows["tool-calling"]["digest"] == f"sha256:{published[1].digest}"
    assert rows["tool-calling"]["aliases"] == {"prod": "v2"}
    text = run("list")
    assert "prod v2" in text
    assert "exact_match 0.600 [0.500, 0.700], +0.400 [0.300, 0.500] over few_shot" in text


def test_an_empty_registry_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))
    assert "agentlora train" in run("list")
    assert run_json("list") == []


def test_show(published: Published) -> None:
    shown = run_json("show", "tool-calling@v1")
    assert shown["digest"] == f"sha256:{published[0].digest}"
    assert shown["card"]["method"] == "lora"
    assert shown["files"]["adapter_model.safetensors"]["bytes"] == 3
    assert [v["version"] for v in shown["versions"]] == ["v1", "v2"]
    assert shown["aliases"]["prod"]["version"] == "v2"
    text = run("show", "tool-calling")
    for part in (published[1].digest, published[0].digest[:12], "lora, rank 16", "v1 → v2"):
        assert part in text


def test_brackets_in_a_summary_are_text(
    published: Published, card: Callable[..., SkillCard], tmp_path: Path
) -> None:
    store = Registry(tmp_path / "home")
    store.publish(card(summary="[bold]not markup[/]"), {"a": tmp_path / "adapter_model.safetensors"})
    store.close()
    assert "[bold]not markup[/]" in run("show", "tool-calling")


def test_alias_and_rollback(published: Published) -> None:
    one, two, _ = published
    assert "points to v1" in run("alias", "tool-calling@v1", "candidate")
    assert "already" in run("alias", "tool-calling@v1", "candidate")
    moved = run_json("rollback", "tool-calling")
    assert (moved["version"], moved["before"]["version"], moved["alias"]) == ("v1", "v2", "prod")
    assert run_json("show", "tool-calling@prod")["digest"] == f"sha256:{one.digest}"
    assert "moved from v1 to v2" in run("alias", two.served_name, "prod")
    assert "v1 → v2 → v1 (rollback) → v2" in run("show", "tool-calling")
    assert run_json("rollback", "tool-calling", "--alias", "prod")["version"] == "v1"


def test_verify_says_what_is_damaged_and_fails(published: Published, tmp_path: Path) -> None:
    assert run_json("verify", "tool-calling")["problems"] == []
    assert "as published" in run("verify", "tool-calling")
    blob = Registry(tmp_path / "home").blobs.path(published[1].files["adapter_model.safetensors"])
    blob.unlink()
    result = CliRunner().invoke(command, ["verify", "tool-calling", "--json"])
    assert isinstance(result.exception, AgentLoraError)
    assert result.exception.exit_code == 1
    assert str(blob.parent.parent) in json.loads(result.output)["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "tool-caling"), "Did you mean 'tool-calling'"),
        (("show", "tool-calling@v7"), "tool-calling@v2"),
        (("show", "Tool Calling"), "does not name a skill"),
        (("alias", "tool-calling", "v1"), "cannot be an alias"),
        (("rollback", "nobody"), "There is: team/other, tool-calling"),
        (("verify", "tool-calling@sha256:00000000"), "not in the registry"),
    ],
)
def test_a_users_mistake_exits_2_and_lists_what_there_is(
    arguments: tuple[str, ...], said: str, published: Published
) -> None:
    with pytest.raises(AgentLoraError, match=said) as caught:
        run(*arguments)
    assert caught.value.exit_code == 2


def test_the_commands_import_nothing_heavy(published: Published) -> None:
    """Design decision 9: `registry` never imports a model library; its help not even SQLAlchemy or rich."""
    code = """
import sys
from agentlora.core.cli.registry import registry
try:
    registry(sys.argv[1:])
except SystemExit:
    pass
print(sorted(set(sys.modules) & set("torch transformers trl peft datasets vllm jsonschema".split())))
print(sorted(set(sys.modules) & set("sqlalchemy pydantic rich".split())))
"""

    def imported(*arguments: str) -> list[str]:
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        return ended.stdout.splitlines()[-2:]

    assert imported("--help") == ["[]", "[]"]
    assert imported("list") == ["[]", "['pydantic', 'rich', 'sqlalchemy']"]
