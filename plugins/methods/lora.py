"""LoRA: two low-rank matrices beside every adapted layer (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import JSON, MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import target_modules


class LoraParams(Strict):
    """The update is ``alpha / r · B·A``."""

    r: int = Field(16, ge=1, le=512)
    """Rank."""
    alpha: float = Field(32, gt=0, le=10_000)
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""


class Lora(ByPeft):
    """Plain LoRA. What it exports, vLLM serves as it is."""

    card = MethodCard(serve_on=("vllm", "transformers"), mergeable=True, to_lora="is", on_quantized=True)
    Params: ClassVar[type[LoraParams]] = LoraParams

    def settings(self, params: Any) -> JSON:
        """What makes a variant: further settings of PEFT's ``LoraConfig``."""
        return {}

    def config(self, model: Any, params: Any) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            r=params.r,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=target_modules(model, params.target),
            task_type="CAUSAL_LM",
            **self.settings(params),
        )
