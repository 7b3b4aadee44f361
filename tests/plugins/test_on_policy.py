"""On-policy distillation: the student's own answers come nearer to what the teacher would have said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dtypes import DTYPES
from rollout_runs import fit, fit_interrupted, learnt_by_heart, new_run, rows_of

from agentlora.core.data import build_data, needs_answers
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.types import Example, Expected
from agentlora.eval.conditions import choose_shots
from agentlora.plugins.bases.resolve import resolve_base

PARAMS = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def teacher(tiny_model_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learnt the answers by heart."""
    return learnt_by_heart(tiny_model_dir, examples, tmp_path_factory.mktemp("teacher") / "run", 60)


@pytest.fixture
def prompts(examples: list[Example]) -> list[Example]:
    """Nobody has answered them."""
    return [replace(example, expected=Expected()) for example in examples]


def student(tiny: Path, prompts: list[Example], directory: Path, teacher: Any, **training: Any) -> Run:
    source = str(teacher.directory) if isinstance(teacher, Run) else teacher
    training = {"batch_size": 4, "lr": 1e-2, **training}
    return new_run(tiny, prompts, directory, "on-policy", PARAMS, {"teacher": {"source": source}}, **training)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_student_comes_nearer_to_its_teacher(
    dtype: str, tiny_model_dir: Path, prompts: list[Example], teacher: Run, tmp_path: Path
) -> None:
    run = student(tiny_model_dir, prompts, tmp_path / "run", teacher, max_steps=30, dtype=dtype)
    losses = [row["loss"] for row in fit(run, prompts)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), losses
    assert (run.adapter_dir / "adapter_model.safetensors").is_file()
    assert all(row["computed_tokens"] > 0 for row in rows_of(run))


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tiny_model_dir: Path, prompts: list[Example], teacher: Run, tmp_path: Path
) -> None:
    whole = student(tiny_model_dir, prompts, tmp_path / "whole", teacher)
    expected = fit(whole, prompts)
    torn = student(tiny_model_dir, prompts, tmp_path / "torn", teacher)
    found_rows = fit_interrupted(torn, prompts, 5)
    for found, wanted in zip(found_rows, expected, strict=True):
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-6), found["step"]


def test_a_teacher_of_whole_distributions_is_needed(
    tiny_model_dir: Path, prompts: list[Example], tmp_path: Path
) -> None:
    plugins = default_plugins()
    trainer, method = plugins.get("trainers", "on-policy"), plugins.get("peft_methods", "lora")
    base = resolve_base(str(tiny_model_dir), plugins, tmp_path)
    for source, message in (
        (None, "Name it with --teacher"),
        ("https://api.example.com/v1#big", "an endpoint does not tell"),
    ):
        run = student(tiny_model_dir, prompts, tmp_path / f"run{len(message)}", source)
        with pytest.raises(ConfigError, match=message):
            trainer.check(run.config, base, method)


def test_prompts_are_enough(
    tiny_model_dir: Path, prompts: list[Example], examples: list[Example], tmp_path: Path
) -> None:
    """No answer is asked of the teacher for training, and none is needed."""
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"prompt": "light number {i}"}}\n' for i in range(12)))
    plugins = default_plugins()
    for name, needed in (("sft", True), ("grpo", True), ("on-policy", False)):
        data = {"data": {"builder": "prompts", "params": {"path": str(file)}}}
        run = new_run(tiny_model_dir, prompts, tmp_path / name, name, {}, data)
        assert needs_answers(run.config, plugins) is needed
        if needed:
            with pytest.raises(DataError, match="is a prompt without an answer"):
                build_data(run, plugins)
        else:
            assert build_data(run, plugins)["counts"]["train"] == 10
    assert choose_shots(prompts) == []
    assert choose_shots([*prompts, *examples]) == choose_shots(examples)
