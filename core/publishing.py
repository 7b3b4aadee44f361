"""The end of the main line: gate, card, registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from agentlora.core.data import card_of, split_digest
from agentlora.core.errors import ConfigError, PluginError, boundary
from agentlora.core.examples import evenly
from agentlora.core.files import read_json, sha256_json
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import adapter_digest
from agentlora.core.resolving import served_places
from agentlora.core.run import Run
from agentlora.core.types import Example, Task

PROFILE_PROMPTS = 400


def publish(run: Run, plugins: Plugins, *, name: str | None = None, alias: str | None = "prod") -> Any:
    """Judge what the run trained, adapter or model, and, when it passes, make it a version; returns the `Version`.

    Raises:
        GateRefused: with every reason; nothing was written.
        RegistryError: the registry could not take it; nothing was half-written.
    """
    from agentlora.core.errors import GateRefused
    from agentlora.registry.card import SkillCard
    from agentlora.registry.gate import judge
    from agentlora.registry.names import check_name
    from agentlora.registry.store import open_registry

    task = plugins.get("tasks", run.config.task)
    method = plugins.get("peft_methods", run.config.method.name)
    digest = adapter_digest(run)
    record_file = run.eval_dir / "record.json"
    record = read_json(record_file, "run `agentlora eval` again") if record_file.is_file() else None
    settings = run.adapter_dir / "adapter_config.json"
    skill = name or task.name
    try:
        check_name(skill)
    except ValueError as exc:
        raise ConfigError(f"--name: {exc}.") from exc
    with run.stage("publish"):
        verdict = judge(
            record,
            task=task,
            card=replace(method.card, serve_on=served_places(run.config, method.card)),
            serve_on=run.config.serve_on,
            conversion=run.facts().get("conversion"),
            adapter_config=read_json(settings) if settings.is_file() else None,
            adapter_digest=digest,
            base_digest=(run.facts().get("base") or {}).get("digest", "unknown"),
            test_digest=split_digest(run.examples("test")),
            kind=run.kind,
            weights=sorted(run.adapter_dir.glob("*.safetensors")),
        )
        if not verdict.passed:
            raise GateRefused(
                f"the gate refused {skill!r}:\n" + "\n".join(f"  - {reason}" for reason in verdict.reasons)
            )
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
            router_profile=router_profile(skill, task, evenly(run.examples("train"))),
            parents=_parents(facts.get("composition")),
            provenance=facts["provenance"],
        )
        with boundary(PluginError, "a plugin's veto_publish"):
            vetoes = plugins.pm.hook.veto_publish(card=card.model_dump(), record=record)
        for reason in vetoes:
            raise GateRefused(f"a plugin refused {skill!r}: {reason}")
        files = {path.name: path for path in sorted(run.adapter_dir.iterdir()) if path.is_file()}
        files["record.json"] = record_file
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
