"""What is served today, as the evaluation and the gate compare with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentlora.core.errors import AgentLoraError
from agentlora.core.files import sha256_bytes
from agentlora.core.provenance import redact_problem
from agentlora.core.types import JSON, Base, Engine

if TYPE_CHECKING:
    from agentlora.registry.version import Version


def served_now(skill: str, alias: str | None) -> Version | None:
    """The version that an alias of the skill points to; None where there is none.

    Raises:
        RegistryError: the registry cannot be read.
    """
    from agentlora.registry.store import open_registry

    if alias is None:
        return None
    registry = open_registry()
    try:
        return registry.aliases(skill).get(alias)
    finally:
        registry.close()


def served_facts(version: Version, alias: str) -> JSON:
    """What a record and the gate say of it."""
    return {
        "label": f"{version.name}@{alias} (v{version.number})",
        "name": version.name,
        "alias": alias,
        "number": version.number,
        "digest": version.digest,
        "adapter": version.adapter_digest,
    }


def add_served(engine: Engine, name: str, version: Version, base: Base) -> str | None:
    """Let the version answer beside what is evaluated: its adapter is added to the open engine (`name`) under its
    served name. Returns why that cannot be; None when it could.
    """
    theirs = version.card.base
    template = sha256_bytes(base.chat_template.encode())
    if (theirs.get("digest"), version.card.template_digest) != (base.identity.digest, template):
        return f"it belongs to another base, {theirs.get('name')!r}, or another template"
    places = (*version.card.method_card.get("serve_on", ()), version.card.serve_on)
    if name in ("vllm", "transformers") and name not in places:
        return f"it does not run on {name}"
    from agentlora.registry.store import open_registry

    registry = open_registry()
    try:
        engine.add_adapter(version.served_name, registry.materialise(version))
    except AgentLoraError as exc:
        return redact_problem(str(exc))
    finally:
        registry.close()
    return None
