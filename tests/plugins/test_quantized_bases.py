"""Bases that somebody has quantized already: who trains on them, and what becomes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.exports import merge_adapter
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example
from agentlora.plugins.methods.plugin import METHODS

pytest.importorskip("bitsandbytes")
SETTINGS: dict[str, dict[str, Any]] = {"adalora": {"r": 2, "initial_r": 4}, "adaption-prompt": {"layers": 2}}
SETTINGS |= {name: {} for name in ("ia3", "prefix-tuning", "prompt-tuning", "full", "galore", "bottleneck")}


@pytest.fixture(scope="module")
def quantized(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Model directories by their bits."""
    made = {}
    for bits, how in (
        (4, BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")),
        (8, BitsAndBytesConfig(load_in_8bit=True)),
    ):
        directory = tmp_path_factory.mktemp(f"bits{bits}") / "model"
        shutil.copytree(tiny_model_dir, directory, ignore=shutil.ignore_patterns("*.safetensors"))
        model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, quantization_config=how)
        model.save_pretrained(directory)
        made[bits] = directory
    return made


def trained(method: str, base: Path, examples: list[Example], directory: Path) -> Run:
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(base),
            "training": {"lr": 2e-2, "batch_size": 8, "max_steps": 2, "dtype": "float32", "eval_steps": 0},
            "method": {"name": method, "params": SETTINGS.get(method, {"r": 4})},
        },
    )
    run = create_run(config, directory)
    run.write_examples("train", examples[:8])  # the same ones in both updates
    run.write_examples("dev", examples[:2])
    train(run, default_plugins())
    return run


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"qlora"}))
def test_cards_say_who_trains_on_them(
    name: str, bits: int, quantized: dict[int, Path], examples: list[Example], tmp_path: Path
) -> None:
    card = default_plugins().get("peft_methods", name).card
    if not card.on_quantized:
        with pytest.raises(ConfigError, match="is quantized already"):
            trained(name, quantized[bits], examples, tmp_path / "run")
        return
    run = trained(name, quantized[bits], examples, tmp_path / "run")
    losses = [json.loads(line)["loss"] for line in run.metrics_file.read_text().splitlines()[1:]]
    assert losses[1] < losses[0]


@pytest.mark.parametrize(("name", "bits"), [("lora", 4), ("lora", 8), ("adalora", 4)])
def test_merged_into_one_it_is_a_model_of_whole_weights(
    name: str, bits: int, quantized: dict[int, Path], examples: list[Example], tmp_path: Path
) -> None:
    run = trained(name, quantized[bits], examples, tmp_path / "run")
    directory, lost = merge_adapter(run, default_plugins(), tmp_path / "merged")
    assert lost < (1e-6 if bits == 4 else 0.02)  # eight bits round what goes into a layer too
    merged = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert "quantization_config" not in json.loads((directory / "config.json").read_text())
    ids = torch.arange(5, 60)[None]
    plain = AutoModelForCausalLM.from_pretrained(quantized[bits], dtype=torch.float32)
    with torch.no_grad():
        assert (merged(ids).logits - plain(ids).logits).abs().max() > 0.1


def test_weights_that_nobody_can_dequantize_are_told(
    quantized: dict[int, Path], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    def fails(why: Exception) -> Any:
        def dequantize(*args: Any, **kwargs: Any) -> Any:
            raise why

        return dequantize

    run = trained("lora", quantized[4], examples, tmp_path / "run")
    monkeypatch.setattr(PreTrainedModel, "dequantize", fails(NotImplementedError("no such kernel")))
    with pytest.raises(ConfigError, match=r"cannot be turned back .*no such kernel.*with its base"):
        merge_adapter(run, default_plugins(), tmp_path / "merged")
    monkeypatch.setattr(PreTrainedModel, "dequantize", fails(RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):  # told as what it is
        merge_adapter(run, default_plugins(), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
