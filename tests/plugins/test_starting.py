"""A training that goes on from another run: it begins where that ended, and is not judged by what that learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rollout_runs import fit, fit_interrupted, learnt_by_heart, new_run

from agentlora.core.config import RunConfig
from agentlora.core.data import refuse_trained_before
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts, refuse_another_base
from agentlora.core.run import Run
from agentlora.core.teacher import named
from agentlora.core.types import Example, Expected
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers.starting import ADAPTER_WEIGHTS, weights_to_start_from


@pytest.fixture(scope="module")
def learnt(tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learnt the answers by heart."""
    return learnt_by_heart(tiny_model_dir, examples, tmp_path_factory.mktemp("learnt") / "run", 40)


def test_it_begins_where_the_other_ended(
    tiny_model_dir: Path, examples: list[Example], learnt: Run, tmp_path: Path
) -> None:
    first = {}
    for name, start in (("anew", ""), ("on", str(learnt.directory))):
        run = new_run(
            tiny_model_dir, examples, tmp_path / name, "sft", {}, max_steps=1, batch_size=4, start_from=start
        )
        first[name] = fit(run, examples)[0]["loss"]
    assert first["on"] < 0.2 * first["anew"], first


def test_an_interrupted_one_ends_as_if_it_had_not_been(
    tiny_model_dir: Path, examples: list[Example], learnt: Run, tmp_path: Path
) -> None:
    start = str(learnt.directory)
    whole = new_run(tiny_model_dir, examples, tmp_path / "whole", "sft", {}, start_from=start)
    torn = new_run(tiny_model_dir, examples, tmp_path / "torn", "sft", {}, start_from=start)
    for wanted, found in zip(fit(whole, examples), fit_interrupted(torn, examples, 5), strict=True):
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-6), found["step"]


@pytest.mark.parametrize("trainer", ["dpo", "kto"])
def test_preferences_are_compared_with_where_training_starts(
    trainer: str, tiny_model_dir: Path, examples: list[Example], learnt: Run, tmp_path: Path
) -> None:
    """log 2 a pair: the model and what it is compared with are one, which is not the base."""
    pairs = [replace(example, rejected=Expected(text="No."), weight=1.0) for example in examples]
    start = str(learnt.directory)
    run = new_run(tiny_model_dir, pairs, tmp_path / "run", trainer, {}, max_steps=1, start_from=start)
    (row, *_) = fit(run, pairs)
    assert row["loss"] == pytest.approx(0.693147 if trainer == "dpo" else 0.5, abs=1e-3)
    assert row["margin"] == pytest.approx(0, abs=1e-3)
    assert "asking what training starts from" in (run.directory / "journal.jsonl").read_text()


def test_what_does_not_fit_is_refused(
    tiny_model_dir: Path, examples: list[Example], learnt: Run, tmp_path: Path
) -> None:
    plugins = default_plugins()
    trainer, base = plugins.get("trainers", "sft"), resolve_base(str(tiny_model_dir), plugins, tmp_path)

    def checked(config: RunConfig) -> None:
        trainer.check(config, base, plugins.get("peft_methods", config.method.name))

    run = new_run(
        tiny_model_dir, examples, tmp_path / "run", "sft", {}, start_from=str(learnt.directory), max_steps=1
    )
    checked(run.config)
    method = run.config.method
    for changed, message in (
        (method.model_copy(update={"params": {"r": 8}}), "has rank 4, and this one 8. Choose --rank 4"),
        (
            method.model_copy(update={"name": "dora"}),
            "the method of run .* is 'lora', and this one's is 'dora'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            checked(run.config.model_copy(update={"method": changed}))
    run.config.method.params["alpha"] = 77
    with pytest.raises(ConfigError, match="lora_alpha"):
        fit(run, examples)


def test_a_base_that_changed_in_its_place_is_refused(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    """By its name it is the same one."""
    plugins = default_plugins()
    base, method = resolve_base(str(tiny_model_dir), plugins, tmp_path), plugins.get("peft_methods", "lora")
    first = new_run(tiny_model_dir, examples, tmp_path / "first", "sft", {})
    first.adapter_dir.mkdir()
    write_json(first.adapter_dir / "adapter_config.json", {"r": 4})
    (first.adapter_dir / ADAPTER_WEIGHTS).touch()
    config = new_run(
        tiny_model_dir, examples, tmp_path / "run", "sft", {}, start_from=str(first.directory)
    ).config
    first.add_facts(base=base_facts(base))
    assert weights_to_start_from(config, method, base) == first.adapter_dir / ADAPTER_WEIGHTS
    unsaid = {key: value for key, value in base_facts(base).items() if key != "template"}
    first.add_facts(base=unsaid)  # as of an older version
    assert weights_to_start_from(config, method, base) == first.adapter_dir / ADAPTER_WEIGHTS
    with pytest.raises(ConfigError, match="its template changed since"):  # an adapter is held to all of it
        refuse_another_base(first, base)
    first.add_facts(base={**base_facts(base), "weights": "0" * 64})
    with pytest.raises(
        ConfigError, match="is not what run 'first' was trained on: its weights changed since"
    ):
        weights_to_start_from(config, method, base)


def test_what_was_trained_on_cannot_be_judged_by(
    tiny_model_dir: Path, examples: list[Example], learnt: Run, tmp_path: Path
) -> None:
    start, split = str(learnt.directory), {"train": examples, "dev": [], "test": []}
    fresh = replace(examples[0], id="fresh", messages=({"role": "user", "content": "Is anybody in?"},))
    refuse_trained_before(start, {**split, "test": [fresh]})
    with pytest.raises(DataError, match="was trained on 1 of the dev and test"):
        refuse_trained_before(start, {**split, "test": [fresh, examples[3]]})
    second = new_run(tiny_model_dir, [fresh], tmp_path / "second", "sft", {}, start_from=start)
    with pytest.raises(DataError, match=f"run {learnt.id!r}, which training starts from"):
        refuse_trained_before(str(second.directory), {**split, "dev": [examples[3]]})


def test_last_means_the_run_that_is_last_now(tiny_model_dir: Path, examples: list[Example]) -> None:
    from agentlora.core.run import create_run

    config = RunConfig.model_validate({"task": "tool-calling", "training": {"start_from": "last"}})
    earlier = create_run(RunConfig(task="tool-calling"))
    assert named(config).training.start_from == str(earlier.directory)
