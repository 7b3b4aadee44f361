"""A training that goes wrong says so while it runs, once for each problem, and the journal keeps it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agentlora.core import journal
from agentlora.core.cli.progress import describe
from agentlora.core.config import RunConfig, parse
from agentlora.core.diagnosis import diagnose
from agentlora.core.errors import DataError, TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, RunEvent
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.methods.lora import Lora, LoraParams
from agentlora.plugins.trainers.rows import encode
from agentlora.plugins.trainers.watch import GradientWatch, Watch, broken_loss, refuse_broken_gradient


def new_run(directory: Path, tiny: Path | None = None, **training: Any) -> tuple[Run, list[RunEvent]]:
    settings = {"batch_size": 8, "dtype": "float32", "shared_prefix": True, **training}
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(tiny or "x"),
            "training": settings,
            "method": {"params": {"r": 4}},
        },
    )
    events: list[RunEvent] = []
    return create_run(config, directory, events.append), events


def fit(run: Run, method: Any, examples: list[Example]) -> None:
    base = resolve_base(run.config.model, default_plugins(), run.directory)
    default_plugins().get("trainers", "sft").fit(run, base, method, examples)


def warnings(run: Run) -> list[dict[str, Any]]:
    return [e for e in journal.read(run.directory / "journal.jsonl") if e["event"] == "warning"]


def feed(watch: Watch, losses: list[float], dev: dict[int, float] | None = None) -> None:
    for step, loss in enumerate(losses, 1):
        watch.see({"step": step, "loss": loss})
        if dev and step in dev:
            watch.see({"step": step, "dev_loss": dev[step]})


def test_a_rate_that_moves_nothing_is_told_once(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run, events = new_run(tmp_path / "run", tiny_model_dir, lr=1e-12, max_steps=21)
    fit(run, Lora(), examples)
    (told,) = warnings(run)
    assert told["problem"] == "not learning"
    assert told["change"].startswith("training.lr=3e-12 (now 1e-12)")
    (event,) = [event for event in events if event.data.get("what") == "warning"]
    assert event.kind == "note"
    assert str(describe(event)).startswith("train: warning: not learning: the loss was")
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]
    assert [found.problem for found in diagnose(run.config, "train finished", [], rows)] == ["not learning"]


def test_spikes_are_told_once_even_by_a_resumed_training(tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run")
    losses = [3 - i / 20 for i in range(40)]
    losses[25] = losses[26] = losses[30] = losses[31] = 12.0
    feed(Watch(run, 400), losses)
    (told,) = warnings(run)
    assert (told["problem"], told["stage"]) == ("unstable", "train")
    assert "from update 26" in told["seen"]
    resumed = Watch(run, 400, [{"step": i, "loss": loss} for i, loss in enumerate(losses, 1)])
    resumed.see({"step": 41, "loss": 20.0})
    assert len(warnings(run)) == 1


def test_a_sound_training_is_not_warned_of(tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run")
    feed(Watch(run, 60), [3 - i / 30 for i in range(60)], {20: 2.0, 40: 1.5, 60: 1.52})
    assert warnings(run) == []


def test_a_loss_on_dev_that_rises_while_the_other_falls_is_told(tmp_path: Path) -> None:
    run, _ = new_run(tmp_path / "run")
    feed(Watch(run, 200), [3 - i / 30 for i in range(80)], {20: 2.0, 40: 2.2, 60: 2.4, 80: 2.6})
    (told,) = warnings(run)
    assert told["problem"] == "overfitting"
    assert "was 2 at update 20 and is 2.4 at update 60" in told["seen"]


class Broken(Lora):
    """A hook cuts one layer's update from the gradient."""

    def apply(self, model: Any, params: Any) -> Any:
        model = super().apply(model, params)
        layer = model.get_submodule("base_model.model.model.layers.1.self_attn.q_proj")
        layer.register_forward_hook(lambda module, inputs, output: output.detach())
        return model


@pytest.mark.parametrize("method", [Lora(), Broken()], ids=["sound", "broken"])
def test_an_adapter_without_gradient_is_named(
    method: Lora, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run, _ = new_run(tmp_path / "run", tiny_model_dir, lr=1e-3, max_steps=3)
    fit(run, method, examples)
    if not isinstance(method, Broken):
        assert warnings(run) == []
        return
    (told,) = warnings(run)
    assert told["problem"] == "no gradient"
    assert told["seen"].startswith("2 of 28 trained tensors got no gradient in the first two updates: ")
    assert "layers.1.self_attn.q_proj.lora_A" in told["seen"]


def test_no_gradient_at_all_ends_the_training() -> None:
    model = torch.nn.Linear(2, 2)
    watch = GradientWatch(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert watch.look() is None  # the first update may have none
    with pytest.raises(TrainError, match="nothing would be learnt: 2 of 2 trained tensors got no gradient"):
        watch.look()


class Unbounded(LoraParams):
    """A scale that no configuration may have."""

    alpha: float = 1e38


def test_a_scale_that_overflows_is_named_and_not_the_layers(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    """Clipping makes zeros of its gradient, which then looks like none."""

    class Scaled(Lora):
        Params = Unbounded

    run, _ = new_run(tmp_path / "run", tiny_model_dir, max_steps=3, eval_steps=0)
    run.config.method.params["alpha"] = 1e38
    with pytest.raises(TrainError, match=r"norm became inf at update 1.*method\.params\.alpha to less"):
        fit(run, Scaled(), examples)


def test_what_is_broken_from_the_start_is_no_matter_of_the_rate() -> None:
    settings = {"task": "x", "training": {"lr": 0.1}}
    plain = parse(RunConfig, settings)
    scaled = parse(RunConfig, {**settings, "method": {"params": {"alpha": 9000}}})
    assert "Lower --lr (now 0.1)" in str(broken_loss(plain, math.nan, 2))
    first = str(broken_loss(scaled, math.nan, 1))
    assert "the learning rate is not at fault. Change method.params.alpha to less (now 9000)" in first
    assert "--lr" not in first
    assert "--model" in str(
        broken_loss(parse(RunConfig, {"task": "x", "training": {"dtype": "float32"}}), math.nan, 1)
    )
    refuse_broken_gradient(scaled, 3.5, 1)
    with pytest.raises(TrainError, match=r"became nan at update 7: .*Change --lr to less \(now 0\.1\)"):
        refuse_broken_gradient(scaled, math.nan, 7)


def test_gradients_that_are_kept_elsewhere_are_not_judged() -> None:
    watch = GradientWatch(torch.nn.Linear(2, 2))
    assert [watch.look() for _ in range(3)] == [None] * 3


def test_an_answer_without_a_token_is_refused(tiny_model_dir: Path, examples: list[Example]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    mute = "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match=r"example '0-0': .* renders nothing for its answer"):
        encode(examples, tokenizer, mute, 1024)
