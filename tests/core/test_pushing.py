"""Exports with their model card, and pushes through the hub's own client to a server of its kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from peft import LoraConfig, PeftModelForCausalLM
from transformers import AutoModelForCausalLM

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import AgentLoraError, ConfigError, RegistryError
from agentlora.core.evaluating import adapter_digest
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, Expected
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record
from agentlora.plugins.bases.resolve import resolve_base

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

from hub import TOKEN, FakeHub
from openai_server import serving


def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a user's machine, where nothing forbids the network until a model is loaded."""
    monkeypatch.setattr("agentlora.core.libraries._set_here", set())
    monkeypatch.delenv("HF_HUB_OFFLINE")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    online(monkeypatch)
    # the hub's newer storage needs a server of its own; this is the older way, which every hub of its kind speaks
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serving(fake.app()) as url:
        fake.url = url
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield fake


@pytest.fixture
def run(tiny_model_dir: Path, tmp_path: Path) -> Run:
    """A run with a small adapter and a record of it."""
    run = create_run(
        parse(RunConfig, {"task": "tool-calling", "model": str(tiny_model_dir)}), tmp_path / "run"
    )
    plain = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    model = PeftModelForCausalLM(plain, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(run.adapter_dir)
    (run.adapter_dir / "chat_template.jinja").write_text("template")
    base = base_facts(resolve_base(str(tiny_model_dir), default_plugins(), tmp_path))
    run.add_facts(base=base, adapter_digest=adapter_digest(run))
    run.write_examples("dev", [Example("1", ({"role": "user", "content": "hi"},), Expected(text="hello"))])
    source = {"name": "calls.jsonl", "version": "2", "licence": "CC-BY-4.0"}
    write_json(run.directory / "data" / "card.json", {"sources": [source], "counts": {"train": 7}})
    record(adapter_digest(run), base).save(run.eval_dir / "record.json")
    return run


def record(adapter: str, base: dict[str, Any]) -> Record:
    def figure(mean: float, low: float, high: float) -> Figure:
        return Figure(n=100, scored=100, unscored=0, errored=0, mean=mean, low=low, high=high)

    def condition(name: str, adapter: str | None, of: Figure) -> ConditionRecord:
        return ConditionRecord(
            name=name, kind="plain", adapter=adapter, metrics={"exact_match": of}, slices={},
            prompt_tokens=1, output_tokens=1, truncated=0, cached=0,
        )  # fmt: skip

    return Record(
        format="agentlora.record/1",
        task="tool-calling", headline="exact_match", metrics=("exact_match",), lower_is_better=(), base=base,
        adapter=adapter, engine="transformers", data={"split": "test"}, n=100, groups=10, n_all=100, max_tokens=64,
        conditions=(
            condition("base", None, figure(0.031, 0.01, 0.11)), condition("adapter", "x", figure(0.438, 0.32, 0.56)),
        ),
        differences=(
            DifferenceRecord(
                metric="exact_match", system="adapter", baseline="base", n=100, groups=10, mean=0.406, low=0.28,
                high=0.5, higher=41, lower=1,
            ),
        ),
        best_baseline="base", created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def export(run: Run, *options: str) -> Any:
    return CliRunner().invoke(cli, ["export", str(run.directory), *options])


def test_an_adapter_is_pushed_with_its_card(
    hub: FakeHub, run: Run, tiny_model_dir: Path, tmp_path: Path
) -> None:
    done = export(run, "--push", "me/skill")
    assert done.exit_code == 0, done.exception
    assert done.stdout == f"Pushed to {hub.url}/me/skill (private).\n"
    pushed = hub.repositories["me/skill"]
    assert pushed.visibility == "private"
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"}
    assert set(pushed.files) == names
    assert json.loads(pushed.files["adapter_config.json"])["base_model_name_or_path"] == tiny_model_dir.name
    for name in names - {"README.md", "adapter_config.json"}:
        assert pushed.files[name] == (run.adapter_dir / name).read_bytes()

    readme = pushed.files["README.md"].decode()
    head = yaml.safe_load(readme.split("---\n")[1])
    assert head == {"library_name": "peft", "tags": ["agentlora", "lora", "tool-calling"]}
    base = run.facts()["base"]
    for part in (
        "# me/skill",
        f"`{base['name']}` (sha256 `{base['digest'][:12]}`), trained with agentlora by the method `lora`",
        "Exact match 43.8 % (32–56) with 'adapter': +40.6 points (+28.0 to +50.0) against the best baseline 'base'",
        "- calls.jsonl, version 2, licence: CC-BY-4.0",
        'PeftModel.from_pretrained(model, "me/skill")',
    ):
        assert part in readme
    assert not list(run.directory.glob(".push.*"))
    written = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN not in written + readme + done.output


def test_a_merged_model_is_pushed_for_all_to_see(
    hub: FakeHub, run: Run, tiny_model_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "merged"
    done = export(run, "--format", "merged", "--push", "me/whole", "--public", "--output", str(target))
    assert done.exit_code == 0, done.exception
    pushed = hub.repositories["me/whole"]
    assert pushed.visibility == "public"
    assert pushed.files == {path.name: path.read_bytes() for path in target.iterdir()}
    assert not [name for name, content in pushed.files.items() if str(tiny_model_dir).encode() in content]
    readme = pushed.files["README.md"].decode()
    assert "before it was merged" in readme
    assert 'AutoModelForCausalLM.from_pretrained("me/whole")' in readme


def test_a_record_of_other_weights_is_not_shown(run: Run, tmp_path: Path) -> None:
    other = record("0" * 64, run.facts()["base"])
    other.save(run.eval_dir / "record.json")
    assert export(run, "--output", str(tmp_path / "out")).exit_code == 0
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "# out" in readme
    assert "It was not evaluated." in readme


def failed(run: Run, tmp_path: Path, name: str = "me/skill") -> AgentLoraError:
    """The error of a push, after which what was exported is still there."""
    done = export(run, "--push", name, "--output", str(tmp_path / "out"))
    assert isinstance(done.exception, AgentLoraError)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert TOKEN not in str(done.exception)
    return done.exception


def test_a_refused_token_is_a_users_error(
    hub: FakeHub, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = failed(run, tmp_path, "somebody/skill")
    assert error.exit_code == 2
    assert "(403)" in str(error)
    assert "may not write for 'somebody'" in str(error)
    (tmp_path / "second").mkdir()
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 5)
    error = failed(run, tmp_path / "second")
    assert "(401)" in str(error)
    assert "wrongwrong" not in str(error)
    assert hub.repositories == {}


def test_a_name_that_exists_is_left_alone(hub: FakeHub, run: Run, tmp_path: Path) -> None:
    assert export(run, "--push", "me/skill").exit_code == 0
    before = dict(hub.repositories["me/skill"].files)
    error = failed(run, tmp_path)
    assert error.exit_code == 2
    assert "'me/skill' exists on the hub already" in str(error)
    assert hub.repositories["me/skill"].files == before


def test_a_hub_that_takes_no_bytes_or_is_not_there_is_a_failure(
    hub: FakeHub, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.full = True
    error = failed(run, tmp_path)
    assert isinstance(error, RegistryError)
    assert "made and not whole" in str(error)
    (tmp_path / "second").mkdir()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = failed(run, tmp_path / "second")
    assert isinstance(error, RegistryError)
    assert "making 'me/skill' on http://127.0.0.1:9 failed: ConnectError" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("options", "unset", "why"),
    [
        (("--push", "skill"), "", "write OWNER/NAME"),
        (("--push", "me/../skill"), "", "write OWNER/NAME"),
        (("--push", "me/skill", "--format", "gguf"), "", "takes --format peft or merged, not 'gguf'"),
        (("--push", "me/skill"), "HF_TOKEN", "needs a token"),
        (("--push", "me/skill"), "online", "HF_HUB_OFFLINE is set"),
        (("--public",), "", "--public says how to --push"),
        ((), "", "--output, or --push"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything(
    options: tuple[str, ...], unset: str, why: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("agentlora.core.libraries._set_here", set())
    if unset != "online":
        online(monkeypatch)
    if unset == "HF_TOKEN":
        monkeypatch.delenv("HF_TOKEN")
    done = export(run, *options)
    assert isinstance(done.exception, ConfigError)
    assert why in str(done.exception)
