"""General requests with the base's own answers are trained on beside a task's, where they are wanted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core import replay
from agentlora.core.cli import cli
from agentlora.core.config import DataConfig, parse
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.evaluating import evaluate
from agentlora.core.home import home
from agentlora.core.manager import load_plugins
from agentlora.core.pipeline import base_facts, build, check_training
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run
from agentlora.core.types import Output
from agentlora.eval.probes import all_probes
from agentlora.plugins.bases.resolve import resolve_base


def row(request: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": request}], "expected": {"text": answer}}


def data_of(tmp_path: Path, model: Path, rows: int, *sets: dict[str, Any], name: str = "run") -> Run:
    """A run whose data is `rows` answered requests, nine in ten to train on, and what `sets` say."""
    path = tmp_path / "rows.jsonl"
    asked = [row(f"Which is row {n}?", f"Row {n}.") for n in range(rows)]
    path.write_text("\n".join(map(json.dumps, asked)))
    settings = {
        "model": str(model),
        "data": {"builder": "jsonl", "params": {"path": str(path)}},
        "eval": {"engine": "echo", "probes": 100},
    }
    config = resolve_config(load_plugins(), "structured-output", settings, *sets)
    run = create_run(config, tmp_path / name)
    build(run, load_plugins())
    return run


def journal_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "journal.jsonl").read_text().splitlines()]


def replayed_of(run: Run) -> list[Any]:
    return [e for e in run.examples("train") if e.tags.get("case") == replay.CASE]


def test_so_many_are_added_with_what_the_base_says(tmp_path: Path, tiny_model_dir: Path) -> None:
    plain = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0}}, name="plain")
    run = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.2}})
    found, whole = replayed_of(run), run.examples("train")
    assert len(plain.examples("train")) == len(whole) - len(found)
    assert len(found) == round(0.2 * len(whole))
    assert [e.to_dict() for e in whole if e not in found] == [e.to_dict() for e in plain.examples("train")]
    # the engine echo says what it is asked
    assert all(e.expected.text == e.messages[-1]["content"] and not e.tools for e in found)
    assert len({e.expected.text for e in found}) == len(found)
    for split in ("dev", "test"):
        assert run.examples(split) == plain.examples(split)
    card = json.loads((run.directory / "data" / "card.json").read_text())
    assert card["replay"] == {"added": len(found), "wanted": len(found)}
    assert card["counts"]["train"] == len(whole)
    again = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.2}}, name="again")
    assert again.examples("train") == whole


def test_each_weighs_as_much_as_an_example_of_the_task(tmp_path: Path, tiny_model_dir: Path) -> None:
    run = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.2}})
    heavier = {
        e.id: replace(e, weight=4.0 if n % 4 == 0 else 1.0) for n, e in enumerate(run.examples("train"))
    }
    task = [e for e in heavier.values() if e.tags.get("case") != replay.CASE]
    splits, _ = replay.replayed(run, load_plugins(), {"train": task})
    found = [e for e in splits["train"] if e.tags.get("case") == replay.CASE]
    assert found
    assert {e.weight for e in found} == {fmean(e.weight for e in task)}


def test_what_is_held_out_is_not_trained_on(tmp_path: Path, tiny_model_dir: Path) -> None:
    everything = [row(text, "no") for text in replay.requests()[:200]]
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(map(json.dumps, everything)))
    sets = {"data": {"params": {"path": str(path)}, "replay": 0.5}}
    run = data_of(tmp_path, tiny_model_dir, 1, sets)
    held_out = {e.messages[-1]["content"] for split in ("dev", "test") for e in run.examples(split)}
    assert held_out
    assert not held_out & {e.messages[-1]["content"] for e in replayed_of(run)}


def base_says(
    monkeypatch: pytest.MonkeyPatch,
    answers: Callable[[Any], dict[str, list[Output]]],
    opened: Callable[..., None] = lambda **how: None,
) -> None:
    @contextmanager
    def asked_base(run: Run, plugins: Any, stage: str, **how: Any) -> Iterator[Any]:
        opened(**how)
        yield answers

    monkeypatch.setattr(replay, "asked_base", asked_base)


def test_a_base_whose_answers_are_all_cut_off_is_not_asked_for_ever(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that thinks before it answers, say."""
    asked: list[int] = []
    engines: list[Any] = []

    def answers(examples: Any) -> dict[str, list[Output]]:
        asked.append(len(examples))
        return {e.id: [Output("", "First I", "length")] for e in examples}

    base_says(monkeypatch, answers, lambda **how: engines.append(how))
    run = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.05}})
    assert len(engines) == 1
    assert asked == [replay.FEW]
    assert not replayed_of(run)
    told = next(e for e in journal_of(run) if e["event"] == "replay")
    assert "16 of 16 answers were cut off at 96 tokens" in told["message"]


def test_a_base_that_answers_nothing_is_an_error(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_says(monkeypatch, lambda examples: {e.id: [Output("", "", "error", error="no")] for e in examples})
    with pytest.raises(EvalError, match=r"answers none of 16 general requests.*: no\. Mend that, or leave"):
        data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.05}})


