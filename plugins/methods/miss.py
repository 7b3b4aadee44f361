"""MiSS: one small matrix a layer, repeated over its inputs (Kang and Yin 2024, arXiv 2409.15371)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import refuse_high_rank, target_modules


class MissParams(Strict):
    """The update adds a matrix [r, out] to the sums of every r-th input."""

    r: int = Field(16, ge=2, le=512)
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""


class Miss(ByPeft):
    """Less memory than LoRA at its rank. Its update has rank `r`, so that it is exactly a LoRA of that rank."""

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="exact", on_quantized=True)
    Params = MissParams

    def config(self, model: Any, params: MissParams) -> Any:
        """Raises ConfigError when a layer has fewer inputs than `r`."""
        from peft import MissConfig

        targets = target_modules(model, params.target)
        refuse_high_rank(model, targets, params.r, lambda inputs, _: inputs)
        return MissConfig(
            r=params.r,
            miss_dropout=params.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
