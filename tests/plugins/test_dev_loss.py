"""The loss on dev: what it is, when it is looked at, and that the training never notices."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentlora.core.cli import progress as terminal
from agentlora.core.config import RunConfig, TrainingConfig, parse
from agentlora.core.errors import TrainError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import resume, train
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example, RunEvent
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers import progress
from agentlora.plugins.trainers.dev_loss import dev_sample, steps_between, undisturbed
from agentlora.plugins.trainers.loss_plot import loss_plot
from agentlora.plugins.trainers.objectives import Answers
from agentlora.plugins.trainers.rows import encode

STEPS = 7
SVG = "{http://www.w3.org/2000/svg}"


def new_run(
    tiny: Path, examples: list[Example], directory: Path, method: str = "lora", **settings: object
) -> Run:
    """Two groups to train on and one of dev."""
    training = {"lr": 5e-3, "batch_size": 8, "max_steps": STEPS, "dtype": "float32", "save_steps": 2}
    params = {"r": 4, "dropout": 0.1}
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(tiny),
            "training": {**training, "eval_steps": 3, **settings},
            "method": {"name": method, "params": params},
        },
    )
    run = create_run(config, directory)
    run.write_examples("train", examples[:8])
    run.write_examples("dev", examples[8:])
    (run.directory / "data" / "card.json").write_text("{}")
    return run


def rows(run: Run, key: str) -> dict[int, float]:
    found = [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]
    return {row["step"]: row[key] for row in found if key in row}


def journalled(run: Run, what: str) -> list[dict[str, object]]:
    lines = (run.directory / "journal.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == what]


@pytest.fixture(scope="module")
def looked(tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = new_run(tiny_model_dir, examples, tmp_path_factory.mktemp("looked") / "run")
    train(run, default_plugins())
    return run


def test_it_is_the_loss_of_the_model_on_dev(looked: Run, examples: list[Example]) -> None:
    assert list(rows(looked, "dev_loss")) == [3, 6, STEPS]
    assert list(rows(looked, "loss")) == list(range(1, STEPS + 1))
    directory = Path(looked.config.model)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    template = (looked.adapter_dir / "chat_template.jinja").read_text()
    base = AutoModelForCausalLM.from_pretrained(directory)
    model = PeftModel.from_pretrained(base, looked.adapter_dir).eval()
    nats: list[float] = []
    for row in encode(examples[8:], tokenizer, template, 1024).items:
        scores = model(torch.tensor([row.ids])).logits[0, :-1].log_softmax(-1)
        at = range(row.start, len(row.ids))
        nats += [-float(scores[i - 1, row.ids[i]]) for i in at]
    assert rows(looked, "dev_loss")[STEPS] == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def test_the_journal_has_the_best_update(looked: Run) -> None:
    losses = rows(looked, "dev_loss")
    (said,) = journalled(looked, "dev loss")
    assert (said["best"], said["best_step"]) == min((loss, step) for step, loss in losses.items())
    assert said["last"] == losses[STEPS]


@pytest.mark.parametrize(("method", "shared"), [("lora", True), ("qlora", False)])
def test_a_training_that_is_looked_at_is_the_same_one(
    method: str, shared: bool, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    """With dropout, and with a quantized base, whose layers must keep their gradients."""
    kept = []
    for name, eval_steps in (("looked", 1), ("plain", 0)):
        run = new_run(
            tiny_model_dir, examples, tmp_path / name, method, eval_steps=eval_steps, shared_prefix=shared
        )
        train(run, default_plugins())
        assert len(rows(run, "dev_loss")) == STEPS * eval_steps
        kept.append((rows(run, "loss"), (run.adapter_dir / "adapter_model.safetensors").read_bytes()))
    assert kept[0] == kept[1]
    assert kept[0][0][1] > kept[0][0][STEPS]


def test_a_resumed_training_has_the_same_looks(
    looked: Run, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run")

    def interrupt(event: RunEvent) -> None:
        if "dev_loss" in event.data and event.data["step"] == 6:
            raise KeyboardInterrupt

    run.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        train(run, default_plugins())
    resume(open_run(str(run.directory)), default_plugins())
    assert '"step": 4' in (run.directory / "journal.jsonl").read_text()
    for key in ("loss", "dev_loss"):
        assert rows(run, key) == pytest.approx(rows(looked, key), rel=1e-6)


def test_without_dev_data_there_is_none(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    for name, dev in (("empty", []), ("long", [replace(examples[8], id="long")])):
        run = new_run(tiny_model_dir, examples, tmp_path / name, max_steps=1)
        if dev:
            dev[0] = replace(dev[0], messages=({"role": "user", "content": "please " * 2000},))
        run.write_examples("dev", dev)
        train(run, default_plugins())
        assert rows(run, "dev_loss") == {}
        assert len(journalled(run, "no dev loss")) == len(dev)


def test_the_sample_is_whole_groups_and_always_the_same(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run", eval_examples=8)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    run.write_examples("dev", random.Random(1).sample(examples, len(examples)))
    sample = dev_sample(run, tokenizer, base, Answers())
    assert len(sample) == 8
    assert len({row.group for row in sample}) == 2
    assert dev_sample(run, tokenizer, base, Answers()) == sample


@pytest.mark.parametrize(
    ("settings", "total", "rows", "every"),
    [
        ({}, 300, 64, 30),
        ({}, 20, 64, 16),  # 256 examples trained for 64 of dev
        ({"batch_size": 1}, 2000, 64, 256),
        ({"eval_steps": 7}, 20, 64, 7),
    ],
)
def test_how_often_it_is_looked_at(settings: dict[str, int], total: int, rows: int, every: int) -> None:
    assert steps_between(parse(TrainingConfig, settings), total, rows) == every


def test_modes_and_random_states_stay() -> None:
    class Model(torch.nn.Sequential):
        device = torch.device("cpu")

    model = Model(torch.nn.Dropout(), torch.nn.Dropout().eval())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with undisturbed(model):
        assert not model[0].training
        torch.rand(5)
    assert [module.training for module in model] == [True, False]
    assert torch.equal(torch.rand(3), expected)


def test_the_time_of_a_look_belongs_to_no_update(
    looked: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    log = progress.StepLog(create_run(looked.config, tmp_path / "run"), "lora", 1, 10)
    log.start(2)
    for number in (1, 2):
        log.batch(100, 50)
        clock += 2
        log.step(number, 1.0, 1e-3)
        clock += 50
        log.dev(number, 0.5)
    assert [(row["seconds"], row["tokens_per_s"]) for row in log.rows[::2]] == [(2, 50), (2, 50)]
    with pytest.raises(TrainError, match=r"the loss became nan on dev at update 2\. Lower --lr"):
        log.dev(2, float("nan"))


def test_the_plot_has_a_second_line_with_a_legend(looked: Run) -> None:
    plot = ElementTree.parse(looked.directory / "loss.svg").getroot()
    assert (
        len([path for path in plot.iter(f"{SVG}path") if path.get("class") == "dev"]) == 2
    )  # and the legend's
    assert len(list(plot.iter(f"{SVG}circle"))) == 3
    assert {"training", "dev"} <= {text.text for text in plot.iter(f"{SVG}text")}
    alone = loss_plot("t", [(1, 2.0), (2, 1.0)])
    assert "circle" not in alone
    assert ">dev<" not in alone


def test_the_terminal_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = terminal._Lines()
    lines.see(RunEvent("r", "step", "train", {"step": 2, "total_steps": 9, "loss": 1.0}))
    lines.see(RunEvent("r", "step", "train", {"step": 3, "total_steps": 9, "dev_loss": 0.75}))
    assert "train: 3/9, dev loss 0.750" in capsys.readouterr().err
