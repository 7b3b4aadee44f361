"""`agentlora convert`: a finished run's adapter becomes plain LoRA, or stays as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.converting import convert_run
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import adapter_digest
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import directory_digest, train
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example
from agentlora.registry.servable import vllm_problems


def trained(method: str, tiny: Path, examples: list[Example], directory: Path, lr: float = 2e-2) -> Run:
    layers = {
        "model": str(tiny),
        "training": {"lr": lr, "batch_size": 8, "max_steps": 8, "dtype": "float32", "eval_steps": 0},
        "method": {"name": method, "params": {} if method == "full" else {"r": 4}},
        "serve_on": "transformers",
    }
    run = create_run(resolve_config(default_plugins(), "tool-calling", layers), directory)
    run.write_examples("train", examples)
    run.write_examples("dev", examples[:4])
    train(run, default_plugins())
    return run


@pytest.fixture(scope="module")
def dora(tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("dora", tiny_model_dir, examples, tmp_path_factory.mktemp("dora") / "run").directory


def adapter_config(directory: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((directory / "adapter_config.json").read_text())
    return found


def test_a_finished_run_becomes_lora_with_its_error(dora: Path, tmp_path: Path) -> None:
    run = open_run(str(shutil.copytree(dora, tmp_path / "run")))
    before = adapter_digest(run)
    assert vllm_problems(adapter_config(run.adapter_dir)) != []
    done = CliRunner().invoke(cli, ["convert", str(run.directory), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["divergence"] < 1e-6
    again = open_run(str(run.directory))
    assert again.facts()["conversion"] == told
    assert again.facts()["adapter_digest"] == adapter_digest(again) != before
    assert (again.config.convert, again.config.serve_on) == (True, "vllm")
    assert again.status() == "convert finished"
    assert vllm_problems(adapter_config(again.adapter_dir)) == []
    assert adapter_config(again.directory / "adapter-as-trained")["use_dora"] is True
    assert (again.adapter_dir / "chat_template.jinja").is_file()
    twice = CliRunner().invoke(cli, ["convert", str(run.directory)])
    assert "is plain LoRA already: it was converted" in str(twice.exception)


def test_what_would_lose_too_much_stays_as_it_was(dora: Path, tmp_path: Path) -> None:
    run = open_run(str(shutil.copytree(dora, tmp_path / "run")))
    before = adapter_digest(run)
    done = CliRunner().invoke(cli, ["convert", str(run.directory), "--rank", "1"])
    assert isinstance(done.exception, ConfigError)
    assert "at most 0.02 may be lost: choose a higher --rank" in str(done.exception)
    again = open_run(str(run.directory))
    assert adapter_digest(again) == before
    assert not again.config.convert
    assert "conversion" not in again.facts()
    assert not (again.directory / "adapter-as-trained").exists()
    assert [path.name for path in again.directory.glob(".*")] == []
    assert again.status() == "train finished"


def test_what_is_lora_already_is_refused(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = trained("lora", tiny_model_dir, examples, tmp_path / "run")
    done = CliRunner().invoke(cli, ["convert", str(run.directory)])
    assert "is plain LoRA already" in str(done.exception)


@pytest.mark.parametrize(("lr", "fits"), [(1e-4, True), (2e-2, False)])
def test_a_model_of_its_own_becomes_lora_where_little_of_it_is_lost(
    lr: float, fits: bool, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Its embeddings and norms learnt too, and have no place in a LoRA."""
    run = trained("full", tiny_model_dir, examples, tmp_path / "run", lr)
    assert run.kind == "model"
    done = CliRunner().invoke(cli, ["convert", str(run.directory), "--json"])
    again = open_run(str(run.directory))
    if not fits:
        assert "at most 0.02 may be lost" in str(done.exception)
        assert again.kind == "model"
        return
    told = json.loads(done.stdout)
    assert 1e-9 < told["divergence"] < 0.02
    assert told["rank"] == 64  # what the layers have
    assert again.kind == "adapter"
    assert vllm_problems(adapter_config(again.adapter_dir)) == []


@pytest.mark.parametrize("done", ["moved away", "in its place"])
def test_a_conversion_that_was_killed_is_made_anew(
    done: str, dora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before ``run.json`` says that it was made."""
    run, plugins = open_run(str(shutil.copytree(dora, tmp_path / "run"))), default_plugins()
    before, rename = adapter_digest(run), Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".convert."):
            raise KeyboardInterrupt
        return rename(self, target)

    def unsaid(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if done == "moved away":
            patched.setattr(Path, "rename", killed)
        else:
            patched.setattr("agentlora.core.converting._store", unsaid)
        with pytest.raises(KeyboardInterrupt):
            convert_run(run, plugins)
    (run.directory / ".convert.left").mkdir()  # as kill -9 leaves it
    again = open_run(str(run.directory))
    assert not again.config.convert
    assert again.adapter_dir.exists() == (done == "in its place")
    assert directory_digest(again.directory / "adapter-as-trained") == before

    found = convert_run(again, plugins)
    assert open_run(str(run.directory)).facts()["conversion"] == found
    assert vllm_problems(adapter_config(again.adapter_dir)) == []
    assert directory_digest(again.directory / "adapter-as-trained") == before
    assert [path.name for path in again.directory.glob(".*")] == []


def test_a_folder_of_somebody_elses_is_in_the_way(dora: Path, tmp_path: Path) -> None:
    run = open_run(str(shutil.copytree(dora, tmp_path / "run")))
    before = adapter_digest(run)
    (run.directory / "adapter-as-trained").mkdir()
    with pytest.raises(ConfigError, match="is in the way of what was trained"):
        convert_run(run, default_plugins())
    assert adapter_digest(run) == before
