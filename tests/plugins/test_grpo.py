"""GRPO: what is rewarded becomes likelier, and the reward is the task's own score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dtypes import DTYPES
from rollout_runs import fit, fit_interrupted, learnt_by_heart, new_run

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.manager import default_plugins
from agentlora.core.types import Example, Expected, Output
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers import grpo
from agentlora.plugins.trainers.difficulty import difficulty
from agentlora.plugins.trainers.grpo import GRPOParams, reward_of
from agentlora.plugins.trainers.rollouts import Session

PARAMS = {"answers": 4, "max_new_tokens": 6}


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that the tiny model can get: letters in the answer."""

    def share(example: Example, output: Output) -> float:
        return sum(c.islower() for c in output.text) / max(1, len(output.text))

    monkeypatch.setattr(grpo, "reward_of", lambda *_: share)


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_rewarded_becomes_likelier(
    dtype: str, tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    settings = {"max_steps": 40, "batch_size": 4, "lr": 5e-2, "dtype": dtype}
    run = new_run(tiny_model_dir, examples, tmp_path / "run", "grpo", PARAMS | {"answers": 8}, **settings)
    rewards = [row["reward"] for row in fit(run, examples)]
    assert len(rewards) == 40
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2, rewards
    assert (run.adapter_dir / "adapter_model.safetensors").is_file()
    assert "reward, mean of all answers" in (run.directory / "loss.svg").read_text()
    assert '"warning"' not in (run.directory / "journal.jsonl").read_text()  # its loss never falls


@pytest.mark.usefixtures("letters")
def test_every_prompt_is_asked_before_any_is_asked_again(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(example: Example, output: Output) -> float:
        asked.append(example.id)
        return 0.0

    monkeypatch.setattr(grpo, "reward_of", lambda *_: counted)
    few = examples[:3]  # fewer than an update has
    run = new_run(
        tiny_model_dir, few, tmp_path / "run", "grpo", {**PARAMS, "answers": 2}, batch_size=4, max_steps=3
    )
    assert len(fit(run, few)) == 3
    assert len(asked) == 3 * 4 * 2
    prompts = asked[::2]
    assert all(sorted(prompts[n : n + 3]) == sorted(e.id for e in few) for n in (0, 3, 6, 9))


@pytest.mark.usefixtures("letters")
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    few = examples[:4]  # so that it goes on in the third round of them
    whole = new_run(tiny_model_dir, few, tmp_path / "whole", "grpo", PARAMS)
    expected = fit(whole, few)
    torn = new_run(tiny_model_dir, few, tmp_path / "torn", "grpo", PARAMS)
    found_rows = fit_interrupted(torn, few, 5)
    for found, wanted in zip(found_rows, expected, strict=True):
        for key in ("step", "loss", "reward"):
            assert found[key] == pytest.approx(wanted[key], abs=1e-6), (key, found["step"])


def test_it_goes_on_from_what_another_run_has_learnt(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right from the first answers on, where SFT has learnt the calls by heart: the reward is the evaluator's."""
    learnt = learnt_by_heart(tiny_model_dir, examples, tmp_path / "learnt", 60)
    params = {"answers": 2, "max_new_tokens": 48, "temperature": 0.2}
    rewards = {}
    for name, more in (("anew", {}), ("on", {"start_from": str(learnt.directory)})):
        run = new_run(
            tiny_model_dir, examples, tmp_path / name, "grpo", params, max_steps=1, batch_size=4, **more
        )
        trainer, plugins = default_plugins().get("trainers", "grpo"), default_plugins()
        base = resolve_base(run.config.model, plugins, tmp_path)
        trainer.check(run.config, base, plugins.get("peft_methods", "lora"))
        rewards[name] = fit(run, examples)[0]["reward"]
    assert rewards["on"] > rewards["anew"] + 0.3, rewards
    other = new_run(tiny_model_dir, examples, tmp_path / "o", "grpo", {}, start_from=str(learnt.directory))
    other.config.method.params["r"] = 8
    with pytest.raises(ConfigError, match="has rank 4, and this one 8"):
        fit(other, examples)


def test_the_reward_is_the_mean_of_what_applies(tiny_model_dir: Path, examples: list[Example]) -> None:
    plugins = default_plugins()
    config = parse(RunConfig, {"task": "tool-calling", "model": str(tiny_model_dir)})
    reward = reward_of(config, GRPOParams(), plugins)
    example = examples[0]
    right = '<tool_call>\n{"name": "set_light", "arguments": {"room": "kitchen"}}\n</tool_call>'
    wrong_room = right.replace("kitchen", "moon")
    wrong_tool = right.replace("set_light", "fly")
    values = [reward(example, Output("x", text)) for text in (right, wrong_room, wrong_tool, "Hello.")]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    none = Example(
        "n", ({"role": "user", "content": "hm"},), Expected(text="I have no tool."), example.tools, group="n"
    )
    assert reward(none, Output("x", "I have no tool.")) > reward(none, Output("x", right))
    exact = reward_of(config, GRPOParams(reward=("exact_match",)), plugins)
    assert [exact(example, Output("x", text)) for text in (right, wrong_room)] == [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"'tool-calls' has no metric 'beauty'\. It has: .*exact_match"):
        reward_of(config, GRPOParams(reward=("beauty",)), plugins)


def test_what_cannot_be_trained_is_told(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    run = new_run(tiny_model_dir, examples, tmp_path / "run", "grpo", PARAMS, max_len=20)
    with pytest.raises(DataError, match="all 12 prompts are longer than"):
        fit(run, examples)
    untrained = new_run(tiny_model_dir, examples, tmp_path / "untrained", "sft", {})
    run = new_run(
        tiny_model_dir, examples, tmp_path / "next", "grpo", {}, start_from=str(untrained.directory)
    )
    base = resolve_base(run.config.model, default_plugins(), tmp_path)
    trainer, method = default_plugins().get("trainers", "grpo"), default_plugins().get("peft_methods", "lora")
    with pytest.raises(ConfigError, match="has no adapter that can be trained on"):
        trainer.check(run.config, base, method)
    plain = new_run(tiny_model_dir, examples, tmp_path / "plain", "grpo", PARAMS)
    for name in ("lora-plus", "galore", "adalora"):
        method_too = plain.config.method.model_copy(update={"name": name})
        wanted, theirs = (
            plain.config.model_copy(update={"method": method_too}),
            default_plugins().get("peft_methods", name),
        )
        with pytest.raises(ConfigError, match=f"no place for what method '{name}' does in an update"):
            trainer.check(wanted, base, theirs)
    looking = new_run(tiny_model_dir, examples, tmp_path / "looking", "grpo", PARAMS, eval_steps=5)
    with pytest.raises(ConfigError, match=r"training\.eval_steps: trainer 'grpo' does not do that"):
        trainer.check(looking.config, base, method)


def test_prompts_come_from_easy_to_hard_where_that_is_asked_for(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    def order(name: str) -> list[int]:
        run = new_run(
            tiny_model_dir, examples, tmp_path / name, "grpo", {}, order=name, max_steps=None, epochs=2
        )
        prompts = dict.fromkeys(range(len(examples)), (1,))
        nothing: Any = None
        session = Session(run, None, None, examples, prompts, nothing, None, nothing, nothing, 2)
        return [row["example"] for row in session.dataset()]

    easy, shuffled = order("easy-first"), order("shuffled")
    hardness = [difficulty(examples[number]) for number in easy]
    half = len(examples)
    assert hardness == [*sorted(hardness[:half]), *sorted(hardness[half:])]
    assert sorted(easy) == sorted(shuffled) == sorted([*range(half)] * 2)
    assert easy != shuffled
