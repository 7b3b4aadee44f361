"""DPO and KTO on shared prefixes: TRL's losses, computed once a prompt, against the base before training."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import resume
from agentlora.core.planning import make_plan
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, Expected, ToolCall
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.bases.templates import chatml_tools
from agentlora.plugins.trainers.layout import computed_tokens, lay_out
from agentlora.plugins.trainers.loss import sequence_log_probs
from agentlora.plugins.trainers.preference import DPOLoss, DPOParams, KTOLoss, KTOParams, Preference
from agentlora.plugins.trainers.rows import Pair, encode_pairs, flat
from agentlora.plugins.trainers.sharing import shares_prefixes


@pytest.fixture(scope="module")
def pairs(examples: list[Example]) -> list[Example]:
    """The right call against none, or against a wrong room."""
    none, wrong = Expected(text="No."), Expected(calls=(ToolCall("set_light", {"room": "moon"}),))
    return [
        replace(example, rejected=wrong if i % 2 else none, weight=1.0 + i % 3)
        for i, example in enumerate(examples)
    ]


@pytest.fixture
def model(tiny_model_dir: Path) -> Any:
    """With an adapter that has learnt something already."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.train()


def ready(
    model: Any, tokenizer: Any, pairs: Sequence[Example], mismatched: bool = False, unweighted: bool = True
) -> list[Pair]:
    """Encoded, with the log-probabilities of the base row by row."""
    encoded = encode_pairs(pairs, tokenizer, chatml_tools(), 1024, mismatched)
    made = []
    for pair in encoded.items:
        with torch.no_grad(), model.disable_adapter():
            values = [log_prob(model, row) for row in (*pair.rows, *pair.mismatched)]
        rows = [replace(row, weight=1.0) if unweighted else row for row in pair.rows]
        made.append(replace(pair, chosen=rows[0], rejected=rows[1], reference=tuple(map(float, values))))
    return made


