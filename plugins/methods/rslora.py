"""rsLoRA: LoRA scaled so that higher ranks still learn (Kalajdzievski 2023, arXiv 2312.03732)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.types import JSON
from agentlora.plugins.methods.lora import Lora, LoraParams


class RsLoraParams(LoraParams):
    """The update is ``alpha / √r · B·A``."""

    alpha: float = Field(8, gt=0, le=10_000)
    """At rank 16 the same scale as LoRA's default, 2."""


class RsLora(Lora):
    """LoRA with the scale ``alpha / √r``; vLLM reads it from the adapter."""

    Params = RsLoraParams

    def settings(self, params: Any) -> JSON:
        return {"use_rslora": True}
