"""LoRA: two low-rank matrices beside every adapted layer (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import JSON, MethodCard
from agentlora.plugins.methods.targets import target_modules


class LoraParams(Strict):
    """The update is ``alpha / r · B·A``."""

    r: int = Field(16, ge=1, le=512)
    """Rank."""
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""


class Lora:
    """Plain LoRA. What it exports, vLLM serves as it is."""

    card = MethodCard(serve_on=("vllm", "transformers"), mergeable=True, to_lora="is")
    Params = LoraParams

    def load_kwargs(self, params: LoraParams) -> JSON:
        return {}

    def apply(self, model: Any, params: LoraParams) -> Any:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=params.r,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=target_modules(model, params.target),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        model.save_pretrained(directory, safe_serialization=True)
        return "adapter"