def log_prob(model: Any, row: Any) -> torch.Tensor:
    logits = model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(row.ids[row.start :])[:, None]).sum()


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def found_by(
    objective: Preference, model: Any, items: Sequence[Pair], sharing: bool, micro: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one update over all `items`."""
    total = 0.0
    for begin in range(0, len(items), micro):
        batch = objective.tensors(items[begin : begin + micro], sharing, 0)
        loss, _ = objective.loss(model, batch, len(items))
        loss.backward()
        total += loss.item()
    return total, gradients_of(model)


def assert_same(found: tuple[float, Mapping[str, Any]], expected: tuple[float, Mapping[str, Any]]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(gradient.abs().max().item(), 1e-6)
        assert (found[1][name] - gradient).abs().max().item() <= 1e-4 * scale, name


def trl_dpo(model: Any, tokenizer: Any, items: Sequence[Pair], directory: Path, **settings: Any) -> Any:
    trainer = DPOTrainer(
        model=copy.deepcopy(model),
        args=DPOConfig(
            output_dir=str(directory), report_to=[], use_cpu=True, bf16=False, max_length=None, **settings
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )
    batch = [
        {
            "prompt_ids": list(pair.chosen.ids[: pair.chosen.start]),
            "chosen_ids": list(pair.chosen.ids[pair.chosen.start :]),
            "rejected_ids": list(pair.rejected.ids[pair.rejected.start :]),
        }
        for pair in items
    ]
    trainer.model.delete_adapter("ref")  # TRL's copy of the adapter: compared is with the base, as here
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(batch))
    loss.backward()
    return loss.item(), gradients_of(trainer.model)


def test_dpo_has_trls_loss_and_gradients(
    model: Any, tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    items = ready(model, tokenizer, pairs)
    expected = trl_dpo(model, tokenizer, items, tmp_path, beta=0.3)
    objective = DPOLoss(DPOParams(beta=0.3))
    assert_same(found_by(objective, model, items, sharing=False, micro=12), expected)
    assert shares_prefixes(model, items)
    for micro in (12, 4, 1):
        assert_same(found_by(objective, model, items, sharing=True, micro=micro), expected)


def test_kto_has_trls_loss_and_gradients(
    model: Any, tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    items = ready(model, tokenizer, pairs, mismatched=True)
    settings = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    trainer = KTOTrainer(
        model=copy.deepcopy(model),
        args=KTOConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, max_length=None, **settings
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": "a", "completion": c, "label": c == "b"} for c in "bcbcbcbc"]
        ),
        processing_class=tokenizer,
    )
    answers = [[row.ids[row.start :] for row in pair.rows] for pair in items]
    batch = [
        {
            "prompt_ids": list(pair.chosen.ids[: pair.chosen.start]),
            "completion_ids": list(answers[i][which]),
            "KL_completion_ids": list(answers[i - 1][which]),
            "label": which == 0,
        }
        for which in (0, 1)
        for i, pair in enumerate(items)
    ]
    trainer.model.delete_adapter("ref")  # TRL's copy of the adapter: compared is with the base, as here
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(batch))
    loss.backward()
    expected = loss.item(), gradients_of(trainer.model)
    objective = KTOLoss(KTOParams(**settings))
    assert_same(found_by(objective, model, items, sharing=False, micro=12), expected)
    assert shares_prefixes(model, items)
    assert_same(found_by(objective, model, items, sharing=True, micro=12), expected)
    _, told = objective.loss(model, objective.tensors(items, True, 0), None)
    assert told["kl"].item() > 0  # it says something here


def test_the_loss_of_a_weighted_smoothed_pair_with_sft(
    model: Any, tiny_model_dir: Path, pairs: list[Example]
) -> None:
    """By the formula, row by row."""
    items = ready(model, AutoTokenizer.from_pretrained(tiny_model_dir), pairs[:4], unweighted=False)
    expected = torch.zeros(())
    for pair in items:
        chosen, rejected = (log_prob(model, row) for row in pair.rows)
        margin = 0.2 * ((chosen - pair.reference[0]) - (rejected - pair.reference[1]))
        loss = -0.9 * torch.sigmoid(margin).log() - 0.1 * torch.sigmoid(-margin).log()
        loss = loss - 0.7 * chosen / (len(pair.chosen.ids) - pair.chosen.start)
        expected = expected + pair.weight * loss / len(items)
    expected.backward()
    assert {pair.weight for pair in items} == {1.0, 2.0, 3.0}
    objective = DPOLoss(DPOParams(beta=0.2, label_smoothing=0.1, sft_weight=0.7))
    wanted = expected.item(), gradients_of(model)
    assert_same(found_by(objective, model, items, sharing=True, micro=2), wanted)


def test_a_pair_shares_its_prompt_and_a_group_its_tools(tiny_model_dir: Path, pairs: list[Example]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    group = encode_pairs(pairs[:4], tokenizer, chatml_tools(), 1024).items
    rows = flat(group)
    assert len(rows) == 8
    ((_, shared, lengths),) = lay_out(group)["spans"]
    assert len(lengths) == 8
    assert shared > 50
    assert computed_tokens(group) == sum(len(row.ids) for row in rows) - 7 * shared
    pair = group[0]
    alone = replace(pair, chosen=replace(pair.chosen, group="x"), rejected=replace(pair.rejected, group="x"))
    ((_, shared, _),) = lay_out([alone])["spans"]
    assert shared == alone.chosen.start - 1


def test_log_probabilities_keep_the_order_of_their_rows(
    model: Any, tiny_model_dir: Path, pairs: list[Example]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    items = encode_pairs([pairs[0], pairs[4], pairs[1]], tokenizer, chatml_tools(), 1024).items
    batch = lay_out(items)  # the third pair stands beside the first
    batch["targets"] = batch.pop("labels")
    found, lengths = sequence_log_probs(model, batch, 6)
    rows = flat(items)
    torch.testing.assert_close(
        found, torch.stack([log_prob(model, row) for row in rows]), rtol=1e-5, atol=1e-4
    )
    assert lengths.tolist() == [len(row.ids) - row.start for row in rows]


# --- through the trainer ------------------------------------------------------------------------


def new_run(tiny: Path, pairs: Sequence[Example], directory: Path, trainer: Any, **settings: Any) -> Run:
    method = settings.pop("method", {"params": {"r": 4}})
    training = {"lr": 5e-3, "batch_size": 4, "max_steps": 9, "dtype": "float32", "save_steps": 2, **settings}
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(tiny),
            "training": training,
            "trainer": trainer,
            "method": method,
        },
    )
    run = create_run(config, directory)
    run.write_examples("train", pairs)
    run.write_examples("dev", pairs[:3])
    (run.directory / "data" / "card.json").write_text("{}")
    return run


def fit(run: Run, pairs: Sequence[Example]) -> list[dict[str, Any]]:
    plugins = default_plugins()
    config = run.config
    base = resolve_base(config.model, plugins, run.directory)
    plugins.get("trainers", config.trainer.name).fit(
        run, base, plugins.get("peft_methods", config.method.name), pairs
    )
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()[1:]]


@pytest.mark.parametrize("name", ["dpo", "kto"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_better_answer_wins(
    name: str, dtype: str, tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    run = new_run(
        tiny_model_dir,
        pairs,
        tmp_path / "run",
        {"name": name, "params": {"beta": 0.5}},
        max_steps=12,
        dtype=dtype,
    )
    rows = fit(run, pairs)
    looks = [row["dev_loss"] for row in rows if "dev_loss" in row]
    steps = [row for row in rows if "loss" in row]
    assert steps[-1]["accuracy"] == 1.0
    assert steps[-1]["margin"] > 1 > steps[0]["margin"]
    assert looks[-1] < looks[0]
    assert ("kl" in steps[0]) == (name == "kto")
    assert (run.adapter_dir / "adapter_model.safetensors").is_file()


def test_a_fresh_adapter_starts_at_the_base(
    tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    """PiSSA changes the base's weights, so that a model with its adapter switched off is not the base."""
    even = [replace(pair, weight=1.0) for pair in pairs]
    for method in ({"name": "lora"}, {"name": "pissa"}, {"name": "full"}):
        run = new_run(tiny_model_dir, even, tmp_path / method["name"], "dpo", max_steps=1, method=method)
        (row, *_) = fit(run, even)
        assert row["loss"] == pytest.approx(0.693147, abs=1e-4), method


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    whole = new_run(tiny_model_dir, pairs, tmp_path / "whole", "kto")
    expected = fit(whole, pairs)
    torn = new_run(tiny_model_dir, pairs, tmp_path / "torn", "kto")

    def interrupt(event: Any) -> None:
        if event.kind == "step" and event.data["step"] == 7 and "loss" in event.data:
            raise KeyboardInterrupt

    torn.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        fit(torn, pairs)
    torn.emit = lambda event: None
    resume(torn, default_plugins())
    rows = [json.loads(line) for line in torn.metrics_file.read_text().splitlines()[1:]]
    for found, wanted in zip(rows, expected, strict=True):
        assert found["step"] == wanted["step"]
        for key in ("loss", "dev_loss", "margin", "kl"):
            assert found.get(key) == pytest.approx(wanted.get(key), abs=1e-6), (key, found["step"])
    journal = (torn.directory / "journal.jsonl").read_text()
    assert journal.count('"event": "reference"') == 2  # the base is asked once about train, once about dev


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": None}, r"none of 12 examples has a rejected answer.*--data.*--trainer sft"),
        ({"rejected": "expected"}, r"example '0-0': its rejected answer is the expected one"),
    ],
)
def test_what_is_no_pair_is_refused(
    change: dict[str, Any], message: str, tiny_model_dir: Path, pairs: list[Example], tmp_path: Path
) -> None:
    if change["rejected"] == "expected":
        pairs = [replace(pair, rejected=pair.expected) for pair in pairs]
    else:
        pairs = [replace(pair, rejected=None) for pair in pairs]
    with pytest.raises(DataError, match=message):
        fit(new_run(tiny_model_dir, pairs, tmp_path / "run", "dpo"), pairs)


