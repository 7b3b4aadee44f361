"""The end of the main line: gate, card, registry. The gate is the same one for `agentlora eval --gate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.config import GateConfig, merge, parse, read_yaml
from agentlora.core.converting import meet_serving
from agentlora.core.data import card_of, split_digest
from agentlora.core.errors import ConfigError, PluginError, boundary
from agentlora.core.evaluating import adapter_digest, evaluate, show_verdict
from agentlora.core.evaluators import evaluator_settings
from agentlora.core.examples import evenly
from agentlora.core.files import read_json, sha256_file, sha256_json, write_json
from agentlora.core.manager import Plugins
from agentlora.core.provenance import redact
from agentlora.core.reevaluating import as_recorded
from agentlora.core.replay import of_the_task
from agentlora.core.resolving import check_gate, served_places
from agentlora.core.run import Run
from agentlora.core.served import served_facts, served_now
from agentlora.core.suites import has_record
from agentlora.core.types import Example, ServeOn, Task

if TYPE_CHECKING:
    from agentlora.registry.verdict import Verdict

PROFILE_PROMPTS = 400


def gate_config(run: Run, plugins: Plugins, file: Path | None = None) -> GateConfig:
    """The run's policy, with a YAML file's over it.

    Raises:
        ConfigError: the file is no policy, or one that the gate could not judge by.
    """
    own = run.config.gate.model_dump(exclude_unset=True)
    found = parse(GateConfig, merge(own, read_yaml(file)), "gate") if file else run.config.gate
    check_gate(found, plugins.get("tasks", run.config.task), plugins)
    return found


def asks_served(run: Run, plugins: Plugins, policy: GateConfig) -> bool:
    """Whether an evaluation has to put the examples to what is served today, too."""
    from agentlora.registry.rules import policy_of

    return policy_of(plugins.get("tasks", run.config.task), policy).asks_served


def skill_name(run: Run, plugins: Plugins, name: str | None) -> str:
    """What the run is published as. Raises ConfigError for a name that cannot be one."""
    from agentlora.registry.names import check_name

    skill = name or plugins.get("tasks", run.config.task).name
    try:
        check_name(skill)
    except ValueError as exc:
        raise ConfigError(f"--name: {exc}.") from exc
    return str(skill)


def judge_run(
    run: Run,
    plugins: Plugins,
    *,
    name: str | None = None,
    alias: str | None = "prod",
    policy: GateConfig | None = None,
) -> Verdict:
    """Put what the run trained, and the record of its evaluation, to the gate, as version of skill `name` (default: the
    task's) that `alias` would point to. Writes ``eval/gate.json`` where there is a record, and the reports
    beside it again, with the verdict.
    """
    from agentlora.registry.gate import judge
    from agentlora.registry.rules import policy_of

    task = plugins.get("tasks", run.config.task)
    method = plugins.get("peft_methods", run.config.method.name)
    skill = skill_name(run, plugins, name)
    policy = policy or gate_config(run, plugins)
    settings = run.adapter_dir / "adapter_config.json"
    served = served_now(skill, alias)
    record = _record(run)
    verdict = judge(
        record,
        task=task,
        card=replace(method.card, serve_on=served_places(run.config, method.card)),
        serve_on=run.config.serve_on,
        conversion=run.facts().get("conversion"),
        adapter_config=read_json(settings) if settings.is_file() else None,
        adapter_digest=adapter_digest(run),
        base_digest=(run.facts().get("base") or {}).get("digest", "unknown"),
        test_digest=split_digest(run.examples("test")),
        settings=evaluator_settings(
            redact([entry.model_dump(mode="json") for entry in run.config.eval.evaluators]), task.evaluator
        ),
        kind=run.kind,
        weights=sorted(run.adapter_dir.glob("*.safetensors")),
        policy=policy_of(task, policy),
        served=None if served is None else served_facts(served, alias or ""),
    )
    if record is not None:
        of = {"skill": skill, "alias": alias, "record": sha256_file(run.eval_dir / "record.json")}
        said = {**of, **verdict.to_dict()}
        write_json(run.eval_dir / "gate.json", said)
        show_verdict(run, said)
    return verdict


def _record(run: Run) -> dict[str, Any] | None:
    file = run.eval_dir / "record.json"
    return read_json(file, "run `agentlora eval` again") if file.is_file() else None


def publish(
    run: Run,
    plugins: Plugins,
    *,
    name: str | None = None,
    alias: str | None = "prod",
    policy: GateConfig | None = None,
    serve_on: ServeOn | None = None,
    rank: int | None = None,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> Any:
    """Judge what the run trained, adapter or model, and, when it passes, make it a version; returns the `Version`.

    What cannot be served as it is where it is to be becomes plain LoRA first, where its method says that it can, and is
    evaluated anew, as it was before. The run stays converted whatever the gate says then, with what was trained in
    ``adapter-as-trained``; where it was killed in between, it goes on if it is told `serve_on` again.

    Args:
        policy: of the gate; default: the run's own.
        serve_on: what the run is meant for from now on; default: what it is meant for already.
        rank: of every layer of what is converted; None: of each the least that is exact.
        on_verdict: called with what the gate says, passed or not.

    Raises:
        ConfigError: it cannot be served there, too much would be lost, or there is a rank and nothing to convert.
        EvalError: what was converted could not be evaluated.
        GateRefused: with every reason; nothing was written.
        RegistryError: the registry could not take it; nothing was half-written.
    """
    from agentlora.core.errors import GateRefused
    from agentlora.registry.card import SkillCard
    from agentlora.registry.store import open_registry

    task = plugins.get("tasks", run.config.task)
    method = plugins.get("peft_methods", run.config.method.name)
    skill = skill_name(run, plugins, name)
    policy = policy or gate_config(run, plugins)
    converted = meet_serving(run, plugins, serve_on, rank)
    if converted or (serve_on and run.config.convert and not has_record(run, "test")):
        against = alias if asks_served(run, plugins, policy) else None
        evaluate(run, plugins, **as_recorded(run), skill=skill, alias=against)
    with run.stage("publish"):
        verdict = judge_run(run, plugins, name=skill, alias=alias, policy=policy)
        on_verdict(verdict)
        if not verdict.passed:
            raise GateRefused(
                f"the gate refused {skill!r}:\n" + "\n".join(f"  - {reason}" for reason in verdict.reasons)
            )
        record = _record(run)
        assert record is not None
        for baseline, why in verdict.facts.get("skipped", {}).items():
            run.note("publish", "not compared", message=f"not compared with {baseline!r}: {why}")
        facts = run.facts()
        card = SkillCard(
            name=skill,
            kind=run.kind,
            task=task.name,
            summary=task.summary,
            base=facts["base"],
            method=run.config.method.name,
            method_card=asdict(method.card),
            rank=verdict.facts.get("rank"),
            conversion=facts.get("conversion") or {},
            serve_on=run.config.serve_on,
            tool_call_parser=facts["base"]["tool_call_parser"],
            template_digest=facts["base"]["template_digest"],
            data={key: part for key, part in card_of(run).items() if key != "quarantined"},
            records=[sha256_json(record)],
            headline=verdict.facts.get("headline", {}),
            router_profile=router_profile(skill, task, of_the_task(evenly(run.examples("train")))),
            parents=_parents(facts.get("composition")),
            provenance=facts["provenance"],
        )
        with boundary(PluginError, "a plugin's veto_publish"):
            vetoes = plugins.pm.hook.veto_publish(card=card.model_dump(), record=record)
        for reason in vetoes:
            raise GateRefused(f"a plugin refused {skill!r}: {reason}")
        files = {path.name: path for path in sorted(run.adapter_dir.iterdir()) if path.is_file()}
        files["record.json"] = run.eval_dir / "record.json"
        version = open_registry().publish(card, files, alias)
        run.note("publish", "published", version=version.served_name, alias=alias)
    return version


def _parents(composition: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What the card says of a composed adapter's parts."""
    if composition is None:
        return []
    return [
        {**{key: parent[key] for key in ("adapter", "record", "weight")}, "how": composition["how"]}
        for parent in composition["parents"]
    ]


def router_profile(skill: str, task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    """What a router learns a skill by: an even sample of its training requests that it would act on."""
    wanted = [e for e in examples if e.tags.get("case") != "none_fits" and _request_text(e)]
    step = max(1, len(wanted) // PROFILE_PROMPTS)
    chat = [e for e in examples if e.tags.get("wants") == "chat"]
    return {
        "skill": skill,
        "needs_tools": task.needs_tools,
        "prompts": [_request_text(e) for e in wanted[::step]][:PROFILE_PROMPTS],
        "negatives": sorted({_request_text(e) for e in chat}),
    }


def _request_text(example: Example) -> str:
    """What the user said last; empty when that is no text."""
    said = [m.get("content") for m in example.messages if m.get("role") == "user"]
    return said[-1] if said and isinstance(said[-1], str) else ""
