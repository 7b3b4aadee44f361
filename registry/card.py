"""The skill card: what a version is, where it belongs, and why it may be trusted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from agentlora.core.types import Kind, ServeOn
from agentlora.registry.names import check_name


class SkillCard(BaseModel):
    """Everything about a version except its bytes.

    The card is part of the version's digest, so it holds nothing about the moment of publication: the same
    run published twice must give the same version.

    `kind` is what its files are: an adapter for `base`, or a model of its own that began as `base`. `base` is a
    BaseIdentity as a dict, `method_card` a MethodCard as a dict. `data` has digest, sources,
    licences and counts. `records` are digests (sha256, hex) of evaluation records. `headline` has metric,
    value, low, high, best_baseline, baseline_value, difference, diff_low and diff_high. `router_profile` has
    skill, needs_tools and prompts. `parents` are what it was composed of: adapter and
    record (digests), weight, and how. `conversion`: of what was converted to LoRA, its rank and error
    (``divergence``, nats a token).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(check_name)]
    kind: Kind = "adapter"
    task: str
    summary: str
    base: dict[str, Any]
    method: str
    method_card: dict[str, Any]
    rank: int | None
    serve_on: ServeOn
    tool_call_parser: str
    template_digest: str
    data: dict[str, Any]
    records: list[str] = []
    headline: dict[str, Any] = {}
    router_profile: dict[str, Any] = {}
    probes: list[dict[str, Any]] = []
    parents: list[dict[str, Any]] = []
    conversion: dict[str, Any] = {}
    provenance: dict[str, Any] = {}

    @property
    def system(self) -> str:
        """The system message that every prompt of its training began with, as its data card says; mostly empty."""
        said = self.data.get("system")
        return said if isinstance(said, str) else ""