def test_examples_without_a_pair_are_left_out_and_counted(tiny_model_dir: Path, pairs: list[Example]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    some = [replace(pair, rejected=None) if i % 3 == 0 else pair for i, pair in enumerate(pairs)]
    encoded = encode_pairs(some, tokenizer, chatml_tools(), 1024)
    assert (len(encoded.items), encoded.unpaired) == (8, 4)
    assert "4 without a rejected answer are left out" in encoded.summary()
    with pytest.raises(DataError, match="all pairs have the same prompt"):
        encode_pairs(pairs[:1], tokenizer, chatml_tools(), 1024, mismatched=True)


def test_settings_of_a_trainer_are_checked_and_a_name_alone_will_do() -> None:
    plugins = default_plugins()
    assert resolve_config(plugins, "tool-calling").trainer.name == "sft"
    layers: tuple[dict[str, Any], ...] = ({"trainer": "dpo"}, {"trainer": {"params": {"beta": 0.2}}})
    assert resolve_config(plugins, "tool-calling", *layers).trainer.params == {"beta": 0.2}
    with pytest.raises(ConfigError, match=r"trainer\.params\.bta: unknown key\. Did you mean 'beta'"):
        resolve_config(plugins, "tool-calling", {"trainer": {"name": "dpo", "params": {"bta": 1}}})
    with pytest.raises(ConfigError, match=r"unknown trainer 'dop'. Did you mean 'dpo'"):
        resolve_config(plugins, "tool-calling", {"trainer": "dop"})


def test_pairs_can_be_planned(tiny_model_dir: Path, pairs: list[Example], tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(pair.to_json() + "\n" for pair in pairs))
    for trainer in ("dpo", "kto"):
        settings = {
            "model": str(tiny_model_dir),
            "data": {"builder": "jsonl", "params": {"path": str(file)}},
            "trainer": trainer,
        }
        plan = make_plan(resolve_config(default_plugins(), "tool-calling", settings), default_plugins())
        assert plan.prediction.peak > 0
        assert plan.prediction.sharing


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ({"name": "lora"}, {"gradient_checkpointing": True}),
        ({"name": "qlora"}, {"dtype": "bfloat16"}),
        ({"name": "prompt-tuning"}, {"lr": 0.05}),  # in the plain layout
        ({"name": "dora"}, {}),
    ],
    ids=lambda value: value.get("name", ""),
)
@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_any_method_learns_from_pairs(
    name: str,
    method: dict[str, Any],
    settings: dict[str, Any],
    tiny_model_dir: Path,
    pairs: list[Example],
    tmp_path: Path,
) -> None:
    run = new_run(
        tiny_model_dir,
        pairs,
        tmp_path / "run",
        {"name": name, "params": {"beta": 0.5}},
        method=method,
        max_steps=12,
        **settings,
    )
    steps = [row for row in fit(run, pairs) if "loss" in row]
    assert steps[-1]["margin"] > steps[0]["margin"] + 0.1


