"""A real, tiny training run through TRL: options, metrics, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from transformers import AutoModelForCausalLM

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, RunEvent
from agentlora.plugins.bases.resolve import resolve_base


def fit(
    tiny: Path, examples: list[Example], directory: Path, **settings: object
) -> tuple[Run, list[RunEvent]]:
    plugins = default_plugins()
    training = {"lr": 5e-3, "batch_size": 8, "epochs": 4.0, "dtype": "float32", **settings}
    config = parse(
        RunConfig,
        {"task": "tool-calling", "model": str(tiny), "training": training, "method": {"params": {"r": 4}}},
    )
    events: list[RunEvent] = []
    run = create_run(config, directory, events.append)
    base = resolve_base(config.model, plugins, directory)
    plugins.get("trainers", "sft").fit(run, base, plugins.get("peft_methods", "lora"), examples)
    return run, events


def metrics(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


def test_the_loss_falls_and_the_adapter_is_exported(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run, events = fit(tiny_model_dir, examples, tmp_path / "run", lr=2e-2, epochs=12.0)
    head, *rows = metrics(run)
    assert head["method"] == "lora"
    assert 0 < head["trainable_percent"] < 100
    assert head["trainable_parameters"] < head["all_parameters"]
    assert [row["step"] for row in rows] == list(range(1, 19))  # 12 examples, 8 an update, 12 epochs
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert all(row["tokens_per_s"] > 0 and row["lr"] >= 0 for row in rows)
    assert {path.name for path in run.adapter_dir.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
    }
    assert [e.data["step"] for e in events if e.kind == "step"] == [row["step"] for row in rows]
    plot = ElementTree.parse(run.directory / "loss.svg").getroot()
    drawn = {path.get("class"): path.get("d") or "" for path in plot.iter("{http://www.w3.org/2000/svg}path")}
    assert drawn["each"].count("L") == drawn["mean"].count("L") == len(rows) - 1


def test_max_steps_overrides_epochs(tiny_model_dir: Path, examples: list[Example], tmp_path: Path) -> None:
    run, _ = fit(tiny_model_dir, examples, tmp_path / "run", epochs=1.0, max_steps=5)  # an epoch has two
    assert [row["step"] for row in metrics(run)[1:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("warmup", "expected"), [(0.5, [0.25, 0.5, 0.75, 1.0]), (0.0, [1.0] * 4)])
def test_every_update_has_a_learning_rate(
    warmup: float, expected: list[float], tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run, _ = fit(
        tiny_model_dir, examples, tmp_path / "run", max_steps=8, warmup_ratio=warmup, schedule="linear"
    )
    rates = [row["lr"] / 5e-3 for row in metrics(run)[1:]]
    assert rates[:4] == pytest.approx(expected, abs=0 if warmup else 0.5)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < rates[4]


def test_one_update_trains(tiny_model_dir: Path, examples: list[Example], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run, _ = fit(tiny_model_dir, examples, tmp_path / "run", max_steps=1)
    weights = load_file(run.adapter_dir / "adapter_model.safetensors")
    assert any(weight.abs().sum() > 0 for name, weight in weights.items() if "lora_B" in name)


def test_the_exported_adapter_gives_the_trained_models_logits(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    from peft import PeftModel

    run, _ = fit(tiny_model_dir, examples, tmp_path / "run", max_steps=3)
    ids = torch.arange(40)[None]
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, run.adapter_dir)(ids).logits
    assert (before - after).abs().max() > 1e-3


def test_shared_and_plain_training_take_the_same_first_steps(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    weighted = [replace(example, weight=1 + i % 3) for i, example in enumerate(examples)]
    shared, _ = fit(tiny_model_dir, weighted, tmp_path / "a", max_steps=3)
    plain, _ = fit(
        tiny_model_dir, weighted, tmp_path / "b", max_steps=3, shared_prefix=False, micro_batch_size=4
    )
    for one, other in zip(metrics(shared)[1:], metrics(plain)[1:], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["computed_tokens"] < other["computed_tokens"]


def test_the_same_seed_gives_the_same_losses(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    runs = [fit(tiny_model_dir, examples, tmp_path / name, max_steps=2)[0] for name in "ab"]
    first, second = ([row["loss"] for row in metrics(run)[1:]] for run in runs)
    assert first == pytest.approx(second, rel=1e-6)


def test_a_loss_that_is_not_finite_ends_the_run(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match=r"loss became .* Lower --lr"):
        fit(tiny_model_dir, examples, tmp_path / "run", lr=1e30, warmup_ratio=0, max_grad_norm=1e30)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_target_that_the_model_lacks_is_refused(tiny_model_dir: Path) -> None:
    from agentlora.plugins.methods.targets import target_modules

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with pytest.raises(ConfigError, match=r"no linear layer 'q_prj'. Did you mean 'q_proj'"):
        target_modules(model, "q_prj")
    assert target_modules(model, "attention") == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert target_modules(model, "gate_proj, up_proj") == ["gate_proj", "up_proj"]
