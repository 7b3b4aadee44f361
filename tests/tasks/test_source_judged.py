"""An evaluation of somebody's own tools says which calls their source would refuse, without asking the source again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_whole_schemas import BUDGET, ORDER, PAINT, SHIP, source

from agentlora.core.composing import _judges
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import build_data, card_of
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import read_json, write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import ToolCall
from agentlora.eval.calls import render_calls
from agentlora.eval.diff import compare, load_side
from agentlora.eval.record import Record
from agentlora.eval.report import terminal_table
from agentlora.eval.scorers import render_answer
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.tasks.tool_calling.importing.pruning import without_words
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools

VALID = "source-schema.valid"
REASON = "cancel_order(order_number) is what its schema says it must not be"


def trained(model: Path, folder: Path, tools: str, **settings: Any) -> Run:
    """A run with data over `tools`, and an adapter that the engine ``echo`` never looks into."""
    base = resolve_base(str(model), default_plugins(), folder)
    sizes = {"examples": 24, "dev_examples": 24, "test_examples": 24}
    params = {"tools": tools, "tool_tokens": BUDGET, **sizes, **settings}
    config = {
        "task": "tool-calling",
        "model": str(model),
        "data": {"builder": "user-tools", "params": params},
        "eval": {"engine": "echo", "probes": 0},
    }
    run = create_run(parse(RunConfig, config), folder / "run")
    build_data(run, default_plugins())
    run.adapter_dir.mkdir()
    (run.adapter_dir / "adapter_config.json").write_text("{}")
    run.add_facts(base=base_facts(base), adapter_digest=adapter_digest(run))
    return run


def answered(run: Run, wrong: int) -> Record:
    """The evaluation of answers that are the expected ones, but that `wrong` calls cancel an order there cannot be."""
    calling = [e.id for e in run.examples("test") if [c.name for c in e.expected.calls] == ["cancel_order"]]
    assert len(calling) > wrong
    refused = render_calls([ToolCall("cancel_order", {"order_number": 10})])
    answers = {e.id: render_answer(e.expected) for e in run.examples("test")}
    answers |= dict.fromkeys(calling[:wrong], refused)
    record: Record = evaluate(run, default_plugins(), options={"answers": answers})
    return record


def test_reports_say_which_calls_the_source_refuses_and_why(tiny_model_dir: Path, tmp_path: Path) -> None:
    tools = source(tmp_path, ORDER, SHIP)
    run = trained(tiny_model_dir, tmp_path, tools)
    Path(tools).unlink()  # the source is asked no more
    moved = open_run(str(shutil.move(run.directory, tmp_path / "moved")))
    record = answered(moved, wrong=3)
    adapter = record.condition("adapter")
    calling = sum(bool(e.expected.calls) for e in moved.examples("test"))
    valid = adapter.metrics[VALID]
    assert (valid.scored, valid.mean) == (calling, pytest.approx(1 - 3 / calling))
    assert adapter.metrics["schema_valid"].mean == 1
    (reason,) = adapter.reasons["source-schema"].reasons
    assert (reason.why, reason.answers, len(reason.samples)) == (REASON, 3, 3)
    assert record.provenance.get("evaluator_problems") is None
    (entry,) = record.provenance["evaluators"]
    assert entry["params"] == {"in": "data/evaluators.json", "sha256": card_of(moved)["evaluators_digest"]}
    console = Console(width=200, record=True)
    console.print(terminal_table(record))
    page = (moved.eval_dir / "report.html").read_text()
    for said in (console.export_text(), (moved.eval_dir / "report.md").read_text().replace("\\", ""), page):
        assert "Fits the source" in said
        assert REASON in said
    rows = [json.loads(line) for line in (moved.eval_dir / "samples.jsonl").read_text().splitlines()]
    noted = {row["id"] for row in rows if row["condition"] == "adapter" and row["notes"]}
    assert noted == set(reason.samples)


def test_data_of_before_is_judged_as_before_and_compared(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = trained(tiny_model_dir, tmp_path, source(tmp_path, ORDER, SHIP))
    old = open_run(str(shutil.copytree(run.directory, tmp_path / "old")))
    card = read_json(old.directory / "data" / "card.json")
    del card["evaluators_digest"]
    write_json(old.directory / "data" / "card.json", card)
    (old.directory / "data" / "evaluators.json").unlink()
    before, now = answered(old, wrong=1), answered(run, wrong=2)
    assert VALID not in before.metrics
    assert VALID in now.metrics
    assert "evaluators" not in before.provenance
    assert all("reasons" not in condition for condition in before.to_dict()["conditions"])
    diff = compare(load_side(old.eval_dir, "old"), load_side(run.eval_dir, "new"))
    assert (len(diff.gained), len(diff.lost)) == (0, 1)


def test_what_a_run_names_itself_comes_first(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = trained(tiny_model_dir, tmp_path, source(tmp_path, ORDER, SHIP))
    open_ = {"name": "cancel_order", "parameters": {"type": "object"}}
    named = json.dumps({"name": "source-schema", "params": {"tools": [open_]}})
    record = evaluate(run, default_plugins(), evaluators=[named, "latency"])
    entries = record.provenance["evaluators"]
    assert [entry["name"] for entry in entries] == ["source-schema", "latency"]
    assert entries[0]["params"] == {"tools": [open_]}


def test_a_file_that_changed_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = trained(tiny_model_dir, tmp_path, source(tmp_path, ORDER, SHIP))
    file = run.directory / "data" / "evaluators.json"
    file.write_text(file.read_text().replace("not", "if"))
    with pytest.raises(ConfigError, match=r"evaluators\.json' is not what card\.json beside it says"):
        evaluate(run, default_plugins())
    file.unlink()
    with pytest.raises(ConfigError, match="bring it back, or train again"):
        evaluate(run, default_plugins())


def test_a_composed_run_has_what_judges_each_of_its_parts(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = trained(tiny_model_dir, tmp_path / "a", source(tmp_path, ORDER, SHIP))
    other = trained(tiny_model_dir, tmp_path / "b", source(tmp_path, PAINT, SHIP))
    found = _judges([one, other, one])
    assert [entry.called for entry in found] == ["source-schema", "source-schema-2"]
    named = [tool["name"] for entry in found for tool in entry.params["tools"]]
    assert named == ["cancel_order", "paint_wall"]


def test_only_what_pruning_changed_is_judged_by_the_source(tmp_path: Path) -> None:
    def named(**settings: Any) -> list[str]:
        params = parse(UserToolParams, {"tools": source(tmp_path, ORDER, SHIP), **settings})
        return [tool["name"] for entry in UserTools().evaluators(params) for tool in entry["params"]["tools"]]

    assert named(tool_tokens=BUDGET) == ["cancel_order"]
    assert named(tool_tokens=100_000) == []


def test_words_of_a_schema_are_not_what_it_takes() -> None:
    titled = {
        "type": "object",
        "properties": {"title": {"type": "string", "title": "T"}},
        "required": ["title"],
    }
    said = {**titled, "description": "Something.", "examples": [{}]}
    assert without_words(said) == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
    }
    assert said["description"] == "Something."