def test_an_answer_is_compared_behind_another_prompt_where_it_fits(
    tiny_model_dir: Path, pairs: list[Example]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    twice = [pair for pair in pairs[:3] for _ in range(2)]
    items = encode_pairs(twice, tokenizer, chatml_tools(), 1024, mismatched=True).items
    prompts = [item.chosen.ids[: item.chosen.start] for item in items]
    answers = [item.chosen.ids[item.chosen.start :] for item in items]
    for i, other in enumerate((5, 5, 1, 1, 3, 3)):
        assert items[i].mismatched[0].ids == prompts[i] + answers[other]
        assert prompts[i] != prompts[other]
    longest = max(len(row.ids) for row in flat(items))
    fitting = encode_pairs(twice, tokenizer, chatml_tools(), longest, mismatched=True).items
    assert {len(row.ids) <= longest for item in fitting for row in item.mismatched} == {True}


def test_without_a_fitting_answer_there_is_nothing_to_compare_with(
    model: Any, tiny_model_dir: Path, pairs: list[Example]
) -> None:
    items = ready(model, AutoTokenizer.from_pretrained(tiny_model_dir), pairs[:2], mismatched=True)
    alone = [replace(item, mismatched=(), reference=item.reference[:2]) for item in items]
    loss, told = KTOLoss(KTOParams()).loss(model, KTOLoss(KTOParams()).tensors(alone, True, 0), None)
    assert told["kl"] == 0
    assert torch.isfinite(loss)