def test_the_base_answers_and_no_run_of_its_name(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(tiny_model_dir)
    (tmp_path / "base.run").mkdir()
    run = data_of(tmp_path, Path("base"), 100, {"data": {"replay": 0.2}}, name="base.run/base")
    assert replayed_of(run)


def test_what_cannot_be_learnt_is_left_out_and_others_are_asked(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    bad = [
        Output("", "half of", "length"),
        Output("", "", "error", error="no"),
        Output("", " "),
        Output("", '<tool_call>{"name": "x", "arguments": {}}</tool_call>'),
    ]

    def answers(examples: Any) -> dict[str, list[Output]]:
        asked.update(e.id for e in examples)
        return {e.id: [(*bad, Output("", "Whole."))[n % 5]] for n, e in enumerate(examples)}

    base_says(monkeypatch, answers)
    run = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.3}})
    assert {e.expected.text for e in replayed_of(run)} == {"Whole."}
    assert len(replayed_of(run)) == replay.wanted(run.config, 100 - 20)
    assert set(asked.values()) == {1}
    everything = data_of(tmp_path, tiny_model_dir, 500, {"data": {"replay": 0.7}}, name="all")
    assert len(replayed_of(everything)) == pytest.approx(len(replay.requests()) / 5, rel=0.05)
    told = next(e for e in journal_of(everything) if e["event"] == "replay")
    assert told["wanted"] > told["added"]
    assert "are wanted by data.replay" in told["message"]
    assert "failed, the first because: no" in told["message"]


def test_the_base_answers_where_vllm_is_missing(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def opened(**how: Any) -> None:
        asked.append(how["engine"])

    base_says(monkeypatch, lambda examples: {e.id: [Output("", "Whole.")] for e in examples}, opened)
    for missing in (False, True):
        monkeypatch.setattr(replay, "find_spec", lambda name, missing=missing: None if missing else object())
        data_of(
            tmp_path,
            tiny_model_dir,
            20,
            {"data": {"replay": 0.2}, "eval": {"engine": None}},
            name=str(missing),
        )
    assert asked == ["vllm", "transformers"]


@pytest.mark.parametrize("trainer", ["dpo", "kto", "grpo"])
def test_a_trainer_that_learns_otherwise_is_refused(trainer: str, tiny_model_dir: Path) -> None:
    sets = {"model": str(tiny_model_dir), "trainer": {"name": trainer}, "data": {"replay": 0.1}}
    with pytest.raises(ConfigError, match=r"data\.replay"):
        check_training(resolve_config(load_plugins(), "structured-output", sets), load_plugins())


@pytest.mark.parametrize(
    ("task", "data", "share"),
    [
        ("structured-output", {}, 0.04),
        ("structured-output", {"replay": 0}, 0),
        ("tool-calling", {"builder": "user-tools", "params": {"tools": "botocore:s3"}}, 0.04),
        ("tool-calling", {"builder": "user-tools", "params": {"tools": "botocore:s3"}, "replay": 0.1}, 0.1),
        ("tool-calling", {}, 0),
    ],
)
def test_what_is_added_where_nobody_says_it(task: str, data: dict[str, Any], share: float) -> None:
    assert resolve_config(load_plugins(), task, {"data": data}).data.replay == share


@pytest.mark.parametrize("trainer", ["dpo", "kto"])
def test_nothing_is_added_by_itself_where_the_trainer_learns_otherwise(trainer: str) -> None:
    for asked, share in (({}, 0), ({"data": {"replay": 0.1}}, 0.1)):
        config = resolve_config(load_plugins(), "structured-output", {"trainer": trainer}, asked)
        assert config.data.replay == share
        preset = {"preset": "starter", "trainer": {"name": trainer}}
        config = resolve_config(load_plugins(), "tool-calling", preset, asked)
        assert config.data.replay == share


def test_a_task_is_shown_without_what_was_added(tmp_path: Path, tiny_model_dir: Path) -> None:
    run = data_of(tmp_path, tiny_model_dir, 100, {"data": {"replay": 0.5}})
    train = run.examples("train")
    assert replay.of_the_task(train) == [
        e for e in train if e.messages[-1]["content"].startswith("Which is row")
    ]


def test_no_baseline_is_shown_what_was_added(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = data_of(tmp_path, tiny_model_dir, 60, {"data": {"replay": 0.5}})
    base = resolve_base(run.config.model, load_plugins(), home())
    run.add_facts(base=base_facts(base))
    run.adapter_dir.mkdir()
    (run.adapter_dir / "adapter_config.json").write_text("{}")
    shown: list[Any] = []

    def shots(examples: Any) -> list[Any]:
        shown.extend(examples)
        return []

    monkeypatch.setattr("agentlora.eval.conditions.choose_shots", shots)
    with suppress(EvalError):  # this task judges values, and these are texts: its examples were shown before
        evaluate(run, load_plugins())
    assert len(shown) > 20
    assert replay.of_the_task(shown) == shown


def test_a_plan_counts_what_will_be_added(tiny_model_dir: Path) -> None:
    words = ["plan", "tool-calling", "--model", str(tiny_model_dir), "--json"]
    words += ["--set", "data.params.examples=60", "--set", "data.replay=0.25"]
    told = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).output)
    assert told["data"]["examples"] == 80


def test_a_share_is_less_than_all() -> None:
    with pytest.raises(ConfigError, match="replay"):
        parse(DataConfig, {"replay": 1.0})


def test_no_request_is_a_probe() -> None:
    """Nor does one hold a whole probe, or a sentence of one, beyond words that everybody asks with."""
    texts = replay.requests()
    assert len(texts) > 1000
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if "{}" in text or not text.strip() or text != text.strip()]
    asked = {" ".join(str(p.messages[-1]["content"]).lower().split()) for p in all_probes()}
    assert not [text for text in texts if text.lower() in asked]
    assert not [probe for probe in asked if any(text.lower().startswith(probe) for text in texts)]
