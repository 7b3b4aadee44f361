"""VeRA: random matrices that all layers share, and two vectors a layer (Kopiczko et al. 2023, arXiv 2310.11454)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import target_modules


class VeraParams(Strict):
    """The update is ``diag(b)·B·diag(d)·A`` with A and B random and fixed."""

    r: int = Field(256, ge=1, le=512)
    """Rank of the random matrices."""
    dropout: float = Field(0.0, ge=0, lt=1)
    d_initial: float = 0.1
    """What every entry of d begins with."""
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""
    projection_seed: int = Field(0, ge=0, lt=2**31)
    """What A and B are drawn from."""


class Vera(ByPeft):
    """Very few trained parameters. Its update has rank `r`, so that it is exactly a LoRA of that rank."""

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="exact", on_quantized=True)
    Params = VeraParams

    def config(self, model: Any, params: VeraParams) -> Any:
        from peft import VeraConfig

        return VeraConfig(
            r=params.r,
            vera_dropout=params.dropout,
            d_initial=params.d_initial,
            target_modules=target_modules(model, params.target),
            projection_prng_key=params.projection_seed,
            save_projection=True,
            task_type="CAUSAL_LM",
        )
