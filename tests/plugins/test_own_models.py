"""What full fine-tuning makes is published as a model of its own: loaded without its base, asked by `chat`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import GateRefused
from agentlora.core.evaluating import evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.publishing import publish
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example
from agentlora.registry.store import open_registry


@pytest.fixture
def trained(tiny_model_dir: Path, examples: list[Example], tmp_path: Path) -> Any:
    """``trained(**settings)``: a run of the method `full`, one update."""

    def make(lr: float = 5e-3, **settings: Any) -> Run:
        training = {"lr": lr, "batch_size": 4, "max_steps": 1, "dtype": "float32"}
        raw = {"task": "tool-calling", "model": str(tiny_model_dir), "training": training, **settings}
        raw |= {"method": {"name": "full"}, "eval": {"max_new_tokens": 4, "probes": 12}}
        run = create_run(parse(RunConfig, raw), tmp_path / "run")
        rows = [replace(example, tags={**example.tags, "tools": "new"}) for example in examples]
        splits = {"train": rows[:8], "dev": [], "test": rows[8:]}
        for split, some in splits.items():
            run.write_examples(split, some)  # type: ignore[arg-type]  # a key of the mapping is a str
        digests = {split: split_digest(some) for split, some in splits.items()}
        write_json(run.directory / "data" / "card.json", {"digest": digests})
        train(run, default_plugins())
        return run

    return make


def test_a_trained_model_is_published_shown_and_asked(
    trained: Any, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plugins = trained(serve_on="transformers"), default_plugins()
    assert run.kind == "model"
    with pytest.raises(GateRefused, match="There is no evaluation record"):
        publish(run, plugins)
    record = evaluate(run, plugins)
    assert record.engine == "transformers"
    assert record.probes is not None
    assert (record.probes.unscored, record.probes.n) == (None, 12)
    monkeypatch.setattr("agentlora.registry.gate._judge_record", lambda *a: iter(()))
    monkeypatch.setattr(
        "agentlora.registry.gate._judge_figures", lambda *a: []
    )  # it is too little trained to pass
    version = publish(run, plugins)
    assert (version.card.kind, version.card.rank, version.card.serve_on) == ("model", None, "transformers")

    shown = CliRunner().invoke(cli, ["registry", "list", "--json"], catch_exceptions=False)
    assert json.loads(shown.output)[0]["kind"] == "model"
    assert "a model of its own" in CliRunner().invoke(cli, ["registry", "show", "tool-calling"]).output

    directory = open_registry().materialise(version)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "light"}], add_generation_prompt=True, tokenize=False
    )
    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    expected = tokenizer.decode(new[0, ids.shape[1] :])
    words = ["chat", "tool-calling", "--prompt", "light", "--model", str(tiny_model_dir), "--max-tokens", "4"]
    answered = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert answered.exit_code == 0, answered.output
    assert expected.split("<|im_end|>")[0].split("\n")[0].strip() in answered.output


def test_weights_that_are_not_numbers_are_not_published(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(serve_on="none")
    file = run.adapter_dir / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    monkeypatch.setattr("agentlora.registry.gate._judge_record", lambda *a: iter(()))
    monkeypatch.setattr(
        "agentlora.registry.gate._judge_figures", lambda *a: []
    )  # it is too little trained to pass
    with pytest.raises(GateRefused, match=r"1 of \d+ tensors in model.safetensors .*'model.norm.weight'"):
        publish(run, default_plugins())


def test_what_was_converted_is_an_adapter(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(lr=1e-3, serve_on="vllm", convert=True, convert_rank=64)
    assert run.kind == "adapter"
    write_json(run.eval_dir / "record.json", {})
    monkeypatch.setattr("agentlora.registry.gate._judge_record", lambda *a: iter(()))
    monkeypatch.setattr(
        "agentlora.registry.gate._judge_figures", lambda *a: []
    )  # it is too little trained to pass
    version = publish(run, default_plugins())
    assert (version.card.kind, version.card.rank, version.card.serve_on) == ("adapter", 64, "vllm")
