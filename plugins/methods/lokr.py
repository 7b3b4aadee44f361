"""LoKr: a Kronecker product of two small matrices (Yeh et al. 2023, arXiv 2309.14859)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import target_modules


class LokrParams(Strict):
    """The update is ``alpha / r · C ⊗ (B·A)``."""

    r: int = Field(16, ge=1, le=512)
    alpha: float = Field(32, gt=0, le=10_000)
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of ranks, while training."""
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""


class Lokr(ByPeft):
    """Few parameters and a high rank. As LoRA it is approximated."""

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="approximate")
    Params = LokrParams

    def config(self, model: Any, params: LokrParams) -> Any:
        from peft import LoKrConfig

        return LoKrConfig(
            r=params.r,
            alpha=params.alpha,
            rank_dropout=params.dropout,
            target_modules=target_modules(model, params.target),
            task_type="CAUSAL_LM",
        )
