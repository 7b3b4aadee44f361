"""The shelf: which published skills this backend can serve, which answers a request, and which are loaded."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlora.core.errors import AgentLoraError, RuntimeFault
from agentlora.core.files import sha256_bytes
from agentlora.core.types import JSON, Base, Decision, Router
from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry, Version
from agentlora.runtime.client import VllmClient
from agentlora.runtime.probe import PROMPTS, AnswersLikeBase, check_adapter

BASE, AUTO = "base", "auto"

log = logging.getLogger(__name__)


class Mismatch(RuntimeFault):
    """A skill that belongs to another base, template or kind of server than this one."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What the backend runs (design, decision 7): a skill that was made for anything else is refused."""

    base_name: str
    base_digest: str
    template_digest: str
    tool_call_parser: str
    max_lora_rank: int

    @classmethod
    def of(cls, base: Base, max_lora_rank: int) -> Pool:
        template = sha256_bytes(base.chat_template.encode())
        return cls(base.name, base.identity.digest, template, base.tool_call_parser, max_lora_rank)


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers: `served` for people (a served name, or ``base``), `model` for the backend, and why. `system` is the
    system message that a skill was trained with; empty where it was trained with none of its own.
    """

    served: str
    model: str
    why: str
    system: str = ""


@dataclass(frozen=True)
class _View:
    """The registry at one generation. `refused` maps a skill to why this backend cannot serve it."""

    generation: int
    default: Mapping[str, Version] = field(default_factory=dict)
    names: Sequence[tuple[str, Version]] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    state: JSON = field(default_factory=dict)


def not_for_vllm(version: Version) -> str | None:
    """What a version is that `agentlora serve` leaves out, to follow "it is", and what to do; None where it serves."""
    card = version.card
    ask = f"Ask it with: agentlora chat {version.name}"
    if card.kind == "model":
        return (
            f"a model of its own (method {card.method!r}), and a server runs one base with adapters. {ask}; or train "
            "with --convert, which makes an adapter of it."
        )
    if card.serve_on != "vllm":
        return f"made for {card.serve_on!r}, not for vLLM (serve_on in its card). {ask}"
    return None


def mismatch(version: Version, pool: Pool) -> str | None:
    """Why `version` cannot be served by `pool`, naming both sides; None when it can."""
    card, name = version.card, version.served_name
    if why := not_for_vllm(version):
        return f"{name} is {why}"
    digest = str(card.base.get("digest"))
    if digest != pool.base_digest:
        theirs = f"{card.base.get('name')} (sha256:{digest[:12]})"
        ours = f"{pool.base_name} (sha256:{pool.base_digest[:12]})"
        return (
            f"{name} belongs to the base {theirs}, but this server runs {ours}. Serve it with its own base."
        )
    if card.template_digest != pool.template_digest:
        theirs, ours = card.template_digest[:12], pool.template_digest[:12]
        return (
            f"{name} was trained with the chat template sha256:{theirs}, but this server uses sha256:{ours}."
        )
    if card.tool_call_parser != pool.tool_call_parser:
        theirs, ours = card.tool_call_parser, pool.tool_call_parser
        return f"{name} needs the tool-call parser {theirs!r}, but this server runs {ours!r}."
    if (card.rank or 0) > pool.max_lora_rank:
        return (
            f"{name} has rank {card.rank}, above this server's limit of {pool.max_lora_rank}. "
            "Start `agentlora serve` again: it takes the limit from the skills published by then."
        )
    return None


class Shelf:
    """Thread-safe; every method may block on the registry or the backend, so call it off the event loop.

    `only` limits the skills that are served; None serves all. The registry is read again whenever its
    generation has changed, so that what is published gets traffic without a restart.
    """

    def __init__(
        self,
        registry: Registry,
        client: VllmClient,
        pool: Pool,
        router: Router,
        only: Sequence[str] | None = None,
        base_model: str = BASE,
    ) -> None:
        self.pool = pool
        self._registry, self._client, self._router = registry, client, router
        self._only = set(only) if only is not None else None
        self._base_model = base_model
        self._view = _View(generation=-1)
        self._refreshing = threading.Lock()
        self._loading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._loaded: set[str] = set()
        self._silent: dict[str, str] = {}  # served name → the probe's verdict, which never changes

    def view(self) -> _View:
        """The registry as it is now."""
        with self._refreshing:
            generation = self._registry.generation()
            if generation != self._view.generation:
                self._view = self._look(generation)
            return self._view

    def decide(self, request: Mapping[str, Any]) -> tuple[Decision, Version | None]:
        """What ``auto`` would do with a chat request, and the version that it means."""
        view = self.view()
        decision = self._router.route(request, view.state)
        return decision, view.default[decision.choice] if decision.choice else None

    def choose(self, model: str, request: Mapping[str, Any]) -> Answerer:
        """Who answers `request` for `model` (auto, base or a reference to a skill), loaded and probed.

        Raises:
            NotFound or ConfigError: there is no such model.
            Mismatch: the skill belongs to another base, template or server.
            RuntimeFault: it cannot be loaded, or it answers like the base; for auto the base answers then.
        """
        if model == BASE:
            return Answerer(BASE, self._base_model, "asked for by name")
        if model == AUTO:
            decision, version = self.decide(request)
            if version is None:
                return Answerer(BASE, self._base_model, decision.why)
            try:
                return self._ready(version, decision.why)
            except RuntimeFault as exc:  # nobody asked for this skill: better the base than no answer
                log.warning("%s is not served: %s", version.served_name, exc)
                return Answerer(BASE, self._base_model, f"{version.served_name} cannot answer: {exc}")
        version = self._registry.resolve(model)
        if self._only is not None and version.name not in self._only:
            raise Mismatch(
                f"{version.name!r} is not served here. This server was started with: {sorted(self._only)}."
            )
        return self._ready(version, "asked for by name")

    def load(self) -> dict[str, str]:
        """Load and probe the version that every skill means by default, so that no first request waits for it.

        Returns:
            Skill → why it cannot answer. Later requests try again, but for one that answers like the base.
        """
        failed = {}
        for skill, version in self.view().default.items():
            try:
                self._ready(version, "")
            except RuntimeFault as exc:
                failed[skill] = str(exc)
        return failed

    def forget(self, served: str) -> None:
        """The backend lost an adapter (it was restarted): load it again at the next request."""
        self._loaded.discard(served)

    def _ready(self, version: Version, why: str) -> Answerer:
        name = version.served_name
        if name not in self._loaded:
            with self._loading[name]:
                if name not in self._loaded:
                    self._load(version)
        return Answerer(name, name, why, version.card.system)

    def _load(self, version: Version) -> None:
        name = version.served_name
        problem = mismatch(version, self.pool)
        if problem:
            raise Mismatch(problem)
        if name in self._silent:
            raise RuntimeFault(self._silent[name])
        self._client.load_adapter(name, self._registry.materialise(version))
        try:
            check_adapter(self._client, self._base_model, name, probes(version.card))
        except AnswersLikeBase as exc:
            self._silent[name] = str(exc)
            self._client.unload_adapter(name)
            raise
        self._loaded.add(name)
        log.info("loaded %s", name)

    def _look(self, generation: int) -> _View:
        default: dict[str, Version] = {}
        names: list[tuple[str, Version]] = []
        refused: dict[str, str] = {}
        for skill in self._registry.skills():
            if self._only is not None and skill not in self._only:
                continue
            version = self._registry.resolve(skill)
            problem = mismatch(version, self.pool)
            if problem:
                refused[skill] = problem
                log.warning("not served: %s", problem)
                continue
            default[skill] = version
            names += _names(self._registry, skill, version, self.pool)
        profiles = [{**v.card.router_profile, "skill": s} for s, v in default.items()]
        return _View(generation, default, names, refused, self._router.fit(profiles))


def probes(card: SkillCard) -> list[JSON]:
    """Chat requests to probe a skill with: the card's, or else router prompts spread over its profile."""
    given = [probe for probe in card.probes if probe.get("messages")]
    if given:
        return given
    prompts = card.router_profile.get("prompts") or []
    spread = prompts[:: max(1, len(prompts) // PROMPTS)]
    head = [{"role": "system", "content": card.system}] if card.system else []
    return [{"messages": [*head, {"role": "user", "content": str(prompt)}]} for prompt in spread]


def _names(registry: Registry, skill: str, default: Version, pool: Pool) -> list[tuple[str, Version]]:
    aliases = {f"{skill}@{alias}": version for alias, version in registry.aliases(skill).items()}
    served = {version.served_name: version for version in (default, *aliases.values())}
    named = {skill: default, **aliases, **served}
    return [(name, version) for name, version in named.items() if mismatch(version, pool) is None]


def status_of(error: AgentLoraError) -> int:
    """The HTTP status of an error: 409 another base, 404 no such model, 503 everything that may pass."""
    if isinstance(error, Mismatch):
        return 409
    return 404 if error.exit_code == 2 else 503
