"""Configuration: layers, strictness, messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlora.core.config import RunConfig, merge, parse, parse_sets, read_yaml
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.presets import METHOD_PRESETS
from agentlora.core.resolving import resolve_config


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(RunConfig, {"task": "x", "training": {"lrr": 1, "lr": -1}, "sede": 3, "serve_on": "moon"})
    message = str(caught.value)
    assert "training.lrr: unknown key. Did you mean 'lr'?" in message
    assert "training.lr: Input should be greater than 0, not -1" in message
    assert "sede: unknown key. Did you mean 'seed'?" in message
    assert "serve_on" in message
    assert "'moon'" in message


def test_layers_are_merged_deeply_and_later_wins() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"d": [1]}, {"d": [2]}) == {
        "a": {"b": 3, "c": 2},
        "d": [2],
    }


def test_sets_are_yaml_values() -> None:
    sets = parse_sets(
        ["training.lr=2e-4", "training.max_steps=3", "model=./x", "training.gradient_checkpointing=true"]
    )
    assert sets["training"] == {"lr": 2e-4, "max_steps": 3, "gradient_checkpointing": True}
    assert sets["model"] == "./x"


@pytest.mark.parametrize(
    "bad", ["training.lr", "=3", "a..b=3", "a=[1", "x=2024-99-99", "x=!!bool maybe", "x=!!timestamp soon"]
)
def test_a_bad_set_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_sets([bad])


def test_all_bad_sets_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)--set 'a'.*--set 'b'"):
        parse_sets(["a", "b"])


@pytest.mark.parametrize("number", ["inf", "-.inf", "nan", ".nan", "1e999"])
def test_only_finite_numbers_are_settings(number: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.lr: Input should be a finite number"):
        parse(RunConfig, {"task": "x", **parse_sets([f"training.lr={number}"])})


def test_a_word_that_could_be_a_number_stays_a_word() -> None:
    assert parse_sets(["model=nan"]) == {"model": "nan"}


def test_options_win_over_the_preset_and_the_preset_over_defaults() -> None:
    plugins = default_plugins()
    config = resolve_config(plugins, "tool-calling", {"preset": "demo"}, {"training": {"batch_size": 4}})
    assert config.training.max_len == 400  # the preset's
    assert config.training.batch_size == 4
    assert config.training.schedule == "cosine"


def test_plugins_settings_are_checked_before_anything_runs() -> None:
    plugins = default_plugins()
    with pytest.raises(
        ConfigError, match=r"method\.params\.rank: unknown key\..*There is: alpha, dropout, r, target"
    ):
        resolve_config(plugins, "tool-calling", {"method": {"params": {"rank": 8}}})
    with pytest.raises(ConfigError, match=r"method\.params\.r: unknown key\. There are no settings\."):
        resolve_config(plugins, "tool-calling", {"method": {"name": "full", "params": {"r": 8}}})
    with pytest.raises(ConfigError, match=r"data\.params\.exampels: unknown key. Did you mean 'examples'"):
        resolve_config(plugins, "tool-calling", {"data": {"params": {"exampels": 8}}})
    for data in (5, None, []):
        with pytest.raises(ConfigError, match=r"data: "):
            resolve_config(plugins, "tool-calling", {"data": data})
    with pytest.raises(ConfigError, match=r"unknown tool-calling preset 'dmeo'. Did you mean 'demo'"):
        resolve_config(plugins, "tool-calling", {"preset": "dmeo"})


def test_a_policy_that_the_gate_could_not_judge_by_is_refused_before_the_training() -> None:
    plugins = default_plugins()
    for gate, said in (
        ({"rules": {"headline": {"margin": 2}}}, r"0\.02 is two points\."),
        ({"floors": {"exact_match": 30}}, r"gate\.floors\.exact_match: .* Did you mean 0\.3\?"),
        ({"rules": {"exact_mach": {}}}, r"Did you mean 'exact_match'\?"),
    ):
        with pytest.raises(ConfigError, match=said):
            resolve_config(plugins, "tool-calling", {"gate": gate})
    resolve_config(plugins, "tool-calling", {"gate": {"rules": {"headline": {"margin": 0.02}}}})


def test_every_mistake_is_told_in_one_go() -> None:
    wrong = {
        "preset": "dmeo",
        "trainer": "sfd",
        "method": {"name": "lorra"},
        "data": {"builder": "jsnol"},
        "eval": {"engine": "vlm"},
        "training": {"lrr": 1, "batch_size": 0},
    }
    with pytest.raises(ConfigError) as caught:
        resolve_config(default_plugins(), "tool-calling", wrong)
    for part in ("'dmeo'", "'sfd'", "'lorra'", "'jsnol'", "'vlm'", "training.lrr", "training.batch_size"):
        assert str(caught.value).count(part) == 1, part


def test_broken_yaml_says_where(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  lr: [1\nmodel: x\n")
    with pytest.raises(
        ConfigError, match=r"run\.yaml' is not valid YAML: .* in line 3, column 6. Mend it there"
    ):
        read_yaml(file)
    file.write_text("preset: 2024-13-45\n")
    with pytest.raises(ConfigError, match=r"run\.yaml' is not valid YAML: month must be in 1\.\.12"):
        read_yaml(file)
    file.write_bytes(b"preset: \xff\n")
    with pytest.raises(ConfigError, match=r"run\.yaml' is not valid YAML"):
        read_yaml(file)
    file.write_text("training:\n  lr: 1\n  epochs: 2\n  lr: 3\n")
    with pytest.raises(
        ConfigError, match=r"run\.yaml' is not valid YAML: [^<>]*found 'lr' twice[^<>]*line 4"
    ):
        read_yaml(file)
    file.write_text("- a\n")
    with pytest.raises(ConfigError, match="must hold a mapping of settings, not a list"):
        read_yaml(file)
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_presets_of_task_and_method_are_joined() -> None:
    plugins = default_plugins()
    for name, preset in METHOD_PRESETS.items():
        both = resolve_config(plugins, "tool-calling", {"preset": f"demo+{name}"})
        alone = resolve_config(plugins, "tool-calling", {"preset": name})
        assert both.method == alone.method
        assert both.method.name == preset["method"]["name"]
        assert both.training.max_len == 400
        assert alone.training.max_len == 1024
        assert both.preset == f"demo+{name}"
    assert resolve_config(plugins, "tool-calling", {"preset": "budget"}).serve_on == "transformers"
    assert resolve_config(plugins, "tool-calling", {"preset": "budget", "convert": True}).serve_on == "vllm"
    with pytest.raises(ConfigError, match=r"unknown tool-calling preset 'adaptve'.* Did you mean 'adaptive'"):
        resolve_config(plugins, "tool-calling", {"preset": "demo+adaptve"})
