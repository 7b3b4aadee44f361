"""What `publish --serve-on` does with a run before the gate sees it, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_evaluating import run as evaluable  # noqa: F401 - a fixture

from agentlora.core import converting
from agentlora.core.config import RunConfig, parse
from agentlora.core.converting import meet_serving
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import REPLACED, evaluate
from agentlora.core.files import read_json, write_json
from agentlora.core.manager import default_plugins
from agentlora.core.reevaluating import as_recorded
from agentlora.core.run import Run, create_run, open_run


def a_run(directory: Path, method: str, serve_on: str, **more: Any) -> Run:
    """With an adapter that nothing looks into."""
    raw = {"task": "distillation", "method": {"name": method}, "serve_on": serve_on, **more}
    run = create_run(parse(RunConfig, raw), directory)
    run.adapter_dir.mkdir()
    return run


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What conversions were asked for; none is made."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(converting, "convert_run", lambda run, plugins, **how: asked.append(how))
    return asked


@pytest.mark.parametrize("method", ["dora", "full", "vera"])
def test_what_is_not_served_there_is_converted(
    method: str, tmp_path: Path, conversions: list[dict[str, Any]]
) -> None:
    run = a_run(tmp_path / "run", method, "transformers")
    assert not meet_serving(run, default_plugins())
    assert meet_serving(run, default_plugins(), "vllm", 8)
    assert conversions == [{"rank": 8, "serve_on": "vllm"}]


def test_nobody_has_to_say_it_of_a_run_that_is_meant_for_there(
    tmp_path: Path, conversions: list[dict[str, Any]]
) -> None:
    assert meet_serving(a_run(tmp_path / "run", "dora", "vllm"), default_plugins())
    assert conversions == [{"rank": None, "serve_on": "vllm"}]


@pytest.mark.parametrize(
    ("method", "before", "now"),
    [
        ("lora", "transformers", "vllm"),
        ("lora", "vllm", "none"),
        ("dora", "transformers", "none"),
        ("full", "none", "transformers"),
    ],
)
def test_what_is_served_there_as_it_is_is_meant_for_there(
    method: str, before: str, now: Any, tmp_path: Path, conversions: list[dict[str, Any]]
) -> None:
    run = a_run(tmp_path / "run", method, before)
    raw = read_json(run.directory / "run.json")
    assert not meet_serving(run, default_plugins(), now)
    assert run.config.serve_on == now
    assert read_json(run.directory / "run.json") == {**raw, "config": {**raw["config"], "serve_on": now}}
    assert conversions == []


@pytest.mark.parametrize(
    ("config", "serve_on", "rank", "why"),
    [
        (
            {"method": "bottleneck"},
            "vllm",
            8,
            "method 'bottleneck' trains cannot be served on 'vllm'; it can on",
        ),
        ({"method": "prompt-tuning"}, "vllm", None, "'prompt-tuning' trains cannot be served on 'vllm'"),
        (
            {"method": "lora"},
            "vllm",
            8,
            "--rank is of what is converted to LoRA, and run 'run' needs no conv",
        ),
        ({"method": "dora"}, None, 8, "run 'run' needs no conversion for 'transformers'"),
        (
            {"method": "dora", "convert": True, "convert_rank": 4},
            "vllm",
            8,
            "run 'run' was converted already",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    config: dict[str, Any],
    serve_on: Any,
    rank: int | None,
    why: str,
    tmp_path: Path,
    conversions: list[dict[str, Any]],
) -> None:
    run = a_run(tmp_path / "run", serve_on="transformers", **config)
    before = (run.directory / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=why):
        meet_serving(run, default_plugins(), serve_on, rank)
    assert (run.directory / "run.json").read_bytes() == before
    assert conversions == []


def test_a_run_without_an_adapter_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", "lora", "transformers")
    run.adapter_dir.rmdir()
    with pytest.raises(ConfigError, match="has no adapter"):
        meet_serving(run, default_plugins(), "vllm")
    assert open_run(str(run.directory)).config.serve_on == "transformers"


def test_an_evaluation_is_made_again_as_it_was(evaluable: Run) -> None:  # noqa: F811
    plugins = default_plugins()
    assert as_recorded(evaluable) == {}
    priced = {"name": "cost", "label": "dear", "params": {"price_in": 2.0, "price_out": 9.0}}
    evaluate(
        evaluable,
        plugins,
        limit=2,
        probes=5,
        constrained=True,
        evaluators=["latency", json.dumps(priced)],
        beside=["{endpoint: http://127.0.0.1:9/v1#small, label: today}"],
        temperature=0.5,
        seeds=2,
    )
    how = as_recorded(evaluable)
    assert [json.loads(text)["name"] for text in how.pop("evaluators")] == ["latency", "cost"]
    assert [json.loads(text) for text in how.pop("beside")] == [
        {"endpoint": "http://127.0.0.1:9/v1#small", "label": "today"}
    ]
    assert how == {
        "engine_name": "echo",
        "limit": 2,
        "probes": 5,
        "constrained": True,
        "temperature": 0.5,
        "seeds": 2,
    }
    before = read_json(evaluable.eval_dir / "record.json")
    evaluate(evaluable, plugins, **as_recorded(evaluable))
    now = read_json(evaluable.eval_dir / "record.json")
    for key in ("decoding", "n_all", "evaluator", "metrics"):
        assert now[key] == before[key]
    for key in ("evaluators", "beside"):
        assert now["provenance"][key] == before["provenance"][key]
    assert [c["name"] for c in now["conditions"]] == [c["name"] for c in before["conditions"]]


def test_what_the_configuration_names_is_not_named_twice(evaluable: Run) -> None:  # noqa: F811
    entries = {
        "evaluators": ["latency"],
        "beside": [{"endpoint": "http://127.0.0.1:9/v1#small", "options": {"timeout_s": 5}}],
    }
    raw = read_json(evaluable.directory / "run.json")
    raw["config"]["eval"] |= entries
    write_json(evaluable.directory / "run.json", raw)
    run = open_run(str(evaluable.directory))
    evaluate(run, default_plugins(), probes=0)
    (run.eval_dir / "record.json").rename(run.eval_dir / REPLACED)  # killed while a new one was written
    how = as_recorded(run)
    assert (how["evaluators"], how["beside"], how["probes"], how["limit"]) == ([], [], 0, 3)
    assert how["constrained"] is False


@pytest.mark.parametrize(
    ("engine", "serve_on", "asked"),
    [
        ("transformers", "vllm", None),
        ("transformers", "transformers", "transformers"),
        ("transformers", "none", "transformers"),
        ("mine", "vllm", "mine"),
    ],
)
def test_the_engine_that_will_serve_is_asked(
    engine: str,
    serve_on: str,
    asked: str | None,
    evaluable: Run,  # noqa: F811
) -> None:
    evaluate(evaluable, default_plugins(), probes=0)
    file = evaluable.eval_dir / "record.json"
    write_json(file, {**read_json(file), "engine": engine})
    run = Run(evaluable.directory, evaluable.config.model_copy(update={"serve_on": serve_on}))
    assert as_recorded(run)["engine_name"] == asked
