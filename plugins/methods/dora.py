"""DoRA: LoRA turns the weights, a vector of its own scales them (Liu et al. 2024, arXiv 2402.09353)."""

from __future__ import annotations

from typing import Any

from agentlora.core.types import JSON, MethodCard
from agentlora.plugins.methods.lora import Lora


class Dora(Lora):
    """Weight-decomposed LoRA. vLLM refuses its magnitudes: serve it on transformers, merged, or converted."""

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="approximate")

    def settings(self, params: Any) -> JSON:
        return {"use_dora": True}
