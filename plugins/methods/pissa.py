"""PiSSA: LoRA that begins with the weights' principal components (Meng et al. 2024, arXiv 2404.02948)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field

from agentlora.core.types import JSON
from agentlora.plugins.methods.lora import Lora, LoraParams
from agentlora.plugins.methods.targets import refuse_high_rank, target_modules


class PissaParams(LoraParams):
    """LoRA's, and how the components are found. The exported adapter has twice the rank."""

    r: int = Field(16, ge=1, le=256)
    """Rank while training; the adapter's is twice that."""
    iterations: int = Field(4, ge=1, le=64)
    """Of the randomised singular value decomposition (Halko et al. 2011, arXiv 0909.4061)."""


class Pissa(Lora):
    """Trains the principal components in place of zeros. They are taken out of the base's weights, so the export is
    the difference to where it began: plain LoRA of twice the rank, on the base as it was.
    """

    card = replace(Lora.card, on_quantized=False)
    Params = PissaParams

    def settings(self, params: Any) -> JSON:
        return {"init_lora_weights": f"pissa_niter_{params.iterations}"}

    def config(self, model: Any, params: Any) -> Any:
        """Raises ConfigError when a layer has fewer components than are wanted."""
        refuse_high_rank(model, target_modules(model, params.target), params.r, min)
        return super().config(model, params)

    def apply(self, model: Any, params: Any) -> Any:
        applied = super().apply(model, params)
        if model.device.type == "meta":  # a plan's, which has no weights to keep
            return applied
        began = TemporaryDirectory(prefix="agentlora-pissa-")
        applied.save_pretrained(began.name, safe_serialization=True)
        applied.began = began  # lives as long as the model
        return applied

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        model.save_pretrained(
            directory, safe_serialization=True, path_initial_model_for_weight_conversion=model.began.name
        )
        return "adapter"
