"""`agentlora eval --gate` on the engine ``echo``: what is served answers too, and a refusal is an exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import GateRefused
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.publishing import judge_run
from agentlora.core.publishing import publish as publish_run
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, Expected
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.registry.card import SkillCard
from agentlora.registry.store import open_registry
from agentlora.registry.version import Version

COUNT = 60
Publish = Callable[..., Version]


@pytest.fixture
def run(tiny_model_dir: Path, tmp_path: Path) -> Run:
    """A run with an adapter, which the engine ``echo`` never looks into, and sixty test examples."""
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    config = {
        "task": "distillation",
        "model": str(tiny_model_dir),
        "eval": {"engine": "echo", "probes": 100},
        "serve_on": "none",
    }
    made = create_run(parse(RunConfig, config), tmp_path / "run")
    asked = [
        Example(str(n), ({"role": "user", "content": f"say {n}"},), Expected(text=f"yes indeed {n}"))
        for n in range(COUNT)
    ]
    splits: dict[Any, list[Example]] = {"train": [], "dev": [], "test": asked}
    for split, rows in splits.items():
        made.write_examples(split, rows)
    write_json(
        made.directory / "data" / "card.json",
        {"digest": {split: split_digest(rows) for split, rows in splits.items()}},
    )
    made.adapter_dir.mkdir()
    (made.adapter_dir / "adapter_config.json").write_text("{}")
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


@pytest.fixture
def publish(run: Run, tmp_path: Path) -> Publish:
    """``publish(content, **card fields)``: another version of the skill, which prod then serves."""

    def _publish(content: str, **fields: Any) -> Version:
        facts = run.facts()["base"]
        file = tmp_path / "adapter_config.json"
        file.write_text(content)
        card = SkillCard(
            name="distillation",
            task="distillation",
            summary="",
            method="lora",
            method_card={"serve_on": ["vllm"]},
            rank=8,
            serve_on="vllm",
            tool_call_parser="hermes",
            template_digest=facts["template_digest"],
            data={},
            **({"base": facts} | fields),
        )
        return open_registry().publish(card, {file.name: file})

    return _publish


def evaluated(run: Run, right: dict[str, int], **more: Any) -> Any:
    """The record of an evaluation in which each adapter, by its served name, is right so often. Its engine is put down
    as another one, for the gate takes nothing from ``echo``.
    """
    answers = {f"{name}/{n}": f"yes indeed {n}" for name, count in right.items() for n in range(count)}
    record = evaluate(run, default_plugins(), options={"answers": answers}, **more)
    write_json(run.eval_dir / "record.json", record.to_dict() | {"engine": "vllm"})
    return record


def own(run: Run) -> str:
    return f"{run.id.lower()}@{adapter_digest(run)[:12]}"


def gated(run: Run, *words: str) -> Result:
    return CliRunner().invoke(cli, ["eval", str(run.directory), "--gate", "--recorded", *words])


def outcomes(run: Run, **more: Any) -> dict[str, str]:
    return {r.rule: r.outcome for r in judge_run(run, default_plugins(), **more).rulings}


def test_an_evaluation_that_the_gate_refuses_exits_3_and_says_by_how_much(run: Run, tmp_path: Path) -> None:
    junit, text = tmp_path / "gate.xml", tmp_path / "gate.md"
    words = ["eval", str(run.directory), "--gate", "--junit", str(junit), "--markdown", str(text)]
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 3, refused.output
    assert "Gate: refused" in refused.output
    assert "asks no model" in refused.output
    assert "Next:" not in refused.output
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("name"), suite.get("failures")) == ("distillation", "1")
    assert text.read_text().startswith("## distillation: the gate refused")
    assert "# Evaluation: distillation" in text.read_text()
    assert CliRunner().invoke(cli, words[:2]).exit_code == 0  # without the gate nothing is refused

    evaluated(run, {own(run): COUNT})
    passed = gated(run, "--junit", str(junit), "--json")
    assert passed.exit_code == 0, passed.output
    said = json.loads(passed.stdout)
    assert (said["task"], said["gate"]["passed"]) == ("distillation", True)
    assert ElementTree.parse(junit).getroot()[0].get("failures") == "0"
    kept = json.loads((run.eval_dir / "gate.json").read_text())
    assert (kept["passed"], kept["skill"], kept["alias"]) == (True, "distillation", "prod")


def test_the_reports_say_at_their_top_what_the_gate_said_last(run: Run, tmp_path: Path) -> None:
    evaluated(run, {own(run): COUNT - 1})
    page, text = run.eval_dir / "report.html", run.eval_dir / "report.md"
    before = page.read_text()
    assert "The gate" not in before + text.read_text()
    policy = tmp_path / "policy.yaml"
    policy.write_text("floors: {same: 1}")
    assert gated(run, "--policy", str(policy)).exit_code == 3
    for said in (page.read_text(), text.read_text()):
        assert "same: floor" in said
    head = page.read_text()[: page.read_text().index("</header>")]
    assert "The gate: refused" in head
    assert head.index("The gate: refused") < head.index("Better")
    data = '<script type="text/plain" id="data">'
    assert page.read_text().split(data)[1] == before.split(data)[1]  # all samples are there as before
    assert gated(run).exit_code == 0
    assert "The gate: passed" in page.read_text()
    assert "the gate passed" in text.read_text()
    evaluated(run, {own(run): COUNT})
    assert "The gate" not in page.read_text() + text.read_text()  # it said that of the other record


def test_publishing_shows_the_verdict_in_the_report_too(run: Run) -> None:
    evaluated(run, {own(run): 0})
    with pytest.raises(GateRefused):
        publish_run(run, default_plugins())
    assert "The gate: refused" in (run.eval_dir / "report.html").read_text()


def test_a_page_whose_samples_are_gone_keeps_them_and_the_gate_judges_all_the_same(run: Run) -> None:
    evaluated(run, {own(run): COUNT})
    (run.eval_dir / "samples.jsonl").unlink()
    before = (run.eval_dir / "report.html").read_text()
    assert gated(run).exit_code == 0
    assert (run.eval_dir / "report.html").read_text() == before
    assert "the gate passed" in (run.eval_dir / "report.md").read_text()
    record = json.loads((run.eval_dir / "record.json").read_text())
    write_json(run.eval_dir / "record.json", {k: v for k, v in record.items() if k != "groups"})
    text = (run.eval_dir / "report.md").read_text()
    assert judge_run(run, default_plugins()).passed  # which reads less of a record than reports do
    assert (run.eval_dir / "report.md").read_text() == text


def test_what_prod_serves_answers_the_same_examples_and_has_to_be_beaten(
    run: Run, publish: Publish, tmp_path: Path
) -> None:
    rule = "agreement: better than what is served"
    evaluated(run, {own(run): COUNT})
    assert outcomes(run)[rule] == "skipped"
    version = publish('{"r": 8}')
    assert "does not compare it with distillation@prod (v1)" in gated(run).output
    record = evaluated(run, {own(run): COUNT, version.served_name: COUNT // 2})
    served = next(c for c in record.conditions if c.kind == "served")
    assert (served.name, served.adapter, served.metrics["agreement"].scored) == ("served", None, COUNT)
    assert record.best_baseline == "base"
    assert record.served["adapter"] == version.adapter_digest
    assert outcomes(run)[rule] == "pass"

    evaluated(run, {own(run): COUNT, version.served_name: COUNT - 1})
    refused = gated(run)
    assert refused.exit_code == 3
    assert "would decide" in " ".join(refused.output.split())
    verdict = judge_run(run, default_plugins())
    assert [r.outcome for r in verdict.rulings if r.rule == rule] == ["undecided"]
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: {headline: {undecided: estimate}}")
    assert gated(run, "--policy", str(policy)).exit_code == 0
    policy.write_text("rules: {headline: {against: [best-baseline]}}")
    assert gated(run, "--policy", str(policy)).exit_code == 0
    assert outcomes(run, alias="candidate")[rule] == "skipped"
    words = ["eval", str(run.directory), "--gate", "--json", "--policy", str(policy)]
    policy.write_text("served: false")
    alone = json.loads(CliRunner().invoke(cli, words).stdout)
    assert [c["name"] for c in alone["conditions"] if c["kind"] == "served"] == []
    policy.write_text("{}")
    beside = json.loads(CliRunner().invoke(cli, words).stdout)
    assert [c["name"] for c in beside["conditions"] if c["kind"] == "served"] == ["served"]


def test_what_is_published_again_is_not_held_against_itself(run: Run, publish: Publish) -> None:
    version = publish("{}")  # what the run's own adapter is
    assert version.adapter_digest == adapter_digest(run)
    record = evaluated(run, {own(run): COUNT})
    assert record.served is None
    verdict = judge_run(run, default_plugins())
    assert verdict.passed
    assert "It is what distillation@prod (v1) serves." in verdict.remarks


def test_what_is_served_on_another_base_is_told_and_not_passed_over(run: Run, publish: Publish) -> None:
    publish('{"r": 8}', base={**run.facts()["base"], "digest": "0" * 64})
    record = evaluated(run, {own(run): COUNT})
    assert "another base" in record.served["why"]
    refused = gated(run)
    assert refused.exit_code == 3
    assert "could not be compared" in " ".join(refused.output.split())


def test_a_summary_of_a_ci_job_is_added_to_and_another_file_written_anew(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(run, {own(run): COUNT})
    summary, other = tmp_path / "summary.md", tmp_path / "other.md"
    summary.write_bytes("# Prüfung\nno end of line".encode())
    other.write_text("old")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    words = ["eval", str(run.directory), "--gate", "--recorded", "--markdown"]

    def added(file: str) -> str:
        CliRunner().invoke(cli, [*words, file])
        return summary.read_text(encoding="utf-8")

    once = added(str(summary))
    assert once.startswith("# Prüfung\nno end of line\n\n## distillation: the gate")
    assert once.count("# Evaluation: distillation") == 1
    monkeypatch.chdir(tmp_path)
    twice = added("summary.md")  # the same file by another name
    assert twice.startswith(once.rstrip() + "\n\n## distillation: the gate")
    assert twice.count("# Evaluation: distillation") == 2
    assert added(str(other)) == twice
    assert other.read_text().startswith("## distillation: the gate")
    summary.unlink()  # a runner makes it, and need not have yet
    assert added(str(summary)).startswith("## distillation: the gate")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
    assert added(str(summary)).count("# Evaluation: distillation") == 1


def test_a_policy_that_names_no_metric_is_refused_before_anything_is_asked(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: {agrement: {margin: 0.1}}")
    words = ["eval", str(run.directory), "--gate", "--policy", str(policy)]
    refused = CliRunner().invoke(cli, words)
    assert "Did you mean 'agreement'?" in str(refused.exception)
    policy.write_text("rules: {headline: {margin: 2}}\nfloors: {agreement: 30}")
    refused = CliRunner().invoke(cli, words)
    assert "0.02 is two points" in str(refused.exception)
    assert "Did you mean 0.3?" in str(refused.exception)
    policy.write_text("rules: {headline: {margn: 0.1}}")
    refused = CliRunner().invoke(cli, words)
    assert "gate.rules.headline.margn: unknown key. Did you mean 'margin'?" in str(refused.exception)
    assert not run.eval_dir.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "--split", "dev"], "judges by the split test"),
        (["--junit", "x.xml"], "give --gate too"),
        (["--recorded"], "give --gate too"),
        (["--gate", "--recorded", "--limit", "3"], "asks nothing anew"),
        (["--gate", "--junit", "no/such/x.xml"], "is no directory"),
    ],
)
def test_what_could_not_be_used_is_said_before_the_evaluation(run: Run, words: list[str], said: str) -> None:
    refused = CliRunner().invoke(cli, ["eval", str(run.directory), *words])
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())
    assert not run.eval_dir.exists()


def test_answers_that_are_sampled_are_one_group_with_their_example(run: Run) -> None:
    greedy = evaluated(run, {own(run): COUNT // 2})
    record = evaluated(run, {own(run): COUNT // 2}, temperature=0.7, seeds=3)
    assert (record.n, record.n_all, record.seeds, record.temperature) == (COUNT, COUNT, 3, 0.7)
    assert record.data["examples"] == greedy.data["examples"]
    figure = record.condition("adapter").metrics["agreement"]
    assert figure.scored == 3 * COUNT
    found, one = (r.difference("adapter", "base") for r in (record, greedy))
    assert (found.groups, found.n) == (COUNT, 3 * COUNT)
    # the first answers are the greedy ones here, and the two others of each are wrong
    assert found.mean == pytest.approx(one.mean / 3)
    refused = CliRunner().invoke(cli, ["eval", str(run.directory), "--seeds", "3"])
    assert "set eval.temperature" in str(refused.exception)
