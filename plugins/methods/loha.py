"""LoHa: the elementwise product of two low-rank updates (Hyeon-Woo et al. 2021, arXiv 2108.06098)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import target_modules


class LohaParams(Strict):
    """The update is ``alpha / r · (B₁·A₁) ∘ (B₂·A₂)``."""

    r: int = Field(16, ge=1, le=512)
    alpha: float = Field(32, gt=0, le=10_000)
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of ranks, while training."""
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""


class Loha(ByPeft):
    """Rank up to r² for the parameters of 2r. As LoRA it needs that rank, or is approximated."""

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="approximate")
    Params = LohaParams

    def config(self, model: Any, params: LohaParams) -> Any:
        from peft import LoHaConfig

        return LoHaConfig(
            r=params.r,
            alpha=params.alpha,
            rank_dropout=params.dropout,
            target_modules=target_modules(model, params.target),
            task_type="CAUSAL_LM",
        )
